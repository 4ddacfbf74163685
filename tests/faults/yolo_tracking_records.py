"""Readers of what tracking services record: TensorBoard's event files and W&B's offline runs."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def event_files(output: Path, steps: list[int]) -> dict[str, list[float]]:
    """Return the published curves as TensorBoard shows them; each has a value at each of the steps, and at no other."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(output / "tensorboard"))
    accumulator.Reload()
    found = {}
    for tag in accumulator.Tags()["scalars"]:
        events = accumulator.Scalars(tag)
        assert [event.step for event in events] == steps, tag
        found[tag] = [event.value for event in events]
    return found


def wandb_records(file: Path) -> Iterator[Any]:
    """Read a run's file: W&B's records in blocks as LevelDB has them, after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # its types are generated

    content, position, parts = file.read_bytes(), 7, b""
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record
