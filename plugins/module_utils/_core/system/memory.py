# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the machine itself has: its memory.

Sources: proc(5) on /proc/meminfo (kibibytes); the limit of the cgroup this process runs in, which is what counts in a
container (``memory.max`` of cgroup v2, ``memory.limit_in_bytes`` of v1).
"""

from __future__ import annotations

import dataclasses

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclasses.dataclass(frozen=True)
class Ram:
    """A machine's memory, in bytes.

    :param total: all of it, or what this container may have of it.
    :param available: what can be had without swapping.
    :param swap: room on disk that it can be swapped to.
    """

    total: int
    available: int
    swap: int


def ram() -> Ram | None:
    """This machine's memory; None where the kernel does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            return parse(stream.read(), _limit())
    except OSError:
        return None


def parse(meminfo: str, limit: int | None = None) -> Ram | None:
    """The memory that ``/proc/meminfo`` tells of.

    :param limit: what a container may have; None for no limit.
    """
    found = {}
    for line in meminfo.splitlines():
        name, _unused, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * 1024
    if "MemTotal" not in found:
        return None
    total = found["MemTotal"] if limit is None else min(limit, found["MemTotal"])
    available = min(total, found.get("MemAvailable", found.get("MemFree", 0)))
    return Ram(total, available, found.get("SwapTotal", 0))


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
