"""Data sets of images and label masks: generated scenes, and readers of the real ones."""

from fcn_tutorial.datasets.camvid import CamVid
from fcn_tutorial.datasets.scenes import Scenes

__all__ = ["CamVid", "Scenes"]
