# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts make which fine-tune. Pure: what the hosts have told is handed in.

A fine-tune that moves is trained anew, so one stays where it is: where the hosts have written down that it is
(``places.json`` of each), else where it is served already. Only one that is nowhere gets a place, on the host that has
the fewest; among equals the one with the highest hash of both names (rendezvous hashing: Thaler and Ravishankar, 1998),
so that the same question has the same answer from whichever hosts answer, and the first in the list is not everybody's.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import typing as t

from ..errors import InputError
from ..messages.message import Message
from ..messages.suggestions import did_you_mean


@dataclasses.dataclass(frozen=True)
class Told:
    """What a host has told.

    :param places: host of each fine-tune, as it was written down there.
    :param serial: how often that had changed by then; the highest is the latest.
    :param served: names of the models it serves, in small letters.
    """

    places: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    serial: int = 0
    served: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Places:
    """Who makes what.

    :param hosts: hosts of each fine-tune; the first one leads where several make one together.
    :param places: what is to be written down of the spread, those included that are not declared any more.
    :param serial: of that.
    """

    hosts: dict[str, list[str]]
    places: dict[str, str]
    serial: int


def expand(what: str, names: t.Sequence[str], groups: t.Mapping[str, t.Sequence[str]]) -> list[str]:
    """Hosts and groups as hosts, in the order they are named.

    :param what: who names them, for the message.
    :param groups: Ansible's ``groups``.
    :raises InputError: for a name that is neither, or a host that is named twice.
    """
    known = list(dict.fromkeys(host for members in groups.values() for host in members))
    found: list[str] = []
    for name in names:
        if name not in groups and name not in known:
            near = difflib.get_close_matches(name, [*groups, *known], 1, 0.6)
            hint = did_you_mean(near) or Message("distributed.name_hosts")
            raise InputError("distributed.host_unknown", option=what, name=name, suggestion=hint)
        found += [name] if name in known else list(groups[name])
    twice = sorted({host for host in found if found.count(host) > 1})
    if twice:
        raise InputError("distributed.host_named_twice", option=what, hosts=list(twice))
    return found


def place(
    finetunes: t.Sequence[t.Mapping[str, t.Any]],
    groups: t.Mapping[str, t.Sequence[str]],
    everybody: t.Sequence[str],
    over: t.Sequence[str] = (),
    told: t.Mapping[str, Told] | None = None,
) -> Places:
    """Who makes what.

    :param finetunes: as declared. ``nodes`` of one names its hosts, whatever else there is.
    :param groups: Ansible's ``groups``.
    :param everybody: hosts of the play, which all make what is neither spread nor has nodes.
    :param over: hosts, or groups of them, that the rest spreads over; nobody for no spread.
    :param told: what hosts have told, by host; those that are not there have told nothing.
    :raises InputError: for a host or group that is not in the inventory.
    """
    told = told or {}
    spread = expand("finetune_spread_over", over, groups)
    hosts: dict[str, list[str]] = {}
    for finetune in finetunes:
        name, nodes = str(finetune["name"]), finetune.get("nodes")
        if nodes:
            listed = [nodes] if isinstance(nodes, str) else list(nodes)
            hosts[name] = expand(f"{name}: nodes", [str(node) for node in listed], groups)
        elif not spread:
            hosts[name] = list(everybody)
    before: dict[str, str] = {}
    for one in sorted(told.values(), key=lambda one: one.serial):
        before.update(one.places)
    places = {name: host for name, host in before.items() if host in spread}
    free = [str(finetune["name"]) for finetune in finetunes if str(finetune["name"]) not in hosts]
    load = dict.fromkeys(spread, 0)
    for host in [places[name] for name in free if name in places] + [host for some in hosts.values() for host in some]:
        if host in load:
            load[host] += 1
    new = [name for name in free if name not in places]
    served = {name: [host for host in spread if name.lower() in _served(told, host)] for name in new}
    for name in sorted(new, key=lambda name: not served[name]):  # those that are somewhere, then those that are nowhere
        chosen = min(served[name] or spread, key=lambda host: (load[host], _weight(name, host)))
        places[name] = chosen
        load[chosen] += 1
    hosts.update((name, [places[name]]) for name in free)
    serial = max([one.serial for one in told.values()], default=0)
    return Places(hosts, places, serial + 1 if places != before else serial)


def _served(told: t.Mapping[str, Told], host: str) -> frozenset[str]:
    return told[host].served if host in told else frozenset()


def _weight(name: str, host: str) -> int:
    return -int.from_bytes(hashlib.sha256(f"{name}\0{host}".encode()).digest(), "big")
