# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The description of a command that a runner starts."""

from __future__ import annotations

import dataclasses
import os

from ..errors import InputError


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


def check_container_user(user: str) -> None:
    """Check the user that containers run as.

    :param user: as ``container_user`` in :class:`Toolchain`; empty if none is declared.
    :raises InputError: if root runs this and another user is declared: root would work in what that user can write.
    """
    if os.geteuid() == 0 and user and user.partition(":")[0] not in ("0", "root"):
        raise InputError("runners.container_user_of_root", user=user)
