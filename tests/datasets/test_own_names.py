"""Which mask belongs to which photo, which photos a list names, and which names mean void."""

import os
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_tutorial.datasets import Folder
from fcn_tutorial.datasets.own import pairing
from fcn_tutorial.datasets.own.classes import is_void, read_classes
from fcn_tutorial.datasets.own.colours import as_text, read_colours
from fcn_tutorial.datasets.own.pairing import Names
from fcn_tutorial.datasets.own.parts import Shares
from fcn_tutorial.datasets.own.wording import as_settings

NAMES = ["ground", "cat"]
CITYSCAPES = Names(image_suffix="_leftImg8bit", mask_suffix="_gtFine_labelIds")


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (3, 2)).save(path)


def mask(path: Path, label: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array([[0, 1, 1], [0, label, 1]], np.uint8)).save(path)


def lay(root: Path, pairs: dict[str, str]) -> Path:
    for image, labels in pairs.items():
        photo(root / image)
        mask(root / labels)
    return root


def counted(folders: dict[str, int]) -> dict[str, str]:
    """So many pairs in each folder, numbered from 0 in each."""
    return {
        f"images/{folder}/{i}.jpg": f"masks/{folder}/{i}.png"
        for folder, count in folders.items()
        for i in range(count)
    }


def opened(root: Path, **options: object) -> list[tuple[str, str]]:
    """The pairs of a folder, as paths below it; `images` and `masks` unless named."""
    given: dict[str, object] = {"images": "images", "masks": "masks", "classes": NAMES} | options
    folder = Folder(root / str(given.pop("images")), root / str(given.pop("masks")), **given)  # type: ignore[arg-type]
    return [
        (a.relative_to(root).as_posix(), b.relative_to(root).as_posix()) for a, b in folder.files
    ]


# Names and folders

LAYOUTS: dict[str, tuple[dict[str, str], dict[str, object]]] = {
    "flat": ({"images/a.jpg": "masks/a.png", "images/b.png": "masks/b.tif"}, {}),
    "nested alike": ({"images/x/a.jpg": "masks/x/a.png", "images/y/a.jpg": "masks/y/a.png"}, {}),
    "images nested": ({"images/x/a.jpg": "masks/a.png", "images/y/b.jpg": "masks/b.png"}, {}),
    "masks nested": ({"images/a.jpg": "masks/x/a.png", "images/b.jpg": "masks/y/b.png"}, {}),
    "suffix": ({"images/a.jpg": "masks/a_mask.png"}, {"names": Names(mask_suffix="_mask")}),
    "prefixes": (
        {"images/img_1.jpg": "masks/mask_1.png"},
        {"names": Names(image_prefix="img_", mask_prefix="mask_")},
    ),
    "whole name": ({"images/a.jpg": "masks/a.jpg.png"}, {"names": Names(mask_suffix=".jpg")}),
    "cityscapes": (
        {
            f"images/{part}/{city}/{city}_000_leftImg8bit.png":
            f"masks/{part}/{city}/{city}_000_gtFine_labelIds.png"
            for part, city in (("train", "aachen"), ("train", "ulm"), ("val", "bonn"))
        },
        {"names": CITYSCAPES},
    ),
    "one folder": (
        {"images/a.jpg": "masks/a.png", "images/b.jpg": "masks/b.png"},
        {"images": ".", "masks": "."},
    ),
    "splits outside": (
        {"train/images/a.jpg": "train/masks/a.png", "val/images/b.jpg": "val/masks/b.png"},
        {"images": ".", "masks": "."},
    ),
    "beside, by suffix": (
        {"all/a.png": "all/a_mask.png", "all/b.png": "all/b_mask.png"},
        {"images": "all", "masks": "all", "names": Names(mask_suffix="_mask")},
    ),
    "beside, JPEG and PNG": (
        {"all/a.jpg": "all/a.png", "all/b.jpg": "all/b.png"},
        {"images": "all", "masks": "all"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_paired_as_its_author_meant(layout: str, tmp_path: Path) -> None:
    pairs, options = LAYOUTS[layout]
    assert opened(lay(tmp_path, pairs), **options) == sorted(pairs.items())


def test_other_files_of_a_published_set_are_passed_over(tmp_path: Path) -> None:
    pairs, options = LAYOUTS["cityscapes"]
    lay(tmp_path, pairs)
    for name in list(pairs.values()):
        for other in ("_gtFine_color", "_gtFine_instanceIds"):
            mask(tmp_path / name.replace("_gtFine_labelIds", other))
    assert opened(tmp_path, **options) == sorted(pairs.items())


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_one_name_in_two_forms_of_unicode_is_one(forms: tuple[str, str], tmp_path: Path) -> None:
    ours, theirs = (unicodedata.normalize(form, "Übergang é") for form in forms)
    lay(tmp_path, {f"images/{ours}.jpg": f"masks/{theirs}.png"})
    assert len(opened(tmp_path)) == 1
    for form in ("NFC", "NFD"):
        (tmp_path / "list.txt").write_text(unicodedata.normalize(form, "Übergang é.jpg"))
        assert len(opened(tmp_path, split=tmp_path / "list.txt")) == 1


@pytest.mark.parametrize("ours", ["train", "Training"])
def test_folders_part_the_photos(ours: str, tmp_path: Path) -> None:
    lay(tmp_path, counted({ours: 6, "val": 2, "test": 1}))
    found = {split: opened(tmp_path, split=split) for split in pairing.SPLITS}
    assert {split: len(pairs) for split, pairs in found.items()} == {
        "train": 6,
        "val": 2,
        "test": 1,
    }
    for split, pairs in found.items():
        folder = ours if split == "train" else split
        assert all(image.startswith(f"images/{folder}/") for image, _ in pairs)


def test_a_part_without_a_folder_is_drawn_from_train(tmp_path: Path) -> None:
    lay(tmp_path, counted({"train": 20, "val": 2}))
    shares = Shares(0.5, 0.2)
    found = {split: opened(tmp_path, split=split, shares=shares) for split in pairing.SPLITS}
    assert [image for image, _ in found["val"]] == ["images/val/0.jpg", "images/val/1.jpg"]
    assert all(image.startswith("images/train") for image, _ in found["train"] + found["test"])
    assert len(found["train"]) + len(found["test"]) == 20 and 1 <= len(found["test"]) < 10


def test_a_published_test_folder_without_masks_is_left_out(tmp_path: Path) -> None:
    lay(tmp_path, counted({"train": 3, "val": 3}))
    photo(tmp_path / "images" / "test" / "9.jpg")
    assert len(opened(tmp_path)) == 6
    photo(tmp_path / "images" / "val" / "9.jpg")
    with pytest.raises(ValueError, match=r"1 of 7 images has no mask .*: 9\.jpg"):
        opened(tmp_path)


WRONG: list[tuple[dict[str, str], list[str]]] = [
    (
        {f"images/{i}_leftImg8bit.png": f"masks/{i}_gtFine_labelIds.png" for i in range(9)},
        ["names=Names(image_suffix='_leftImg8bit', mask_suffix='_gtFine_labelIds')"],
    ),
    (
        {f"images/img_{i}.png": f"masks/mask_{i}.png" for i in range(20)},
        ["begin with 'mask_'", "names=Names(image_prefix='img_', mask_prefix='mask_')"],
    ),
    ({f"images/{i}.jpg": f"masks/{i}.jpg.png" for i in range(9)}, ["mask_suffix='.jpg'"]),
    ({f"images/{i}.jpg": f"masks/{i + 10}.png" for i in range(9)}, ["A mask has its image's name"]),
    ({f"images/{i}.jpg": f"masks/{i}0.png" for i in range(1, 9)}, ["A mask has its image's name"]),
    ({"images/A.jpg": "masks/a.png"}, ["upper and lower case"]),
    ({"all/a.png": "all/masks.txt/b.png"}, ["all: no such folder"]),
]


@pytest.mark.parametrize(("pairs", "said"), WRONG, ids=range(len(WRONG)))
def test_names_that_do_not_pair_are_told_by_what(
    pairs: dict[str, str], said: list[str], tmp_path: Path
) -> None:
    lay(tmp_path, pairs)
    folders = {"images": "all/x", "masks": "all"} if "all" in next(iter(pairs)) else {}
    said = ["no such folder"] if folders else said
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        opened(tmp_path, **folders)
    assert all(part in str(caught.value) for part in said), caught.value


@pytest.mark.parametrize("kind", ["strange", "suffix", "longer"])
def test_twenty_thousand_unpaired_names_are_refused_in_about_a_second(
    kind: str, tmp_path: Path
) -> None:
    change = {"strange": "other{}", "suffix": "photo{}_mask", "longer": "photo{}0000000"}[kind]
    keys = [f"photo{i:06}" for i in range(20_000)]
    masks = {change.format(f"{i:06}"): Path("x") for i in range(20_000)}
    files = pairing.Files({k: Path(k) for k in keys}, masks, (Path("images"), Path("masks")))
    began = time.process_time()
    with pytest.raises(ValueError, match="20000 of 20000 images have no mask") as caught:
        pairing.check_partners(files)
    assert time.process_time() - began < 3  # 0.2 s when written, 47 s before
    assert ("mask_suffix='_mask'" in str(caught.value)) == (kind == "suffix")


def test_a_broken_link_is_called_one(tmp_path: Path) -> None:
    lay(tmp_path, {"images/a.jpg": "masks/a.png", "images/b.jpg": "masks/b.png"})
    (tmp_path / "masks" / "b.png").unlink()
    (tmp_path / "masks" / "b.png").symlink_to("/nowhere/b.png")
    with pytest.raises(FileNotFoundError, match=r"b\.png: a link to /nowhere/b\.png, which is not"):
        opened(tmp_path)


def test_links_to_files_and_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    lay(tmp_path, {"store/x/a.jpg": "masks/x/a.png"})
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x").symlink_to(tmp_path / "store" / "x", target_is_directory=True)
    (tmp_path / "store" / "x" / "again").symlink_to(tmp_path / "images", target_is_directory=True)
    assert opened(tmp_path) == [("images/x/a.jpg", "masks/x/a.png")]


@pytest.mark.parametrize("names", [("a.jpg", "a.png"), ("é.jpg", "e\u0301.jpg")])
def test_two_photos_of_one_name_are_refused(names: tuple[str, str], tmp_path: Path) -> None:
    for name in names:
        photo(tmp_path / "images" / "x" / name)
    mask(tmp_path / "masks" / "x" / f"{Path(names[0]).stem}.png")
    if len(os.listdir(tmp_path / "images" / "x")) < 2:
        pytest.skip("the file system takes the two for one")
    with pytest.raises(ValueError, match="have the same stem; remove or rename"):
        opened(tmp_path)


# Lists

LINES: dict[str, str] = {
    "stems": "a\nb",
    "names": "a.jpg\nb.jpg",
    "folders": "images/a.jpg\nimages/b.jpg",
    "absolute": "/home/someone/set/images/a.jpg\n/home/someone/set/images/b.jpg",
    "windows": "images\\a.jpg\nC:\\set\\images\\b.jpg",
    "pairs": "images/a.jpg masks/a.png\nimages/b.jpg masks/b.png",
    "camvid": "/SegNet/images/a.jpg /SegNet/masks/a.png\n/SegNet/images/b.jpg /SegNet/masks/b.png",
    "deeplab": "/JPEGImages/a.jpg /SegClass/a.png\n/JPEGImages/b.jpg /SegClass/b.png",
    "tabs": "images\\a.jpg\tmasks\\a.png\nimages\\b.jpg\tmasks\\b.png",
    "csv": "image,mask\na.jpg,a.png\nb.jpg,b.png",
    "quoted csv": '"image";"mask"\n"a.jpg";"a.png"\n"b.jpg";"b.png"',
    "with a mark and blanks": "\ufeffa.jpg  \r\n\r\n  b.jpg\r\n",
}


@pytest.mark.parametrize("form", LINES)
def test_a_list_may_be_written_as_people_write_them(form: str, tmp_path: Path) -> None:
    lay(tmp_path, {f"images/{stem}.jpg": f"masks/{stem}.png" for stem in "abc"})
    (tmp_path / "list.txt").write_text(LINES[form], encoding="utf-8", newline="")
    assert opened(tmp_path, split=tmp_path / "list.txt") == [
        ("images/a.jpg", "masks/a.png"),
        ("images/b.jpg", "masks/b.png"),
    ]


def test_names_with_blanks_are_read_alone_and_in_pairs(tmp_path: Path) -> None:
    lay(
        tmp_path, {"images/my photo 1.jpg": "masks/my photo 1.png", "images/my.jpg": "masks/my.png"}
    )
    for text in ("my photo 1.jpg", "images/my photo 1.jpg masks/my photo 1.png"):
        (tmp_path / "list.txt").write_text(text)
        assert opened(tmp_path, split=tmp_path / "list.txt") == [
            ("images/my photo 1.jpg", "masks/my photo 1.png")
        ]


def test_a_list_of_pairs_says_itself_which_mask_belongs_to_which_photo(tmp_path: Path) -> None:
    for stem in ("a", "b"):
        photo(tmp_path / "images" / f"{stem}.jpg")
    for stem in ("one", "two"):
        mask(tmp_path / "masks" / f"{stem}.png")
    (tmp_path / "list.txt").write_text("a.jpg two.png\nb.jpg one.png\n")
    assert opened(tmp_path, split=tmp_path / "list.txt") == [
        ("images/a.jpg", "masks/two.png"),
        ("images/b.jpg", "masks/one.png"),
    ]


def test_a_list_tells_files_of_one_name_apart_by_their_folders(tmp_path: Path) -> None:
    lay(tmp_path, {f"images/{f}/a.jpg": f"masks/{f}/a.png" for f in ("x", "y")})
    (tmp_path / "list.txt").write_text("set/images/y/a.jpg")
    assert opened(tmp_path, split=tmp_path / "list.txt") == [("images/y/a.jpg", "masks/y/a.png")]
    (tmp_path / "list.txt").write_text("a.jpg")
    with pytest.raises(ValueError, match="line 1: 'a.jpg' may be x/a, y/a; write the folder too"):
        opened(tmp_path, split=tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("z/a.jpg")
    with pytest.raises(ValueError, match="1 of 1 names are no images: z/a.jpg"):
        opened(tmp_path, split=tmp_path / "list.txt")


def test_lists_of_published_names_are_read_with_their_suffixes(tmp_path: Path) -> None:
    pairs, options = LAYOUTS["cityscapes"]
    lay(tmp_path, pairs)
    image, labels = "train/ulm/ulm_000_leftImg8bit.png", "train/ulm/ulm_000_gtFine_labelIds.png"
    pair_of_paths = f"leftImg8bit/{image}\tgtFine/{labels}"
    for text in (image, "ulm_000", "ulm/ulm_000_leftImg8bit", pair_of_paths):
        (tmp_path / "list.txt").write_text(text)
        (pair,) = opened(tmp_path, split=tmp_path / "list.txt", **options)
        assert pair[0] == "images/train/ulm/ulm_000_leftImg8bit.png"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a.jpg\nimages/a.jpg", "line 2: 'images/a.jpg' was named in line 1"),
        ("a.jpg c.png", "line 1: 'c.png' is no mask that was found"),
        ("image,mask\n", "names no images"),
        ("a.jpg\nimage\n", "1 of 2 names are no images: image"),
    ],
)
def test_a_wrong_list_is_told_so(text: str, said: str, tmp_path: Path) -> None:
    lay(tmp_path, {"images/a.jpg": "masks/a.png"})
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(ValueError) as caught:
        opened(tmp_path, split=tmp_path / "list.txt")
    assert said in str(caught.value)


# Names of classes


@pytest.mark.parametrize(
    "name",
    ["void", "Void", " ignore ", "ignored", "__ignore__", "unlabelled", "unlabeled", "Un-labeled",
     "unknown", "UNKNOWN", "ignore-me", "No Data", "unassigned", "don't care",
     "Don’t care", "dont_care", "do not care", "DontCare",
     "ignore_region", "unannotated", "out of roi", "no label"],
)  # fmt: skip
def test_names_that_mean_void(name: str) -> None:
    assert is_void(name)


@pytest.mark.parametrize(
    "name",
    ["_background_", "background", "other", "avoid", "voided cheque", "static", "careful", "none",
     "ignore sign", "unknown animal", "label"],
)  # fmt: skip
def test_names_that_mean_a_class(name: str) -> None:
    assert not is_void(name)


def test_the_ignored_label_of_labelme_has_no_number(tmp_path: Path) -> None:
    """labelme numbers its list from −1, and saves −1 as 255."""
    lay(tmp_path, {})
    photo(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.array([[0, 1, 2], [2, 255, 0]], np.uint8)).save(tmp_path / "masks" / "a.png")
    names = ["__ignore__", "_background_", "cat", "dog"]
    (tmp_path / "labels.txt").write_text("\n".join(names))
    for classes in (names, tmp_path / "labels.txt"):
        dataset = Folder(tmp_path / "images", tmp_path / "masks", classes)  # type: ignore[arg-type]
        assert dataset.classes == ("_background_", "cat", "dog")
        assert dataset[0][1].tolist() == [[0, 1, 2], [2, 255, 0]]


@pytest.mark.parametrize("name", ["ignore ", "ignored", "unknown", "don't care", "unlabeled"])
def test_a_void_name_keeps_its_number_and_leaves_training(name: str, tmp_path: Path) -> None:
    lay(tmp_path, {})
    photo(tmp_path / "images" / "a.png")
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.array([[0, 1, 2], [2, 2, 0]], np.uint8)).save(tmp_path / "masks" / "a.png")
    dataset = Folder(tmp_path / "images", tmp_path / "masks", ["ground", name, "cat"])
    assert dataset.classes == ("ground", "cat")
    assert dataset[0][1].tolist() == [[0, 255, 1], [1, 1, 0]]


@pytest.mark.parametrize(
    "text",
    [
        "0: background\n1: cat\n2: dog",
        "2: dog\n0: background\n1: cat\n255: void",
        "0 background\n1 cat\n2 dog",
        "0,background\n1,cat\n2,dog",
        "0\tbackground\n1\tcat\n2\tdog",
        "0 = background\n1 = cat\n2 = dog",
        "background \n cat\ndog\t",
        "__ignore__\nbackground\ncat\ndog",
    ],
)
def test_a_class_list_may_have_numbers(text: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(text)
    assert read_classes(tmp_path / "names.txt") == ("background", "cat", "dog")


@pytest.mark.parametrize("names", [("3 wheeler", "2 wheeler"), ("4x4", "bus"), ("A: B", "C: D")])
def test_names_with_numbers_in_them_stay(names: tuple[str, ...]) -> None:
    assert read_classes(names) == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1: cat\n2: dog", "0 is missing"),
        ("0: ground\n2: dog", "1 is missing"),
        ("0: a\n0: b", "another comes twice"),
        ("0: a\n255: b", "255 means void"),
        ("cat\ncat ", "name 'cat' more than once"),
        ("0 128 64\n1 0 0", "looks like a map of colours"),
        ("128,64,128,road\n0,0,0,sky", "looks like a map of colours"),
        ("\n".join(f"name {i}" for i in range(100_000)), "100000 names"),
    ],
)
def test_a_wrong_class_list_is_told_so_at_once(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(text)
    began = time.process_time()
    with pytest.raises(ValueError) as caught:
        read_classes(tmp_path / "names.txt")
    assert said in str(caught.value)
    assert time.process_time() - began < 5  # 0.1 s when written, 71 s before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "name,r,g,b\nground,0,0,0\ncat,255,0,0\n"),
        ("a.csv", "name,r,g,b,percent of pixels,masks\nground,0,0,0,90,4\ncat,255,0,0,10,2\n"),
        ("a.csv", "Label,R,G,B\nground,0,0,0\ncat,255,0,0\n"),
        ("a.txt", "0 0 0\tground\n255 0 0\tcat\n"),
        ("a.txt", "# label:color_rgb:parts:actions\nground:0,0,0::\ncat:255,0,0::\n"),
        ("a.yaml", "ground: [0, 0, 0]\ncat: [255, 0, 0]\n"),
    ],
)
def test_colour_maps_are_read_as_tools_write_them(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    entries = [("ground", (0, 0, 0)), ("cat", (255, 0, 0))]
    assert read_colours(tmp_path / name) == entries
    assert read_colours(as_text(entries)) == read_colours("ground=0,cat=#FF0000") == entries


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("cat=red", "'cat' has 'red'; write #rrggbb, or a grey"),
        ("cat=300", "whole numbers (r, g, b) from 0 to 255"),
        ("=0,cat=1", "has no name"),
        ("cat=1,dog=1", "'cat' and 'dog' have the same colour"),
    ],
)
def test_a_wrong_text_of_colours_is_told_so(source: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_colours(source)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,r,g,b,masks\nground,0,0,0,3\n,255,0,0,3\n", "line 3: 255,0,0 has no name yet"),
        ("cat: [0, 0, 0]\ncat: [1, 1, 1]\n", "'cat' is given twice"),
        ("cat: !!bool x\n", "not a readable YAML file"),
    ],
)
def test_an_unfinished_colour_map_is_told_so(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.csv" if "," in text.split("\n")[0][:5] else "a.yaml")
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        read_colours(path)
    assert said in str(caught.value)


# Words for the command line

MESSAGES: list[tuple[str, str]] = [
    ("give names=Names(mask_suffix='_gt')", "give --set data.mask_suffix=_gt"),
    (
        "give names=Names(image_suffix='_a', mask_suffix='_b c')",
        "give --set data.image_suffix=_a --set 'data.mask_suffix=_b c'",
    ),
    (
        "give colours={'a': (0, 0, 0), 'b': (255, 255, 255)}, or",
        "give --set data.colours=a=0,b=255, or",
    ),
    ("give colours={'name': (r, g, b), …}", "give --set data.colours=FILE"),
    ("as in colours='a=0,b=1'", "as in --set data.colours=a=0,b=1"),
    ("no setting of ours: num_classes=3", "no setting of ours: num_classes=3"),
]


@pytest.mark.parametrize(("message", "said"), MESSAGES)
def test_advice_is_given_in_settings_on_the_command_line(message: str, said: str) -> None:
    assert as_settings(message) == said
