"""SAM3 on a device: prepared in host memory, attached to the device, asked for one image at a time."""

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import Sam3Model, Sam3Processor

import gpu_memory
from sam3_server.worker import masks, telling
from sam3_server.worker.features import Features
from sam3_server.worker.protocol import Attached, Findings, Prompt, Query, Segment, Segmented, WorkerError

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
PROBE = Segment(width=64, height=64, query=Query(prompts=[Prompt(text="object")], max_instances=1))


class Sam3:
    """One SAM3 model. `memory_mib` is what it may take of the GPU; 0 computes on the CPU.

    Nothing here touches CUDA before `attach`, so that a worker that stands by holds no GPU memory at all. Where the
    CPU computes, the probe is run at once, and attaching has only the memory left to book.
    """

    def __init__(self, folder: Path, dtype: str, memory_mib: int, cached_images: int) -> None:
        transformers.utils.logging.disable_progress_bar()
        self._dtype = dtype
        self._memory_mib = memory_mib
        self._reserved = ExitStack()
        self._device: gpu_memory.Device = gpu_memory.CpuDevice()
        self._features = Features(cached_images)
        self._processor = Sam3Processor.from_pretrained(folder)
        stored = "auto" if dtype == "auto" else DTYPES[dtype]
        self._model = Sam3Model.from_pretrained(folder, dtype=stored, attn_implementation="sdpa").eval()
        self._proved = False
        if not memory_mib or gpu_memory.computes_on_host():
            self._cast("cpu")
            self._prove()

    def attach(self) -> Attached:
        """Reserve the memory, move the model to the device, and see that it answers.

        Raises:
            WorkerError: a GPU is wanted and there is none, less is free than the model needs, or the probe failed.

        """
        began = time.monotonic()
        with _explained(self._memory_mib):
            self._move()
        self._prove()
        return Attached(
            seconds=time.monotonic() - began,
            device=self._device.kind,
            dtype=str(self._model.dtype).removeprefix("torch."),
            allocated_mib=self._device.allocated_mib(),
        )

    def allocated_mib(self) -> int:
        """Return what this process holds of the GPU."""
        return self._device.allocated_mib()

    def segment(self, request: Segment, pixels: bytearray) -> Segmented:
        """Look for each prompt on the one image; its vision features are computed once, and kept for the next request.

        Raises:
            WorkerError: a prompt has more tokens than the text encoder takes, the numbers overflowed, or the image
                needs more memory than was reserved.

        """
        began = time.monotonic()
        query = request.query
        self._check_prompts(query.prompts)
        with torch.inference_mode(), _explained(self._memory_mib):
            features, cached = self._features.of(request.width, pixels, lambda: self._look(request, pixels))
            found = [self._find(features, prompt, request) for prompt in query.prompts]
        results, labels = telling.tell(query, found, request.width, request.height)
        findings = Findings(
            width=request.width,
            height=request.height,
            model_seconds=round(time.monotonic() - began, 4),
            results=results,
            yolo_labels=labels,
        )
        return Segmented(
            findings=findings.model_dump_json(exclude_none=True).encode(),
            allocated_mib=self.allocated_mib(),
            peak_mib=self._device.peak_mib(),
            host_peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            cached=cached,
        )

    def recover(self) -> None:
        """After a failed request give back cached memory; raises what CUDA raises if its context is broken."""
        self._features.drop()
        if self._device.kind == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()

    def _move(self) -> None:
        if self._memory_mib:
            self._device = gpu_memory.open_device()
            if self._device.kind == "cpu":
                raise WorkerError("error", "no GPU was found; set SAM3_GPU_MEMORY_MIB=0 to compute on the CPU")
            self._reserved.enter_context(self._device.reserve(self._memory_mib))
        self._cast(self._device.kind)
        self._model.to(self._device.torch_device)

    def _cast(self, device: str) -> None:
        dtype = choose_dtype(self._dtype, device)
        if self._model.dtype != dtype:
            self._model.to(dtype)

    def _prove(self) -> None:
        """Run one inference, unless this model has passed it on this device."""
        if not self._proved:
            grey = bytearray([128]) * (PROBE.width * PROBE.height * 3)
            self.segment(PROBE, grey)
            self._features.drop()
            self._proved = True

    def _look(self, request: Segment, pixels: bytearray) -> Any:
        array = np.frombuffer(pixels, np.uint8).reshape(request.height, request.width, 3)
        inputs = self._processor(images=array, return_tensors="pt", input_data_format="channels_last")
        return self._model.get_vision_features(inputs.pixel_values.to(self._model.device, self._model.dtype))

    def _find(self, features: Any, prompt: Prompt, request: Segment) -> masks.Instances:
        outputs = self._model(vision_embeds=features, **self._encoded(prompt, request))
        return masks.instances(
            outputs,
            prompt.threshold,
            request.height,
            request.width,
            request.query.max_instances,
            telling.needs_masks(request.query),
        )

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
            inputs["input_boxes"] = inputs["input_boxes"].to(self._model.dtype)
        return dict(inputs.to(self._model.device))

    def _check_prompts(self, prompts: list[Prompt]) -> None:
        limit = self._model.config.text_config.max_position_embeddings
        for prompt in prompts:
            tokens = len(self._processor.tokenizer(prompt.name).input_ids)
            if tokens > limit:
                message = f"the prompt {prompt.name!r} has {tokens} tokens, {limit} are allowed; shorten it"
                raise WorkerError("prompt", message)


@contextmanager
def _explained(memory_mib: int) -> Iterator[None]:
    try:
        yield
    except masks.NonFiniteError as error:
        raise WorkerError("error", "the model's numbers overflowed; set SAM3_DTYPE=float32") from error
    except gpu_memory.GpuUnavailable as error:
        raise WorkerError("error", str(error)) from error
    except torch.OutOfMemoryError as error:
        message = f"{memory_mib} MiB of GPU memory (SAM3_GPU_MEMORY_MIB) do not suffice, or are not free: {error}"
        raise WorkerError("memory", message) from error


def choose_dtype(wanted: str, device: str) -> torch.dtype:
    """Return the dtype to compute in: `auto` is what the device computes natively with the least memory."""
    if wanted != "auto":
        return DTYPES[wanted]
    if device != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
