"""U-Net against its article: sizes, crops and fields; tiles, borders and skips by definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcn_tutorial import export, geometry
from fcn_tutorial.models import Card, UNet, inference, unet
from fcn_tutorial.models.unet import mirrored
from tests.versions import exports

CARD = Card.of("ab", [(0, 0, 0), (9, 9, 9)])
PADDINGS: list[Any] = ["valid", "same"]


def small(padding: Any = "valid", classes: int = 2, channels: int = 1) -> UNet:
    torch.manual_seed(0)
    return UNet(classes, channels, padding, width=1 / 64).double().eval()


def grey(*size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    one = torch.randint(0, 256, (1, *size), generator=generator, dtype=torch.uint8)
    return one.expand(3, -1, -1).contiguous()


def test_it_has_the_articles_parameters_and_sizes() -> None:
    with torch.device("meta"):
        network = UNet(2, 1)
        assert network.training_scores(torch.empty(1, 1, 572, 572)).shape == (1, 2, 388, 388)
    assert sum(p.numel() for p in network.parameters()) == 31_030_658
    assert network.crops == [4, 16, 40, 88] and network.lost == 92


def test_valid_sides_are_those_that_halve_without_rest() -> None:
    """Counted through the article's figure: 3×3 twice takes 4, a pooling halves."""
    valid = set()
    for n in range(1, 400):
        side, fits = n, True
        for _ in range(4):
            side -= 4
            fits &= side > 0 and side % 2 == 0
            side //= 2
        side -= 4
        for _ in range(4):
            side = 2 * side - 4
        if fits and side > 0:
            assert side == n - 184
            valid.add(n)
    assert valid == {n for n in range(188, 400) if n % 16 == 12}
    network = small()
    for n in (188, 203, 204, 220):
        scores = network.training_scores(torch.zeros(1, 1, n, 188, dtype=torch.float64))
        assert scores.shape[-2:] == (max(v for v in valid if v <= n) - 184, 4)
        assert network.supervised(torch.zeros(1, n, 188)).shape[-2:] == scores.shape[-2:]
    with pytest.raises(ValueError, match="sides of 188 pixels at least, got 187"):
        network.training_scores(torch.zeros(1, 1, 200, 187, dtype=torch.float64))


def literal(network: UNet, image: Tensor) -> Tensor:
    """The article's figure, its crops cut from the middle, for (1, C, n, n) of a valid n."""
    x, skips = image, []
    for i, pair in enumerate(network.down):
        for layer in pair.children():
            x = F.conv2d(x, layer.weight, layer.bias) if isinstance(layer, nn.Conv2d) else F.relu(x)
        if i < 4:
            skips.append(x)
            x = F.max_pool2d(x, 2)
    for up, pair in zip(network.up, network.merge, strict=True):
        x = F.conv_transpose2d(x, up.weight, up.bias, stride=2)  # type: ignore[arg-type]
        skip = skips.pop()
        (h, w), (H, W) = x.shape[-2:], skip.shape[-2:]
        top, left = (H - h) // 2, (W - w) // 2
        x = torch.cat([skip[..., top : top + h, left : left + w], x], 1)
        for layer in pair.children():
            x = F.conv2d(x, layer.weight, layer.bias) if isinstance(layer, nn.Conv2d) else F.relu(x)
    return F.conv2d(x, network.score.weight, network.score.bias)


def test_valid_scores_are_those_of_the_articles_figure() -> None:
    network = small()
    image = torch.randn(1, 1, 220, 188, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(network.training_scores(image), literal(network, image))


@pytest.mark.parametrize("size", [(1, 1), (2, 70), (37, 53), (100, 36)])
def test_the_borders_of_an_image_are_mirrored(size: tuple[int, int]) -> None:
    """numpy's "reflect" mirrors as often as needed; a side of one pixel has only itself to show."""
    network, image = small(), torch.randn(1, 1, *size, dtype=torch.float64)
    wide = [92 + (4 - n) % 16 for n in size]
    borders = [(0, 0), (0, 0), (92, wide[0]), (92, wide[1])]
    larger = torch.from_numpy(np.pad(image.numpy(), borders, mode="reflect"))
    with torch.no_grad():
        expected = literal(network, larger)[..., : size[0], : size[1]]
        assert torch.equal(network.full_scores(image), expected)


def test_a_mirror_does_not_repeat_the_border() -> None:
    row = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    assert mirrored(row, -1, 3, 4).flatten().tolist() == [2, 3, 2, 1, 2, 3, 2, 1, 2, 3]


def by_chance(maps: Tensor, kernel: int, **settings: bool) -> Tensor:
    """Pooling that takes any pixel of a window: which one wins is not what a field depends on."""
    _, places = F.max_pool2d(torch.rand_like(maps), kernel, return_indices=True, **settings)
    return maps.flatten(2).gather(2, places.flatten(2)).view_as(places)


@pytest.mark.parametrize("padding", PADDINGS)
def test_the_field_is_that_of_its_gradients(padding: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unet, "max_pool2d", by_chance)
    network = small(padding)
    for parameter in network.parameters():
        parameter.data.abs_()  # no path cancels another
    assert geometry.receptive_field(network.layers()).size == 204
    spans, reaches, n, batch = {}, [], 260, 2 if padding == "valid" else 32
    for phase in (0, 7):
        place = n // 2 // 16 * 16 + phase
        image = torch.rand(batch, 1, 16, n, dtype=torch.float64, requires_grad=True)
        network.full_scores(image)[..., place].sum().backward()
        assert image.grad is not None
        seen = image.grad.abs().sum((0, 1, 2)).nonzero()[:, 0]
        spans[phase] = int(seen[-1] - seen[0]) + 1
        reaches += [place - int(seen[0]), int(seen[-1]) - place]
    assert max(spans.values()) == 204 and min(spans.values()) == 188
    assert max(reaches) <= network.margin()


@pytest.mark.parametrize("padding", PADDINGS)
def test_overlapping_tiles_give_what_one_big_pass_gives(padding: Any) -> None:
    network, image = small(padding), grey(70, 330)
    whole, tiled = (inference.scores(network, image, tile=tile) for tile in (0, 45))
    assert isinstance(whole, Tensor) and isinstance(tiled, Tensor)
    assert torch.allclose(tiled, whole, atol=1e-13)


def test_a_tile_of_the_article_is_the_inner_part_of_a_big_pass() -> None:
    """The overlap-tile strategy: 220 pixels of the image give the scores of the inner 36."""
    network = small()
    image = network.preprocess(grey(260, 300))[None].double()
    with torch.no_grad():
        whole = network.full_scores(image)
        # Poolings find their windows again 16 pixels further: the mirrored image starts at -92.
        tile = network.training_scores(image[..., 20:240, 68:288])
    assert torch.allclose(tile, whole[..., 112:148, 160:196], atol=1e-13)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (45, 61), (64, 48)])
def test_padded_scores_lie_on_their_pixels_at_every_size(size: tuple[int, int]) -> None:
    """What lies further away than half a field may end at any column, even or odd."""
    network, far = small("same"), 220  # more than half a field
    image = torch.randn(1, 1, size[0], size[1] + 2 * far, dtype=torch.float64)
    with torch.no_grad():
        longer: Any = network(image)
        left: Any = network(image[..., : size[1] + far])
    assert longer.shape[-2:] == image.shape[-2:] and left.shape[-1] == size[1] + far
    assert torch.allclose(left[..., : size[1]], longer[..., : size[1]], atol=1e-13)


def test_grey_is_the_mean_of_the_colours() -> None:
    network, image = small().float(), grey(20, 30)
    image[0] += 1
    expected = (image.float().mean(0, keepdim=True) / 255 - 0.5) / 0.5
    assert torch.allclose(network.preprocess(image), expected, atol=1e-6)
    assert network.predict(image).shape == (20, 30)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"expected \(…, 3, H, W\)"):
        network.predict(image[:1])


def test_weights_start_with_the_articles_spread() -> None:
    torch.manual_seed(0)
    network = UNet(2, width=1 / 4)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 20_000:
            n = module.in_channels * module.weight[0, 0].numel()
            assert float(module.weight.detach().std()) == pytest.approx((2 / n) ** 0.5, rel=0.03), (
                name
            )


def test_dropout_stands_at_the_end_of_the_contracting_path() -> None:
    network = UNet(2, width=1 / 16, padding="same").train()
    seen: list[float] = []
    hook = lambda m, given, out: seen.append(float((out == 0).float().mean()))  # noqa: E731
    network.drop.register_forward_hook(hook)
    network.training_scores(torch.rand(1, 3, 64, 64))
    assert len(seen) == 2 and min(seen) > 0.5


@exports
@pytest.mark.parametrize(
    "size", [(21, 34), pytest.param(None, marks=pytest.mark.slow, id="any size")]
)
def test_its_mirrors_reach_onnx(size: tuple[int, int] | None, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    done = export.export(small().float(), CARD, tmp_path / "net.onnx", "onnx", size)
    assert done.error <= export.TOLERANCE * max(1, done.largest)
    assert len(done.sizes) == (1 if size else 3)


def test_settings_that_are_not_offered_are_named() -> None:
    with pytest.raises(ValueError, match="in_channels=4"):
        UNet(2, 4)
    with pytest.raises(ValueError, match="padding='mirror'"):
        UNet(2, padding="mirror")  # type: ignore[arg-type]
