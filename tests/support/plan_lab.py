# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host for planning: resolved bases, datasets, and results as supervisors leave them.

Nothing is trained, because planning reads receipts. For a GPU, a stand-in for nvidia-smi prints
what a real one did.
"""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import registry
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import (
    Chain,
    Goal,
    Identity,
    Serving,
    Training,
    compose,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run, RunStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import (
    make_dirs,
    read_json,
    write_json,
)

COMMIT = "a09a35458c702b33eeacc393d103063234e8bc28"
BASES = {"Qwen/Qwen2.5-7B-Instruct": 15242751861, "Qwen/Qwen2.5-0.5B-Instruct": 999584000}

Rows = t.Sequence[t.Mapping[str, t.Any]]


def rows(count: int, start: int = 0) -> list[dict[str, t.Any]]:
    """Rows of a dataset, all different."""
    return [{"instruction": f"Question {n} ?", "output": f"Réponse {n}."} for n in range(start, start + count)]


def nvidia_smi(
    directory: Path, total_mib: int, free_mib: int, name: str = "NVIDIA GeForce RTX 4090", capability: str = "8.9"
) -> Path:
    """Write a stand-in for nvidia-smi with one GPU; return its directory, for PATH.

    :param capability: compute capability; empty for a driver that does not know the field.
    """
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\ncase $1 in\n"
        f"--query-gpu=index,compute_cap) [ '{capability}' ] || exit 2\necho 'index, compute_cap'\n"
        f"echo '0, {capability}';;\n--query-gpu=*)\n"
        "echo 'index, name, memory.total [MiB], memory.free [MiB]'\n"
        f"echo '0, {name}, {total_mib} MiB, {free_mib} MiB';; esac\n"
    )
    program.chmod(0o755)
    return directory


def model_steps(
    base: Identity,
    dataset: str,
    settings: t.Mapping[str, t.Any],
    options: t.Mapping[str, t.Any],
    quantizations: t.Sequence[str],
    register: t.Mapping[str, t.Any] | None,
    gate: t.Mapping[str, t.Any] | None = None,
    export: str = "merged",
    aliases: t.Sequence[str] = ("latest",),
) -> tuple[list[RunStep], list[str]]:
    """The steps of a fine-tune from the base model on, and its goals.

    :param settings: of the training.
    :param register: settings of the registration; None ends with the GGUF files.
    """
    serving = Serving(register, {"name": options["name"]}, aliases=aliases, gate=gate) if register is not None else None
    training = Training(settings, options)
    chain = Chain({"dataset": dataset}, base, True, training, options, quantizations, export, serving=serving)
    return compose(chain, Goal.MODEL if serving else Goal.GGUF)


class PlanLab:
    """A data directory on a host that has resolved two base models."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = Layout(str(root / "data"))
        records = {
            f"{name}@main": {"hub": name, "commit": COMMIT, "gated": False, "bytes": size}
            for name, size in BASES.items()
        }
        make_dirs(self.layout.parent("base"))
        write_json(os.path.join(self.layout.parent("base"), "resolved.json"), records)

    def publish(self, name: str, records: Rows) -> registry.DatasetInfo:
        """Publish a dataset under a name."""
        found = registry.apply(
            self.layout, registry.Declaration(name), [Source("records", records=[dict(row) for row in records])]
        )
        assert found.dataset is not None
        return found.dataset

    def plan(self, accelerator: str = "cpu", write: bool = True, goal: Goal = Goal.MODEL, **declared: t.Any) -> Run:
        """Plan the run of a declaration."""
        raw = {"name": "homelab-model", "base_model": "qwen2.5:0.5b", "dataset": "homelab", **declared}
        return plan(self.layout, Request.finetune(raw, goal), Host(Toolchain(), accelerator, write=write))

    def make(self, run: Run, only: t.Container[str] | None = None, at: str = "2026-01-01T00:00:00Z") -> None:
        """Create results of a run that contain only receipts.

        :param only: labels of the steps; all of them by default.
        """
        for step in run.steps:
            spec = step.spec
            path = self.layout.artifact(spec.kind, spec.fingerprint)
            if (only is not None and step.label not in only) or os.path.exists(path):
                continue
            os.makedirs(path)
            receipt = {
                "schema": 1,
                **spec.as_dict(),
                "files": {},
                "results": {"duration_seconds": 60.0} if spec.kind == "train" else {},
                "run": run.id,
                "started_at": "2026-01-01T00:00:00Z",
                "finished_at": at,
            }
            write_json(os.path.join(path, "receipt.json"), receipt)

    def find(self, run: Run, finding: Message) -> None:
        """Add a finding to the results of the training that :meth:`make` has created."""
        spec = run.step("train").spec
        path = os.path.join(self.layout.artifact("train", spec.fingerprint), "receipt.json")
        receipt = read_json(path) or {}
        receipt["results"]["findings"] = [finding.as_dict()]
        write_json(path, receipt)

    def tree(self) -> dict[str, bytes]:
        """Every file below the data directory, with its content."""
        found = {}
        for directory, _names, files in os.walk(self.layout.root):
            for name in files:
                path = os.path.join(directory, name)
                with open(path, "rb") as stream:
                    found[path] = stream.read()
        return found
