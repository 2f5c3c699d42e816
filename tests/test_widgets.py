"""Sliders that need no kernel: what the element holds, and how it moves in a browser."""

import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fcn_tutorial import visualize, widgets
from tests.browser import chromium

COLOURS = [(213, 94, 0), (0, 114, 178), (0, 158, 115), (230, 159, 0)]


def block(colour, height: int = 24, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def four(name: str = "Stride", **changes) -> widgets.SliderFigure:
    settings = {"name": name, "alt": "A plain block.", "start": 1, "width": 320} | changes
    return widgets.slider([block(c) for c in COLOURS], [4, 8, 16, 32], **settings)


class Element(HTMLParser):
    """The tags of a slider with their attributes, and the text directly inside each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        tag = self.tags[-1][0]
        self.text[tag] = self.text.get(tag, "") + data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


# What the element holds


def test_slider_is_one_labelled_range_over_its_frames():
    element = Element(four(caption="Blocks.")._repr_html_())
    assert element.tags[0] == ("figure", element.tags[0][1])
    assert element.tags[0][1]["class"] == "fcn-slider"
    (control,), (_,), (_,) = map(element.all, ("input", "label", "output"))
    assert (control["type"], control["min"], control["max"], control["step"]) == (
        "range", "0", "3", "1",
    )  # fmt: skip
    order = [tag for tag, _ in element.tags]
    assert order[order.index("label") :] == ["label", "span", "input", "output", "figcaption"]
    assert control["value"] == "1" and control["aria-valuetext"] == "8"
    assert element.text["span"] == "Stride"
    assert element.text["output"] == "8"
    assert element.text["figcaption"] == "Blocks."
    assert "script" not in dict(element.tags)


def test_only_the_starting_frame_shows_without_scripts():
    images = Element(four()._repr_html_()).all("img")
    assert ["display:none" in image["style"] for image in images] == [True, False, True, True]


def test_every_frame_has_its_own_alt_text():
    common = Element(four()._repr_html_()).all("img")
    assert [image["alt"] for image in common] == [
        f"A plain block. Stride: {n}." for n in (4, 8, 16, 32)
    ]
    texts = ["Vermillion.", "Blue.", "Green.", "Orange."]
    assert [i["alt"] for i in Element(four(alt=texts)._repr_html_()).all("img")] == texts


def test_equal_figures_give_equal_text_and_others_another_id():
    text = four()._repr_html_()
    assert text == four()._repr_html_()
    others = [four(start=2), four(name="Rate"), four(caption="x"), four(width=300)]
    ids = {Element(other._repr_html_()).tags[0][1]["id"] for other in [four(), *others]}
    assert len(ids) == 5


def test_element_asks_for_nothing_from_outside():
    text = four()._repr_html_()
    assert "http" not in text and "//" not in re.sub(r"base64,[^\"]*", "", text)


def test_markup_in_names_and_labels_is_shown_as_text():
    hostile = "<b>\"a\" & 'b'|</b>"
    figure = widgets.slider(
        [block(c) for c in COLOURS[:2]], [hostile, "2"], name=hostile, alt=hostile, caption=hostile
    )
    element = Element(figure._repr_html_())
    assert not element.all("b")
    assert element.all("input")[0]["aria-valuetext"] == hostile
    assert element.all("img")[0]["data-label"] == hostile
    assert element.text["output"] == element.text["figcaption"] == hostile


def test_frames_may_be_figures_pictures_or_arrays_of_one_size():
    fig = Figure(figsize=(1, 0.5))
    pixels = (192, 96)
    frames = [fig, Image.new("RGB", pixels), np.zeros((96, 192, 4), np.uint8)]
    slider = widgets.slider(frames, "abc", name="Kind", alt="Nothing.", width=96)
    assert {frame.pixels for frame in slider.frames} == {pixels}


def test_mistakes_are_named():
    frames = [block(COLOURS[0]), block(COLOURS[1]), block(COLOURS[2], height=25)]
    with pytest.raises(ValueError, match=r"frame 2 \(c\) is \(32, 25\) pixels"):
        widgets.slider(frames, "abc", name="n", alt="a")
    with pytest.raises(ValueError, match="3 frames, 2 labels"):
        widgets.slider(frames, "ab", name="n", alt="a")
    with pytest.raises(ValueError, match="3 frames, 3 labels and 2 alt texts"):
        widgets.slider(frames, "abc", name="n", alt=["a", "b"])
    with pytest.raises(ValueError, match="start is 3"):
        widgets.slider(frames, "abc", name="n", alt="a", start=3)
    with pytest.raises(ValueError, match="alt is empty"):
        widgets.slider(frames, "abc", name="n", alt=["a", "", "c"])


def test_element_over_the_limit_is_refused():
    noise = np.random.default_rng(0).integers(0, 256, (2, 300, 300, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"'Seed' takes \d+ bytes with 2 frames, over 700000"):
        widgets.slider(list(noise), [0, 1], name="Seed", alt="Noise.", width=301)


def test_sixteen_drawn_frames_fit_the_limit_twice():
    def render(phase: float) -> Figure:
        fig = Figure(figsize=(visualize.NARROW, 2.9))
        ax = fig.subplots()
        x = np.linspace(0, 6, 200)
        ax.plot(x, np.sin(x + phase))
        ax.plot(x, np.cos(x + phase))
        return fig

    slider = widgets.interact(render, np.arange(16) / 4, name="Phase", alt="Two waves.")
    assert len(slider._repr_html_()) < widgets.LIMIT / 2


def test_interact_draws_each_value_once_and_labels_it():
    drawn = []

    def render(value):
        drawn.append(value)
        return block(COLOURS[value])

    plain = widgets.interact(render, range(4), name="Colour", alt="A block.")
    assert drawn == [0, 1, 2, 3]
    assert plain.labels == ("0", "1", "2", "3")
    words = widgets.interact(
        render, range(2), name="Colour", alt="A block.", labels=["red", "blue"]
    )
    assert words.labels == ("red", "blue")


# The twin at a kernel

LINE = "Run this cell with a kernel to move the slider to any value.\n"


@pytest.fixture
def kernel(monkeypatch):
    """A shell with a kernel, and the calls that reach ipywidgets.interact."""
    import IPython
    import ipywidgets

    calls = []
    monkeypatch.delenv(widgets.BATCH, raising=False)
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr(ipywidgets, "interact", lambda show, value: calls.append((show, value)))
    return calls


def test_live_offers_every_whole_number_at_a_kernel(kernel, capsys):
    widgets.live(lambda v: block((v, 0, 0)), 4, 64, name="Size", alt="A block.", start=8)
    ((show, control),) = kernel
    assert type(control).__name__ == "IntSlider"
    assert (control.min, control.max, control.step, control.value) == (4, 64, 1, 8)
    assert control.description == "Size"
    assert not control.continuous_update  # a drawing for each stop, not for each pixel of the way
    picture = show(17)
    assert picture.alt == "A block. Size: 17."
    assert picture == visualize.figure(block((17, 0, 0)), alt="A block. Size: 17.")
    assert capsys.readouterr().out == ""


def test_live_offers_fractions_where_a_bound_is_one(kernel):
    widgets.live(lambda v: block((0, 0, 0)), 0, 0.5, name="Rate", alt="A block.")
    control = kernel[0][1]
    assert type(control).__name__ == "FloatSlider"
    assert (control.min, control.max, control.value) == (0, 0.5, 0)
    assert control.step == pytest.approx(0.005)


def test_live_prints_one_line_while_a_program_runs_the_notebook(kernel, monkeypatch, capsys):
    monkeypatch.setenv("FCN_TUTORIAL_BATCH", "1")
    widgets.live(lambda v: pytest.fail("drawn"), 0, 9, name="n", alt="a")
    assert kernel == []
    assert capsys.readouterr().out == LINE


def test_live_prints_the_same_line_without_a_kernel(monkeypatch, capsys):
    monkeypatch.delenv(widgets.BATCH, raising=False)
    widgets.live(lambda v: pytest.fail("drawn"), 0, 9, name="n", alt="a")
    assert capsys.readouterr().out == LINE


# In a browser


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(params=[1200, 390], ids=["desktop", "phone"])
def page(browser, request, tmp_path):
    """Two sliders and a copy of the first, opened from a file; any error on the page fails."""
    first, second = four()._repr_html_(), four("Rate", start=0)._repr_html_()
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    path = tmp_path / "page.html"
    path.write_text(f"<!doctype html>{meta}<title>t</title>{first}{second}{first}", "utf-8")
    context = browser.new_context(
        viewport={"width": request.param, "height": 900}, has_touch=True, offline=True
    )
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))
    page.goto(path.as_uri())
    yield page
    context.close()
    assert errors == []


def state(page, index: int) -> tuple[list[int], str | None, str]:
    """The frames that show, what a screen reader says, and what stands beside the slider."""
    figure = page.locator("figure.fcn-slider").nth(index)
    frames = figure.locator("img")
    shown = [k for k in range(frames.count()) if frames.nth(k).is_visible()]
    spoken = figure.locator("input").get_attribute("aria-valuetext")
    return shown, spoken, figure.locator("output").inner_text()


def test_keyboard_moves_one_slider_and_leaves_the_others(page):
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert state(page, 0) == ([2], "16", "16")
    page.keyboard.press("End")
    assert state(page, 0) == ([3], "32", "32")
    page.keyboard.press("Home")
    assert state(page, 0) == ([0], "4", "4")
    assert state(page, 1) == ([0], "4", "4")
    assert state(page, 2) == ([1], "8", "8")


def test_arrow_keys_do_not_reach_a_notebook_around_the_slider(page):
    page.evaluate("document.addEventListener('keydown', event => event.preventDefault())")
    page.locator("input").nth(0).press("ArrowRight")
    assert state(page, 0) == ([2], "16", "16")


def test_second_copy_of_a_slider_moves_by_itself(page):
    page.locator("input").nth(2).press("ArrowRight")
    assert [state(page, k)[0] for k in range(3)] == [[1], [0], [2]]


def test_mouse_drags_the_thumb(page):
    box = page.locator("input").nth(1).bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 12, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 12, middle, steps=5)
    page.mouse.up()
    assert state(page, 1) == ([3], "32", "32")


def test_touch_moves_the_thumb(page):
    control = page.locator("input").nth(1)
    box = control.bounding_box()
    assert box["height"] >= 44  # room for a finger
    control.tap(position={"x": box["width"] - 12, "y": box["height"] / 2})
    assert state(page, 1) == ([3], "32", "32")


def test_focus_is_visible_and_no_page_grows_wider_than_its_window(page):
    page.keyboard.press("Tab")
    outline = page.locator("input").nth(0).evaluate("e => getComputedStyle(e).outlineStyle")
    assert outline == "solid"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_slider_is_announced_by_its_name(page):
    assert page.get_by_role("slider", name="Rate", exact=True).count() == 1
    assert page.get_by_role("slider", name="Stride", exact=True).count() == 2
