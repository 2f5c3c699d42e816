"""Turn classifiers into fully convolutional networks, and read and reuse their layers."""

from fcn_tutorial._tracing import trace
from fcn_tutorial.surgery.conversion import convolutionalize
from fcn_tutorial.surgery.norms import fold_norms
from fcn_tutorial.surgery.transplanting import Report, transplant

__all__ = ["Report", "convolutionalize", "fold_norms", "trace", "transplant"]
