# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Become the supervisor of a job: ``start_job.py DATA_DIR RUN:JOB``, in a unit that runs as the owner of the directory.

The owner has written into the directory of the job what to execute. This program is never executed as root.
"""

from __future__ import annotations

import json
import os
import sys


def main(arguments: list[str]) -> int:
    """Replace this process by the supervisor."""
    if os.geteuid() == 0 or os.getuid() == 0:
        sys.stderr.write("Jobs do not run as root.\n")
        return 1
    data_dir, name = arguments
    run, _colon, job = name.partition(":")
    path = os.path.join(data_dir, "jobs", "active", run, job, "launch.json")
    with open(path, encoding="utf-8") as stream:
        launch = json.load(stream)
    os.unlink(path)  # it may contain the password of a proxy
    log = os.open(launch["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(launch["cwd"])
    os.execve(launch["argv"][0], launch["argv"], launch["env"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
