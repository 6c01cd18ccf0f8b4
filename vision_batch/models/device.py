"""Which device a process computes on."""

from __future__ import annotations

import torch

NO_MEMORY = (
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",
    "HIP error: out of memory",
)
"""What CUDA and its libraries say when memory runs out; torch has an error of its own only for its own tensors on the
device. For pinned memory it raises AcceleratorError; the device goes on after all of these."""

CONTEXT_BYTES = 600 << 20
"""About what CUDA with its libraries takes of a device for each process, beside the tensors."""


def choose_device() -> torch.device:
    """The accelerator that this process may see (Ray shows an actor only its own), else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def use_threads(count: int) -> None:
    """For one operator on the CPU. torch counts them for each calling thread; a new one has but the decoders' single
    thread."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


def limit_memory(device: torch.device, share: float) -> None:
    """Keeps this process within its share of a GPU, so that it runs out of memory itself and not its neighbours."""
    if device.type == "cuda" and share < 1:
        total_bytes = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(usable_share(share, total_bytes), device)


def usable_share(share: float, total_bytes: int) -> float:
    """What of a device's memory tensors may take, when CUDA takes its own part of the share for each process."""
    return max(share / 2, share - CONTEXT_BYTES / total_bytes)


def lower_precision(device: torch.device) -> str | None:
    """The half precision that CUDA devices compute in natively: bf16, on older ones fp16; None for other devices."""
    if device.type != "cuda":
        return None
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "fp16" if torch.cuda.get_device_capability(device) >= (7, 0) else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the accelerator's memory, or the machine's for it, ran out, so that fewer images at once may help."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(words in text for words in NO_MEMORY)


def give_memory_back() -> None:
    """Has the accelerator's memory that nothing uses any more ready for everybody, in whatever sizes."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
