"""SAM3 on a device: prepared in host memory, attached to the device, given one image at a time."""

import logging
import math
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

import gpu_memory
from sam3_server.errors import PromptError, TooMuchWorkError
from sam3_server.worker import masks
from sam3_server.worker.allowance import Allowance, unlimited
from sam3_server.worker.bounds import share
from sam3_server.worker.features import Features
from sam3_server.worker.inputs import Inputs
from sam3_server.worker.instances import Found, Head, box_of, pack
from sam3_server.worker.network import Network
from sam3_server.worker.placement import fitted
from sam3_server.worker.protocol import (
    Attached,
    ObjectPrompt,
    Point,
    Prompt,
    Query,
    Segment,
    Segmented,
    WorkerError,
)
from sam3_server.worker.recent import Recent, image_key
from sam3_server.worker.tracker_weights import ABSENT

log = logging.getLogger(__name__)

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
PROBE = Segment(width=64, height=64, query=Query(prompts=[Prompt(text="object")], max_instances=1), seconds=math.inf)
SEND_AGAIN = "it keeps those of the last SAM3_CACHED_IMAGES images, until it unloads the model; send the image again"
CLICK = ObjectPrompt(points=[Point(x=32, y=32)], multimask=True)


class Sam3:
    """One SAM3 model. `memory_mib` is what it may take of the GPU; 0 computes on the CPU.

    Nothing here touches CUDA before `attach`, so a standby holds no GPU memory. Where the CPU computes,
    the constructor runs the probe, and attaching only books the memory.
    """

    def __init__(self, folder: Path, dtype: str, memory_mib: int, cached_images: int) -> None:
        transformers.utils.logging.disable_progress_bar()
        self._folder = folder
        self._dtype = dtype
        self._memory_mib = memory_mib
        self._reserved = ExitStack()
        self._device: gpu_memory.Device = gpu_memory.CpuDevice()
        self._features: Recent[Features] = Recent(cached_images)
        self._inputs = Inputs(folder)
        on_gpu = bool(memory_mib) and not gpu_memory.computes_on_host()
        self._network = Network(folder, trunk_dtype(dtype, on_gpu))
        self._probed = False
        if not on_gpu:
            self._run_probe()

    def attach(self) -> Attached:
        """Reserve the memory, move the model to the device, and check that it answers.

        Raises:
            WorkerError: a GPU is wanted and there is none, less is free than the model needs, or the probe failed.

        """
        began = time.monotonic()
        with self._explained():
            self._open_device()
            opened = time.monotonic()
            self._network.move(self._device)
        moved = time.monotonic()
        self._run_probe()
        ended = time.monotonic()
        return Attached(
            seconds=ended - began,
            context_seconds=opened - began,
            copy_seconds=moved - opened,
            probe_seconds=ended - moved,
            device=self._device.kind,
            dtype=self._trunk(),
            allocated_mib=self._device.allocated_mib(),
        )

    def weights_mib(self) -> int:
        """Return how many MiB of weights are in this process's physical memory."""
        return self._network.weights.resident_mib()

    def allocated_mib(self) -> int:
        """Return what this process holds of the GPU."""
        return self._device.allocated_mib()

    def segment(self, request: Segment, pixels: bytearray, allowance: Allowance) -> Segmented:
        """Find each prompt and object on the image; its features are computed once, and cached for the next request.

        Raises:
            WorkerError: a prompt has more tokens than the text encoder takes, the image that the query names is not
                cached, the model has no tracker for an object, the numbers overflowed, the image needs more memory
                than was reserved, or the allowance is exhausted.

        """
        began = time.monotonic()
        self._check(request.query)
        allowance.check("nothing was computed")
        with torch.inference_mode(), self._explained():
            try:
                image, found, cached = self._predict_all(request, pixels, allowance)
            except masks.NonFiniteError:
                self._switch_to_float32()
                allowance.restart()
                image, found, cached = self._predict_all(request, pixels, allowance)
        seconds = round(time.monotonic() - began, 4)
        head = Head(width=image.width, height=image.height, image_id=image.image_id, model_seconds=seconds)
        return Segmented(
            findings=pack(head, found),
            allocated_mib=self.allocated_mib(),
            dtype=self._trunk(),
            peak_mib=self._device.peak_mib(),
            host_peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            cached=cached,
            prompts=allowance.prompts,
            seconds=time.monotonic() - began,
        )

    def recover(self) -> None:
        """Free cached memory after a failed request; raises what CUDA raises if its context is broken."""
        self._features.clear()
        self._network.texts.clear()
        if self._device.kind == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()

    def _open_device(self) -> None:
        if not self._memory_mib:
            return
        self._device = gpu_memory.open_device()
        if self._device.kind == "cpu":
            raise WorkerError("error", "no GPU was found; set SAM3_GPU_MEMORY_MIB=0 to compute on the CPU")
        self._reserved.enter_context(self._device.reserve(self._memory_mib))
        if self._device.kind == "cuda":
            torch.cuda.synchronize()  # creates the context, which the copy would create otherwise

    def _switch_to_float32(self) -> None:
        """Replace a network whose numbers overflowed by one in float32, if SAM3_DTYPE allows it.

        Raises:
            NonFiniteError: it is in float32 already, or half precision is required.

        """
        if self._dtype != "auto" or self._network.trunk is torch.float32:
            raise masks.NonFiniteError
        log.warning("the model's numbers overflowed in %s; it computes in float32 from now on", self._trunk())
        self.recover()
        network = Network(self._folder, torch.float32)
        network.move(self._device)
        self._network = network

    def _trunk(self) -> str:
        return str(self._network.trunk).removeprefix("torch.")

    def _run_probe(self) -> None:
        """Run one inference, unless this model has passed it on this device already."""
        if not self._probed:
            grey = bytearray([128]) * (PROBE.width * PROBE.height * 3)
            objects = [] if self._network.tracker is None else [CLICK]
            query = PROBE.query.model_copy(update={"objects": objects})
            self.segment(PROBE.model_copy(update={"query": query}), grey, unlimited())
            self._features.clear()
            self._probed = True

    def _predict_all(
        self, request: Segment, pixels: bytearray, allowance: Allowance
    ) -> tuple[Features, list[Found], bool]:
        """Return the image, what was found for each prompt and object, and whether its features were cached."""
        image, cached = self._image(request, pixels)
        query = _fitted(request.query, image)
        found: list[Found] = []
        if query.prompts:
            levels = self._network.detector_levels(image)
            for prompt in query.prompts:
                found.append(self._find(levels, prompt, image, query, share(query, found), allowance))
        if query.needs_tracker:
            self._network.tracker_embeddings(image)
            found += [self._find_object(each, image, query, allowance) for each in query.objects]
        return image, found, cached

    def _image(self, request: Segment, pixels: bytearray) -> tuple[Features, bool]:
        """Return the features of a request's image, and whether they were cached."""
        image_id = request.query.image_id
        if image_id is None:
            key = image_key(request.width, pixels)
            return self._features.get_or_compute(key, lambda: self._computed(request, pixels, key))
        known = self._features.get(bytes.fromhex(image_id))
        if known is None:
            raise WorkerError("image", f"the server has no features of the image {image_id}; {SEND_AGAIN}")
        return known, True

    def _computed(self, request: Segment, pixels: bytearray, key: bytes) -> Features:
        hidden = self._network.vision_features(self._inputs.image(pixels, request.width, request.height))
        return Features(request.width, request.height, key.hex(), hidden)

    def _find(
        self, levels: Any, prompt: Prompt, image: Features, query: Query, most: int, allowance: Allowance
    ) -> Found:
        progress = _progress(query, allowance)
        allowance.check(progress)
        outputs = self._network.predict(levels, self._inputs.prompt(prompt, image.width, image.height))
        allowance.prompts += 1
        found = masks.instances(
            outputs,
            prompt.threshold,
            image.height,
            image.width,
            most,
            query.needs_masks,
            lambda: allowance.check(progress),
        )
        allowance.take(sum(map(len, found.masks or ())))
        return found

    def _find_object(self, prompt: ObjectPrompt, image: Features, query: Query, allowance: Allowance) -> Found:
        allowance.check(_progress(query, allowance))
        embeddings = self._network.tracker_embeddings(image)
        inputs = self._inputs.object(prompt, image.width, image.height)
        logits, score = self._network.segment_object(embeddings, inputs, prompt.multimask)
        allowance.prompts += 1
        (runs,) = masks.runs(logits.unsqueeze(0), image.height, image.width, as_logits=True)
        allowance.take(len(runs))
        box = box_of(runs, image.height, image.width)
        return Found([box], [score], [runs] if query.needs_masks else None, omitted=0)

    def _check(self, query: Query) -> None:
        """Pass a query that this model can answer; raises WorkerError."""
        if query.needs_tracker and self._network.tracker is None:
            raise WorkerError("unsupported", ABSENT)
        limit = self._network.longest_prompt
        for prompt in query.prompts:
            tokens = self._inputs.tokens(prompt.name)
            if tokens > limit:
                message = f"the prompt {prompt.name!r} has {tokens} tokens, {limit} are allowed; shorten it"
                raise WorkerError("prompt", message)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except masks.NonFiniteError as error:
            raise WorkerError("error", _overflow(self._network.trunk)) from error
        except gpu_memory.GpuUnavailable as error:
            raise WorkerError("error", str(error)) from error
        except torch.OutOfMemoryError as error:
            wanted = f"{self._memory_mib} MiB of GPU memory (SAM3_GPU_MEMORY_MIB)"
            raise WorkerError("memory", f"{wanted} are not enough, or are not free: {error}") from error


def _fitted(query: Query, image: Features) -> Query:
    """Return the query for its image, whose size is known only here where the query names it by its id."""
    if query.mask_pixels is None:
        return query
    try:
        return fitted(query, image.width, image.height, query.mask_pixels)
    except PromptError as error:
        raise WorkerError("prompt", str(error)) from error
    except TooMuchWorkError as error:
        raise WorkerError("work", str(error)) from error


def _progress(query: Query, allowance: Allowance) -> str:
    return f"{allowance.prompts} of {len(query.parts)} prompts were computed"


def trunk_dtype(wanted: str, on_gpu: bool) -> torch.dtype:
    """Return the trunk's dtype: `auto` is float16 on a GPU, as long as the numbers fit, and float32 on the CPU.

    Every GPU since Pascal has float16; bfloat16 has an eighth of its precision.
    """
    if wanted != "auto":
        return DTYPES[wanted]
    return torch.float16 if on_gpu else torch.float32


def _overflow(trunk: torch.dtype) -> str:
    if trunk is torch.float32:
        return "the model's numbers are not finite in float32 either: the weights in SAM3_MODEL are damaged"
    return "the model's numbers overflowed; set SAM3_DTYPE=auto or float32"
