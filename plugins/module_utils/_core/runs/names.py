# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of fine-tunes and runs, and of the files in the directories of runs and jobs.

The names of the files are stored: another version finds the files by them.
"""

from __future__ import annotations

import re

#: The name of a fine-tune, as a regular expression without anchors.
FINETUNE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}"

#: In a run's directory: the run.
RUN_FILE = "run.json"

#: In a job's directory: the job, and how it ended.
JOB_FILE = "job.json"
OUTCOME_FILE = "outcome.json"
#: The last process that was started as its supervisor, the process that supervises it, and what that logs.
SPAWNS_FILE = "spawns.json"
SUPERVISOR_FILE = "supervisor.json"
SUPERVISOR_LOCK = "supervisor.lock"
SUPERVISOR_LOG = "supervisor.log"
#: How its supervisor is executed; there only until the unit that the helper starts has read it.
LAUNCH_FILE = "launch.json"
#: The output of its command, and the error that the worker of its step reported.
LOG_FILE = "log.txt"
ERROR_FILE = "error.json"
#: What it waits for before it starts.
WAITING_FILE = "waiting.json"
#: The identity of its command, and its exit status.
COMMAND_FILE = "command.json"
EXIT_FILE = "exit.json"


def slug(text: str) -> str:
    """Return a text in lower case, with a hyphen for characters that a name must not have; may be empty."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")
