"""Draw the rules of a turn in docs/architecture.md: `python -m tools.turn_rules` writes them, a test compares them."""

import re
from collections.abc import Sequence

from devcluster.paths import REPOSITORY
from gpu_relay.domain.decision import Rule
from gpu_relay.domain.turn import handback, plan, workload_turn

PAGE = REPOSITORY / "docs" / "architecture.md"
CHAINS: tuple[tuple[str, Sequence[Rule]], ...] = (
    ("A job owns the GPU, from the scheduler's write of the Lease to its return:", plan.RULES),
    ("A Workload of Kueue owns the GPU:", workload_turn.RULES),
    ("The resident owns the GPU, from the return of the Lease:", handback.RULES),
)
_DIAGRAM = re.compile(r"(?<=<!-- python -m tools\.turn_rules -->\n```\n).*?(?=```\n)", re.DOTALL)


def draw(chains: Sequence[tuple[str, Sequence[Rule]]] = CHAINS) -> str:
    """Return each chain as a tree: its rules in their order, with the first line of each rule's docstring."""
    width = max(len(rule.__name__) for _, rules in chains for rule in rules)
    lines = []
    for title, rules in chains:
        lines += ["", title, " │"]
        for rule in rules:
            summary = (rule.__doc__ or "").strip().splitlines()[0].removesuffix(".")
            lines.append(f" {'└' if rule is rules[-1] else '├'}─ {rule.__name__:<{width}}  {summary}")
    return "\n".join(lines[1:]) + "\n"


def read() -> str:
    """Return the diagram of the page; ValueError if the page has none."""
    found = _DIAGRAM.search(PAGE.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{PAGE} has no code block after the comment `python -m tools.turn_rules`")
    return found[0]


def main() -> None:
    """Write the diagram into the page."""
    read()
    PAGE.write_text(_DIAGRAM.sub(lambda _: draw(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
