# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the host as the job user: submits a run of one command that waits for a file, and prints its id.

The run consists of a step of the tests, which ``test_training_service.py`` adds to the core of the service.

Each time the command comes to its end, it adds a line to the file of its name in
``service/tmp``, where the service's sandbox lets it write.

Arguments: the data directory, the run's name, the file.
"""

from __future__ import annotations

import sys

from ia_homelab_core.engine.engine import Engine
from ia_homelab_core.planning.pipeline import make_run, make_step
from ia_homelab_core.runs.spec import Toolchain

data, name, awaited = sys.argv[1:]
script = f"while [ ! -e {awaited} ]; do sleep 0.2; done; echo ended >> {data}/service/tmp/{name}; touch result"
step = make_step("probe", {"run": name}, {}, {"argv": ["/bin/sh", "-c", script], "expects": ["result"]}, "step-0")
run = make_run(name, [step], [step.label], Toolchain())
Engine(data).submit(run)
print(run.id)
