# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: node_placements
short_description: Tell what a host has to know of the fine-tunes that several hosts train together
version_added: 0.1.0
description:
  - Gives the option O(ia_homelab.llamafactory.job#module:nodes) of M(ia_homelab.llamafactory.job) for a host.
  - Where the host does not lead, only those that have to be trained are in it.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  _input:
    description:
      - The fine-tunes, with names of hosts in C(nodes). Those of one host are passed over.
      - A list, or a dictionary by name.
    type: raw
    required: true
  host:
    description: The host.
    type: str
    required: true
  addresses:
    description: Where the hosts reach each other, by name.
    type: dict
    required: true
  offers:
    description: What the leading hosts have told, by the name of the fine-tune.
    type: dict
    required: true
  runs:
    description: The runs that the leading hosts were asked for.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Ask for what this host leads
  ia_homelab.llamafactory.job:
    state: submitted
    data_dir: /data/llamafactory
    finetunes: "{{ led }}"
    nodes: "{{ led | ia_homelab.llamafactory.node_placements(inventory_hostname, addresses, offers) }}"
"""

RETURN = r"""
_value:
  description: By the name of the fine-tune, C(rank), C(names), C(addresses), C(port), C(offer) and C(session).
  type: dict
"""

import typing as t

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.entries import entries


def node_placements(
    finetunes: t.Any,
    host: str,
    addresses: t.Mapping[str, str],
    offers: t.Mapping[str, t.Mapping[str, t.Any]],
    runs: t.Sequence[t.Mapping[str, t.Any]] = (),
) -> dict[str, dict[str, t.Any]]:
    """What a host has to know of the fine-tunes that it trains together with others."""
    found = {}
    for finetune in entries(finetunes):
        name, names = str(finetune["name"]), [str(node) for node in finetune.get("nodes") or []]
        if len(names) < 2 or host not in names:
            continue
        offer = offers.get(name) or {}
        begun = [run for run in runs if run["name"] == name and "train" in run["pending"]]
        if names[0] != host and not begun:
            continue
        found[name] = {
            "rank": names.index(host),
            "names": names,
            "addresses": [addresses.get(node, node) for node in names],
            "port": offer.get("port") or 0,
            "offer": dict(offer),
            "session": begun[0].get("session", "") if begun else "",
        }
    return found


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """By its name."""
        return {"node_placements": node_placements}
