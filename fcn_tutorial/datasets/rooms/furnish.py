"""What stands in a generated room, drawn at random: the world half of `Rooms`.

A room is a box seen from inside; furniture is made of boxes that stand parallel to its walls, and
doors, windows, pictures and mats are rectangles that lie flat on its sides. World axes as a level
camera's: X to the right, Y down, Z forward, metres; the floor is Y = 0.

Paints, woods and cloths are pools that many classes share: a bed may have the colour of the floor
and a cabinet that of the wall, so that their shape tells them apart. A door, a picture and a mat
have no shape: only what is painted on them does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rng = np.random.Generator
Triple = tuple[float, float, float]

WALL, FLOOR, CEILING, MAT, DOOR, WINDOW, PICTURE, CABINET, BED, SOFA, TABLE, BOX = range(12)
_LEFT, _RIGHT, _BACK = "left", "right", "back"
_GAP = 0.3  # metres between the footprints of two pieces of furniture, at least
_TRIES = 12


@dataclass(frozen=True)
class Skin:
    """What a surface looks like: a class, two colours and a pattern ("paint", "wood", …)."""

    label: int
    pattern: str
    colour: Floats
    second: Floats


@dataclass(frozen=True)
class Block:
    """A box from corner `low` to corner `high`, (X, Y, Z) each."""

    low: Triple
    high: Triple
    skin: Skin


@dataclass(frozen=True)
class Flat:
    """A rectangle on a side of the room: where `axis` (0 X, 1 Y, 2 Z) is least or, `far`, most.

    `low` and `high` are corners in the two other axes, in their order.
    """

    axis: int
    far: bool
    low: tuple[float, float]
    high: tuple[float, float]
    skin: Skin


@dataclass
class Room:
    """Everything in a room, and how it is seen and lit, before anything is rendered.

    Attributes:
        low, high: corners of the room.
        eye: where the camera is. yaw, pitch, roll: radians; a positive pitch looks down, a positive
            yaw to the right.
        focal: of the camera, in image widths.
        lamp: where the light is. ambient, direct: what every surface gets, and what the lamp adds.
        offset: where in the noise tables this room begins.
    """

    low: Triple
    high: Triple
    walls: Skin
    floor: Skin
    ceiling: Skin
    eye: Triple
    yaw: float
    pitch: float
    roll: float
    focal: float
    lamp: Triple
    ambient: float
    direct: float
    offset: float
    blocks: list[Block] = field(default_factory=list)
    flats: list[Flat] = field(default_factory=list)


# --- Colours ------------------------------------------------------------------------------------


def _paint(rng: Rng) -> Floats:
    """White, cream, grey, and now and then a colour."""
    strength = 0.12 if rng.random() < 0.7 else 0.5
    colour: Floats = rng.uniform(0.45, 0.95) * (1 - strength * rng.random(3))
    return colour


def _wood(rng: Rng) -> Floats:
    """From birch to walnut."""
    colour: Floats = (
        np.array([0.62, 0.44, 0.28]) * rng.uniform(0.45, 1.4) * rng.uniform(0.9, 1.1, 3)
    )
    return colour


def _cloth(rng: Rng) -> Floats:
    """Any hue, any strength."""
    colour: Floats = rng.uniform(0.2, 0.9) * (1 - rng.uniform(0, 0.7) * rng.random(3))
    return colour


_POOLS = {"paint": _paint, "wood": _wood, "cloth": _cloth}


def _skin(rng: Rng, label: int, patterns: str, special: str = "") -> Skin:
    """A skin from one of the pools that `patterns` names, each as likely; `special` replaces its
    pattern.
    """
    names = patterns.split()
    name = names[rng.integers(len(names))]
    colour, second = _POOLS[name](rng), _POOLS[name](rng)
    return Skin(label, special or name, colour, second)


# --- Furnishing ---------------------------------------------------------------------------------


def furnish(rng: Rng) -> Room:
    """Draw a room at random."""
    width, height, length = rng.uniform(3, 5.2), rng.uniform(2.35, 2.9), rng.uniform(3.4, 5.6)
    half = width / 2
    room = Room(
        low=(-half, -height, 0.0),
        high=(half, 0.0, length),
        walls=_skin(rng, WALL, "paint paint paint wood"),
        floor=_skin(rng, FLOOR, "wood wood cloth paint"),
        ceiling=_skin(rng, CEILING, "paint paint paint wood"),
        eye=(rng.uniform(-0.6, 0.6) * half, -rng.uniform(1.15, 1.75), rng.uniform(0.1, 0.5)),
        yaw=rng.normal(0, 0.3),
        pitch=np.radians(rng.uniform(-6, 28)),
        roll=np.radians(rng.normal(0, 2.5)),
        focal=rng.uniform(0.72, 0.9),
        lamp=(rng.uniform(-0.5, 0.5) * half, 0.35 - height, rng.uniform(0.3, 0.7) * length),
        ambient=rng.uniform(0.35, 0.65),
        direct=rng.uniform(0.5, 1.1),
        offset=rng.uniform(0, 256),
    )
    _lay_flats(rng, room)
    _place(rng, room)
    return room


def _lay_flats(rng: Rng, room: Room) -> None:
    """Doors, windows and pictures on three walls, side by side, and mats on the floor."""
    (left, top, _), (right, _, back) = room.low, room.high
    spans = {_BACK: (left, right), _LEFT: (1.0, back), _RIGHT: (1.0, back)}
    for wall, (start, stop) in spans.items():
        at = start + rng.uniform(0.2, 0.6)
        while at < stop - 0.6:
            kind = rng.choice([DOOR, WINDOW, PICTURE, WALL], p=[0.22, 0.26, 0.36, 0.16])
            wide, tall, foot = {
                DOOR: (0.9, 2.05, 0.0),
                WINDOW: (rng.uniform(0.7, 1.5), rng.uniform(0.8, 1.2), 0.95),
                PICTURE: (rng.uniform(0.4, 0.9), rng.uniform(0.4, 0.7), rng.uniform(1.15, 1.4)),
                WALL: (rng.uniform(0.3, 0.8), 0, 0),
            }[kind]
            if kind != WALL and at + wide < stop - 0.1:
                skin = {
                    DOOR: lambda: _skin(rng, DOOR, "wood paint", "door"),
                    WINDOW: lambda: _skin(rng, WINDOW, "paint", "window"),
                    PICTURE: lambda: _skin(rng, PICTURE, "cloth", "picture"),
                }[kind]()
                up, down = max(-foot - tall, top), -foot
                axis, far = (2, True) if wall == _BACK else (0, wall == _RIGHT)
                low, high = (at, up), (at + wide, down)
                if axis == 0:  # the other axes are Y, Z
                    low, high = low[::-1], high[::-1]
                room.flats.append(Flat(axis, far, low, high, skin))
            at += wide + rng.uniform(0.25, 0.9)
    for _ in range(rng.integers(1, 3)):
        wide, deep = rng.uniform(0.8, 1.8), rng.uniform(0.7, 1.6)
        x, z = rng.uniform(left, right - wide), rng.uniform(1.0, max(1.1, back - deep))
        skin = _skin(rng, MAT, "cloth", "mat")
        room.flats.append(Flat(1, True, (x, z), (x + wide, min(z + deep, back)), skin))


def _place(rng: Rng, room: Room) -> None:
    """Furniture along the walls and in the middle, where there is room for it."""
    taken: list[tuple[float, float, float, float]] = []
    kinds = [CABINET, BED, SOFA, TABLE, BOX, CABINET, TABLE, BOX]
    for kind in rng.permutation(kinds)[: rng.integers(4, 8)]:
        for _ in range(_TRIES):
            wide, deep = _FOOTPRINTS[int(kind)](rng)
            x, z, wide, deep, wall = _spot(rng, room, wide, deep, int(kind))
            area = (x, z, x + wide, z + deep)
            near = x - 0.4 < room.eye[0] < x + wide + 0.4 and z < room.eye[2] + 0.7
            apart = all(
                area[0] > o[2] + _GAP or o[0] > area[2] + _GAP
                or area[1] > o[3] + _GAP or o[1] > area[3] + _GAP
                for o in taken
            )  # fmt: skip
            inside = x >= room.low[0] and x + wide <= room.high[0] and z + deep <= room.high[2]
            if apart and inside and not near:
                taken.append(area)
                room.blocks += _BUILDERS[int(kind)](rng, area, wall)
                break


def _spot(
    rng: Rng, room: Room, wide: float, deep: float, kind: int
) -> tuple[float, float, float, float, str]:
    """A corner (X, Z), the sizes along X and Z, and the wall at the back of it, "" for none."""
    (left, _, _), (right, _, back) = room.low, room.high
    wall = str(rng.choice([_LEFT, _RIGHT, _BACK]))
    if kind in (TABLE, BOX):
        return rng.uniform(left, right - wide), rng.uniform(1.0, back), wide, deep, ""
    if wall == _BACK:
        return rng.uniform(left, max(left, right - wide)), back - deep, wide, deep, wall
    wide, deep = deep, wide
    return left if wall == _LEFT else right - wide, rng.uniform(0.9, back), wide, deep, wall


_FOOTPRINTS = {
    CABINET: lambda rng: (rng.uniform(0.5, 1.6), rng.uniform(0.35, 0.6)),
    BED: lambda rng: (rng.uniform(1.0, 1.8), rng.uniform(1.9, 2.1)),
    SOFA: lambda rng: (rng.uniform(1.2, 2.2), rng.uniform(0.8, 0.95)),
    TABLE: lambda rng: (rng.uniform(0.7, 1.6), rng.uniform(0.6, 0.9)),
    BOX: lambda rng: (rng.uniform(0.25, 0.6), rng.uniform(0.25, 0.5)),
}
Area = tuple[float, float, float, float]


def _standing(area: Area, bottom: float, top: float, skin: Skin) -> Block:
    """A box on an area (X, Z, X', Z') between two heights above the floor."""
    return Block((area[0], -top, area[1]), (area[2], -bottom, area[3]), skin)


def _cabinet(rng: Rng, area: Area, wall: str) -> list[Block]:
    height = rng.uniform(0.7, 2.1)
    return [_standing(area, 0, height, _skin(rng, CABINET, "wood paint", "cabinet"))]


def _box(rng: Rng, area: Area, wall: str) -> list[Block]:
    return [_standing(area, 0, rng.uniform(0.2, 0.55), _skin(rng, BOX, "wood paint cloth"))]


def _bed(rng: Rng, area: Area, wall: str) -> list[Block]:
    height, head = rng.uniform(0.4, 0.6), rng.uniform(0.8, 1.1)
    end = _strip(area, wall, 0.08)
    return [
        _standing(area, 0.0, height, _skin(rng, BED, "cloth")),
        _standing(end, 0, head, _skin(rng, BED, "wood paint cloth")),
    ]


def _sofa(rng: Rng, area: Area, wall: str) -> list[Block]:
    skin, seat, arm = _skin(rng, SOFA, "cloth"), rng.uniform(0.38, 0.48), rng.uniform(0.55, 0.68)
    blocks = [
        _standing(area, 0.0, seat, skin),
        _standing(_strip(area, wall, 0.22), 0, rng.uniform(0.75, 0.95), skin),
    ]
    x, z, right, back = area
    if wall == _BACK:
        ends = ((x, z, x + 0.18, back), (right - 0.18, z, right, back))
    else:
        ends = ((x, z, right, z + 0.18), (x, back - 0.18, right, back))
    return blocks + [_standing(end, 0, arm, skin) for end in ends]


def _table(rng: Rng, area: Area, wall: str) -> list[Block]:
    skin, height = _skin(rng, TABLE, "wood paint"), rng.uniform(0.68, 0.8)
    x, z, right, back = area
    leg = 0.06
    feet = [(a, b, a + leg, b + leg) for a in (x, right - leg) for b in (z, back - leg)]
    top = _standing(area, height - 0.05, height, skin)
    return [top, *(_standing(foot, 0, height - 0.05, skin) for foot in feet)]


def _strip(area: Area, wall: str, deep: float) -> Area:
    """The strip of an area along its wall."""
    x, z, right, back = area
    if wall == _BACK:
        return x, back - deep, right, back
    return (x, z, x + deep, back) if wall == _LEFT else (right - deep, z, right, back)


_BUILDERS = {CABINET: _cabinet, BED: _bed, SOFA: _sofa, TABLE: _table, BOX: _box}
