# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs all real steps of a fine-tune on a small disk that is full before or during each of them.

Usage: full_disk_real.py DISK ANSWER BASE HUB. Data directory and Ollama's models are on that disk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import sys
import threading
import time
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import registry
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import CoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.disk import disk_errors
from ansible_collections.ia_homelab.llamafactory.tests.support.full_disk import Ballast
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server, free_port
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import PROMPTS, TRAINING, toolchain, tree

#: Pages for the records of a run; some files of an artifact fit into them, but no weights.
RECORDS = 60
#: Too few pages for the rows of a dataset.
DATASET = 4


class Workspace:
    """A data directory and an Ollama server on one small disk."""

    def __init__(self, disk: Path, hub_model: str) -> None:
        self.disk = disk
        self.ballast = Ballast(disk)
        self.data = disk / "data"
        self.engine = Engine(str(self.data))
        self.layout = self.engine.layout
        self.server = Server(os.environ["IA_OLLAMA_BIN"], disk / "ollama", free_port())
        self.server.root.mkdir()
        self.hub_model = hub_model
        self.answer: dict[str, t.Any] = {"told": {}, "problems": []}

    def publish(self) -> None:
        """Publish the dataset, which is not a job."""
        with disk_errors(str(self.data)):
            registry.apply(
                self.layout, registry.Declaration("prompts"), [registry.Source("prompts.json", str(PROMPTS))]
            )

    def run(self, until: str) -> Run:
        """The fine-tune up to a step."""
        declared = {"name": "full", "base_model": self.hub_model, "dataset": "prompts", "keep_merged": True, **TRAINING}
        run = plan(self.layout, Request.finetune(declared), Host(toolchain(self.server.url), "cpu"))
        labels = [step.label for step in run.steps]
        steps = run.steps[: labels.index(until) + 1]
        return dataclasses.replace(run, id=f"full-{until}", goals=(until,), steps=steps)

    def apply(self, until: str) -> None:
        """Submit the run and follow it to the end.

        :raises CoreError: if it failed.
        """
        run = self.run(until)
        with disk_errors(str(self.data)):
            self.engine.submit(run)
            view = self.engine.follow(run.id, timeout=600)
        if view.state != "succeeded":
            error = view.error or {}
            problem = Message.from_stored(error or {"message": view.state})
            raise CoreError(problem, details=error.get("details"))

    def kept(self) -> dict[str, t.Any]:
        """All published artifacts and all registered models."""
        roots = [
            path
            for kind in ("base", "dataset", "train", "merge", "gguf", "register")
            for path in Path(self.layout.parent(kind)).glob("[0-9a-f]*")
        ]
        return {name: (facts[0], facts[2], facts[3], facts[5]) for name, facts in tree(*roots).items()}

    def strike(self, what: str, when: str, attempt: t.Callable[[], None]) -> None:
        """Run a step on a full disk, then with free space."""
        before, known = self.kept(), self.commands()
        stop = threading.Event()
        filler = threading.Thread(target=self._fill_during, args=(stop, known))
        if when == "before":
            self.ballast.leave(DATASET if what == "dataset" else RECORDS)
        else:
            filler.start()
        try:
            attempt()
        except CoreError as error:
            self.answer["told"][f"{what} {when}"] = str(error)
        except Exception as error:
            self.answer["problems"].append(f"{what} {when}: {type(error).__name__}: {error}")
        finally:
            stop.set()
            if filler.ident:
                filler.join()
        after = self.kept()
        if {name: after.get(name) for name in before} != before:
            self.answer["problems"].append(f"{what} {when}: earlier results are not as they were")
        self.ballast.drop()

    def commands(self) -> set[int]:
        """Records of started commands by inode, which stays the same when they are moved."""
        found = set()
        for path in self.data.glob("jobs/*/*/*/command.json"):
            with contextlib.suppress(FileNotFoundError):
                found.add(path.stat().st_ino)
        return found

    def _fill_during(self, stop: threading.Event, known: set[int]) -> None:
        """Fill the disk once a new command runs, and keep it full."""
        while not stop.is_set() and not self.commands() - known:
            time.sleep(0.01)
        while not stop.is_set():
            with contextlib.suppress(OSError):
                self.ballast.leave(0)
            time.sleep(0.02)

    def go_on(self, what: str, attempt: t.Callable[[], None]) -> None:
        """Check that the step succeeds with free space."""
        try:
            attempt()
        except CoreError as error:
            self.answer["problems"].append(f"{what}, with room again: {error}")


def main(disk: str, answer: str, hub_model: str) -> None:
    """Every step in turn."""
    workspace = Workspace(Path(disk), hub_model)
    workspace.server.start()
    try:
        workspace.layout.create()
        workspace.strike("dataset", "before", workspace.publish)
        workspace.go_on("dataset", workspace.publish)
        labels = [step.label for step in workspace.run("train").steps]
        assert labels[-1] == "train", labels
        for label in ("base", "train", "merge", "gguf-f16", "gguf-q4_K_M", "register-q4_K_M"):
            moments = ["before"] if label in ("gguf-q4_K_M", "base") else ["before", "during"]
            for when in moments:
                workspace.strike(label, when, lambda label=label: workspace.apply(label))  # type: ignore[misc]
            workspace.go_on(label, lambda label=label: workspace.apply(label))  # type: ignore[misc]
        workspace.answer["tags"] = sorted(str(model["name"]) for model in toolchain_tags(workspace))
        workspace.answer["leftovers"] = [
            str(path) for path in workspace.data.rglob(".*") if path.name.startswith((".work-", ".new-", ".gone-"))
        ]
    finally:
        workspace.server.stop(hard=True)
        with contextlib.suppress(OSError):
            shutil.copytree(workspace.data / "jobs", Path(answer).with_name("jobs"), dirs_exist_ok=True)
    Path(answer).write_text(json.dumps(workspace.answer))


def toolchain_tags(workspace: Workspace) -> list[dict[str, t.Any]]:
    """Models of the server."""
    from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama

    return Ollama(workspace.server.url).tags()


if __name__ == "__main__":
    main(*sys.argv[1:])
