# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Weight files and checkpoints small enough to write by hand."""

from __future__ import annotations

import json
import os
import struct
import typing as t
import zipfile


def write_safetensors(path: str | os.PathLike[str], tensors: t.Mapping[str, tuple[str, list[int], bytes]]) -> str:
    """A safetensors file.

    :param tensors: type, shape and raw data by name.
    """
    header: dict[str, t.Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text + data)
    return os.fspath(path)


def write_adapter(directory: str | os.PathLike[str], value: float = 1.0) -> None:
    """An adapter with one tensor."""
    raw = struct.pack("<4f", *[value] * 4)
    write_safetensors(os.path.join(directory, "adapter_model.safetensors"), {"lora_A": ("F32", [2, 2], raw)})


def write_state(directory: str | os.PathLike[str], step: int, total: int, **more: t.Any) -> None:
    """A ``trainer_state.json``."""
    state = {"global_step": step, "max_steps": total, "epoch": step / 10, "log_history": [], **more}
    with open(os.path.join(directory, "trainer_state.json"), "w", encoding="utf-8") as stream:
        json.dump(state, stream)


def write_checkpoint(work: str | os.PathLike[str], step: int, total: int = 100) -> str:
    """Write a checkpoint of the Trainer with the files that are read."""
    path = os.path.join(work, f"checkpoint-{step}")
    os.makedirs(path)
    write_adapter(path)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        with zipfile.ZipFile(os.path.join(path, name), "w") as archive:
            archive.writestr("archive/data.pkl", b"x" * 500)
    write_state(path, step, total)
    return path
