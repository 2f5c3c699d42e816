"""Pictures: colours, files that read back equal, and figures that carry their alt text."""

import base64
import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image, ImageColor

from fcn_tutorial import visualize

VOC = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]  # background, aeroplane, bicycle, bird
NAMES = ["background", "aeroplane", "bicycle", "bird"]
GROUNDS = ["#ffffff", "#000000"]  # of figures in the page, in light and in dark mode


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.fixture
def style():
    with matplotlib.rc_context():
        visualize.use_style()
        yield matplotlib.rcParams


def sample(height: int = 24, width: int = 32, seed: int = 0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    target = rng.integers(0, 3, (height, width))
    prediction = rng.integers(0, 3, (height, width))
    target[:2] = 255
    return image, target, prediction


# Style


def test_contrast_formula_gives_the_two_values_everyone_knows():
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("ground", GROUNDS)
def test_text_and_axes_read_on_light_and_dark_pages(style, ground):
    keys = ["text.color", "axes.labelcolor", "axes.titlecolor", "axes.edgecolor", "xtick.color",
            "ytick.color", "legend.labelcolor"]  # fmt: skip
    for key in keys:
        colour = matplotlib.colors.to_hex(style[key])
        assert colour == visualize.GREY
        assert contrast(colour, ground) >= 4.5


@pytest.mark.parametrize("ground", GROUNDS)
def test_first_four_line_colours_stand_out_from_the_page(style, ground):
    cycle = style["axes.prop_cycle"].by_key()["color"]
    colours = [matplotlib.colors.to_hex(colour) for colour in cycle]
    assert set(colours) <= {c.lower() for c in visualize.OKABE_ITO.values()} | {visualize.GREY}
    assert all(contrast(colour, ground) >= 3.0 for colour in colours[:4])  # WCAG 1.4.11, graphics


def test_style_has_one_type_size_and_no_ground(style):
    sizes = {
        style[key] for key in style if re.search(r"(font\.|label|title_?font|title|font)size$", key)
    }
    assert sizes == {10.0}
    assert style["figure.facecolor"] == style["axes.facecolor"] == "none"


# Label maps


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_saved_mask_reads_back_equal_and_shows_its_colours(tmp_path_factory, data):
    classes = data.draw(st.integers(1, 255))
    shape = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    palette = rng.integers(0, 256, (classes, 3))
    mask = rng.integers(0, classes, shape)
    mask[rng.random(shape) < 0.2] = 255
    path = tmp_path_factory.mktemp("mask") / "mask.png"
    visualize.save_mask(mask, palette, path)
    with Image.open(path) as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), mask)
        shown = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(visualize.colourise(mask, palette), shown)
    assert (shown[mask == 255] == (224, 224, 192)).all()


def test_colourise_paints_known_labels_in_known_colours():
    mask = torch.tensor([[0, 1], [3, 255]])
    expected = [[(0, 0, 0), (128, 0, 0)], [(128, 128, 0), (224, 224, 192)]]
    np.testing.assert_array_equal(visualize.colourise(mask, torch.tensor(VOC)), expected)


@pytest.mark.parametrize("label", [-1, 4, 254, 1000])
def test_label_without_a_colour_is_named(label):
    with pytest.raises(ValueError, match=f"label {label},"):
        visualize.colourise(np.array([[0, label, 255]]), VOC)


def test_another_void_label_is_stored_as_255(tmp_path):
    visualize.save_mask(np.array([[0, -1, 2]]), VOC, tmp_path / "m.png", ignore_index=-1)
    assert np.asarray(Image.open(tmp_path / "m.png")).tolist() == [[0, 255, 2]]


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 1.0])
def test_overlay_mixes_linearly_and_leaves_void_untouched(alpha):
    image, mask, _ = sample()
    mixed = visualize.overlay(image, mask, VOC, alpha)
    colours = np.array(VOC)[np.where(mask == 255, 0, mask)]
    expected = image + alpha * (colours - image.astype(float))
    assert mixed.dtype == np.uint8
    assert np.abs(mixed - expected)[mask != 255].max() <= 0.5  # rounding to whole levels
    np.testing.assert_array_equal(mixed[mask == 255], image[mask == 255])


def test_overlay_takes_tensors_and_floats_as_it_takes_arrays():
    image, mask, _ = sample()
    expected = visualize.overlay(image, mask, VOC)
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    for same in (tensor, tensor / 255, image / 255):
        np.testing.assert_array_equal(
            visualize.overlay(same, torch.from_numpy(mask), VOC), expected
        )


def test_three_pixel_wide_tensor_keeps_its_channels_first():
    image = torch.zeros(3, 5, 3, dtype=torch.uint8)
    image[0] = 200
    mask = np.full((5, 3), 255)
    assert (visualize.overlay(image, mask, VOC) == (200, 0, 0)).all()


def test_mistaken_inputs_are_named():
    image, mask, _ = sample()
    with pytest.raises(ValueError, match="normalisation"):
        visualize.overlay((image / 255 - 0.45) / 0.22, mask, VOC)
    with pytest.raises(ValueError, match="one size"):
        visualize.overlay(image, mask[1:], VOC)
    with pytest.raises(ValueError, match="alpha is 2"):
        visualize.overlay(image, mask, VOC, alpha=2)
    with pytest.raises(ValueError, match="integer labels"):
        visualize.colourise(mask / 2, VOC)
    with pytest.raises(ValueError, match="palette"):
        visualize.colourise(mask, np.zeros((256, 3), int))


def test_error_map_marks_every_wrong_scored_pixel_and_no_other():
    image, target, prediction = sample()
    shown = visualize.error_map(image, target, prediction)
    wrong = (target != prediction) & (target != 255)
    np.testing.assert_array_equal((shown == (213, 94, 0)).all(-1), wrong)
    assert (shown[target == 255] == shown[0, 0]).all()
    right = shown[(target == prediction)]
    assert (np.ptp(right, axis=-1) == 0).all()  # no colour
    assert right.max() < shown[0, 0].min()  # and darker than void


# Figures with alt text


class Images(HTMLParser):
    """Collects the attributes of every <img>."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        assert tag == "img"
        self.found.append(dict(attrs))


def decoded(attributes) -> Image.Image:
    kind, data = attributes["src"].split(",")
    assert kind == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_figure_carries_alt_text_width_and_a_transparent_ground(style):
    fig = Figure(figsize=(visualize.NARROW, 2))
    fig.subplots().plot([1, 3, 2])
    alt = 'Score "cat" < 0.5 & falling'
    bundle = visualize.figure(fig, alt=alt)._repr_mimebundle_()
    (img,) = Images(bundle["text/html"]).found
    assert img["alt"] == alt and alt in bundle["text/plain"]
    assert img["width"] == "442" and img["height"] == "192"
    assert "max-width:100%" in img["style"]
    picture = decoded(img).convert("RGBA")
    assert picture.width in (883, 884)  # two image pixels to a CSS pixel
    assert picture.getpixel((0, 0))[3] == 0


def test_figure_keeps_an_array_exactly_and_enlarges_it_in_squares():
    image = sample()[0]
    (img,) = Images(visualize.figure(image, alt="Noise.", width=320).img()).found
    assert (img["width"], img["height"]) == ("320", "240")
    assert "pixelated" in img["style"]
    np.testing.assert_array_equal(np.asarray(decoded(img).convert("RGB")), image)


def test_figure_is_closed_so_that_it_shows_once():
    from matplotlib import pyplot

    pyplot.switch_backend("Agg")
    fig, _ = pyplot.subplots()
    assert pyplot.fignum_exists(fig.number)
    visualize.figure(fig, alt="Empty axes.")
    assert not pyplot.fignum_exists(fig.number)


def test_figure_refuses_empty_alt_text():
    with pytest.raises(ValueError, match="alt is empty"):
        visualize.figure(sample()[0], alt="  ")


def test_wide_figure_stays_below_100_kilobytes_and_is_repeatable(style):
    def draw() -> visualize.Picture:
        image, target, prediction = sample(96, 128)
        smooth = np.asarray(Image.fromarray(image[::16, ::16]).resize((128, 96)))
        fig = visualize.show_segmentation(
            [smooth], [target // 128 * 255], [prediction * 0], classes=NAMES, palette=VOC
        )
        return visualize.figure(fig, alt="A scene.")

    first = draw()
    assert len(first.webp) < 100_000
    assert first.width == 691
    assert draw() == first


# Drawing on axes


def test_matrix_prints_every_number_and_frames_the_highlighted(style):
    values = np.outer([0.25, 0.75], [0.25, 0.75, 1.0])
    ax = Figure().subplots()
    visualize.matrix_with_numbers(ax, values, fmt=".2f", highlight=values > 0.5)
    cells = {tuple(text.get_position()): text.get_text() for text in ax.texts}
    assert cells == {(c, r): f"{values[r, c]:.2f}" for r in range(2) for c in range(3)}
    assert {(p.get_x(), p.get_y()) for p in ax.patches} == {(0.5, 0.5), (1.5, 0.5)}


@pytest.mark.parametrize("values", [np.arange(12).reshape(3, 4), np.ones((2, 2))])
def test_shaded_matrix_writes_dark_on_light_and_light_on_dark(values):
    ax = Figure().subplots()
    visualize.matrix_with_numbers(ax, values, shade=True)
    shades = ax.images[0].get_array()
    for text in ax.texts:
        column, row = text.get_position()
        cell = matplotlib.colors.to_hex(shades[row, column])
        assert contrast(matplotlib.colors.to_hex(text.get_color()), cell) >= 4.5


def test_heat_map_names_its_colour_bar_and_counts_cells(style):
    fig = Figure()
    ax = fig.subplots()
    image = visualize.heat_map(ax, torch.arange(12.0).reshape(3, 4), label="score of cat")
    assert image.get_cmap().name == "viridis"
    assert [other.get_ylabel() for other in fig.axes if other is not ax] == ["score of cat"]
    assert all(float(tick).is_integer() for tick in ax.get_yticks())


def test_segmentation_figure_names_the_classes_that_occur_and_no_other():
    image, target, prediction = sample()
    target[target == 1] = 0
    prediction[:] = 0
    fig = visualize.show_segmentation([image], [target], [prediction], classes=NAMES, palette=VOC)
    (legend,) = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == ["background", "bicycle", "void"]
    assert [ax.get_title() for ax in fig.axes] == ["image", "truth", "prediction", "errors"]
    with pytest.raises(ValueError, match="2 images, 1 targets"):
        visualize.show_segmentation([image, image], [target], classes=NAMES, palette=VOC)


@pytest.mark.parametrize(("width", "columns"), [(visualize.NARROW, 3), (visualize.WIDE, 5)])
def test_a_legend_of_classes_stands_below_and_leaves_the_axes_their_size(style, width, columns):
    masks = [np.array([[0, 3], [3, 0]]), torch.tensor([[2, 255], [3, 2]])]
    boxes = []
    for told in (False, True):
        fig = Figure(figsize=(width, 2.0), layout="constrained")
        ax = fig.subplots()
        ax.set(xticks=[], yticks=[])
        if told:
            visualize.class_legend(fig, masks, NAMES, VOC)
        fig.draw_without_rendering()  # lays the figure out
        boxes.append(ax.get_window_extent().frozen())
    (legend,) = fig.legends
    assert [text.get_text() for text in legend.get_texts()] == [NAMES[0], *NAMES[2:], "void"]
    assert legend._ncols == columns
    assert abs(boxes[0].height - boxes[1].height) < 0.03 * boxes[0].height
    assert legend.get_window_extent().y1 <= boxes[1].y0
    colours = [patch.get_facecolor()[:3] for patch in legend.get_patches()]
    assert np.allclose(colours[1], np.array(VOC[2]) / 255)


@pytest.mark.parametrize(
    ("label", "classes", "layout", "sentence"),
    [
        (-1, NAMES, "constrained", "mask holds label -1"),  # not the last class
        (len(VOC), NAMES, "constrained", f"mask holds label {len(VOC)}"),
        (2, NAMES[:2], "constrained", "a mask holds label 2, but 2 classes have names"),
        (0, NAMES, None, "fig has no constrained layout"),
        (0, NAMES, "tight", "fig has no constrained layout"),
    ],
)
def test_a_legend_that_would_be_wrong_is_refused(label, classes, layout, sentence):
    with matplotlib.rc_context({"figure.constrained_layout.use": False}):
        fig = Figure(layout=layout)
    with pytest.raises(ValueError, match=sentence):
        visualize.class_legend(fig, [np.array([[label]])], classes, VOC)
    assert not fig.legends


def test_a_legend_of_long_names_takes_fewer_columns_and_one_of_none_is_left_out(style):
    fig = Figure(figsize=(visualize.NARROW, 2.0), layout="constrained")
    fig.subplots()
    names = ["a name that is long enough for half of a line", *"bcd"]
    visualize.class_legend(fig, [np.arange(4)], names, VOC)
    fig.draw_without_rendering()
    (legend,) = fig.legends
    assert legend._ncols < 3
    extent = legend.get_window_extent()
    assert extent.x0 >= 0 and extent.x1 <= fig.get_figwidth() * fig.dpi
    bare = Figure(layout="constrained")
    visualize.class_legend(bare, [], names, VOC)
    assert not bare.legends


# Files in a run folder


def test_prediction_sheet_shows_truth_in_pure_colours_and_errors(tmp_path):
    samples = [sample(24, 32, 1), sample(30, 20, 2)]
    path = tmp_path / "samples.png"
    visualize.prediction_sheet(samples, NAMES, VOC, path, cell_width=100)
    sheet = np.asarray(Image.open(path))
    assert sheet.shape[1] == 4 * 108 + 8
    cells = sheet[24 : 24 + 75]  # the first row of cells: 100 pixels wide, 3:4
    assert {tuple(c) for c in cells[:, 116:216].reshape(-1, 3)} == {*VOC[:3], (224, 224, 192)}
    wrong = (cells[:, 332:432] == (213, 94, 0)).all(-1).mean()
    _, target, prediction = samples[0]
    expected = ((target != prediction) & (target != 255)).mean()
    assert wrong == pytest.approx(expected, abs=0.02)  # nearest neighbours of a 32-pixel row


def test_prediction_sheet_without_ground_reads_on_any(tmp_path):
    path = tmp_path / "samples.png"
    visualize.prediction_sheet(
        [sample(24, 32, 1)], NAMES, VOC, path, cell_width=100, transparent=True
    )
    *colour, alpha = np.moveaxis(np.asarray(Image.open(path)), -1, 0)
    cells = slice(24, 24 + 75)
    assert (alpha[cells, 8:108] == 255).all() and (alpha[cells, 108:116] == 0).all()
    words = alpha[:24] == 255
    assert words.any()
    assert {tuple(c) for c in np.stack(colour, -1)[:24][words]} == {ImageColor.getrgb("#757575")}


def test_prediction_sheet_needs_a_sample(tmp_path):
    with pytest.raises(ValueError, match="samples is empty"):
        visualize.prediction_sheet([], NAMES, VOC, tmp_path / "samples.png")


def rows(scores: bool) -> list[dict[str, object]]:
    """Numbers, text and gaps, as a log has them while it is written and after it is read."""
    return [
        {"step": 1, "epoch": 0, "loss": 3.0, "lr": 0.1},
        {"step": "2", "epoch": "0", "loss": "2.5", "val_mean_iu": "0.2" if scores else ""},
        {"step": 3, "loss": None, "val_mean_iu": 0.4 if scores else None},
        {"step": 4, "loss": float("nan")},
    ]


def test_training_curve_draws_a_panel_for_what_there_is(tmp_path):
    heights = {}
    for name, log in [("none", []), ("loss", rows(False)), ("both", rows(True))]:
        visualize.training_curve(log, tmp_path / f"{name}.png")
        heights[name] = Image.open(tmp_path / f"{name}.png").height
    assert heights["both"] == 2 * heights["loss"] == 2 * heights["none"]


def test_training_curve_plots_the_logged_values(tmp_path, monkeypatch):
    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda fig, *args, **kw: (drawn.append(fig), save(fig, *args, **kw))
    )
    visualize.training_curve(rows(True), tmp_path / "curve.png")
    (fig,) = drawn
    loss, score = (ax.lines[0].get_xydata().tolist() for ax in fig.axes)
    assert loss == [[1, 3.0], [2, 2.5]]
    assert score == [[2, 20.0], [3, 40.0]]


def test_training_curve_needs_no_display_and_leaves_matplotlib_alone(tmp_path):
    program = """if True:
        import sys, matplotlib
        from fcn_tutorial import visualize
        before = dict(matplotlib.rcParams)
        log = [{"step": n, "loss": 1 / (n + 1), "val_mean_iu": n / 200} for n in range(200)]
        visualize.training_curve(log, sys.argv[1])
        assert "matplotlib.pyplot" not in sys.modules
        assert "torch" not in sys.modules
        assert dict(matplotlib.rcParams) == before
    """
    root = Path(visualize.__file__).parents[1]
    environment = {"PYTHONPATH": str(root), "MPLBACKEND": "TkAgg", "HOME": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "curve.png")]
    subprocess.run(command, check=True, env=environment, timeout=60)
    assert Image.open(tmp_path / "curve.png").size[0] > 600
