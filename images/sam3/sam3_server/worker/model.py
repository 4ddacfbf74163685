"""SAM3 on a device: prepared in host memory, attached to the device, given one image at a time."""

import logging
import math
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import Sam3Processor

import gpu_memory
from sam3_server.worker import masks
from sam3_server.worker.allowance import Allowance, unlimited
from sam3_server.worker.bounds import share
from sam3_server.worker.instances import Found, Head, pack
from sam3_server.worker.network import Levels, Network
from sam3_server.worker.protocol import Attached, Prompt, Query, Segment, Segmented, WorkerError
from sam3_server.worker.recent import Recent, image_key

log = logging.getLogger(__name__)

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
PROBE = Segment(width=64, height=64, query=Query(prompts=[Prompt(text="object")], max_instances=1), seconds=math.inf)


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
        self._features: Recent[Levels] = Recent(cached_images)
        self._processor = Sam3Processor.from_pretrained(folder)
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
            self._move()
        self._run_probe()
        return Attached(
            seconds=time.monotonic() - began,
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
        """Find each prompt on the image; its vision features are computed once, and cached for the next request.

        Raises:
            WorkerError: a prompt has more tokens than the text encoder takes, the numbers overflowed, the image needs
                more memory than was reserved, or the allowance is exhausted.

        """
        began = time.monotonic()
        query = request.query
        self._check_prompts(query.prompts)
        allowance.check("nothing was computed")
        with torch.inference_mode(), self._explained():
            try:
                found, cached = self._predict_all(request, pixels, allowance)
            except masks.NonFiniteError:
                self._switch_to_float32()
                allowance.restart()
                found, cached = self._predict_all(request, pixels, allowance)
        head = Head(width=request.width, height=request.height, model_seconds=round(time.monotonic() - began, 4))
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

    def _move(self) -> None:
        if self._memory_mib:
            self._device = gpu_memory.open_device()
            if self._device.kind == "cpu":
                raise WorkerError("error", "no GPU was found; set SAM3_GPU_MEMORY_MIB=0 to compute on the CPU")
            self._reserved.enter_context(self._device.reserve(self._memory_mib))
        self._network.move(self._device)

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
            self.segment(PROBE, grey, unlimited())
            self._features.clear()
            self._probed = True

    def _predict_all(self, request: Segment, pixels: bytearray, allowance: Allowance) -> tuple[list[Found], bool]:
        """Return what was found for each prompt, and whether the image's features were cached."""
        levels, cached = self._features.get_or_compute(
            image_key(request.width, pixels), lambda: self._vision_features(request, pixels)
        )
        image, query = self._network.as_float32(levels), request.query
        found: list[Found] = []
        for prompt in query.prompts:
            found.append(self._predict(image, prompt, request, share(query, found), allowance))
        return found, cached

    def _vision_features(self, request: Segment, pixels: bytearray) -> Levels:
        array = np.frombuffer(pixels, np.uint8).reshape(request.height, request.width, 3)
        inputs = self._processor(images=array, return_tensors="pt", input_data_format="channels_last")
        return self._network.vision_features(inputs.pixel_values)

    def _predict(self, image: Levels, prompt: Prompt, request: Segment, most: int, allowance: Allowance) -> Found:
        progress = f"{allowance.prompts} of {len(request.query.prompts)} prompts were computed"
        allowance.check(progress)
        outputs = self._network.predict(image, self._encoded(prompt, request))
        allowance.prompts += 1
        found = masks.instances(
            outputs,
            prompt.threshold,
            request.height,
            request.width,
            most,
            request.query.needs_masks,
            lambda: allowance.check(progress),
        )
        allowance.take(sum(map(len, found.masks or ())))
        return found

    def _encoded(self, prompt: Prompt, request: Segment) -> dict[str, torch.Tensor]:
        boxes = [list(exemplar.box) for exemplar in prompt.exemplars]
        inputs = self._processor(
            text=prompt.name,
            input_boxes=[boxes] if boxes else None,
            input_boxes_labels=[[int(exemplar.positive) for exemplar in prompt.exemplars]] if boxes else None,
            original_sizes=[[request.height, request.width]],
            return_tensors="pt",
        )
        del inputs["original_sizes"]
        if boxes:
            inputs["input_boxes"] = inputs["input_boxes"].float()
        return dict(inputs)

    def _check_prompts(self, prompts: list[Prompt]) -> None:
        limit = self._network.longest_prompt
        for prompt in prompts:
            tokens = len(self._processor.tokenizer(prompt.name).input_ids)
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
