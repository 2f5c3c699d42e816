"""Data sets of images and label masks: generated scenes, and readers of the real ones."""

from fcn_tutorial.datasets import leakage
from fcn_tutorial.datasets.cache import Cached
from fcn_tutorial.datasets.camvid import CamVid
from fcn_tutorial.datasets.folder import Folder
from fcn_tutorial.datasets.nyud import NYUDv2
from fcn_tutorial.datasets.sbd import SBD
from fcn_tutorial.datasets.scenes import Scenes
from fcn_tutorial.datasets.siftflow import SIFTFlow
from fcn_tutorial.datasets.voc import VOCPlusSBD, VOCSegmentation

__all__ = [
    "Cached",
    "CamVid",
    "Folder",
    "NYUDv2",
    "SBD",
    "SIFTFlow",
    "Scenes",
    "VOCPlusSBD",
    "VOCSegmentation",
    "leakage",
]
