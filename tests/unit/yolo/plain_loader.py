"""Ultralytics' own loader, on one data set after another: what a plain `yolo train` would train on.

    python -m tests.unit.yolo.plain_loader FILE    reads JSON [[task, folder, data, single_cls], …] from its standard
                                                   input, and writes the outcomes to a file, as JSON

In a process of its own, since it writes label caches and repaired images, which the trainer prevents.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

Outcome = dict[str, Any]
REFUSED = "refused"


def loaded(task: str, data: str, single_class: bool = False) -> Outcome:
    """Load a data set as Ultralytics' trainer does, and decode all images.

    Returns images, objects and the sum of all coordinates by split; or `refused`, with the exception.
    """
    from ultralytics.cfg import get_cfg
    from ultralytics.data import ClassificationDataset, build_yolo_dataset
    from ultralytics.data.utils import check_cls_dataset, check_det_dataset

    settings = get_cfg(overrides={"task": task, "imgsz": 32, "single_cls": single_class, "mode": "train"})
    try:
        described = check_cls_dataset(data, "val") if task == "classify" else check_det_dataset(data, False, "val")
        if single_class:
            described |= {"names": {0: "item"}, "nc": 1}
        outcome = {}
        for split in ("train", "val"):
            if task == "classify":
                samples = ClassificationDataset(
                    described[split], settings, split == "train", split, described["names"]
                ).samples
                outcome[split] = [len(samples), len(samples), sum(sample[1] for sample in samples)]
                unread = [sample[0] for sample in samples if ClassificationDataset.imread(sample[0]) is None]
            else:
                dataset = build_yolo_dataset(settings, described[split], 1, described, mode=split)
                outcome[split] = _figures(dataset.labels)
                unread = [dataset.im_files[i] for i in range(len(dataset)) if dataset.load_image(i) is None]
            assert outcome[split][0] and not unread, f"{split}: {unread or 'no images'}"
    except Exception as error:
        # Whatever it is, a training would end with it.
        return {REFUSED: f"{type(error).__name__}: {error}"}
    return outcome


def _figures(labels: list[dict[str, Any]]) -> list[float]:
    objects = sum(len(label["cls"]) for label in labels)
    total = sum(float(label["bboxes"].sum()) + float(label["cls"].sum()) for label in labels)
    points = sum(float(segment.sum()) for label in labels for segment in label["segments"])
    return [len(labels), objects, round(total + points, 3)]


def main() -> None:
    from ultralytics.data import utils

    outcomes = []
    for task, folder, data, single_class in json.load(sys.stdin):
        os.chdir(folder)
        utils.DATASETS_DIR = Path(folder) / "unpacked"
        outcomes.append(loaded(task, data, single_class))
    Path(sys.argv[1]).write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main()
