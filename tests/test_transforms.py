"""Augmentation keeps image and mask together; preprocessing is what the weights expect."""

import hashlib
import math
from fractions import Fraction
from typing import Any

import pytest
import torch

from fcn_tutorial.transforms import (
    HHA,
    PREPROCESSING,
    Depth,
    LimitSide,
    Preprocess,
    RandomScaleCrop,
    augmentation,
    resize_nearest,
)
from fcn_tutorial.vision import functional as F
from fcn_tutorial.vision import models as vision
from fcn_tutorial.vision import tv_tensors, v2


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


def _drawn(height: int, width: int, seed: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)
    mask = torch.randint(22, (height, width), generator=generator, dtype=torch.uint8)
    return tv_tensors.Image(image), tv_tensors.Mask(mask)


def test_windows_and_mirrors_are_those_the_published_records_were_made_with() -> None:
    """Whatever is not resampled is the same to the bit on every machine.

    The masks of scaled windows are left out: those of the records made before labels were sampled
    at the centres of their pixels lie up to half a pixel off their images.
    """
    digest = hashlib.sha256()
    for seed in range(20):
        size = 48 + seed, 56 - seed
        torch.manual_seed(seed)
        image, mask = augmentation((40, 64), (1.0, 1.0))(*_drawn(*size, seed))
        digest.update(image.numpy().tobytes() + mask.numpy().tobytes())
        _, mask = augmentation((64, 40), (0.4, 3.0), jitter=0.5)(*_drawn(*size, seed))
        digest.update((mask == 255).numpy().tobytes())  # the padding says which window it is
        digest.update(str(float(torch.rand(()))).encode())  # as many numbers were drawn
    assert digest.hexdigest() == "98d9688919043d149a10620f5abc2f2b3c5bbec660f044907e7592930e5be314"


@pytest.mark.parametrize("seed", range(12))
def test_an_image_is_resampled_within_its_window_alone(seed: int) -> None:
    """The drawing, in the order that the records depend on, written out for one pair."""
    image, mask = _drawn(48, 56, seed)
    want = (70, 30)
    torch.manual_seed(seed)
    found, _ = RandomScaleCrop(want, (0.4, 3.0))(image, mask)
    torch.manual_seed(seed)
    factor = math.exp(math.log(0.4) + math.log(3.0 / 0.4) * float(torch.rand(())))
    sides = []
    for have, side in zip((48, 56), want, strict=True):
        source = min(have, max(1, round(side / factor)))
        shown = side if source < have else min(side, max(1, round(have * factor)))
        first = int(torch.randint(have - source + 1, ()))
        sides.append((first, source, shown, int(torch.randint(side - shown + 1, ()))))
    (top, height, rows, above), (left, width, columns, before) = sides
    cut = image.as_subclass(torch.Tensor)[:, top : top + height, left : left + width]
    cut = F.resize(cut, [rows, columns], antialias=True)
    assert torch.equal(found[:, above : above + rows, before : before + columns], cut)


def _rgbd_and_tasks(seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    image, mask = _drawn(48, 56, seed)
    other = (mask.as_subclass(torch.Tensor) % 3).to(torch.uint8)
    inputs = {
        "rgb": image,
        "depth": Depth(1 + mask.as_subclass(torch.Tensor)[None].float() / 8),
        "hha": HHA(255 - image.as_subclass(torch.Tensor)),
    }
    return inputs, {"semantic": mask, "geometric": tv_tensors.Mask(other)}


@pytest.mark.parametrize("seed", range(12))
def test_every_part_of_an_item_is_cut_alike_as_what_it_is(seed: int) -> None:
    transform = RandomScaleCrop((70, 30), (0.4, 3.0))
    inputs, targets = _rgbd_and_tasks(seed)
    torch.manual_seed(seed)
    found, masks = transform(inputs, targets)
    assert list(found) == list(inputs) and list(masks) == list(targets)
    for name, part in {**found, **masks}.items():
        assert type(part) is type({**inputs, **targets}[name]) and part.shape[-2:] == (70, 30)
    torch.manual_seed(seed)
    rgb, semantic = transform(inputs["rgb"], targets["semantic"])
    assert torch.equal(found["rgb"], rgb) and torch.equal(masks["semantic"], semantic)
    torch.manual_seed(seed)
    hha, geometric = transform(tv_tensors.Image(inputs["hha"]), targets["geometric"])
    assert torch.equal(found["hha"], hha) and torch.equal(masks["geometric"], geometric)
    # Depth was made from the labels, so its pixels must be those of the mask; 0 is unknown.
    labels = semantic.as_subclass(torch.Tensor)[None]
    expected = torch.where(labels == 255, 0.0, 1 + labels.float() / 8)
    assert torch.equal(found["depth"].as_subclass(torch.Tensor), expected)


def test_light_changes_colours_alone() -> None:
    inputs, targets = _rgbd_and_tasks(0)
    results = []
    for jitter in (0.0, 0.5):
        torch.manual_seed(3)
        results.append(augmentation((40, 40), (0.5, 2.0), jitter=jitter)(inputs, targets))
    (plain, masks), (lit, lit_masks) = results
    assert not torch.equal(plain["rgb"], lit["rgb"])
    assert all(torch.equal(plain[name], lit[name]) for name in ("depth", "hha"))
    assert all(torch.equal(masks[name], lit_masks[name]) for name in masks)


@pytest.mark.parametrize(
    "light",
    [
        v2.ColorJitter(0.5, 0.5, 0.5, 0.3), v2.RandomPhotometricDistort(p=1.0),
        v2.RandomGrayscale(1.0), v2.RandomEqualize(1.0), v2.RandomAutocontrast(1.0),
        v2.RandomInvert(1.0), v2.RandomPosterize(2, 1.0), v2.RandomSolarize(100.0, 1.0),
    ],
    ids=lambda light: type(light).__name__,
)  # fmt: skip
def test_hha_is_left_alone_by_every_change_of_light(light: Any) -> None:
    inputs, _ = _rgbd_and_tasks(1)
    for name in ("rgb", "hha"):  # less than full contrast
        inputs[name] = tv_tensors.wrap(inputs[name] // 2 + 20, like=inputs[name])
    torch.manual_seed(0)
    changed = light(inputs)
    assert type(changed["hha"]) is HHA and torch.equal(changed["hha"], inputs["hha"])
    assert torch.equal(changed["depth"], inputs["depth"])
    assert not torch.equal(changed["rgb"], inputs["rgb"])


def _off(image: Any, labels: Any) -> list[float]:
    """Each label edge along the last axis minus where the image crosses 127.5 beside it, in pixels.

    Centres are at whole numbers, so an edge between pixels i and i + 1 is at i + ½.
    """
    values, labels = image.double(), labels.double()
    level = values - 127.5
    here = (level[:-1] * level[1:] < 0).nonzero()[:, 0]
    crossing = here + level[here] / (level[here] - level[here + 1])
    edges = (labels[1:] != labels[:-1]).nonzero()[:, 0] + 0.5
    edges = edges[(edges > 1) & (edges < len(labels) - 2)]  # a cut stripe may not reach 127.5
    return [float((edge - crossing)[(edge - crossing).abs().argmin()]) for edge in edges]


def _stripes(length: int, width: int, dim: int) -> tuple[Any, Any]:
    """Labels 0 and 1 by turns, `width` pixels each along `dim` of a square; 255 × the label."""
    labels = (torch.arange(length) // width % 2).to(torch.uint8).expand(length, -1)
    labels = labels if dim == -1 else labels.T.contiguous()
    return tv_tensors.Image((255 * labels).expand(3, -1, -1)), tv_tensors.Mask(labels)


def _rows(part: Any, dim: int) -> Any:
    """The profile of (…, H, W) across the stripes, away from the padding."""
    plain = part.as_subclass(torch.Tensor).reshape(-1, *part.shape[-2:])[0]
    return plain[plain.shape[0] // 2] if dim == -1 else plain[:, plain.shape[1] // 2]


@pytest.mark.parametrize("scale", [0.5, 0.6, 2 / 3, 0.75, 0.9, 1.0, 1.1, 4 / 3, 1.5, 1.7, 2.0])
@pytest.mark.parametrize("dim", [-1, -2])
def test_masks_and_depth_lie_where_the_image_lies_at_every_scale(scale: float, dim: int) -> None:
    """A crossing is exact to 1/255 and an edge to half a pixel: 0.1 is five standard errors."""
    crop = RandomScaleCrop((120, 120), (scale, scale))
    off: dict[str, list[float]] = {"mask": [], "depth": []}
    for seed in range(60):
        image, mask = _stripes(320, 7 + seed % 14, dim)
        torch.manual_seed(seed)
        depth = Depth(1.0 + mask.as_subclass(torch.Tensor)[None])
        inputs, target = crop({"rgb": image, "depth": depth}, mask)
        shown = _rows(target, dim) != 255
        level = _rows(inputs["rgb"], dim)[shown]
        off["mask"] += _off(level, _rows(target, dim)[shown])
        off["depth"] += _off(level, _rows(inputs["depth"], dim)[shown])
    for name, found in off.items():
        assert len(found) > 250, name
        assert abs(sum(found) / len(found)) < 0.1, name
        assert max(map(abs, found)) < 0.51, name


@pytest.mark.parametrize("longest", [100, 160, 213, 250, 319])
@pytest.mark.parametrize("dim", [-1, -2])
def test_a_limited_side_keeps_masks_on_the_image(longest: int, dim: int) -> None:
    off = [
        edge
        for width in range(7, 21)
        for image, mask in [LimitSide(longest)(*_stripes(320, width, dim))]
        for edge in _off(_rows(image, dim), _rows(mask, dim))
    ]
    assert abs(sum(off) / len(off)) < 0.1 and max(map(abs, off)) < 0.51


def test_nearest_pixels_are_those_whose_centres_are_nearest() -> None:
    """By exact fractions; at a tie either neighbour will do, and each is taken about as often."""
    sides = []
    for have in range(1, 25):
        for want in range(1, 25):
            found = resize_nearest(torch.arange(have).view(1, have), (1, want))[0].tolist()
            for i, pixel in enumerate(found):
                centre = Fraction((2 * i + 1) * have, 2 * want) - Fraction(1, 2)
                distance = abs(pixel - centre)
                assert distance == min(abs(j - centre) for j in range(have))
                if distance == Fraction(1, 2) and 0 < centre < have - 1:
                    sides.append(pixel > centre)
    assert abs(sum(sides) / len(sides) - 0.5) < 0.1


def test_nearest_pixels_keep_type_dtype_and_window() -> None:
    mask = tv_tensors.Mask(torch.arange(48, dtype=torch.int64).view(6, 8))
    cut = resize_nearest(mask, (2, 3), (1, 4, 2, 3))
    assert type(cut) is tv_tensors.Mask and cut.dtype == torch.int64
    assert cut.tolist() == [[12, 13, 14], [20, 21, 22]]


@pytest.mark.parametrize("window", [(-1, 0, 2, 2), (0, 0, 5, 4), (1, 1, 0, 2), (0, 3, 2, 2)])
def test_a_window_beyond_the_labels_is_refused(window: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="is empty or not inside of 4×4 pixels"):
        resize_nearest(torch.zeros(4, 4), (2, 2), window)


def test_what_cannot_be_cut_is_named() -> None:
    image, mask = _pair(48, 56)
    crop = RandomScaleCrop((8, 8))
    with pytest.raises(ValueError, match=r"sizes \[\(24, 56\), \(48, 56\)\]"):
        crop({"rgb": image, "hha": tv_tensors.Image(image[:, ::2])}, mask)
    with pytest.raises(TypeError, match=r"is a Tensor: make it a tv_tensors\.Image or"):
        crop(image, mask.as_subclass(torch.Tensor))
    with pytest.raises(TypeError, match="is a list"):
        crop([image], mask)


def test_a_void_label_that_the_mask_cannot_hold_is_refused() -> None:
    image, mask = _pair(48, 56)
    with pytest.raises(ValueError, match="ignore_index=-100 does not fit a mask of torch.uint8"):
        RandomScaleCrop((8, 8), ignore_index=-100)(image, mask)
    wide = tv_tensors.Mask(mask.long())
    _, padded = RandomScaleCrop((80, 80), (1, 1), ignore_index=(-100, 255))(image, wide)
    assert int((padded == -100).sum()) == 80 * 80 - 48 * 56


def test_scale_range_is_checked() -> None:
    with pytest.raises(ValueError, match="scale="):
        RandomScaleCrop((8, 8), (2.0, 0.5))


def test_imagenet_preprocessing_equals_torchvisions() -> None:
    torch.manual_seed(0)
    images = torch.randint(256, (2, 3, 224, 224), dtype=torch.uint8)
    theirs = vision.MobileNet_V2_Weights.IMAGENET1K_V1.transforms(resize_size=224)(images)
    assert torch.allclose(Preprocess("imagenet")(images), theirs, atol=1e-6)


def test_caffe_preprocessing_subtracts_the_published_means_channel_by_channel() -> None:
    """The reference lists them in BGR order: 104.00699, 116.66877, 122.67892."""
    image = torch.tensor([200, 100, 50], dtype=torch.uint8).view(3, 1, 1)
    expected = torch.tensor([200 - 122.67892, 100 - 116.66877, 50 - 104.00699])
    assert torch.allclose(Preprocess("caffe")(image).flatten(), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "published"),  # blue, green, red, as the authors' data layers list them
    [("caffe", (104.00699, 116.66877, 122.67892)), ("nyud-rgb", (116.190, 97.203, 92.318)),
     ("siftflow", (114.578, 115.294, 108.353))],
)  # fmt: skip
def test_published_means_are_turned_round_to_red_green_blue(
    name: str, published: tuple[float, ...]
) -> None:
    blue, green, red = published
    image = torch.tensor([200, 100, 50], dtype=torch.uint8).view(3, 1, 1).expand(3, 2, 2)
    expected = torch.tensor([200 - red, 100 - green, 50 - blue])
    assert torch.allclose(Preprocess(name)(image)[:, 1, 0], expected, atol=1e-4)


def test_stacked_inputs_have_their_parts_one_after_the_other() -> None:
    inputs, _ = _rgbd_and_tasks(0)
    depth = torch.tensor([2.55, 0.0, 1.0, 10.0]).view(1, 2, 2)
    # ln 2550 = 7.84385, ln 1000 = 6.90776, ln 10000 = 9.21034; the mean for the missing one
    expected = torch.tensor([-0.00015, 0.0, -0.93624, 1.36634]).view(1, 2, 2)
    assert torch.allclose(Preprocess("nyud-depth")(Depth(depth)), expected, atol=1e-5)
    parts = {name: Preprocess(f"nyud-{name}")(inputs[name]) for name in inputs}
    hha = inputs["hha"].as_subclass(torch.Tensor).float()
    means = torch.tensor([132.431, 94.076, 118.477]).view(3, 1, 1)  # as the PNG has them
    assert torch.allclose(parts["hha"], hha - means, atol=1e-4)
    for name, second in (("nyud-rgbd", "depth"), ("nyud-rgb-hha", "hha")):
        given = {key: inputs[key][None] for key in (second, "rgb")}  # in any order
        stacked = Preprocess(name)(given)
        assert stacked.shape == (1, 4 if second == "depth" else 6, 48, 56)
        assert type(stacked) is torch.Tensor and stacked.dtype == torch.float32
        assert torch.equal(stacked[0], torch.cat([parts["rgb"], parts[second]]))


def test_preprocessing_leaves_its_input_as_it_was() -> None:
    inputs, _ = _rgbd_and_tasks(0)
    before = {name: part.clone() for name, part in inputs.items()}
    for name, parts in PREPROCESSING.items():
        given = {part.name: inputs[part.name] for part in parts}
        result = Preprocess(name)(given)
        assert all(torch.equal(inputs[key], before[key]) for key in before)
        if len(parts) == 1:
            assert torch.equal(result, Preprocess(name)(inputs[parts[0].name]))


def test_preprocessing_refuses_what_it_cannot_mean() -> None:
    with pytest.raises(ValueError, match="imagenet"):
        Preprocess("imagnet")
    with pytest.raises(TypeError, match="uint8"):
        Preprocess("centred")(torch.zeros(3, 4, 4))
    inputs, _ = _rgbd_and_tasks(0)
    with pytest.raises(ValueError, match="'nyud-rgbd' takes rgb and depth, got one tensor"):
        Preprocess("nyud-rgbd")(inputs["rgb"])
    with pytest.raises(ValueError, match=r"takes rgb and hha, got \['depth', 'rgb'\]"):
        Preprocess("nyud-rgb-hha")({"rgb": inputs["rgb"], "depth": inputs["depth"]})
    with pytest.raises(ValueError, match=r"rgb of shape \(4, 4, 4\): expected \(…, 3, H, W\)"):
        Preprocess("caffe")(torch.zeros(4, 4, 4, dtype=torch.uint8))
    with pytest.raises(TypeError, match="depth of dtype torch.uint8"):
        Preprocess("nyud-depth")(torch.zeros(1, 4, 4, dtype=torch.uint8))


# --- Elastic deformation ------------------------------------------------------------------------


def test_a_deformation_moves_image_and_mask_by_one_smooth_field() -> None:
    from fcn_tutorial.transforms import ElasticDeformation

    ramp = torch.arange(96, dtype=torch.float32).expand(3, 80, 96)
    image = tv_tensors.Image(ramp.round().to(torch.uint8))
    mask = tv_tensors.Mask(image[0].clone())
    torch.manual_seed(3)
    moved, labels = ElasticDeformation(4.0)(image, mask)
    torch.manual_seed(3)
    field = torch.randn(1, 2, 3, 3) * 4
    wanted = torch.nn.functional.interpolate(field, (80, 96), mode="bicubic", align_corners=True)
    rows = torch.arange(80.0)[:, None] + wanted[0, 1]
    columns = ramp[0] + wanted[0, 0]
    inside = (rows > 0) & (rows < 79) & (columns > 0) & (columns < 95)
    assert moved.shape == image.shape and inside.float().mean() > 0.8
    # Brightness and label both are the column that a pixel comes from.
    assert (moved[0].float() - columns)[inside].abs().max() <= 0.51  # whole levels
    assert (labels.float() - columns)[inside].abs().max() <= 0.51  # the nearest pixel
    outside = (rows < -0.6) | (rows > 79.6) | (columns < -0.6) | (columns > 95.6)
    assert outside.any() and bool((labels[outside] == 255).all())
    assert torch.allclose(wanted[0, 0, 0, 0], field[0, 0, 0, 0], atol=1e-5)  # corners on corners


def test_no_deformation_changes_nothing_and_labels_are_never_mixed() -> None:
    from fcn_tutorial.transforms import ElasticDeformation

    image, mask = _pair(40, 50)
    same, labels = ElasticDeformation(0.0)(image, mask)
    assert torch.equal(same, image) and torch.equal(labels, mask)
    _, labels = ElasticDeformation(6.0)(image, mask)
    assert set(labels.unique().tolist()) <= {*mask.unique().tolist(), 255}
    with pytest.raises(ValueError, match="points=1: expected"):
        ElasticDeformation(points=1)
