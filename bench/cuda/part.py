"""The process of one part: `python -m bench.cuda.part PART STAGE_FILE`. It prints a line for each figure at once."""

import sys
from pathlib import Path

from bench.cuda.parts import PARTS
from bench.cuda.stage import Stage


def main() -> None:
    """Measure one part."""
    for figure in PARTS[sys.argv[1]](Stage.read(Path(sys.argv[2]))):
        print(figure.line, flush=True)


if __name__ == "__main__":
    main()
