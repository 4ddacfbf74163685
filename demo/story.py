"""The six steps and the control. Each reads the cluster and SAM3, and fails on an unexpected state."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import manifest, outputs
from demo.console import Timeline
from demo.control import control_objects
from demo.figures import count, mib
from demo.health import PER_SECOND, HealthPoller, Poll, between, changes, summary
from demo.recipe import Recipe
from demo.sam3 import Detections, Gpu, Sam3
from demo.views import Identity, JobView, Terminated, identity, job_view, terminated
from devcluster.waiting import eventually

SAM3_MIB = 14_000
"""What SAM3 takes of the GPU when it is loaded."""
CONTROL = "without-relay"
_LOOK_SECONDS = 0.3
_TRAINING_SECONDS = 900.0
_POD_SECONDS = 240.0
_RELOAD_SECONDS = 120.0


class StepFailedError(Exception):
    """A check has failed; the message names the state that was seen."""


@dataclass
class Scene:
    """What the steps share."""

    kubectl: Callable[..., str]
    sam3: Sam3
    timeline: Timeline
    photograph: Path
    output: Path
    recipe: Recipe
    mark: Callable[[str], None]
    """Marks a moment in the plot of the memory."""

    def job(self) -> JobView:
        """Read the job as it is now."""
        return job_view(self._get("ytj", manifest.NAME))

    def pod(self, name: str) -> dict[str, Any]:
        """Read a pod of the job's namespace."""
        return self._get("pod", name)

    def relay_pods(self) -> dict[str, Identity]:
        """Read which pods SAM3 and the operator are, by name."""
        pods = json.loads(self.kubectl("-n", "gpu-relay", "get", "pods", "-o", "json"))["items"]
        return {pod["metadata"]["name"]: identity(pod) for pod in pods}

    def show_gpu(self) -> Gpu:
        """Measure the GPU and draw it."""
        seen = self.sam3.gpu()
        self.timeline.gpu(seen)
        return seen

    def _get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("-n", manifest.NAMESPACE, "get", kind, name, "-o", "json"))
        return found


def require(holds: bool, otherwise: str) -> None:
    """Raise StepFailedError with the sentence `otherwise` unless it holds."""
    if not holds:
        raise StepFailedError(otherwise)


def run(scene: Scene) -> None:
    """Run the six steps, then the control.

    Raises StepFailedError, Sam3Error, ClusterError, httpx.HTTPError or AssertionError at the first failure.
    """
    pods = scene.relay_pods()
    check_first_detection(scene)
    with HealthPoller(scene.sam3.base_url) as poller:
        check_loaded(scene)
        apply_job(scene)
        check_unloaded_while_training(scene)
        check_training(scene, poller)
        check_reload(scene, poller)
        run_control(scene, poller)
    now = scene.relay_pods()
    require(now == pods, f"a pod of GPU Relay was replaced or restarted: {_listed(pods)} became {_listed(now)}")
    scene.timeline.ok(f"The pods of GPU Relay are the same as at the start, and none was restarted: {', '.join(now)}")


def check_first_detection(scene: Scene) -> None:
    """Step 1."""
    say = scene.timeline
    say.step("1/6", "A detection on a real photograph loads the model")
    require(not scene.sam3.health()["model_loaded"], "SAM3 has loaded its model before the first request")
    scene.show_gpu()
    with say.wait("SAM3 loads its model and runs the detection"):
        found = scene.sam3.detect(scene.photograph)
    _check_detections(scene, found, "loading the model included")
    say.note(
        "(The model is small and has random weights: its detections have no meaning, its use of the GPU is as usual.)"
    )


def check_loaded(scene: Scene) -> None:
    """Step 2."""
    say = scene.timeline
    say.step("2/6", f"/health says model_loaded: true, the GPU shows {mib(SAM3_MIB)} MiB used")
    health = scene.sam3.health()
    require(health["model_loaded"] is True, f"/health says {health}")
    say.ok(f"/health: model_loaded: true, state: {health['state']}")
    seen = scene.show_gpu()
    require(seen.used == SAM3_MIB, f"the GPU shows {mib(seen.used)} MiB used, not {mib(SAM3_MIB)}")
    say.ok(f"{mib(seen.used)} MiB used. The training needs {mib(manifest.MEMORY_MIB)} MiB; {mib(seen.free)} are free")
    say.note(f"From here on /health is polled {PER_SECOND} times a second.")


def apply_job(scene: Scene) -> None:
    """Step 3."""
    say = scene.timeline
    say.step("3/6", f"A YoloTrainingJob that needs {manifest.MEMORY} is applied with kubectl")
    file = scene.output / outputs.JOB
    file.write_text(manifest.as_yaml(manifest.training_job(scene.recipe)))
    scene.mark("job applied")
    say.ok(f"kubectl apply -f {file}: {scene.kubectl('apply', '-f', str(file)).strip()}")
    shown = ""

    def acquired() -> JobView | None:
        nonlocal shown
        job = scene.job()
        line = f"{job.phase}: {job.says}" if job.says else job.phase
        if line and line != shown:
            shown = line
            say.note(line, "job")
        require(job.phase != "Failed", f"the job failed: {job.failure}")
        return job if job.pod else None

    with say.wait("the operator waits for free memory"):
        job = eventually(acquired, "no training pod was created", within=120, every=_LOOK_SECONDS)
    free = job.free_after or 0
    require(free >= manifest.MEMORY_MIB, f"pod {job.pod} was created with only {mib(free)} MiB measured free")
    say.ok(
        f"Measured free: {mib(job.free_before or 0)} MiB before, {mib(free)} MiB after SAM3 unloaded; "
        f"then pod {job.pod}"
    )


def check_unloaded_while_training(scene: Scene) -> None:
    """Step 4."""
    say = scene.timeline
    say.step("4/6", "/health says model_loaded: false while it trains")

    def on_the_gpu() -> Gpu | None:
        seen = scene.sam3.gpu()
        return seen if seen.used >= manifest.MEMORY_MIB else None

    with say.wait("the trainer starts (about 15 s)"):
        eventually(on_the_gpu, "the training took no memory of the GPU", within=_POD_SECONDS, every=_LOOK_SECONDS)
    seen, health = scene.show_gpu(), scene.sam3.health()
    require(seen.used == manifest.MEMORY_MIB, f"the GPU shows {mib(seen.used)} MiB used: SAM3 is still there")
    require(health["model_loaded"] is False, f"/health says {health}")
    hold = health["hold"] or {}
    say.ok(f"/health: model_loaded: false, held for {hold.get('holder')} (fence {hold.get('fence')})")
    refusal = scene.sam3.try_to_detect(scene.photograph)
    require(refusal is not None, "SAM3 answered a detection while the training job owned the GPU")
    if refusal:
        require(refusal.status == 503 and bool(refusal.retry_after), f"a detection was refused with {refusal}")
        say.ok(f"A detection now: {refusal.status}, Retry-After {refusal.retry_after} s: {refusal.detail}")


def check_training(scene: Scene, poller: HealthPoller) -> None:
    """Step 5."""
    say = scene.timeline
    epochs = scene.recipe.training["epochs"]
    say.step("5/6", "The training runs to its end without an out-of-memory error")
    say.note(f"{epochs} epochs of {scene.recipe.model} on {scene.recipe.train} images, on the CPU: about a minute")
    with say.wait("training") as wait:
        shown = -1

        def ended() -> JobView | None:
            nonlocal shown
            job = scene.job()
            mean = "" if job.map50 is None else f", mAP50 {job.map50:.3f}"
            wait.update(f"epoch {job.epoch} of {epochs}{mean}", job.epoch / epochs)
            if job.epoch > max(shown, 0):
                shown = job.epoch
                say.note(f"epoch {job.epoch} of {epochs}{mean}", "train")
            return job if job.training_ended else None

        job = eventually(ended, "the training did not end", within=_TRAINING_SECONDS, every=_LOOK_SECONDS)
    require(len(job.attempts) == 1, f"the job has {len(job.attempts)} attempts instead of one: {job.failure}")
    attempt = job.attempts[0]
    require(
        (attempt.reason, attempt.exit_code) == ("Completed", 0),
        f"pod {attempt.pod} ended with {attempt.reason}, exit code {attempt.exit_code}: {attempt.message}",
    )
    require(job.epoch == epochs, f"the job counts {job.epoch} of {epochs} epochs")
    say.ok(f"Pod {attempt.pod}: {attempt.reason}, exit code {attempt.exit_code}. {attempt.message}")
    end = terminated(scene.pod(attempt.pod))
    if end is None:
        raise StepFailedError(f"pod {attempt.pod} has ended according to the job, but not according to the cluster")
    _check_unloaded_throughout(scene, poller.polls(), end)


def check_reload(scene: Scene, poller: HealthPoller) -> None:
    """Step 6."""
    say = scene.timeline
    say.step("6/6", "SAM3 is loaded again and detects again, and /health answered every poll")

    def succeeded() -> JobView | None:
        job = scene.job()
        require(job.phase != "Failed", f"the job failed: {job.failure}")
        return job if job.phase == "Succeeded" else None

    with say.wait("the operator gives the GPU back"):
        job = eventually(succeeded, "the job did not succeed", within=_RELOAD_SECONDS, every=_LOOK_SECONDS)
    require(job.resident_reloaded, "the job succeeded without the condition ResidentReloaded")
    health = scene.sam3.health()
    require(health["model_loaded"] is True, f"the job has ended, and /health says {health}")
    require(health["hold"] is None, f"the job has ended, and SAM3 still has a hold: {health['hold']}")
    say.ok(f"The job is {job.phase}; /health: model_loaded: true, and SAM3 has no hold")
    seen = scene.show_gpu()
    require(seen.used == SAM3_MIB, f"the GPU shows {mib(seen.used)} MiB used, not {mib(SAM3_MIB)}")
    _check_detections(scene, scene.sam3.detect(scene.photograph), "the model was loaded")
    polls = poller.polls()
    _check_answered(scene, polls)
    seen_changes = [f"{str(poll.loaded).lower()} from {_clock(scene, poll)}" for poll in changes(polls)]
    say.ok(f"model_loaded as the polls saw it: {', '.join(seen_changes)}")
    require(len(seen_changes) == 3, "SAM3 should be loaded, then unloaded once, then loaded again")


def run_control(scene: Scene, poller: HealthPoller) -> None:
    """The control."""
    say = scene.timeline
    say.step("control", "The same training without the unload step ends with an out-of-memory error")
    trained = scene.job().attempts[-1].pod
    objects = json.dumps(control_objects(scene.pod(trained), CONTROL), indent=2)
    (scene.output / outputs.CONTROL).write_text(objects)
    began = time.time()
    scene.kubectl("apply", "-f", "-", stdin=objects)
    say.note(f"Pod {CONTROL}: image, volumes and job file of {trained}, started beside the loaded SAM3 (about 20 s)")
    with say.wait("it starts, and runs out of memory"):
        end = eventually(
            lambda: terminated(scene.pod(CONTROL)),
            f"pod {CONTROL} did not end",
            within=_POD_SECONDS,
            every=_LOOK_SECONDS,
        )
    require(
        (end.reason, end.exit_code) == ("OutOfMemory", 12),
        f"pod {CONTROL} ended with {end.reason}, exit code {end.exit_code}, not OutOfMemory: {end.message}",
    )
    say.ok(f"Pod {CONTROL}: {end.reason}, exit code {end.exit_code}")
    say.note(f"Its termination message: {end.message}")
    seen = scene.show_gpu()
    require(seen.used == SAM3_MIB, f"the GPU shows {mib(seen.used)} MiB used, not {mib(SAM3_MIB)}")
    polls = poller.polls()
    during = [poll for poll in polls if poll.sent >= began]
    require(all(poll.loaded for poll in during if poll.answered), "SAM3 unloaded its model for a pod without a turn")
    say.ok("SAM3 kept its model loaded")
    _check_answered(scene, polls)


def _check_detections(scene: Scene, found: Detections, note: str) -> None:
    by_prompt = ", ".join(f"{number} of {prompt}" for prompt, number in found.instances.items())
    require(found.total > 0, f"SAM3 found nothing on {scene.photograph.name}")
    model = f"the model itself {found.model_seconds:.1f} s"
    where = f"on {scene.photograph.name} in {found.seconds:.1f} s"
    scene.timeline.ok(f"{count(found.total, 'instance')} ({by_prompt}) {where} ({note}; {model})")


def _check_unloaded_throughout(scene: Scene, polls: Sequence[Poll], end: Terminated) -> None:
    # The cluster writes whole seconds, rounded down: the next one is inside for certain.
    seen = summary(between(polls, end.started + 1, end.finished))
    require(seen.unloaded > 0, "no poll fell into the training")
    require(not seen.loaded, f"{seen.loaded} of {seen.polls} polls during the training said model_loaded: true")
    scene.timeline.ok(f"All {count(seen.unloaded, 'poll')} while the pod ran said model_loaded: false")


def _check_answered(scene: Scene, polls: Sequence[Poll]) -> None:
    seen = summary(polls)
    if seen.failures:
        first = seen.failures[0]
        missed = f"{len(seen.failures)} of {seen.polls} polls of /health failed"
        raise StepFailedError(f"{missed}, the first at {_clock(scene, first)}: {first.problem}")
    rest = f"{seen.loaded} loaded, {seen.unloaded} unloaded; the slowest took {seen.slowest * 1000:.0f} ms"
    scene.timeline.ok(f"/health answered {seen.polls:,} of {count(seen.polls, 'poll')}: {rest}")


def _listed(pods: dict[str, Identity]) -> str:
    return ", ".join(f"{name} ({count(pod.restarts, 'restart')})" for name, pod in pods.items())


def _clock(scene: Scene, poll: Poll) -> str:
    return scene.timeline.clock_of(poll.sent)
