"""The one command for a GPU: its smoke run, what a kill leaves, and how records come home."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ceiling, core, gpu, training
from benchmarks.phases import camvid, correct, speed
from fcn_tutorial import training as recipes

ROOT = gpu.ROOT


def test_the_smoke_run_takes_every_phase(tmp_path: Path) -> None:
    """On a CPU; a phase may be skipped for want of what is carried, and says so."""
    empty, out = tmp_path / "nothing carried", tmp_path / "out"
    line = [sys.executable, "-m", "benchmarks.gpu", "--smoke", "--out", str(out)]
    done = subprocess.run(
        [*line, "--carried", str(empty)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + (out / "log.txt").read_text()[-3000:]
    summary = gpu.read(out / "summary.json")
    assert summary["schema"] == 1 and summary["smoke"] and "CPU" in summary["device"]
    assert {name: phase["status"] for name, phase in summary["phases"].items()} == {
        "correct": "done", "speed": "done", "camvid": "done", "vgg16": "skipped", "after": "done",
        "scenes": "done",
    }  # fmt: skip
    assert "vgg16.safetensors" in summary["phases"]["vgg16"]["why"]
    records: dict[str, Any] = {}
    for phase in summary["phases"].values():
        for file in phase["files"]:
            records |= gpu.read(out / file)["records"]
    assert {path.rpartition("/")[2].removesuffix("-cpu.json") for path in records} >= {
        "correct", "ceiling", "camvid-after", "scenes"
    }  # fmt: skip
    assert len(gpu.PHASES) + 2 <= 8
    (after,) = records["benchmarks/results/camvid-after-cpu.json"]["runs"]
    assert after["settings"]["model"]["network"] == "segnet"
    (run,) = (record for path, record in records.items() if path.startswith("data/"))
    assert run["train"]["frames"].startswith("train and val recoded as JPEG")
    assert len(list(out.iterdir())) <= 8  # as many as come back from a machine that is lent
    with pytest.raises(ValueError, match="smoke"):
        gpu.bring_home(out, tmp_path)
    assert "correct  done" in done.stdout


STAND_IN = """
import sys, time
from benchmarks import gpu

def command(name, args, seconds):
    content = '{"schema": 1, "smoke": false, "says": ["%s"], "records": {}}' % name
    code = f"open({str(args.out / (name + '.json'))!r}, 'w').write({content!r})"
    wait = f"; open({str(args.out / 'busy')!r}, 'w').close(); import time; time.sleep(15)"
    return [sys.executable, "-c", code + wait * (name == sys.argv[1])]

gpu.command, gpu.device_name = command, lambda: "a device"
sys.exit(gpu.main(["--out", sys.argv[2], "--minutes", sys.argv[3]]))
"""


def started(phase: str, out: Path, minutes: float = 9.0) -> subprocess.Popen[bytes]:
    """The command with phases that write at once, of which one then takes its time."""
    line = [sys.executable, "-c", STAND_IN, phase, str(out), str(minutes)]
    return subprocess.Popen(line, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL)


def until(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.02)


def before(phase: str) -> list[str]:
    return list(gpu.PHASES)[: list(gpu.PHASES).index(phase)]


@pytest.mark.parametrize("phase", gpu.PHASES)
def test_a_kill_loses_only_the_phase_it_meets(phase: str, tmp_path: Path) -> None:
    process = started(phase, tmp_path)
    until(tmp_path / "busy", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    found = gpu.read(tmp_path / "summary.json")["phases"] if before(phase) else {}
    assert list(found) == before(phase)
    for name in before(phase):
        assert found[name]["status"] == "done" and found[name]["files"] == [f"{name}.json"]
        assert gpu.read(tmp_path / f"{name}.json")["says"] == [name]
    gpu.read(tmp_path / f"{phase}.json")  # whole, too


def test_one_that_is_asked_to_end_says_what_was_cut(tmp_path: Path) -> None:
    process = started("speed", tmp_path)
    until(tmp_path / "busy", process)
    process.terminate()
    assert process.wait() == 128 + signal.SIGTERM
    phases = gpu.read(tmp_path / "summary.json")["phases"]
    assert [phase["status"] for phase in phases.values()] == ["done", "cut"]
    assert phases["speed"]["why"] == "ended from outside"


def test_a_phase_that_hangs_is_ended_with_its_children_and_the_next_ones_run(
    tmp_path: Path,
) -> None:
    line = ["sh", "-c", f"sleep 41.75 & touch {tmp_path / 'busy'}; wait"]
    status, why = gpu.run_phase(line, 2.0, tmp_path / "log.txt")
    assert (status, why) == ("cut", "did not end within 2 s") and (tmp_path / "busy").exists()
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "sleep 41.75" not in running.splitlines()


@pytest.mark.parametrize(
    ("code", "status", "why"),
    [
        ("pass", "done", ""),
        ("print('not carried: x'); raise SystemExit(3)", "skipped", "not carried: x"),
        ("print('later'); raise SystemExit(4)", "cut", "later"),
        ("raise ValueError('bad')", "failed", "ValueError: bad"),
        ("import os; os.abort()", "failed", "ended by SIGABRT: "),
    ],
)
def test_how_a_phase_ended_is_told(code: str, status: str, why: str, tmp_path: Path) -> None:
    line = [sys.executable, "-c", code]
    assert gpu.run_phase(line, 20.0, tmp_path / "log.txt") == (status, why)


def test_time_that_a_phase_leaves_goes_to_the_next_ones() -> None:
    names = list(gpu.PHASES)
    assert sum(phase.share for phase in gpu.PHASES.values()) == 9.5 * 60
    assert gpu.allowance("correct", names, 570) == 90
    assert gpu.allowance("speed", names[1:], 480) == 150
    assert gpu.allowance("speed", names[1:], 570) == 150  # never more
    assert gpu.allowance("camvid", names[2:], 500) > 300
    assert gpu.allowance("scenes", ["scenes"], 33) == 33


def test_records_come_home_and_replace_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, bench = "data/results/camvid/camvid-fcn8s-seed1.json", "benchmarks/results/core-cuda.json"
    bundle = {"schema": 1, "smoke": False, "says": [], "records": {run: {"a": 1}, bench: {"b": 1}}}
    gpu.write(tmp_path / "speed.json", bundle)
    root = tmp_path / "root"
    assert gpu.bring_home(tmp_path, root) == 0
    assert gpu.read(root / run) == {"a": 1}
    bundle["records"] = {run: {"a": 2}, bench: {"b": 2}}
    gpu.write(tmp_path / "speed.json", bundle)
    assert gpu.bring_home(tmp_path, root) == 0
    assert gpu.read(root / run) == {"a": 1} and gpu.read(root / bench) == {"b": 2}
    assert f"kept      {run}" in capsys.readouterr().out
    for where in ("README.json", "data/results/../../x.json", "data/results/x.py"):
        gpu.write(tmp_path / "speed.json", {**bundle, "records": {where: {}}})
        with pytest.raises(ValueError, match="not a place"):
            gpu.bring_home(tmp_path, root)
    with pytest.raises(FileNotFoundError, match="holds no file"):
        gpu.bring_home(root, root)


def test_a_benchmark_that_dies_goes_on_after_the_part_that_killed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.phases.bundle import Bundle, Work

    asked: list[list[str]] = []

    def command(name: str, parts: list[str], path: Path, device: str, smoke: bool) -> list[str]:
        asked.append(list(parts))
        bad = "published" in parts
        done = parts[: parts.index("published")] if bad else parts
        record = {"cases": done, "rows": [{"case": part} for part in done], "git": "x"}
        return [
            sys.executable, "-c",
            f"open({str(path)!r}, 'w').write({json.dumps(record)!r}); raise SystemExit({int(bad)})",
        ]  # fmt: skip

    monkeypatch.setattr(speed, "command", command)
    monkeypatch.setattr(speed, "ORDER", (("core", ("heads", "published", "metrics"), ()),))
    work = Work("cuda", False, tmp_path, time.monotonic() + 60)
    with pytest.raises(RuntimeError, match="core published"):
        speed.run(work, Bundle(tmp_path / "speed.json", work))
    assert asked == [["heads", "published", "metrics"], ["metrics"]]
    (record,) = gpu.read(tmp_path / "speed.json")["records"].values()
    assert record["cases"] == ["heads", "metrics"]
    assert [row["case"] for row in record["rows"]] == ["heads", "metrics"]


def test_the_parts_of_every_benchmark_are_named_in_the_order_of_their_worth() -> None:
    found = {name: set(parts) for name, parts, _ in speed.ORDER}
    assert found == {
        "ceiling": {*ceiling.PARTS}, "core": {*core.CASES}, "training": {*training.SWEEPS}
    }  # fmt: skip


def test_the_networks_after_fcn_run_at_full_width() -> None:
    found: dict[str, Any] = {}
    for run in camvid.AFTER:
        recipe, _ = recipes.override(recipes.get(run.recipe), run.settings)
        settings = recipes.as_dict(recipe)
        found[settings["model"]["network"]] = settings["model"]["width"]
        assert not settings["model"]["weights"] and settings["data"]["name"] == "camvid"
    assert found == {"unet": 1, "segnet-basic": 1, "segnet": 1}


def test_every_file_with_tests_for_a_device_is_found() -> None:
    names = {path.name for path in correct.files()}
    assert {"test_values.py", "test_precision.py", "test_processes.py"} <= names
