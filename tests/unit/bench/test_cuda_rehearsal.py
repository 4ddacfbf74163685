"""bench.cuda without a GPU: every part on a simulated one, with the tiny model."""

import json
import subprocess
import sys
from pathlib import Path

from bench.cuda.parts import PARTS, WEIGHTS
from bench.cuda.ranges import read_ranges

COMMAND = (sys.executable, "-m", "bench.cuda")


def test_a_rehearsal_measures_every_part_within_the_ranges(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    ended = subprocess.run([*COMMAND, "--rehearse", "--out", str(out)], check=False, text=True, stdout=subprocess.PIPE)
    assert ended.returncode == 0, ended.stdout
    written = json.loads(out.read_text())
    assert (written["kind"], written["beyond"]) == ("simulated", [])
    assert {part["part"]: part["state"] for part in written["parts"]} == dict.fromkeys(PARTS, "measured")
    figures = {figure["name"]: figure["unit"] for part in written["parts"] for figure in part["figures"]}
    limited = {each.name: each.unit for each in read_ranges()}
    assert list(WEIGHTS) == list(PARTS)
    assert limited.items() <= figures.items(), "each range limits a figure that a part measures"
    assert figures.keys() >= {"load from the standby", "server, clients at a time: 16"}
    assert "left on the GPU 1 s after an unload" in ended.stdout


def test_without_a_gpu_the_error_says_what_to_do() -> None:
    ended = subprocess.run([*COMMAND, "trainer"], check=False, text=True, stderr=subprocess.PIPE)
    assert ended.returncode == 1
    assert ended.stderr.startswith("no CUDA device: ")
    assert "use --rehearse" in ended.stderr
