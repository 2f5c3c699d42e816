"""Features of pixels: against scikit-image where it has them, and against loops."""

import math

import numpy as np
import pytest

from fcn_tutorial.datasets import Scenes
from fcn_tutorial.prior import features
from fcn_tutorial.prior.features import FEATURES, described


@pytest.fixture(scope="module")
def image():
    return np.asarray(Scenes(n=1, size=(40, 48))[0][0])


def test_lab_is_scikit_image_s(image):
    color = pytest.importorskip("skimage.color")
    expected = color.rgb2lab(image.transpose(1, 2, 0))
    np.testing.assert_allclose(features.colour(image), expected, atol=1e-3)  # float32 of ±100


def test_the_bank_has_17_filters_with_the_sums_and_moments_of_their_kind():
    """A Gaussian leaves constants as they are, a derivative gives the slope, a Laplacian 0."""
    grey = np.tile(np.arange(0, 240, 4, np.uint8), (60, 1))
    bank = features.filters(np.stack([grey] * 3))[30, 30]
    light = features.colour(np.stack([grey] * 3))[30, :, 0]
    assert bank.shape == (17,) == (len(FEATURES["filters"].channels),)
    slope = (light[31] - light[29]) / 2
    # lightness is nearly straight in the grey value, to a hundredth over σ = 8 pixels
    np.testing.assert_allclose(bank[[0, 3, 6]], light[30], atol=0.3)
    np.testing.assert_allclose(bank[[9, 11]], slope, rtol=0.01)
    np.testing.assert_allclose(bank[[10, 12]], 0, atol=1e-5)
    np.testing.assert_allclose(bank[13:] / light[30], 0, atol=1e-3)  # its taps end at four σ


def test_a_filter_is_a_sum_over_the_mirrored_picture(image):
    """Gaussian of σ = 4 of a picture of 5×3 pixels: 33 taps, the picture mirrored many times."""
    tiny = image[:, :5, :3]
    light = features.colour(tiny)[..., 0].astype(float)
    taps = np.exp(-(np.arange(-16, 17) ** 2) / (2 * 4**2))
    padded = np.pad(light, 16, mode="symmetric")
    rows = sum(t * padded[i : i + 5] for i, t in enumerate(taps)) / taps.sum()
    both = sum(t * rows[:, i : i + 3] for i, t in enumerate(taps)) / taps.sum()
    np.testing.assert_allclose(features.filters(tiny)[..., 6], both, rtol=1e-4)  # float32


def test_patterns_count_what_a_loop_counts(image):
    light = features.colour(image)[..., 0]
    ring = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]

    def kind(y, x):
        bits = [light[y + dy, x + dx] >= light[y, x] for dy, dx in ring]
        changes = sum(a != b for a, b in zip(bits, bits[1:] + bits[:1], strict=True))
        return sum(bits) if changes <= 2 else 9

    counts = np.zeros(10)
    for y in range(16, 25):
        for x in range(11, 20):
            counts[kind(y, x)] += 1 / 81
    np.testing.assert_allclose(features.patterns(image)[20, 15], counts, atol=1e-6)


@pytest.mark.parametrize("degrees", [0, 20, 45, 90, 130, 160])
def test_stripes_are_told_by_their_direction(degrees):
    """The gradient of stripes stands across them: the nearest two orientations have it all."""
    y, x = np.indices((48, 48))
    angle = math.radians(degrees)
    wave = 128 + 60 * np.sin((x * math.cos(angle) + y * math.sin(angle)) * 0.3)
    found = features.gradients(np.stack([wave.astype(np.uint8)] * 3))[24, 24]
    place = degrees / 20
    nearest = {int(place) % 9, math.ceil(place) % 9}
    assert set(np.argsort(found)[::-1][: len(nearest)]) == nearest
    assert sum(found[list(nearest)]) > 0.85 * found.sum()  # rounding to bytes turns some a little


def test_gradients_turn_with_the_picture(image):
    square = image[:, :40, :40]
    turned = np.rot90(square, axes=(1, 2)).copy()
    before, after = features.gradients(square)[19, 16], features.gradients(turned)[39 - 16, 19]
    # A quarter turn is four and a half orientations: compare what both halves share.
    assert after.sum() == pytest.approx(before.sum(), rel=0.35)
    ninths = np.fft.rfft(before)[1], np.fft.rfft(after)[1]
    assert np.angle(ninths[0] / ninths[1]) % (2 * np.pi) == pytest.approx(np.pi, abs=0.8)


def test_places_are_fractions_that_do_not_know_the_size():
    small, large = (features.position(np.zeros((3, n, 2 * n), np.uint8)) for n in (4, 12))
    np.testing.assert_allclose(small, large[1::3, 1::3], atol=1e-6)
    assert small[0, 0].tolist() == [0.125, 0.0625]


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_is_finite_named_and_drawn(name, image):
    channels, compute = FEATURES[name]
    for picture in (image, image[:, :1, :1], image[:, :3, :2], np.zeros((3, 8, 8), np.uint8)):
        values = compute(picture)
        assert values.shape == (*picture.shape[1:], len(channels))
        assert values.dtype == np.float32 and np.isfinite(values).all()
    titles = [ax.get_title() for ax in features.draw(image, name).axes]
    assert titles[: len(channels) + 1] == ["image", *channels]


def test_features_stand_side_by_side(image):
    both = described(image, ("position", "colour"))
    np.testing.assert_array_equal(both[..., :2], features.position(image))
    np.testing.assert_array_equal(both[..., 2:], features.colour(image))
    assert described(image).shape[2] == sum(len(f.channels) for f in FEATURES.values()) == 41
    with pytest.raises(ValueError, match="feature='color' is not one of colour, filters"):
        described(image, ("color",))
    with pytest.raises(ValueError, match="name at least one"):
        described(image, ())
