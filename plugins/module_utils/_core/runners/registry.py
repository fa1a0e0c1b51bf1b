# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry of the runners, by name."""

from __future__ import annotations

from ..errors import InputError
from .runner import Runner

#: Names of the runners; True if a runner starts commands in a container from the image of their tools.
RUNNERS = {"process": False, "docker": True}


def get_runner(name: str) -> Runner:
    """Return a runner by its name.

    :raises InputError: when there is no runner with that name.
    """
    if name == "process":
        from .process import ProcessRunner

        return ProcessRunner()
    if name == "docker":
        from .docker import DockerRunner

        return DockerRunner()
    raise InputError("runners.unknown", runner=name, known=list(RUNNERS))
