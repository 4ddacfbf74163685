"""SAM3 on a device: prepared in host memory, attached to the device, asked for one image at a time."""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import transformers
from transformers import Sam3Model, Sam3Processor

import gpu_memory
from sam3_server.worker import masks
from sam3_server.worker.protocol import Attached, Prompt, PromptResult, Segment, Segmented, WorkerError

log = logging.getLogger(__name__)

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


class Sam3:
    """One SAM3 model. `memory_mib` is what it may take of the GPU; 0 computes on the CPU.

    Nothing here touches CUDA before `attach`, so that a worker that stands by holds no GPU memory at all.
    """

    def __init__(self, folder: Path, dtype: str, memory_mib: int) -> None:
        transformers.utils.logging.disable_progress_bar()
        self._dtype = dtype
        self._memory_mib = memory_mib
        self._reserved = ExitStack()
        self._device: gpu_memory.Device = gpu_memory.CpuDevice()
        self._processor = Sam3Processor.from_pretrained(folder)
        stored = "auto" if dtype == "auto" else DTYPES[dtype]
        self._model = Sam3Model.from_pretrained(folder, dtype=stored, attn_implementation="sdpa").eval()

    def attach(self) -> Attached:
        """Reserve the memory and move the model to the device.

        Raises:
            WorkerError: a GPU is wanted and there is none, or less is free than the model needs.

        """
        began = time.monotonic()
        with _explained(self._memory_mib):
            dtype = self._move()
        return Attached(
            seconds=time.monotonic() - began,
            device=self._device.kind,
            dtype=str(dtype).removeprefix("torch."),
            allocated_mib=self._device.allocated_mib(),
        )

    def allocated_mib(self) -> int:
        """Return what this process holds of the GPU."""
        return self._device.allocated_mib()

    def segment(self, request: Segment, pixels: bytearray) -> Segmented:
        """Look for each prompt on the one image; its vision features are computed once.

        Raises:
            WorkerError: a prompt has more tokens than the text encoder takes, the numbers overflowed, or the image
                needs more memory than was reserved.

        """
        began = time.monotonic()
        self._check_prompts(request.prompts)
        array = np.frombuffer(pixels, np.uint8).reshape(request.height, request.width, 3)
        with torch.inference_mode(), _explained(self._memory_mib):
            results = list(self._results(array, request))
        return Segmented(seconds=time.monotonic() - began, allocated_mib=self.allocated_mib(), results=results)

    def recover(self) -> None:
        """After a failed request give back cached memory; raises what CUDA raises if its context is broken."""
        if self._device.kind == "cuda":
            torch.cuda.synchronize()
            torch.cuda.empty_cache()

    def _move(self) -> torch.dtype:
        if self._memory_mib:
            self._device = gpu_memory.open_device()
            if self._device.kind == "cpu":
                raise WorkerError("error", "no GPU was found; set SAM3_GPU_MEMORY_MIB=0 to compute on the CPU")
            self._reserved.enter_context(self._device.reserve(self._memory_mib))
        dtype = choose_dtype(self._dtype, self._device.kind)
        if self._model.dtype != dtype:
            self._model.to(dtype)
        self._model.to(self._device.torch_device)
        return dtype

    def _results(self, array: npt.NDArray[np.uint8], request: Segment) -> Iterator[PromptResult]:
        inputs = self._processor(images=array, return_tensors="pt", input_data_format="channels_last")
        features = self._model.get_vision_features(inputs.pixel_values.to(self._model.device, self._model.dtype))
        for prompt in request.prompts:
            text = self._processor(text=prompt.text, return_tensors="pt").to(self._model.device)
            outputs = self._model(vision_embeds=features, **text)
            found = masks.detections(outputs, request.threshold, request.height, request.width)
            yield PromptResult(prompt=prompt.text, detections=found)

    def _check_prompts(self, prompts: list[Prompt]) -> None:
        limit = self._model.config.text_config.max_position_embeddings
        for prompt in prompts:
            tokens = len(self._processor.tokenizer(prompt.text).input_ids)
            if tokens > limit:
                message = f"the prompt {prompt.text!r} has {tokens} tokens, {limit} are allowed; shorten it"
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
