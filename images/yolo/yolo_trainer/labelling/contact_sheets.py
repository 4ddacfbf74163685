# SPDX-License-Identifier: AGPL-3.0-only
"""Sheets of images with drawn labels for review, the least certain first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from yolo_trainer.labelling.findings import ReviewedLabel

_TILE = 320
"""Pixels of a tile's edge, without its caption."""
_CAPTION = 34
_COLUMNS, _ROWS = 4, 4
MOST_SHEETS = 25
_SURE, _DOUBTFUL, _MISSING = (40, 200, 90), (235, 60, 50), (250, 170, 30)
_INK, _PAPER = (20, 20, 20), (245, 245, 245)
_TEXT = 52
"""Characters that fit below a tile."""


@dataclass(frozen=True)
class Tile:
    """An image with its labels."""

    file: Path
    name: str
    labels: Sequence[ReviewedLabel]


def draw_sheets(tiles: Sequence[Tile], classes: Sequence[str], folder: Path) -> list[Path]:
    """Draw the first images, in order, and return the files; labels with doubts are red, missing ones orange."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, page in enumerate(_pages(tiles), start=1):
        file = folder / f"sheet-{number:03d}.jpg"
        _sheet(page, classes).save(file, quality=85)
        files.append(file)
    return files


def by_certainty(labels: Sequence[ReviewedLabel], files: Mapping[str, Path]) -> list[Tile]:
    """Return a tile for each image with labels; the image of the least certain label comes first."""
    images: dict[str, list[ReviewedLabel]] = {}
    for label in labels:
        images.setdefault(label.image, []).append(label)
    return [Tile(files[name], name, own) for name, own in images.items()]


def _pages(tiles: Sequence[Tile]) -> Iterator[Sequence[Tile]]:
    each = _COLUMNS * _ROWS
    for start in range(0, min(len(tiles), each * MOST_SHEETS), each):
        yield tiles[start : start + each]


def _sheet(tiles: Sequence[Tile], classes: Sequence[str]) -> Image.Image:
    rows = -(-len(tiles) // _COLUMNS)
    sheet = Image.new("RGB", (_COLUMNS * _TILE, rows * (_TILE + _CAPTION)), _PAPER)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, _COLUMNS)
        sheet.paste(_drawn(tile, classes), (column * _TILE, row * (_TILE + _CAPTION)))
    return sheet


def _drawn(tile: Tile, classes: Sequence[str]) -> Image.Image:
    drawn = Image.new("RGB", (_TILE, _TILE + _CAPTION), _PAPER)
    with Image.open(tile.file) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    scale = min(_TILE / image.width, _TILE / image.height)
    drawn.paste(image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale)))), (0, 0))
    pen = ImageDraw.Draw(drawn)
    for label in reversed(tile.labels):  # the least certain is drawn last, above the others
        colour = _MISSING if label.missing else _DOUBTFUL if label.doubts else _SURE
        _outline(pen, label, scale, colour)
    first = tile.labels[0]
    doubt = first.doubts[0] if first.doubts else f"certainty {first.certainty:.2f}"
    pen.text((4, _TILE + 3), tile.name[-_TEXT:], fill=_INK)
    pen.text((4, _TILE + 17), f"{classes[first.found.class_id]}: {doubt}"[:_TEXT], fill=_INK)
    return drawn


def _outline(pen: ImageDraw.ImageDraw, label: ReviewedLabel, scale: float, colour: tuple[int, int, int]) -> None:
    pen.rectangle([value * scale for value in label.found.box], outline=colour, width=2)
    for polygon in label.found.polygons:
        if len(polygon) >= 6:
            pen.polygon([value * scale for value in polygon], outline=colour)
