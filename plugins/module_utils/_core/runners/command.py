# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The description of a command that a runner starts."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Container:
    """The container in which a command runs.

    :param image: name or id of an image that the Docker engine has.
    :param writable: directories of the host, mounted at the same path.
    :param readable: the same, read-only.
    :param gpus: as in :class:`Toolchain`; empty for no GPU.
    :param memory_limit: as in :class:`Toolchain`.
    :param cpus: as in :class:`Toolchain`.
    :param shm_size: as in :class:`Toolchain`.
    :param user: as ``container_user`` in :class:`Toolchain`.
    :param network: network mode: ``none`` or ``host``.
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
    """A command that a runner starts, without a shell.

    In a container its environment is added to that of the image, and its ``PATH`` is put before that of the image.

    :param argv: program and arguments.
    :param env: the complete environment.
    :param cwd: the working directory.
    :param container: the container in which it runs; None to run it on the host.
    """

    argv: list[str]
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    cwd: str = "/"
    container: Container | None = None
