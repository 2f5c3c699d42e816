"""Segmentation scores: how much of a labelling is right, overall, by class and near boundaries.

- `ConfusionMatrix` counts pixels over a data set, `score` turns counts into `Scores`;
- `MEASURES` is the table of all that is kept, printed and compared: a new measure is a row of it;
- `boundary_only` keeps the pixels near a boundary, for the same counts and scores (trimap), and
  `boundary_iu` is their mean IU; `thin_iu` is that of the classes that are nearly all boundary;
- `boundary_f1` compares contours, one image at a time;
- `rand_error` and `warping_error` compare partitions into cells, one image at a time;
  `IMAGE_MEASURES` is the table of such errors that a data set can ask for;
- `stride_ceiling` says what a coarse score map costs by itself.
"""

from fcn_tutorial.metrics.boundary import boundary_band, boundary_f1, boundary_iu, boundary_only
from fcn_tutorial.metrics.ceiling import CeilingMethod, stride_ceiling
from fcn_tutorial.metrics.confusion import Absent, ConfusionMatrix, FloatArray, Scores, score
from fcn_tutorial.metrics.measures import (
    IMAGE_MEASURES,
    MEASURES,
    ImageMeasure,
    Measure,
    Place,
    measured,
    named,
    of_images,
    over_seeds,
    shown,
)
from fcn_tutorial.metrics.partition import cells, rand_error, warping_error
from fcn_tutorial.metrics.thin import thin_classes, thin_iu

__all__ = [
    "IMAGE_MEASURES",
    "MEASURES",
    "Absent",
    "CeilingMethod",
    "ConfusionMatrix",
    "FloatArray",
    "ImageMeasure",
    "Measure",
    "Place",
    "Scores",
    "boundary_band",
    "boundary_f1",
    "boundary_iu",
    "boundary_only",
    "cells",
    "measured",
    "named",
    "of_images",
    "over_seeds",
    "rand_error",
    "score",
    "shown",
    "stride_ceiling",
    "thin_classes",
    "thin_iu",
    "warping_error",
]
