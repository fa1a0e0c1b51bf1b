# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a command in a network namespace that has only a loopback interface.

Usage: ``unshare --net no_network.py COMMAND...`` (as root, or with ``--user --map-root-user``). Brings the loopback
up (netdevice(7): SIOCGIFFLAGS, SIOCSIFFLAGS), checks that nothing else can be reached, and executes COMMAND.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
#: An unassigned address (RFC 5737): if there is a route, connecting to it does not fail at once.
_ELSEWHERE = ("192.0.2.1", 80)


def within() -> list[str]:
    """The command prefix that runs a command without a network."""
    private = ["unshare", "--net"]
    if os.geteuid() != 0:
        private += ["--user", "--map-root-user"]
    return [*private, sys.executable, os.path.abspath(__file__)]


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        asked = struct.pack("16sH22x", b"lo", 0)
        flags = struct.unpack("16sH22x", fcntl.ioctl(handle, _SIOCGIFFLAGS, asked))[1]
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))


def main(argv: list[str]) -> None:
    """Execute the command."""
    _loopback_up()
    interfaces = [name for _index, name in socket.if_nameindex()]
    if interfaces != ["lo"]:
        sys.exit(f"there is more than a loopback here: {', '.join(interfaces)}")
    with socket.socket() as probe:
        try:
            probe.connect(_ELSEWHERE)
        except OSError:
            pass
        else:
            sys.exit("the network is not cut off")
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main(sys.argv[1:])
