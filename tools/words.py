"""Check the prose for words that the project does not use: `python -m tools.words` prints each with its replacement.

It checks the files that git tracks or would add: Markdown, YAML, shell, and the comments, docstrings, messages and
names of code (`tools/prose.py`). With paths as arguments, it checks the files below these, also those of NOT_YET.
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.files import list_files
from tools.prose import Passage, has_prose, passages

_CLAIM = r"(?<!\.)claims?(?!:)"
"""Not a field of Kubernetes, as in `resources.claims` and `claims: [...]`."""

REPLACEMENTS = {
    r"told|tells?|telling": "reported, recorded, shown, published",
    r"(?:go|goes|going|went|gone) on": "continue, resume",
    r"for ever": "indefinitely",
    r"in vain": "without effect",
    r"lest": "so that … not",
    r"whoever": "the user who, the process that",
    r"nobody": "no user, no client, no job",
    r"anew": "again",
    r"of (?:ours|yours)": "our, your",
    r"mend(?:s|ed|ing)?": "fix",
    r"trainings": "training jobs, training runs",
    r"pictures?": "image, images",
    r"(?:is|are|was|were|be|been) over": "has finished",
    r"whose (?:(?:is|are) )?(?:(?:a|the|this|each) )?GPUs?": "which job owns the GPU",
    _CLAIM: "PVC, ResourceClaim",
    r"(?:is|are|was|were|be|been) out(?! of\b)": "is unloaded",
}
"""Pattern of a word, in any case and over the end of a line, and what to write instead."""

NOT_IN_NAMES = (_CLAIM,)
"""Patterns that are right in identifiers, such as `claim_name`."""

NOT_YET = (
    "docs/tour.md",
    "images/yolo/",
    "manifests/",
    "crds/",
)
"""Beginnings of paths of files that still have such words: to be removed from this list, one after the other."""


@dataclass(frozen=True)
class Allowed:
    """Words, as patterns of REPLACEMENTS, that files below a path may have; None for all of them."""

    path: str
    patterns: tuple[str, ...] | None
    reason: str


EXCEPTIONS = (
    Allowed("tools/words.py", None, "the list itself"),
    Allowed("tests/unit/tools/test_words.py", None, "tests of the list"),
    Allowed("tests/controlplane/before/", None, "manifests as they were published"),
    Allowed("operator/gpu_relay/domain/job/pod_failures.py", (_CLAIM,), "patterns of the scheduler's messages"),
)

_PATTERNS = {pattern: re.compile(rf"\b(?:{pattern})\b".replace(" ", r"\s+"), re.IGNORECASE) for pattern in REPLACEMENTS}


@dataclass(frozen=True)
class Finding:
    """A word that the prose does not use: where it is, which pattern of REPLACEMENTS it matches, what to write."""

    line: int
    word: str
    pattern: str

    @property
    def instead(self) -> str:
        """What to write."""
        return REPLACEMENTS[self.pattern]


def find_words(path: str, text: str) -> list[Finding]:
    """Return the words of a file that are to be replaced, in the order of its lines; the path says what kind it is."""
    found = [finding for passage in passages(path, text) for finding in _find(passage)]
    return sorted(found, key=lambda finding: finding.line)


def _find(passage: Passage) -> list[Finding]:
    matches = [
        (match.start(), pattern, match[0])
        for pattern, compiled in _PATTERNS.items()
        if not (passage.is_name and pattern in NOT_IN_NAMES)
        for match in compiled.finditer(passage.text)
    ]
    return [
        Finding(passage.line + passage.text.count("\n", 0, start), " ".join(word.split()), pattern)
        for start, pattern, word in sorted(matches)
    ]


def is_allowed(path: str, pattern: str) -> bool:
    """Say whether a file may have a word, by EXCEPTIONS."""
    return any(
        path.startswith(allowed.path) and (allowed.patterns is None or pattern in allowed.patterns)
        for allowed in EXCEPTIONS
    )


def check(root: Path, paths: Iterable[str]) -> list[str]:
    """Return a sentence for each word to replace in these files below a folder."""
    return [
        f"{path}:{each.line}: {each.word!r}: write {each.instead}"
        for path in paths
        if has_prose(path)
        for each in find_words(path, (root / path).read_text(encoding="utf-8"))
        if not is_allowed(path, each.pattern)
    ]


def main(below: list[str]) -> int:
    """Print the words to replace in all files but those of NOT_YET, or in the files below `below`; return 1 for any."""
    root = Path(__file__).parents[1]
    paths = [path for path in list_files(root, below) if below or not path.startswith(NOT_YET)]
    sentences = check(root, paths)
    for sentence in sentences:
        print(sentence)
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
