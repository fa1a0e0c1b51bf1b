# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the host as the job user, who attacks root: plants links and records wherever root once worked.

Arguments: the data directory, a base model, a directory of root's, a program that records who executes it.
"""

from __future__ import annotations

import json
import os
import sys

from ia_homelab_core.engine.drift_checks import DriftChecks
from ia_homelab_core.engine.engine import Engine
from ia_homelab_core.planning.planner import plan
from ia_homelab_core.planning.request import Host, Request
from ia_homelab_core.runs.spec import Toolchain
from ia_homelab_core.steps.registry import runner_of

data, base, precious, spy = sys.argv[1:]


def link(name: str, *parts: str) -> None:
    """Put a link to a file of root's at a name in the data directory."""
    path = os.path.join(data, *parts, name)
    if os.path.lexists(path):
        os.rename(path, path + ".moved")
    os.symlink(os.path.join(precious, name), path)


engine = Engine(data)
run = plan(engine.layout, Request.base_model(base, "main"), Host(Toolchain()))
engine.store.prepare()
with engine.store.lock():
    engine._enqueue(run, DriftChecks(engine.layout))
    record = engine.store.record(run.id)
    step = record.run.steps[0]
    job = engine.store.add_job(record, record.run, step.label, False, runner_of(record.run, step.spec))
core = os.path.join(data, "core", "0.0.1-0123456789ab")
os.makedirs(os.path.join(core, "ia_homelab_core"))
with open(os.path.join(core, "ia_homelab_core", "main.py"), "w", encoding="utf-8") as stream:
    stream.write(f"import os\nos.execv({spy!r}, [{spy!r}])\n")
path = os.path.join(record.directory, "run.json")
with open(path, encoding="utf-8") as stream:
    value = json.load(stream)
with open(path, "w", encoding="utf-8") as stream:
    json.dump({**value, "python": spy, "core_dir": core}, stream)
how = {"argv": [spy], "env": {}, "cwd": "/", "uid": 0, "gid": 0, "log": os.path.join(precious, "log.txt"), "port": 1}
servers = [{"kind": "process", "name": "ollama", "is_ollama": True, "how": {**how, "log": "/dev/null", "record": ""}}]
with open(os.path.join(data, "jobs", "gpu_loan.json"), "w", encoding="utf-8") as stream:
    json.dump({"job": "gone/train-1", "servers": servers}, stream)
for name in ("log.txt", "supervisor.log", "supervisor.lock", "command.json", "launch.json", "progress.json"):
    link(name, job.directory)
link("tmp", "service")
link("places.json")
link("tokenizer.model", "models", "base")
print(run.id)
