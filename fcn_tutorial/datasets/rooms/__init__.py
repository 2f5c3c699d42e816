"""Generated rooms with depth, rendered from a seed: an indoor data set that needs no download."""

from fcn_tutorial.datasets.rooms.rooms import Room, Rooms, render_room

__all__ = ["Room", "Rooms", "render_room"]
