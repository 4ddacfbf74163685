"""Modules are short, and `make lint` fails for one that is not."""

from pathlib import Path

import pytest

from devcluster.paths import REPOSITORY
from tools import module_length
from tools.files import list_files


def test_a_module_at_the_limit_is_named_with_its_length(tmp_path: Path) -> None:
    (tmp_path / "short.py").write_text("\n" * 299)
    (tmp_path / "long.js").write_text("\n" * 300)
    assert module_length.check(tmp_path, ["short.py", "long.js"]) == [
        "long.js: 300 lines: split it by purpose into modules of fewer than 300"
    ]


def test_the_command_fails_for_a_long_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checked: list[str] = []

    def check(root: Path, paths: list[str]) -> list[str]:
        checked[:] = paths
        return ["a.py: 300 lines: split it"]

    monkeypatch.setattr(module_length, "check", check)
    assert module_length.main() == 1
    assert capsys.readouterr().out == "a.py: 300 lines: split it\n"
    modules = {path for path in list_files(REPOSITORY) if path.endswith((".py", ".js"))}
    assert {"tools/module_length.py", "operator/relay_page/static/main.js"} <= modules
    assert set(checked) == modules - module_length.EXCEPTIONS.keys()
    monkeypatch.setattr(module_length, "check", lambda root, paths: [])
    assert module_length.main() == 0


def test_every_exception_is_needed() -> None:
    assert [path for path in module_length.EXCEPTIONS if not module_length.check(REPOSITORY, [path])] == []
