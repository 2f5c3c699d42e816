"""Batches are padded as said, and nothing in them depends on the number of workers."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from benchmarks import loading as benchmark
from fcn_tutorial.datasets import Scenes
from fcn_tutorial.datasets.loading import Augmented, InMemory, collate, mix, seeded
from fcn_tutorial.training import stream
from fcn_tutorial.transforms import HHA, Depth, augmentation
from fcn_tutorial.vision import tv_tensors, v2

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


def _everything(workers: int) -> list[tuple[Any, Any]]:
    """Two epochs of augmented batches of scenes."""
    jitter = augmentation((40, 48), (0.5, 2.0), jitter=0.3)
    sampler = stream.EpochSampler(7, 3, seed=5)
    batches = DataLoader(
        Augmented(Scenes(n=7, size=(40, 56)), jitter, seed=7),
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        generator=torch.Generator(),
    )
    found = []
    for sampler.epoch in (0, 1):
        found += [(images.clone(), masks.clone()) for images, masks in batches]
    return found


def test_batches_are_the_same_for_any_number_of_workers() -> None:
    torch.manual_seed(99)
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    alone = _everything(0)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    assert torch.equal(state[0], after[0]) and state[1:] == after[1:]
    assert len(alone) == 4
    assert not torch.equal(alone[0][0], alone[2][0])
    for workers in (1, 2):
        torch.manual_seed(workers)
        for one, other in zip(alone, _everything(workers), strict=True):
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


def test_training_batches_are_those_of_published_records() -> None:
    """An item is transformed after torch.manual_seed of its own FNV-1a number, then stacked."""
    seed, epoch, index = 3, 1, 2
    state = 14695981039346656037
    for number in (seed, epoch, index):
        state = (state ^ number) * 1099511628211 % 2**64
    assert mix(seed, epoch, index) == state // 2
    dataset = InMemory(Scenes(n=6, size=(48, 64)), 6)
    transform = v2.Compose([augmentation((40, 40), (0.5, 2.0), jitter=0.3)])
    augmented = Augmented(dataset, transform, seed)
    sampler = stream.EpochSampler(6, 3, seed)
    sampler.epoch = epoch
    batches = list(stream.loader(augmented, sampler, torch.device("cpu")))
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
    assert works == {"reading", "training samples"}
    for row in record["rows"]:
        assert row["unit"] == "s/image" and row["ratio"] > 0 and row["target"] is None
        assert row["theirs"]["name"] in shown
    assert "images/s" in shown
    assert [p.name for p in path.parent.iterdir()] == ["loading.json"]
