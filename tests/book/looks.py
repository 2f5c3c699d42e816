"""What is asked of a page in a browser, for the pages of the book and for the template's."""

from playwright.sync_api import Locator, Page

SLIDER = "figure.fcn-slider"

# Sources of the images that are to be seen in a figure now.
SHOWN = """figure => [...figure.querySelectorAll('img')].filter(image => {
  const style = getComputedStyle(image);
  return image.getClientRects().length && style.visibility !== 'hidden' && +style.opacity > 0;
}).map(image => image.currentSrc)"""

UNSEEN_IMAGES = """() => [...document.querySelectorAll('.bd-article img')]
  .filter(image => !(image.complete && image.naturalWidth > 0))
  .map(image => image.src.slice(0, 80))"""

NAMELESS_IMAGES = """() => [...document.querySelectorAll('.bd-article img')]
  .filter(image => !image.alt.trim()).map(image => image.src.slice(0, 80))"""

UNSET_MATH = """() => [...document.querySelectorAll('.bd-article .math')]
  .filter(place => !place.querySelector('mjx-container') || place.querySelector('mjx-merror'))
  .map(place => place.textContent)"""

EQUATION_NUMBERS = """() => [...document.querySelectorAll('.bd-article .math mjx-container')]
  .flatMap(set => [...set.querySelectorAll('mjx-mlabeledtr > mjx-mtd:first-child')])
  .map(label => label.getBoundingClientRect().width)"""

# Equations of which an end lies beyond their box: cut off, or to be scrolled to.
CUT_EQUATIONS = """() => [...document.querySelectorAll('.bd-article div.math')].filter(place => {
  const set = place.querySelector('mjx-container[display=true]');
  if (!set) return false;
  const parts = [...set.querySelectorAll('mjx-mtd, mjx-math, mjx-c')]
    .map(part => part.getBoundingClientRect());
  const seen = parts.filter(box => box.width > 0);
  const box = place.getBoundingClientRect();
  return Math.min(...seen.map(part => part.left)) < box.left - 2
    || Math.max(...seen.map(part => part.right)) > box.right + 2;
}).map(place => place.textContent)"""

# Elements that stick out of the page and cannot be scrolled in a box of their own.
TOO_WIDE = """() => {
  const width = document.documentElement.clientWidth, all = document.documentElement.scrollWidth;
  const scrolls = element => element && !element.matches('.bd-article')
    && (getComputedStyle(element).overflowX !== 'visible' || scrolls(element.parentElement));
  const beyond = which => [...document.querySelectorAll(which)].filter(element => {
    const box = element.getBoundingClientRect();
    return box.width && box.right > width + 1 && !scrolls(element.parentElement);
  }).map(element => (element.closest('.math') || element).outerHTML.slice(0, 100));
  const foot = beyond('.prev-next-area *');
  if (all <= width) return foot;
  return [...foot, ...beyond('.bd-article *'), `the page is ${all} pixels wide`];
}"""

# The share of a page's height that is code standing open.
OPEN_CODE = """() => {
  const article = document.querySelector('.bd-article');
  const cells = [...article.querySelectorAll('div.cell_input')].filter(c => c.checkVisibility());
  const heights = cells.map(cell => cell.getBoundingClientRect().height);
  return heights.reduce((sum, height) => sum + height, 0) / article.getBoundingClientRect().height;
}"""

# Where the first picture begins, in pixels from the top of the page.
FIRST_PICTURE = """() => {
  const picture = [...document.querySelectorAll('.bd-article img')].find(i => i.checkVisibility());
  return picture ? picture.getBoundingClientRect().top + scrollY : Infinity;
}"""

# Boxes that hide an end of what they hold, and show nothing that says so.
WITHOUT_CUE = """() => [...document.querySelectorAll('.bd-article *')].filter(box => {
  const style = getComputedStyle(box);
  // What stands in the box hides its cue where it has a ground of its own.
  const hidden = [...box.querySelectorAll('tr, th, td')].some(
    cell => !/^rgba|transparent|\\//.test(getComputedStyle(cell).backgroundColor));
  return box.scrollWidth > box.clientWidth + 1 && box.clientWidth && box.checkVisibility()
    && style.overflowX !== 'visible' && (hidden || !style.backgroundImage.includes('gradient'))
    && !box.closest('mjx-container');  // holds a hidden twin for screen readers
}).map(box => box.outerHTML.slice(0, 100))"""

# The grounds of our figures that are to be seen, each once.
FIGURE_GROUNDS = """() => [...new Set([...document.querySelectorAll('img.fcn-figure')]
  .filter(image => image.checkVisibility())
  .map(image => getComputedStyle(image).backgroundColor))]"""

LIGHT_CARDS = """() => [...document.querySelectorAll('.cell_output img')].filter(image => {
  const style = getComputedStyle(image);
  const ground = style.backgroundColor.match(/[\\d.]+/g).map(Number);
  const opaque = ground.length === 3 || ground[3] > 0;
  return (opaque && ground[0] + ground[1] + ground[2] > 600) || style.filter !== 'none';
}).map(image => image.alt)"""


def sliders(page: Page) -> list[Locator]:
    """The interactive figures of a page."""
    return page.locator(SLIDER).all()


def check_slider(page: Page, figure: Locator, by: str) -> None:
    """Move the control of a figure, and see that its picture changes with it."""
    control = figure.locator("input[type=range]")
    assert control.count() == 1
    assert control.evaluate("e => e.labels.length && e.labels[0].textContent.trim()"), "no label"
    figure.scroll_into_view_if_needed()
    before = figure.evaluate(SHOWN)
    assert len(before) == 1, "one frame is to be seen at a time"
    value = int(control.input_value())
    first, last = (int(control.get_attribute(name) or 0) for name in ("min", "max"))
    forward = value < (first + last) / 2
    if by == "keyboard":
        control.focus()
        control.press("ArrowRight" if value < last else "ArrowLeft")
        assert int(control.input_value()) == (value + 1 if value < last else value - 1)
    else:
        box = control.bounding_box()
        assert box is not None and box["height"] >= 24, "too small to hit"
        y = box["y"] + box["height"] / 2
        near, far = box["x"] + 3, box["x"] + box["width"] - 3
        if by == "touch":
            page.touchscreen.tap(far if forward else near, y)
        else:
            start = near + (far - near) * (value - first) / (last - first)
            page.mouse.move(start, y)
            page.mouse.down()
            page.mouse.move(far if forward else near, y, steps=5)
            page.mouse.up()
        assert int(control.input_value()) == (last if forward else first)
    after = figure.evaluate(SHOWN)
    assert len(after) == 1 and after != before, "the picture did not change"
