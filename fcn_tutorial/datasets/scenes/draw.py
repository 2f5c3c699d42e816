"""How each thing in a procedural scene looks: paints a `Street` onto a `Canvas`."""

from __future__ import annotations

import math

import numpy as np

from fcn_tutorial.datasets.scenes.canvas import (
    Bools,
    Camera,
    Canvas,
    Floats,
    Patch,
    billboard,
    cloud_noise,
    panel,
    white_noise,
)
from fcn_tutorial.datasets.scenes.street import (
    BUILDING,
    CAR,
    FAR,
    FENCE,
    GRASS,
    PAVEMENT,
    PERSON,
    POLE,
    ROAD,
    SIGN,
    SKY,
    TREE,
    WATER,
    Building,
    Car,
    Fence,
    Light,
    Person,
    Post,
    Street,
    Tree,
    rgb,
)

# How rough a ground looks, by class: grain that changes from centimetre to centimetre, and patches
# of half a metre and more.
_GRAIN = {ROAD: 0.22, PAVEMENT: 0.16, GRASS: 0.55, WATER: 0.1}
_PATCHES = {ROAD: 0.25, PAVEMENT: 0.2, GRASS: 0.5, WATER: 0.3}


def draw(street: Street) -> Canvas:
    """Render a street: colour, label and depth."""
    camera, light = street.camera, street.light
    canvas = Canvas(camera.size, SKY)
    _paint_sky(canvas, street)
    _paint_ground(canvas, street)
    _paint_treeline(canvas, street)
    # Near houses first: the depth buffer then spares the walls that they hide.
    for building in sorted(street.buildings, key=lambda b: b.start[1]):
        _paint_building(canvas, camera, building)
    for tree in street.trees:
        _paint_tree(canvas, camera, light, tree)
    _reflect(canvas, street)
    for car in street.cars:
        _paint_car(canvas, camera, light, car)
    for person in street.persons:
        _paint_person(canvas, camera, light, person)
    for post in street.posts:
        _paint_post(canvas, camera, light, post)
    # A fence shows what is behind it, so fences come last and the farthest first.
    for fence in sorted(street.fences, key=lambda f: -max(f.start[1], f.end[1])):
        _paint_fence(canvas, camera, light, fence)
    return canvas


def _paint_sky(canvas: Canvas, street: Street) -> None:
    camera, light = street.camera, street.light
    rows = min(camera.size[0], math.ceil(camera.horizon))
    height = (camera.horizon - np.arange(rows) - 0.5)[:, None] / camera.focal  # tan of elevation
    across = (np.arange(camera.size[1]) + 0.5 - camera.centre)[None] / camera.focal
    blend = np.clip(height * 1.6, 0, 1)[..., None].astype(np.float32)
    sky = light.skyline * (1 - blend) + light.zenith * blend
    depth = 18 / (height + 0.12)  # clouds lie on a plane, so they flatten towards the horizon
    cloud = cloud_noise(across * depth * 2 + street.offset[0], depth * 2 + street.offset[1])
    cover = np.clip((cloud - 1 + light.clouds) * 3, 0, 1)[..., None]
    white = light.skyline.max() * (0.75 + 0.35 * cloud[..., None])
    canvas.colour[:rows] = sky + cover * (white - sky) * 0.8


def _ground_shadow(street: Street, x: Floats, z: Floats) -> Bools:
    """True where the sun does not reach the ground (h, W)."""
    light = street.light
    dx, dz = light.shadow
    dark = np.zeros(x.shape, bool)
    fronts: dict[float, tuple[Floats, Floats]] = {}  # houses in a row share their line
    for building in street.buildings:
        line = building.start[0]
        if line != building.end[0] or building.start[1] > 45:
            continue
        if line not in fronts:
            k = (x - line) / np.float32(dx if abs(dx) > 0.05 else 0.05)
            fronts[line] = k, z - k * np.float32(dz)
        k, foot = fronts[line]
        dark |= (
            (k > 0)
            & (k < building.height * light.reach)
            & (foot > building.start[1])
            & (foot < building.end[1])
        )
    casts = [(t.point, t.height, t.trunk * 0.8, t.radius) for t in street.trees]
    casts += [(p.point, p.height, 0.0, 0.25) for p in street.persons]
    casts += [(p.point, p.height, 0.0, 0.08) for p in street.posts]
    for (px, pz), top, bottom, half in casts:
        if pz > 40:
            continue
        along = (x - np.float32(px)) * np.float32(dx) + (z - np.float32(pz)) * np.float32(dz)
        side = (x - np.float32(px)) * np.float32(dz) - (z - np.float32(pz)) * np.float32(dx)
        middle, length = (top + bottom) / 2 * light.reach, (top - bottom) / 2 * light.reach
        dark |= ((along - middle) / length) ** 2 + (side / half) ** 2 < 1
    for car in street.cars:
        length, width, _ = car.size
        extent_x, extent_z = (length, width) if car.across else (width, length)
        shift = 0.3 * light.reach
        dark |= (np.abs(x - car.point[0] - dx * shift) < extent_x / 2 + 0.1) & (
            np.abs(z - car.point[1] - dz * shift) < extent_z / 2 + 0.1
        )
    return dark


def _paint_ground(canvas: Canvas, street: Street) -> None:
    camera, light = street.camera, street.light
    first = max(0, math.ceil(camera.horizon))
    rows = np.arange(first, camera.size[0], dtype=np.float32)[:, None] + 0.5
    depth = camera.focal * camera.height / (rows - camera.horizon)
    lateral = (np.arange(camera.size[1], dtype=np.float32) + 0.5 - camera.centre) / camera.focal
    c, s = math.cos(camera.yaw), math.sin(camera.yaw)
    x = depth * (lateral * c + s) + np.float32(camera.x)
    z = depth * (c - lateral * s)
    pixel = depth / camera.focal

    edges = np.array([strip.left for strip in street.strips[1:]], np.float32)
    strip = np.searchsorted(edges, x.ravel(), side="right").reshape(x.shape)
    labels = np.array([s.label for s in street.strips], np.uint8)
    road = int(np.flatnonzero(labels == ROAD)[0])
    if street.crossing is not None:
        near, far = street.crossing
        kerb = 2.0
        pavement = road + 1
        strip[(z > near - kerb) & (z < far + kerb) & (labels[strip] != ROAD)] = pavement
        strip[(z > near) & (z < far)] = road
    label = labels[strip]
    colours = np.stack([s.colour for s in street.strips])

    u, v = x * 25 + street.offset[0], z * 25 + street.offset[1]
    fine, coarse = white_noise(u, v), cloud_noise(u / 5, v / 5)
    grain = np.array([_GRAIN[s.label] for s in street.strips], np.float32)[strip]
    patches = np.array([_PATCHES[s.label] for s in street.strips], np.float32)[strip]
    # Detail finer than a pixel averages out.
    near_detail = np.minimum(1, 0.12 / pixel).astype(np.float32)
    tone = 1 + grain * near_detail * (fine - 0.5) + patches * (coarse - 0.5)
    stone = np.float32(street.tile)
    joint = ((x / stone) % 1 < 0.1) | ((z / stone) % 1 < 0.1)
    tone -= (joint & (label == PAVEMENT)) * np.minimum(0.3, 0.05 * stone / pixel)
    colour = colours[strip] * tone[..., None]
    _paint_markings(colour, street, x, z, label == ROAD)
    dark = _ground_shadow(street, x, z)
    lit = np.where(dark, np.float32(light.in_shade), np.float32(light.on_ground))
    canvas.colour[first:] = colour * lit[..., None]
    canvas.label[first:] = label
    canvas.depth[first:] = depth


def _paint_markings(colour: Floats, street: Street, x: Floats, z: Floats, road: Bools) -> None:
    lefts = [strip.left for strip in street.strips]
    index = next(i for i, strip in enumerate(street.strips) if strip.label == ROAD)
    left, right = lefts[index], lefts[index + 1]
    line = np.abs(x - (left + right) / 2) < 0.08
    if street.dashed:
        line &= z % 5 < 2.5
    if street.crossing is not None:
        near, far = street.crossing
        line &= (z < near - 3) | (z > far + 3)
        line |= (z > near - 3.5) & (z < near - 0.8) & (x % 1.0 < 0.5)  # zebra crossing
    colour[line & road] = rgb(0.78, 0.78, 0.74)


def _paint_treeline(canvas: Canvas, street: Street) -> None:
    if street.treeline == 0:
        return
    patch = panel(street.camera, (-130, FAR), (130, FAR), 0, street.treeline)
    if patch is None:
        return
    leaves = cloud_noise(patch.along * 4 + street.offset[0], patch.up * 4)
    ridge = cloud_noise(patch.along * 2 + street.offset[1], np.zeros_like(patch.along))
    shape = patch.up < street.treeline * (0.5 + 0.5 * ridge) + leaves - 0.5
    colour = street.treeline_colour * (0.4 + 0.9 * leaves[..., None]) * street.light.on_ground
    canvas.paint(patch, colour, TREE, shape)


def _paint_building(canvas: Canvas, camera: Camera, b: Building) -> None:
    patch = panel(camera, b.start, b.end, 0, b.height + b.roof)
    if patch is None or not canvas.visible(patch).any():
        return
    s, t = patch.along, patch.up
    key = b.start[1] * 7 + b.start[0]  # a different piece of noise for every building
    tone = 0.88 + 0.24 * cloud_noise(s * 8 + key, t * 8)
    courses = np.minimum(0.18, 0.012 / patch.pixel)
    tone -= (t / 0.3 % 1 < 0.3) * courses
    colour = b.wall_colour * tone[..., None]

    if b.shop or all(b.window):
        column, row = s / b.bay, t / b.storey
        glass = (np.abs(column % 1 - 0.5) < b.window[0] / 2) & (
            np.abs(row % 1 - 0.55) < b.window[1] / 2
        )
        if b.shop:
            glass = np.where(t < b.storey, (column % 1 > 0.1) & (t > 0.5) & (t < 2.6), glass)
        glass = glass & (t < b.height - 0.3)
        shine = 0.5 + 0.9 * white_noise(column + key, row) + 0.1 * (t % b.storey)
        colour = np.where(glass[..., None], b.glass * shine[..., None], colour)
    if b.roof:
        slates = 0.9 - (t / 0.5 % 1 < 0.3) * courses + 0.1 * white_noise(s * 3, t * 3 + key)
        colour = np.where((t > b.height)[..., None], b.roof_colour * slates[..., None], colour)
    width = math.hypot(b.end[0] - b.start[0], b.end[1] - b.start[1])
    eaves = np.minimum(s, width - s)
    shape = (t < b.height) | (eaves > (t - b.height) * 0.6)
    canvas.paint(patch, colour * np.float32(b.light), BUILDING, shape)


def _paint_tree(canvas: Canvas, camera: Camera, light: Light, tree: Tree) -> None:
    patch = billboard(camera, tree.point, 2 * tree.radius, tree.trunk * 0.8, tree.height)
    if patch is not None:
        half = (tree.height - tree.trunk * 0.8) / 2
        a = patch.along / tree.radius - 1
        b = (patch.up - tree.height) / half + 1
        key = tree.point[0] * 31 + tree.point[1] * 17
        clumps = cloud_noise(patch.along * 9 + key, patch.up * 9 + key)
        leaves = white_noise(patch.along * 12 + key, patch.up * 12)
        outline = np.abs(a) * 1.15 + b * 0.5 - 0.45 if tree.pointed else a * a + b * b - 0.85
        sunny = -light.shadow[0] * math.cos(camera.yaw) * light.direct
        tone = 0.45 + 0.8 * clumps + 0.3 * (leaves - 0.5) + 0.15 * b + 0.2 * sunny * a
        colour = tree.leaf * tone[..., None] * (light.ambient + 0.6 * light.direct)
        shape = outline + (clumps - 0.5) * 1.3 < 0
        canvas.paint(patch, colour, TREE, shape)
    patch = billboard(camera, tree.point, 0.14 * tree.radius, 0, tree.trunk * 1.3, 1.5)
    if patch is not None:
        bark = 0.8 + 0.4 * white_noise(patch.along * 40, patch.up * 8)
        canvas.paint(patch, tree.bark * bark[..., None] * light.on_ground, TREE)


def _reflect(canvas: Canvas, street: Street) -> None:
    """Let water mirror what stands behind it, broken by ripples."""
    rows, cols = np.nonzero(canvas.label == WATER)
    if rows.size == 0:
        return
    camera = street.camera
    depth = canvas.depth[rows, cols]
    ripple = cloud_noise(cols * 0.04 * depth + street.offset[0], depth * 20 + street.offset[1])
    mirrored = 2 * camera.horizon - rows + (ripple - 0.5) * 5
    source = np.clip(mirrored.astype(np.intp), 0, math.ceil(camera.horizon) - 1)
    image = canvas.colour[source, cols]
    tone = (0.55 + 0.5 * ripple)[:, None]
    canvas.colour[rows, cols] = (canvas.colour[rows, cols] * 0.45 + image * 0.55) * tone


def _paint_car(canvas: Canvas, camera: Camera, light: Light, car: Car) -> None:
    length, width, height = car.size
    x, z = car.point
    half_x, half_z = (length / 2, width / 2) if car.across else (width / 2, length / 2)
    # The two faces that can be seen: the one towards the camera in Z, the one towards it in X.
    # A slice through the middle stands in for bonnet and roof.
    face_z = z - half_z
    face_x = x + half_x if camera.x > x else x - half_x
    toward = 1.0 if camera.x > x else -1.0
    front_near = not car.forward
    if car.across:
        side = panel(camera, (x - half_x, face_z), (x + half_x, face_z), 0, height)
        inside = panel(camera, (x - half_x, z), (x + half_x, z), 0, height)
        end_start, end_end = (face_x, face_z), (face_x, z + half_z)
        end_inner = -toward
        nose_first = not car.forward
        shades = light.on((0, -1)), light.on((toward, 0))
        front_near = car.forward == (toward > 0)
    else:
        side = panel(camera, (face_x, face_z), (face_x, z + half_z), 0, height)
        inside = panel(camera, (x, face_z), (x, z + half_z), 0, height)
        end_start, end_end = (x - half_x, face_z), (x + half_x, face_z)
        end_inner = 1.0
        nose_first = not car.forward
        shades = light.on((toward, 0)), light.on((0, -1))
    inset = (1.3 if front_near else 0.35) * end_inner
    move = (inset, 0.0) if car.across else (0.0, inset)
    inner = [(p[0] + move[0], p[1] + move[1]) for p in (end_start, end_end)]
    cabin = panel(camera, inner[0], inner[1], 0.3 * height, height)
    end = panel(camera, end_start, end_end, 0, 0.64 * height)
    for face, shade in ((inside, 0.9 * light.on_ground), (side, shades[0])):
        if face is not None:
            _paint_car_side(canvas, face, car, nose_first, shade)
    if cabin is not None:
        up, across = cabin.up / height, np.abs(cabin.along / width - 0.5)
        shape = across < 0.5 - np.maximum(0, up - 0.6) * 0.28
        glass = (across < 0.4) & (up > 0.66) & (up < 0.93)
        colour = np.where(glass[..., None], car.glass, car.colour) * np.float32(shades[1])
        canvas.paint(cabin, colour, CAR, shape)
    if end is not None:
        _paint_car_end(canvas, end, car, front_near, shades[1])


def _paint_car_side(canvas: Canvas, patch: Patch, car: Car, nose_first: bool, light: float) -> None:
    length, _, height = car.size
    s = patch.along / length
    if not nose_first:
        s = 1 - s  # 0 is the nose from here on
    up = patch.up / height
    outline = np.interp(s, [0, 0.04, 0.28, 0.45, 0.85, 0.97, 1], [0.5, 0.58, 0.66, 1, 1, 0.66, 0.6])
    wheel = np.minimum(np.abs(s - 0.19), np.abs(s - 0.81)) * length
    tyre = wheel**2 + (patch.up - 0.32) ** 2 < 0.32**2
    hub = wheel**2 + (patch.up - 0.32) ** 2 < 0.16**2
    glass = (up > 0.66) & (up < outline - 0.07) & (np.abs(s - 0.63) > 0.02)
    colour = np.where(glass[..., None], car.glass, car.colour * (0.75 + 0.3 * up[..., None]))
    colour = np.where(tyre[..., None], rgb(0.1, 0.1, 0.1), colour)
    colour = np.where(hub[..., None], rgb(0.5, 0.5, 0.5), colour)
    shape = ((up < outline) & (patch.up > 0.25)) | tyre
    canvas.paint(patch, colour * np.float32(light), CAR, shape)


def _paint_car_end(canvas: Canvas, patch: Patch, car: Car, front: bool, light: float) -> None:
    _, width, height = car.size
    across, up = np.abs(patch.along / width - 0.5), patch.up / height
    lamps = (across > 0.33) & (across < 0.47) & (np.abs(up - 0.5) < 0.07)
    plate = (across < 0.15) & (np.abs(up - 0.36) < 0.05)
    tyres = (across > 0.34) & (up < 0.22)
    lamp = rgb(0.9, 0.9, 0.8) if front else rgb(0.6, 0.08, 0.06)
    colour = np.where(up[..., None] < 0.28, car.colour * 0.5, car.colour)
    colour = np.where(lamps[..., None], lamp, colour)
    colour = np.where(plate[..., None], rgb(0.75, 0.75, 0.6), colour)
    colour = np.where(tyres[..., None], rgb(0.1, 0.1, 0.1), colour)
    shape = (up > 0.17) | tyres
    canvas.paint(patch, colour * np.float32(light), CAR, shape)


def _paint_person(canvas: Canvas, camera: Camera, light: Light, person: Person) -> None:
    width = 0.36 * person.height
    patch = billboard(camera, person.point, width, 0, person.height, 3)
    if patch is None:
        return
    full = max(width, 3 * float(patch.pixel[0, 0]))
    a, b = np.abs(patch.along / full - 0.5) * 2, patch.up / person.height
    head = ((b - 0.925) / 0.075) ** 2 + (a / 0.36) ** 2 < 1
    torso = (b > 0.46) & (b < 0.85) & (a < 0.62 - 0.7 * np.abs(b - 0.72))
    apart = person.stride * (0.5 - b)
    legs = (b < 0.5) & (np.abs(a - apart) < 0.26)
    skin = head | (torso & (a > 0.45) & (b < 0.56))
    colour = np.where((b > 0.48)[..., None], person.top, person.legs)
    colour = np.where(skin[..., None], person.skin, colour)
    colour = np.where((head & (b > 0.945))[..., None], person.hair, colour)
    colour = np.where((b < 0.03)[..., None], rgb(0.12, 0.1, 0.1), colour)
    lit = np.float32(light.ambient + 0.6 * light.direct)
    canvas.paint(patch, colour * lit, PERSON, head | torso | legs)


def _paint_post(canvas: Canvas, camera: Camera, light: Light, post: Post) -> None:
    thin = 2 * max(1.0, min(camera.size) / 128)  # never thinner than 2 pixels of a 128-pixel image
    lit = np.float32(light.ambient + 0.5 * light.direct)
    if post.sign:
        size = post.sign_size
        patch = billboard(camera, post.point, size, post.height - size, post.height)
        if patch is not None:
            a = np.abs(patch.along / size - 0.5) * 2
            b = (patch.up - post.height + size / 2) / (size / 2)
            edge = {
                "disc": np.hypot(a, b),
                "triangle": np.maximum(a + b * 0.5 + 0.5, -b),
                "diamond": a + np.abs(b),
                "board": np.maximum(a, np.abs(b) * 1.5),
            }[post.sign]
            colour = np.where((edge > 0.72)[..., None], post.rim, post.face)
            colour = np.where(((a < 0.35) & (np.abs(b) < 0.12))[..., None], post.rim, colour)
            canvas.paint(patch, colour * lit, SIGN, edge < 1)
    patch = billboard(camera, post.point, post.width, 0, post.height, thin)
    if patch is None:
        return
    full = max(post.width, thin * float(patch.pixel[0, 0]))
    gleam = 0.8 + 0.4 * np.sin(patch.along / full * np.pi)
    canvas.paint(patch, post.colour * gleam[..., None] * lit, POLE)
    if post.arm:
        x, z = post.point
        thick = max(0.12, thin * 0.8 * float(patch.pixel[0, 0]))
        arm = panel(camera, post.point, (x + post.arm, z), post.height - thick, post.height)
        if arm is not None:
            canvas.paint(arm, post.colour * lit, POLE)


def _paint_fence(canvas: Canvas, camera: Camera, light: Light, fence: Fence) -> None:
    patch = panel(camera, fence.start, fence.end, 0, fence.height)
    if patch is None:
        return
    thick = np.maximum(0.05, 0.6 * patch.pixel)
    bars = patch.along % fence.spacing < thick
    level = patch.up / fence.height * fence.rails
    bars = bars | (level % 1 > 1 - thick * fence.rails / fence.height)
    behind = canvas.colour[patch.rows, patch.cols]
    lit = np.float32(light.ambient + 0.5 * light.direct)
    # Bars closer together than pixels blur into a veil.
    veil = np.clip(patch.pixel * 2 / fence.spacing, 0, 0.7)[..., None]
    through = behind * (1 - veil) + fence.colour * lit * veil
    colour = np.where(bars[..., None], fence.colour * lit, through)
    canvas.paint(patch, colour, FENCE)
