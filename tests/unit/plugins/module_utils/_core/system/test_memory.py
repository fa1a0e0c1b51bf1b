# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory of the machine, as reported by the kernel."""

from __future__ import annotations

import os

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import memory

MEMINFO = """MemTotal:       24599880 kB
MemFree:         1180124 kB
MemAvailable:   15853016 kB
SwapTotal:       2097148 kB
HugePages_Total:       0
"""


def test_meminfo() -> None:
    assert memory.parse(MEMINFO) == memory.Ram(24599880 * 1024, 15853016 * 1024, 2097148 * 1024)


def test_container_limit_applies() -> None:
    ram = memory.parse(MEMINFO, 8 * 2**30)
    assert ram is not None
    assert (ram.total, ram.available) == (8 * 2**30, 8 * 2**30)
    # cgroup v1 represents no limit by a number larger than any machine's memory
    assert memory.parse(MEMINFO, 9223372036854771712) == memory.parse(MEMINFO)


def test_meminfo_without_a_total() -> None:
    assert memory.parse("") is None


def test_this_machine() -> None:
    ram = memory.ram()
    assert ram is not None
    assert 0 < ram.total <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
