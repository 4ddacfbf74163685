"""Variants of label files."""

from __future__ import annotations

from tests.unit.yolo.variants import BOX, LABELS, Change, Set, Variant, both, describe, named
from yolo_trainer.job.spec import Task

DROPPED = "an image or label file that cannot be read"
SEGMENT, OBB, POSE = LABELS["segment"], LABELS["obb"], LABELS["pose"]

# Text of one label file, and part of our sentence where plain Ultralytics drops the image.
DETECT: list[tuple[str | bytes, str]] = [
    ("", ""),
    ("\n\n", ""),
    (BOX * 2, ""),
    (BOX + "\n" + BOX, ""),
    (BOX.replace("\n", "\r\n"), ""),
    ("\ufeff" + BOX, ""),
    (BOX.replace(" ", "\t"), ""),
    (BOX.replace(" ", "   "), ""),
    ("1.0 0.5 0.5 0.2 0.2", ""),
    ("1e0 5e-1 0.5 .2 0.2", ""),
    ("+1 0.5 0.5 0.2 0.2", ""),
    ("1 1.01 0.5 0.2 0.2", ""),
    ("1 1.0100000001 0.5 0.2 0.2", ""),
    ("1 -0.009 0.5 0.2 0.2", ""),
    ("1 -0.01 0.5 0.2 0.2", ""),
    ("1 0 0 0 0", ""),
    ("1 0.5 0.5 1 1", ""),
    ("1 0.5 0.5 1.01 1.01", ""),
    ("-0 0.5 0.5 0.2 0.2", ""),
    (BOX + "0 0.1 0.1 0.1 0.1\n", ""),
    (SEGMENT, ""),
    (OBB, ""),
    ("1 -0.05 0.1 0.9 0.1 0.5 0.9", ""),
    ("1 0.1 0.1 0.9 0.1 0.5 1.05", ""),
    ("1 0.1 0.1 0.9 0.1 0.5 1.2", "coordinate 1.2 is outside the image"),
    ("1 0.1 0.1 2.5 0.1 0.5 0.9", "coordinate 2.5 is outside the image"),
    (SEGMENT + "0 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2 0.15 0.15", ""),
    ("1 0.5 0.5 0.2", "line 1: the task detect needs 5 columns"),
    ("1 0.5 0.5 0.2 0.2 0.9", "line 1: the task detect needs 5 columns"),
    (BOX + "1 0.5 0.5 0.2 0.2 0.9", "line 2: the task detect needs 5 columns"),
    ("1 0.1 0.1 0.9 0.1 0.5 0.9 0.3", "line 1: the task detect needs 5 columns"),
    (BOX + SEGMENT, "boxes (5 columns) and polygons are mixed"),
    ("1 1.02 0.5 0.2 0.2", "coordinate 1.02 is outside the image"),
    ("1 -0.02 0.5 0.2 0.2", "coordinate -0.02 is outside the image"),
    ("1 0.5 0.5 -0.005 0.2", "a box has a negative width or height"),
    ("1 320 240 64 64", "coordinate 320 is outside the image"),
    ("2 0.5 0.5 0.2 0.2", "class 2 is not in names"),
    ("-1 0.5 0.5 0.2 0.2", "class -1 is not a whole number"),
    ("0.5 0.5 0.5 0.2 0.2", "class 0.5 is not a whole number"),
    ("nan 0.5 0.5 0.2 0.2", "a figure is not finite"),
    ("1 nan 0.5 0.2 0.2", "a figure is not finite"),
    ("1 inf 0.5 0.2 0.2", "a figure is not finite"),
    ("cat 0.5 0.5 0.2 0.2", "is not a row of numbers"),
    ("1,0.5,0.5,0.2,0.2", "is not a row of numbers"),
    ("# zero\n" + BOX, "line 1: '# zero' is not a row of numbers"),
    ("0x1 0.5 0.5 0.2 0.2", "is not a row of numbers"),
    (BOX.encode("utf-16"), "is UTF-16: save it as UTF-8"),
    (BOX.encode("utf-16-le"), "is UTF-16: save it as UTF-8"),
    ("é".encode("latin-1") + BOX.encode(), "is not UTF-8 (byte 0xe9 in line 1): save it as UTF-8"),
    (b"\0" + BOX.encode(), "is not a text file"),
]
TASKS: list[tuple[Task, str, str]] = [
    ("segment", SEGMENT * 2, ""),
    ("segment", OBB, ""),
    ("segment", "1 -0.1 0.1 0.9 0.1 0.5 0.9", ""),
    ("segment", "1 -0.3 0.1 0.9 0.1 0.5 0.9", "coordinate -0.3 is outside the image"),
    ("segment", "1 0.1 0.1 0.9 0.1 0.5 0.9 0.3", "at least 3 points (x y), found 8"),
    ("segment", SEGMENT + "0 0.5 0.5 0.2 0.2", "mixed"),
    ("segment", "3 0.1 0.1 0.9 0.1 0.5 0.9", "class 3 is not in names"),
    ("obb", "1 -0.05 0.1 0.9 0.1 0.9 0.9 0.1 0.9", ""),
    ("obb", "1 0.1 0.1 1.05 0.1 1.05 0.9 0.1 0.9", ""),
    ("obb", SEGMENT, ""),
    ("obb", "1 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9 0.2 0.3", ""),
    ("obb", "1 64 64 320 64 320 320 64 320", "coordinate 320 is outside the image"),
    ("obb", "1 0.1 0.1 0.9 0.1 0.9 0.9 0.1", "9 columns (class and 4 corners x y), found 8"),
    ("pose", POSE * 2, ""),
    ("pose", "1 0.5 0.5 0.2 0.2 0 0 0 0 0 0", ""),
    ("pose", "1 0.5 0.5 0.2 0.2 1.005 0.4 2 -0.005 0 0", ""),
    ("pose", "1 0.5 0.5 1.2 0.2 0.4 0.4 2 0.6 0.6 2", ""),
    ("pose", "1 0.5 0.5 0.2 0.2 0.4 1.4 2 0 0 0", "coordinate 1.4 is outside the image"),
    ("pose", "1 0.5 0.5 0.2 0.2 0.4 -0.4 2 0 0 0", "coordinate -0.4 is outside the image"),
    ("pose", "1 0.5 0.5 0.2 0.2", "11 columns (class, box, 2 keypoints of 3 figures), found 5"),
    ("pose", "1 0.5 0.5 0.2 0.2 0.4 0.4 0.6 0.6", "11 columns"),
    ("pose", "1 0.5 0.5 -0.2 0.2 0.4 0.4 2 0.6 0.6 2", "is outside the image"),
]


def label(content: str | bytes, split: str = "train") -> Change:
    return lambda made: made.label(made.first(split), content)


def all_labels(content: str) -> Change:
    def change(made: Set) -> None:
        for image in (made.folder / "images").glob("*/*"):
            made.label(image, content)

    return change


def without_labels(split: str, content: str | None = None) -> Change:
    """Remove a split's label files, or have them say something else."""

    def change(made: Set) -> None:
        for file in (made.folder / "labels" / split).iterdir():
            file.unlink()
            if content is not None:
                file.write_text(content)

    return change


def dropped(says: str) -> str | None:
    return DROPPED if says else None


POINTS_2D = "1 0.5 0.5 0.2 0.2 0.4 0.4 0.6 0.6\n"
OTHERS = [
    Variant("no label file for one image", lambda s: (s.folder / "labels/train/0.txt").unlink()),
    Variant("no label file in val", without_labels("val"),
            differs="no label file at all in `val`", says="val has 2 images and no label file"),
    Variant("no label file in train", without_labels("train")),
    Variant("no labels folder", lambda s: (s.folder / "labels").rename(s.folder / "annotations")),
    Variant("no object in train", without_labels("train", ""),
            differs="not one object in `train`", says="not one labelled object: label some"),
    Variant("no object in val", without_labels("val", "")),
    Variant("class 7 with single_cls", all_labels("7 0.5 0.5 0.2 0.2"), single_class=True),
    Variant("class -1 with single_cls", label("-1 0.5 0.5 0.2 0.2"), single_class=True, differs=DROPPED,
            says="class -1 is not a whole number"),
    Variant("boxes in one file and polygons in another", label(SEGMENT)),
    Variant("boxes for segment", all_labels(BOX), "segment"),
    Variant("boxes in one file for segment", label(BOX), "segment"),
    Variant("boxes for obb", all_labels(BOX), "obb"),
    Variant("an empty label file for segment", label(""), "segment"),
    Variant("a polygon of one point", label(SEGMENT + "1 0.5 0.5"), "segment",
            differs="a polygon of fewer than 3 points", says="at least 3 points (x y), found 3"),
    Variant("pose labels for detect", both(describe(kpt_shape=[2, 3]), all_labels(POSE))),
    Variant("pose labels of 2 figures for detect", both(describe(kpt_shape=[2, 2]), all_labels(POINTS_2D))),
    Variant("pose labels for detect, no kpt_shape", all_labels(POSE)),
    Variant("keypoints of 2 figures", both(describe(kpt_shape=[2, 2]), all_labels(POINTS_2D)), "pose"),
    Variant("keypoints of 2 figures, one outside",
            both(describe(kpt_shape=[2, 2]), all_labels(POINTS_2D), label(POINTS_2D.replace("0.6 0.6", "0.6 1.6"))),
            "pose", differs=DROPPED, says="coordinate 1.6 is outside the image"),
    Variant("an infinite visibility", label(POSE.replace(" 2", " inf")), "pose",
            differs="a visibility that is not finite", says="a figure is not finite"),
    Variant("a visibility of 7", label(POSE.replace(" 2", " 7")), "pose"),
    Variant("a wrong label in val", label("9 0.5 0.5 0.2 0.2", "val"), differs=DROPPED, says="class 9 is not in names"),
]  # fmt: skip


def shown(content: str | bytes) -> str:
    return ascii(content)[:48]


VARIANTS = named(
    "labels",
    [
        *(Variant(shown(each), label(each), differs=dropped(says), says=says) for each, says in DETECT),
        *(Variant(f"{task} {shown(each)}", label(each), task, dropped(says), says) for task, each, says in TASKS),
        *OTHERS,
    ],
)
