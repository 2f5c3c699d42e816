"""Damage by chance: to bytes, and to values of JSON.

What is damaged, and how, follows from the random numbers alone.
"""

import json
import random
from pathlib import Path
from typing import Any

HEAD = 200  # bytes at the front, where formats describe themselves

NUMBERS = (0, 1, 2, 127, 128, 255, 256, 10_000, 65_535, 1 << 20, (1 << 31) - 1, 1 << 31,
           (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)  # fmt: skip


def place(data: bytes, rng: random.Random) -> int:
    """Two times of three in the description of the contents rather than in the contents."""
    return rng.randrange(min(len(data), HEAD) if rng.random() < 0.67 else len(data))


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.choice([0, place(data, rng), len(data) - 1])]


def drop(data: bytes, rng: random.Random) -> bytes:
    at = place(data, rng)
    return data[:at] + data[at + rng.randrange(1, 64) :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    first, last = sorted((place(data, rng), rng.randrange(len(data))))
    return data[:last] + data[first:]


def insert(data: bytes, rng: random.Random) -> bytes:
    at = place(data, rng)
    return data[:at] + rng.randbytes(rng.randrange(1, 64)) + data[at:]


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        damaged[place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def set_bytes(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        damaged[place(data, rng)] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    return bytes(damaged)


def set_number(data: bytes, rng: random.Random) -> bytes:
    """An extreme number of 2, 4 or 8 bytes: lengths, sizes and offsets are of these."""
    size = rng.choice([2, 4, 4, 8])
    number = rng.choice(NUMBERS) % (1 << 8 * size)
    at = place(data, rng)
    at -= at % rng.choice([1, size])
    written = number.to_bytes(size, rng.choice(["little", "big"]))
    return (data[:at] + written + data[at + size :])[: max(len(data), at + size)]


CHANCE = (truncate, drop, repeat, insert, flip_bits, set_bytes, set_number)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """The bytes, damaged in one of seven ways. `data` must not be empty."""
    return rng.choice(CHANCE)(data, rng)


EVIL: tuple[Any, ...] = (None, True, -1, 0, 3, 10**6, 10**9, 10**18, 1 << 70, 1e6, 1e400, 0.5, "",
                         "caffe", "vgg16", "../secret", "secret.safetensors", [], [1], {}, {"a": 1},
                         [10**9, 10**9], [0, 1 << 62])  # fmt: skip


def edit_json(value: Any, rng: random.Random, folder: Path) -> Any:
    """The value with one leaf or one key changed; text that is JSON itself counts as its value."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        return json.dumps(edit_json(json.loads(value), rng, folder))
    if isinstance(value, dict) and value:
        if rng.random() < 0.1:
            file = str(folder.parent / "secret.safetensors")
            return value | {rng.choice(["weights", "width", "extra_channels", "a"]): file}
        name = rng.choice(sorted(value))
        if rng.random() < 0.1:
            return {key: item for key, item in value.items() if key != name}
        return value | {name: edit_json(value[name], rng, folder)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], edit_json(value[at], rng, folder), *value[at + 1 :]]
    return rng.choice(EVIL)
