"""Features, pieces and a dense CRF on frames in CamVid's layout: what is counted and kept."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score

from benchmarks import photographs
from benchmarks.command import RESULTS
from fcn_tutorial.datasets.writers import write_camvid


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_camvid(tmp_path_factory.mktemp("data"), 3, (48, 64))


def test_a_smoke_run_fills_every_part(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    assert photographs.main(["--data", str(folder), "--smoke", "--json", str(file)]) == 0
    record = json.loads(file.read_text(encoding="utf-8"))
    assert record["smoke"] and record["settings"]["size"] == [24, 32]
    assert [row["numbers"] for row in record["features"]] == [3, 17, 5, 19]
    assert record["crf"]["before"] == {
        key: record["features"][-1][key] for key in ("mean_iu", "pixel_accuracy")
    }
    counts = [row["pieces"] for row in record["pieces"]]
    assert counts == sorted(counts) and counts[0] < counts[-1]
    best = [row["pixel_accuracy"] for row in record["pieces"]]
    assert best == sorted(best)


def test_a_folder_without_frames_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert photographs.main(["--data", str(tmp_path), "--smoke"]) == 1
    assert "train.txt not found" in capsys.readouterr().err


def test_half_a_frame_is_means_of_four_pixels_and_their_first_label() -> None:
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (3, 7, 8), np.uint8), rng.integers(0, 9, (7, 8), np.uint8)
    half, labels = photographs.halved(torch.as_tensor(image), mask)
    blocks = image[:, :6].reshape(3, 3, 2, 4, 2).mean((2, 4))
    assert half.dtype == torch.uint8 and np.abs(half.numpy() - blocks).max() <= 0.5
    assert np.array_equal(labels, mask[[0, 2, 4]][:, [0, 2, 4, 6]])


def test_scores_are_scikit_learn_s(folder: Path) -> None:
    frames = photographs.prepared(folder, smoke=True)
    guess = np.random.default_rng(0).integers(0, 3, frames.test[0][1].shape)
    found = photographs.scored(lambda image: guess, frames.test[:1])
    (_, truth), *_ = frames.test
    known = truth != 255
    labels = np.unique(np.concatenate([truth[known], guess[known]]))
    wanted = jaccard_score(truth[known], guess[known], labels=labels, average="macro")
    assert found.mean_iu == pytest.approx(wanted)


def test_the_committed_record_is_of_today_s_settings() -> None:
    record = json.loads((RESULTS / "photographs-cpu.json").read_text(encoding="utf-8"))
    assert not record["smoke"] and record["settings"] == {
        "train": 120, "test": 24, "size": [180, 240],
        "seeds": list(photographs.SEEDS), "pixels": 60_000,
    }  # fmt: skip
    assert [tuple(row["features"]) for row in record["features"]] == list(photographs.TOLD)
    assert [row["pixels"] for row in record["pieces"]] == list(photographs.PIECES)
    for row in (*record["features"], *record["crf"].values()):
        assert len(row["mean_iu"]) == len(row["pixel_accuracy"]) == len(photographs.SEEDS)
