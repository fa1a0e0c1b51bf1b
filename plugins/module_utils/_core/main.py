# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of an installed core: ``python -m PACKAGE.main supervise|perform JOB_DIR``.

One name for all versions: a newer core starts the supervisors of an older one by it, whatever the packages inside are
called, so a job is continued by the code it was started with.
"""

from __future__ import annotations

import sys
import typing as t


def main(arguments: t.Sequence[str]) -> int:
    """Run one command.

    :param arguments: ``supervise`` or ``perform``, and the directory of a job.
    :returns: the exit status; 2 for anything else.
    """
    if len(arguments) == 2 and arguments[0] == "supervise":
        from .engine.supervisor import main as supervise

        return supervise(arguments[1])
    if len(arguments) == 2 and arguments[0] == "perform":
        from .engine.worker import main as perform

        return perform(arguments[1])
    sys.stderr.write(f"usage: python -m {__package__}.main supervise|perform JOB_DIR\n")
    return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
