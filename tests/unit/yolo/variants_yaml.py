"""Variants of the description."""

from __future__ import annotations

from typing import Any

from tests.unit.yolo.variants import REMOVED, Change, Set, Variant, both, describe, named, text
from tests.unit.yolo.variants_labels import all_labels
from tests.unit.yolo.variants_layout import beside, moved

PATHS = "train: images/train\nval: images/val\n"
NAMES = "names: [zero, one]\n"
BOOLEAN = "a class called `yes`, `no`, `on`, `off`, `true` or `false` without quotes"
ENCODING = "a description that is not UTF-8"
MORE = "a field that Ultralytics refuses though it is clear"


def folder(name: str, **fields: Any) -> Change:
    """Move the data set into a folder below its description."""

    def change(made: Set) -> None:
        for part in ("images", "labels"):
            (made.folder / name).mkdir(exist_ok=True)
            (made.folder / part).rename(made.folder / name / part)
        made.description |= fields
        made.write()

    return change


VARIANTS = named("yaml", [
    Variant("names by number", describe(names={0: "zero", 1: "one"})),
    Variant("names by number in quotes", describe(names={"0": "zero", "1": "one"})),
    Variant("names in another order", describe(names={1: "one", 0: "zero"})),
    Variant("names that are numbers", describe(names=[0, 1])),
    Variant("names that are fractions", describe(names=[0.5, 1.5])),
    Variant("names that are dates", text(PATHS + "names: [2026-01-01, 2026-01-02]\n")),
    Variant("names twice the same", describe(names=["a", "a"])),
    Variant("names of ImageNet's codes", describe(names=["n01440764", "n01443537"])),
    Variant("names yes and no", text(PATHS + "names: [yes, no]\n"), differs=BOOLEAN, says="quote it"),
    Variant("names on and off by number", text(PATHS + "names: {0: on, 1: off}\n"), differs=BOOLEAN, says="quote it"),
    Variant("names 'yes' and 'no' in quotes", text(PATHS + "names: ['yes', 'no']\n")),
    Variant("an empty name", text(PATHS + "names:\n  0: zero\n  1:\n"), differs="a class without a name",
            says="class 1 has no name: give it one"),
    Variant("a name that is a list", describe(names=["zero", ["one"]]), differs="a class without a name",
            says="class 1 has no name: give it one"),
    Variant("names with a gap", describe(names={0: "zero", 2: "two"})),
    Variant("names from 1", describe(names={1: "one", 2: "two"})),
    Variant("names the wrong way round", describe(names={"zero": 0, "one": 1})),
    Variant("a negative number", describe(names={-1: "minus", 0: "zero"}), differs="a class with a number below 0",
            says="must number the classes from 0 without a gap"),
    Variant("names as text", describe(names="zero, one")),
    Variant("no names", describe(names=REMOVED)),
    Variant("empty names", describe(names=[])),
    Variant("null names", describe(names=None)),
    Variant("nc instead of names", describe(names=REMOVED, nc=2)),
    Variant("nc and null names", describe(names=None, nc=2)),
    Variant("nc as text", describe(nc="2")),
    Variant("nc as 2.0", describe(nc=2.0)),
    Variant("nc as 1.9", describe(nc=1.9)),
    Variant("nc of 3 beside 2 names", describe(nc=3)),
    Variant("nc of 0", describe(names=REMOVED, nc=0)),
    Variant("nc that is no number", describe(nc="many")),
    Variant("an empty nc beside names", describe(nc=None), differs=MORE),
    Variant("no train", describe(train=REMOVED)),
    Variant("no val", describe(val=REMOVED)),
    Variant("validation instead of val", describe(val=REMOVED, validation="images/val")),
    Variant("an empty val", describe(val=None)),
    Variant("an empty val beside test", describe(val=None, test="images/val")),
    Variant("val as None", describe(val="None")),
    Variant("an empty train", describe(train=None)),
    Variant("train as a number", both(beside, describe(train=2017), moved("train", "2017")), differs=MORE),
    Variant("path .", describe(path=".")),
    Variant("path ./", describe(path="./")),
    Variant("an empty path", text("path:\n" + PATHS + NAMES)),
    Variant("an empty path, as HUB has it", text("path:  # dataset root\n" + PATHS + "test:\n" + NAMES)),
    Variant("path as ''", describe(path="")),
    Variant("path as None", describe(path="None")),
    Variant("path to a folder below", folder("data", path="data")),
    Variant("path to a folder below with ./", folder("data", path="./data")),
    Variant("an absolute path", lambda s: folder("data", path=str(s.folder / "data"))(s)),
    Variant("a path that does not exist", describe(path="elsewhere")),
    Variant("an absolute path that does not exist", describe(path="/content/drive/MyDrive/data")),
    Variant("path as a number", describe(path=7)),
    Variant("a download script", describe(download="raise SystemExit(1)")),
    Variant("a URL to download", describe(download="https://example.invalid/coco8.zip")),
    Variant("fields that nothing reads", describe(roboflow={"workspace": "a", "version": 1}, colors=[1, 2])),
    Variant("minival", describe(minival="images/val")),
    Variant("channels of 1", describe(channels=1)),
    Variant("channels of 3", describe(channels=3)),
    Variant("a wrong kpt_shape for detect", describe(kpt_shape=[2, 4])),
    Variant("no kpt_shape for pose", describe(kpt_shape=REMOVED), "pose"),
    Variant("a kpt_shape of 4 figures for pose", describe(kpt_shape=[2, 4]), "pose"),
    Variant("a kpt_shape of 0 points for pose", describe(kpt_shape=[0, 3]), "pose"),
    Variant("a kpt_shape of 3 numbers for pose", describe(kpt_shape=[2, 3, 1]), "pose"),
    Variant("a flip_idx", describe(flip_idx=[1, 0]), "pose"),
    Variant("an empty flip_idx", describe(flip_idx=[]), "pose"),
    Variant("a flip_idx that is too short", describe(flip_idx=[0]), "pose"),
    Variant("a flip_idx that names a point twice", describe(flip_idx=[0, 0]), "pose",
            differs="a `flip_idx` that does not name each keypoint once", says="each keypoint from 0 to 1 once"),
    Variant("a flip_idx for detect", describe(flip_idx=[7])),
    Variant("a field twice", text(PATHS + "names: [a]\n" + NAMES)),
    Variant("remarks and document marks", text("---\n# classes\n" + PATHS + NAMES)),
    Variant("a byte-order mark", text("\ufeff" + PATHS + NAMES)),
    Variant("Windows line ends", text((PATHS + NAMES).replace("\n", "\r\n"))),
    Variant("a control character", text("# \x07bell\n" + PATHS + NAMES)),
    Variant("tabs before values", text("train:\timages/train\nval:\timages/val\n" + NAMES)),
    Variant("tabs at the beginning", text(PATHS + "names:\n\t- zero\n\t- one\n")),
    Variant("names that are not ASCII", text(PATHS + "names: [é, 字]\n")),
    Variant("an emoji", text(PATHS + "names: ['\U0001f600', b]\n")),
    Variant("Latin-1", text((PATHS + "names: [caf\xe9, b]\n").encode("latin-1")), differs=ENCODING,
            says="save it as UTF-8"),
    Variant("UTF-16", text((PATHS + NAMES).encode("utf-16")), differs=ENCODING, says="is UTF-16: save it as UTF-8"),
    Variant("no YAML", text("train: [")),
    Variant("a list", text("- train\n- val\n")),
    Variant("an empty file", text("")),
    Variant("anchors", text("a: &a images/train\ntrain: *a\nval: *a\n" + NAMES)),
    Variant("single_cls", all_labels("1 0.5 0.5 0.2 0.2"), single_class=True),
])  # fmt: skip
