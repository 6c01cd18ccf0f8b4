"""Which device a process computes on."""

from __future__ import annotations

import torch


def choose_device() -> torch.device:
    """The accelerator that this process may see (Ray shows an actor only its own), else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
