# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts that train one model together: who they are, and what LLaMA-Factory is told about it.

The first one leads: it holds the rendezvous of torchrun, and makes everything that comes after the training. Sources:
LLaMA-Factory's ``launcher.py`` (``FORCE_TORCHRUN``, ``NNODES``, ``NODE_RANK``, ``NPROC_PER_NODE``, ``MASTER_ADDR``,
``MASTER_PORT``); torch.distributed, "Common environment variables" (``GLOO_SOCKET_IFNAME``, ``NCCL_SOCKET_IFNAME``).
"""

from __future__ import annotations

import array
import dataclasses
import fcntl
import ipaddress
import os
import socket
import struct
import typing as t

from ..errors import InputError
from ..system.files import read_json

#: Where the leading host listens: the first port of these that is free, and for torchrun the next one.
FIRST_PORT, LAST_PORT = 29400, 29499

#: In a job's directory: what the nodes have agreed upon.
AGREED = "nodes.json"

_SIOCGIFCONF = 0x8912


@dataclasses.dataclass(frozen=True)
class Nodes:
    """The nodes of one training, as one of them knows them.

    :param rank: place of this host; 0 leads.
    :param names: as the inventory calls them, in order.
    :param addresses: where each can be reached by the others.
    :param port: where the leading one listens for the others.
    :param session: names the attempt; the same on all.
    """

    rank: int
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    port: int
    session: str = ""

    def as_dict(self) -> dict[str, t.Any]:
        """Plain values for the store."""
        return {**dataclasses.asdict(self), "names": list(self.names), "addresses": list(self.addresses)}

    @classmethod
    def from_dict(cls, value: t.Mapping[str, t.Any]) -> Nodes:
        """The nodes that :meth:`as_dict` gave.

        :raises InputError: when it is none of that.
        """
        try:
            found = cls(
                int(value["rank"]),
                tuple(map(str, value["names"])),
                tuple(map(str, value["addresses"])),
                int(value["port"]),
                str(value.get("session") or ""),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("distributed.nodes_unreadable", reason=error) from error
        if not 0 <= found.rank < len(found.names) or len(found.names) != len(found.addresses):
            raise InputError("distributed.nodes_invalid", count=len(found.names), rank=found.rank)
        return found

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.names)

    @property
    def me(self) -> str:
        """Name of this host."""
        return self.names[self.rank]

    @property
    def leader(self) -> str:
        """Name of the leading host."""
        return self.names[0]


@dataclasses.dataclass(frozen=True)
class Agreed:
    """What the nodes have agreed upon before a training begins.

    :param port: of torchrun's rendezvous on the leading host.
    :param master: address of the leading host, as this one reaches it.
    :param interface: network interface of this host by which it does; empty when it cannot be told.
    :param resume: step of the checkpoint to go on from, which all have; None to begin anew.
    :param trained: whether the training had come to its end before.
    """

    port: int
    master: str
    interface: str = ""
    resume: int | None = None
    trained: bool = False


def read_agreed(job_dir: str) -> Agreed:
    """What was agreed upon for a job.

    :raises InputError: when nothing was.
    """
    try:
        return Agreed(**(read_json(os.path.join(job_dir, AGREED)) or {}))
    except TypeError as error:
        raise InputError("distributed.nodes_disagree", job_dir=job_dir) from error


def environment(nodes: Nodes, agreed: Agreed, accelerator: str) -> dict[str, str]:
    """What LLaMA-Factory's launcher and torch are told.

    :param accelerator: ``cpu`` (one process for each node) or ``cuda`` (one for each GPU, which the launcher counts).
    """
    env = {
        "FORCE_TORCHRUN": "1",
        "NNODES": str(nodes.count),
        "NODE_RANK": str(nodes.rank),
        "MASTER_ADDR": agreed.master,
        "MASTER_PORT": str(agreed.port),
    }
    if accelerator == "cpu":
        env["NPROC_PER_NODE"] = "1"
    if agreed.interface:
        # else gloo takes the address that the host's own name has, on Debian 127.0.1.1
        env.update(GLOO_SOCKET_IFNAME=agreed.interface, NCCL_SOCKET_IFNAME=agreed.interface)
    return env


def interface_of(address: str) -> str:
    """Name of the network interface that has an address; empty when none has (netdevice(7): SIOCGIFCONF)."""
    wanted = ipaddress.ip_address(address.partition("%")[0])
    wanted = getattr(wanted, "ipv4_mapped", None) or wanted
    if wanted.version == 6:
        return _interface_of_ipv6(wanted.exploded.replace(":", ""))
    entry = 40 if struct.calcsize("P") == 8 else 32
    buffer = array.array("B", bytes(64 * 1024))
    asked = struct.pack("iP", len(buffer), buffer.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        used = struct.unpack("iP", fcntl.ioctl(handle, _SIOCGIFCONF, asked))[0]
    table = buffer.tobytes()
    for start in range(0, used, entry):
        if table[start + 20 : start + 24] == wanted.packed:
            # an address beside the first one may have a label of its own: eth0:1
            return table[start : start + 16].partition(b"\0")[0].decode().partition(":")[0]
    return ""


def _interface_of_ipv6(digits: str) -> str:
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as stream:
            for line in stream:
                fields = line.split()
                if fields and fields[0] == digits:
                    return fields[5]
    except OSError:
        pass
    return ""
