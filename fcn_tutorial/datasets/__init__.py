"""Data sets of images and label masks: generated scenes, and readers of the real ones."""

from fcn_tutorial.datasets import hha, leakage, writers
from fcn_tutorial.datasets.own.folder import Folder
from fcn_tutorial.datasets.readers.camvid import CamVid
from fcn_tutorial.datasets.readers.isbi import ISBIEM
from fcn_tutorial.datasets.readers.nyud import NYUDv2
from fcn_tutorial.datasets.readers.sbd import SBD
from fcn_tutorial.datasets.readers.siftflow import SIFTFlow
from fcn_tutorial.datasets.readers.voc import VOCPlusSBD, VOCSegmentation
from fcn_tutorial.datasets.rooms.rooms import Rooms
from fcn_tutorial.datasets.scenes.scenes import Scenes

__all__ = [
    "CamVid",
    "Folder",
    "ISBIEM",
    "NYUDv2",
    "SBD",
    "Rooms",
    "SIFTFlow",
    "Scenes",
    "VOCPlusSBD",
    "VOCSegmentation",
    "hha",
    "leakage",
    "writers",
]
