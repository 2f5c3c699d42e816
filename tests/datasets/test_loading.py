"""Batches hold every item once, little padding, and nothing that the number of workers changes."""

import itertools
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import loading as benchmark
from fcn_tutorial.datasets import Cached, Scenes
from fcn_tutorial.datasets.loading import (
    Augmented,
    Keyed,
    SizeBuckets,
    collate,
    item_sizes,
    loader,
    mix,
    padding_share,
    seeded,
)
from fcn_tutorial.training import data as training_data
from fcn_tutorial.transforms import HHA, Depth, augmentation
from fcn_tutorial.vision import tv_tensors, v2

SIDES = st.integers(1, 600)
SIZES = st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=70)
# As photos of VOC are: few sizes are frequent, and some are rare.
VOC_SIZES = [
    *[(375, 500)] * 60, *[(333, 500)] * 12, *[(500, 375)] * 12, *[(500, 333)] * 5,
    *[(334, 500)] * 4, *[(332, 500)] * 2, *[(281, 500)] * 2, (500, 400), (442, 500), (500, 500),
]  # fmt: skip


# --- Buckets of sizes ---------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(SIZES, st.integers(1, 9), st.integers(1, 4), st.integers(0, 3), st.integers(0, 99))
def test_every_item_comes_once_an_epoch_in_full_batches_but_one(
    sizes: list[tuple[int, int]], batch_size: int, pool: int, epoch: int, seed: int
) -> None:
    sampler = SizeBuckets(sizes, batch_size, seed, pool=pool)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler) == -(-len(sizes) // batch_size)
    assert sorted(index for batch in batches for index in batch) == list(range(len(sizes)))
    incomplete = [batch for batch in batches if len(batch) != batch_size]
    assert len(incomplete) == (len(sizes) % batch_size > 0)
    assert all(type(index) is int for batch in batches for index in batch)


@settings(max_examples=150, deadline=None)
@given(SIZES, st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_processes_get_as_many_batches_and_together_every_item(
    sizes: list[tuple[int, int]], batch_size: int, pool: int, world: int, drop_last: bool
) -> None:
    arguments: dict[str, Any] = {"pool": pool, "drop_last": drop_last, "world_size": world}
    full = len(sizes) // (batch_size * world)
    if drop_last and not full:
        with pytest.raises(ValueError, match=f"batch_size={batch_size} on {world} processes"):
            SizeBuckets(sizes, batch_size, **arguments)
        return
    samplers = [SizeBuckets(sizes, batch_size, rank=rank, **arguments) for rank in range(world)]
    batches = [list(sampler) for sampler in samplers]
    assert {len(own) for own in batches} == {len(sampler) for sampler in samplers}
    seen = [index for own in batches for batch in own for index in batch]
    if drop_last:
        assert {len(batch) for own in batches for batch in own} == {batch_size}
        assert len(seen) == len(set(seen)) == full * batch_size * world
    else:
        assert set(seen) == set(range(len(sizes)))
        assert len(batches[0]) == -(-len(sizes) // (batch_size * world))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=8, unique=True),
    st.lists(st.integers(1, 4), min_size=8, max_size=8),
    st.integers(1, 6),
    st.randoms(use_true_random=False),
)
def test_sizes_that_fill_whole_batches_are_never_padded(
    kinds: list[tuple[int, int]], times: list[int], batch_size: int, rng: random.Random
) -> None:
    groups = zip(kinds, times, strict=False)
    sizes = [size for size, count in groups for _ in range(count * batch_size)]
    rng.shuffle(sizes)
    assert padding_share(sizes, SizeBuckets(sizes, batch_size)) == 0


def _partitions(items: list[int], size: int) -> Iterator[list[list[int]]]:
    if not items:
        yield []
        return
    first, *rest = items
    for others in itertools.combinations(rest, size - 1):
        left = [item for item in rest if item not in others]
        yield from ([[first, *others], *more] for more in _partitions(left, size))


@pytest.mark.parametrize(("items", "batch_size"), [(6, 2), (8, 2), (9, 3)])
def test_batches_of_any_sizes_are_within_a_twentieth_of_the_least_pixels(
    items: int, batch_size: int
) -> None:
    """All ways to make batches are tried; over sixty draws, as found when this was written."""
    rng = random.Random(0)
    found = least = 0.0
    for _ in range(60):
        sizes = [(rng.randint(1, 500), rng.randint(1, 500)) for _ in range(items)]

        def pixels(batches: Iterable[list[int]], sizes: list[tuple[int, int]] = sizes) -> float:
            return sum(h * w for h, w in sizes) / (1 - padding_share(sizes, list(batches)))

        found += pixels(SizeBuckets(sizes, batch_size))
        least += min(map(pixels, _partitions(list(range(items)), batch_size)))
    assert 1 <= found / least < 1.05


@pytest.mark.parametrize("batch_size", [4, 8, 16])
def test_photos_like_vocs_are_hardly_padded(batch_size: int) -> None:
    sizes = VOC_SIZES * 10
    order = np.random.default_rng(0).permutation(len(sizes)).tolist()
    starts = range(0, len(sizes), batch_size)
    plain = padding_share(sizes, [order[i : i + batch_size] for i in starts])
    for epoch in range(3):
        sampler = SizeBuckets(sizes, batch_size)
        sampler.set_epoch(epoch)
        share = padding_share(sizes, sampler)
        assert share < 0.03 < 0.15 < plain
    assert padding_share(sizes, SizeBuckets(sizes, batch_size, pool=1000)) < 0.012


def test_the_share_of_padding_is_counted_in_pixels() -> None:
    sizes = [(4, 10), (8, 5), (3, 3)]
    assert padding_share(sizes, [[0, 1], [2]]) == pytest.approx(1 - (40 + 40 + 9) / (160 + 9))
    assert padding_share(sizes, [[0, 2]], 8) == pytest.approx(1 - (40 + 9) / (2 * 8 * 16))


def test_epochs_and_seeds_have_orders_of_their_own_that_repeat() -> None:
    def order(seed: int, epoch: int) -> tuple[tuple[int, ...], ...]:
        sampler = SizeBuckets(VOC_SIZES, 4, seed)
        sampler.set_epoch(epoch)
        return tuple(map(tuple, sampler))

    orders = {(seed, epoch): order(seed, epoch) for seed in range(3) for epoch in range(3)}
    assert len(set(orders.values())) == 9
    assert all(order(*key) == found for key, found in orders.items())
    # Batches of the same company would be the same lesson again.
    companies = [{frozenset(batch) for batch in orders[0, epoch]} for epoch in range(3)]
    assert len(companies[0] & companies[1]) <= 2


def test_items_left_out_change_from_epoch_to_epoch_and_are_of_all_sizes() -> None:
    sizes = [(10 + i, 10 + i) for i in range(11)]
    sampler = SizeBuckets(sizes, 4, drop_last=True)
    left = []
    for epoch in range(40):
        sampler.set_epoch(epoch)
        left.append(set(range(11)) - {index for batch in sampler for index in batch})
    assert all(len(missing) == 3 for missing in left)
    assert set.union(*left) == set(range(11))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], 4), "sizes: expected"), (([(3, 0)], 4), "sizes: expected"),
        (([3, 4], 4), "sizes: expected"), (([(3, 4)], 0), "batch_size=0"),
    ],
)  # fmt: skip
def test_arguments_out_of_range_are_named(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SizeBuckets(*arguments)
    with pytest.raises(ValueError, match="pool=0"):
        SizeBuckets([(3, 4)], 1, pool=0)
    with pytest.raises(ValueError, match="rank=2, world_size=2"):
        SizeBuckets([(3, 4)], 1, rank=2, world_size=2)


# --- Batches ------------------------------------------------------------------------------------


def _items(sizes: list[tuple[int, int]]) -> list[tuple[Any, Any]]:
    generator = torch.Generator().manual_seed(0)
    items = []
    for size in sizes:
        rgb = torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8)
        mask = torch.randint(21, size, generator=generator, dtype=torch.uint8)
        items.append((tv_tensors.Image(rgb), tv_tensors.Mask(mask)))
    return items


@pytest.mark.parametrize("multiple", [1, 32])
def test_items_keep_their_corner_and_the_rest_is_mean_colour_and_void(multiple: int) -> None:
    sizes = [(30, 40), (25, 50), (33, 64), (33, 64)]
    items = _items(sizes)
    images, masks = collate(items, multiple=multiple)
    side = (33, 64) if multiple == 1 else (64, 64)
    assert type(images) is torch.Tensor is type(masks)
    assert images.dtype == masks.dtype == torch.uint8
    for (image, mask), (h, w), found, labels in zip(items, sizes, images, masks, strict=True):
        below = ((0, side[0] - h), (0, side[1] - w))
        assert np.array_equal(labels, np.pad(mask.numpy(), below, constant_values=255))
        for channel in range(3):
            colour = round(float(image[channel].double().mean()))
            expected = np.pad(image[channel].numpy(), below, constant_values=colour)
            assert np.array_equal(found[channel], expected)


def test_dicts_of_parts_are_padded_as_what_each_is() -> None:
    items = []
    for (image, mask), far in zip(_items([(9, 12), (11, 10)]), (2.0, 3.0), strict=True):
        depth = Depth(torch.full((1, *mask.shape), far))
        inputs = {"rgb": image, "depth": depth, "hha": HHA(255 - image.as_subclass(torch.Tensor))}
        items.append((inputs, {"semantic": mask, "geometric": tv_tensors.Mask(mask % 3)}))
    inputs, targets = collate(items, ignore_index=250)
    assert {name: tuple(x.shape) for name, x in inputs.items()} == {
        "rgb": (2, 3, 11, 12), "depth": (2, 1, 11, 12), "hha": (2, 3, 11, 12)
    }  # fmt: skip
    for i, (h, w) in enumerate([(9, 12), (11, 10)]):
        outside = torch.ones(11, 12, dtype=torch.bool)
        outside[:h, :w] = False
        assert (targets["semantic"][i][outside] == 250).all()
        assert (targets["geometric"][i][outside] == 250).all()
        assert (inputs["depth"][i, 0][outside] == 0).all()
        assert (inputs["depth"][i, 0][~outside] == items[i][0]["depth"].flatten()[0]).all()
        assert inputs["hha"][i, :, outside].unique(dim=1).shape == (3, 1)


def test_tensors_that_a_transform_made_plain_or_float_are_padded_too() -> None:
    items = [
        (torch.rand(3, *size), torch.zeros(size, dtype=torch.int64)) for size in ((4, 6), (5, 5))
    ]
    images, masks = collate(items)
    assert images.dtype == torch.float32 and masks.dtype == torch.int64
    assert torch.allclose(images[0, :, 4, 0], items[0][0].mean((1, 2)))
    assert (masks[1, :, 5] == 255).all()


def test_a_void_label_that_targets_cannot_hold_is_refused_whether_padded_or_not() -> None:
    """As a byte, −100 would be class 156."""
    for sizes in ([(4, 6), (5, 6)], [(4, 6), (4, 6)]):
        with pytest.raises(ValueError, match="ignore_index=-100 does not fit a target of"):
            collate(_items(sizes), ignore_index=-100)
    wide = [(image, mask.long()) for image, mask in _items([(4, 6), (5, 6)])]
    _, masks = collate(wide, ignore_index=(-100, 255))
    assert (masks[0, 4] == -100).all()


def test_items_whose_parts_differ_in_size_are_refused() -> None:
    (image, _), (_, mask) = _items([(4, 6), (5, 6)])
    with pytest.raises(ValueError, match=r"parts of sizes \[\(4, 6\), \(5, 6\)\]"):
        collate([(image, mask)])
    with pytest.raises(TypeError, match="str"):
        collate([(image, "mask")])


# --- Seeds --------------------------------------------------------------------------------------


def _everything(dataset: Any, workers: int, epochs: int = 2) -> list[tuple[Any, Any]]:
    sampler = SizeBuckets(item_sizes(dataset), 3, seed=5)
    jitter = augmentation((40, 48), (0.5, 2.0), jitter=0.3)
    batches = loader(dataset, sampler, jitter, seed=7, workers=workers)
    found = []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        found += [(images.clone(), masks.clone()) for images, masks in batches]
    return found


def test_batches_are_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    torch.manual_seed(99)
    dataset = Cached(Scenes(n=7, size=(40, 56)), tmp_path, key="scenes")
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    alone = _everything(dataset, 0)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    assert torch.equal(state[0], after[0]) and state[1:] == after[1:]
    assert len(alone) == 6
    assert not torch.equal(alone[0][0], alone[3][0])
    for workers in (1, 2):
        torch.manual_seed(workers)
        for one, other in zip(alone, _everything(dataset, workers), strict=True):
            assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


class Numbers(torch.utils.data.Dataset[Any]):
    """Items that are random numbers of all three generators, as careless transforms draw them."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Any:
        drawn = [float(torch.rand(())), float(np.random.rand()), random.random()]
        return torch.tensor(drawn, dtype=torch.float64).view(3, 1, 1), torch.zeros(1, 1)


def test_an_items_random_numbers_depend_on_seed_epoch_and_index_alone() -> None:
    def drawn(seed: int, epoch: int, index: int) -> tuple[float, ...]:
        return tuple(Augmented(Numbers(), None, seed)[epoch, index][0].flatten().tolist())

    keys = [(s, e, i) for s in (0, 1, 2**31) for e in range(3) for i in range(5)]
    first = {key: drawn(*key) for key in keys}
    random.seed(1)
    assert {key: drawn(*key) for key in reversed(keys)} == first
    for generator in range(3):
        assert len({numbers[generator] for numbers in first.values()}) == len(keys)


def test_seeded_puts_the_states_back_after_an_error_too() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state(), random.getstate()
    with pytest.raises(KeyError), seeded(1):
        torch.rand(2), random.random()
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]


def test_keys_carry_the_samplers_epoch() -> None:
    sampler = SizeBuckets(VOC_SIZES, 8)
    keyed = Keyed(sampler)
    assert len(keyed) == len(sampler) == 13
    for epoch in (0, 4):
        sampler.set_epoch(epoch)
        assert list(keyed) == [[(epoch, index) for index in batch] for batch in sampler]


def test_training_batches_are_those_of_published_records() -> None:
    """An item is transformed after torch.manual_seed of its own FNV-1a number, then stacked."""
    seed, epoch, index = 3, 1, 2
    state = 14695981039346656037
    for number in (seed, epoch, index):
        state = (state ^ number) * 1099511628211 % 2**64
    assert mix(seed, epoch, index) == state // 2
    dataset = training_data.InMemory(Scenes(n=6, size=(48, 64)), 6)
    transform = v2.Compose([augmentation((40, 40), (0.5, 2.0), jitter=0.3)])
    augmented = training_data.Augmented(dataset, transform, seed)
    sampler = training_data.EpochSampler(6, 3, seed)
    sampler.epoch = epoch
    batches = list(training_data.loader(augmented, sampler, torch.device("cpu")))
    for keys, (images, masks) in zip(sampler, batches, strict=True):
        assert type(images) is torch.Tensor is type(masks)
        for (_, i), image, mask in zip(keys, images, masks, strict=True):
            torch.manual_seed(mix(seed, epoch, i))
            expected, labels = transform(*dataset[i])
            assert torch.equal(image, expected) and torch.equal(mask, labels)


# --- The benchmark ------------------------------------------------------------------------------


def test_the_benchmark_runs_and_writes_what_it_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new folder" / "loading.json"
    assert benchmark.main(["--smoke", "--json", str(path)]) == 0
    record, shown = json.loads(path.read_text()), capsys.readouterr().out
    assert record["smoke"] and record["cases"] == ["loading"]
    works = {row["work"].split(",")[0].removesuffix(" 480×480") for row in record["rows"]}
    assert works == {"reading", "training samples", "first epoch"}
    for row in record["rows"]:
        assert row["unit"] == "s/image" and row["ratio"] > 0 and row["target"] is None
        assert row["theirs"]["name"] in shown
    assert 0 <= record["padding"]["buckets"] < record["padding"]["shuffled"] < 1
    assert "images/s" in shown and "padding" in shown
    assert [p.name for p in path.parent.iterdir()] == ["loading.json"]
