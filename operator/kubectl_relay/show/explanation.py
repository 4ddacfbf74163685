"""An explanation as headed paragraphs."""

from datetime import datetime

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from kubectl_relay.show.console import words
from kubectl_relay.show.gpus import show_unknown
from kubectl_relay.views.explain import Explanation
from kubectl_relay.views.times import clock

_PHASE_STYLES = {"Succeeded": "bold green", "Failed": "bold red", "Training": "bold cyan"}
_MOST_HISTORY = 40


def show_explanation(console: Console, explanation: Explanation, now: datetime) -> None:
    """Print an explanation."""
    console.print(words((explanation.headline, _PHASE_STYLES.get(explanation.phase, "bold yellow"))))
    for title, sentences in (("Why", explanation.why), ("What would change it", explanation.change)):
        if sentences:
            console.print()
            console.print(words((title, "bold")))
        for sentence in sentences:
            bullet = Table.grid(padding=(0, 1, 0, 0))
            bullet.add_row("-", words(sentence))
            console.print(Padding(bullet, (0, 0, 0, 2)))
    console.print()
    console.print(words(("What has happened", "bold")))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for each in explanation.history[-_MOST_HISTORY:]:
        table.add_row(clock(each.at, now), words((each.text, "yellow" if each.warning else "")))
    console.print(Padding(table, (0, 0, 0, 2)))
    show_unknown(console, explanation.unknown)
