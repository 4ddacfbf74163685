"""Jobs through the relay: how fast, at what cost, and how long GPUs stand idle between turns."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.scale.process import Usage, usage
from bench.scale.stage import NAMESPACE, Stage
from bench.scale.watching import Life, PodWatch
from devcluster import audit
from devcluster.programs.operator import OperatorProcess
from devcluster.scripted.furnished import service_account_kubeconfig
from devcluster.scripted.manifests import job_manifest
from devcluster.waiting import eventually
from gpu_relay.api.words import LEADER_LEASE

_JOBS = f"/apis/gpurelay.dev/v1alpha1/namespaces/{NAMESPACE}/yolotrainingjobs"
_LABEL = "gpurelay.dev/job"
_WRITES = frozenset({"create", "update", "patch", "delete"})
_JOB_OF: dict[str, Callable[[str], str]] = {
    "yolotrainingjobs/status": lambda name: name,
    "events": lambda name: name.partition(".")[0],
    "pods": lambda name: name.rpartition("-")[0],
}
"""How to get the name of the job from the name of the object that is written for it."""
_POLL = 0.5
_SAMPLES = 3


@dataclass(frozen=True)
class Plan:
    """What to run. Times are seconds."""

    jobs: int
    window: float
    """Longest time to measure for; a longer queue is left standing."""
    sample_interval: float = 0.1
    restart: bool = False
    """Kill the operator in the middle and start it again."""
    failover: bool = False
    """Have a second replica stand by, and kill the leader in the middle."""


@contextmanager
def leading_operator(stage: Stage, plan: Plan, folder: Path) -> Iterator[None]:
    """Run an operator, which leads, for jobs of other kinds."""
    account = service_account_kubeconfig(stage.cluster, "gpu-relay")
    operator = OperatorProcess(account, folder / "checks.log", (), **_settings(plan))
    operator.start()
    try:
        eventually(lambda: operator.running and _leads(operator), "the operator to lead", within=60)
        yield
    finally:
        operator.stop()


def run(stage: Stage, plan: Plan, folder: Path) -> dict[str, Any]:
    """Queue the jobs at once, run them for the length of the window, and return the figures."""
    account = service_account_kubeconfig(stage.cluster, "gpu-relay")
    operator = OperatorProcess(account, folder / "operator.log", (), **_settings(plan))
    standby = OperatorProcess(account, folder / "standby.log", (), replica="two", **_settings(plan))
    operator.start()
    with PodWatch(stage.cluster.run_dir, NAMESPACE, _LABEL) as watch:
        try:
            eventually(lambda: operator.running and _leads(operator), "the operator to lead", within=60)
            latencies = _one_at_a_time(stage, watch)
            if plan.failover:
                standby.start()
            figures = _all_at_once(stage, plan, watch, operator)
        finally:
            operator.stop()
            standby.stop()
    sampling = (_SAMPLES - 1) * plan.sample_interval
    return figures | {
        "first pod after apply": latencies,
        "own overhead": [round(latency - sampling, 3) for latency in latencies],
    }


def _settings(plan: Plan) -> dict[str, str]:
    """Return the operator's own settings again, where those of the tests are for tests."""
    return {
        "samples": str(_SAMPLES), "sample_interval": str(plan.sample_interval), "progress_interval": "2",
        "lease_duration": "12", "memory_return_timeout": "30", "backoff_base": "10", "log_format": "json",
    }  # fmt: skip


def _leads(operator: OperatorProcess) -> bool:
    return "probes on port" in operator.log() and operator.probe("/readyz").is_success


def _one_at_a_time(stage: Stage, watch: PodWatch, count: int = 20) -> list[float]:
    """Return the seconds from apply to pod of jobs that find everything idle."""
    found = []
    for number in range(count):
        name = f"idle-{number}"
        (asked,) = stage.create(_JOBS, [_manifest(name)])
        life = eventually(partial(watch.lives.get, f"{name}-1"), f"the pod of {name}", every=0.005)
        found.append(round(life.created - asked, 3))
        eventually(partial(getattr, life, "ended"), f"the end of {name}", every=0.05)
        time.sleep(0.3)
    return found


def _all_at_once(stage: Stage, plan: Plan, watch: PodWatch, operator: OperatorProcess) -> dict[str, Any]:
    asked, none_done, size = time.time(), watch.done, audit.size(stage.cluster.run_dir)
    stage.create(_JOBS, [_manifest(f"job-{number}") for number in range(plan.jobs)])
    before, began = watch.done, time.time()
    cpu, recovery = usage(operator.pid), None
    spent = Usage(0.0, 0)
    while watch.done - none_done < plan.jobs and time.time() - began < plan.window:
        time.sleep(_POLL)
        if (plan.restart or plan.failover) and recovery is None and time.time() - began > plan.window / 2:
            spent = usage(operator.pid)
            recovery = _interrupt(watch, operator, start_again=plan.restart)
            cpu = Usage(cpu.cpu - spent.cpu, 0)
        if plan.failover and recovery is not None:
            break
    ended, done = time.time(), watch.done - before
    used = spent if plan.failover else usage(operator.pid)
    lives = [life for life in watch.lives.values() if life.job.startswith("job-")]
    ran = {life.job for life in lives if life.ended}
    calls, others = _calls(stage, size, ran)
    writes = sum(count for name, count in calls.items() if name.split()[0] in _WRITES)
    return {
        "jobs": plan.jobs,
        "gpus": stage.gpus,
        "done": done,
        "seconds": round(ended - began, 1),
        "seconds to queue them": round(began - asked, 1),
        "jobs per second": round(done / (ended - began), 3),
        "idle between turns": sorted(idle_gaps(lives)),
        "API calls per job": round(sum(calls.values()) / max(1, len(ran)), 2),
        "API writes per job": round(writes / max(1, len(ran)), 2),
        "calls": dict(calls.most_common()),
        "writes for jobs that did not end": others,
        "operator CPU per job": round((used.cpu - cpu.cpu) / max(1, done), 4),
        "operator CPU share": round((used.cpu - cpu.cpu) / (ended - began), 3),
        "operator memory MiB": max(used.peak_mib, spent.peak_mib),
        "failover seconds" if plan.failover else "recovery seconds": recovery,
    }


def _calls(stage: Stage, size: int, ran: set[str]) -> tuple[Counter[str], int]:
    """Count the operator's calls since the first job was created, by kind; writes for jobs that did not end apart.

    Calls that do not name a job count for those that ended: GPUs' Leases, lists, all reads. The leader's own Lease is
    left out: it is renewed whether there are jobs or not.
    """
    calls, others = Counter[str](), 0
    for call in audit.calls(stage.cluster.run_dir, audit.account("gpu-relay", "gpu-relay"), size):
        if call.name == LEADER_LEASE:
            continue
        job_of = _JOB_OF.get(call.resource)
        if call.dry_run:
            calls[f"dry-run {call.resource}"] += 1
        elif call.verb in _WRITES and job_of is not None and job_of(call.name) not in ran:
            others += 1
        else:
            calls[f"{call.verb} {call.resource}"] += 1
    return calls, others


def _interrupt(watch: PodWatch, operator: OperatorProcess, *, start_again: bool) -> float:
    """Kill the operator, and return the seconds until the next training pod is created: by itself, or by the other."""
    operator.kill()
    began = time.time()
    if start_again:
        time.sleep(1.0)
        operator.start()
        began = time.time()
    known = set(watch.lives)
    eventually(lambda: set(watch.lives) - known, "a training pod after the kill", within=300, every=0.05)
    return round(time.time() - began, 2)


def idle_gaps(lives: list[Life]) -> list[float]:
    """Return the seconds for which each GPU had no training between two of them."""
    by_node: dict[str, list[Life]] = {}
    for life in lives:
        by_node.setdefault(life.node, []).append(life)
    gaps = []
    for node in by_node.values():
        ordered = sorted(node, key=lambda life: life.created)
        gaps += [
            round(after.running - life.ended, 3) for life, after in pairwise(ordered) if life.ended and after.running
        ]
    return gaps


def _manifest(name: str) -> dict[str, Any]:
    """Return a job without PVCs, which the scheduler would look for."""
    data = {"uri": "https://data.example.org/digits.zip"}
    return job_manifest(name, dataset=data, output={"uri": f"s3://results/{name}"})
