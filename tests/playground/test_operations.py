"""Each figure to move computes what the package, torch or scikit-learn compute."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Page
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, jaccard_score
from torch.nn import functional

from fcn_tutorial import playground
from fcn_tutorial.datasets import Scenes
from fcn_tutorial.geometry import Layer, output_size, receptive_field
from tests.browser import chromium

RNG = np.random.default_rng(0)
COLOURS = [(0, 0, 0), (200, 0, 0), (0, 200, 0), (0, 0, 200)]
NAMES = ["ground", "red", "green", "blue"]
PICTURE = np.rint(RNG.random((17, 23)) * 255) / 255
STACK = [Layer(3, 1, 1), Layer(2, 2, kind="pool"), Layer(5, 2, 1, 2)]
SCORES = RNG.normal(size=(4, 3, 4)).round(4)
TRUTH = RNG.integers(0, 4, (24, 32))
TRUTH[:2] = 255
ANSWER = np.where(RNG.random((24, 32)) < 0.6, np.where(TRUTH == 255, 0, TRUTH), 1)

PHOTO = RNG.integers(0, 256, (24, 32, 3), np.uint8)
SHARES = RNG.dirichlet([0.3] * 4, (24 - 10 + 1, 32 - 10 + 1))
MATRIX = np.array([[9, 1, 0, 0], [2, 5, 3, 0], [0, 0, 4, 0], [0, 0, 0, 7]])

ROWS = [["8s", "VOC", "62.7"], ["<b>", "VOC", "9"], ["a", "NYUD", "1,000"], ["16s", "VOC", "–"]]

ELEMENTS = {
    "crops": playground.crops(
        PHOTO, SHARES, 4, classes=NAMES, palette=COLOURS, alt="A photo.", start=(4, 5)
    ),
    "convolution": playground.convolution(PICTURE, alt="A picture."),
    "deconvolution": playground.deconvolution(5, alt="Cells."),
    "fields": playground.fields(STACK, alt="Layers."),
    "alignment": playground.alignment(
        SCORES, TRUTH, 8, classes=NAMES, palette=COLOURS, alt="Labels."
    ),
    "confusion": playground.confusion(TRUTH, ANSWER, classes=NAMES, palette=COLOURS, alt="Labels."),
    "table": playground.table(
        ["net", "set", "IU"], ROWS, filters=["set"], start={"set": "VOC"}, alt="Scores."
    ),
    "absent": playground.absent(MATRIX, classes=NAMES, alt="A matrix."),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@contextmanager
def opened(browser: Browser, folder: Path, width: int) -> Iterator[Page]:
    """All of them on one page; nothing may go wrong on it."""
    file = folder / "page.html"
    html = "".join(f"<div id={n}>{e._repr_html_()}</div>" for n, e in ELEMENTS.items())
    view = '<meta name="viewport" content="width=device-width">'
    file.write_text(f"<!doctype html><meta charset=utf-8>{view}{html}")
    context = browser.new_context(viewport={"width": width, "height": 900}, has_touch=True)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(file.as_uri())
    yield page
    assert errors == []
    context.close()


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with opened(browser, tmp_path_factory.mktemp("page"), 1000) as page:
        yield page


def ask(page: Page, name: str, call: str, argument: object = None) -> Any:
    return page.evaluate(
        f"(a) => {{ const figure = document.querySelector('#{name} figure'); return {call}; }}",
        argument,
    )


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("dilation", [1, 3])
def test_convolution_is_that_of_torch(page: Page, stride: int, padding: int, dilation: int) -> None:
    kernel = RNG.normal(size=(3, 3))
    found = ask(
        page, "convolution", "figure.convolve(...a)", [kernel.tolist(), stride, padding, dilation]
    )
    wanted = functional.conv2d(
        torch.tensor(PICTURE)[None, None], torch.tensor(kernel)[None, None], None, stride, padding,
        dilation,
    )[0, 0]  # fmt: skip
    # The page holds the picture to six digits.
    torch.testing.assert_close(torch.tensor(found, dtype=torch.double), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 2), (4, 2), (5, 3), (2, 4)])
def test_deconvolution_is_that_of_torch(page: Page, size: int, stride: int) -> None:
    values, kernel = RNG.normal(size=(5, 5)), RNG.normal(size=(size, size))
    found = ask(
        page, "deconvolution", "figure.stamp(...a)", [values.tolist(), kernel.tolist(), stride]
    )
    wanted = functional.conv_transpose2d(
        torch.tensor(values)[None, None], torch.tensor(kernel)[None, None], None, stride
    )[0, 0]
    torch.testing.assert_close(torch.tensor(found, dtype=torch.double), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_a_tent_of_twice_the_stride_is_even_and_ones_of_it_too(page: Page, stride: int) -> None:
    tent = np.array(ask(page, "deconvolution", "figure.kernels['a tent'](a)", 2 * stride))
    assert np.allclose(tent.sum(), stride**2, atol=1e-12)
    inner = [tent[i::stride, j::stride].sum() for i in range(stride) for j in range(stride)]
    assert np.allclose(inner, 1, atol=1e-12)


def test_cells_that_are_on_are_told_apart(page: Page) -> None:
    # Grey levels along the middle of the first row: white cells, and a line between them.
    levels = page.evaluate(
        "() => { const cells = document.querySelector('#deconvolution canvas');"
        " const row = cells.getContext('2d').getImageData(0, 24, 96, 1).data;"
        " return [...row].filter((_, n) => n % 4 === 0); }"
    )
    assert levels[1:47] == levels[49:95] == [255] * 46
    assert {levels[0], levels[47], levels[48], levels[95]} == {0x88}


def test_the_matrix_of_twelve_classes_fits_the_column_of_a_page(browser: Browser) -> None:
    names = ("building", "pavement", "road", "person") * 3  # and every count has four digits
    labels = np.repeat(np.arange(12), 12000).reshape(120, 1200)
    element = playground.confusion(
        labels, np.tile(np.arange(12), 12000).reshape(120, 1200),
        classes=names, palette=[(n, n, n) for n in range(12)], alt="Labels.",
    )  # fmt: skip
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_content(f"<div style='width:672px'>{element._repr_html_()}</div>")
    box = page.locator(".scroll")
    assert box.inner_text().count("1,000") == 144
    assert box.evaluate("box => box.scrollWidth <= box.clientWidth")
    page.close()


@pytest.mark.parametrize("seed", range(6))
def test_fields_are_those_of_geometry(page: Page, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ends = ((1, 6), (1, 4), (0, 4), (1, 4))  # of kernel, stride, padding, dilation
    layers = [Layer(*(int(rng.integers(*end)) for end in ends)) for _ in range(5)]
    rows = [[n.kernel, n.stride, n.padding, n.dilation] for n in layers]
    for n, found in enumerate(ask(page, "fields", "figure.follow(a, 400)", rows), start=1):
        size, stride, centre = receptive_field(layers[:n])
        assert (found["field"], found["step"], found["centre2"] / 2) == (size, stride, centre)
        assert found["outputs"] == output_size(layers[:n], 400)


@pytest.mark.parametrize(("right", "down"), [(0, 0), (0.25, -1.5), (-8, 3.75)])
def test_a_shifted_map_is_enlarged_and_scored_as_torch_and_scikit_learn_do(
    page: Page, right: float, down: float
) -> None:
    found, score = ask(
        page, "alignment", "(l => [l, figure.meanIu(l)])(figure.labels(...a))", [right, down]
    )
    y, x = ((torch.arange(n, dtype=torch.double) + 0.5 - by) for n, by in ((24, down), (32, right)))
    grid = torch.stack(
        torch.broadcast_tensors(2 * x[None] / 32 - 1, 2 * y[:, None] / 24 - 1), dim=-1
    )
    scores = functional.grid_sample(
        torch.tensor(SCORES)[None], grid[None], padding_mode="border", align_corners=False
    )
    wanted = scores[0].argmax(0).numpy()
    assert (np.array(found) == wanted).mean() > 0.99  # but for ties
    valid = TRUTH != 255
    flat = TRUTH[valid], np.array(found)[valid]
    assert score == pytest.approx(jaccard_score(*flat, average="macro"), abs=1e-12)


def test_the_window_says_what_the_classifier_says_of_its_crop(page: Page) -> None:
    for y, x in [(0, 0), (14, 22), (7, 9)]:
        found = ask(page, "crops", "figure.answer(a[0], a[1])", [y, x])
        assert found == pytest.approx(SHARES[y, x], abs=0.5 / 255 + 1e-9)
    cells = ask(page, "crops", "[figure.cell(8, 20), figure.cell(8, 21)]")
    assert cells == [[2, 5], None]


def test_the_window_moves_by_keys_by_the_map_and_onto_its_cells(page: Page) -> None:
    scene = page.locator("#crops canvas").first
    assert said(page, "crops").startswith("The crop from row 4, column 5")
    scene.press("ArrowRight")
    assert "row 4, column 6" in said(page, "crops") and "between" in said(page, "crops")
    page.locator("#crops canvas").nth(1).click(position={"x": 1, "y": 1})
    assert "row 0, column 0" in said(page, "crops") and "cell (0, 0)" in said(page, "crops")
    page.locator("#crops").get_by_label("only the map's windows").check()
    scene.press("ArrowDown")
    assert "row 4, column 0" in said(page, "crops")
    best = NAMES[int(SHARES[4, 0].argmax())]
    assert best in said(page, "crops")
    box = scene.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2)
    page.mouse.down()
    page.mouse.up()
    assert "row 12, column 20" in said(page, "crops")  # the last window of the map


def test_the_map_is_of_the_windows_that_one_pass_sees(page: Page) -> None:
    drawn = ask(
        page, "crops",
        "Array.from(figure.querySelectorAll('canvas')[1].getContext('2d')"
        ".getImageData(0, 0, 72, 48).data)",
    )  # fmt: skip
    wanted = np.array(COLOURS)[SHARES[::4, ::4].argmax(-1)]
    middles = np.array(drawn).reshape(48, 72, 4)[6::12, 6::12, :3]
    assert np.array_equal(middles, wanted)


def test_the_matrix_and_its_scores_are_those_of_scikit_learn(page: Page) -> None:
    n, scores = ask(
        page, "confusion", "(n => [n, figure.scores(n)])(figure.count(a))", ANSWER.tolist()
    )
    valid = TRUTH != 255
    flat = TRUTH[valid], ANSWER[valid]
    assert np.array_equal(n, confusion_matrix(*flat))
    assert scores == pytest.approx(
        {
            "pixel accuracy": accuracy_score(*flat),
            "mean accuracy": balanced_accuracy_score(*flat),
            "mean IU": jaccard_score(*flat, average="macro"),
            "frequency weighted IU": jaccard_score(*flat, average="weighted"),
        },
        abs=1e-12,
    )


def test_means_without_some_classes_follow_their_conventions(page: Page) -> None:
    for gone in ((), (2,), (3,), (1, 3), (0, 1, 2, 3)):
        there = [k not in gone for k in range(4)]
        found = ask(page, "absent", "Object.values(figure.means(a)).map(String)", there)
        pixels = [
            (i, j) for i in range(4) if there[i] for j in range(4) for _ in range(MATRIX[i, j])
        ]
        truth, answer = zip(*pixels, strict=True) if pixels else ((), ())
        present, seen = sorted({*truth}), sorted({*truth, *answer})
        each = {
            k: len([p for p in pixels if p == (k, k)]) / len([p for p in pixels if k in p])
            for k in seen
        }
        mean = [
            sum(each[k] for k in present) / len(present) if present else np.nan,
            sum(each.values()) / len(seen) if seen else np.nan,
            sum(each.values()) / 4,
            sum(each.values()) / 4 if len(seen) == 4 else np.nan,
        ]
        assert [float(v) for v in found] == pytest.approx(mean, abs=1e-12, nan_ok=True)


def test_a_class_is_taken_out_by_its_box(page: Page) -> None:
    before = said(page, "absent")
    page.locator("#absent").get_by_label("blue").uncheck()  # never predicted: nan
    assert "no number" in page.locator("#absent").inner_text() and said(page, "absent") != before
    page.locator("#absent").get_by_label("blue").check()
    assert (
        said(page, "absent") == before and "no number" not in page.locator("#absent").inner_text()
    )


def said(page: Page, name: str) -> str:
    return page.locator(f"#{name} output").inner_text()


def test_a_table_is_narrowed_down_and_sorted(page: Page) -> None:
    table = page.locator("#table table")

    def shown() -> list[str]:
        return table.locator("tbody tr:not([hidden]) td:first-child").all_inner_texts()

    assert shown() == ["8s", "<b>", "16s"]
    assert "3 of 4 rows" in page.locator("#table output").inner_text()
    table.locator("th button", has_text="IU").click()
    assert shown() == ["<b>", "8s", "16s"]  # by size; what is no number is last
    assert table.locator("th").nth(2).get_attribute("aria-sort") == "ascending"
    page.locator("#table select").select_option("all")
    table.locator("th button", has_text="IU").click()
    assert shown() == ["16s", "a", "8s", "<b>"]
    page.locator("#table input").fill("nyud")
    assert shown() == ["a"]
    page.locator("#table input").fill("")


def test_a_table_stands_there_without_scripts(browser: Browser, tmp_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    (tmp_path / "page.html").write_text(ELEMENTS["table"]._repr_html_(), encoding="utf-8")
    page.goto((tmp_path / "page.html").as_uri())
    cells = page.locator("td").all_inner_texts()
    assert cells == [cell for row in ROWS for cell in row]
    assert page.locator("td").first.is_visible()
    context.close()


def test_controls_are_labelled_and_change_what_is_said(page: Page) -> None:
    for name in ELEMENTS:
        for control in page.locator(f"#{name} input, #{name} select").all():
            assert control.evaluate("e => e.ariaLabel || (e.labels[0] || {}).textContent"), name
    for name, label in (
        ("convolution", "stride"), ("deconvolution", "kernel"), ("alignment", "down, pixels"),
    ):  # fmt: skip
        before = said(page, name)
        page.locator(f"#{name}").get_by_label(label, exact=False).first.press("ArrowRight")
        assert said(page, name) != before


def test_a_number_in_the_kernel_or_in_a_layer_is_taken(page: Page) -> None:
    page.locator("#convolution").get_by_label("weight in row 1, column 1").fill("9")
    assert page.locator("#convolution canvas").nth(1).is_visible()
    before = said(page, "fields")
    page.locator("#fields").get_by_label("kernel of layer 1").fill("7")
    assert said(page, "fields") != before
    page.locator("#fields").get_by_text("add a layer").click()
    assert page.locator("#fields tr").count() == 5
    page.locator("#fields").get_by_text("as it was").click()
    assert said(page, "fields") == before


def test_the_pointer_reads_a_window_paints_and_drags(page: Page) -> None:
    page.locator("#convolution canvas").nth(1).hover()
    assert "row" in said(page, "convolution").lower() and "=" in said(page, "convolution")
    for name in ("deconvolution", "confusion", "alignment"):
        where = page.locator(f"#{name} canvas").nth(0 if name == "deconvolution" else 1)
        where.scroll_into_view_if_needed()
        box = where.bounding_box()
        assert box is not None
        drawn = f"document.querySelectorAll('#{name} canvas')[1].toDataURL()"
        before = page.evaluate(drawn)
        page.mouse.move(box["x"] + 20, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + 90, box["y"] + 60, steps=3)
        page.mouse.up()
        assert page.evaluate(drawn) != before, name


CHANGED = "[...figure.querySelectorAll('canvas')].map(c => c.toDataURL()).join() + figure.innerText"


@pytest.mark.parametrize("name", [n for n in ELEMENTS if n not in ("table", "absent", "fields")])
def test_every_canvas_that_takes_the_focus_answers_to_keys(page: Page, name: str) -> None:
    for canvas in page.locator(f"#{name} canvas[tabindex='0']").all():
        before = ask(page, name, CHANGED)
        canvas.focus()
        for key in ("ArrowLeft", "ArrowUp", " "):
            page.keyboard.press(key)
        assert ask(page, name, CHANGED) != before, canvas.get_attribute("aria-label")
    if name != "alignment":  # its sliders have keys of their own
        assert page.locator(f"#{name} canvas[tabindex='0']").count() > 0


@pytest.mark.parametrize("name", ["confusion", "deconvolution"])
def test_keys_paint_where_the_mark_is(page: Page, name: str) -> None:
    """One step from the middle; the mark is gone when the reader is."""
    canvas = page.locator(f"#{name} canvas[tabindex='0']")
    canvas.focus()
    for _ in range(80):  # into the corner
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowUp")
    mark = page.locator(f"#{name} .fcn-mark")
    box, around = mark.bounding_box(), canvas.bounding_box()
    assert box is not None and around is not None
    assert abs(box["x"] - around["x"]) < 1 and abs(box["y"] - around["y"]) < 1
    pixel = "[...figure.querySelectorAll('canvas')].at(a).getContext('2d').getImageData(2, 2, 1, 1)"
    which = 1 if name == "confusion" else 0
    if name == "confusion":
        page.locator("#confusion select").select_option(label="blue")
    colours = []
    for _ in range(2):
        canvas.press("Enter")
        colours.append(ask(page, name, f"[...{pixel}.data].slice(0, 3)", which))
    assert colours[1] == ([0, 0, 200] if name == "confusion" else [255 - v for v in colours[0]])
    canvas.blur()
    assert not mark.is_visible()


def test_a_finger_is_caught_only_by_what_it_drags(page: Page) -> None:
    caught = page.eval_on_selector_all(
        "canvas", "all => all.filter(c => getComputedStyle(c).touchAction === 'none')"
        ".map(c => c.closest('div[id]').id)"
    )  # fmt: skip
    assert sorted(caught) == ["alignment", "confusion", "crops", "deconvolution"]


def test_layers_beyond_what_is_offered_are_taken_for_the_last_that_is(page: Page) -> None:
    number = page.locator("#fields input[type=number]").first
    for typed, taken in (("9999999", "16"), ("-3", "1"), ("2.7", "2")):
        number.fill(typed)
        number.press("Tab")
        assert number.input_value() == taken
    page.locator("#fields").get_by_text("as it was").click()
    for name, value in (("output", 63), ("pixels", 20)):
        slider = page.locator("#fields label", has_text=name).locator("input")
        slider.evaluate(f"e => {{ e.value = {value}; e.oninput(); }}")
    shown = page.locator("#fields label", has_text="output").locator("b").inner_text()
    assert f"Output {shown} " in said(page, "fields")


def test_a_kernel_that_was_changed_is_ones_own(page: Page) -> None:
    box = page.locator("#convolution")
    box.locator("select").select_option(index=1)
    box.locator(".kernel input").first.fill("7")
    chosen = box.locator("select").evaluate("s => s.selectedOptions[0].textContent")
    assert chosen == "your own"
    box.locator("select").select_option(index=0)


def test_a_phone_holds_them(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path, 390) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        before = said(page, "convolution")
        page.locator("#convolution canvas").nth(1).tap()
        assert said(page, "convolution") != before


REFUSED = {
    "a picture in colour": (
        lambda: playground.convolution(np.zeros((3, 4, 3)), alt="x"), "(H, W) of values from 0 to 1"
    ),
    "a kernel of five": (
        lambda: playground.convolution(PICTURE, alt="x", kernels={"k": [[1] * 5] * 5}),
        "'k' has shape (5, 5)",
    ),
    "one cell": (lambda: playground.deconvolution(1, alt="x"), "size=1"),
    "no layers": (lambda: playground.fields([], alt="x"), "layers is empty"),
    "a deconvolution": (
        lambda: playground.fields([Layer(4, 2, kind="deconv")], alt="x"), "rounded down are shown"
    ),
    "scores of another size": (
        lambda: playground.alignment(
            SCORES, TRUTH[:-1], 8, classes=NAMES, palette=COLOURS, alt="x"
        ),
        "truth of shape (23, 32)",
    ),
    "a label that is no class": (
        lambda: playground.confusion(TRUTH, TRUTH, classes=NAMES, palette=COLOURS, alt="x"),
        "answer of shape (24, 32) holds [255]; 4 classes are known",
    ),
    "crops of two sizes": (
        lambda: playground.crops(PHOTO, SHARES[1:], 4, classes=NAMES, palette=COLOURS, alt="x"),
        "no square crops at (14, 23)",
    ),
    "a map of no class": (
        lambda: playground.crops(
            PHOTO, SHARES, 4, classes=NAMES, palette=COLOURS, alt="x", shown="car"
        ),
        "shown='car' is no class",
    ),
    "a colour too few": (
        lambda: playground.confusion(TRUTH, ANSWER, classes=NAMES, palette=COLOURS[1:], alt="x"),
        "4 classes and 3 colours",
    ),
    "a colour too many for the map": (
        lambda: playground.alignment(
            SCORES, TRUTH, 8, classes=NAMES, palette=[*COLOURS, (1, 2, 3)], alt="x"
        ),
        "4 classes and 5 colours",
    ),
    "a window outside": (
        lambda: playground.crops(
            PHOTO, SHARES, 4, classes=NAMES, palette=COLOURS, alt="x", start=(15, 0)
        ),
        "start=(15, 0)",
    ),
    "a short row": (
        lambda: playground.table(["a", "b"], [["1"]], filters=[], alt="x"), "row 0 has 1 cells"
    ),
    "no such column": (
        lambda: playground.table(["a"], [["1"]], filters=["b"], alt="x"), "'b' is no column"
    ),
    "a value that is not there": (
        lambda: playground.table(["a"], [["1"]], filters=["a"], start={"a": "2"}, alt="x"),
        "'2' is nothing that can be chosen",
    ),
    "a matrix of other classes": (
        lambda: playground.absent(MATRIX[:3], classes=NAMES, alt="x"), "matrix of shape (3, 4)"
    ),
    "no alt text": (lambda: playground.deconvolution(alt=" "), "alt is empty"),
    "too much": (
        lambda: playground.convolution(RNG.random((400, 400)), alt="x"), "bytes, over 900000"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_shown_is_refused(what: str) -> None:
    make, message = REFUSED[what]
    with pytest.raises(ValueError) as error:
        make()
    assert message in str(error.value)


def test_scenes_fit_into_an_element() -> None:
    image, labels = Scenes(n=40, split="test")[3]
    found = np.where(labels == 255, 0, labels)
    element = playground.confusion(
        labels, found, classes=Scenes.classes, palette=Scenes.palette, alt="x"
    )
    assert len(element._repr_html_()) < playground.LIMIT
    assert image.shape[1:] == labels.shape
