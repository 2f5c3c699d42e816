"""Generated scenes in the official layouts of the real data sets, for the readers of those.

Each writer takes the folder that FCN_DATA names and makes the data set's own folder in it. That
folder appears whole or not at all, is the same to the byte for the same arguments (and versions of
Pillow, SciPy and HDF5), and holds `GENERATED.txt`, by which it is told from the real data set.
"""

from fcn_tutorial.datasets.writers._common import MARKER
from fcn_tutorial.datasets.writers.camvid import write_camvid
from fcn_tutorial.datasets.writers.isbi import write_isbi_em
from fcn_tutorial.datasets.writers.nyud import write_nyud
from fcn_tutorial.datasets.writers.pascal import write_sbd, write_voc
from fcn_tutorial.datasets.writers.siftflow import write_siftflow

__all__ = [
    "MARKER",
    "write_camvid",
    "write_isbi_em",
    "write_nyud",
    "write_sbd",
    "write_siftflow",
    "write_voc",
]
