"""Puts a number on every accelerator that torch sees: `python -m vision_batch.cluster.torch_probe`.

The last line on standard output is a JSON object: `version`, `cuda` (what torch was built for, or null), `devices`.
"""

from __future__ import annotations

import json

import torch


def main() -> None:
    """Reports the accelerators that answer; a CUDA failure ends the process with its traceback."""
    devices = []
    for index in range(torch.cuda.device_count()):
        torch.ones(1, device=f"cuda:{index}").add_(1).cpu()
        devices.append(torch.cuda.get_device_name(index))
    print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "devices": devices}), flush=True)


if __name__ == "__main__":
    main()
