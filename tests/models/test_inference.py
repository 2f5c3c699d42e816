"""Images in tiles, at several scales and mirrored give what whole images give."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fcn_tutorial.models import FCN, Network, inference
from fcn_tutorial.models.inference import Part, parts, resampling_matrix, scores
from tests.models.networks import fcn


def network(backbone: str = "tiny", width: float = 0.25, **options: object) -> Network:
    """A small network in float64 whose score layers are not zero."""
    torch.manual_seed(0)
    model: Network = fcn(backbone, 3, width=width, **options).double().eval()  # type: ignore[arg-type]
    for name, layer in model.named_modules():
        if "score_" in name:
            torch.nn.init.normal_(layer.weight, std=0.5)
    return model


def picture(height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8)


@pytest.mark.parametrize(
    "model",
    [
        network(),
        network(stride=32),
        network(magnification=1.5),
        network(magnification=0.7),
        network("vgg16", 1 / 32, alignment="caffe"),
        network("mobilenet_v2", 0.25),
        network("resnet18", 1 / 16, stride=16),
    ],
    ids=["tiny", "32s", "magnified", "shrunk", "vgg16-caffe", "mobilenet", "resnet18-16s"],
)
def test_tiles_give_what_the_whole_image_gives(model: Network) -> None:
    """Receptive fields of hundreds of pixels and odd sizes: every tile sees all it depends on."""
    image = picture(135, 201)
    whole = scores(model, image, tile=0)
    for tile in (50, 64, 97):
        tiled = scores(model, image, tile=tile)
        assert isinstance(whole, Tensor) and isinstance(tiled, Tensor)
        assert torch.allclose(tiled, whole, rtol=0, atol=1e-6), tile
    assert isinstance(whole, Tensor) and torch.equal(model.predict(image), whole.argmax(0))


@pytest.mark.parametrize("magnification", [1.0, 1.5])
def test_large_images_are_taken_in_tiles(
    magnification: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "LARGE", 64 * 64)
    monkeypatch.setattr(inference, "TILE", 64)
    model = network(magnification=magnification)
    taken = [part for part, _ in inference.probabilities(model, picture(70, 90))]
    assert len(taken) > 1
    assert max(part.right - part.left for part in taken) <= 64 / magnification


def test_scales_and_mirror_images_are_averaged_as_probabilities() -> None:
    model, image = network(), picture(60, 90)
    inputs = model.preprocess(image[None]).double()
    with torch.no_grad():
        passes = []
        for size in ((60, 90), (90, 135), (45, 68)):
            for flip in (False, True):
                seen = inputs.flip(-1) if flip else inputs
                if size != (60, 90):
                    seen = interpolate(seen, size, mode="bilinear", antialias=True)
                found = model(seen).softmax(1)
                if size != (60, 90):
                    found = interpolate(found, (60, 90), mode="bilinear", antialias=True)
                passes.append(found.flip(-1) if flip else found)
    wanted = torch.stack(passes).mean(0)[0]
    for tile in (0, 37):
        found = scores(model, image, scales=(1, 1.5, 0.75), flip=True, tile=tile)
        assert isinstance(found, Tensor)
        assert torch.allclose(found, wanted, rtol=0, atol=1e-6)
    alone = scores(model, image)
    assert isinstance(alone, Tensor) and not torch.allclose(alone, wanted, atol=1e-3)


def test_several_tasks_have_probabilities_of_their_own() -> None:
    torch.manual_seed(0)
    model = FCN("tiny", {"semantic": 4, "geometric": 3}, width=0.25).eval()
    torch.nn.init.normal_(model.score_fr.weight)
    found = scores(model, picture(40, 50), tile=30)
    assert isinstance(found, dict)
    assert {task: tuple(p.shape) for task, p in found.items()} == {
        "semantic": (4, 40, 50),
        "geometric": (3, 40, 50),
    }
    for values in found.values():
        assert torch.allclose(values.sum(0), torch.ones(40, 50), atol=1e-5)


def test_the_resampling_matrix_is_the_librarys_antialiased_resizing() -> None:
    for n in (1, 2, 7, 16, 33):
        unit = torch.eye(n, dtype=torch.float64)
        for size in (1, 3, 8, 16, 50, 99):
            wanted = interpolate(unit[None, None], (size, n), mode="bilinear", antialias=True)
            matrix = resampling_matrix(n, size)
            assert torch.allclose(matrix, wanted[0, 0], rtol=0, atol=1e-12), (n, size)
            some = resampling_matrix(n, size, (size // 2, size), (0, n))
            assert torch.equal(some, matrix[size // 2 :])


def test_parts_cover_every_pixel_once() -> None:
    for size, tile in (((7, 9), 3), ((10, 10), 10), ((1, 5), 2), ((8, 8), 0), ((5, 4), 100)):
        seen = torch.zeros(size)
        for part in parts(size, tile):
            seen[part.slices] += 1
            if tile:
                assert part.bottom - part.top <= tile and part.right - part.left <= tile
        assert torch.equal(seen, torch.ones(size))
    assert [*parts((4, 5), 0)] == [Part(0, 4, 0, 5)]


def test_large_images_are_tiled_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "LARGE", 64 * 64)
    monkeypatch.setattr(inference, "TILE", 48)
    model = network()
    found = [part for part, _ in inference.probabilities(model, picture(70, 130))]
    assert len(found) == math.ceil(70 / 48) * math.ceil(130 / 48)
    assert len([*inference.probabilities(model, picture(64, 64))]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": ()}, "expected at least one"),
        ({"scales": (1.0, 0.0)}, "each more than 0"),
        ({"tile": -1}, "tile=-1"),
    ],
)
def test_settings_that_make_no_sense_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scores(network(), picture(40, 40), **options)  # type: ignore[arg-type]


def test_one_image_for_a_network_of_several_inputs_is_refused() -> None:
    model = fcn("tiny", 3, width=0.25, extra_channels=3).eval()
    with pytest.raises(ValueError, match="reads 6 channels"):
        scores(model, picture(40, 40))
    with pytest.raises(RuntimeError, match=r"call \.eval"):
        scores(network().train(), picture(40, 40))


def test_tiles_far_smaller_than_their_margin_are_raised_to_it() -> None:
    model = fcn("tiny", 3, width=0.25).eval()
    margin = model.margin()
    image = torch.zeros(3, 1, 40 * margin, dtype=torch.uint8)
    found = [part for part, _ in inference.probabilities(model, image, tile=1)]
    assert len(found) == 40
    assert sum(part.right - part.left for part in found) == image.shape[-1]


def test_the_largest_score_at_any_scale_decides_where_it_is_asked_for() -> None:
    """DeepLab's fusion: each class's scores at every scale, brought to the image, their maximum."""
    model, image = network(), picture(48, 64)
    pixels = model.preprocess(image)[None].double()
    maps = []
    with torch.no_grad():
        for size in ((24, 32), (36, 48), (48, 64)):
            seen = interpolate(pixels, size, mode="bilinear", antialias=True)
            fine = model.full_scores(seen)
            maps.append(interpolate(fine, (48, 64), mode="bilinear", antialias=True))
    expected = torch.stack(maps).amax(0).softmax(1)[0]
    for tile in (0, 20):
        found = scores(model, image, (0.5, 0.75, 1.0), tile=tile, combine="max")
        assert isinstance(found, Tensor) and torch.allclose(found, expected, atol=1e-6)
    with pytest.raises(ValueError, match="combine='median' is not one of mean, max"):
        scores(model, image, combine="median")  # type: ignore[arg-type]
