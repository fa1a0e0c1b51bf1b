# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fine-tune that several hosts train together: the facts from the leading host, and the run of another host."""

from __future__ import annotations

import dataclasses
import typing as t

from ..artifacts.layout import Layout
from ..distributed.nodes import Nodes
from ..errors import InputError
from ..messages.message import Message
from ..runs.run import Run, RunStep
from . import inputs, pipeline
from .declaration import Declared
from .pipeline import Identity
from .request import Host

#: Display names of the upstream steps.
_LABELS = {"base": "base model", "dataset": "dataset"}


def lead(run: Run) -> dict[str, t.Any]:
    """Return the facts that the other hosts need to take part in a training.

    :param run: run planned by the leading host.
    :returns: ``training``, ``base``, ``dataset`` (fingerprints), ``resolved``, ``accelerator``.
    """
    spec = run.step("train").spec
    return {
        "training": spec.fingerprint,
        **{kind: spec.upstream[kind] for kind in _LABELS},
        "resolved": spec.options["resolved"],
        "accelerator": spec.options["accelerator"],
    }


def part_steps(
    layout: Layout, declared: Declared, host: Host, lead_facts: t.Mapping[str, t.Any]
) -> tuple[list[RunStep], list[str]]:
    """Return the steps with which this host takes part in a training that another host leads, and the goals.

    :param host: this host; the session of its nodes identifies the attempt.
    :param lead_facts: result of :func:`lead` on the leading host.
    :raises InputError: if this host has another base or dataset, or cannot train it.
    """
    nodes = Nodes.from_dict(host.nodes or {})
    base = inputs.resolve_base(layout, declared.base_model, declared.base_revision, host.toolchain, host.write)
    resolved_dataset = inputs.resolve_dataset(layout, declared.dataset, host.datasets)
    local = {"base": base.fingerprint, "dataset": resolved_dataset.fingerprint}
    for kind, label in _LABELS.items():
        if local[kind] != lead_facts[kind]:
            raise InputError(
                "planning.node_differs",
                name=declared.name,
                host=nodes.own_name,
                input=label,
                leader=nodes.leader,
                value=local[kind][:12],
                leader_value=str(lead_facts[kind])[:12],
                advice=_advice(kind, declared.base_model, declared.dataset),
                details={
                    "node": nodes.own_name,
                    kind: local[kind],
                    "leader": nodes.leader,
                    f"leader_{kind}": lead_facts[kind],
                },
            )
    # the leading host decides, also for method: auto; whether the training fits this host is checked separately
    resolved = dict(lead_facts["resolved"])
    decided = {name: str(resolved[name]) for name in ("method", "precision")}
    hyper = dataclasses.replace(declared.hyper, values={**declared.hyper.values, **decided})
    subject = inputs.subject_of(
        declared.base_model, base, resolved_dataset.fingerprint, resolved_dataset.results, nodes.count
    )
    _settings, options = inputs.training_settings(
        layout,
        hyper,
        base,
        subject,
        host.toolchain,
        accelerator=host.accelerator,
        name=declared.name,
        memory_check=declared.memory_check,
        write=False,
        merges=False,
    )
    if options["accelerator"] != lead_facts["accelerator"]:
        raise InputError(
            "planning.accelerators_differ",
            name=declared.name,
            leader=nodes.leader,
            leader_accelerator=lead_facts["accelerator"],
            host=nodes.own_name,
            accelerator=options["accelerator"],
        )
    options.update(resolved=resolved, nodes=nodes.as_dict())
    settings = {"training": lead_facts["training"], "session": nodes.session, "rank": nodes.rank}
    steps = [
        pipeline.base_step(Identity(base.fingerprint, base.settings, inputs.base_options(base.options, resolved))),
        pipeline.make_step("train_node", settings, local, options),
    ]
    return steps, ["train_node"]


def _advice(kind: str, base_model: str, dataset: str) -> Message:
    if kind == "dataset":
        return Message("planning.publish_same_file", dataset=dataset)
    if base_model.startswith("/"):
        return Message("planning.copy_base", base_model=base_model)
    return Message("planning.declare_revision")
