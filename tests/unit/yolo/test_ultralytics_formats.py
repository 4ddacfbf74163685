"""Other formats of data sets: COCO JSON and Ultralytics' NDJSON are converted, others are named."""

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.unit.yolo.plain_loader import loaded
from tests.unit.yolo.test_ultralytics_data import job_for
from tests.unit.yolo.variants import drawing
from yolo_trainer.errors import DatasetInvalidError, TrainerError
from yolo_trainer.inputs.preparation_record import Prepared
from yolo_trainer.job.spec import Job, Task
from yolo_trainer.prepare import prepare
from yolo_trainer.training import offline

Content = dict[str, Any]
BOX = [8.0, 4.0, 16.0, 8.0]
"""Left, top, width and height in an image of 32 pixels."""
OUTLINE = [[8, 4, 24, 4, 24, 12, 8, 12]]
POINTS = [10, 5, 2, 20, 10, 2]


def coco(images: list[str], **changes: Any) -> Content:
    """Return a COCO file with one object in each image but the last; categories have numbers with gaps."""
    annotations = [
        {"id": number, "image_id": number, "category_id": 7, "bbox": BOX, "segmentation": OUTLINE, "keypoints": POINTS}
        for number in range(1, len(images))
    ]
    content = {
        "images": [
            {"id": number, "file_name": name, "width": 32, "height": 32} for number, name in enumerate(images, start=1)
        ],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "cat", "supercategory": "pet"}, {"id": 7, "name": "dog"}],
    }
    return content | changes


def put(folder: Path, file: str, content: Any) -> None:
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(content if isinstance(content, str) else json.dumps(content))


def make_images(folder: Path, *names: str) -> list[str]:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        drawing(number).save(folder / name)
    return [Path(name).name for name in names]


def official(folder: Path) -> None:
    """Write it as COCO itself is laid out."""
    for split, count in (("train", 3), ("val", 2)):
        names = make_images(folder, *(f"{split}2017/{number}.jpg" for number in range(count)))
        put(folder, f"annotations/instances_{split}2017.json", coco(names))
        put(folder, f"annotations/captions_{split}2017.json", {"images": [], "annotations": [], "type": "captions"})
        put(folder, f"annotations/person_keypoints_{split}2017.json", coco(names))


def roboflow(folder: Path) -> None:
    """Write it as Roboflow exports it, where category 0 is the group of the others."""
    for split, count in (("train", 3), ("valid", 2), ("test", 1)):
        names = make_images(folder, *(f"{split}/{number}.jpg" for number in range(count)))
        group = [{"id": 0, "name": "pets", "supercategory": "none"}]
        others = [{"id": 3, "name": "cat", "supercategory": "pets"}, {"id": 7, "name": "dog", "supercategory": "pets"}]
        put(folder, f"{split}/_annotations.coco.json", coco(names, categories=group + others))


def with_folders(folder: Path) -> None:
    """Write it with folders in the images' names, one of them `images`."""
    for split, count in (("train", 3), ("val", 2)):
        names = [f"images/{split}/a/{number}.jpg" for number in range(count)]
        make_images(folder, *names)
        put(folder, f"{split}.json", coco(names))


def prepared(folder: Path, output: Path, task: Task = "detect", **args: Any) -> Prepared:
    return prepare(job_for(folder, output, task, **args), 1, offline.import_ultralytics)


@pytest.mark.parametrize("make", [official, roboflow, with_folders])
@pytest.mark.parametrize("task", ["detect", "segment", "obb", "pose"])
def test_coco_is_converted(tmp_path: Path, make: Callable[[Path], None], task: Task) -> None:
    make(tmp_path / "data")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "data").rglob("*")}

    found = prepared(tmp_path / "data", tmp_path / "output", task)

    assert found.dataset.images == {"train": 3, "val": 2}
    assert found.dataset.unlabelled == {}
    assert (found.dataset.description or {})["names"] == ["cat", "dog"]
    outcome = loaded(task, str(found.dataset.written_to(tmp_path)))
    outlined = sum(OUTLINE[0]) / 32 if task in ("segment", "obb") else 0
    box = (16 + 8 + 16 + 8) / 32 + 1  # centre and size, and the class
    assert outcome == {"train": [3, 2, round(2 * (box + outlined), 3)], "val": [2, 1, round(box + outlined, 3)]}
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "data").rglob("*")} == before


def test_coco_in_a_folder_for_an_archive(tmp_path: Path) -> None:
    official(tmp_path / "data" / "around")

    assert prepared(tmp_path / "data", tmp_path / "output").dataset.images == {"train": 3, "val": 2}


def test_a_changed_annotation_file_is_converted_again(tmp_path: Path) -> None:
    official(tmp_path / "data")
    prepared(tmp_path / "data", tmp_path / "output")
    put(tmp_path / "data", "annotations/instances_train2017.json", coco(["0.jpg", "1.jpg"]))

    assert prepared(tmp_path / "data", tmp_path / "output").dataset.images["train"] == 2


MASK = {"counts": [0, 4, 1020], "size": [32, 32]}
RLE = [{"id": 1, "image_id": 1, "category_id": 7, "bbox": BOX, "segmentation": MASK, "iscrowd": 0}]
STRAY = [{"id": 1, "image_id": 1, "category_id": 99, "bbox": BOX}]
WRONG: list[tuple[str, Any, Task, str]] = [
    ("train.json", coco(["0.jpg", "9.jpg"]), "detect", "train.json names images that are not there: 9.jpg"),
    ("train.json", "{", "detect", "holds no data.yaml"),
    ("train.json", '{"images": [], "annotations": [', "detect", "train.json is not valid JSON"),
    ("train.json", {"images": [], "annotations": []}, "detect", "must hold the lists images, annotations, categories"),
    ("train.json", coco(["0.jpg", "1.jpg"], annotations=[{"id": 1}]), "detect", "not COCO JSON as Ultralytics"),
    ("train.json", coco(["0.jpg", "1.jpg"], annotations=STRAY), "detect", "the category 99, which categories does not"),
    ("train.json", coco(["0.jpg", "1.jpg"], annotations=RLE), "segment", "annotation 1 has an RLE mask: export"),
    ("val.json", coco(["0.jpg", "1.jpg"], categories=[{"id": 7, "name": "hound"}]), "detect", "category 7 is dog"),
    ("training.json", coco(["0.jpg", "1.jpg"]), "detect", "several COCO files for train: train.json, training.json"),
    ("train.json", coco(["0.jpg", "1.jpg"], annotations=[]), "detect", "train has 2 images and not one"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "content", "task", "sentence"), WRONG, ids=[each[3][:50] for each in WRONG])
def test_what_is_wrong_with_coco_is_said(tmp_path: Path, file: str, content: Any, task: Task, sentence: str) -> None:
    names = make_images(tmp_path / "data", "images/0.jpg", "images/1.jpg")
    for each in ("train", "val"):
        put(tmp_path / "data", f"{each}.json", coco(names))
    put(tmp_path / "data", file, content)

    with pytest.raises(DatasetInvalidError) as caught:
        prepared(tmp_path / "data", tmp_path / "output", task)

    assert sentence in str(caught.value)


def test_one_coco_file_without_a_split_says_what_is_missing(tmp_path: Path) -> None:
    put(tmp_path / "data", "result.json", coco(make_images(tmp_path / "data", "images/0.jpg")))

    with pytest.raises(
        DatasetInvalidError, match=r"COCO JSON \(result\.json\), which is taken with one file for train"
    ):
        prepared(tmp_path / "data", tmp_path / "output")


FOREIGN = [
    ("Annotations/0.xml", "<annotation><filename>0.jpg</filename></annotation>", "it looks like Pascal VOC"),
    ("train/0.xml", "<?xml version='1.0'?>\n<annotation>", "it looks like Pascal VOC"),
    ("train/_annotations.createml.json", "[]", "it looks like CreateML"),
    ("0.json", '{"version": "5", "shapes": [], "imagePath": "0.jpg"}', "it looks like Labelme"),
    ("train/pets.tfrecord", "x", "it looks like TFRecord"),
    ("_annotations.csv", "filename,width,height,class,xmin", "it looks like a table of boxes"),
    ("train/_darknet.labels", "cat", "it looks like Darknet"),
    ("data/train-0.parquet", "PAR1", "it looks like Hugging Face"),
    ("classes.txt", "cat\ndog\n", "write a data.yaml with train, val"),
]


@pytest.mark.parametrize(("file", "content", "sentence"), FOREIGN, ids=[file for file, *_ in FOREIGN])
def test_other_formats_are_named(tmp_path: Path, file: str, content: str, sentence: str) -> None:
    make_images(tmp_path / "data", "images/0.jpg")
    put(tmp_path / "data", file, content)
    put(tmp_path / "data", "readme.txt", "x")

    with pytest.raises(DatasetInvalidError) as caught:
        prepared(tmp_path / "data", tmp_path / "output")

    assert sentence in str(caught.value)
    assert f"({file})" in str(caught.value) or file == "classes.txt"


def ndjson(folder: Path, task: Task = "detect", url: str | None = None, **record: Any) -> Path:
    """Write Ultralytics' NDJSON, with images below `files`, or behind a URL."""
    lines: list[Content] = [{"type": "dataset", "task": task, "class_names": {"0": "cat", "1": "dog"}, **record}]
    labels = {
        "detect": {"boxes": [[1, 0.5, 0.5, 0.2, 0.2]]},
        "classify": {"classification": [1]},
        "pose": {"pose": [[1, 0.5, 0.5, 0.2, 0.2, 0.4, 0.4, 2, 0.6, 0.6, 2]]},
    }[task]
    for split, count in (("train", 3), ("val", 2)):
        for number in range(count):
            make_images(folder, f"files/images/{split}/{number}.jpg")
            line = {"type": "image", "file": f"{number}.jpg", "split": split, "annotations": labels}
            lines.append(line | ({} if url is None else {"url": f"{url}/files/images/{split}/{number}.jpg"}))
    (folder / "pets.ndjson").write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return folder / "pets.ndjson"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "data"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("task", ["detect", "pose"])
def test_ndjson_with_its_images_beside_it_is_converted(tmp_path: Path, task: Task) -> None:
    ndjson(tmp_path / "data", task, path="files")

    found = prepared(tmp_path / "data", tmp_path / "output", task)

    assert found.dataset.images == {"train": 3, "val": 2}
    assert loaded(task, str(found.dataset.written_to(tmp_path)))["train"][:2] == [3, 3]


@pytest.mark.parametrize("task", ["detect", "classify"])
def test_ndjson_with_urls_is_fetched_and_converted(tmp_path: Path, served: str, task: Task) -> None:
    file = ndjson(tmp_path / "data", task, served)

    found = prepared(file, tmp_path / "output", task)

    assert found.dataset.images == {"train": 3, "val": 2}
    assert loaded(task, str(found.dataset.written_to(tmp_path)))["val"][0] == 2


def test_ndjson_may_be_the_uri(tmp_path: Path, served: str) -> None:
    ndjson(tmp_path / "data", url=served)
    job = job_for(tmp_path, tmp_path / "output").model_dump(by_alias=True, mode="json")
    job["dataset"] = {"uri": f"{served}/pets.ndjson"}

    assert prepare(Job.model_validate(job), 1, offline.import_ultralytics).dataset.images == {"train": 3, "val": 2}


def test_a_fraction_of_ndjson_is_all_that_is_fetched(tmp_path: Path, served: str) -> None:
    file = ndjson(tmp_path / "data", url=served)

    assert prepared(file, tmp_path / "output", fraction=2).dataset.images == {"train": 2, "val": 2}


def test_an_image_that_ndjson_names_and_that_is_missing_is_counted(tmp_path: Path, served: str) -> None:
    file = ndjson(tmp_path / "data", path="files")
    (tmp_path / "data" / "files" / "images" / "train" / "1.jpg").unlink()
    with pytest.raises(DatasetInvalidError, match=r"^pets\.ndjson: Downloaded 4/5 images from pets\.ndjson"):
        prepared(file, tmp_path / "a")

    remote = ndjson(tmp_path / "data", url=served)
    (tmp_path / "data" / "files" / "images" / "train" / "1.jpg").unlink()
    with pytest.raises(TrainerError, match="Downloaded 4/5 images") as caught:
        prepared(remote, tmp_path / "b")
    assert not isinstance(caught.value, DatasetInvalidError), "it may be there later"


@pytest.mark.parametrize(
    "content", ["", "{", "[]\n[]\n", '{"task": "detect"}\n{"file": "0.jpg", "split": "training"}\n', "7\n"]
)
def test_what_is_no_ndjson_is_said(tmp_path: Path, content: str) -> None:
    put(tmp_path / "data", "pets.ndjson", content)

    with pytest.raises(DatasetInvalidError, match=r"pets\.ndjson is not Ultralytics NDJSON"):
        prepared(tmp_path / "data", tmp_path / "output")
