#!/usr/bin/python
# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: training_node
short_description: Look whether a host can train together with others
version_added: 0.1.0
description:
  - A fine-tune whose C(nodes) name several hosts is trained by all of them together. This module finds out, before
    anything is asked for, whether that can work. Nothing on the hosts is changed.
  - On the host that leads, it tells what the others have to know of the training, and chooses ports that are free.
  - On the others, it holds their base model and dataset against those of the leading host, and refuses what differs.
  - Between any two of them, it looks whether they reach each other, and names what is blocked. For that each host
    answers on some ports for as long as it takes, at most five minutes.
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
      - Where the hosts can be reached by each other, by their names.
    type: dict
    required: true
  offers:
    description:
      - What the leading hosts have told, RV(trainings) of all of them. Needed on the others.
    type: dict
    default: {}
  dial:
    description:
      - Ports to try, by the name of the host, as RV(ports) of it.
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
- name: Look what there is to train together
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
      description: Whether it has to be trained.
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
      description: All hyperparameters with what they come to.
      type: dict
    accelerator:
      description: What it runs on.
      type: str
    port:
      description: The port on which the other nodes are waited for.
      type: int
ports:
  description: Ports on which this host answers for a while.
  returned: success
  type: list
  elements: int
  sample: [29400, 29401]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ansible_module import main as run_module
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.distributed.node_line import (
    answer,
    dial,
    free_port,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.distributed.nodes import FIRST_PORT, Nodes
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.entries import entries
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.node_training import lead
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._step_module import HOST_SPEC, toolchain


def look(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    me, addresses = str(params["node"]), {str(name): str(there) for name, there in params["addresses"].items()}
    trainings, wanted, callers = {}, [], 0
    for declared in entries(params["finetunes"]):
        names = [str(name) for name in declared["nodes"]]
        if names[0] == me:
            offer = offer_of(module, declared, addresses[me])
            trainings[str(declared["name"])] = offer
        else:
            offer = params["offers"][str(declared["name"])]
            take_part(module, declared, offer, names, addresses)
        if offer["needed"] and not module.check_mode:
            callers = max(callers, len(names) - 1)
            wanted += [offer["port"], offer["port"] + 1] if names[0] == me else []
    dial_all(me, addresses, params["dial"])
    wanted = wanted or ([0] if callers else [])
    ports = answer(addresses[me], wanted, callers) if wanted else []
    return {"changed": False, "trainings": trainings, "ports": ports}


def offer_of(module: AnsibleModule, declared: dict[str, t.Any], address: str) -> dict[str, t.Any]:
    """What is told of a training that this host leads."""
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
    """Refuse a part that this host cannot have."""
    params, engine = module.params, Engine(module.params["data_dir"])
    if offer["needed"]:
        there = tuple(addresses.get(name, name) for name in names)
        nodes = Nodes(names.index(params["node"]), tuple(names), there, offer["port"])
        host = Host(
            toolchain(params),
            params["accelerator"],
            params["datasets"],
            not module.check_mode,
            nodes=nodes.as_dict(),
            lead=offer,
        )
        plan(engine.layout, Request.finetune(declared), host)


def dial_all(me: str, addresses: t.Mapping[str, str], ports: t.Mapping[str, t.Sequence[int]]) -> None:
    """Try to reach the other hosts.

    :raises NotReadyError: with all that cannot be reached.
    """
    found = [dial(me, name, addresses[name], int(port)) for name, each in ports.items() for port in each if name != me]
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
        look,
        reads_only=True,
    )


if __name__ == "__main__":
    main()
