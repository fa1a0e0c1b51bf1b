# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of an installed core: ``python -m PACKAGE.main supervise|perform JOB_DIR``, or
``repair-ownership DATA_DIR``.

The name of this module is the same in all versions. A newer core starts the supervisors of an older core through it,
whatever the names of the inner packages are, so a job continues with the code it was started with.
"""

from __future__ import annotations

import sys
import typing as t


def main(arguments: t.Sequence[str]) -> int:
    """Run one command.

    :param arguments: ``supervise`` or ``perform``, and the directory of a job; or ``repair-ownership``, as root, and a
        data directory.
    :returns: the exit status of the command; 2 for other arguments.
    """
    if len(arguments) == 2 and arguments[0] == "supervise":
        from .engine.supervisor import main as supervise

        return supervise(arguments[1])
    if len(arguments) == 2 and arguments[0] == "perform":
        from .engine.worker import main as perform

        return perform(arguments[1])
    if len(arguments) == 2 and arguments[0] == "repair-ownership":
        from .artifacts.layout import Layout

        Layout(arguments[1]).repair_ownership()
        return 0
    sys.stderr.write(f"usage: python -m {__package__}.main supervise|perform JOB_DIR | repair-ownership DATA_DIR\n")
    return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
