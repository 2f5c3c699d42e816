"""scikit-learn's classifiers as the methods need them: asked for every class, fed with few."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class Classifier:
    """A classifier of features (n, D) that answers for classes it has not seen, too.

    Features are standardised, and a class weighs (its frequency)**-balance.

    Args:
        learner: of scikit-learn, unfitted: with `predict_proba`, or with `decision_function`, whose
            values become probabilities by softmax. They are no frequencies then, but as ordered.
        num_classes: how many there are, C.
        balance: from 0, which maximises pixel accuracy, to 1, which maximises mean accuracy.
    """

    def __init__(self, learner: Any, num_classes: int, balance: float = 0.5) -> None:
        self.learner, self.num_classes, self.balance = learner, num_classes, balance

    def fit(self, features: NDArray[Any], labels: NDArray[np.integer]) -> Self:
        """Learn from features (n, D) and labels (n,), of one class or more."""
        from sklearn.dummy import DummyClassifier
        from sklearn.preprocessing import StandardScaler

        self.scaler = StandardScaler().fit(features)
        _, which, counts = np.unique(labels, return_inverse=True, return_counts=True)
        if len(counts) == 1:
            self.learner = DummyClassifier()  # linear SVMs want two classes
        weight = (counts / labels.size) ** -self.balance
        with warnings.catch_warnings():  # the threads of a forest lose the filters that are set
            self.learner.fit(self.scaler.transform(features), labels, sample_weight=weight[which])
        if hasattr(self.learner, "n_jobs"):
            # Threads gain nothing on pictures, and add the trees' shares in an order of their own.
            self.learner.n_jobs = 1
        return self

    def probabilities(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """(n, C) float32, 0 for classes without a training pixel."""
        found = np.zeros((len(features), self.num_classes), np.float32)
        found[:, self.learner.classes_] = self._of_seen(self.scaler.transform(features))
        return found

    def _of_seen(self, features: NDArray[Any]) -> NDArray[Any]:
        if hasattr(self.learner, "predict_proba"):
            shares: NDArray[Any] = self.learner.predict_proba(features)
            return shares
        from scipy.special import softmax

        values = self.learner.decision_function(features)
        if values.ndim == 1:  # two classes: one value, positive for the second
            values = np.stack([-values, values], axis=1)
        scores: NDArray[Any] = softmax(values, axis=1)
        return scores


def linear_svm(seed: int, cost: float = 0.1) -> Any:
    """A linear support vector machine, one against the rest (liblinear); `cost` of its mistakes."""
    from sklearn.svm import LinearSVC  # slow to import: only where used

    return LinearSVC(C=cost, tol=1e-3, random_state=seed)


def forest(seed: int, trees: int, leaf: int) -> Any:
    """A random forest with at least `leaf` training samples in a leaf."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(trees, min_samples_leaf=leaf, random_state=seed, n_jobs=-1)
