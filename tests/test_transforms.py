"""Augmentation keeps image and mask together; preprocessing is what the weights expect."""

import pytest
import torch

import fcn_tutorial._torchvision  # noqa: F401
from fcn_tutorial.transforms import Preprocess, RandomScaleCrop, augmentation

from torchvision import tv_tensors
from torchvision.models import MobileNet_V2_Weights


def _pair(height: int, width: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """Blocks of constant label, 8 pixels wide; the image shows 10 × the label in each channel."""
    labels = torch.arange(width) // 8 % 5 + 5 * (torch.arange(height)[:, None] // 8 % 5)
    mask = labels.to(torch.uint8)
    return tv_tensors.Image(mask.expand(3, -1, -1) * 10), tv_tensors.Mask(mask)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("size", [(24, 40), (64, 64), (90, 33)])
def test_image_and_mask_move_together_and_padding_is_void(seed: int, size: tuple[int, int]) -> None:
    torch.manual_seed(seed)
    image, mask = augmentation(size, (0.5, 2.0), flip=True)(*_pair(48, 56))
    assert image.shape == (3, *size) and mask.shape == size
    assert image.dtype == mask.dtype == torch.uint8
    shown = mask != 255
    assert shown.any()
    # Away from the edges of blocks, where the image is interpolated, 10 × label stays 10 × label.
    agree = (image[0].int() - 10 * mask.int()).abs() <= 1
    assert agree[shown].float().mean() > 0.4
    assert set(mask[shown].unique().tolist()) <= set(range(25))


def test_scale_one_and_full_window_change_nothing() -> None:
    image, mask = _pair(48, 56)
    out_image, out_mask = RandomScaleCrop((48, 56), (1.0, 1.0))(image, mask)
    assert torch.equal(out_image, image) and torch.equal(out_mask, mask)


def test_padding_shows_the_mean_colour_and_is_the_only_void() -> None:
    torch.manual_seed(0)
    image, mask = RandomScaleCrop((80, 80), (1.0, 1.0))(*_pair(48, 56))
    assert int((mask != 255).sum()) == 48 * 56
    padded = image[:, mask == 255].float()
    inside = image[:, mask != 255].float()
    assert torch.allclose(padded.mean(1), inside.mean(1), atol=1.0)  # uint8 rounds


def test_scale_range_is_checked() -> None:
    with pytest.raises(ValueError, match="scale="):
        RandomScaleCrop((8, 8), (2.0, 0.5))


def test_imagenet_preprocessing_equals_torchvisions() -> None:
    torch.manual_seed(0)
    images = torch.randint(256, (2, 3, 224, 224), dtype=torch.uint8)
    theirs = MobileNet_V2_Weights.IMAGENET1K_V1.transforms(resize_size=224)(images)
    assert torch.allclose(Preprocess("imagenet")(images), theirs, atol=1e-6)


def test_caffe_preprocessing_subtracts_the_published_means_channel_by_channel() -> None:
    """The reference lists them in BGR order: 104.00699, 116.66877, 122.67892."""
    image = torch.tensor([200, 100, 50], dtype=torch.uint8).view(3, 1, 1)
    expected = torch.tensor([200 - 122.67892, 100 - 116.66877, 50 - 104.00699])
    assert torch.allclose(Preprocess("caffe")(image).flatten(), expected, atol=1e-4)


def test_preprocessing_refuses_what_it_cannot_mean() -> None:
    with pytest.raises(ValueError, match="imagenet"):
        Preprocess("imagnet")
    with pytest.raises(TypeError, match="uint8"):
        Preprocess("centred")(torch.zeros(3, 4, 4))
