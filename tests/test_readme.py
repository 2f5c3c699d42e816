"""README states what was measured, and nothing that has since changed."""

import json
from pathlib import Path
from typing import Any

import pytest

from fcn_tutorial.training import recipes, settings
from tools import readme


def test_readme_is_in_step_with_records_and_chapters() -> None:
    text = readme.README.read_text(encoding="utf-8")
    assert readme.stamped(text) == text, "run `python -m tools.readme`"


def _complete(record: dict[str, Any]) -> dict[str, Any]:
    """A record's settings, with the defaults of those that came later."""
    return settings.as_dict(settings.from_dict(record["settings"]))


def test_every_committed_record_has_its_schema_and_is_in_the_readme() -> None:
    paths = sorted((readme.ROOT / "data" / "results").glob("*/*.json"))
    assert paths
    text = readme.README.read_text(encoding="utf-8")
    for path in paths:
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["schema"] == 1
        assert path.name == f"{record['recipe']}-seed{record['seed']}.json"
        assert path.parent.name == record["settings"]["data"]["name"]
        recipe = recipes.get(record["recipe"])
        assert record["overrides"] == {} and _complete(record) == settings.as_dict(recipe), (
            f"{path.name} is of another recipe than the one that now has its name"
        )
        assert readme.percent(record["test"]["mean_iu"]) in text


def test_the_network_leads_the_colour_baseline_by_fifteen_points() -> None:
    seen = []
    for record in readme.records(readme.ROOT, "scenes"):
        lead = record["test"]["mean_iu"] - record["baselines"]["colour"]["mean_iu"]
        assert lead >= 0.15, f"seed {record['seed']}: {100 * lead:.1f} points"
        seen.append(record["seed"])
    assert sorted(seen) == [0, 1, 2]


def test_a_missing_marker_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lacks the markers <!-- scores"):
        readme.stamped("# nothing here\n")
