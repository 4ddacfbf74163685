"""GPUs as cards: the owner, a bar of its memory, its resident, its queue."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gpu_relay.api.words import UNMANAGED_GPU
from gpu_relay.domain.objects.represented import title
from gpu_relay.domain.quantities import mib
from gpu_relay.overview.gpus import Gpu, Memory, Owner, ResidentState, Waiting, gpus_of, stranded
from gpu_relay.overview.snapshot import ClusterSnapshot
from kubectl_relay.show.console import words
from kubectl_relay.views.times import clock, span

_BAR = 30
_MOST_WAITING = 8
_STATE_STYLES = {"loaded": "green", "unloaded": "yellow", "failed": "bold red", "unknown": "dim"}


class GpuScreen:
    """What a live display shows; drawn several times a second, so that times advance between changes."""

    def __init__(self, snapshot: ClusterSnapshot, now: Callable[[], datetime]) -> None:
        self.snapshot = snapshot
        self._now = now

    def __rich__(self) -> RenderableType:
        return gpu_cards(replace(self.snapshot, now=self._now()))


def gpu_cards(snapshot: ClusterSnapshot) -> Group:
    """Draw every GPU, and what could not be read."""
    silent = snapshot.leader.leaderless_for(snapshot.now) if snapshot.leader else None
    parts: list[RenderableType] = []
    if silent is not None:
        missing = f", and none has been for {span(silent)}: no job starts."
        parts.append(words(("No operator is the leader", "bold red"), missing))
    gpus = gpus_of(snapshot)
    parts += [_card(gpu, snapshot) for gpu in gpus] or [_no_gpu(snapshot)]
    without = stranded(snapshot)
    if without:
        parts.append(
            words(
                ("  no GPU suits  ", "red"),
                ", ".join(f"{title(w.job, w.represents)} ({mib(w.need_mib)})" for w in without),
            )
        )
    return Group(*parts, *_unknown(snapshot.unknown))


def _no_gpu(snapshot: ClusterSnapshot) -> str:
    if snapshot.leases is None or snapshot.residents is None:
        return "No GPU can be seen with your rights."
    return "No GPU is known yet: no job has had a turn, and no resident has reported its GPU."


def show_unknown(console: Console, sentences: Sequence[str]) -> None:
    """Print what could not be read."""
    for line in _unknown(sentences):
        console.print(line)


def _unknown(sentences: Sequence[str]) -> list[Text]:
    lines = [words(("not known  ", "dim"), (sentence, "dim")) for sentence in sentences]
    return [Text(), *lines] if lines else []


def _card(gpu: Gpu, snapshot: ClusterSnapshot) -> RenderableType:
    now = snapshot.now
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(style="dim", min_width=8)
    rows.add_column()
    rows.add_row("owner", _owner(gpu, now))
    rows.add_row("memory", _memory(gpu))
    if gpu.resident is not None:
        rows.add_row("resident", _resident(gpu.resident, now))
    rows.add_row("queue", _queue(gpu, snapshot))
    heading = words(_state_mark(gpu), (gpu.key or "a GPU with an unknown UUID", "bold"), *_where(gpu))
    return Group(heading, Padding(rows, (0, 0, 0, 2)))


def _where(gpu: Gpu) -> Iterator[str]:
    if gpu.key == UNMANAGED_GPU:
        yield "  GPUs without a resident: one job at a time"
    if gpu.model:
        yield f"  {gpu.model}"
    if gpu.node:
        yield f"  on {gpu.node}"


def _state_mark(gpu: Gpu) -> tuple[str, str]:
    if gpu.owner is None:
        return ("? ", "dim")
    return ("● ", "yellow") if gpu.owner.job is not None else ("● ", "green")


def _owner(gpu: Gpu, now: datetime) -> Text:
    owner = gpu.owner
    if owner is None:
        return words(("not known", "dim"))
    since = f" for {span(now - owner.since)} (since {clock(owner.since, now)})" if owner.since else ""
    if owner.job is None:
        return words(("the resident" if gpu.resident else "no job", "bold green"), since)
    return words((title(owner.job, owner.represents), "bold yellow"), since, *_doing(owner, now))


def _doing(owner: Owner, now: datetime) -> Iterator[str]:
    if owner.phase:
        yield f", {owner.phase}"
    if owner.epoch:
        yield f", epoch {owner.epoch}"
    if owner.until:
        yield f", should end at {clock(owner.until, now)}, in {span(owner.until - now)}"


def _memory(gpu: Gpu) -> Text:
    if gpu.memory is not None:
        memory = gpu.memory
        return words(_bar(memory), f" {mib(memory.used)} used, {mib(memory.free)} free of {mib(memory.total)}")
    if gpu.owner is not None and gpu.owner.job is not None and gpu.granted is not None:
        proof = f"; {mib(gpu.proven_free)} were measured free before" if gpu.proven_free is not None else ""
        return words(("not measured now; ", "dim"), f"{mib(gpu.granted)} granted to the job{proof}")
    return words(("not measured", "dim"))


def _bar(memory: Memory) -> Text:
    """Draw used, the driver's own, and free memory."""
    total = max(memory.total, 1)
    used = min(_BAR, max(0, round(_BAR * memory.used / total)))
    reserved = min(_BAR, max(used, round(_BAR * (memory.used + memory.reserved) / total))) - used
    return words(("█" * used, "cyan"), ("▒" * reserved, "dim"), ("░" * (_BAR - used - reserved), "dim"))


def _resident(resident: ResidentState, now: datetime) -> Text:
    parts: list[tuple[str, str] | str] = [(resident.state, _STATE_STYLES.get(resident.state, "yellow"))]
    if not resident.measured and resident.state != "unknown":
        parts.append((" (according to the Lease)", "dim"))
    if resident.out_since is not None:
        limit = f" of at most {span(resident.max_outage)}" if resident.max_outage is not None else ""
        parts.append(f", unavailable for {span(now - resident.out_since)}{limit}")
    if resident.refused:
        parts.append((f", {resident.refused:,} requests refused meanwhile", "yellow"))
    if resident.residual_mib:
        parts.append(f", keeps {mib(resident.residual_mib)} of the GPU while it is unloaded")
    if resident.name:
        parts.append((f"  {resident.name}", "dim"))
    if resident.trouble:
        parts.append((f"  {resident.trouble}", "red"))
    return words(*parts)


def _queue(gpu: Gpu, snapshot: ClusterSnapshot) -> Text:
    lines = [_waiting(each, snapshot.now) for each in gpu.queue[:_MOST_WAITING]]
    if len(gpu.queue) > _MOST_WAITING:
        lines.append(words(f"and {len(gpu.queue) - _MOST_WAITING} more"))
    if gpu.preparing:
        named = ", ".join(map(str, gpu.preparing[:_MOST_WAITING]))
        lines.append(words(("being prepared, without a GPU: ", "dim"), named))
    if not snapshot.everywhere:
        lines.append(words(("jobs of other namespaces were not read, and may wait, too", "dim")))
    return Text("\n").join(lines) if lines else words(("empty", "dim"))


def _waiting(waiting: Waiting, now: datetime) -> Text:
    expected = f", should begin at {clock(waiting.expected, now)}" if waiting.expected else ""
    priority = f", priority {waiting.priority}" if waiting.priority else ""
    need = f"  needs {mib(waiting.need_mib)}" if waiting.need_mib else "  "
    name, need = title(waiting.job, waiting.represents), f"{need}{priority}{expected}"
    return words((f"{waiting.position or '-'}  ", "dim"), (name, "bold"), need, (f"  {waiting.reason}", "dim"))
