import subprocess
import sys
from pathlib import Path

from yolo_trainer.settings import Settings


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "yolo_trainer", *arguments],
        env={"PYTHONPATH": ":".join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_names_every_variable_and_exit_code() -> None:
    text = run("run", "--help").stdout

    for name, field in Settings.model_fields.items():
        assert str(field.validation_alias) in text, name
    for code in ("0", "1", "10", "11", "12", "13", "14", "143"):
        assert f"\n  {code} " in text


def test_the_command_lines_job_file_has_precedence(tmp_path: Path) -> None:
    report = tmp_path / "report"

    result = run("run", "/named.json", GPU_RELAY_JOB_FILE="/other.json", TERMINATION_MESSAGE_PATH=str(report))

    assert result.returncode == 14
    assert "the job file /named.json cannot be read" in report.read_text()


def test_a_wrong_environment_has_a_termination_message(tmp_path: Path) -> None:
    report = tmp_path / "report"

    result = run("run", PROGRESS_PORT="eighty", TERMINATION_MESSAGE_PATH=str(report))

    assert result.returncode == 14
    assert "PROGRESS_PORT" in report.read_text()
