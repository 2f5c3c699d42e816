"""The classifiers of pixels are scikit-learn's, no more and no less."""

import warnings

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from fcn_tutorial.datasets import Scenes
from fcn_tutorial.prior import PixelForest, PixelSVM
from fcn_tutorial.prior.classifiers import Classifier, forest
from fcn_tutorial.prior.features import described
from fcn_tutorial.prior.method import gathered, sampled

FEATURES = ("colour", "position")


@pytest.fixture(scope="module")
def scenes():
    return list(Scenes(n=4, size=(32, 32)))


def fitted(learner, x, y):
    """The learner on standardised features, weighted by hand."""
    weights = np.array([(y == c).mean() ** -0.5 for c in y])
    (step,) = (name for name, _ in make_pipeline(learner).steps)
    return make_pipeline(StandardScaler(), learner).fit(x, y, **{f"{step}__sample_weight": weights})


def test_the_svm_on_all_pixels_is_scikit_learn_s(scenes):
    x = np.concatenate([described(image, FEATURES).reshape(-1, 5) for image, _ in scenes])
    y = np.concatenate([np.asarray(mask).ravel() for _, mask in scenes])
    expected = fitted(LinearSVC(C=0.1, tol=1e-6), x[y != 255], y[y != 255])
    method = PixelSVM(12, pixels=4 * 32 * 32, features=FEATURES).fit(scenes)
    for image, _ in scenes:
        direct = expected.predict(described(image, FEATURES).reshape(-1, 5)).reshape(32, 32)
        # ours sees the pixels in another order and stops at a tolerance of 1e-3
        assert (method.predict(image) == direct).mean() > 0.99


def test_the_forest_is_scikit_learn_s(scenes):
    method = PixelForest(12, pixels=800, features=FEATURES, trees=5, seed=3).fit(scenes)
    x, y = gathered(scenes, method, lambda image: described(image, FEATURES))
    forest = RandomForestClassifier(5, min_samples_leaf=10, random_state=3)
    expected = fitted(forest, x, y)
    for image, _ in scenes:
        direct = expected.predict(described(image, FEATURES).reshape(-1, 5)).reshape(32, 32)
        np.testing.assert_array_equal(method.predict(image), direct)


def test_pixels_are_drawn_evenly_without_void_and_with_their_own_label(scenes):
    """Features that are the label itself, 255 where it is void: each drawn one fits."""
    items = [(np.stack([np.asarray(mask)] * 3), mask) for _, mask in scenes]
    method = PixelForest(12, pixels=200)
    x, y = gathered(items, method, lambda image: image.transpose(1, 2, 0)[..., :1])
    assert len(y) == 200 and (x[:, 0] == y).all() and 255 not in y
    places = [where for _, where, _ in sampled(items, method)]
    assert [len(set(where)) for where in places] == [50] * 4


def test_a_classifier_of_sampled_features_is_the_learner_itself():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 4)) * [1, 5, 0.1, 2], rng.choice([2, 5, 6], 300)
    x[:, 1] += y
    weights = np.array([(y == c).mean() ** -0.5 for c in y])
    standard = (x - x.mean(0)) / x.std(0)
    forest = RandomForestClassifier(5, random_state=3).fit(standard, y, sample_weight=weights)
    ours = Classifier(RandomForestClassifier(5, random_state=3), 9).fit(x, y).probabilities(x)
    np.testing.assert_allclose(ours[:, [2, 5, 6]], forest.predict_proba(standard), atol=1e-6)
    assert (ours[:, [0, 1, 3, 4, 7, 8]] == 0).all()
    svm = LinearSVC(random_state=3).fit(standard, y, sample_weight=weights)
    ours = Classifier(LinearSVC(random_state=3), 9).fit(x, y).probabilities(x)
    np.testing.assert_array_equal(ours.argmax(1), svm.predict(standard))
    two = y > 2
    svm = LinearSVC(random_state=3).fit(
        standard, two, sample_weight=np.where(two, two.mean(), 1 - two.mean()) ** -0.5
    )
    ours = Classifier(LinearSVC(random_state=3), 2).fit(x, two.astype(int)).probabilities(x)
    np.testing.assert_array_equal(ours.argmax(1), svm.predict(standard))


def test_a_forest_says_the_same_to_the_last_bit_and_leaves_warnings_as_they_were() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(4000, 6)), rng.integers(0, 4, 4000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)
        before = list(warnings.filters)
        classifier = Classifier(forest(0, 40, 5), 4).fit(features, labels)
        found = classifier.probabilities(features)
        assert list(warnings.filters) == before
    again = Classifier(forest(0, 40, 5), 4).fit(features, labels)
    for _ in range(5):
        assert np.array_equal(again.probabilities(features), found)
    learner, scaled = classifier.learner, classifier.scaler.transform(features)
    # Trees one after the other, in their order: what threads would add in an order of chance.
    shares = sum((tree.predict_proba(scaled) for tree in learner.estimators_), np.zeros((4000, 4)))
    assert np.array_equal(learner.predict_proba(scaled), shares / len(learner.estimators_))
