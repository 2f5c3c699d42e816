"""The benchmarks run and report what they measured; nothing here looks at a time."""

import json
import statistics
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import fcn_tutorial.vision  # noqa: F401  torchmetrics imports torchvision
from benchmarks import command, core, forms, memory, training
from benchmarks.cases import CASES, determinism, heads, metrics, patches, published, upsampling
from benchmarks.rows import Check, Measured, Row, Skipped, table
from benchmarks.timing import Settings, alternate, peak_in_child, with_tf32
from fcn_tutorial import surgery
from fcn_tutorial.datasets import Scenes
from fcn_tutorial.models import FCN

CPU = torch.device("cpu")
SMOKE = Settings(CPU, smoke=True)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, object]]:
    """Table and file of a smoke run of all cases."""
    path = tmp_path_factory.mktemp("results") / "new folder" / "core.json"
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda text, **_: lines.append(str(text)))
        assert core.main(["--smoke", "--json", str(path)]) == 0
    assert [p.name for p in path.parent.iterdir()] == ["core.json"]  # no partial file
    return "\n".join(lines), json.loads(path.read_text(encoding="utf-8"))


def test_smoke_run_covers_every_case_and_the_file_has_its_schema(smoke) -> None:
    _, record = smoke
    assert record["schema"] == 1 and record["smoke"] and record["device_kind"] == "cpu"
    names = ["upsampling", "determinism", "metrics", "patches", "published", "heads"]
    assert record["cases"] == names
    assert {"torch", "scikit-learn", "torchmetrics"} <= set(record["versions"])
    seen = {line["case"] for kind in ("rows", "checks", "skipped") for line in record[kind]}
    assert seen == set(names)
    for row in record["rows"]:
        assert row["unit"] in ("s", "s/image", "MiB") and row["work"]
        ours, theirs = row["ours"], row["theirs"]
        for side in (ours, theirs):
            low, high = side["quartiles"]
            assert 0 < low <= side["median"] <= high and side["rounds"] >= 1 and side["name"]
        assert row["ratio"] == pytest.approx(theirs["median"] / ours["median"])
        assert row["target"] is None and row["reached"] is None  # sizes are not the targets'


def test_smoke_table_shows_every_line_of_the_file_under_its_heading(smoke) -> None:
    text, record = smoke
    shown = text.splitlines()
    assert shown[0].split() == ["what", "ours", "theirs", "ratio", "target", "reached"]
    for row in record["rows"]:
        heading = shown.index(row["work"])
        block = shown[heading + 1 :]
        block = block[: block.index("")]
        assert any(line.startswith(f"  {row['theirs']['name']}  ") for line in block)


def test_a_full_run_holds_the_targets_beside_the_work_they_are_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: dict[str, dict[str, float]] = {}

    def note(case, work, measured, targets):  # keeps what a case would compare, runs nothing
        found.setdefault(case, {})[work] = dict(targets)
        return []

    for module in (upsampling, metrics, patches, published, heads):
        monkeypatch.setattr(module, "alternate", lambda *a, **k: {})
        monkeypatch.setattr(module, "against", note)
    monkeypatch.setattr(upsampling, "_peak", lambda *a: None)
    beside: dict[str, float | None] = {}
    monkeypatch.setattr(published, "_beside", lambda w, m, target: beside.update({w: target}) or [])
    for name in ("upsampling", "metrics", "patches", "published", "heads"):
        CASES[name](SMOKE)
    by_factor = {work.split()[0]: t for work, t in found["upsampling"].items() if "batch 1" in work}
    assert by_factor == {
        "×8": {upsampling.NAMES["dense"]: 4},
        "×32": {upsampling.NAMES["dense"]: 5},
    }
    for targets in found["metrics"].values():
        assert targets == {metrics.SKLEARN: 10, metrics.CONFUSION: 2, metrics.JACCARD: 2}
    assert all(list(t.values()) == [5] for t in found["patches"].values())
    assert all(target == (2.4 if "step" in work else None) for work, target in beside.items())
    assert len(beside) == 2
    for work, targets in found["heads"].items():
        aimed = "forward" in work or work.endswith(("all layers", "as in the recipe"))
        assert set(targets.values()) == ({1.0} if aimed else set())


def test_contestants_take_turns_after_a_warm_up() -> None:
    order: list[str] = []
    contestants = {name: (lambda n=name: order.append(n)) for name in "AB"}
    settings = Settings(CPU, seconds=0, at_least=3, at_most=9)
    measured = alternate(contestants, settings, "s/image", {"B": 2})
    assert order == list("AB" * 4)  # one round of warm-up, three counted
    assert [len(m.values) for m in measured.values()] == [3, 3]
    assert {m.unit for m in measured.values()} == {"s/image"}


def test_seconds_per_image_divide_a_call_by_its_images() -> None:
    def call() -> None:
        time.sleep(0.02)

    measured = alternate({"one": call, "ten": call}, SMOKE, "s/image", {"ten": 10})
    assert min(measured["one"].values) >= 0.02
    assert 0.002 <= min(measured["ten"].values) < 0.02


def test_a_row_compares_medians_and_shows_the_spread_of_its_rounds() -> None:
    ours = Measured("ours", "s", (1.0, 1.0, 9.0))
    theirs = Measured("theirs", "s", (2.0, 3.0, 4.0))
    row = Row("case", "work", ours, theirs, target=3.0)
    assert row.ratio == 3.0 and row.reached
    rounds = [2.0, 3.0, 4 / 9]
    first, _, third = statistics.quantiles(rounds, n=4, method="inclusive")
    assert row.ratio_quartiles == (first, third)
    assert not Row("case", "work", ours, theirs, target=3.01).reached
    assert Row("case", "work", ours, theirs).reached is None


def test_table_tells_reached_missed_and_left_out_apart() -> None:
    fast, slow = Measured("ours", "s", (0.0123,)), Measured("theirs", "s", (0.0456,))
    text = table(
        [
            Row("a", "first work", fast, slow, 3.0),
            Row("a", "first work", fast, slow, 4.0),
            Check("b", "second work", "bits", "differs", "equal bits", "equal bits"),
            Skipped("c", "third work", "peer", "not installed: pip install peer"),
        ]
    )
    head, _, first, reached, missed, _, second, check, _, third, skipped = text.splitlines()
    assert (first, second, third) == ("first work", "second work", "third work")
    for cell in ("12.3 ms [12.3, 12.3]", "45.6 ms [45.6, 45.6]", "3.71 [3.71, 3.71]", "≥ 3 "):
        assert cell in reached
    assert reached.endswith("yes") and missed.endswith("NO") and check.endswith("NO")
    assert skipped.split() == ["peer", "not", "installed:", "pip", "install", "peer"]
    assert head.index("ours") == reached.index("12.3 ms")


@pytest.mark.parametrize(
    ("case", "library", "package"),
    [
        ("heads", "segmentation_models_pytorch", "segmentation-models-pytorch"),
        ("metrics", "torchmetrics.classification", "torchmetrics"),
    ],
)
def test_a_missing_library_is_named_with_its_remedy(
    case: str, library: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setitem(heads.PEERS, "resnet50", ())
    lines = CASES[case](SMOKE)
    skipped = [line for line in lines if isinstance(line, Skipped)]
    assert skipped
    assert all(line.why == f"not installed: pip install {package}" for line in skipped)
    assert (case == "heads") == (not [line for line in lines if isinstance(line, Row)])


def test_upsampling_is_timed_only_if_all_forms_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    work = forms.Work.make(8, 1, 30, CPU)
    upsampling.check_agreement(work)
    monkeypatch.setitem(forms.FORMS, "banded", lambda work: 1.01 * forms.dense(work))
    with pytest.raises(RuntimeError, match="'banded' differs"):
        upsampling.check_agreement(work)


def test_metrics_are_timed_only_if_all_count_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "by_numpy", lambda p, t: metrics.by_sklearn(p, t).T)
    with pytest.raises(RuntimeError, match="NumPy"):
        metrics.lines(SMOKE)


def test_a_gradient_that_varies_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(forms.FORMS, "matrix", lambda work: torch.rand(3))
    checks = {line.what.split(";")[0]: line for line in determinism.lines(SMOKE)}
    assert checks["in bands"].reached and not checks["two matrices"].reached


def test_windows_are_those_the_whole_image_is_scored_by() -> None:
    side = patches.WINDOW + patches.STRIDE
    image = (
        torch.arange(side * side, dtype=torch.float64).view(1, 1, side, side).expand(1, 3, -1, -1)
    )
    corners = patches.by_patches(lambda windows: windows[:, 0, 0, :1], image)
    expected = image[:, :1, :: patches.STRIDE, :: patches.STRIDE][:, :, :2, :2]
    assert torch.equal(corners, expected)


def test_peak_memory_of_a_child_does_not_count_what_its_parent_holds() -> None:
    held = torch.ones(200 << 18)  # 200 MiB
    arguments = ["dense", "--factor", "8", "--batch", "2", "--side", "200", "--threads", "1"]
    peak = peak_in_child("dense", memory.__name__, arguments)
    # Full resolution scores, 2 × 21 × 200 × 200 × 4 bytes, are 6.4 MiB; a few such at once.
    assert 6 < peak.values[0] < 100 < held.nbytes / 2**20


def test_a_failing_child_is_reported_with_its_error() -> None:
    with pytest.raises(RuntimeError, match=r"no_such_file\.json"):
        peak_in_child("none", "json.tool", ["no_such_file.json"])


def test_the_accelerated_step_computes_the_plain_step_in_bfloat16_and_compiled() -> None:
    losses, size = {}, (64, 96)
    batch = published.make_batch(2, size, published.CLASSES, CPU)
    for name, precision, compiler in [
        ("plain", torch.float32, None),
        ("accelerated", torch.bfloat16, "eager"),
    ]:
        model = FCN("vgg16", published.CLASSES, 8, width=1 / 16)
        published.randomise(model)
        model = model.to(memory_format=torch.channels_last).eval()  # no dropout: comparable
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        step = published.our_step(model, size, precision, compiler)
        if name == "plain":
            with torch.no_grad():
                expected = F.cross_entropy(model(batch[0]), batch[1].long(), ignore_index=255)
        losses[name] = step(*batch)
        assert losses[name].dtype == torch.float32
        unmoved = [n for n, p in model.named_parameters() if torch.equal(p, before[n])]
        assert not unmoved
        scores = published.our_forward(step, batch[0])
        assert scores.shape == (2, published.CLASSES, *size)
    torch.testing.assert_close(losses["plain"], expected, rtol=1e-5, atol=0)
    # 16 layers of bfloat16, each rounding to 8 bits
    torch.testing.assert_close(losses["accelerated"], losses["plain"], rtol=0.02, atol=0)


def test_tf32_is_switched_for_one_call_and_put_back() -> None:
    def seen() -> tuple[bool, bool]:
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    before = seen()
    assert with_tf32(False, seen)() == (False, False)
    assert with_tf32(True, seen)() == (True, True)
    assert seen() == before


def test_only_runs_what_it_names_and_writes_no_default_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    assert core.main(["--only", "determinism", "--smoke", "--threads", "1"]) == 0
    assert "equal bits" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert core.main(["--device", "cuda", "--smoke"]) == 1
    assert capsys.readouterr().err == (
        "--device cuda: torch sees no CUDA device; use --device cpu\n"
    )


@pytest.mark.parametrize(
    "arguments", [["--only", "nothing"], ["--threads", "0"], ["--device", "x"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        core.main(arguments)
    assert stop.value.code == 2


def test_a_line_through_exact_points_is_found_and_a_bend_is_a_misfit() -> None:
    line = training.fitted([(x, 2.0 + 0.5 * x) for x in (1.0, 4.0, 9.0, 300.0)])
    assert line == pytest.approx({"intercept": 2.0, "slope": 0.5, "misfit": 0.0}, abs=1e-9)
    bent = training.fitted([(x, 2.0 + 0.5 * x * x) for x in (1.0, 4.0, 9.0)])
    assert bent["misfit"] > 0.1


def test_both_losses_of_the_sweep_over_classes_are_one() -> None:
    losses = []
    for dense in (False, True):
        step = training._step(2, 64, 5, SMOKE, dense)
        losses.append(float(step()))
    # The bilinear kernels differ at the border only: ours repeats the edge, the dense one has
    # zeros outside.
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_the_cost_of_training_is_measured_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new folder" / "training.json"
    arguments = ["--smoke", "--only", "images", "--only", "processes", "--json", str(path)]
    assert training.main(arguments) == 0
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["schema"] == 1 and record["smoke"] and record["network"]["parameters"] > 10**6
    assert [*record["sweeps"]] == ["images", "processes"]
    images, processes = record["sweeps"].values()
    assert [point["x"] for point in images["points"]] == [1, 2]
    assert images["line"]["misfit"] < 1e-9  # two points
    for point in processes["points"]:
        for part in ("exchanged", "alone", "sum"):
            assert point[part]["median"] > 0 and point[part]["rounds"] == 2
    assert [point["x"] for point in processes["points"]] == [2]
    text = capsys.readouterr().out
    assert "images (side 64, classes 21)" in text and "exchanged" in text


def test_angles_are_those_of_two_gradients_and_control_pairs(tmp_path: Path) -> None:
    from benchmarks import angles

    path = tmp_path / "angles.json"
    assert angles.main(["--smoke", "--only", "0", "--json", str(path)]) == 0
    rows = json.loads(path.read_text(encoding="utf-8"))["seeds"]["0"]
    assert [row["step"] for row in rows] == [1, 2]
    assert [len(rows[0][key]) for key in ("between", "within", "ratio")] == [2, 1, 2]
    # The trunk's gradient of the added losses is the sum of the two: |a+b|² by the cosine law.
    data, pick = angles.rendered(4), torch.arange(4)
    torch.manual_seed(0)
    network = FCN("tiny", angles.TASKS, 8, width=1 / 8)
    for layer in network.scorers():  # they start at zero, where the trunk has no gradient
        torch.nn.init.normal_(network.get_submodule(layer).weight)
    found = angles.gradients(network, data, pick)
    network.zero_grad()
    angles.loss_of(network, data, pick).total.backward()
    whole = sum(p.grad.square().sum() for p in network.backbone.parameters() if p.grad is not None)
    a, b = (found[task].norm() for task in angles.TASKS)
    law = a**2 + b**2 + 2 * a * b * angles.cosine(*found.values())
    assert float(whole) == pytest.approx(float(law), rel=2e-3)  # the cosine has three decimals


def test_networks_of_the_fields_experiment_differ_in_their_fields_alone(tmp_path: Path) -> None:
    from benchmarks import fields

    path = tmp_path / "fields.json"
    assert fields.main(["--smoke", "--json", str(path)]) == 0
    record = json.loads(path.read_text(encoding="utf-8"))
    assert [row["field"] for row in record["alone"]] == [18, 30]
    (_, truth) = fields.rendered("test", fields.SMOKE.test, fields.SMOKE.size)
    valid = truth[truth != Scenes.ignore_index].int()
    for row in (*record["alone"], *record["placed"]):
        counted = torch.tensor(row["confusion"]).sum(1)
        assert torch.equal(counted, torch.bincount(valid, minlength=fields.CLASSES))
    costs = set()
    for dilations in fields.PATTERNS:
        network = fields.Dilated(dilations, 4).double().eval()
        costs.add((
            sum(p.numel() for p in network.parameters()), surgery.macs(network.maps, 64, channels=5)
        ))  # fmt: skip
        # Equal positive weights: the gradient of a score counts the paths to each pixel.
        for parameter in network.parameters():
            torch.nn.init.constant_(parameter, 0.1)
        picture = torch.ones(1, 5, 400, 400, dtype=torch.float64, requires_grad=True)
        network.maps(picture)[0, 0, 100, 100].backward()
        assert picture.grad is not None
        (seen,) = picture.grad[0, 0].sum(1).nonzero(as_tuple=True)
        side = int(seen[-1] - seen[0]) + 1
        assert side == len(seen) == 2 + 4 * sum(dilations) == fields.field(network, 64)
    assert len(costs) == 1


def test_a_placed_picture_tells_row_and_column_and_keeps_its_colours() -> None:
    from benchmarks import fields

    data = fields.rendered("test", 1, 32)
    (pictures, labels), (before, _) = fields.with_place(data), data
    assert torch.equal(pictures[:, :3], before[:, :3]) and torch.equal(labels, data[1])
    assert not before[:, 3:].any()
    assert torch.allclose(pictures[0, 3, ::31, 5], torch.tensor([-1.0, 1.0]))
    assert torch.allclose(pictures[0, 4, 5, ::31], torch.tensor([-1.0, 1.0]))
