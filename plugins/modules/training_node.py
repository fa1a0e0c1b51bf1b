#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: training_node
short_description: Check whether a host can train together with others
version_added: 0.1.0
description:
  - A fine-tune with several hosts in C(nodes) is trained by all of them together. This module checks, before a run is
    submitted, whether that is possible. It changes nothing on the hosts.
  - On the leading host, it returns the facts of the training that the other hosts need, and chooses free ports.
  - On the other hosts, it compares their base model and dataset with those of the leading host, and fails if they
    differ.
  - It checks that any two hosts can reach each other, and names the ports that are blocked. To this end, each host
    answers on some ports, for five minutes at most.
author:
  - ia_homelab contributors (@ia-homelab)
options:
  node:
    description:
      - Name of this host among the nodes.
    type: str
    required: true
  finetunes:
    description:
      - The fine-tunes of several nodes that this host takes part in, as declared in C(finetunes) of the inventory, with
        names of hosts in C(nodes). A list of entries, or a dictionary of entries by name.
    type: raw
    default: []
  addresses:
    description:
      - Addresses at which the hosts reach each other, by name.
    type: dict
    required: true
  offers:
    description:
      - RV(trainings) of all leading hosts. Required on the other hosts.
    type: dict
    default: {}
  dial:
    description:
      - Ports to connect to, by the name of the host; RV(ports) of that host.
    type: dict
    default: {}
extends_documentation_fragment:
  - ia_homelab.llamafactory.attributes.info_module
  - ia_homelab.llamafactory.attributes.actiongroup_llamafactory
  - ia_homelab.llamafactory.follow.host
  - ia_homelab.llamafactory.follow.accelerator
  - ia_homelab.llamafactory.follow.datasets
seealso:
  - module: ia_homelab.llamafactory.job
"""

EXAMPLES = r"""
- name: Check the trainings of several hosts
  ia_homelab.llamafactory.training_node:
    data_dir: /data/llamafactory
    node: pc-a
    addresses: {pc-a: 192.168.1.21, pc-b: 192.168.1.22}
    finetunes:
      - name: homelab-model
        base_model: qwen2.5:7b
        dataset: homelab_prompts
        nodes: [pc-a, pc-b]
  register: offered
"""

RETURN = r"""
trainings:
  description: The trainings that this host leads, by the name of the fine-tune.
  returned: success
  type: dict
  contains:
    needed:
      description: Whether the training is still to be done.
      type: bool
    training:
      description: Fingerprint of the training.
      type: str
    base:
      description: Fingerprint of the base model.
      type: str
    dataset:
      description: Fingerprint of the dataset.
      type: str
    resolved:
      description: All hyperparameters with their values.
      type: dict
    accelerator:
      description: C(cuda) or C(cpu).
      type: str
    port:
      description: Port on which the leading host waits for the others.
      type: int
ports:
  description: Ports on which this host answers, for five minutes at most.
  returned: success
  type: list
  elements: int
  sample: [29400, 29401]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.distributed.node_connection import (
    answer_probes,
    free_port,
    probe,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.distributed.nodes import FIRST_PORT, Nodes
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.entries import entries
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.node_training import lead
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._step_module import HOST_SPEC, toolchain


def inspect(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    own_name, addresses = (
        str(params["node"]),
        {str(name): str(address) for name, address in params["addresses"].items()},
    )
    trainings, ports, callers = {}, [], 0
    for declared in entries(params["finetunes"]):
        names = [str(name) for name in declared["nodes"]]
        if names[0] == own_name:
            offer = offer_of(module, declared, addresses[own_name])
            trainings[str(declared["name"])] = offer
        else:
            offer = params["offers"][str(declared["name"])]
            take_part(module, declared, offer, names, addresses)
        if offer["needed"] and not module.check_mode:
            callers = max(callers, len(names) - 1)
            ports += [offer["port"], offer["port"] + 1] if names[0] == own_name else []
    probe_all(own_name, addresses, params["dial"])
    ports = ports or ([0] if callers else [])
    ports = answer_probes(addresses[own_name], ports, callers) if ports else []
    return {"changed": False, "trainings": trainings, "ports": ports}


def offer_of(module: AnsibleModule, declared: dict[str, t.Any], address: str) -> dict[str, t.Any]:
    """Return the facts of a training that this host leads."""
    params, engine = module.params, Engine(module.params["data_dir"])
    host = Host(toolchain(params), params["accelerator"], params["datasets"], not module.check_mode, nodes={})
    run = plan(engine.layout, Request.finetune(declared), host)
    needed, port = "train" in engine.preview(run).pending, 0
    if needed and not module.check_mode:
        port = free_port(address, FIRST_PORT)
        while free_port(address, port + 1) != port + 1:
            port = free_port(address, port + 1)
    return {"needed": needed, "port": port, **lead(run)}


def take_part(
    module: AnsibleModule,
    declared: dict[str, t.Any],
    offer: dict[str, t.Any],
    names: list[str],
    addresses: t.Mapping[str, str],
) -> None:
    """Check that this host can take part in a training.

    :raises InputError: if it has another base model or dataset, or cannot train it.
    """
    params, engine = module.params, Engine(module.params["data_dir"])
    if offer["needed"]:
        reached = tuple(addresses.get(name, name) for name in names)
        nodes = Nodes(names.index(params["node"]), tuple(names), reached, offer["port"])
        host = Host(
            toolchain(params),
            params["accelerator"],
            params["datasets"],
            not module.check_mode,
            nodes=nodes.as_dict(),
            lead=offer,
        )
        plan(engine.layout, Request.finetune(declared), host)


def probe_all(own_name: str, addresses: t.Mapping[str, str], ports: t.Mapping[str, t.Sequence[int]]) -> None:
    """Connect to the ports of the other hosts.

    :raises NotReadyError: names all that cannot be reached.
    """
    found = [
        probe(own_name, name, addresses[name], int(port))
        for name, each in ports.items()
        for port in each
        if name != own_name
    ]
    problems = [problem for problem in found if problem is not None]
    if problems:
        raise NotReadyError(
            "modules.nodes_unreachable",
            problems=[problem.content for problem in problems],
            first=problems[0].content,
            details={"blocked": [problem.details for problem in problems]},
        )


def main() -> None:
    run_module(
        {
            **HOST_SPEC,
            "node": {"type": "str", "required": True},
            "finetunes": {"type": "raw", "default": []},
            "addresses": {"type": "dict", "required": True},
            "offers": {"type": "dict", "default": {}},
            "dial": {"type": "dict", "default": {}},
            "datasets": {"type": "dict", "default": {}},
            "accelerator": {"type": "str", "choices": ["auto", "cuda", "cpu"], "default": "auto"},
        },
        inspect,
        reads_only=True,
    )


if __name__ == "__main__":
    main()
