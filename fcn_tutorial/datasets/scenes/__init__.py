"""Procedural street scenes, rendered from a seed: a labelled data set that needs no download."""

from fcn_tutorial.datasets.scenes.scenes import Scene, Scenes, render, render_scene, void_borders

__all__ = ["Scene", "Scenes", "render", "render_scene", "void_borders"]
