"""Scores: one confusion matrix against scikit-learn's and torchmetrics', and hand-made cases."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from sklearn.metrics import (
    confusion_matrix,
    jaccard_score,
    precision_recall_fscore_support,
    precision_score,
    recall_score,
)

import fcn_tutorial.vision  # noqa: F401  (torchmetrics imports torchvision)
from fcn_tutorial.metrics import (
    ConfusionMatrix,
    boundary_band,
    boundary_f1,
    boundary_iu,
    boundary_only,
    score,
    stride_ceiling,
    thin_classes,
    thin_iu,
)

torchmetrics = pytest.importorskip("torchmetrics.classification")

FLOAT32 = 1e-6  # a few roundings of torchmetrics' float32


@pytest.fixture
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def random_labels(seed: int, classes: int, void: float = 0.1, size: tuple[int, ...] = (3, 20, 30)):
    """A prediction that is right half of the time, and a truth with some void."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, size)
    guess = np.where(rng.random(size) < 0.5, truth, rng.integers(0, classes, size))
    truth[rng.random(size) < void] = 255
    return guess, truth


def blobs(seed: int, size: tuple[int, int] = (96, 120), classes: int = 4) -> np.ndarray:
    """Round regions of all classes, with void along some borders."""
    rng = np.random.default_rng(seed)
    centres = rng.random((12, 2)) * size
    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
    owner = np.linalg.norm(grid[..., None, :] - centres, axis=-1).argmin(axis=-1)
    labels = owner % classes
    labels[:, 1:][owner[:, 1:] != owner[:, :-1]] = 255
    return labels


# --- counting ------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(data=st.data(), classes=st.integers(2, 40), dtype=st.sampled_from(["uint8", "int64"]))
def test_counts_equal_scikit_learn_exactly(data: Any, classes: int, dtype: str) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=8))
    labels = st.integers(0, classes - 1)
    guess = data.draw(hnp.arrays(dtype, shape, elements=labels))
    truth = data.draw(hnp.arrays(dtype, shape, elements=labels | st.just(255)))
    confusion = ConfusionMatrix(classes).update(guess, truth)
    valid = truth != 255
    expected = np.zeros((classes, classes), np.int64)
    if valid.any():
        expected = confusion_matrix(truth[valid], guess[valid], labels=range(classes))
    assert confusion.matrix.dtype == torch.int64
    assert np.array_equal(confusion.matrix.numpy(), expected)


@pytest.mark.parametrize("ignore_index", [255, -1, -100, 0, 3, 70_000, None])
@pytest.mark.parametrize("classes", [2, 21, 300])
def test_any_void_label_is_left_out(ignore_index: int | None, classes: int) -> None:
    guess, truth = random_labels(classes, classes)
    truth[truth == 255] = 0 if ignore_index is None else ignore_index
    valid = np.ones_like(truth, bool) if ignore_index is None else truth != ignore_index
    expected = confusion_matrix(truth[valid], guess[valid], labels=range(classes))
    confusion = ConfusionMatrix(classes, ignore_index).update(guess, truth)
    assert np.array_equal(confusion.matrix.numpy(), expected)


def test_a_void_label_beyond_bytes_takes_no_class_of_bytes_for_void() -> None:
    """As bytes, −1 is 255, −100 is 156, and 256 is 0."""
    truth = np.array([[0, 1, 156, 255]], np.uint8)
    for void in (-1, -100, 256, 511):
        confusion = ConfusionMatrix(256, void).update(truth, truth)
        assert confusion.matrix.diagonal().nonzero()[:, 0].tolist() == [0, 1, 156, 255]
        with pytest.raises(ValueError, match=f"target holds 255.* or the void label {void}"):
            ConfusionMatrix(255, void).update(truth[:, :1].repeat(4, 1), truth)
        band = boundary_band(np.array([[0, 0, 156, 156, 1, 1]] * 2, np.uint8), 1, void)
        assert int(band.sum()) == 8
    labels = np.array([[0, 0, 0, 156, 156, 156]] * 6, np.uint8)  # two sides of a boundary
    assert int(boundary_band(labels, 1, -100).sum()) == int(boundary_band(labels, 1).sum()) == 12
    ceiling = stride_ceiling([labels], 1, 171, -100)
    assert ceiling.pixel_accuracy == 1 and ceiling.support.sum() == 36


def test_several_void_labels_are_all_left_out() -> None:
    guess, truth = random_labels(5, 7)
    several = np.where(guess % 2 == 1, np.where(truth == 255, 254, truth), truth)
    expected = ConfusionMatrix(7).update(guess, truth)
    for void in ((255, 254), [254, 255], {254, 255, -1}):
        found = ConfusionMatrix(7, void).update(guess, several)
        assert torch.equal(found.matrix, expected.matrix)
    both, turned = ConfusionMatrix(7, (254, 255)), ConfusionMatrix(7, [255, 254])
    both.merge(turned)
    with pytest.raises(ValueError, match="ignore_index"):
        both.merge(ConfusionMatrix(7))
    assert torch.equal(
        boundary_band(several, 2, (254, 255), False), boundary_band(truth, 2, 255, False)
    )
    near = boundary_only(several, 2, (254, 255))
    assert set(near.unique().tolist()) <= {*range(7), 254}
    f1 = boundary_f1(guess[0], several[0], 7, 2, (254, 255))
    assert f1 == boundary_f1(guess[0], truth[0], 7, 2)
    ceiling = stride_ceiling(several, 4, 7, (254, 255))
    assert ceiling.mean_iu == stride_ceiling(truth, 4, 7).mean_iu


@pytest.mark.parametrize("void", [0, 2, (0, 255), (1, 2)])
def test_a_void_label_among_the_classes_is_no_class(void: Any) -> None:
    """scikit-learn on the valid pixels, over the classes alone: predicted void is a miss."""
    guess, truth = random_labels(8, 5, void=0)
    voids = void if isinstance(void, tuple) else (void,)
    valid = ~np.isin(truth, (*voids, 255))
    truth[truth == 255] = voids[-1]
    classes = [c for c in range(5) if c not in voids]
    scores = ConfusionMatrix(5, void).update(guess, truth).compute()
    expected = jaccard_score(truth[valid], guess[valid], labels=classes, average=None)
    assert scores.iu[classes] == pytest.approx(expected)
    assert scores.mean_iu == pytest.approx(expected.mean())
    assert np.isnan(scores.iu[[c for c in voids if c < 5]]).all()


@pytest.mark.usefixtures("no_warnings")
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", ">i2", "uint16", "int32", "int64"])
def test_integer_type_layout_and_container_do_not_matter(dtype: str) -> None:
    guess, truth = random_labels(1, 7, void=0)
    expected = ConfusionMatrix(7).update(guess, truth).matrix
    cast_guess, cast_truth = guess.astype(dtype), truth.astype(dtype)
    mirrored = cast_guess[:, ::-1], cast_truth[:, ::-1]
    strided = np.asfortranarray(cast_guess), cast_truth.copy()
    strided[1].flags.writeable = False
    for pair in ((cast_guess, cast_truth), mirrored, strided):
        assert torch.equal(ConfusionMatrix(7).update(*pair).matrix, expected)
    tensors = torch.from_numpy(guess).permute(0, 2, 1), torch.from_numpy(truth).permute(0, 2, 1)
    assert torch.equal(ConfusionMatrix(7).update(*tensors).matrix, expected)
    assert torch.equal(ConfusionMatrix(7).update(tensors[0].byte(), tensors[1]).matrix, expected)


def test_a_mask_is_taken_as_a_tensor() -> None:
    from fcn_tutorial.vision import tv_tensors

    guess, truth = random_labels(2, 5)
    masks = (tv_tensors.Mask(torch.from_numpy(labels).byte()) for labels in (guess, truth))
    confusion = ConfusionMatrix(5).update(*masks)
    assert type(confusion.matrix) is torch.Tensor
    assert torch.equal(confusion.matrix, ConfusionMatrix(5).update(guess, truth).matrix)


def test_parts_merged_in_any_way_equal_the_whole() -> None:
    guess, truth = random_labels(3, 6)
    whole = ConfusionMatrix(6).update(guess, truth)
    step_by_step = ConfusionMatrix(6)
    for one_guess, one_truth in zip(guess, truth, strict=True):
        step_by_step.update(one_guess, one_truth)
    left = ConfusionMatrix(6).update(guess[:1], truth[:1])
    right = ConfusionMatrix(6).update(guess[1:], truth[1:])
    assert torch.equal(step_by_step.matrix, whole.matrix)
    assert torch.equal(left.merge(right).matrix, whole.matrix)
    assert right.matrix.sum() < whole.matrix.sum()


# --- scores --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_torchmetrics_and_scikit_learn(seed: int) -> None:
    classes = 2 + 5 * seed
    guess, truth = random_labels(seed, classes)
    truth[truth == 1] = 0  # class 1 is absent from the truth, but predicted
    scores = ConfusionMatrix(classes).update(guess, truth).compute()
    pair = torch.from_numpy(guess), torch.from_numpy(truth)

    def theirs(name: str, average: str | None) -> Any:
        metric = getattr(torchmetrics, name)(classes, average=average, ignore_index=255)
        return metric(*pair).numpy()

    assert scores.pixel_accuracy == pytest.approx(theirs("MulticlassAccuracy", "micro"), FLOAT32)
    assert scores.mean_iu == pytest.approx(theirs("MulticlassJaccardIndex", "macro"), FLOAT32)
    assert scores.fw_iu == pytest.approx(theirs("MulticlassJaccardIndex", "weighted"), FLOAT32)
    assert scores.iu == pytest.approx(theirs("MulticlassJaccardIndex", "none"), FLOAT32)

    valid = truth != 255
    flat: dict[str, Any] = {"labels": range(classes), "average": None, "zero_division": np.nan}
    true, predicted = truth[valid], guess[valid]
    assert scores.iu == pytest.approx(
        jaccard_score(true, predicted, **{**flat, "zero_division": 0}), abs=1e-15
    )
    accuracy = recall_score(true, predicted, **flat)
    precision = precision_score(true, predicted, **flat)
    assert scores.accuracy == pytest.approx(accuracy, abs=1e-15, nan_ok=True)
    assert scores.precision == pytest.approx(precision, abs=1e-15, nan_ok=True)
    assert scores.mean_accuracy == pytest.approx(np.nanmean(accuracy), abs=1e-15)
    assert scores.support.tolist() == [(true == c).sum() for c in range(classes)]


@pytest.mark.parametrize("classes", [2, 5, 21])
def test_precision_and_recall_equal_scikit_learn(classes: int) -> None:
    guess, truth = random_labels(classes, classes)
    guess[guess == 0] = 1  # class 0 is never predicted, the last one never true
    truth[truth == classes - 1] = 0
    scores = ConfusionMatrix(classes).update(guess, truth).compute()
    valid = truth != 255
    precision, recall, _, support = precision_recall_fscore_support(
        truth[valid], guess[valid], labels=range(classes), zero_division=np.nan
    )
    assert scores.precision == pytest.approx(precision, abs=1e-15, nan_ok=True)
    assert scores.recall == pytest.approx(recall, abs=1e-15, nan_ok=True)
    assert scores.recall is scores.accuracy
    assert scores.support.tolist() == support.tolist()
    assert math.isnan(scores.precision[0]) and math.isnan(scores.recall[-1])


def test_means_equal_torchmetrics_where_a_class_is_neither_true_nor_predicted() -> None:
    guess, truth = random_labels(8, 6)
    guess[guess == 4] = 5
    truth[truth == 4] = 5
    scores = ConfusionMatrix(6).update(guess, truth).compute()
    pair = torch.from_numpy(guess), torch.from_numpy(truth)
    macro: dict[str, Any] = {"average": "macro", "ignore_index": 255}
    iu = torchmetrics.MulticlassJaccardIndex(6, **macro)(*pair).item()
    accuracy = torchmetrics.MulticlassAccuracy(6, **macro)(*pair).item()
    assert scores.mean_iu == pytest.approx(iu, FLOAT32)
    assert scores.mean_accuracy == pytest.approx(accuracy, FLOAT32)


def test_absent_classes_by_both_conventions() -> None:
    # Rows are truth. Class 2 is predicted but absent, class 3 is neither there nor predicted.
    matrix = [[6, 2, 0, 0], [1, 3, 4, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    predicted = score(np.array(matrix))
    truth_only = score(torch.tensor(matrix), absent="truth_only")
    nan = math.nan
    assert predicted.iu.tolist() == pytest.approx([6 / 9, 3 / 10, 0, nan], nan_ok=True)
    assert truth_only.iu.tolist() == pytest.approx([6 / 9, 3 / 10, nan, nan], nan_ok=True)
    assert predicted.mean_iu == pytest.approx((6 / 9 + 3 / 10) / 3)
    assert truth_only.mean_iu == pytest.approx((6 / 9 + 3 / 10) / 2)
    assert (predicted.absent, truth_only.absent) == ("score_zero_if_predicted", "truth_only")
    for scores in (predicted, truth_only):
        assert scores.pixel_accuracy == pytest.approx(9 / 16)
        assert scores.mean_accuracy == pytest.approx((6 / 8 + 3 / 8) / 2)
        assert scores.fw_iu == pytest.approx((8 * 6 / 9 + 8 * 3 / 10) / 16)
        assert scores.accuracy.tolist() == pytest.approx([6 / 8, 3 / 8, nan, nan], nan_ok=True)
        assert scores.precision.tolist() == pytest.approx([6 / 7, 3 / 5, 0, nan], nan_ok=True)
        assert scores.support.tolist() == [8, 8, 0, 0]


def test_conventions_can_differ_by_a_factor_of_two() -> None:
    matrix = np.array([[9, 1], [0, 0]])
    assert score(matrix, "truth_only").mean_iu == pytest.approx(2 * score(matrix).mean_iu)


def test_scores_are_over_the_summed_matrix_not_the_mean_of_images() -> None:
    confusion = ConfusionMatrix(2)
    confusion.update(np.zeros((1, 9), int), np.zeros((1, 9), int))
    confusion.update(np.ones((1, 1), int), np.zeros((1, 1), int))
    assert confusion.compute().pixel_accuracy == pytest.approx(0.9)


@pytest.mark.usefixtures("no_warnings")
@pytest.mark.parametrize("absent", ["score_zero_if_predicted", "truth_only"])
@pytest.mark.parametrize(
    "update", [None, np.full((2, 3), 255), np.zeros((0, 4), int), np.full((0,), 255)]
)
def test_nothing_to_score_gives_nan(absent: Any, update: Any) -> None:
    confusion = ConfusionMatrix(3)
    if update is not None:
        confusion.update(update * 0, update)
    scores = confusion.compute(absent)
    values = [scores.pixel_accuracy, scores.mean_accuracy, scores.mean_iu, scores.fw_iu]
    assert all(type(value) is float and math.isnan(value) for value in values)
    assert np.isnan(scores.iu).all() and scores.support.tolist() == [0, 0, 0]


def test_a_matrix_says_what_it_holds() -> None:
    text = repr(ConfusionMatrix(3, None).update(np.zeros((2, 2), int), np.zeros((2, 2), int)))
    assert text == "ConfusionMatrix(num_classes=3, ignore_index=None, pixels=4)"


def test_one_class() -> None:
    scores = ConfusionMatrix(1).update(np.zeros((2, 2), int), np.zeros((2, 2), int)).compute()
    assert (scores.pixel_accuracy, scores.mean_accuracy, scores.mean_iu, scores.fw_iu) == (1,) * 4


def test_large_counts_stay_exact() -> None:
    matrix = torch.tensor([[2**52, 1], [0, 2**52]])
    confusion = ConfusionMatrix(2)
    confusion.matrix.add_(matrix)
    confusion.update(np.array([[0]]), np.array([[0]]))
    assert confusion.matrix[0, 0].item() == 2**52 + 1


# --- near the boundaries -------------------------------------------------------------------------


def band_by_definition(
    target: np.ndarray, width: int, void: int | None, void_is_boundary: bool
) -> np.ndarray:
    """Looks at every pixel of every window."""
    band = np.zeros(target.shape, bool)
    for y, x in np.ndindex(*target.shape):
        window = target[max(y - width, 0) : y + width + 1, max(x - width, 0) : x + width + 1]
        if void is not None and not void_is_boundary:
            window = window[window != void]
        band[y, x] = target[y, x] != void and bool((window != target[y, x]).any())
    return band


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    dtype=st.sampled_from(["uint8", "int8", "uint16", "int64"]),
    width=st.integers(1, 9),
    void=st.sampled_from([None, 0, 3, 99]),
    void_is_boundary=st.booleans(),
)
def test_band_follows_its_definition(
    data: Any, dtype: str, width: int, void: int | None, void_is_boundary: bool
) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=12))
    labels = st.sampled_from([1, 1, 1, 0, 3, 99])
    target = data.draw(hnp.arrays(dtype, shape, elements=labels, fill=st.just(1)))
    band = boundary_band(target, width, void, void_is_boundary)
    expected = [band_by_definition(one, width, void, void_is_boundary) for one in target]
    assert band.dtype == torch.bool
    assert np.array_equal(band.numpy(), np.stack(expected))


@pytest.mark.parametrize("width", [1, 2, 5, 16, 200])
def test_band_equals_a_distance_transform(width: int) -> None:
    target = blobs(3)
    expected = np.zeros(target.shape, bool)
    for c in range(4):
        distance = ndimage.distance_transform_cdt(target == c, "chessboard")
        expected |= (target == c) & (distance <= width)
    assert np.array_equal(boundary_band(target, width).numpy(), expected)


@pytest.mark.parametrize("width", [1, 3, 6])
def test_band_covers_the_width_on_either_side_of_an_edge(width: int) -> None:
    target = torch.zeros(2, 4, 20, dtype=torch.uint8)
    target[..., 9:] = 1
    columns = boundary_band(target, width).all(dim=(0, 1)).nonzero().flatten()
    assert columns.tolist() == list(range(9 - width, 9 + width))


def test_void_is_a_boundary_or_unknown() -> None:
    target = torch.zeros(3, 20, dtype=torch.int64)
    target[:, 8:11] = 255  # a border three pixels wide, as VOC draws them
    target[:, 11:] = 1

    def columns(width: int, void_is_boundary: bool) -> list[int]:
        band = boundary_band(target, width, void_is_boundary=void_is_boundary)
        assert torch.equal(band.all(dim=0), band.any(dim=0))
        return band.all(dim=0).nonzero().flatten().tolist()

    assert columns(2, True) == [6, 7, 11, 12]
    assert columns(3, False) == []  # the other class begins four pixels away
    assert columns(4, False) == [7, 11]


def test_scores_near_boundaries_are_those_of_the_band() -> None:
    truth = blobs(0)
    guess = np.where(truth == 255, 0, truth)
    guess = np.roll(guess, 2, axis=1)  # wrong near boundaries alone
    whole = ConfusionMatrix(4).update(guess, truth).compute()
    scores = []
    for width in (1, 2, 4, 8, 200):
        band = band_by_definition(truth, width, 255, True)
        near = ConfusionMatrix(4).update(guess, boundary_only(truth, width))
        expected = confusion_matrix(truth[band], guess[band], labels=range(4))
        assert np.array_equal(near.matrix.numpy(), expected)
        scores.append(near.compute().mean_iu)
    assert scores[1:] == sorted(scores[1:]) and scores[1] < whole.mean_iu - 0.1
    assert scores[-1] == whole.mean_iu


def test_the_band_takes_tensors_arrays_and_batches_alike() -> None:
    target = np.stack([blobs(0), blobs(1)]).astype(np.uint8)
    expected = torch.stack([boundary_only(one, 2) for one in target])
    before = target.copy()
    for given_target in (target, torch.from_numpy(target), target[:, ::-1][:, ::-1]):
        kept = boundary_only(given_target, 2)
        assert kept.dtype == torch.uint8 and torch.equal(kept, expected)
    assert np.array_equal(target, before)
    assert torch.equal(expected != 255, boundary_band(target, 2))


@pytest.mark.parametrize("void_is_boundary", [True, False])
@pytest.mark.parametrize("label", [0, 255])
@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (0, 4), (2, 5, 5)])
def test_maps_of_one_label_have_no_boundary(
    shape: tuple[int, ...], label: int, void_is_boundary: bool
) -> None:
    target = np.full(shape, label, np.uint8)
    assert not boundary_band(target, 3, void_is_boundary=void_is_boundary).any()
    near = ConfusionMatrix(2).update(target * 0, boundary_only(target, 3))
    assert math.isnan(near.compute().mean_iu)


def contours_by_definition(labels: np.ndarray, truth: np.ndarray, c: int) -> np.ndarray:
    """(K, 2) coordinates of the contour of class c."""
    points = []
    for y, x in np.argwhere((labels == c) & (truth != 255)):
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            inside = 0 <= v < labels.shape[0] and 0 <= u < labels.shape[1]
            if inside and truth[v, u] != 255 and labels[v, u] != c:
                points.append((y, x))
                break
    return np.array(points, float).reshape(-1, 2)


def bf_by_definition(guess: np.ndarray, truth: np.ndarray, tolerance: float) -> float:
    scores = []
    for c in set(truth[truth != 255].tolist()):
        true, guessed = (contours_by_definition(labels, truth, c) for labels in (truth, guess))
        if not len(true) and not len(guessed):
            continue
        if not len(true) or not len(guessed):
            scores.append(0.0)
            continue
        distance = np.linalg.norm(true[:, None] - guessed, axis=-1)
        recall = (distance.min(axis=1) <= tolerance).mean()
        precision = (distance.min(axis=0) <= tolerance).mean()
        scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return float(np.mean(scores)) if scores else math.nan


@pytest.mark.parametrize("tolerance", [0, 1, 1.5, 3])
@pytest.mark.parametrize("seed", range(4))
def test_boundary_f1_follows_its_definition(seed: int, tolerance: float) -> None:
    truth = blobs(seed, (22, 31))
    rng = np.random.default_rng(seed)
    guess = np.roll(blobs(seed, (22, 31)), 1 + seed, axis=0)
    guess[guess == 255] = 0
    guess[rng.random(guess.shape) < 0.02] = seed
    ours = boundary_f1(guess, torch.from_numpy(truth), 4, tolerance)
    assert 0 < ours < 1
    assert ours == pytest.approx(bf_by_definition(guess, truth, tolerance), abs=1e-12)


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (3, 1.0), (4, 0.0)])
def test_default_tolerance_is_that_of_the_source(shift: int, expected: float) -> None:
    truth = np.zeros((300, 400), np.uint8)  # a diagonal of 500, so 3.75 pixels
    truth[:, 200:] = 1
    guess = np.zeros_like(truth)
    guess[:, 200 + shift :] = 1
    assert boundary_f1(guess, truth, 2) == expected


def test_boundary_f1_of_contours_that_one_map_lacks() -> None:
    flat, split = np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.uint8)
    split[:, 3:] = 1
    assert boundary_f1(flat, split, 2) == 0  # neither class found its contour
    assert boundary_f1(split, flat, 2) == 0  # a contour that is not there
    assert math.isnan(boundary_f1(flat, flat, 2)) and math.isnan(boundary_f1(flat[:0], flat[:0], 2))
    assert math.isnan(boundary_f1(flat, flat + 255, 2))
    covered = split.copy()
    covered[:, 2:4] = 255  # void over the boundary: no contour is left to find
    assert math.isnan(boundary_f1(split, covered, 2))
    third = split.copy()
    third[0, 0] = 2  # in the prediction alone: it spoils class 0 a little, and is not averaged
    assert 0.8 < boundary_f1(third, split, 3, 0) < 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: boundary_band(z, 0), "width must be at least 1 pixel, got 0"),
        (lambda z: boundary_only(z, -2), "width must be at least 1 pixel, got -2"),
        (lambda z: boundary_band(z[0], 1), r"\(…, H, W\), got \(4,\)"),
        (lambda z: boundary_band(z * 1.0, 1), "target must hold class indices"),
        (lambda z: boundary_only(z.astype(np.int8), 1), "ignore_index=255 does not fit .*int8"),
        (lambda z: boundary_f1(z, z[:2], 2), r"one shape \(H, W\), got \(4, 4\) and \(2, 4\)"),
        (lambda z: boundary_f1(z[None], z[None], 2), r"got \(1, 4, 4\) and"),
        (lambda z: boundary_f1(z, z, 2, -1.0), "tolerance must not be negative, got -1.0"),
        (lambda z: boundary_f1(z, z, 2, math.nan), "tolerance must not be negative, got nan"),
        (lambda z: boundary_f1(z + 2, z, 2), "prediction holds 2, .* expected 0 … 1$"),
        (lambda z: boundary_f1(z, z + 254, 2), "target holds 254, .* or the void label 255"),
        (lambda z: boundary_f1(z, z + 255, 2, ignore_index=None), "255, .* no void label"),
    ],
)
def test_boundary_scores_refuse_what_makes_no_sense(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(np.zeros((4, 4), int))


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize(
    ("guess", "truth", "message"),
    [
        (3, 0, "prediction holds 3, .* expected 0 … 2$"),
        (255, 1, "prediction holds 255"),
        (0, 3, "target holds 3, .* expected 0 … 2 or the void label 255"),
        (0, 254, "target holds 254"),
    ],
)
def test_out_of_range_labels_are_named_and_nothing_is_counted(
    dtype: torch.dtype, guess: int, truth: int, message: str
) -> None:
    labels = torch.tensor([[guess, 0], [0, 0]], dtype=dtype), torch.tensor([[truth, 0], [1, 2]])
    confusion = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=message):
        confusion.update(labels[0], labels[1].to(dtype))
    assert not confusion.matrix.any()


@pytest.mark.parametrize("wrong", [-1, -(10**12), 10**12])
def test_labels_beyond_a_byte_are_named(wrong: int) -> None:
    zero, bad = np.zeros((2, 2), int), np.array([[0, wrong], [0, 0]])
    with pytest.raises(ValueError, match=f"prediction holds {wrong},"):
        ConfusionMatrix(3).update(bad, zero)
    with pytest.raises(ValueError, match=f"target holds {wrong},"):
        ConfusionMatrix(3).update(zero, bad)
    with pytest.raises(ValueError, match=r"target holds 255, .* no void label"):
        ConfusionMatrix(3, ignore_index=None).update(zero, zero + 255)


@pytest.mark.parametrize("anything", [-1, 7, 255, 10**12])
def test_predictions_of_void_pixels_are_not_looked_at(anything: int) -> None:
    guess, truth = np.array([[anything, 1]]), np.array([[255, 1]])
    assert ConfusionMatrix(3).update(guess, truth).matrix.sum() == 1


def test_arguments_that_do_not_fit_are_refused() -> None:
    zero = np.zeros((2, 2), int)
    with pytest.raises(ValueError, match=r"same shape, got \(2, 2\) and \(2,\)"):
        ConfusionMatrix(3).update(zero, zero[0])
    with pytest.raises(ValueError, match=r"prediction must hold class indices.*argmax"):
        ConfusionMatrix(3).update(zero * 1.0, zero)
    with pytest.raises(ValueError, match="target must hold class indices"):
        ConfusionMatrix(3).update(zero, zero > 0)
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        ConfusionMatrix(0)
    with pytest.raises(ValueError, match=r"\(3, 255\) as this one, got \(4, 255\)"):
        ConfusionMatrix(3).merge(ConfusionMatrix(4))
    with pytest.raises(ValueError, match=r"got \(3, 0\)"):
        ConfusionMatrix(3).merge(ConfusionMatrix(3, ignore_index=0))
    with pytest.raises(ValueError, match=r"absent must be one of .* got 'skip'"):
        ConfusionMatrix(3).compute("skip")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"square, \(C, C\), got shape \(2, 3\)"):
        score(np.zeros((2, 3)))


# --- what a stride costs -------------------------------------------------------------------------

# --- thin classes, and the band as one number ----------------------------------------------------


def street(shift: int = 0) -> np.ndarray:
    """Sky over road, a pole 3 pixels wide through both, and a void corner; 100 × 120."""
    labels = np.zeros((100, 120), np.uint8)
    labels[50:] = 1
    labels[10:90, 60 + shift : 63 + shift] = 2
    labels[:20, :20] = 255
    return labels


def test_thin_classes_are_those_that_are_nearly_all_boundary() -> None:
    truth = street()
    assert thin_classes([truth, truth], 4) == [2]  # class 3 has no pixel
    # Sky and road have 2 rows along the horizon and 2 columns either side of the pole; sky is less.
    assert thin_classes([truth], 3, share=0.05) == [2, 0, 1]
    wide = np.repeat(np.repeat(truth, 4, 0), 4, 1)  # the pole is 12 pixels wide
    assert thin_classes([wide], 3) == [] and thin_classes([wide], 3, width=8) == [2]
    assert thin_classes([np.full((9, 9), 255, np.uint8)], 3) == []
    with pytest.raises(ValueError, match="share must be above 0"):
        thin_classes([truth], 3, share=0)
    with pytest.raises(ValueError, match="target holds 2"):
        thin_classes([truth], 2)


def test_thin_iu_is_the_mean_over_the_thin_classes() -> None:
    scores = ConfusionMatrix(4).update(street(1), street()).compute()
    assert thin_iu(scores, [2]) == scores.iu[2] == pytest.approx(2 / 4)  # 2 of 3 columns meet
    assert thin_iu(scores, {1, 2}) == pytest.approx(scores.iu[1:3].mean())
    assert math.isnan(thin_iu(scores, [3])) and thin_iu(scores, [2, 3]) == scores.iu[2]
    for wrong in ([], [4], [-1]):
        with pytest.raises(ValueError, match="expected indices of some of 4 classes"):
            thin_iu(scores, wrong)


def test_boundary_iu_is_scikit_learns_over_the_band() -> None:
    truths = [blobs(seed) for seed in range(3)]
    guesses = [np.where(t == 255, 0, np.roll(t, 1, axis=1) % 4) for t in truths]
    near = [np.asarray(boundary_band(t, 2)) for t in truths]
    flat = [np.concatenate([x[n] for x, n in zip(xs, near, strict=True)])
            for xs in (truths, guesses)]  # fmt: skip
    expected = jaccard_score(*flat, average="macro")
    pairs = list(zip(guesses, truths, strict=True))
    assert boundary_iu(pairs, 4) == pytest.approx(expected)
    assert boundary_iu([(np.stack(guesses), np.stack(truths))], 4) == pytest.approx(expected)
    assert boundary_iu(zip(truths, truths, strict=True), 256, ignore_index=-1) == 1
    assert math.isnan(boundary_iu([(np.zeros((5, 5), int), np.zeros((5, 5), int))], 2))


METHODS = ["nearest", "majority", "bilinear"]


@pytest.mark.parametrize("method", METHODS)
def test_ceiling_is_one_at_factor_one_and_falls_with_the_factor(method: Any) -> None:
    labels = [blobs(seed) for seed in range(3)]
    ceilings = [stride_ceiling(labels, f, 4, method=method).mean_iu for f in (1, 2, 8, 32, 128)]
    assert ceilings[0] == 1
    assert ceilings == sorted(ceilings, reverse=True) and ceilings[-1] < 0.5 < ceilings[2]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(16, 24), (17, 19), (3, 50)])
def test_labels_made_of_whole_cells_survive(method: Any, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    cells = rng.integers(0, 3, (-(-size[0] // 8), -(-size[1] // 8)))
    if method == "bilinear":  # which rounds corners, so give it none
        cells = np.broadcast_to(cells[:1], cells.shape)
    labels = np.kron(cells, np.ones((8, 8), int))[: size[0], : size[1]]
    labels[0, 0] = 255
    assert stride_ceiling([labels], 8, 3, method=method).pixel_accuracy == 1


def by_cells(labels: np.ndarray, factor: int, method: str) -> np.ndarray:
    """The documented cell methods, pixel by pixel."""
    restored = np.zeros_like(labels)
    for top in range(0, labels.shape[0], factor):
        for left in range(0, labels.shape[1], factor):
            cell = labels[top : top + factor, left : left + factor]
            middle = cell[min(factor // 2, cell.shape[0] - 1), min(factor // 2, cell.shape[1] - 1)]
            valid = cell[cell != 255]
            label = np.bincount(valid).argmax() if valid.size else 0
            if method == "nearest" and middle != 255:
                label = middle
            restored[top : top + factor, left : left + factor] = label
    return restored


@pytest.mark.parametrize("method", ["nearest", "majority"])
@pytest.mark.parametrize("factor", [2, 3, 8, 50])
def test_cell_methods_follow_their_description(method: Any, factor: int) -> None:
    rng = np.random.default_rng(factor)
    labels = rng.choice([0, 1, 2, 255], (23, 31), p=[0.3, 0.2, 0.2, 0.3])
    expected = ConfusionMatrix(3).update(by_cells(labels, factor, method), labels).compute()
    ours = stride_ceiling([labels], factor, 3, method=method)
    assert ours.iu.tolist() == expected.iu.tolist()


@pytest.mark.parametrize("factor", [2, 8])
def test_bilinear_places_an_edge_inside_a_cell(factor: int) -> None:
    # Shares 1, 3/4 … of a straight edge: interpolation finds it again, a label a cell does not.
    labels = np.zeros((4 * factor, 4 * factor), int)
    labels[:, 2 * factor + factor // 2 :] = 1
    bilinear = stride_ceiling([labels], factor, 2, method="bilinear")
    majority = stride_ceiling([labels], factor, 2, method="majority")
    assert bilinear.pixel_accuracy == 1 > majority.pixel_accuracy


def test_majority_is_the_best_label_a_cell() -> None:
    labels = [blobs(seed) for seed in range(3)]
    accuracy = [stride_ceiling(labels, 8, 4, method=m).pixel_accuracy for m in METHODS[:2]]
    assert accuracy[1] >= accuracy[0]


@pytest.mark.parametrize("method", METHODS)
def test_void_is_neither_scored_nor_spread(method: Any) -> None:
    labels = np.full((20, 20), 255)
    labels[9:11, 9:11] = 2  # every sampled pixel is void
    scores = stride_ceiling([labels.astype(np.uint8)], 8, 3, method=method)
    assert scores.pixel_accuracy == 1 and scores.support.tolist() == [0, 0, 4]
    empty = stride_ceiling([np.full((4, 4), 255)], 2, 3, method=method)
    assert math.isnan(empty.mean_iu)


def test_ceiling_refuses_what_it_cannot_score() -> None:
    labels = np.zeros((4, 4), int)
    with pytest.raises(ValueError, match="factor must be at least 1, got 0"):
        stride_ceiling([labels], 0, 2)
    with pytest.raises(ValueError, match=r"method must be one of .* got 'area'"):
        stride_ceiling([labels], 2, 2, method="area")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(H, W\), got \(1, 4, 4\)"):
        stride_ceiling([labels[None]], 2, 2)
    with pytest.raises(ValueError, match=r"target holds 2, .* expected 0 … 1"):
        stride_ceiling([labels + 2], 2, 2)


@pytest.mark.parametrize("method", METHODS)
def test_ceiling_of_nothing_is_nan_and_of_one_class_is_one(method: Any) -> None:
    assert math.isnan(stride_ceiling([], 4, 3, method=method).mean_iu)
    assert stride_ceiling([np.zeros((5, 7), int)], 4, 1, method=method).mean_iu == 1
