# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: finetune_places
short_description: Place fine-tunes on hosts
version_added: 0.1.0
description:
  - Returns the hosts of each declared fine-tune. These are the hosts of its C(nodes), else one of the hosts that the
    fine-tunes are spread over, else all hosts of the play.
  - In a spread, a fine-tune stays on the host that is recorded for it, or that serves it already. Any other fine-tune
    is placed on the host with the fewest.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  _input:
    description: The fine-tunes, as declared. A list, or a dictionary by name.
    type: raw
    required: true
  groups:
    description: Groups of the inventory, with their hosts.
    type: dict
    required: true
  play_hosts:
    description: All hosts of the play.
    type: list
    elements: str
    required: true
  spread_over:
    description: Hosts, or groups of hosts, that the fine-tunes are spread over. Empty for no spread.
    type: list
    elements: str
    default: []
  reports:
    description:
      - The state of the hosts, by host. C(places) is the content of the file C(places.json), C(served) a list of the
        directories of the models that the host serves.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show the placement of the fine-tunes
  ansible.builtin.debug:
    msg: "{{ (finetunes | ia_homelab.llamafactory.finetune_places(groups, ansible_play_hosts_all, ['pc_ia'])).hosts }}"
"""

RETURN = r"""
_value:
  description:
    - C(hosts), the hosts of each fine-tune, the leading host first.
    - C(places) and C(serial), the record of a spread, which is stored on every host.
    - C(declared), the fine-tunes with host names, not groups, in C(nodes).
    - C(mine), for each host the names of the fine-tunes that it makes or leads, and C(parts), of those that it takes
      part in.
    - C(idle), for each host the datasets that only fine-tunes of other hosts need.
    - C(lines), the placement as text.
  type: dict
"""

import typing as t
import urllib.parse

from ansible.errors import AnsibleFilterError

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.registry import dataset_name
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.distributed.places import HostReport, place
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.json_text import parse_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.entries import entries


def finetune_places(
    declared: t.Any,
    groups: t.Mapping[str, t.Sequence[str]],
    play_hosts: t.Sequence[str],
    spread_over: t.Sequence[str] = (),
    reports: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
) -> dict[str, t.Any]:
    """Place the declared fine-tunes on hosts.

    :raises AnsibleFilterError: for a host or group that is not in the inventory.
    """
    states = {host: _report(host, facts) for host, facts in (reports or {}).items()}
    over = [spread_over] if isinstance(spread_over, str) else list(spread_over)
    try:
        finetunes = entries(declared)
        found = place(finetunes, groups, list(play_hosts), over, states)
        idle = {host: _idle(finetunes, found.hosts, host) for host in play_hosts}
    except InputError as error:
        raise AnsibleFilterError(str(error)) from error
    by_host: dict[str, list[str]] = {}
    for finetune in finetunes:
        name = str(finetune["name"])
        hosts = found.hosts[name]
        together = len(hosts) > 1 and finetune.get("nodes")
        for number, host in enumerate(hosts, 1):
            by_host.setdefault(host, []).append(f"{name} (node {number} of {len(hosts)})" if together else name)
    lines = [f"{host}: {', '.join(names)}" for host, names in sorted(by_host.items())]
    led = {str(finetune["name"]) for finetune in finetunes if finetune.get("nodes")}
    roles: dict[str, dict[str, list[str]]] = {"mine": {}, "parts": {}}
    for host in play_hosts:
        has = [name for name, hosts in found.hosts.items() if host in hosts]
        roles["parts"][host] = [name for name in has if name in led and found.hosts[name][0] != host]
        roles["mine"][host] = [name for name in has if name not in roles["parts"][host]]
    return {
        "hosts": found.hosts,
        "declared": [
            {**finetune, "nodes": found.hosts[str(finetune["name"])]} if finetune.get("nodes") else dict(finetune)
            for finetune in finetunes
        ],
        "places": found.places,
        "serial": found.serial,
        **roles,
        "idle": idle,
        "lines": lines,
    }


def _idle(finetunes: t.Sequence[t.Mapping[str, t.Any]], hosts: t.Mapping[str, list[str]], host: str) -> list[str]:
    needed: dict[bool, set[str]] = {True: set(), False: set()}
    for finetune in finetunes:
        needed[host in hosts[str(finetune["name"])]].add(dataset_name(str(finetune.get("dataset") or "")))
    return sorted(needed[False] - needed[True])


def _report(host: str, facts: t.Mapping[str, t.Any]) -> HostReport:
    served = frozenset(urllib.parse.unquote(str(name)).lower() for name in facts.get("served") or [])
    written = str(facts.get("places") or "")
    if not written:
        return HostReport(served=served)
    try:
        value = parse_json(written)
        places = {str(name): str(there) for name, there in value["places"].items()}
        return HostReport(places, int(value["serial"]), served)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnsibleFilterError(
            f"{host}: places.json in its data directory, which records the placements, is damaged ({error}). "
            "Remove it: it is restored from the other hosts and from the served models."
        ) from error


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By its name."""
        return {"finetune_places": finetune_places}
