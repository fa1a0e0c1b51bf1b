# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A data directory whose fine-tunes are toys that are really trained, converted, registered and evaluated."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import registry
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.status import RunView
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import make_tiny_base

FILES = Path(__file__).resolve().parents[2] / "playbooks" / "files"
PROMPTS = json.loads((FILES / "homelab_prompts.json").read_text("utf-8"))


def respelled(rows: t.Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Rows with the same answers to questions that are spelled differently: with others no toy answers right."""
    return [{**row, "instruction": row["instruction"].rstrip(" ?.")} for row in rows]


class Workspace:
    """One data directory, a declaration that can be changed, and a server."""

    def __init__(self, root: Path, server: Server) -> None:
        self.layout = Layout(str(root / "data"))
        self.layout.create()
        self.engine = Engine(self.layout.root)
        self.server = server
        self.ollama = Ollama(server.url, slow_timeout=300)
        self.base = str(root / "tiny-base")
        self.tools = Toolchain(
            os.environ["IA_LF_VENV"], os.environ["IA_CONV_VENV"], os.environ["IA_LLAMA_CPP_DIR"], server.url
        )
        make_tiny_base(Path(self.base))

    def publish(self, name: str, records: list[dict[str, str]]) -> None:
        """Publish a dataset."""
        registry.apply(self.layout, registry.Declaration(name), [registry.Source("records", records=records)])

    def plan(self, **declared: t.Any) -> Run:
        """Plan the run of a declaration."""
        whole = {
            "name": "measured", "base_model": self.base, "dataset": "homelab", "template": "qwen", "method": "lora",
            "epochs": 28, "learning_rate": 3e-3, "batch_size": 6, "gradient_accumulation": 1, "cutoff_len": 512,
            "save_steps": 1000, "quantizations": ["q8_0", "q4_K_M"], **declared,
        }  # fmt: skip
        return plan(self.layout, Request.finetune(whole), Host(self.tools, "cpu"))

    def apply(self, **declared: t.Any) -> tuple[Run, tuple[str, ...], RunView]:
        """Apply a declaration; returns the run, what was to be made, and its end."""
        run = self.plan(**declared)
        asked = self.engine.submit(run)
        view = self.engine.follow(run.id, timeout=600) if asked.pending else asked.view
        return run, asked.pending, view

    def report(self, run: Run) -> dict[str, t.Any]:
        """The report of the evaluation of a run."""
        path = Path(self.layout.artifact("evaluate", run.step("evaluate").spec.fingerprint))
        return dict(json.loads((path / "report.json").read_text("utf-8")))

    def answers(self, run: Run) -> list[dict[str, t.Any]]:
        """The answers so far, of the job that runs or of the artifact."""
        spec = run.step("evaluate").spec
        for path in (
            self.layout.work("evaluate", spec.fingerprint),
            self.layout.artifact("evaluate", spec.fingerprint),
        ):
            file = Path(path, "answers.jsonl")
            if file.exists():
                lines = file.read_text("utf-8").splitlines(keepends=True)
                return [json.loads(line) for line in lines if line.endswith("\n")]
        return []

    def worker(self, run: Run) -> int:
        """Process id of the command of the running job."""
        path = max((self.layout_jobs() / run.id).glob("evaluate-*/command.json"))
        return int(json.loads(path.read_text("utf-8"))["pid"])

    def layout_jobs(self) -> Path:
        """Directory of the active runs."""
        return Path(self.layout.jobs, "active")
