# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step gguf_adapter without llama.cpp: the converter's command, and the checks of its output."""

from __future__ import annotations

import os
import struct
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import JobError, NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import tool_environment
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.gguf_adapter import GgufAdapterStep
from ansible_collections.ia_homelab.llamafactory.tests.support.step_lab import BASE, StepLab
from ansible_collections.ia_homelab.llamafactory.tests.support.weights import write_safetensors

TRAIN = "7" * 64


@pytest.fixture
def lab(tmp_path: Path) -> StepLab:
    """A base, and a training whose adapter has two tensors."""
    lab = StepLab(tmp_path)
    (tmp_path / "llama.cpp/convert_lora_to_gguf.py").touch()
    trained = lab.artifact("train", TRAIN)
    tensors = {name: ("F32", [2, 2], bytes(16)) for name in ("lora_A", "lora_B")}
    write_safetensors(Path(trained, "adapter_model.safetensors"), tensors)
    return lab


@pytest.fixture
def ctx(lab: StepLab) -> StepContext:
    return lab.context("gguf_adapter", {"base": BASE, "train": TRAIN}, {"name": "m"})


def write_gguf(path: str, tensors: int = 2, kind: str = "adapter", cut: int = 0) -> None:
    """What the converter writes.

    :param cut: bytes missing at the end.
    """

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    entries = [
        text("general.type") + struct.pack("<I", 8) + text(kind),
        text("adapter.lora.alpha") + struct.pack("<If", 6, 16.0),
    ]
    infos = b"".join(text(f"t{n}") + struct.pack("<IQIQ", 1, 8, 0, 32 * n) for n in range(tensors))
    raw = b"GGUF" + struct.pack("<IQQ", 3, tensors, len(entries)) + b"".join(entries) + infos
    raw += bytes(-len(raw) % 32) + bytes(32 * tensors)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_bytes(raw[: len(raw) - cut])


def test_the_command_converts_the_adapter_for_its_base(lab: StepLab, ctx: StepContext) -> None:
    Path(ctx.work).mkdir(parents=True)
    Path(ctx.work, "half").touch()
    command = GgufAdapterStep().command(ctx)
    assert command.argv == [
        str(lab.root / "conv/bin/python"),
        str(lab.root / "llama.cpp/convert_lora_to_gguf.py"),
        "--base",
        str(lab.root / "base"),
        "--outtype",
        "f16",
        "--outfile",
        f"{ctx.work}/adapter.gguf.part",
        lab.layout.artifact("train", TRAIN),
    ]
    assert os.listdir(ctx.work) == [], "what an earlier attempt left is removed"


def test_a_training_without_an_adapter_is_refused(lab: StepLab, ctx: StepContext) -> None:
    Path(lab.layout.artifact("train", TRAIN), "adapter_model.safetensors").unlink()
    with pytest.raises(NotReadyError, match="There is no adapter in") as caught:
        GgufAdapterStep().command(ctx)
    assert caught.value.hint == "Only the methods lora and qlora make one."


def test_too_little_disk_is_told_before_the_command(ctx: StepContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_environment, "free_bytes", lambda _path: 10)
    with pytest.raises(NotReadyError, match="of disk"):
        GgufAdapterStep().command(ctx)


def test_a_complete_file_gets_its_name(ctx: StepContext) -> None:
    write_gguf(f"{ctx.work}/adapter.gguf.part")
    results = GgufAdapterStep().finish(ctx)
    assert os.listdir(ctx.work) == ["adapter.gguf"]
    assert results == {"bytes": os.path.getsize(f"{ctx.work}/adapter.gguf"), "tensors": 2, "scale": 16.0}
    assert GgufAdapterStep().finish(ctx) == results, "it was killed after the rename"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (None, "The converter ended without writing a GGUF file"),
        ({"cut": 8}, "The GGUF file is incomplete"),
        ({"cut": 200}, "The GGUF file is incomplete"),
        ({"tensors": 1}, "holds 1 tensors of an adapter, the training's result 2"),
        ({"kind": "model"}, "holds 2 tensors of an adapter, the training's result 2"),
    ],
)
def test_a_defective_file_is_refused(ctx: StepContext, written: dict[str, t.Any] | None, message: str) -> None:
    os.makedirs(ctx.work)
    if written is not None:
        write_gguf(f"{ctx.work}/adapter.gguf.part", **written)
    with pytest.raises(JobError, match=message):
        GgufAdapterStep().finish(ctx)
    assert not Path(ctx.work, "adapter.gguf").exists()
