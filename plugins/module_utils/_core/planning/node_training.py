# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fine-tune that several hosts train together: what the leading one tells of it, and the part of another one."""

from __future__ import annotations

import typing as t

from ..artifacts.layout import Layout
from ..distributed.nodes import Nodes
from ..errors import InputError
from ..runs.run import Run
from ..runs.spec import Toolchain
from . import declaration, finetune, pipeline
from .pipeline import Identity

#: What of an upstream step is called what, for people to read.
_WORDS = {"base": "base model", "dataset": "dataset"}


def lead(run: Run) -> dict[str, t.Any]:
    """What the other hosts have to know of a training to take part in it.

    :param run: as the leading host has planned it.
    :returns: ``training``, ``base``, ``dataset`` (fingerprints), ``resolved``, ``accelerator``.
    """
    spec = run.step("train").spec
    return {
        "training": spec.fingerprint,
        **{kind: spec.upstream[kind] for kind in _WORDS},
        "resolved": spec.options["resolved"],
        "accelerator": spec.options["accelerator"],
    }


def plan_part(
    layout: Layout,
    raw: t.Mapping[str, t.Any],
    led: t.Mapping[str, t.Any],
    nodes: Nodes,
    toolchain: Toolchain,
    datasets: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
    accelerator: str = "auto",
    write: bool = True,
) -> Run:
    """The run in which this host takes part in a training that another one leads.

    :param raw: one entry of ``finetunes``.
    :param led: what :func:`lead` told on the leading host.
    :param nodes: who they are; its session names the attempt.
    :param write: whether what a base name was resolved to may be written down.
    :raises InputError: when this host has not the same base or dataset, or cannot train it.
    """
    declared = declaration.read_declaration(raw)
    base = finetune.resolve_base(layout, declared.base_model, declared.base_revision, toolchain, write)
    known = finetune.resolve_dataset(layout, declared.dataset, datasets or {})
    mine = {"base": base.fingerprint, "dataset": known.fingerprint}
    for kind, word in _WORDS.items():
        if mine[kind] != led[kind]:
            raise InputError(
                f"{declared.name}: {nodes.me} has another {word} than {nodes.leader}: {mine[kind][:12]}, not "
                f"{str(led[kind])[:12]}.",
                _align(kind, declared.base_model, declared.dataset),
                {"node": nodes.me, kind: mine[kind], "leader": nodes.leader, f"leader_{kind}": led[kind]},
            )
    # what the leading host came to, also where method: auto is declared; whether it fits here is another question
    resolved = dict(led["resolved"])
    hyper = declared.hyper.with_method(str(resolved["method"]))
    subject = finetune.subject_of(declared.base_model, base, known.fingerprint, known.results)
    _settings, options = finetune.read_training(
        layout, hyper, base, subject, toolchain, accelerator, declared.name, declared.memory_check, False
    )
    if options["accelerator"] != led["accelerator"]:
        raise InputError(
            f"{declared.name}: {nodes.leader} trains on {led['accelerator']}, {nodes.me} on {options['accelerator']}.",
            "Hosts that train together need the same: set llamafactory_accelerator for all of them.",
        )
    options.update(resolved=resolved, nodes=nodes.as_dict())
    settings = {"training": led["training"], "session": nodes.session, "rank": nodes.rank}
    steps = [
        pipeline.base_step(Identity(base.fingerprint, base.settings, base.options)),
        pipeline.make_step("train_node", settings, mine, options),
    ]
    return pipeline.make_run(declared.name, steps, ["train_node"], toolchain, dict(raw))


def _align(kind: str, base_model: str, dataset: str) -> str:
    if kind == "dataset":
        return f"Publish {dataset} from the same file on all of them: name it in finetune_datasets."
    if base_model.startswith("/"):
        return f"Copy {base_model} of one of them to the others."
    return "Its name was resolved at different times: declare base_revision, the commit."
