"""Every reason, phase and condition of a status is reached by a test on a real control plane."""

import ast
from functools import cache
from pathlib import Path

import pytest

from gpu_relay.api.words import COST_FREE_REASONS, FINAL_REASONS, ConditionType, Phase, Reason

CONTROLPLANE = Path(__file__).parents[2] / "controlplane"


@cache
def said() -> set[str]:
    """Return every string in the control-plane tests: names in comments do not count."""
    return {
        node.value
        for file in CONTROLPLANE.rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.parametrize("words", [Reason, ConditionType, Phase])
def test_every_word_is_reached_on_the_control_plane(words: type[Reason] | type[ConditionType] | type[Phase]) -> None:
    missing = sorted(str(word) for word in words if str(word) not in said())
    assert not missing, f"no test in tests/controlplane names {', '.join(missing)}"


def test_every_word_has_a_sentence() -> None:
    for word in (*Reason, *ConditionType, *Phase):
        assert word.description.endswith("."), word
        assert word.value[0].isupper()


def test_no_end_is_both_free_and_final() -> None:
    assert not COST_FREE_REASONS & FINAL_REASONS
