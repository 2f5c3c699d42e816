"""A module of one's own trains like the package's networks; a weights file is what it says."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fcn_tutorial import models, training
from fcn_tutorial.models import FCN, Card, Own
from fcn_tutorial.predict import Predictor
from fcn_tutorial.training import Recipe, RunFolder

CARD = Card.of(["a", "b", "c"], [(0, 0, 0), (1, 1, 1), (2, 2, 2)], details={"z": 1, "a": "é"})


@pytest.fixture
def small() -> Recipe:
    settings = ["data.crop=48,64", "data.train_images=8", "data.test_images=2", "batch=4",
                "epochs=2", "ema=0.9"]  # fmt: skip
    return training.override(training.get("scenes-fcn8s"), settings)[0]


def module(classes: int = 12) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, classes, 1)
    )


def test_a_module_of_ones_own_trains_resumes_and_answers(small: Recipe, tmp_path: Path) -> None:
    whole = training.train(small, tmp_path / "whole", model=module())
    assert whole["network"] == "Sequential" and whole["train"]["weights"]["kind"] == "given"
    assert "| network | Sequential |" in RunFolder(tmp_path / "whole").card.read_text()
    asked = iter(range(9))
    with pytest.raises(training.Interrupted):
        training.train(small, tmp_path / "cut", model=module(), stop=lambda: next(asked) == 3)
    cut = training.train(small, tmp_path / "cut", model=module(), resume=True)
    assert cut["test"] == whole["test"]
    best = [RunFolder(tmp_path / name).best for name in ("whole", "cut")]
    assert best[0].read_bytes() == best[1].read_bytes()
    network, card = models.load(best[0], backbone=module())
    image = torch.randint(256, (3, 48, 64), dtype=torch.uint8)
    assert Predictor(network, card).label(image).shape == (48, 64)
    with pytest.raises(ValueError, match=r"Sequential: give a fresh one as models\.load"):
        models.load(best[0])


def test_a_network_is_trained_as_it_is_given(small: Recipe, tmp_path: Path) -> None:
    network = FCN("tiny", 12, stride=16, width=0.25)
    record = training.train(small, tmp_path, model=network)
    assert record["network"] == "FCN-16s on tiny"
    stored = RunFolder(tmp_path).read_state()["model"]
    assert all(torch.equal(stored[name], t) for name, t in network.state_dict().items())


class Half(nn.Module):
    """Scores of half the size, which an interface is for."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :, ::2, ::2].repeat(1, 4, 1, 1)


def test_a_model_that_does_not_fit_is_told_so(small: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tells 5 classes apart, scenes has 12"):
        training.train(small, tmp_path / "a", model=FCN("tiny", 5, width=0.25))
    with pytest.raises(ValueError, match=r"Half: expected scores \(4, 12, 48, 64\) of images"):
        Own(Half(), 12).training_scores(torch.zeros(4, 3, 48, 64))
    with pytest.raises(ValueError, match="weights: load them into the model"):
        training.train(small, tmp_path / "b", model=module(), weights=tmp_path)


def test_equal_networks_make_equal_files(tmp_path: Path) -> None:
    """In several processes: the order that is got rid of is drawn once a process."""
    code = (
        "import sys, torch; from pathlib import Path; from fcn_tutorial import models\n"
        "from tests.models.test_own import CARD; torch.manual_seed(0)\n"
        "models.save(models.FCN('tiny', 3, width=0.25), CARD, Path(sys.argv[1]))"
    )
    paths = [tmp_path / f"{i}.safetensors" for i in range(3)]
    torch.manual_seed(0)
    models.save(FCN("tiny", 3, width=0.25), CARD, paths[0])
    for path in paths[1:]:
        subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert len({path.read_bytes() for path in paths}) == 1
    assert models.load(paths[0])[1] == CARD


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_double_that_no_float_holds_is_not_taken_for_a_weight(
    suffix: str, tmp_path: Path
) -> None:
    trunks = models.backbones.trunks
    state = trunks.build(trunks.PLANS["tiny"], 0.25, "same").state_dict()
    name = "features.0.weight"
    state[name] = state[name].double() + 1e39
    path = tmp_path / f"trunk{suffix}"
    write = torch.save if suffix == ".pth" else save_file
    write(state, path)
    with pytest.raises(ValueError, match=rf"{name}' holds values that are no numbers"):
        FCN("tiny", 3, width=0.25, weights=path)


def test_a_networks_file_of_doubles_is_checked_as_floats(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    models.save(FCN("tiny", 3, width=0.25), CARD, path)
    tensors = load_file(path)
    tensors["score_fr.bias"] = tensors["score_fr.bias"].double() + 1e39
    with safe_open(path, "pt") as file:
        save_file(tensors, path, file.metadata())
    with pytest.raises(ValueError, match=r"net\.safetensors: score_fr\.bias holds values that"):
        models.load(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_neither_written_nor_read(
    value: float, tmp_path: Path
) -> None:
    path = tmp_path / "net.safetensors"
    network = FCN("tiny", 3, width=0.25)
    models.save(network, CARD, path)
    before = path.read_bytes()
    with torch.no_grad():
        network.get_parameter("score_fr.bias")[1] = value
    with pytest.raises(ValueError, match=r"net\.safetensors: score_fr\.bias holds values that are"):
        models.save(network, CARD, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    tensors = load_file(path)
    tensors["score_fr.bias"][1] = value

    with safe_open(path, "pt") as file:
        save_file(tensors, tmp_path / "bad.safetensors", file.metadata())
    with pytest.raises(ValueError, match=r"bad\.safetensors: score_fr\.bias holds values that"):
        models.load(tmp_path / "bad.safetensors")
