"""A small image classifier of the old kind: convolutions, flatten, fully connected layers."""

from __future__ import annotations

from torch import Tensor, nn

#: Rows and columns the classifier takes: the size at which its last map is 4×4.
CROP = 46


class CropClassifier(nn.Module):
    """What is at the centre of a 46×46 crop? AlexNet's plan in small, without padding.

    Three 3×3 convolutions with pooling bring (N, 3, 46, 46) to (N, 48, 4, 4); two fully connected
    layers turn that into scores (N, C). No layer pads, so a crop's scores depend on nothing but the
    crop.

    Args:
        num_classes: how many there are, C.

    ::

        >>> import torch
        >>> from fcn_tutorial.surgery import convolutionalize
        >>> classifier = CropClassifier(num_classes=5)
        >>> classifier(torch.zeros(1, 3, CROP, CROP)).shape
        torch.Size([1, 5])
        >>> convolutionalize(classifier, CROP)(torch.zeros(1, 3, CROP + 8, CROP + 16)).shape
        torch.Size([1, 5, 2, 3])
    """

    preprocessing = "centred"

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 24, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(24, 48, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(48, 48, 3), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(48 * 4 * 4, 96),
            nn.ReLU(),
            nn.Linear(96, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Crops (N, 3, 46, 46), preprocessed → scores (N, C)."""
        scores: Tensor = self.classifier(self.features(images))
        return scores
