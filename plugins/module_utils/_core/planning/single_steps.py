# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of a single step on an existing result, for the modules ``merge``, ``gguf`` and ``ollama_model``.

A result is identified by its fingerprint; its receipt contains everything else.
"""

from __future__ import annotations

import typing as t

from ..artifacts.layout import Layout
from ..errors import InputError, NotReadyError
from ..runs.run import Run
from ..runs.spec import Toolchain
from ..training import hyperparameters, stages
from ..training.adapter_export import check_exportable
from . import pipeline
from .declaration import read_gate
from .finetune import register_settings
from .pipeline import Identity


def _receipt(layout: Layout, kind: str, fingerprint: str) -> dict[str, t.Any]:
    receipt = layout.receipt(kind, fingerprint)
    if receipt is None:
        module = kind.partition("_")[0]
        raise NotReadyError(
            f"There is no {kind} {fingerprint[:12]} in {layout.parent(kind)}.",
            f"Give the fingerprint that the module ia_homelab.llamafactory.{module} has returned.",
        )
    return receipt


def plan_merge(layout: Layout, adapter: str, toolchain: Toolchain) -> Run:
    """Plan the run that merges the result of a training into its base."""
    receipt = _receipt(layout, "train", adapter)
    options = {key: value for key, value in receipt["options"].items() if key != "warning"}
    stages.require_generative(str((options.get("resolved") or {}).get("stage") or "sft"), "merged")
    upstream = {"base": receipt["upstream"]["base"], "train": adapter}
    step = pipeline.make_step("merge", {}, upstream, options)
    return pipeline.make_run(str(receipt["options"].get("name") or "merge"), [step], ["merge"], toolchain)


def plan_gguf(layout: Layout, merged: str, quantizations: t.Any, toolchain: Toolchain) -> Run:
    """Plan the run that converts and quantizes merged weights."""
    receipt = _receipt(layout, "merge", merged)
    trained = layout.receipt("train", receipt["upstream"]["train"]) or {}
    options = {
        "name": receipt["options"].get("name", ""),
        "base": receipt["upstream"]["base"],
        "dataset": (trained.get("upstream") or {}).get("dataset"),
    }
    types = hyperparameters.normalise({"quantizations": quantizations}).quantizations
    steps = pipeline.gguf_steps(merged, types, options)
    return pipeline.make_run(options["name"] or "gguf", steps, [f"gguf-{name}" for name in types], toolchain)


def plan_gguf_adapter(layout: Layout, adapter: str, quantizations: t.Any, toolchain: Toolchain) -> Run:
    """Plan the run that converts an adapter and its base separately, without merging them.

    :param adapter: fingerprint of the training.
    :raises InputError: if the adapter alone does not contain everything that was trained.
    """
    receipt = _receipt(layout, "train", adapter)
    options = {key: value for key, value in receipt["options"].items() if key != "warning"}
    name, resolved = str(options.get("name") or "gguf"), options.get("resolved") or {}
    stages.require_generative(str(resolved.get("stage") or "sft"), "converted")
    check_exportable(name, resolved)
    base = _receipt(layout, "base", str(receipt["upstream"]["base"]))
    types = hyperparameters.normalise({"quantizations": quantizations}).quantizations
    identity = Identity(base["fingerprint"], base["settings"])
    adapter_step, ggufs = pipeline.adapter_steps(identity, adapter, options, types)
    goals = [adapter_step.label, *(f"gguf-{each}" for each in types)]
    return pipeline.make_run(name, [adapter_step, *ggufs], goals, toolchain)


def plan_register(
    layout: Layout,
    gguf: str,
    name: str,
    toolchain: Toolchain,
    template: str | None = None,
    system: str | None = None,
    parameters: t.Mapping[str, t.Any] | None = None,
    aliases: t.Sequence[str] = ("latest",),
    gate: t.Any = None,
    adapter: str | None = None,
) -> Run:
    """Plan the run that registers a GGUF file in Ollama.

    :param adapter: fingerprint of the GGUF file of an adapter to apply, if ``gguf`` is the file of a base.
    :raises InputError: if the adapter belongs to another base.
    """
    receipt = _receipt(layout, "gguf", gguf)
    if adapter:
        upstream_receipt = _receipt(layout, "gguf_adapter", adapter)
        if receipt["upstream"].get("base") != upstream_receipt["upstream"]["base"]:
            raise InputError(
                f"The adapter {adapter[:12]} does not stand on the GGUF file {gguf[:12]}.",
                "Give the file of its base: the module gguf makes both with its option adapter.",
            )
        trained = layout.receipt("train", upstream_receipt["upstream"]["train"]) or {}
        dataset = (trained.get("upstream") or {}).get("dataset")
    else:
        merged = receipt["upstream"].get("merge")
        upstream_receipt = (layout.receipt("merge", merged) if merged else None) or {}
        dataset = receipt["options"].get("dataset")
    training = (upstream_receipt.get("options") or {}).get("resolved") or {}
    training_template = template or training.get("template")
    if not training_template:
        raise InputError(f"The chat template of {gguf[:12]} is unknown.", "Give template.")
    results = (layout.receipt("dataset", dataset) or {}).get("results") or {} if dataset else {}
    training = {**training, "template": training_template}
    settings, warning = register_settings(name, training, results, system, parameters or {})
    quantization = str(receipt["settings"]["quantization"])
    options = {"name": name, "warning": warning}
    registrations = pipeline.register_steps({quantization: gguf}, settings, aliases, options, adapter or "")
    steps = pipeline.with_gate(registrations, read_gate(gate, aliases))
    return pipeline.make_run(name, steps, [step.label for step in steps], toolchain)
