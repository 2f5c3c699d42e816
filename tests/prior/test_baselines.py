"""The two baselines without context: they answer exactly what they claim, and not well."""

import numpy as np
import pytest
import torch

from fcn_tutorial.datasets import Scenes
from fcn_tutorial.prior import ColourForest, MajorityClass, evaluate


@pytest.fixture(scope="module")
def scenes():
    return [
        list(Scenes(n=n, split=split, size=(64, 64))) for split, n in (("train", 60), ("test", 40))
    ]


@pytest.fixture(scope="module")
def forest(scenes):
    return ColourForest(12, pixels=15_000, trees=10, leaf=10).fit(scenes[0])


def test_majority_class_is_the_argmax_of_the_label_counts(scenes):
    train, test = scenes
    labels = np.concatenate([np.asarray(mask).ravel() for _, mask in train])
    expected = np.bincount(labels[labels != 255]).argmax()
    prediction = MajorityClass(12).fit(train).predict(test[0][0])
    assert prediction.dtype == np.uint8 and prediction.shape == (64, 64)
    assert (prediction == expected).all()


def test_void_is_never_the_majority():
    mask = np.full((8, 8), 255, np.uint8)
    mask[0, :3], mask[1, :2] = 4, 2
    image = np.zeros((3, 8, 8), np.uint8)
    assert (MajorityClass(5).fit([(image, mask)]).predict(image) == 4).all()


def test_the_table_answers_what_the_forest_answers(scenes, forest):
    for image, _ in scenes[1][:3]:
        colours = image.permute(1, 2, 0).reshape(-1, 3).numpy() // 4
        direct = forest.forest.predict(colours).reshape(64, 64)
        np.testing.assert_array_equal(forest.predict(image), direct)
        np.testing.assert_array_equal(forest.predict(np.asarray(image)), direct)


def test_the_forest_is_the_same_from_the_same_seed(scenes, forest):
    again = ColourForest(12, pixels=15_000, trees=10, leaf=10).fit(scenes[0])
    np.testing.assert_array_equal(again.table, forest.table)
    other = ColourForest(12, pixels=15_000, trees=10, leaf=10, seed=1).fit(scenes[0])
    assert (other.table != forest.table).any()


def test_the_forest_learns_what_colour_can_tell():
    """Red is one class and blue another; that most pixels of either are void changes nothing."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 60, (3, 32, 48), np.uint8)
    mask = rng.integers(0, 2, (32, 48), np.uint8)
    image[0][mask == 0] += 180
    image[2][mask == 1] += 180
    truth = mask.copy()
    mask[:24] = 255
    learned = ColourForest(7, leaf=1, trees=5).fit([(torch.from_numpy(image), mask)])
    np.testing.assert_array_equal(learned.predict(image), truth)
    assert evaluate(learned, [(image, mask)]).compute().mean_iu == 1.0


def test_evaluate_counts_every_scored_pixel_of_the_data_set_once(scenes, forest):
    _, test = scenes
    confusion = np.zeros((12, 12), np.int64)
    for image, mask in test:
        truth, guess = np.asarray(mask), forest.predict(image)
        np.add.at(confusion, (truth[truth != 255], guess[truth != 255]), 1)
    np.testing.assert_array_equal(evaluate(forest, test).matrix, confusion)


def test_colour_beats_the_majority_and_stays_far_from_solving_the_scenes(scenes, forest):
    train, test = scenes
    majority = evaluate(MajorityClass(12).fit(train), test).compute().mean_iu
    colour = evaluate(forest, test).compute().mean_iu
    assert majority + 0.03 < colour < 0.30


def test_balance_trades_pixel_for_mean_accuracy(scenes):
    train, test = scenes
    plain, balanced = (
        evaluate(ColourForest(12, pixels=15_000, trees=10, balance=b).fit(train), test).compute()
        for b in (0.0, 1.0)
    )
    assert plain.pixel_accuracy > balanced.pixel_accuracy
    assert plain.mean_accuracy < balanced.mean_accuracy


@pytest.mark.parametrize("kind", [MajorityClass, ColourForest])
def test_errors_say_what_to_do(kind):
    image, void = np.zeros((3, 4, 4), np.uint8), np.full((4, 4), 255, np.uint8)
    with pytest.raises(RuntimeError, match=r"call fit\(dataset\) first"):
        kind(3).predict(image)
    with pytest.raises(ValueError, match="not void"):
        kind(3).fit([(image, void)])
    with pytest.raises(ValueError, match="num_classes=3"):
        kind(3).fit([(image, np.full((4, 4), 3, np.uint8))])
    with pytest.raises(ValueError, match="num_classes=256"):
        kind(256)
    fitted = kind(3).fit([(image, np.ones((4, 4), np.uint8))])
    with pytest.raises(ValueError, match=r"float32 \(3, 4, 4\): give uint8"):
        fitted.predict(image.astype(np.float32))
