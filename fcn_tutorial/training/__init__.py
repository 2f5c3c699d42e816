"""Training: recipes, the loop, and what a run leaves behind."""

from fcn_tutorial.training.evaluation import evaluate, evaluate_tasks
from fcn_tutorial.training.loop import Interrupted, train
from fcn_tutorial.training.recipes import ALIASES, RECIPES, chain, get, smoke
from fcn_tutorial.training.recipes.recipe import Recipe
from fcn_tutorial.training.recipes.settings import as_dict, explain, from_dict, override
from fcn_tutorial.training.run import RunFolder
from fcn_tutorial.training.staged import train_staged
from fcn_tutorial.training.stream import open_split

__all__ = [
    "ALIASES",
    "RECIPES",
    "Interrupted",
    "Recipe",
    "RunFolder",
    "as_dict",
    "chain",
    "evaluate",
    "evaluate_tasks",
    "explain",
    "from_dict",
    "get",
    "open_split",
    "override",
    "smoke",
    "train",
    "train_staged",
]
