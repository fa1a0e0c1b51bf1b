# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Step projector without llama.cpp: the converter's command, and the checks of its output."""

from __future__ import annotations

import os
import struct
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import JobError, NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.projector import ProjectorStep
from ansible_collections.ia_homelab.llamafactory.tests.support.step_lab import BASE, StepLab
from ansible_collections.ia_homelab.llamafactory.tests.support.weights import write_safetensors

#: Elements of the encoder of the base.
ELEMENTS = 8


def write_base(root: Path, *names: str) -> None:
    """Weights with a tensor of four elements for each name."""
    tensors = {name: ("F32", [2, 2], bytes(16)) for name in names}
    write_safetensors(root / "base" / "model.safetensors", tensors)


@pytest.fixture
def lab(tmp_path: Path) -> StepLab:
    """A base with an encoder of two tensors."""
    lab = StepLab(tmp_path)
    write_base(tmp_path, "visual.patch_embed.proj.weight", "visual.merger.mlp.0.weight", "model.norm.weight")
    return lab


@pytest.fixture
def ctx(lab: StepLab) -> StepContext:
    return lab.context("projector", {"base": BASE}, {"model_type": "qwen2_5_vl", "name": "Qwen2.5-VL-3B-Instruct"})


def write_gguf(path: str, elements: int = ELEMENTS, kind: str = "mmproj", cut: int = 0) -> None:
    """What the converter writes: one tensor.

    :param cut: bytes missing at the end.
    """

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    entries = [
        text("general.type") + struct.pack("<I", 8) + text(kind),
        text("clip.projector_type") + struct.pack("<I", 8) + text("qwen2.5vl_merger"),
    ]
    count = 1 if elements else 0
    info = text("v.patch_embd.weight") + struct.pack("<IQIQ", 1, elements, 0, 0) if count else b""
    raw = b"GGUF" + struct.pack("<IQQ", 3, count, len(entries)) + b"".join(entries) + info
    raw += bytes(-len(raw) % 32) + bytes(4 * elements + -4 * elements % 32)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_bytes(raw[: len(raw) - cut])


def test_the_command_converts_the_encoder_of_the_base(lab: StepLab, ctx: StepContext) -> None:
    Path(ctx.work).mkdir(parents=True)
    Path(ctx.work, "half").touch()
    command = ProjectorStep().command(ctx)
    assert command.argv[0] == str(lab.root / "conv/bin/python")
    assert os.path.basename(command.argv[1]) == "convert_by_hub_names.py" and os.path.exists(command.argv[1])
    assert command.argv[2:] == [
        str(lab.root / "llama.cpp/convert_hf_to_gguf.py"),
        "visual.",
        str(lab.root / "base"),
        "--mmproj",
        "--outtype",
        "f16",
        "--outfile",
        f"{ctx.work}/mmproj.gguf.part",
        "--model-name",
        "Qwen2.5-VL-3B-Instruct",
    ]
    assert os.listdir(ctx.work) == [], "what an earlier attempt left is removed"


def test_weights_without_an_encoder_are_refused(lab: StepLab, ctx: StepContext) -> None:
    """The converter would write a file without tensors, and end with status 0."""
    write_base(lab.root, "model.norm.weight", "lm_head.weight")
    with pytest.raises(NotReadyError, match="have no image encoder"):
        ProjectorStep().command(ctx)


def test_weights_of_newer_versions_of_transformers_have_an_encoder(lab: StepLab, ctx: StepContext) -> None:
    write_base(lab.root, "model.visual.merger.mlp.0.weight", "model.language_model.norm.weight")
    assert ProjectorStep().command(ctx).argv


def test_an_unknown_architecture_is_refused(lab: StepLab) -> None:
    (lab.root / "base" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(NotReadyError, match="architecture 'llama' is not known"):
        ProjectorStep().command(lab.context("projector", {"base": BASE}, {}))


def test_a_complete_file_gets_its_name(ctx: StepContext) -> None:
    write_gguf(f"{ctx.work}/mmproj.gguf.part")
    results = ProjectorStep().finish(ctx)
    assert os.listdir(ctx.work) == ["mmproj.gguf"]
    size = os.path.getsize(f"{ctx.work}/mmproj.gguf")
    assert results == {"bytes": size, "tensors": 1, "parameters": ELEMENTS, "projector": "qwen2.5vl_merger"}
    assert ProjectorStep().finish(ctx) == results, "it was killed after the rename"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (None, "ended without writing the image encoder"),
        ({"cut": 8}, "The GGUF file is incomplete"),
        ({"elements": 0}, "holds no tensors"),
        ({"elements": 4}, "has 4 parameters, and that of the base has 8"),
        ({"kind": "model"}, "has 8 parameters, and that of the base has 8"),
    ],
)
def test_a_defective_file_is_refused(ctx: StepContext, written: dict[str, t.Any] | None, message: str) -> None:
    os.makedirs(ctx.work)
    if written is not None:
        write_gguf(f"{ctx.work}/mmproj.gguf.part", **written)
    with pytest.raises(JobError, match=message):
        ProjectorStep().finish(ctx)
    assert not Path(ctx.work, "mmproj.gguf").exists()
