"""Variants of where the files of a data set are, and of classification sets."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.unit.yolo.variants import BOX, Change, Set, Variant, both, describe, drawing, named, text
from tests.unit.yolo.variants_labels import DROPPED

LISTED = "a line of an image list that is relative, or has spaces at its end"


def lists(lines: str | bytes, **fields: object) -> Change:
    """Give train as a list of images."""
    return both(text(lines, "train.txt"), describe(train="train.txt", **fields))


def absolute(made: Set) -> None:
    images = sorted((made.folder / "images/train").iterdir())
    lists("".join(f"{image}\n" for image in images))(made)


def beside(made: Set) -> None:
    for split in ("train", "val"):
        for label in (made.folder / "labels" / split).iterdir():
            label.rename(made.folder / "images" / split / label.name)
        (made.folder / "images" / split).rename(made.folder / split)
        made.description[split] = split


def roboflow(made: Set) -> None:
    for split, name in (("train", "train"), ("val", "valid")):
        for kind in ("images", "labels"):
            (made.folder / name).mkdir(exist_ok=True)
            (made.folder / kind / split).rename(made.folder / name / kind)
        made.description[split] = f"../{name}/images"
    made.description["test"] = "../test/images"
    made.write()


def moved(part: str, to: str) -> Change:
    def change(made: Set) -> None:
        (made.folder / to).parent.mkdir(parents=True, exist_ok=True)
        (made.folder / part).rename(made.folder / to)

    return change


def linked(part: str) -> Change:
    """Have a folder or file elsewhere, and a link in its place."""

    def change(made: Set) -> None:
        away = made.folder / "away" / part
        moved(part, f"away/{part}")(made)
        (made.folder / part).symlink_to(away, target_is_directory=away.is_dir())

    return change


def below(made: Set) -> None:
    """Put some images into a folder below."""
    for kind, suffix in (("images", "png"), ("labels", "txt")):
        moved(f"{kind}/train/0.{suffix}", f"{kind}/train/deep/er/0.{suffix}")(made)


def link_below(made: Set) -> None:
    below(made)
    linked("images/train/deep")(made)


def apple_double(made: Set) -> None:
    for name in ("images/train/._0.png", "labels/train/._0.txt"):
        made.file(name).write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")


def renamed(stem: str) -> Change:
    """Rename the first image and its label."""
    return both(
        lambda s: s.first().rename(s.folder / f"images/train/{stem}.png"),
        lambda s: (s.folder / "labels/train/0.txt").rename(s.folder / f"labels/train/{stem}.txt"),
    )


def more(name: str) -> Change:
    """Add an image without a label file."""
    return lambda made: drawing().save(made.file(name), "PNG")


def described_as(name: str) -> Change:
    def change(made: Set) -> None:
        made.write()
        (made.folder / "data.yaml").rename(made.file(name))
        for part in ("images", "labels"):
            if made.file(name).parent != made.folder:
                (made.folder / part).rename(made.file(name).parent / part)

    return change


DETECT = [
    Variant("images and labels", lambda _: None),
    Variant("the file instead of the folder", Set.write, data="data.yaml"),
    Variant("labels beside the images", beside),
    Variant("Roboflow's, without the test split that it names", roboflow),
    Variant("one folder for both splits", describe(val="images/train")),
    Variant("the folder above both", describe(train="images", val="images/val")),
    Variant("two folders for train", describe(train=["images/train", "images/val"])),
    Variant("a folder twice", describe(train=["images/train", "images/train"])),
    Variant("a folder in a list with ../", describe(train=["../images/train"]),
            differs="`../` in a list of folders"),
    Variant("a folder that does not exist for train", describe(train="images/tarin")),
    Variant("a folder that does not exist for val", describe(val="images/vla")),
    Variant("an empty folder for val", both(lambda s: (s.folder / "empty").mkdir(), describe(val="empty"))),
    Variant("a test split that is right", describe(test="images/val")),
    Variant("a test split that does not exist", describe(test="images/test")),
    Variant("an empty folder for test", both(lambda s: (s.folder / "empty").mkdir(), describe(test="empty"))),
    Variant("a test split with a wrong image", both(text("x", "images/test/0.png"), describe(test="images/test"))),
    Variant("an empty test", describe(test=None)),
    Variant("an absolute list", absolute),
    Variant("a list from its folder", lists("./images/train/0.png\n./images/train/1.png\n")),
    Variant("a list without a last line break", lists("./images/train/0.png")),
    Variant("a list of Windows line ends", lists("./images/train/0.png\r\n./images/train/1.png\r\n")),
    Variant("a list with a byte-order mark", lists("\ufeff./images/train/0.png\n")),
    Variant("a list with empty lines", lists("\n./images/train/0.png\n\n./images/train/1.png\n\n")),
    Variant("a list with a remark", lists("# train\n./images/train/0.png\n")),
    Variant("a list that names an image twice", lists("./images/train/0.png\n./images/train/0.png\n")),
    Variant("a list of nothing", lists("\n")),
    Variant("a list of text files", lists("./labels/train/0.txt\n")),
    Variant("a list with an image that is missing", lists("./images/train/0.png\n./images/train/9.png\n"),
            differs=DROPPED, says="9.png: No such file"),
    Variant("a list with a space at a line's end", lists("./images/train/0.png \n./images/train/1.png\n"),
            differs=LISTED, says="has spaces at its end: remove them"),
    Variant("a list of relative lines", lists("images/train/0.png\n")),
    Variant("a list that counts from the working directory", both(
        moved("images", "data/images"), moved("labels", "data/labels"), lists("data/images/train/0.png\n"),
        describe(val="data/images/val")), differs=LISTED, says="must be an absolute path, or begin with './'"),
    Variant("a list in UTF-16", lists("./images/train/0.png\n".encode("utf-16"))),
    Variant("a list in Latin-1", lists("./images/train/\xe9.png\n".encode("latin-1"))),
    Variant("a list and a folder", both(lists("./images/train/0.png\n"), describe(train=["train.txt", "images/val"]))),
    Variant("two splits with labels in one folder", both(
        text("./images/train/0.png\n./images/train/1.png\n", "a.txt"), text("./images/train/2.png\n", "b.txt"),
        describe(train="a.txt", val="b.txt"))),
    Variant("an image instead of a folder", describe(train="images/train/0.png")),
    Variant("folders below", below),
    Variant("a link to a folder below", link_below),
    Variant("a link to the folder of images", linked("images")),
    Variant("a link to a split", linked("images/train")),
    Variant("links to both folders", both(linked("images"), linked("labels"))),
    Variant("a link to an image", linked("images/train/0.png")),
    Variant("a link to a label file", linked("labels/train/0.txt")),
    Variant("hidden files of macOS", apple_double),
    Variant("a hidden image", more("images/train/.9.png")),
    Variant("a hidden folder", more("images/train/.thumbnails/9.png")),
    Variant("other files beside the images", both(text("", "images/train/Thumbs.db"), text("", "images/train/9.gif"))),
    Variant("an image without a suffix", more("images/train/9")),
    Variant("a folder images in images", both(
        more("images/train/images/9.png"), text(BOX, "images/train/labels/9.txt"))),
    Variant("dots in a name", renamed("a.b.c")),
    Variant("spaces in a name", renamed("a b")),
    Variant("a name that is not ASCII", renamed("é 字")),
    Variant("brackets in a folder's name", both(
        moved("images/train", "images/tr[a]in"), moved("labels/train", "labels/tr[a]in"),
        describe(train="images/tr[a]in"))),
    Variant("the suffix in capitals", lambda s: s.first().rename(s.folder / "images/train/0.PNG")),
    Variant("labels in capitals", lambda s: (s.folder / "labels/train/0.txt").rename(s.folder / "labels/train/0.TXT")),
    Variant("label files that have no image", text(BOX, "labels/train/99.txt")),
    Variant("a description called dataset.yaml", described_as("dataset.yaml")),
    Variant("a description called data.yml", described_as("data.yml")),
    Variant("a description in a folder below", described_as("around/data.yaml")),
    Variant("a description two folders below, beside others", both(
        described_as("a/b/data.yaml"), text("x", "a/readme.txt"), text("x", "readme.txt"))),
    Variant("two descriptions", both(Set.write, lambda s: shutil.copy(s.folder / "data.yaml", s.folder / "other.yaml")),
            differs="several YAML files, one of them `data.yaml`"),
    Variant("two descriptions, none called data.yaml", both(described_as("a.yaml"), lambda s: shutil.copy(
        s.folder / "a.yaml", s.folder / "b.yaml"))),
    Variant("another YAML file beside the description", text("a: 1\n", "args.yaml"),
            differs="several YAML files, one of them `data.yaml`"),
    Variant("no description", described_as("data.txt")),
]  # fmt: skip


def classes(made: Set, split: str, to: str | None) -> None:
    (made.folder / split).rename(made.folder / to) if to else shutil.rmtree(made.folder / split)


CLASSIFY = [
    Variant("train and val", lambda _: None, "classify"),
    Variant("valid", lambda s: classes(s, "val", "valid"), "classify"),
    Variant("validation", lambda s: classes(s, "val", "validation"), "classify"),
    Variant("test instead of val", lambda s: classes(s, "val", "test"), "classify"),
    Variant("val and valid", lambda s: shutil.copytree(s.folder / "val", s.folder / "valid"), "classify"),
    Variant("a test split with a wrong image", text("x", "test/0/0.png"), "classify"),
    Variant("no val", lambda s: classes(s, "val", None), "classify"),
    Variant("no train", lambda s: classes(s, "train", None), "classify",
            differs="a classification set without `train`", says="put the images into train/<class>/ and val/<class>/"),
    Variant("an image in no class", more("train/9.png"), "classify"),
    Variant("a folder below a class", more("train/0/deep/9.png"), "classify"),
    Variant("a link to a class", linked("train/0"), "classify"),
    Variant("an empty class", lambda s: (s.folder / "train/9").mkdir(), "classify"),
    Variant("a class that val lacks", more("train/9/0.png"), "classify"),
    Variant("a class that train lacks", more("val/9/0.png"), "classify", differs="a class of `val` that `train` lacks",
            says="lacks: 9"),
    Variant("a hidden class", more("train/.hidden/0.png"), "classify"),
    Variant("hidden files of macOS", text(b"\0\5\26\7\0\2\0\0Mac OS X", "train/0/._0.png"), "classify"),
    Variant("a hidden image", more("train/0/.9.png"), "classify"),
    Variant("other files beside the images", text("x", "train/0/notes.txt"), "classify"),
    Variant("a wrong image", text("x", "train/0/9.png"), "classify", differs=DROPPED, says="9.png: not an image"),
    Variant("an empty val", both(lambda s: classes(s, "val", None), lambda s: (s.folder / "val/0").mkdir(parents=True)),
            "classify"),
    Variant("a folder around it", lambda s: around(s.folder), "classify", differs="a folder around the data set"),
]  # fmt: skip


def around(folder: Path) -> None:
    (folder / "around").mkdir()
    for split in ("train", "val"):
        (folder / split).rename(folder / "around" / split)


VARIANTS = [*named("layout", DETECT), *named("classify", CLASSIFY)]
