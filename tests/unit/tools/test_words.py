"""The prose uses the project's vocabulary: tools/words.py lists what to write instead of what."""

from pathlib import Path

import pytest

from devcluster.paths import REPOSITORY
from tools import words


@pytest.mark.parametrize("path", words.CLEAN)
def test_a_clean_file_stays_clean(path: str) -> None:
    assert words.check(REPOSITORY, [path]) == []


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
    ],
)
def test_product_text_and_other_words_are_no_findings(text: str) -> None:
    assert words.find_words(text) == []


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
    assert [finding.word for finding in words.find_words(text)] == [word]


def test_of_yaml_only_comments_are_prose(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text('# whoever\nkind: "nobody"\nname: a#nobody # anew\n')
    assert [sentence.split(": write")[0] for sentence in words.check(tmp_path, ["job.yaml"])] == [
        "job.yaml:1: 'whoever'",
        "job.yaml:3: 'anew'",
    ]


def test_the_command_fails_for_a_finding(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(words, "check", lambda root: ["page.md:1: 'anew': write again"])
    assert words.main() == 1
    assert capsys.readouterr().out == "page.md:1: 'anew': write again\n"
    monkeypatch.setattr(words, "check", lambda root: [])
    assert words.main() == 0
