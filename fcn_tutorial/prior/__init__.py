"""Semantic segmentation before fully convolutional networks."""

from fcn_tutorial.prior.baselines import Baseline, ColourForest, MajorityClass, evaluate

__all__ = ["Baseline", "ColourForest", "MajorityClass", "evaluate"]
