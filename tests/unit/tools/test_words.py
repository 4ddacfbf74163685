"""The project's words in all prose: what counts as prose, what is found in it, and that `make lint` fails for it."""

from pathlib import Path

import pytest

from devcluster.paths import REPOSITORY
from tools import words
from tools.files import list_files


def found(path: str, text: str) -> list[tuple[int, str]]:
    return [(finding.line, finding.word) for finding in words.find_words(path, text)]


def test_a_finding_names_file_line_word_and_replacement(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# Jobs\n\nA job Goes\non for ever.\n")
    assert words.check(tmp_path, ["page.md"]) == [
        "page.md:3: 'Goes on': write continue, resume",
        "page.md:4: 'for ever': write indefinitely",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ kubectl get ytj\nthe job goes on\n```\n",
        "   ```yaml\n   # nobody\n   ```\n",
        "<!-- not run: no GPU here\n$ echo nobody\n-->\n",
        "The condition says `the job goes on`.\n",
        "![memory](pictures/memory.svg)\n",
        "| `GPU_RELAY_GRACE` | `60` | Seconds in which a training that is told to stop ends. |\n",
        "Untold mendacity; the pod is out of memory; the PersistentVolumeClaim `data` is bound.\n",
        "A container names its devices in resources.claims.\n",
    ],
)
def test_product_text_and_other_words_are_no_findings(text: str) -> None:
    assert found("page.md", text) == []


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("`a` whose GPU it is `b`", "whose GPU"),
        ("Whose is the GPU now?", "Whose is the GPU"),
        ("| `GPU_RELAY_GRACE` | told to stop |", "told"),
        ("```sh\ntrue\n```\nanew\n```sh\ntrue\n```", "anew"),
        ("the resident is out", "is out"),
        ("the training is over", "is over"),
        ("create a claim", "claim"),
    ],
)
def test_words_of_the_prose_are_found(text: str, word: str) -> None:
    assert [word for _, word in found("page.md", text)] == [word]


def test_of_yaml_comments_and_sentences_are_prose() -> None:
    text = """# whoever
kind: "nobody"
name: a#nobody # anew
claims: [{name: gpu}]
annotations:
  description: |
    The turn is over,
    and told in an Event. See `kubectl get pictures`.
  summary: nobody asks
- description: "lest it is lost"
"""
    assert found("alerts.yaml", text) == [
        (1, "whoever"),
        (3, "anew"),
        (7, "is over"),
        (8, "told"),
        (9, "nobody"),
        (10, "lest"),
    ]


def test_comments_docstrings_messages_and_names_are_prose() -> None:
    text = '''"""Module that is told."""
import x  # it goes
# on in a comment
class Tells:
    """Tell `nobody`."""
    def go_on(self, anew: str, claim_name: str) -> None:
        self.told = x.told(f"the job {anew} is over", key="told", claims={"claims": anew})
        print(
            "for "
            "ever"
        )
'''
    assert found("module.py", text) == [
        (1, "told"),
        (2, "goes on"),
        (4, "Tells"),
        (5, "Tell"),
        (6, "go on"),
        (6, "anew"),
        (7, "is over"),
        (7, "told"),
        (9, "for ever"),
    ]


@pytest.mark.parametrize("path", ["deploy.sh", "images/sam3/Dockerfile", "Makefile", ".ci/run", "page.js", "main.go"])
def test_of_other_code_every_line_is_prose(path: str) -> None:
    assert found(path, "x=1\n# nobody `told` it\n") == [(2, "nobody")]


@pytest.mark.parametrize("path", ["photo.jpg", "requirements/dev.txt", "go.sum", "LICENSE"])
def test_other_files_are_not_read(path: str, tmp_path: Path) -> None:
    assert words.check(tmp_path, [path]) == []


def test_an_exception_holds_for_its_words_below_its_path_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in ("a/one.md", "b/one.md"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text("lest anew\n")
    monkeypatch.setattr(words, "EXCEPTIONS", (words.Allowed("a/", ("lest",), "of another project"),))
    assert words.check(tmp_path, ["a/one.md", "b/one.md"]) == [
        "a/one.md:1: 'anew': write again",
        "b/one.md:1: 'lest': write so that … not",
        "b/one.md:1: 'anew': write again",
    ]


@pytest.mark.parametrize("allowed", words.EXCEPTIONS, ids=lambda allowed: allowed.path)
def test_every_exception_is_needed(allowed: words.Allowed) -> None:
    found = {
        finding.pattern
        for path in list_files(REPOSITORY)
        if path.startswith(allowed.path)
        for finding in words.find_words(path, (REPOSITORY / path).read_text())
    }
    assert found >= set(allowed.patterns or ()) and found


def test_the_command_fails_for_a_finding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    checked: list[str] = []

    def check(root: Path, paths: list[str]) -> list[str]:
        checked[:] = paths
        return ["page.md:1: 'anew': write again"] if paths else []

    monkeypatch.setattr(words, "check", check)
    assert words.main([]) == 1
    assert capsys.readouterr().out == "page.md:1: 'anew': write again\n"
    assert {"README.md", "CHANGELOG.md", "tools/words.py", ".ci/run"} <= set(checked)
    assert words.main(["tools/release"]) == 1
    assert checked == [path for path in list_files(REPOSITORY) if path.startswith("tools/release/")]
    assert words.main(["no/such/folder"]) == 0


def test_lint_runs_the_checks_of_words_and_lengths() -> None:
    recipe = (REPOSITORY / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    assert {"\tpython -m tools.words", "\tpython -m tools.module_length"} <= set(recipe.splitlines())
