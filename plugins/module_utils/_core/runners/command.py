# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command for a runner to start."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Container:
    """The container a command runs in.

    :param image: name or id of an image that the engine has.
    :param writable: directories of the host that it sees at their own path.
    :param readable: the same, read-only.
    :param gpus: as in :class:`Toolchain`; empty for none.
    :param memory_limit: as in :class:`Toolchain`.
    :param cpus: as in :class:`Toolchain`.
    :param shm_size: as in :class:`Toolchain`.
    :param user: as ``container_user`` in :class:`Toolchain`.
    :param network: mode of its network: ``none`` or ``host``.
    """

    image: str
    writable: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
    gpus: str = ""
    memory_limit: str = ""
    cpus: float = 0.0
    shm_size: str = ""
    user: str = ""
    network: str = "none"


@dataclasses.dataclass(frozen=True)
class Command:
    """What a runner starts: no shell, an environment that is complete, a directory to stand in.

    In a container the environment comes on top of the image's own, its ``PATH`` before the image's.
    """

    argv: list[str]
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    cwd: str = "/"
    container: Container | None = None
