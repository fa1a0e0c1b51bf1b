# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A data directory with versions of models that were never trained: receipts, and files of a few bytes."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.integrity import artifact_defect
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.fingerprint import fingerprint
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import (
    Identity,
    make_step,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.lineage import (
    tag_of,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import Releases
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.recipes import with_recipe
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.retention import (
    Policy,
    prune,
    surplus,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import RunStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import (
    make_dirs,
    write_json,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import model_steps
from ansible_collections.ia_homelab.llamafactory.tests.support.shelf import Shelf

SOURCES = [{"label": "prompts|.json", "sha256": "5" * 64, "bytes": 9, "commit": "c" * 40, "dirty": True}]
BASE_SETTINGS = {"hub": "Qwen/Qwen2.5-0.5B", "commit": "1" * 40}
BASE = Identity(fingerprint("base", BASE_SETTINGS, {}), BASE_SETTINGS)


class ModelStore:
    """Versions of models, as receipts and files of a few bytes.

    :param recipe: recipe of their registrations.
    """

    def __init__(self, root: Path, recipe: int = 1) -> None:
        self.recipe = recipe
        self.layout = Layout(str(root))
        self.layout.create()
        self.shelf = Shelf()
        self.clock = 0

    def make(
        self, epochs: int, name: str = "m", system: str = "", export: str = "merged", digest: str = ""
    ) -> list[RunStep]:
        """Add a version that is registered and promoted.

        :param digest: digest of the model in Ollama; unique by default.
        """
        resolved = {"method": "lora", "epochs": epochs, "learning_rate": 2e-4, "seed": 42, "extra": {"a|b": 1}}
        options = {"name": name, "resolved": resolved, "sources": SOURCES}
        settings = with_recipe({"name": name, "system": system}, self.recipe)
        steps, _goals = model_steps(BASE, "d" * 64, {"epochs": epochs}, options, ["q4_K_M"], settings, export=export)
        results = {"metrics": {"train_loss": 0.5}, "rows": 50, "name": "homelab", "quantization": "q4_K_M"}
        for step in steps:
            self.write(step, results)
        tag = self.tag(steps)
        self.shelf.models[tag] = digest or steps[-1].spec.fingerprint
        Releases(self.layout, name).promote(self.shelf.ollama, tag, [f"{name}:latest"])
        return steps

    def write(self, step: RunStep, results: dict[str, t.Any]) -> None:
        self.clock += 1
        path = self.layout.artifact(step.spec.kind, step.spec.fingerprint)
        make_dirs(path)
        if os.path.exists(f"{path}/receipt.json"):
            return
        Path(path, "weights").write_bytes(b"x" * 1000)
        Path(path, "README.md").write_text("card")
        at = f"2026-01-01T00:00:{self.clock:02d}.000Z"
        files = {"weights": {"bytes": 1000}}
        write_json(
            f"{path}/receipt.json", {**step.spec.as_dict(), "finished_at": at, "files": files, "results": results}
        )

    @staticmethod
    def by_recipe(register: RunStep, recipe: int) -> RunStep:
        """Return the registration of the same version by another recipe."""
        spec = register.spec
        return make_step("register", with_recipe(spec.settings, recipe), spec.upstream, spec.options, register.label)

    @staticmethod
    def tag(steps: list[RunStep]) -> str:
        return tag_of(steps[-1].spec.as_dict())

    def complete_steps(self, steps: list[RunStep]) -> list[str]:
        """Labels of the steps whose files exist."""
        labels = []
        for step in steps:
            spec = step.spec
            complete = Path(self.layout.artifact(spec.kind, spec.fingerprint), "weights").exists()
            assert complete == (artifact_defect(self.layout, spec.kind, spec.fingerprint) is None)
            labels += [step.label] if complete else []
        return labels

    def surplus(self, **policy: t.Any) -> set[tuple[str, str]]:
        return {(item.kind, item.name) for item in surplus(self.layout, "m", Policy(**policy), self.shelf.tags())}

    def prune(self, **policy: t.Any) -> None:
        planned = self.surplus(**policy)
        removed = prune(self.layout, "m", Policy(**policy), self.shelf.ollama)
        assert {(item.kind, item.name) for item in removed} == planned, "prune() removes what surplus() lists"
        assert self.surplus(**policy) == set()
