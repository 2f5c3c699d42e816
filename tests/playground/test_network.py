"""The network in the page answers as torch does, and follows what the reader does."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Page

from fcn_tutorial import assets, models, playground
from fcn_tutorial.datasets import Scenes
from fcn_tutorial.models import FCN
from tests.browser import chromium

SCENES = Scenes(n=40, split="test")


def shipped() -> FCN:
    network, _ = models.load(assets.path("weights/scene-fcn8s.safetensors"))
    assert isinstance(network, FCN)
    return network


def element(index: int = 0, **changes: object) -> playground.Element:
    image, labels = SCENES[16]
    settings = {
        "classes": Scenes.classes,
        "palette": Scenes.palette,
        "alt": "A street scene.",
        "things": [playground.cut_out(image, labels, Scenes.classes.index("car"))],
    }
    return playground.network(shipped(), SCENES[index][0], **(settings | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    file = Path(tmp_path_factory.mktemp("page")) / "page.html"
    file.write_text(f"<!doctype html><meta charset=utf-8>{element()._repr_html_()}")
    with chromium() as browser:
        opened = browser.new_page(viewport={"width": 1000, "height": 900})
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.goto(file.as_uri())
        opened.evaluate("document.querySelector('figure').ready")
        yield opened
        assert errors == []


RUN = """([rgba, skips]) => {
  const {run, best} = document.querySelector('figure').network;
  const scores = run(rgba, skips);
  return [Array.from(scores.v), Array.from(best(scores))];
}"""


@pytest.mark.parametrize("index", [3, 16])
def test_scores_are_those_of_torch(page: Page, index: int) -> None:
    image, _ = SCENES[index]
    rgba = torch.cat([image, image.new_full((1, *image.shape[1:]), 255)]).permute(1, 2, 0)
    values, labels = page.evaluate(RUN, [rgba.flatten().tolist(), {"16": True, "8": True}])
    network = shipped()
    with torch.no_grad():
        wanted = network(network.preprocess(image[None]))[0]
    found = torch.tensor(values).view_as(wanted)
    # Sums of up to 1,152 products in float32, in another order.
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)
    same = torch.tensor(labels).view(image.shape[1:]) == network.predict(image)
    assert same.double().mean() > 0.999


def test_a_skip_that_is_switched_off_adds_nothing(page: Page) -> None:
    image, _ = SCENES[16]
    rgba = torch.cat([image, image.new_full((1, *image.shape[1:]), 255)]).permute(1, 2, 0)
    values, _ = page.evaluate(RUN, [rgba.flatten().tolist(), {"16": False, "8": False}])
    network = shipped()
    for layer in (network.score_pool4, network.score_pool3):
        torch.nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
        torch.nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        wanted = network(network.preprocess(image[None]))[0]
    torch.testing.assert_close(torch.tensor(values).view_as(wanted), wanted, rtol=0, atol=1e-3)


ANSWER = "document.querySelectorAll('canvas')[1].toDataURL()"


def answered(page: Page) -> str:
    """The network's answer, when pictures are read and frames drawn."""
    page.wait_for_timeout(400)
    return str(page.evaluate(ANSWER))


def changed(page: Page, *seen: str) -> str:
    """The answer once it is none of those that were seen."""
    page.wait_for_function(f"seen => !seen.includes({ANSWER})", arg=seen)
    return answered(page)


def returned(page: Page, seen: str) -> bool:
    page.wait_for_function(f"seen => seen === {ANSWER}", arg=seen)
    return answered(page) == seen


def test_things_follow_pointer_and_keys_and_the_answer_follows_them(page: Page) -> None:
    page.get_by_text("start again").click()
    before = answered(page)
    box = page.locator("canvas").first.bounding_box()
    assert box is not None
    scale = box["width"] / 128
    car = playground.cut_out(*SCENES[16], Scenes.classes.index("car"))
    x, y = 4 + car.shape[1] / 2, round(0.86 * 128) - car.shape[0] / 2
    page.mouse.move(box["x"] + scale * x, box["y"] + scale * y)
    page.mouse.down()
    page.mouse.move(box["x"] + scale * (x + 50), box["y"] + scale * y, steps=4)
    page.mouse.up()
    dragged = changed(page, before)
    page.locator("canvas").first.press("ArrowUp")
    changed(page, before, dragged)
    page.get_by_text("start again").click()
    assert returned(page, before)


def test_the_pointer_is_told_probabilities_and_fields(page: Page) -> None:
    page.locator("canvas").nth(1).hover(position={"x": 40, "y": 40})
    said = page.locator("output").inner_text()
    shares = [float(p) for p in re.findall(r" (0\.\d\d|1\.00)", said)]
    assert len(shares) == 3 and shares == sorted(shares, reverse=True) and sum(shares) <= 1.02
    fields = element().data["fields"]
    assert ", ".join(f"{fields[s]}²" for s in (32, 16, 8)) in said


def test_paint_and_skips_change_the_answer(page: Page) -> None:
    page.get_by_text("start again").click()
    before = answered(page)
    page.get_by_label("skip at stride 8").uncheck()
    changed(page, before)
    page.get_by_label("skip at stride 8").check()
    assert returned(page, before)
    page.get_by_label("pointer").select_option(label="paint in the colour of sky")
    page.locator("canvas").first.click(position={"x": 150, "y": 200})
    page.locator("canvas").first.click(position={"x": 170, "y": 210})
    changed(page, before)
    page.get_by_label("pointer").select_option(label="drag things")


def test_a_picture_of_ones_own_is_labelled(page: Page, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(SCENES[3][0].permute(1, 2, 0).numpy()).save(tmp_path / "mine.png")
    before = answered(page)
    page.locator("input[type=file]").set_input_files(tmp_path / "mine.png")
    changed(page, before)
    (tmp_path / "none.png").write_text("no picture")
    page.locator("input[type=file]").set_input_files(tmp_path / "none.png")
    page.get_by_text("none.png is no picture").wait_for()


def test_keys_take_another_thing_paint_and_point(page: Page) -> None:
    page.get_by_text("start again").click()
    page.wait_for_function("document.querySelector('output').textContent === ''")
    before, left = answered(page), page.locator("canvas").first
    left.press("ArrowRight")
    moved = changed(page, before)
    assert page.locator("output").inner_text().startswith("Pixel ")
    left.press(" ")  # the only other thing is the same again
    left.press("ArrowLeft")
    assert returned(page, before) and moved != before
    page.get_by_label("pointer").select_option(label="paint in the colour of sky")
    for key in ("ArrowDown", "ArrowDown", " "):
        left.press(key)
    changed(page, before)
    page.get_by_label("pointer").select_option(label="drag things")
    right = page.locator("canvas").nth(1)
    right.press("ArrowUp")
    first = page.locator("output").inner_text()
    right.press("ArrowUp")
    assert first.startswith("Pixel ") and page.locator("output").inner_text() != first


def test_after_a_broken_file_a_good_one_counts_and_what_is_transparent_is_white(
    page: Page, tmp_path: Path
) -> None:
    from PIL import Image

    (tmp_path / "none.png").write_text("no picture")
    page.locator("input[type=file]").set_input_files(tmp_path / "none.png")
    page.get_by_text("none.png is no picture").wait_for()
    before = answered(page)
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    page.locator("input[type=file]").set_input_files(tmp_path / "clear.png")
    changed(page, before)
    assert page.locator("output").inner_text() == ""
    ink = "document.querySelector('canvas').getContext('2d').getImageData(0, 0, 128, 128).data"
    assert page.evaluate(f"{ink}.every(value => value === 255)")
    page.locator("canvas").first.press("ArrowUp")  # there is nothing to move
    page.get_by_label("skip at stride 8").uncheck()
    page.get_by_text("start again").click()
    assert page.get_by_label("skip at stride 8").is_checked()
    assert page.locator("input[type=file]").input_value() == ""
    page.wait_for_function(f"!{ink}.every(value => value === 255)")


def test_equal_content_gives_equal_elements_that_close_nothing() -> None:
    one, two = element()._repr_html_(), element()._repr_html_()
    assert one == two and len(one) < playground.LIMIT
    odd = element(alt="</script><b>")._repr_html_()
    assert odd.count("</script>") == 2
    json.loads(re.search(r'json">(.*?)</script>', odd, re.S)[1])  # type: ignore[index]


def test_what_the_script_does_not_run_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        playground.network(
            shipped(), np.zeros((100, 128, 3), np.uint8), classes=Scenes.classes,
            palette=Scenes.palette, alt="x",
        )  # fmt: skip
    with pytest.raises(ValueError, match="1 classes and 12 colours for 12 scores"):
        element(classes=["sky"])
    other = FCN("squeezenet1_1", 12, stride=8).eval()
    with pytest.raises(ValueError, match="trunk"):
        playground.network(
            other, SCENES[0][0], classes=Scenes.classes, palette=Scenes.palette, alt="x"
        )
    with pytest.raises(ValueError, match="FCN-8s"):
        playground.network(
            FCN("tiny", 12, stride=32).eval(), SCENES[0][0], classes=Scenes.classes,
            palette=Scenes.palette, alt="x",
        )  # fmt: skip
    with pytest.raises(ValueError, match="label=99 does not occur"):
        playground.cut_out(*SCENES[0], 99)
