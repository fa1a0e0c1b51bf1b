# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A data directory and contexts to test a single step without its tools."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.fingerprint import fingerprint
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import StepSpec, Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json

PROGRAMS = ("lf/bin/python", "conv/bin/python")
LLAMA_CPP = ("llama.cpp/convert_hf_to_gguf.py", "llama.cpp/bin/llama-quantize", "llama.cpp/bin/llama-tokenize")

BASE = fingerprint("base", {"n": 1}, {})
DATASET = fingerprint("dataset", {"n": 1}, {})


class StepLab:
    """Paths of tools that exist and do nothing; no test starts one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = Layout(str(root / "data"))
        self.layout.create()
        for name in PROGRAMS + LLAMA_CPP:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        self.tools = Toolchain(str(root / "lf"), str(root / "conv"), str(root / "llama.cpp"))
        self.base = self.artifact("base", BASE, location=str(root / "base"))
        (root / "base").mkdir()
        self.dataset = self.artifact("dataset", DATASET)
        write_json(os.path.join(self.dataset, "dataset_info.json"), {"homelab": {"file_name": "data.jsonl"}})

    def artifact(self, kind: str, name: str, **results: t.Any) -> str:
        """An artifact that contains only a receipt."""
        path = self.layout.artifact(kind, name)
        os.makedirs(path)
        write_json(os.path.join(path, "receipt.json"), {"fingerprint": name, "results": results})
        return path

    def context(
        self, kind: str, upstream: t.Mapping[str, str], options: t.Mapping[str, t.Any], **settings: t.Any
    ) -> StepContext:
        """A job for a step, without a work directory."""
        spec = StepSpec(kind, fingerprint(kind, settings, upstream), dict(settings), dict(upstream), dict(options))
        job_dir = self.root / "job"
        job_dir.mkdir(exist_ok=True)
        return StepContext(self.layout, spec, self.tools, self.layout.work(kind, spec.fingerprint), str(job_dir))
