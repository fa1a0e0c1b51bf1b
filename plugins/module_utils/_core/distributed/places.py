# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Places fine-tunes on hosts. Pure functions: the reports of the hosts are arguments.

A fine-tune that moves has to be retrained, so placements are stable: a fine-tune stays on the host that ``places.json``
records, else on a host that serves it already. Any other fine-tune is placed on the host with the fewest fine-tunes;
among equals, on the one with the highest hash of both names (rendezvous hashing: Thaler and Ravishankar, 1998), so that
the result does not depend on which hosts are reachable, and the first host of the list is not preferred.
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
class HostReport:
    """The state of one host.

    :param places: host of each fine-tune, as recorded in its ``places.json``.
    :param serial: number of changes of that record; the highest of all hosts is the latest.
    :param served: names of the models that it serves, in lower case.
    """

    places: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    serial: int = 0
    served: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True)
class Places:
    """The placement of all fine-tunes.

    :param hosts: hosts of each fine-tune; the first one leads if several train it together.
    :param places: record of the spread for ``places.json``; includes fine-tunes that are no longer declared.
    :param serial: number of changes of that record.
    """

    hosts: dict[str, list[str]]
    places: dict[str, str]
    serial: int


def expand(option: str, names: t.Sequence[str], groups: t.Mapping[str, t.Sequence[str]]) -> list[str]:
    """Replace groups by their hosts, in the order of the names.

    :param option: option that names them, for the message.
    :param groups: Ansible's ``groups``.
    :raises InputError: for a name that is neither a host nor a group, or a host that is named twice.
    """
    known = list(dict.fromkeys(host for members in groups.values() for host in members))
    found: list[str] = []
    for name in names:
        if name not in groups and name not in known:
            near = difflib.get_close_matches(name, [*groups, *known], 1, 0.6)
            hint = did_you_mean(near) or Message("distributed.name_hosts")
            raise InputError("distributed.host_unknown", option=option, name=name, suggestion=hint)
        found += [name] if name in known else list(groups[name])
    twice = sorted({host for host in found if found.count(host) > 1})
    if twice:
        raise InputError("distributed.host_named_twice", option=option, hosts=list(twice))
    return found


def place(
    finetunes: t.Sequence[t.Mapping[str, t.Any]],
    groups: t.Mapping[str, t.Sequence[str]],
    play_hosts: t.Sequence[str],
    spread_over: t.Sequence[str] = (),
    reports: t.Mapping[str, HostReport] | None = None,
) -> Places:
    """Place every fine-tune on its hosts.

    :param finetunes: declared entries; ``nodes`` of an entry takes precedence over a spread.
    :param groups: Ansible's ``groups``.
    :param play_hosts: hosts of the play; without a spread, each of them makes every fine-tune without ``nodes``.
    :param spread_over: hosts or groups that the fine-tunes without ``nodes`` are spread over; empty for no spread.
    :param reports: reports by host; a host without one is unreachable or new.
    :raises InputError: for a host or group that is not in the inventory.
    """
    reports = reports or {}
    spread = expand("finetune_spread_over", spread_over, groups)
    hosts: dict[str, list[str]] = {}
    for finetune in finetunes:
        name, nodes = str(finetune["name"]), finetune.get("nodes")
        if nodes:
            listed = [nodes] if isinstance(nodes, str) else list(nodes)
            hosts[name] = expand(f"{name}: nodes", [str(node) for node in listed], groups)
        elif not spread:
            hosts[name] = list(play_hosts)
    before: dict[str, str] = {}
    for report in sorted(reports.values(), key=lambda report: report.serial):
        before.update(report.places)
    places = {name: host for name, host in before.items() if host in spread}
    free = [str(finetune["name"]) for finetune in finetunes if str(finetune["name"]) not in hosts]
    load = dict.fromkeys(spread, 0)
    for host in [places[name] for name in free if name in places] + [host for some in hosts.values() for host in some]:
        if host in load:
            load[host] += 1
    new = [name for name in free if name not in places]
    served = {name: [host for host in spread if name.lower() in _served(reports, host)] for name in new}
    for name in sorted(new, key=lambda name: not served[name]):  # fine-tunes that a host serves come first
        chosen = min(served[name] or spread, key=lambda host: (load[host], _weight(name, host)))
        places[name] = chosen
        load[chosen] += 1
    hosts.update((name, [places[name]]) for name in free)
    serial = max([report.serial for report in reports.values()], default=0)
    return Places(hosts, places, serial + 1 if places != before else serial)


def _served(reports: t.Mapping[str, HostReport], host: str) -> frozenset[str]:
    return reports[host].served if host in reports else frozenset()


def _weight(name: str, host: str) -> int:
    return -int.from_bytes(hashlib.sha256(f"{name}\0{host}".encode()).digest(), "big")
