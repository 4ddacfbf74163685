import io

import pytest

from yolo_trainer.training.progress import Progress
from yolo_trainer.training.progress_bar import Terminal, bar, line

NOW = Progress(epoch=2, epochs=8, batch=3, batches=6, images_per_second=12.34, eta_seconds=125)


@pytest.mark.parametrize(("done", "drawn"), [(0, "░░░░"), (0.5, "██░░"), (1, "████"), (1.5, "████"), (-1, "░░░░")])
def test_a_bar_shows_a_share(done: float, drawn: str) -> None:
    assert bar(done, 4) == drawn


def test_a_line_says_where_the_training_is() -> None:
    assert line(NOW) == "epoch 3/8 ██████░░░░░░░░░░░░░░  batch 3/6  12.3 images/s  2:05 left"
    assert line(Progress()).startswith("epoch 0/0 ░")


def test_the_log_goes_above_the_bar() -> None:
    screen = io.StringIO()
    terminal = Terminal(screen)
    terminal.write("first\n")
    terminal.show(NOW)
    terminal.write("second\n")
    terminal.close()

    assert screen.getvalue() == f"first\n\r\x1b[K{line(NOW)}\r\x1b[Ksecond\n{line(NOW)}\r\x1b[K"
