# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to the helper, a program of root's for the owner of a data directory (role ``job_helper``).

It starts jobs in systemd units of their own, and controls the one unit that it is configured for. A host without it, or
a process that may not use it, does without.
"""

from __future__ import annotations

import os
import socket
import typing as t

from ..errors import NotReadyError
from ..json_text import parse_json

SOCKET = "/run/ia-homelab/helper.sock"

#: Longer than the helper waits for systemctl.
_SECONDS = 150.0


class UnitStatus(t.NamedTuple):
    """The unit that the helper controls.

    :param name: with ``.service``; empty if there is none.
    :param ports: the TCP ports on which its processes listen.
    """

    name: str
    ports: tuple[int, ...]


def start_job(data_dir: str, run: str, job: str) -> int | None:
    """Start the unit of a job, which executes what ``launch.json`` in the directory of the job says, as the owner.

    :param run: id of the run.
    :param job: name of the job.
    :returns: the id of its process, 0 if it has already ended; None if there is no helper for this data directory.
    :raises NotReadyError: if the helper refuses.
    """
    status = _status()
    if status is None or os.path.realpath(str(status.get("data_dir"))) != os.path.realpath(data_dir):
        return None
    return int(_request(f"start-job {run}/{job}").get("pid") or 0)


def controlled_unit() -> UnitStatus:
    """Return the unit that this process can control through the helper."""
    unit = (_status() or {}).get("ollama") or {}
    return UnitStatus(str(unit.get("unit") or ""), tuple(unit.get("ports") or ()))


def control(verb: str) -> None:
    """Stop the controlled unit, start it with the GPU, or restart it without.

    :param verb: ``stop``, ``start`` or ``hide-gpu``.
    :raises NotReadyError: if there is no helper, or it refuses or fails.
    """
    _request(f"{verb} ollama")


def _status() -> dict[str, t.Any] | None:
    """Return the status of the helper; None if this process cannot use one, or needs none because it is root."""
    if os.geteuid() == 0 or not os.path.exists(SOCKET):
        return None
    try:
        status = _request("status")
    except NotReadyError:
        return None
    return status if status.get("uid") == os.geteuid() else None


def _request(line: str) -> dict[str, t.Any]:
    raw = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(SOCKET)
            connection.sendall(f"{line}\n".encode())
            while not raw.endswith(b"\n"):
                received = connection.recv(65536)
                if not received:
                    break
                raw += received
        answer = parse_json(raw)
    except (OSError, ValueError) as error:
        raise NotReadyError("system.helper_silent", path=SOCKET, request=line, reason=str(error)) from error
    if not isinstance(answer, dict) or not answer.get("ok"):
        reason = str(answer.get("error")) if isinstance(answer, dict) else "it is not an object."
        raise NotReadyError("system.helper_refused", request=line, reason=reason)
    return answer
