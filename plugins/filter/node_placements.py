# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: node_placements
short_description: Return the part of a host in the fine-tunes that several hosts train together
version_added: 0.1.0
description:
  - Returns the value of O(ia_homelab.llamafactory.job#module:nodes) for a host.
  - If the host does not lead, only the fine-tunes that are still to be trained are included.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  _input:
    description:
      - The fine-tunes, with host names in C(nodes). Fine-tunes of a single host are ignored.
      - A list, or a dictionary by name.
    type: raw
    required: true
  host:
    description: The host.
    type: str
    required: true
  addresses:
    description: Addresses at which the hosts reach each other, by name.
    type: dict
    required: true
  offers:
    description:
      - C(trainings) of M(ia_homelab.llamafactory.training_node) on the leading hosts, by the name of the fine-tune.
    type: dict
    required: true
  runs:
    description: The runs that were submitted on the leading hosts.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Submit the runs that this host leads
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
    """Return the part of a host in each fine-tune that it trains together with others."""
    found = {}
    for finetune in entries(finetunes):
        name, names = str(finetune["name"]), [str(node) for node in finetune.get("nodes") or []]
        if len(names) < 2 or host not in names:
            continue
        offer = offers.get(name) or {}
        submitted = [run for run in runs if run["name"] == name and "train" in run["pending"]]
        if names[0] != host and not submitted:
            continue
        found[name] = {
            "rank": names.index(host),
            "names": names,
            "addresses": [addresses.get(node, node) for node in names],
            "port": offer.get("port") or 0,
            "offer": dict(offer),
            "session": submitted[0].get("session", "") if submitted else "",
        }
    return found


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"node_placements": node_placements}
