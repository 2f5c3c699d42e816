"""Finding the small files that travel with the package."""

import copy
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from fcn_tutorial import assets, models
from fcn_tutorial.datasets import Scenes
from fcn_tutorial.metrics import ConfusionMatrix


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder as a wheel lays it out, beside a stranger's folder named data."""
    package = tmp_path / "site-packages" / "fcn_tutorial"
    (package / "assets" / "weights").mkdir(parents=True)
    (package / "assets" / "weights" / "a.safetensors").write_bytes(b"carried")
    (package.parent / "data" / "weights").mkdir(parents=True)
    monkeypatch.setattr(assets, "_PACKAGE", package)
    return package


def test_a_wheel_finds_what_it_carries(installed: Path) -> None:
    assert assets.path("weights/a.safetensors").read_bytes() == b"carried"


def test_a_checkout_finds_its_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "results" / "camvid").mkdir(parents=True)
    (tmp_path / "data" / "results" / "camvid" / "x.json").write_text("{}")
    monkeypatch.setattr(assets, "_PACKAGE", tmp_path / "fcn_tutorial")
    assert assets.path("results/camvid/x.json").read_text() == "{}"
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "benchmarks" / "results" / "y.json").write_text("[]")
    assert assets.path("benchmarks/y.json").read_text() == "[]"


def test_a_missing_file_is_named_with_those_there(installed: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"weights/b\.safetensors.*weights/a\.safetensors"):
        assets.path("weights/b.safetensors")


@pytest.mark.parametrize(
    "name", ["", "weights", "a.safetensors", "/weights/a", "weights/../../a", "data/weights/a"]
)
def test_a_name_that_leads_elsewhere_is_refused(installed: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name="):
        assets.path(name)


@pytest.fixture(scope="module")
def stages() -> ModuleType:
    """The script that trains the stages which travel with the package."""
    path = assets.root() / "weights" / "train_scene_stages.py"
    spec = importlib.util.spec_from_file_location("train_scene_stages", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_eight_bits_and_the_norms_give_the_same_network(stages: ModuleType) -> None:
    torch.manual_seed(0)
    model = models.FCN("tiny", 4, 8).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that the steps must get into
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    for layer in (model.score_fr, model.score_pool4, model.score_pool3):
        assert isinstance(layer, nn.Conv2d)
        nn.init.normal_(layer.weight, std=0.1)
    before = copy.deepcopy(model.state_dict())
    small = models.FCN("tiny", 4, 8).eval()
    small.load_state_dict(stages.in_eight_bits(model))
    again = models.FCN("tiny", 4, 8).eval()
    again.load_state_dict(stages.in_eight_bits(small))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        scores, rounded, twice = model(images), small(images), again(images)
    assert torch.allclose(twice, rounded, atol=1e-4)  # whole weights are kept as they are
    assert (rounded - scores).std() < 0.03 * scores.std()  # half a step in 127 a weight
    assert not torch.equal(rounded, scores)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_the_stages_score_as_the_records_of_their_runs(stages: ModuleType) -> None:
    items = list(Scenes(n=200, split="test"))
    images = torch.stack([image.as_subclass(Tensor) for image, _ in items])
    truth = torch.stack([mask.as_subclass(Tensor) for _, mask in items])
    for recipe, name in stages.STAGES.items():
        model, card = models.load(assets.path(f"weights/{name}.safetensors"))
        assert (card.recipe, card.classes) == (recipe, Scenes.classes)
        confusion = ConfusionMatrix(len(card.classes))
        with torch.no_grad():
            for part, target in zip(images.split(25), truth.split(25), strict=True):
                confusion.update(model(model.preprocess(part)).argmax(1), target)
        path = assets.path(f"results/scenes/{recipe}-seed{stages.SEED}.json")
        record = json.loads(path.read_text(encoding="utf-8"))
        # Eight bits cost a tenth of a point at most.
        assert confusion.compute().mean_iu == pytest.approx(record["test"]["mean_iu"], abs=0.003)
