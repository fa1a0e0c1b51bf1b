# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Main memory of the host.

Sources: proc(5) on /proc/meminfo (kibibytes); the limit of the cgroup of this process, which applies in a container
(``memory.max`` of cgroup v2, ``memory.limit_in_bytes`` of v1).
"""

from __future__ import annotations

import dataclasses

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclasses.dataclass(frozen=True)
class Ram:
    """Memory of a machine, in bytes.

    :param total: total memory, or the limit of this container.
    :param available: memory available without swapping.
    :param swap: size of the swap space.
    """

    total: int
    available: int
    swap: int


def ram() -> Ram | None:
    """Return the memory of this machine; None if the kernel does not report it."""
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            return parse(stream.read(), _limit())
    except OSError:
        return None


def parse(meminfo: str, limit: int | None = None) -> Ram | None:
    """Parse the content of ``/proc/meminfo``; return None if it has no total.

    :param limit: memory limit of the container in bytes; None for no limit.
    """
    sizes = {}
    for line in meminfo.splitlines():
        name, _unused, rest = line.partition(":")
        fields = rest.split()
        if fields and fields[0].isdigit():
            sizes[name] = int(fields[0]) * 1024
    if "MemTotal" not in sizes:
        return None
    total = sizes["MemTotal"] if limit is None else min(limit, sizes["MemTotal"])
    available = min(total, sizes.get("MemAvailable", sizes.get("MemFree", 0)))
    return Ram(total, available, sizes.get("SwapTotal", 0))


def _limit() -> int | None:
    for path in _LIMITS:
        try:
            with open(path, encoding="ascii") as stream:
                text = stream.read().strip()
        except OSError:
            continue
        if text.isdigit():
            return int(text)
    return None
