# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts that train one model together, and the environment of LLaMA-Factory on each of them.

The first host leads: it holds the rendezvous of torchrun, and runs all steps after the training. Sources:
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

#: Range of the ports of the leading host: it listens on the first free one, torchrun on the next.
FIRST_PORT, LAST_PORT = 29400, 29499

#: Record of the agreement of the nodes, in the directory of a job.
AGREEMENT_FILE = "nodes.json"

_SIOCGIFCONF = 0x8912


@dataclasses.dataclass(frozen=True)
class Nodes:
    """The nodes of one training, as one of them sees them.

    :param rank: index of this host; 0 leads.
    :param names: names in the inventory, by rank.
    :param addresses: addresses at which the others reach each host, by rank.
    :param port: port of the leading host on which it waits for the others.
    :param session: identifies the attempt; the same on all hosts.
    """

    rank: int
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    port: int
    session: str = ""

    def as_dict(self) -> dict[str, t.Any]:
        """Return plain values for the store."""
        return {**dataclasses.asdict(self), "names": list(self.names), "addresses": list(self.addresses)}

    @classmethod
    def from_dict(cls, value: t.Mapping[str, t.Any]) -> Nodes:
        """Restore the nodes from the result of :meth:`as_dict`.

        :raises InputError: for any other value.
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
        """Number of nodes."""
        return len(self.names)

    @property
    def own_name(self) -> str:
        """Name of this host."""
        return self.names[self.rank]

    @property
    def leader(self) -> str:
        """Name of the leading host."""
        return self.names[0]


@dataclasses.dataclass(frozen=True)
class Agreement:
    """What the nodes agree upon before a training.

    :param port: port of torchrun's rendezvous on the leading host.
    :param master: address at which this host reaches the leading host.
    :param interface: network interface of this host towards the leading host; empty if unknown.
    :param resume: step of the latest checkpoint that all nodes have; None to start from the beginning.
    :param trained: whether an earlier attempt completed the training.
    """

    port: int
    master: str
    interface: str = ""
    resume: int | None = None
    trained: bool = False


def read_agreement(job_dir: str) -> Agreement:
    """Read the agreement of a job.

    :raises InputError: if the nodes have not agreed.
    """
    try:
        return Agreement(**(read_json(os.path.join(job_dir, AGREEMENT_FILE)) or {}))
    except TypeError as error:
        raise InputError("distributed.nodes_disagree", job_dir=job_dir) from error


def environment(nodes: Nodes, agreed: Agreement, accelerator: str) -> dict[str, str]:
    """Return the environment variables of LLaMA-Factory's launcher and of torch.

    :param accelerator: ``cpu`` (one process per node) or ``cuda`` (one per GPU; the launcher counts the GPUs).
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
        # otherwise gloo uses the address of the host's own name, which is 127.0.1.1 on Debian
        env.update(GLOO_SOCKET_IFNAME=agreed.interface, NCCL_SOCKET_IFNAME=agreed.interface)
    return env


def interface_of(address: str) -> str:
    """Return the name of the network interface with an address, or "" (netdevice(7): SIOCGIFCONF)."""
    target = ipaddress.ip_address(address.partition("%")[0])
    target = getattr(target, "ipv4_mapped", None) or target
    if target.version == 6:
        return _interface_of_ipv6(target.exploded.replace(":", ""))
    entry = 40 if struct.calcsize("P") == 8 else 32
    buffer = array.array("B", bytes(64 * 1024))
    request = struct.pack("iP", len(buffer), buffer.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        used = struct.unpack("iP", fcntl.ioctl(handle, _SIOCGIFCONF, request))[0]
    table = buffer.tobytes()
    for start in range(0, used, entry):
        if table[start + 20 : start + 24] == target.packed:
            # a secondary address may have a label: eth0:1
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
