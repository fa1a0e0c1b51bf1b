# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts that train one model together through plays, with real LLaMA-Factory: torchrun and gloo on CPUs."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.tests.support.node_lab import HOME, NodeLab
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import (
    TRAINING,
    Played,
    PlayLab,
    make_tiny_base,
)

NAMES = ("pc-a", "pc-b")


class Nodes(PlayLab):
    """Two hosts with the same base model; runs end with the GGUF file."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        super().__init__(root, f"{HOME}/base")
        self.lab = NodeLab(root / "lab", NAMES)
        base = make_tiny_base(root / "base")
        for name in NAMES:
            shutil.copytree(base, self.lab.home(name) / "base")
        self.inventory.write_text(json.dumps({"pc_ia": {"hosts": {name: self.lab.variables(name) for name in NAMES}}}))
        self.declared["llamafactory_data_dir"] = f"{HOME}/data"
        # slow, so that the tests can act during it
        more = {**TRAINING, "epochs": 30, "quantization": "f16", "register": False, "nodes": ["pc_ia"]}
        self.finetune = {"name": "pair", "base_model": f"{HOME}/base", "dataset": "prompts", **more}
        self.declared["finetunes"] = [self.finetune]

    def on(self, name: str) -> Layout:
        """The data directory of a host, by its path on this machine."""
        return Layout(str(self.lab.home(name) / "data"))

    def steps(self, name: str, since: float) -> int:
        """Steps of the training that started after a given time."""
        found = Path(self.on(name).root).glob("outputs/adapters/.work-*/trainer_log.jsonl")
        return sum(len(path.read_text().splitlines()) for path in found if path.stat().st_mtime > since)

    def begin(self) -> t.Callable[[], Played]:
        """Run a play in the background until the training has done some steps; return a function that waits for it."""
        came: list[Played] = []
        thread = threading.Thread(target=lambda: came.append(self.play(within=self.lab.within())))
        began = time.time()
        thread.start()
        end = time.monotonic() + 900
        while self.steps("pc-a", began) < 5:
            assert thread.is_alive(), came[0].output[-6000:]
            assert time.monotonic() < end, "it does not begin"
            time.sleep(0.2)

        def ended() -> Played:
            thread.join(300)
            assert came, "the play does not end"
            return came[0]

        return ended

    def outcomes(self, name: str) -> list[dict[str, t.Any]]:
        """How the trainings on a host ended."""
        found = Path(self.on(name).jobs).glob("*/*/train*/outcome.json")
        return [json.loads(path.read_text()) for path in found]

    def both_ended(self, before: t.Mapping[str, int], since: float) -> dict[str, dict[str, t.Any]]:
        """Wait at most a minute for the end of the trainings on both hosts; return their errors."""
        while not all(len(self.outcomes(name)) > before[name] for name in NAMES):
            assert time.monotonic() - since < 60, {name: self.outcomes(name) for name in NAMES}
            time.sleep(0.2)
        last = {name: max(self.outcomes(name), key=lambda outcome: outcome["finished_at"]) for name in NAMES}
        assert {name: outcome["state"] for name, outcome in last.items()} == dict.fromkeys(NAMES, "failed")
        return {name: outcome["error"] for name, outcome in last.items()}

    def worker(self, name: str) -> int:
        """The process id of the training, in the host's numbering."""
        lines = self.lab.on(name, "ps", "-ww", "-eo", "pid,args").splitlines()
        (pid,) = [int(line.split()[0]) for line in lines if re.search(r"python\S* -u \S+/launcher\.py ", line)]
        return pid

    def left_running(self) -> dict[str, list[str]]:
        """Processes of LLaMA-Factory that are left on each host."""
        found = {name: self.lab.on(name, "ps", "-ww", "-eo", "args").splitlines() for name in NAMES}
        mine = re.compile(r"llamafactory_cli|launcher\.py|\.main supervise")
        left = {name: [line for line in lines if mine.search(line)] for name, lines in found.items()}
        return {name: lines for name, lines in left.items() if lines}

    def receipts(self, name: str, kind: str) -> list[dict[str, t.Any]]:
        """The receipts of a kind on a host."""
        found = Path(self.on(name).parent(kind)).glob("*/receipt.json")
        return [json.loads(path.read_text()) for path in found]
