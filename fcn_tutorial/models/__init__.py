"""Networks: the interface they share and those there are, their trunks, and the weights file."""

from fcn_tutorial.models import backbones, inference
from fcn_tutorial.models.classifier import CropClassifier
from fcn_tutorial.models.deeplab import DeepLab
from fcn_tutorial.models.dilated import Dilated8
from fcn_tutorial.models.fcn import FCN, FCNConfig
from fcn_tutorial.models.fusion import LateFusion
from fcn_tutorial.models.magnified import Magnified
from fcn_tutorial.models.network import NETWORKS, Network
from fcn_tutorial.models.own import Own
from fcn_tutorial.models.published import load_published
from fcn_tutorial.models.segnet import SegNet, SegNetBasic
from fcn_tutorial.models.unet import UNet
from fcn_tutorial.models.vit import ViT
from fcn_tutorial.models.weights import Card, load, save

NETWORKS |= {
    "deeplab": DeepLab,
    "dilated8": Dilated8,
    "fcn": FCN,
    "late-fusion": LateFusion,
    "magnified": Magnified,
    "own": Own,
    "segnet": SegNet,
    "segnet-basic": SegNetBasic,
    "unet": UNet,
    "vit": ViT,
}

__all__ = [
    "FCN",
    "NETWORKS",
    "Card",
    "CropClassifier",
    "DeepLab",
    "Dilated8",
    "FCNConfig",
    "LateFusion",
    "Magnified",
    "Network",
    "Own",
    "SegNet",
    "SegNetBasic",
    "UNet",
    "ViT",
    "backbones",
    "inference",
    "load",
    "load_published",
    "save",
]
