"""Training: recipes, the loop, and what a run leaves behind."""

from fcn_tutorial.training.data import open_split
from fcn_tutorial.training.evaluation import evaluate
from fcn_tutorial.training.loop import Interrupted, train
from fcn_tutorial.training.recipes import RECIPES, Recipe, from_dict, get, override, smoke
from fcn_tutorial.training.run import RunFolder

__all__ = [
    "RECIPES",
    "Interrupted",
    "Recipe",
    "RunFolder",
    "evaluate",
    "from_dict",
    "get",
    "open_split",
    "override",
    "smoke",
    "train",
]
