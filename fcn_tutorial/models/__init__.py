"""Networks: the fully convolutional network, the trunks it stands on, and its weights file."""

from fcn_tutorial.models import backbones, inference
from fcn_tutorial.models.classifier import CropClassifier
from fcn_tutorial.models.fcn import FCN
from fcn_tutorial.models.fusion import LateFusion
from fcn_tutorial.models.published import load_published
from fcn_tutorial.models.weights import Card, load, save

__all__ = [
    "FCN",
    "Card",
    "CropClassifier",
    "LateFusion",
    "backbones",
    "inference",
    "load",
    "load_published",
    "save",
]
