"""Segmentation scores: how much of a labelling is right, overall, by class and near boundaries.

- `ConfusionMatrix` counts pixels over a data set, `score` turns counts into `Scores`;
- `boundary_only` keeps the pixels near a boundary, for the same counts and scores (trimap);
- `boundary_f1` compares contours, one image at a time;
- `stride_ceiling` says what a coarse score map costs by itself.
"""

from fcn_tutorial.metrics.boundary import boundary_band, boundary_f1, boundary_only
from fcn_tutorial.metrics.ceiling import CeilingMethod, stride_ceiling
from fcn_tutorial.metrics.confusion import Absent, ConfusionMatrix, FloatArray, Scores, score

__all__ = [
    "Absent",
    "CeilingMethod",
    "ConfusionMatrix",
    "FloatArray",
    "Scores",
    "boundary_band",
    "boundary_f1",
    "boundary_only",
    "score",
    "stride_ceiling",
]
