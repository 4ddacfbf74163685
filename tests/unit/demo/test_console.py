"""The timeline: whole plain lines in a pipe, colours and bars on a terminal, all of it kept."""

import io
import logging
import re

from demo import console
from demo.console import Timeline
from demo.sam3 import Gpu
from devcluster.waiting import eventually

LONG = "a sentence that is much longer than any terminal is wide, " * 6


def piped() -> tuple[Timeline, io.StringIO]:
    stream = io.StringIO()
    return Timeline(stream, terminal=False), stream


def on_a_terminal() -> tuple[Timeline, io.StringIO]:
    stream = io.StringIO()
    return Timeline(stream, terminal=True), stream


def test_a_pipe_gets_lines_with_a_time_column_and_no_escapes() -> None:
    timeline, stream = piped()
    timeline.step("1/6", "A detection")
    timeline.ok("It loads")
    timeline.failed("It does not")
    assert stream.getvalue() == "\n00:00  1/6     A detection\n00:00  ok      It loads\n00:00  FAIL    It does not\n"


def test_a_pipe_gets_long_lines_whole() -> None:
    timeline, stream = piped()
    timeline.note(LONG)
    assert stream.getvalue().count("\n") == 1


def test_a_terminal_gets_the_same_text_in_colour() -> None:
    timeline, stream = on_a_terminal()
    timeline.ok("It loads")
    assert "\x1b[" in stream.getvalue()
    assert "It loads" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())


def test_what_looks_like_markup_is_printed_as_it_is() -> None:
    for timeline, stream in (piped(), on_a_terminal()):
        timeline.note("[bold]x[/bold] :smile: [1, 2]")
        assert "[bold]x[/bold] :smile: [1, 2]" in stream.getvalue()


def test_what_was_printed_is_kept_plain_wherever_it_went() -> None:
    for timeline, _ in (piped(), on_a_terminal()):
        timeline.headline("Title", "Sentence.")
        timeline.note(LONG.strip(), "job")
        timeline.block("Name: digits\n  Phase: Succeeded\n")
        expected = [
            "Title",
            "Sentence.",
            f"00:00  job     {LONG.strip()}",
            "    Name: digits",
            "      Phase: Succeeded",
        ]
        assert timeline.text.splitlines() == expected


def test_a_gpu_is_drawn_with_its_figures() -> None:
    timeline, stream = piped()
    timeline.gpu(Gpu("Tesla T4", total=15360, reserved=450, used=14000, free=910))
    assert "14,000 MiB used, 910 free of 15,360" in stream.getvalue()


def test_a_wait_in_a_pipe_reports_progress() -> None:
    timeline, stream = piped()
    console_interval, console.HEARTBEAT_SECONDS = console.HEARTBEAT_SECONDS, 0.05
    try:
        with timeline.wait("training") as wait:
            wait.update("epoch 3 of 8", 3 / 8)
            eventually(lambda: "training: 0 s, epoch 3 of 8 (38%)" in stream.getvalue(), "a heartbeat", within=5)
    finally:
        console.HEARTBEAT_SECONDS = console_interval


def test_a_short_wait_prints_nothing_in_a_pipe() -> None:
    timeline, stream = piped()
    with timeline.wait("training") as wait:
        wait.update("epoch 3 of 8", 3 / 8)
    assert stream.getvalue() == ""


def test_a_wait_on_a_terminal_draws_a_bar() -> None:
    timeline, stream = on_a_terminal()
    with timeline.wait("training") as wait:
        wait.update("epoch 3 of 8", 3 / 8)
    assert "epoch 3 of 8" in stream.getvalue()
    assert "━" in stream.getvalue()


def test_log_records_become_lines_while_they_are_shown() -> None:
    timeline, stream = piped()
    logger = logging.getLogger("test_console")
    with timeline.showing(logger):
        logger.info("Cluster %s is up", "demo")
    logger.info("never seen")
    assert stream.getvalue() == "00:00  setup   Cluster demo is up\n"
    assert logger.handlers == []


def test_a_moment_is_written_as_the_timeline_writes_it() -> None:
    timeline, _ = piped()
    assert timeline.clock_of(timeline.began + 62.34) == "01:02.3"
    assert timeline.clock_of(timeline.began - 5) == "00:00.0"
