"""Turn classifiers into fully convolutional networks, and read and reuse their layers."""

from fcn_tutorial.surgery.atrous import atrous, shift_and_stitch
from fcn_tutorial.surgery.caffe import load_caffemodel
from fcn_tutorial.surgery.conversion import convolutionalize
from fcn_tutorial.surgery.costs import layer_macs, macs
from fcn_tutorial.surgery.inputs import widen_input
from fcn_tutorial.surgery.listing import LayerTable, layer_table
from fcn_tutorial.surgery.norms import fold_norms
from fcn_tutorial.surgery.tracing import parameter_strides, trace
from fcn_tutorial.surgery.transplanting import Report, transplant

__all__ = [
    "LayerTable",
    "Report",
    "atrous",
    "convolutionalize",
    "fold_norms",
    "layer_macs",
    "layer_table",
    "load_caffemodel",
    "macs",
    "parameter_strides",
    "shift_and_stitch",
    "trace",
    "transplant",
    "widen_input",
]
