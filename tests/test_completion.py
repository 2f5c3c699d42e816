"""What the shell is told when it asks how a line goes on, as argcomplete asks it."""

import argcomplete
import pytest

from fcn_tutorial import cli, training
from fcn_tutorial.datasets import sources


def completions(line: str) -> list[str]:
    """What argcomplete answers for a line, in this process: by itself it would end it."""
    finder = argcomplete.CompletionFinder(cli._parser())
    *words, last = line.split(" ")
    return [word.strip() for word in finder._get_completions(words, last, "", None)]


@pytest.mark.parametrize("verb", ["train", "recipes"])
def test_recipes_are_completed(verb: str) -> None:
    found = completions(f"fcn-tutorial {verb} scenes-")
    assert sorted(found) == sorted(n for n in training.RECIPES if n.startswith("scenes-"))


def test_data_sets_and_verbs_are_completed() -> None:
    found = completions("fcn-tutorial data check voc")
    assert sorted(found) == sorted(n for n in sources.SOURCES if n.startswith("voc"))
    assert completions("fcn-tutorial doc") == ["doctor"]


def test_it_is_asked_by_the_shell_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(argcomplete, "autocomplete", asked.append)
    for shell in (False, True):
        monkeypatch.setenv("_ARGCOMPLETE", "1") if shell else monkeypatch.delenv(
            "_ARGCOMPLETE", raising=False
        )
        with pytest.raises(SystemExit):
            cli.main(["--version"])
        assert len(asked) == int(shell)
