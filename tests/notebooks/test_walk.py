"""The walk of chapter 17 on a folder of the reader's own: its cells, with MINE filled in.

The reader does what the page says between two rounds and goes on where it says. Nothing else.
"""

import json
import os
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

from fcn_tutorial.datasets import Folder, Scenes
from tools.notebooks import SECONDS_PER_CELL
from tools.project import ROOT

NAMES = [*Scenes.classes[:11], "void"]  # the last class plays what nobody labelled


def lay(own: Path, painted: bool) -> list[np.ndarray]:
    """Photos and masks of forty scenes; the labels that were drawn, void 255."""
    drawn = []
    paint = np.random.default_rng(0).permutation(200)[:36].reshape(12, 3).astype(np.uint8)
    for part in ("images", "masks"):
        (own / part).mkdir(parents=True)
    for i, (image, labels) in enumerate(Scenes(n=40, split="train", size=(96, 128), seed=5)):
        numbers = np.minimum(labels.numpy(), 11)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(own / "images" / f"{i:02}.png")
        alpha = np.where(numbers == 11, 0, 255).astype(np.uint8)
        mask = np.dstack([paint[numbers], alpha]) if painted else numbers
        Image.fromarray(mask).save(own / "masks" / f"{i:02}.png")
        drawn.append(np.where(numbers == 11, 255, numbers))
    return drawn


def names_numbers(own: Path) -> None:
    (own / "classes.txt").write_text("\n".join(NAMES))


def fill_in_form(own: Path, drawn: list[np.ndarray]) -> None:
    """Before the first comma of each line, the class that one sees in that colour."""
    seen = {}
    for i, labels in enumerate(drawn):
        mask = np.array(Image.open(own / "masks" / f"{i:02}.png"))
        for label in np.unique(labels):
            red, green, blue, alpha = mask[labels == label][0].tolist()
            name = "void" if label == 255 else NAMES[label]
            seen[(red, green, blue) if alpha else (0, 0, 0)] = name
    head, *rows = (own / "colours.csv").read_text().splitlines()
    named = [seen[tuple(map(int, row.split(",")[1:4]))] + row for row in rows]
    (own / "colours.csv").write_text("\n".join([head, *named]))


@pytest.mark.slow
@pytest.mark.parametrize("painted", [False, True], ids=["numbers", "painted"])
def test_a_folder_of_ones_own_comes_to_an_exported_network(
    painted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "leaves"
    drawn = lay(own, painted)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    page = nbformat.read(ROOT / "book" / "17_what_the_numbers_say.ipynb", as_version=4)
    cells = [cell for cell in page.cells if cell.cell_type == "code"]
    titles = [cell.source.partition("\n")[0] for cell in cells]
    begin = next(i for i, title in enumerate(titles) if title.startswith("MINE = "))
    end = next(i for i, title in enumerate(titles) if "What the run left" in title)
    for old, new in (('MINE = ""', f"MINE = {str(own)!r}"), ('"--mask-suffix _labels"', '""')):
        assert old in cells[begin].source
        cells[begin].source = cells[begin].source.replace(old, new)
    cells[begin].source += "\nEPOCHS, IMAGES = 1, 16"
    back = "# @title fcn-tutorial data " + ("fix folder own" if painted else "check folder own")
    page.cells = [c for c in cells[:begin] if "Imports and settings" in c.source]
    page.cells += cells[begin : end + 1]
    client = NotebookClient(page, timeout=SECONDS_PER_CELL, kernel_name="python3")
    first = next(i for i, title in enumerate(titles) if title.startswith(back))
    with client.setup_kernel():
        for i, cell in enumerate(page.cells):
            wait = painted and cell.source.startswith("# @title fcn-tutorial data fix")
            client.execute_cell(cell, i)
            if wait:
                break  # the page asks for names
        fill_in_form(own, drawn) if painted else names_numbers(own)
        for cell in cells[first : end + 1]:
            page.cells.append(cell)
            client.execute_cell(cell, len(page.cells) - 1)
    made = tmp_path / "leaves-fcn"
    clean = Folder(made / "clean" / "images", made / "clean" / "masks")
    assert sorted(clean.classes) == sorted(NAMES[:11])
    back_to = np.array([NAMES.index(name) for name in clean.classes] + [0] * 244 + [255])
    for (_, labels), truth in zip(clean, drawn, strict=True):
        assert (back_to[labels.numpy()] == truth).all()
    record = json.loads((made / "run" / "record.json").read_text())
    assert record["test"]["images"] > 0 and set(record["test"]["iu"]) == set(NAMES[:11])
    assert any((made / "run").glob("net.*")) and any((made / "labelled").iterdir())
    assert (made / "run1").is_dir() == (not painted)  # of the round before names were given
