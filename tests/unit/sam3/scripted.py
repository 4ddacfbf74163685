"""A GPU and worker processes that do as a test says, through the same interface as the real ones."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from gpu_memory import GpuMemory, GpuUnavailable
from residency.errors import EngineStuckError, NotEnoughMemoryError
from sam3_server import memory_files
from sam3_server.errors import WorkerGoneError
from sam3_server.intake import answers
from sam3_server.intake.body import Body
from sam3_server.intake.interface import ParsedRequest
from sam3_server.intake.protocol import ImageBatch, ParsedQuery, Read, ReadImage, RequestLimits, Route, Terms
from sam3_server.intake.request_reader import read, read_image
from sam3_server.serving.worker_pool import WorkerTimeouts
from sam3_server.worker.interface import Worker
from sam3_server.worker.protocol import (
    Attached,
    Detection,
    Findings,
    Mask,
    Prepared,
    Prompt,
    PromptResult,
    Query,
    Segmented,
)
from sam3_server.worker.rgb_image import RgbImage

NEED = 14000
WEIGHTS = 1764
LIMITS = WorkerTimeouts(load=5.0, request=5.0, grace=1.0)


@dataclass
class ScriptedGpu:
    """A T4's memory in MiB; `others` is what other processes hold."""

    others: int = 0
    workers: int = 0
    measurable: bool = True

    def read(self) -> GpuMemory:
        if not self.measurable:
            raise GpuUnavailable("the driver does not answer")
        used = self.others + self.workers
        return GpuMemory("GPU-1", "Tesla T4", 15360, 450, used, 15360 - 450 - used)

    def give_back(self, mib: int) -> None:
        self.workers -= mib


class ReadHere:
    """Reads requests as intake processes do, in a thread of this one: starting a process for each test takes a second.

    The processes have tests of their own.
    """

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits

    async def read(self, route: Route, body: Body, client: str) -> ParsedRequest | ImageBatch:
        asked = Read(route=route, content_type=body.content_type)
        head, pieces = await asyncio.to_thread(read, asked, _content(body), self._limits)
        if isinstance(head, ParsedQuery):
            return _parsed(head, pieces)
        written = head.model_dump_json().encode()
        body.exchange(memory_files.create("sam3-body", (written, *pieces)))
        return ImageBatch(size=len(written), count=len(pieces))

    async def read_image(self, body: Body, batch: ImageBatch, place: int, client: str) -> ParsedRequest:
        asked = ReadImage(size=batch.size, place=place)
        return _parsed(*await asyncio.to_thread(read_image, asked, _content(body), self._limits))

    async def respond(self, terms: Terms, findings: bytes, client: str) -> bytes:
        return await asyncio.to_thread(answers.respond, terms, findings)


def _content(body: Body) -> bytes:
    return os.pread(body.descriptor, os.fstat(body.descriptor).st_size, 0)


def _parsed(head: ParsedQuery, strips: Sequence[memory_files.Piece]) -> ParsedRequest:
    return ParsedRequest(RgbImage(head.width, head.height, tuple(map(bytes, strips))), head.query, head.terms)


@dataclass
class Script:
    """What workers do: a set event lets a call through, a failure is raised by it.

    `lag` is the time in seconds that the driver takes to give a dead worker's memory back, `seconds` what a worker says
    that a request took, `image_id` how it names images.
    """

    gpu: ScriptedGpu
    limits: WorkerTimeouts = LIMITS
    need_mib: int = NEED
    launched: list["ScriptedWorker"] = field(default_factory=list)
    preparing: asyncio.Event = field(default_factory=asyncio.Event)
    inferring: asyncio.Event = field(default_factory=asyncio.Event)
    encoding: asyncio.Event = field(default_factory=asyncio.Event)
    prepare_failure: Exception | None = None
    attach_failure: Exception | None = None
    stuck: bool = False
    out_of_memory: int = 0
    lag: float = 0.0
    seconds: float = 0.0
    image_id: str | None = None
    outline: list[float] = field(default_factory=lambda: [0.0, 0.0, 7.0, 0.0, 7.0, 5.0])

    def __post_init__(self) -> None:
        self.preparing.set()
        self.inferring.set()
        self.encoding.set()

    def read(self) -> GpuMemory:
        return self.gpu.read()

    async def launch(self, on_exit: Callable[[Worker], None]) -> Worker:
        worker = ScriptedWorker(self, on_exit)
        self.launched.append(worker)
        return worker


class ScriptedWorker:
    """A worker without a process."""

    def __init__(self, script: Script, on_exit: Callable[[Worker], None]) -> None:
        self.allocated_mib = self.weights_mib = 0
        self.end = "ended with signal 15"
        self.images: list[RgbImage] = []
        self.queries: list[Query] = []
        self._script = script
        self._on_exit = on_exit
        self._gone = asyncio.Event()

    @property
    def alive(self) -> bool:
        return not self._gone.is_set()

    async def prepare(self, timeout: float) -> Prepared:
        await self._until(self._script.preparing.wait())
        if self._script.prepare_failure:
            raise self._script.prepare_failure
        self.weights_mib = WEIGHTS
        return Prepared(seconds=0.0, weights_mib=WEIGHTS)

    async def attach(self, timeout: float) -> Attached:
        if self._script.attach_failure:
            raise self._script.attach_failure
        need = self._script.need_mib
        if self._script.gpu.read().free_mib < need:
            self._script.out_of_memory += 1
            raise NotEnoughMemoryError("out of memory")
        self.allocated_mib = need
        self._script.gpu.workers += need
        return Attached(seconds=0.0, device="simulated", dtype="float32", allocated_mib=need)

    async def segment(
        self,
        image: RgbImage,
        query: Query,
        client: str,
        seconds: float,
        timeout: float,
        computed: Callable[[], None],
    ) -> Segmented:
        self.images.append(image)
        self.queries.append(query)
        await self._until(self._script.inferring.wait())
        computed()
        await self._script.encoding.wait()
        mask = Mask(size=(image.height, image.width), counts="04") if query.form == "rle" else None
        polygons = [self._script.outline] if query.form == "polygon" else None
        results = [
            PromptResult(
                prompt=prompt.name,
                class_id=prompt.class_id,
                detections=[
                    Detection(
                        box=(0, 0, image.width, image.height),
                        score=max(prompt.threshold if isinstance(prompt, Prompt) else 0, 0.75),
                        mask=mask,
                        polygons=polygons,
                    )
                ],
            )
            for prompt in query.parts
        ]
        lines = "".join(f"{prompt.class_id} 0.5 0.5 1 1\n" for prompt in query.prompts)
        findings = Findings(
            width=image.width,
            height=image.height,
            image_id=self._script.image_id,
            model_seconds=0.25,
            results=results,
            yolo_labels=lines if query.labels else None,
        )
        answer = findings.model_dump_json(exclude_none=True).encode()
        return Segmented(findings=answer, allocated_mib=self.allocated_mib, seconds=self._script.seconds)

    async def stop(self, grace: float) -> None:
        if self._script.stuck:
            raise EngineStuckError("the worker is still there")
        self.die()

    def die(self) -> None:
        """End as a process does: its memory comes back, its calls fail, `on_exit` is called."""
        if self.alive:
            self._gone.set()
            if self._script.lag:
                asyncio.get_running_loop().call_later(self._script.lag, self._script.gpu.give_back, self.allocated_mib)
            else:
                self._script.gpu.give_back(self.allocated_mib)
            self.allocated_mib = 0
            self._on_exit(self)

    async def _until(self, waiting: Awaitable[bool]) -> None:
        call, death = asyncio.ensure_future(waiting), asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait({call, death}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            call.cancel()
            death.cancel()
        if not self.alive:
            raise WorkerGoneError(f"the worker {self.end}")
