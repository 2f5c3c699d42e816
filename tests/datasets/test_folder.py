"""One's own images and masks: what is read, how it is split, and what a wrong folder is told."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps

from fcn_tutorial.datasets import Folder
from fcn_tutorial.datasets.own.pairing import Names
from fcn_tutorial.datasets.own.parts import Shares
from tests.datasets.damage import declare_png

COLOURS = {"background": (0, 0, 0), "cat": (255, 0, 0), "dog": (0, 128, 255), "void": (255, 255, 0)}
NAMES = ["background", "cat", "dog"]


class Home:
    """Two folders in which a test puts files."""

    def __init__(self, root: Path) -> None:
        self.root, self.images, self.masks = root, root / "images", root / "masks"
        self.images.mkdir()
        self.masks.mkdir()

    def add(self, stem: str, labels: np.ndarray, suffix: str = ".png") -> None:
        pixels = np.random.default_rng(len(stem)).integers(0, 256, (*labels.shape[:2], 3), np.uint8)
        Image.fromarray(pixels).save(self.images / f"{stem}{suffix}")
        Image.fromarray(labels).save(self.masks / f"{stem}.png")

    def fill(self, count: int = 6, size: tuple[int, int] = (8, 10), classes: int = 3) -> None:
        generator = np.random.default_rng(0)
        for i in range(count):
            self.add(f"photo{i}", generator.integers(0, classes, size, np.uint8))

    def open(self, **options: object) -> Folder:
        return Folder(self.images, self.masks, **options)  # type: ignore[arg-type]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def painted(labels: np.ndarray) -> np.ndarray:
    return np.array(list(COLOURS.values()), np.uint8)[labels]


# What is read


def test_items_are_the_files_pixel_for_pixel(home: Home) -> None:
    home.fill()
    dataset = home.open(classes=NAMES)
    assert len(dataset) == 6 and dataset.classes == tuple(NAMES)
    for i in range(6):
        image, mask = dataset[i]
        assert image.dtype == mask.dtype == torch.uint8
        stored = np.array(Image.open(home.images / f"photo{i}.png"))
        assert np.array_equal(image.numpy(), stored.transpose(2, 0, 1))
        assert np.array_equal(mask.numpy(), np.array(Image.open(home.masks / f"photo{i}.png")))


@settings(max_examples=30, deadline=None)
@given(
    labels=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
                      elements=st.integers(0, 3)),
    form=st.sampled_from(["numbers", "palette", "equal channels", "colours", "colours and alpha",
                          "colours in a palette"]),
)  # fmt: skip
def test_every_way_to_write_a_mask_gives_the_same_labels(
    labels: np.ndarray, form: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = Home(tmp_path_factory.mktemp("home"))
    labels.flat[0] = 1  # nothing but background and void is refused, as a black and white mask is
    wanted = np.where(labels == 3, 255, labels)
    options: dict[str, object] = {"classes": NAMES}
    numbers = wanted.astype(np.uint8)
    if form.startswith("colours"):
        options["colours"] = COLOURS
        numbers = painted(labels)
        if form == "colours and alpha":
            numbers = np.dstack([numbers, np.full(labels.shape, 7, np.uint8)])
    elif form == "equal channels":
        numbers = np.dstack([numbers] * 3)
    home.add("a", numbers)
    if form == "palette":
        mask = Image.fromarray(numbers)
        mask.putpalette(bytes(range(255, -1, -1)) * 3)
        mask.save(home.masks / "a.png")
    if form == "colours in a palette":
        Image.fromarray(numbers).quantize(16, dither=Image.Dither.NONE).save(home.masks / "a.png")
        assert Image.open(home.masks / "a.png").mode == "P"
    found = home.open(**options).labelling.read(home.masks / "a.png")
    assert np.array_equal(found, wanted)


def test_one_bit_and_sixteen_bit_masks_are_numbers_too(home: Home) -> None:
    labels = np.eye(6, 9, dtype=np.uint8)
    home.add("a", labels)
    for mask in (Image.fromarray(labels.astype(bool)), Image.fromarray(labels.astype(np.uint16))):
        mask.save(home.masks / "a.png")
        assert np.array_equal(home.open(classes=["a", "b"])[0][1].numpy(), labels)


def test_colour_maps_from_mapping_csv_and_yaml_are_one(home: Home) -> None:
    home.add("a", painted(np.array([[0, 1], [2, 3]])))
    (home.root / "c.csv").write_text(
        "name,r,g,b\n" + "\n".join(f"{n},{r},{g},{b}" for n, (r, g, b) in COLOURS.items()),
        encoding="utf-8-sig",
    )
    lines = [f"{name}: [{r}, {g}, {b}]" for name, (r, g, b) in COLOURS.items()]
    (home.root / "c.yaml").write_text("\n".join(lines))
    for colours in (COLOURS, home.root / "c.csv", str(home.root / "c.yaml")):
        dataset = home.open(colours=colours)
        assert dataset.classes == tuple(NAMES)
        assert dataset.palette == tuple(COLOURS[name] for name in NAMES)
        assert dataset[0][1].tolist() == [[0, 1], [2, 255]]


def test_a_class_may_have_several_colours(home: Home) -> None:
    pixels = np.array([[[0, 0, 0], [9, 9, 9], [255, 0, 0]]], np.uint8)
    home.add("a", pixels)
    (home.root / "c.csv").write_text("back,0,0,0\ncat,255,0,0\nback,9,9,9\n")
    mapping = {"back": [(0, 0, 0), (9, 9, 9)], "cat": (255, 0, 0)}
    for colours in (mapping, home.root / "c.csv"):
        dataset = home.open(colours=colours)
        assert dataset[0][1].tolist() == [[0, 0, 1]]
        assert dataset.palette == ((0, 0, 0), (255, 0, 0))


def test_classes_set_the_order_of_the_colours(home: Home) -> None:
    home.add("a", painted(np.array([[0, 1, 2, 3]])))
    dataset = home.open(classes=NAMES[::-1], colours=COLOURS)
    assert dataset[0][1].tolist() == [[2, 1, 0, 255]]


def test_a_class_called_void_is_left_out_and_later_ones_move_up(home: Home) -> None:
    home.add("a", np.array([[0, 1, 2, 255]], np.uint8))
    dataset = home.open(classes=["Void", "cat", "dog"])
    assert dataset.classes == ("cat", "dog") and len(dataset.palette) == 2
    assert dataset[0][1].tolist() == [[255, 0, 1, 255]]


def test_classes_come_from_a_file_or_from_the_labels_found(home: Home) -> None:
    home.add("a", np.array([[0, 1, 1, 255]], np.uint8))
    home.add("b", np.array([[2, 4]], np.uint8))
    assert home.open().classes == tuple(f"class {i}" for i in range(5))
    assert home.open(split="val").classes == home.open().classes
    (home.root / "names.txt").write_text("a\nb\n\nc\nd\ne\n")
    assert home.open(classes=home.root / "names.txt").classes == tuple("abcde")
    (home.root / "classes.txt").write_text("v\nw\nx\ny\nz\n")
    assert home.open().classes == tuple("vwxyz")


def test_the_palette_is_the_masks_own_where_it_tells_classes_apart(home: Home) -> None:
    home.add("a", np.array([[0, 1, 2]], np.uint8))
    assert home.open().palette == ((0, 0, 0), (128, 0, 0), (0, 128, 0))  # VOC's first three
    mask = Image.open(home.masks / "a.png")
    mask.putpalette([1, 2, 3, 4, 5, 6, 7, 8, 9] + [0] * 759)
    mask.save(home.masks / "a.png")
    assert home.open().palette == ((1, 2, 3), (4, 5, 6), (7, 8, 9))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright_as_pillow_does(
    home: Home, orientation: int, suffix: str
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = home.images / f"a.{suffix}"
    Image.fromarray(pixels).save(photo, exif=exif)
    with Image.open(photo) as opened:
        opened.load()
        upright = np.array(ImageOps.exif_transpose(opened))
    assert upright.shape[:2] == ((5, 8) if orientation < 5 else (8, 5))
    Image.fromarray(np.eye(*upright.shape[:2], dtype=np.uint8)).save(home.masks / "a.png")
    image, _ = home.open()[0]
    assert np.array_equal(image.numpy(), upright.transpose(2, 0, 1))


def test_suffixes_of_masks_and_hidden_files(home: Home) -> None:
    home.fill(3)
    for path in sorted(home.masks.iterdir()):
        path.rename(path.with_stem(path.stem + "_mask"))
    (home.images / "._photo0.jpg").write_bytes(b"macOS")
    (home.images / "Thumbs.db").write_bytes(b"Windows")
    assert len(home.open(names=Names(mask_suffix="_mask"))) == 3


def test_transforms_see_image_and_mask_together(home: Home) -> None:
    home.fill(1)
    dataset = home.open(transforms=lambda image, mask: (image[:, ::2], mask[::2]))
    assert [tuple(part.shape) for part in dataset[0]] == [(3, 4, 10), (4, 10)]


# How it is split


def stems(dataset: Folder) -> set[str]:
    return {image.stem for image, _ in dataset.files}


def test_drawn_splits_part_the_folder_and_keep_their_files(home: Home) -> None:
    home.fill(40, size=(2, 2))
    options = {"classes": NAMES, "shares": Shares(0.25, 0.25, 3)}
    parts = {split: stems(home.open(split=split, **options)) for split in Folder.splits}
    assert set.union(*parts.values()) == stems(home.open(classes=NAMES))
    assert sum(map(len, parts.values())) == 40
    assert all(4 <= len(parts[split]) <= 17 for split in ("val", "test"))  # 10 ± 2.5 deviations
    for i in range(20):
        home.add(f"more{i}", np.zeros((2, 2), np.uint8))
    for split, before in parts.items():
        after = stems(home.open(split=split, **options))
        assert {stem for stem in after if stem.startswith("photo")} == before
    other = home.open(split="val", **(options | {"shares": Shares(0.25, 0.25, 4)}))
    assert stems(other) != stems(home.open(split="val", **options))


@pytest.mark.parametrize("seed", range(8))
def test_a_small_folder_has_something_to_validate_on(home: Home, seed: int) -> None:
    home.fill(2, size=(2, 2))
    assert len(home.open(classes=NAMES, split="val", shares=Shares(seed=seed))) == 1
    assert len(home.open(classes=NAMES, split="train", shares=Shares(seed=seed))) == 1


def test_a_list_names_a_split(home: Home) -> None:
    home.fill(6)
    (home.masks / "photo5.png").unlink()  # not on the list, so they need no partner
    (home.images / "photo3.png").unlink()
    listing = home.root / "train.txt"
    listing.write_text("photo4\n\nphoto1.png\n")
    assert [image.stem for image, _ in home.open(classes=NAMES, split=listing).files] == [
        "photo4",
        "photo1",
    ]


@pytest.mark.parametrize("line", ["/etc/passwd", "../photo1", "..", "a\0b"])
def test_a_list_leads_nowhere_else(home: Home, line: str) -> None:
    home.fill(3)
    (home.root / "list.txt").write_text(f"photo0\n{line}\n")
    with pytest.raises(ValueError, match="1 of 2 names are no images"):
        home.open(classes=NAMES, split=home.root / "list.txt")


# What a wrong folder is told


def _sizes(home: Home) -> Folder:
    home.fill()
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(home.masks / "photo0.png")
    return home.open(classes=NAMES)


def _no_partner(home: Home) -> Folder:
    home.fill(9)
    for i in range(7):
        (home.masks / f"photo{i}.png").unlink()
    return home.open(classes=NAMES)


def _outside(home: Home) -> Folder:
    home.fill()
    home.add("photo0", np.array([[0, 1, 7, 9, 9]], np.uint8))
    return home.open(classes=NAMES)


def _unknown_colour(home: Home) -> Folder:
    pixels = painted(np.zeros((4, 4), int))
    pixels[0, :3] = (250, 3, 0)
    home.add("photo0", pixels)
    return home.open(colours=COLOURS)


def _empty(home: Home) -> Folder:
    return home.open(classes=NAMES)


def _black_and_white(home: Home) -> Folder:
    home.add("photo0", np.array([[0, 255]], np.uint8))
    return home.open(classes=["background", "cat"])


def _from_one(home: Home) -> Folder:
    home.add("photo0", np.array([[1, 2, 3]], np.uint8))
    return home.open(classes=NAMES)


def _jpeg_masks(home: Home) -> Folder:
    home.fill()
    for path in sorted(home.masks.iterdir()):
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    return home.open(classes=NAMES)


def _same_folder(home: Home) -> Folder:
    home.fill()
    return Folder(home.images, home.images / ".." / "images", NAMES)


def _twins(home: Home) -> Folder:
    home.fill(2)
    Image.new("RGB", (10, 8)).save(home.images / "photo1.jpg")
    return home.open(classes=NAMES)


def _twice_named(home: Home) -> Folder:
    home.fill()
    return home.open(classes=["cat", "dog", "cat"])


def _unknown_names(home: Home) -> Folder:
    home.fill()
    (home.root / "list.txt").write_text("photo0\nfoto1\nfoto2\n")
    return home.open(classes=NAMES, split=str(home.root / "list.txt"))


def _deep(home: Home) -> Folder:
    home.fill()
    Image.fromarray(np.full((8, 10), 4000, np.uint16)).save(home.masks / "photo0.png")
    return home.open(classes=NAMES)


def _floats(home: Home) -> Folder:
    home.add("photo0", np.zeros((2, 3), np.uint8))
    (home.masks / "photo0.png").unlink()
    Image.fromarray(np.ones((2, 3), np.float32)).save(home.masks / "photo0.tif")
    return home.open(classes=NAMES)


def _coloured(home: Home) -> Folder:
    home.add("photo0", painted(np.array([[0, 1, 1]])))
    return home.open(classes=NAMES)


def _grey_levels(home: Home) -> Folder:
    home.add("photo0", np.array([[0, 85, 170]], np.uint8))
    return home.open()


def _orphan_mask(home: Home) -> Folder:
    home.fill(3)
    (home.images / "photo2.png").unlink()
    return home.open(classes=NAMES)


def _endings(home: Home) -> Folder:
    home.fill(3)
    for path in sorted(home.masks.iterdir()):
        path.rename(path.with_stem(path.stem + "_gt"))
    return home.open(classes=NAMES)


def _case(home: Home) -> Folder:
    home.fill(2)
    for path in sorted(home.masks.iterdir()):
        path.rename(path.with_stem(path.stem.upper()))
    return home.open(classes=NAMES)


def _smoothed(home: Home) -> Folder:
    home.add("photo0", painted(np.arange(4).reshape(2, 2)).repeat(8, 0).repeat(8, 1))
    mask = Image.open(home.masks / "photo0.png")
    mask.resize((24, 24), Image.Resampling.BILINEAR).save(home.masks / "photo0.png")
    Image.new("RGB", (24, 24)).save(home.images / "photo0.png")
    return home.open(colours=COLOURS)


def _jpeg_inside(home: Home) -> Folder:
    home.fill(1)
    Image.open(home.masks / "photo0.png").save(home.masks / "photo0.png", format="JPEG")
    return home.open(classes=NAMES)


def _turned(home: Home) -> Folder:
    home.fill(1)
    Image.fromarray(np.zeros((10, 8), np.uint8)).save(home.masks / "photo0.png")
    return home.open(classes=NAMES)


def _missing(home: Home) -> Folder:
    return Folder(home.root / "nowhere", home.masks)


def _nested(home: Home) -> Folder:
    (home.images / "train").mkdir()
    return home.open()


def _foreign(home: Home) -> Folder:
    (home.images / "a.heic").write_bytes(b"")
    return home.open()


def _only_void(home: Home) -> Folder:
    home.add("a", np.full((2, 2), 255, np.uint8))
    return home.open()


def _one_label(home: Home) -> Folder:
    home.add("a", np.zeros((2, 2), np.uint8))
    return home.open()


def _no_colour(home: Home) -> Folder:
    home.add("a", painted(np.zeros((2, 2), int)))
    return home.open(classes=[*NAMES, "cow"], colours=COLOURS)


def _extra_colour(home: Home) -> Folder:
    home.add("a", painted(np.zeros((2, 2), int)))
    return home.open(classes=NAMES[:2], colours=COLOURS)


def _shared_colour(home: Home) -> Folder:
    home.add("a", painted(np.zeros((2, 2), int)))
    return home.open(colours={"cat": (1, 2, 3), "dog": (1, 2, 3)})


WRONG: list[tuple[Callable[[Home], Folder], list[str]]] = [
    (_sizes, ["photo0.png is 9×8", "photo0.png is 10×8", "nearest-neighbour"]),
    (_no_partner, ["7 of 9 images have no mask", "photo0.png, photo1.png", "and 2 more", "a.png"]),
    (_outside, ["photo0.png: labels 7, 9 on 3 pixels", "3 classes", "0 to 2", "255"]),
    (_unknown_colour, ["photo0.png: 3 pixels", "(250, 3, 0)", "nearest: 'cat' (255, 0, 0)", "Add"]),
    (_empty, ["images: holds no images", ".jpg", "it is empty"]),
    (_black_and_white, ["only 0 and 255", "colours={'background': (0, 0, 0), 'cat': (255, 255"]),
    (_from_one, ["photo0.png: label 3", "count from 1", "put 'void' first"]),
    (_jpeg_masks, ["photo0.jpg", "must not be JPEG", "as PNG"]),
    (_same_folder, ["images and masks are both", "folder of their own"]),
    (_twins, ["photo1.jpg and photo1.png have the same stem", "rename"]),
    (_twice_named, ["name 'cat' more than once", "name each class once"]),
    (_unknown_names, ["list.txt: 2 of 3 names are no images: foto1, foto2", "one stem a line"]),
    (_deep, ["photo0.png", "4000", "16 or 32 bits", "8-bit PNG"]),
    (_floats, ["photo0.tif: holds floats", "8-bit PNG"]),
    (_coloured, ["masks: holds colours", "(255, 0, 0)", "colours={'name'"]),
    (_grey_levels, ["labels 0, 85, 170", "levels of grey", "colours="]),
    (_orphan_mask, ["1 of 3 masks has no image: photo2.png", "Add what is missing"]),
    (_endings, ["end in '_gt'", "give names=Names(mask_suffix='_gt')"]),
    (_case, ["upper and lower case"]),
    (_smoothed, ["more colours", "JPEG compression or from smoothing", "export"]),
    (_jpeg_inside, ["photo0.png: a JPEG mask, whatever its name", "as PNG"]),
    (_turned, ["8×10", "10×8", "turned by 90°"]),
    (_missing, ["images=", "nowhere: no such folder"]),
    (_nested, ["neither do its folders (train)"]),
    (_foreign, ["holds .heic files, convert them"]),
    (_only_void, ["only 255, which means void"]),
    (_one_label, ["only 0, a single class"]),
    (_no_colour, ["class 'cow' without a colour"]),
    (_extra_colour, ["name 'dog' not among classes", "'void'"]),
    (_shared_colour, ["'cat' and 'dog' have the same colour (1, 2, 3)"]),
]


@pytest.mark.parametrize(("build", "said"), WRONG, ids=[b.__name__[1:] for b, _ in WRONG])
def test_a_wrong_folder_is_told_what_to_do(
    home: Home, build: Callable[[Home], Folder], said: list[str]
) -> None:
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        for i in range(len(dataset := build(home))):
            dataset[i]
    message = str(caught.value)
    assert all(part in message for part in said), message
    assert "\n" not in message and len(message) < 500


# Ten levels of aliases, nine on each: 900 bytes that stand for 9¹⁰ lists.
BOMB = "[1, 2, 3, 4]"
for _level in range(10):
    BOMB = f"[&a{_level} {BOMB}{f', *a{_level}' * 9}]"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.csv", "cat;1;2;3\n", "line 1: 'cat;1;2;3' is not name,r,g,b"),
        ("c.csv", "cat,1,2,3\ndog,1,2,300\n", "line 2: 'dog' has [1, 2, 300]; give three whole"),
        ("c.csv", "cat,1,2,²\n", "line 1"),
        ("c.csv", "", "holds no colours"),
        ("c.csv", "void,0,0,0\n", "names no class besides void"),
        ("c.yaml", "cat: [1, 2", "c.yaml: not a readable YAML file"),
        ("c.yaml", "- cat\n", "expected lines 'name: [r, g, b]'"),
        ("c.yaml", "cat: [1, 2]\n", "'cat' has [1, 2]; give three whole numbers"),
        ("c.yaml", "cat: [1, 2, 3.5]\n", "give three whole numbers"),
        ("c.yaml", "cat: red\n", "give three whole numbers"),
        ("c.yaml", "cat: !!python/object/apply:os.getcwd []\n", "not a readable YAML file"),
        ("c.yaml", "a: " + BOMB, "'a' has [[[...], [...], "),
        ("c.yaml", "a: [1, 2, 0x1" + "0" * 5000 + "]\n", "[1, 2, a number of many digits]"),
        ("c.yaml", "? 0x1" + "0" * 5000 + "\n: 1\n", "'a number of many digits' has 1"),
        ("c.json", "{}", "ends in .csv, .yaml or .yml"),
        ("nothing.csv", None, "nothing.csv not found"),
    ],
)
def test_a_wrong_colour_map_is_named(home: Home, name: str, text: str | None, said: str) -> None:
    home.add("a", painted(np.zeros((2, 2), int)))
    if text is not None:
        (home.root / name).write_text(text)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        home.open(colours=home.root / name)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"split": "trian"}, "trian not found; a split is 'train', 'val', 'test'"),
        ({"split": "test"}, "test_fraction=0.0; change the fractions"),
        ({"classes": []}, "names no class"),
        ({"classes": ["void"]}, "names no class"),
        ({"classes": ["a", " "]}, "' ' is no class name"),
        ({"classes": [str(i) for i in range(256)]}, "256 names"),
        ({"classes": "cat"}, "cat not found; classes is a list of names or a text file"),
        ({"names": Names(mask_suffix="_x")}, "whose stems end in '_x'"),
    ],
)
def test_a_wrong_argument_is_named(home: Home, options: dict[str, object], said: str) -> None:
    home.fill(3)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        home.open(**({"classes": NAMES} | options))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("val", "test", "said"),
    [(1.5, 0.0, "val_fraction=1.5: both fractions"), (0.6, 0.4, "their sum below 1")],
)
def test_wrong_shares_are_named(val: float, test: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Shares(val, test)


# Damage


def test_a_huge_declared_size_is_refused_before_decoding(home: Home) -> None:
    home.fill(1)
    for folder in (home.images, home.masks):
        path = folder / "photo0.png"
        whole = path.read_bytes()
        path.write_bytes(declare_png(whole, 60000, 60000))
        with pytest.raises(ValueError, match="photo0.png: not a readable image"):
            home.open(classes=NAMES)[0]
        path.write_bytes(whole)
