"""What errors of PyTorch and its libraries mean; the texts are those that they raise."""

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from yolo_trainer.training.failures import ULTRALYTICS_OUT_OF_MEMORY, is_out_of_memory, shared_memory_problem

FULL_GPU = [
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 14.58 GiB",
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
    "CUDA driver error: out of memory",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "GET was unable to find an engine to execute this computation",
    "FIND was unable to find an engine to execute this computation after trying 6 plans.",
    "Unable to find a valid cuDNN algorithm to run convolution",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( handle, opa, opb, m, n, k)`",
    "cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate(handle)`",
]
SHARED_MEMORY = [
    "DataLoader worker (pid 71) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
    "shared memory. Please try to raise your shared memory limit.",
    "unable to write to file </torch_71_1842>: No space left on device (28)",
    "unable to open shared memory object </torch_71_1842> in read-write mode: Too many open files (24)",
    "unable to allocate shared memory(shm) for file </torch_71_1842>: No space left on device (28)",
    "Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File "
    '"x.py", line 1\nRuntimeError: unable to mmap 4915200 bytes from file </torch_71_2>: Cannot allocate memory (12)',
]
NEITHER = [
    "CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm( handle, opa, opb, m, n, k)`",
    "cuDNN error: CUDNN_STATUS_BAD_PARAM",
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input.",
    "cuDNN error: CUDNN_STATUS_ARCH_MISMATCH",
    "CUDA error: device-side assert triggered",
    "CUDA error: an illegal memory access was encountered",
    "Triton Error: out of resource: shared memory, Required: 106496, Hardware limit: 101376",
    "DataLoader worker (pid 71) exited unexpectedly with exit code 1.",
]


@pytest.mark.parametrize("text", FULL_GPU)
def test_each_error_of_a_full_gpu_is_out_of_memory(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))
    assert shared_memory_problem(RuntimeError(text)) is None


@pytest.mark.parametrize("text", SHARED_MEMORY)
def test_full_shared_memory_says_what_to_change(text: str) -> None:
    error = RuntimeError(text)

    assert not is_out_of_memory(error)
    said = shared_memory_problem(error)
    assert said is not None
    assert "lower training.args.workers" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("text", NEITHER)
def test_another_error_is_neither(text: str) -> None:
    assert not is_out_of_memory(RuntimeError(text))
    assert shared_memory_problem(RuntimeError(text)) is None


def test_a_file_that_says_so_is_no_full_gpu() -> None:
    assert not is_out_of_memory(ValueError("the class 'out of memory' is unknown"))


def test_the_texts_include_all_of_ultralytics() -> None:
    """Its list is in the middle of its training loop: a release with more texts fails here."""
    spec = find_spec("ultralytics")
    assert spec is not None
    assert spec.origin is not None
    source = (Path(spec.origin).parent / "engine" / "trainer.py").read_text(encoding="utf-8")
    loop = next(
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and node.name == "_do_train"
    )
    handler = next(node for node in ast.walk(loop) if isinstance(node, ast.ExceptHandler))
    texts = {
        element.value.lower()
        for comparison in ast.walk(handler)
        if isinstance(comparison, ast.GeneratorExp | ast.Compare)
        for element in ast.walk(comparison)
        if isinstance(element, ast.Constant) and isinstance(element.value, str)
    }

    assert texts == set(ULTRALYTICS_OUT_OF_MEMORY)
