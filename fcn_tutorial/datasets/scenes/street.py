"""What stands in a procedural scene, drawn at random: the world half of the scenes.

A street runs along Z. On either side lies a pavement and, beyond it, a row of houses, a park or a
canal. Colours are drawn from a few pools that many classes share (greys, greens, lacquers, the
sky's own colour), so that a colour says little about a class; texture, shape, place and company do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from fcn_tutorial.datasets.scenes.canvas import Camera, Floats, Point

SKY, ROAD, PAVEMENT, GRASS, WATER, BUILDING, TREE, FENCE, CAR, PERSON, POLE, SIGN = range(12)

FAR = 70.0  # metres; the street ends here, in houses, in trees or in the open
Rng = np.random.Generator


# --- Colours ------------------------------------------------------------------------------------


def rgb(*values: float) -> Floats:
    """A colour as float32 (3,)."""
    return np.array(values, np.float32)


def grey(rng: Rng) -> Floats:
    """Asphalt, concrete, plaster, slate and metal share one pool."""
    return (rng.uniform(0.25, 0.7) * (1 + rng.normal(0, 0.04, 3))).astype(np.float32)


def green(rng: Rng) -> Floats:
    """Grass and leaves, from spring green to straw."""
    dry, light = rng.beta(1, 2), rng.uniform(0.6, 1.3)
    return ((rgb(0.24, 0.42, 0.16) * (1 - dry) + rgb(0.5, 0.4, 0.22) * dry) * light).astype("f4")


def clay(rng: Rng) -> Floats:
    """Brick, bark, sandstone."""
    return (rgb(0.5, 0.34, 0.26) * rng.uniform(0.6, 1.5) * rng.uniform(0.9, 1.1, 3)).astype("f4")


def lacquer(rng: Rng) -> Floats:
    """Car paint and cloth: any hue, any strength."""
    return (rng.uniform(0.1, 0.85) * (1 - rng.uniform(0, 0.8) * rng.random(3))).astype("f4")


def pick(rng: Rng, greys: float, clays: float, greens: float, lacquers: float) -> Floats:
    """A colour from one of the four pools, chosen with these weights."""
    at = rng.random() * (greys + clays + greens + lacquers)
    for weight, pool in ((greys, grey), (clays, clay), (greens, green), (lacquers, lacquer)):
        if at < weight:
            return pool(rng)
        at -= weight
    return grey(rng)  # rounding used up the last weight


# --- The parts of a scene -----------------------------------------------------------------------


@dataclass(frozen=True)
class Light:
    """Sun and sky."""

    shadow: Point  # unit vector on the ground along which shadows fall
    reach: float  # metres of shadow for each metre of height
    direct: float  # what the sun adds to a surface that faces it
    ambient: float  # what every surface gets
    zenith: Floats
    skyline: Floats
    clouds: float  # 0 clear, 1 covered
    haze: float  # share of light lost to haze, for each metre
    penumbra: float = 0.0  # share of the sun that reaches the ground in the shade

    def on(self, normal: Point) -> float:
        """Light on an upright surface with this outward unit normal (X, Z)."""
        facing = -(normal[0] * self.shadow[0] + normal[1] * self.shadow[1])
        return self.ambient + self.direct * max(0.0, facing) * self.reach / math.hypot(
            1, self.reach
        )

    @property
    def on_ground(self) -> float:
        """Light on level ground outside any shadow."""
        return self.ambient + self.direct / math.hypot(1, self.reach)

    @property
    def in_shade(self) -> float:
        """Light on level ground in a shadow."""
        return self.ambient + self.penumbra * (self.on_ground - self.ambient)


@dataclass(frozen=True)
class Building:
    """A box of walls with windows."""

    start: Point
    end: Point
    height: float
    roof: float  # height of the roof above the wall
    wall_colour: Floats
    roof_colour: Floats
    glass: Floats
    bay: float  # metres from window to window
    storey: float
    window: tuple[float, float]  # share of a bay and of a storey
    shop: bool
    light: float


@dataclass(frozen=True)
class Tree:
    """A stem and its crown."""

    point: Point
    height: float
    radius: float
    trunk: float  # height at which the crown begins
    leaf: Floats
    bark: Floats
    pointed: bool


@dataclass(frozen=True)
class Fence:
    """Posts and boards between two points."""

    start: Point
    end: Point
    height: float
    colour: Floats
    spacing: float  # metres from upright to upright
    rails: int


@dataclass(frozen=True)
class Car:
    """A car, parked or driving."""

    point: Point  # middle of the footprint
    across: bool  # drives along X instead of Z
    forward: bool  # towards larger X or Z
    size: tuple[float, float, float]  # length, width, height
    colour: Floats
    glass: Floats


@dataclass(frozen=True)
class Person:
    """Somebody standing or walking."""

    point: Point
    height: float
    stride: float
    top: Floats
    legs: Floats
    skin: Floats
    hair: Floats


@dataclass(frozen=True)
class Post:
    """A pole, with or without a sign."""

    point: Point
    height: float
    width: float
    colour: Floats
    arm: float  # metres of lamp arm along X, signed; 0 for none
    sign: str  # "", "disc", "triangle", "diamond" or "board"
    sign_size: float
    face: Floats
    rim: Floats


@dataclass(frozen=True)
class Strip:
    """A band of ground from `left` to the next strip's `left`."""

    left: float
    label: int
    colour: Floats


@dataclass
class Street:
    """Everything in a scene, drawn from a generator before anything is rendered."""

    camera: Camera
    light: Light
    strips: list[Strip]
    crossing: tuple[float, float] | None  # Z of a crossing street's edges
    tile: float  # side of a paving stone
    dashed: bool
    offset: tuple[float, float]  # where in the noise tables this scene begins
    buildings: list[Building] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)
    fences: list[Fence] = field(default_factory=list)
    cars: list[Car] = field(default_factory=list)
    persons: list[Person] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    treeline: float = 0.0  # height of the trees at the end of the street; 0 for none
    treeline_colour: Floats = field(default_factory=lambda: rgb(0, 0, 0))


# --- Inventing it -------------------------------------------------------------------------------


def invent(rng: Rng, size: tuple[int, int]) -> Street:
    """Draw a street at random for an image of `size` (H, W)."""
    light = _invent_light(rng)
    half = rng.uniform(2.4, 4.2)  # half the road
    near = rng.uniform(9, 28)
    street = Street(
        _invent_camera(rng, size, 0.0),
        light,
        strips=[],
        crossing=(near, near + rng.uniform(5, 8)) if rng.random() < 0.3 else None,
        tile=rng.uniform(0.5, 0.9),
        dashed=rng.random() < 0.7,
        offset=(rng.uniform(0, 256), rng.uniform(0, 256)),
    )
    left, left_room = _invent_side(rng, street, -1, half)
    right, right_room = _invent_side(rng, street, 1, half)
    street.strips = [*left[::-1], Strip(-half, ROAD, pick(rng, 8, 1, 0, 0.3)), *right]
    street.camera = _invent_camera(rng, size, rng.uniform(-left_room, right_room))
    _invent_end(rng, street)
    _invent_cars(rng, street, half)
    _invent_persons(rng, street, half)
    _invent_posts(rng, street, half)
    return street


def crowd(rng: Rng, street: Street) -> None:
    """Put another helping of cars, people and posts into a street."""
    half = next(-strip.left for strip in street.strips if strip.label == ROAD)
    _invent_cars(rng, street, half)
    _invent_persons(rng, street, half)
    _invent_posts(rng, street, half)


def _invent_camera(rng: Rng, size: tuple[int, int], x: float) -> Camera:
    """Stand at `x`, looking along the street and, the farther from it, the more towards it."""
    height, width = size
    return Camera(
        size,
        focal=rng.uniform(0.75, 1.05) * math.sqrt(height * width),
        horizon=height * rng.uniform(0.36, 0.54),
        height=rng.uniform(1.4, 2.4),
        x=x,
        yaw=rng.normal(0, 0.22) - 0.04 * x,
    )


def _invent_light(rng: Rng) -> Light:
    azimuth, elevation = rng.uniform(0, 2 * math.pi), rng.uniform(0.35, 1.1)
    clouds = rng.uniform(0, 1)
    direct = rng.uniform(0.5, 0.9) * (1 - 0.8 * clouds**2)
    blue = rgb(0.36, 0.55, 0.8) * rng.uniform(0.75, 1.15)
    dull = rgb(0.66, 0.68, 0.72) * rng.uniform(0.7, 1.2)
    evening = rng.random() < 0.2
    zenith = blue * (1 - clouds) + dull * clouds
    skyline = rgb(0.86, 0.62, 0.45) if evening else rgb(0.8, 0.85, 0.9)
    return Light(
        shadow=(math.cos(azimuth), math.sin(azimuth)),
        reach=1 / math.tan(elevation),
        direct=direct,
        ambient=0.95 - 0.6 * direct,
        zenith=zenith.astype(np.float32),
        skyline=(0.4 * zenith + 0.6 * skyline * rng.uniform(0.8, 1.1)).astype(np.float32),
        clouds=clouds,
        haze=rng.uniform(0.001, 0.012),
    )


def _invent_side(rng: Rng, street: Street, sign: int, half: float) -> tuple[list[Strip], float]:
    """Fill one side of the road.

    Returns:
        Its strips, from the road outwards, and how far out a camera may stand.
    """
    kind = str(rng.choice(["town", "garden", "park", "canal"], p=[0.38, 0.18, 0.2, 0.24]))
    pavement = half + rng.uniform(1.8, 3.8)
    paving = pick(rng, 8, 2, 0, 0.3)
    bands = [(half, PAVEMENT, paving)]  # (distance from the middle, class, colour)
    line = pavement  # where the houses stand
    if kind == "garden":
        line = pavement + rng.uniform(2.5, 6)
        bands.append((pavement, GRASS, green(rng)))
    elif kind == "park":
        line = 45.0
        bands.append((pavement, GRASS, green(rng)))
    elif kind == "canal":
        bank = pavement + rng.uniform(6, 14)
        bands.append((pavement, WATER, 0.5 * street.light.zenith + 0.3 * green(rng)))
        bands.append((bank, *((GRASS, green(rng)) if rng.random() < 0.5 else (PAVEMENT, paving))))
        line = bank + rng.uniform(2, 6)
    if kind == "town":
        bands.append((pavement + 0.3, GRASS, green(rng)))
    if kind in ("town", "garden", "canal"):
        _invent_houses(rng, street, sign * line)
    if kind == "park" or (kind != "town" and rng.random() < 0.5):
        near = line if kind == "canal" else pavement
        for _ in range(rng.integers(4, 12)):
            point = (sign * (near + 1 + rng.exponential(6)), _distance(rng, 4, 45))
            if kind == "park" or abs(point[0]) < line or kind == "canal":
                street.trees.append(_invent_tree(rng, point))
    elif rng.random() < 0.45:
        z, step = rng.uniform(4, 9), rng.uniform(6, 11)
        first = _invent_tree(rng, (sign * (half + 0.8), z))
        street.trees += [replace(first, point=(first.point[0], z + i * step)) for i in range(5)]
    if kind in ("garden", "park", "canal") and rng.random() < 0.6:
        _invent_fence(rng, street, sign * (pavement + 0.05))
    # A strip's `left` is its inner edge to the right of the road, its outer edge to the left.
    outer = [band[0] for band in bands[1:]] + [1e6]
    room = {"town": line - 0.8, "garden": line - 0.8, "park": pavement + 8, "canal": pavement + 2}
    return [
        Strip(distance if sign > 0 else -beyond, label, colour.astype(np.float32))
        for (distance, label, colour), beyond in zip(bands, outer, strict=True)
    ], room[kind]


def _distance(rng: Rng, near: float, far: float) -> float:
    """A distance along the street, even in its logarithm: near things are few but not rare."""
    return near * math.exp(rng.uniform(0, math.log(far / near)))


def _invent_houses(rng: Rng, street: Street, line: float) -> None:
    """Line one side with houses, leaving room for a crossing street."""
    near, far = street.crossing if street.crossing is not None else (math.inf, math.inf)
    near, far = near - 2, far + 2  # its pavements
    storeys = int(rng.integers(1, 5))
    z = rng.uniform(-6, 0)
    while z < 60:
        length = rng.uniform(6, 14)
        if near - 4 < z < far:  # too little room for a house before the crossing
            z = far
        elif z < near < z + length:
            length = near - z
        house = _invent_house(rng, street.light, (line, z), length, storeys)
        gable = replace(
            house,
            end=(line + math.copysign(9, line), z),
            shop=False,
            window=(0.3, 0.4) if rng.random() < 0.4 else (0.0, 0.0),
            light=street.light.on((0, -1)),
        )
        street.buildings += [house, gable]
        z += length + (rng.uniform(2, 6) if rng.random() < 0.3 else 0.0)


def _invent_house(rng: Rng, light: Light, start: Point, length: float, storeys: int) -> Building:
    storey = rng.uniform(2.7, 3.4)
    return Building(
        start=start,
        end=(start[0], start[1] + length),
        height=storey * max(1, storeys + int(rng.integers(-1, 2))),
        roof=rng.uniform(1, 2.5) if rng.random() < 0.5 else 0.0,
        wall_colour=pick(rng, 5, 3, 0.6, 1.4),
        roof_colour=pick(rng, 5, 4, 0.5, 0.5),
        glass=rgb(0.2, 0.24, 0.3) * rng.uniform(0.5, 2.0) + light.zenith * rng.uniform(0, 0.3),
        storey=storey,
        bay=rng.uniform(1.8, 3.2),
        window=(rng.uniform(0.3, 0.7), rng.uniform(0.4, 0.65)),
        shop=bool(rng.random() < 0.3),
        light=light.on((-math.copysign(1.0, start[0]), 0)),
    )


def _invent_tree(rng: Rng, point: Point) -> Tree:
    height = rng.uniform(3.5, 9)
    return Tree(
        point,
        height=height,
        radius=height * rng.uniform(0.2, 0.36),
        trunk=height * rng.uniform(0.15, 0.4),
        leaf=green(rng) if rng.random() < 0.9 else clay(rng),
        bark=pick(rng, 1, 1, 0, 0) * 0.8,
        pointed=rng.random() < 0.25,
    )


def _invent_fence(rng: Rng, street: Street, x: float) -> None:
    start, stop = rng.uniform(-1, 6), rng.uniform(18, 50)
    whole = Fence(
        start=(x, start),
        end=(x, stop),
        height=rng.uniform(0.8, 1.5),
        colour=pick(rng, 4, 2, 1.5, 1.0),
        spacing=(0.14, 0.25, 0.5, 1.2)[rng.integers(4)],
        rails=int(rng.integers(1, 4)),
    )
    spans = [(start, stop)]
    if street.crossing is not None:
        near, far = street.crossing[0] - 2, street.crossing[1] + 2
        spans = [(start, min(near, stop)), (far, stop)]
    street.fences += [replace(whole, start=(x, a), end=(x, b)) for a, b in spans if b > a + 1]


def _invent_end(rng: Rng, street: Street) -> None:
    """Close the street off in the distance with trees or houses, or leave it open."""
    kind = rng.random()
    if kind < 0.4:
        street.treeline, street.treeline_colour = rng.uniform(5, 14), green(rng)
    elif kind < 0.8:
        x = -60.0
        while x < 60:
            width = rng.uniform(8, 16)
            house = _invent_house(rng, street.light, (x, FAR), width, int(rng.integers(2, 6)))
            light = street.light.on((0, -1))
            street.buildings.append(replace(house, end=(x + width, FAR), light=light))
            x += width


def _beside(rng: Rng, low: float, high: float) -> float:
    """A place between `low` and `high` metres from the middle of the road, on either side."""
    return rng.uniform(low, high) * (1 if rng.random() < 0.5 else -1)


def _invent_cars(rng: Rng, street: Street, half: float) -> None:
    for _ in range(rng.integers(0, 5)):
        size = (rng.uniform(3.6, 4.8), rng.uniform(1.65, 1.9), rng.uniform(1.35, 1.9))
        parked, turned = rng.random() < 0.6, rng.random() < 0.5
        z = _distance(rng, 6, 40)
        across = street.crossing is not None and rng.random() < 0.3
        if street.crossing is not None and across:
            point = (rng.uniform(-9, 9), sum(street.crossing) / 2)
        elif parked:
            point = (_beside(rng, half - 1.0, half - 0.9), z)
        else:
            point = (_beside(rng, 0.9, half - 1.2), z)
            turned = point[0] > 0  # keep to the right
        glass = rgb(0.16, 0.19, 0.22) + street.light.zenith * rng.uniform(0, 0.4)
        car = Car(point, across, turned, size, pick(rng, 5, 0.5, 0.5, 4), glass.astype("f4"))
        if all(math.dist(point, other.point) > 5.5 for other in street.cars):
            street.cars.append(car)


def _invent_persons(rng: Rng, street: Street, half: float) -> None:
    for _ in range(rng.integers(1, 6)):
        # Most keep to the pavement.
        reach = (half + 0.3, half + 2.0) if rng.random() < 0.85 else (0, half)
        person = Person(
            (_beside(rng, *reach), _distance(rng, 3.5, 17)),
            height=rng.uniform(1.5, 1.9),
            stride=rng.uniform(0.1, 1.1),
            top=pick(rng, 3, 1, 1, 4),
            legs=pick(rng, 3, 1, 0.5, 2) * 0.8,
            skin=rgb(0.85, 0.62, 0.48) * rng.uniform(0.35, 1.1),
            hair=pick(rng, 1, 2, 0, 0) * 0.6,
        )
        street.persons.append(person)


def _invent_posts(rng: Rng, street: Street, half: float) -> None:
    """Lamp posts and road signs along the kerbs."""
    for _ in range(rng.integers(2, 6)):
        sign = ("", "", "disc", "triangle", "diamond", "board")[rng.integers(6)]
        x = _beside(rng, half + 0.2, half + 0.6)
        lamp = not sign and rng.random() < 0.6
        post = Post(
            (x, _distance(rng, 4, 18)),
            height=rng.uniform(2.4, 3.2) if sign else rng.uniform(3.5, 6.5),
            width=rng.uniform(0.08, 0.2),
            colour=pick(rng, 8, 1, 1.5, 0.5),
            arm=-math.copysign(rng.uniform(0.8, 2), x) if lamp else 0.0,
            sign=sign,
            sign_size=rng.uniform(0.75, 1.15),
            face=pick(rng, 2, 0, 0.5, 3),
            rim=pick(rng, 2, 0.5, 0, 3),
        )
        street.posts.append(post)
