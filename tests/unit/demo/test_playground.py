"""The playground's errors; tests/docs checks that it works."""

from pathlib import Path

import pytest

from demo.playground import main
from devcluster import runs
from devcluster.runs import NodeKind


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_RELAY_CACHE", str(tmp_path))


def test_without_a_cluster_the_shell_prints_how_to_start_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env"]) == 1
    printed = capsys.readouterr()
    assert (printed.out, "start it with `make try`" in printed.err) == ("", True)


def test_commands_name_a_cluster_that_has_a_name_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env", "--name", "own"]) == 1
    assert "start it with `make try TRY=own`" in capsys.readouterr().err
    runs.create("own", NodeKind.NONE)
    assert main(["up", "--name", "own"]) == 1
    assert "end it with `make try-down TRY=own`" in capsys.readouterr().err


def test_a_second_one_is_refused_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    runs.create("try", NodeKind.NONE)
    assert main(["up"]) == 1
    assert "end it with `make try-down`" in capsys.readouterr().err


def test_a_node_that_runs_no_pods_is_of_no_use(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE", "none")
    assert main(["up"]) == 1
    assert "a node that runs pods is needed" in capsys.readouterr().err
