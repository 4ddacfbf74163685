"""The diagram of a turn in docs/architecture.md shows the rules of the plan, in their order."""

from gpu_relay.domain.turn import handback, plan, workload_turn
from tools.turn_rules import CHAINS, draw, read


def test_the_diagram_is_drawn_from_the_rules() -> None:
    assert read() == draw(), "run `python -m tools.turn_rules`"
    assert [rules for _, rules in CHAINS] == [plan.RULES, workload_turn.RULES, handback.RULES]


def test_every_rule_has_a_summary_that_fits_its_line() -> None:
    for line in draw().splitlines():
        if line[1:3] in {"├─", "└─"}:
            _, name, summary = line.split(maxsplit=2)
            assert name.islower()
            assert len(line) <= 140, line
            assert summary[0].isupper(), line


def test_a_rule_that_is_added_removed_or_moved_changes_the_diagram() -> None:
    (title, rules), *returned = CHAINS
    first, second, *others = rules
    for changed in ([second, *others], [first, first, second, *others], [second, first, *others]):
        assert draw(((title, changed), *returned)) != draw()
