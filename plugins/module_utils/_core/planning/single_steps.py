# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of one step, from a result that is there: what the modules ``merge``, ``gguf`` and ``ollama_model`` ask for.

A result is named by its fingerprint; its receipt tells the rest.
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
    """The run that merges what a training has made into its base."""
    receipt = _receipt(layout, "train", adapter)
    options = {key: value for key, value in receipt["options"].items() if key != "warning"}
    stages.require_generative(str((options.get("resolved") or {}).get("stage") or "sft"), "merged")
    upstream = {"base": receipt["upstream"]["base"], "train": adapter}
    step = pipeline.make_step("merge", {}, upstream, options)
    return pipeline.make_run(str(receipt["options"].get("name") or "merge"), [step], ["merge"], toolchain)


def plan_gguf(layout: Layout, merged: str, quantizations: t.Any, toolchain: Toolchain) -> Run:
    """The run that converts and quantizes merged weights."""
    receipt = _receipt(layout, "merge", merged)
    trained = layout.receipt("train", receipt["upstream"]["train"]) or {}
    options = {
        "name": receipt["options"].get("name", ""),
        "base": receipt["upstream"]["base"],
        "dataset": (trained.get("upstream") or {}).get("dataset"),
    }
    wanted = hyperparameters.normalise({"quantizations": quantizations}).quantizations
    steps = pipeline.gguf_steps(merged, wanted, options)
    return pipeline.make_run(options["name"] or "gguf", steps, [f"gguf-{name}" for name in wanted], toolchain)


def plan_gguf_adapter(layout: Layout, adapter: str, quantizations: t.Any, toolchain: Toolchain) -> Run:
    """The run that converts an adapter alone, and the base it stands on: nothing is merged.

    :param adapter: fingerprint of the training.
    :raises InputError: when the adapter alone is not the model that was trained.
    """
    receipt = _receipt(layout, "train", adapter)
    options = {key: value for key, value in receipt["options"].items() if key != "warning"}
    name, resolved = str(options.get("name") or "gguf"), options.get("resolved") or {}
    stages.require_generative(str(resolved.get("stage") or "sft"), "converted")
    check_exportable(name, resolved)
    base = _receipt(layout, "base", str(receipt["upstream"]["base"]))
    wanted = hyperparameters.normalise({"quantizations": quantizations}).quantizations
    small, ggufs = pipeline.adapter_steps(Identity(base["fingerprint"], base["settings"]), adapter, options, wanted)
    return pipeline.make_run(name, [small, *ggufs], [small.label, *(f"gguf-{each}" for each in wanted)], toolchain)


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
    """The run that registers a GGUF file in Ollama.

    :param adapter: fingerprint of the GGUF file of an adapter that is put on it, where it is the one of a base.
    :raises InputError: when the adapter stands on another base.
    """
    receipt = _receipt(layout, "gguf", gguf)
    if adapter:
        above = _receipt(layout, "gguf_adapter", adapter)
        if receipt["upstream"].get("base") != above["upstream"]["base"]:
            raise InputError(
                f"The adapter {adapter[:12]} does not stand on the GGUF file {gguf[:12]}.",
                "Give the file of its base: the module gguf makes both with its option adapter.",
            )
        trained = layout.receipt("train", above["upstream"]["train"]) or {}
        dataset = (trained.get("upstream") or {}).get("dataset")
    else:
        merged = receipt["upstream"].get("merge")
        above = (layout.receipt("merge", merged) if merged else None) or {}
        dataset = receipt["options"].get("dataset")
    known = (above.get("options") or {}).get("resolved") or {}
    chosen = template or known.get("template")
    if not chosen:
        raise InputError(f"Nothing tells the chat template of {gguf[:12]}.", "Give template.")
    results = (layout.receipt("dataset", dataset) or {}).get("results") or {} if dataset else {}
    settings, warning = register_settings(name, {**known, "template": chosen}, results, system, parameters or {})
    quantization = str(receipt["settings"]["quantization"])
    more = {"name": name, "warning": warning}
    registers = pipeline.register_steps({quantization: gguf}, settings, aliases, more, adapter or "")
    steps = pipeline.gated(registers, read_gate(gate, aliases))
    return pipeline.make_run(name, steps, [step.label for step in steps], toolchain)
