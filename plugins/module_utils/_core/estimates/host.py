# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fine-tune on a machine: resolves ``method: auto``, estimates memory and disk, and checks whether the training fits.

The resolution of ``auto`` is stored: another driver, other loaded models or a later version of this program do not
change it. Only a changed declared input (the base, the dataset, a hyperparameter) causes a new decision.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import typing as t

from ..artifacts.layout import Layout
from ..base_models.entry import Shape
from ..errors import InputError
from ..fingerprint import digest, fingerprint
from ..messages.message import Message
from ..system import gpus as system_gpus
from ..system import memory
from ..system.clock import utc_now
from ..training import extra_files, hyperparameters
from ..training.hyperparameters import Hyperparameters
from ..training.option import METHODS
from ..training.options import OPTIONS
from . import fit
from . import memory as estimates_memory
from .decisions import read_decisions, write_decision

#: Tokens that the chat template adds to a row.
_TEMPLATE_TOKENS = 64


class Machine:
    """The machine a fine-tune runs on. Queried lazily, so that a run with nothing to do never calls the GPU driver.

    :param accelerator: ``cuda`` or ``cpu``.
    :param gpus: the GPUs; None to query the driver.
    :param ram: the machine's memory; None to query the kernel.
    :param capabilities: compute capability of each GPU by its index; None to query the driver.
    """

    def __init__(
        self,
        accelerator: str,
        gpus: t.Sequence[system_gpus.Gpu] | None = None,
        ram: memory.Ram | None = None,
        capabilities: t.Mapping[int, tuple[int, int]] | None = None,
    ) -> None:
        self.accelerator = accelerator
        self._gpus = gpus
        self._ram = ram
        self._capabilities = capabilities

    @functools.cached_property
    def gpus(self) -> tuple[system_gpus.Gpu, ...]:
        """The GPUs used for training; empty on a CPU."""
        if self.accelerator != "cuda":
            return ()
        return tuple(system_gpus.gpus() if self._gpus is None else self._gpus)

    @functools.cached_property
    def ram(self) -> memory.Ram | None:
        """The machine's memory; None when the kernel does not report it."""
        return self._ram or memory.ram()

    @functools.cached_property
    def _compute_capabilities(self) -> t.Mapping[int, tuple[int, int]]:
        if self.accelerator != "cuda":
            return {}
        return system_gpus.compute_capabilities() if self._capabilities is None else self._capabilities

    def compute_capability(self, count: int = 1) -> tuple[int, int] | None:
        """Compute capability of the GPUs that a training uses, the lowest of several.

        None without a GPU or if it is not reported. If the driver does not list the GPUs otherwise, all of them count.

        :param count: number of GPUs that it declares.
        """
        reported = self._compute_capabilities
        used = [reported[gpu.index] for gpu in self.training_gpus(count) if gpu.index in reported]
        return min(used or reported.values(), default=None)

    def training_gpus(self, count: int = 1) -> list[system_gpus.Gpu]:
        """The GPUs that a training uses; empty on a CPU, or when the driver reports none.

        :param count: number of GPUs that it declares.
        """
        return system_gpus.largest(self.gpus, count)

    def gpu_total(self, count: int = 1) -> int | None:
        """Total memory in bytes of the GPU that a training uses; None without a GPU.

        Of several GPUs the smallest counts, because each holds a complete copy of the training.
        """
        return min((gpu.total_bytes for gpu in self.training_gpus(count)), default=None)

    def gpu_free(self, count: int = 1) -> int | None:
        """Free memory in bytes of those GPUs, of the one with the least; None without a GPU."""
        return min((gpu.free_bytes for gpu in self.training_gpus(count)), default=None)


def inspect_machine(accelerator: str) -> Machine:
    """The local machine.

    :param accelerator: ``auto``, ``cuda`` or ``cpu``.
    """
    return Machine(system_gpus.accelerator(accelerator))


@dataclasses.dataclass(frozen=True)
class Subject:
    """The inputs of a training besides its hyperparameters.

    :param base: fingerprint of the base model.
    :param dataset: fingerprint of the dataset.
    :param shape: shape of the base; None when unknown.
    :param dataset_results: ``results`` of the dataset's receipt.
    :param ollama_name: catalogue name of the base; empty when it has none.
    :param nodes: hosts that train together.
    """

    base: str
    dataset: str
    shape: Shape | None = None
    dataset_results: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    ollama_name: str = ""
    nodes: int = 1

    @property
    def rows(self) -> int | None:
        """Number of rows of the dataset; None when unknown."""
        rows = self.dataset_results.get("rows")
        return rows if isinstance(rows, int) else None

    @property
    def longest(self) -> int | None:
        """Upper bound of the tokens in the longest row; None when unknown.

        A tokenizer makes at most one token per character (except for rare symbols), and the JSON of a row has more
        characters than its text.
        """
        characters = (self.dataset_results.get("longest_row") or {}).get("characters")
        return characters + _TEMPLATE_TOKENS if isinstance(characters, int) else None

    @property
    def upstream(self) -> dict[str, str]:
        """Fingerprints of the inputs of the training, by kind."""
        return {"base": self.base, "dataset": self.dataset}


def train_fingerprint(layout: Layout, hyper: Hyperparameters, subject: Subject) -> str:
    """Fingerprint of the training, also of one that an earlier version has recorded in another way.

    :param hyper: hyperparameters with a concrete method, and with the tool format that enters the fingerprint.
    """
    settings = extra_files.settings(layout, hyper, subject.upstream, subject.nodes)
    return fingerprint("train", settings, subject.upstream)


# -- method: auto ----------------------------------------------------------------------------------------------------


def resolve_method(
    layout: Layout, hyper: Hyperparameters, subject: Subject, machine: Machine, write: bool
) -> tuple[Hyperparameters, Message | None]:
    """Resolve ``method: auto``; other methods are left unchanged.

    In this order: a stored decision for the same inputs, the method of an existing training, a new decision.

    :param write: whether a new decision may be stored.
    :returns: the hyperparameters with a concrete method, and the reason; None when the method was declared.
    """
    if hyper.method != "auto":
        return hyper, None
    key = _decision_key(hyper, subject)
    decision = _decisions(layout).get(key)
    if isinstance(decision, dict) and decision.get("method") in METHODS:
        cause = Message.from_stored(decision.get("cause") or decision.get("reason", ""))
        decided = Message("estimates.decided", reason=cause, decided_at=decision.get("decided_at", ""))
        return hyper.with_method(decision["method"]), decided
    for method in ("lora", "qlora", "full"):
        receipt = layout.receipt("train", train_fingerprint(layout, hyper.with_method(method), subject))
        if receipt is not None:
            options = receipt.get("options") or {}
            stored = options.get("method_cause") or options.get("method_reason")
            cause = Message.from_stored(stored) if stored else Message("estimates.trained_so")
            return hyper.with_method(method), cause
    gpu_total = machine.gpu_total(hyper["gpus"])
    method, reason = fit.choose_method(subject.shape, hyper.values, gpu_total, subject.rows, subject.longest)
    if machine.accelerator == "cuda" and gpu_total is None:
        reason = Message("estimates.no_known_gpu")
    if write:
        facts = {"method": method, "reason": str(reason), "cause": reason.as_dict(), "decided_at": utc_now()}
        _write_decision(layout, key, facts)
    return hyper.with_method(method), reason


def _decision_key(hyper: Hyperparameters, subject: Subject) -> str:
    """Digest of the inputs of a decision: everything declared for the training except the method.

    The tool format and thinking, which may be determined from the rows, have no part in the decision.
    """
    declared = {
        option.name: hyper[option.name]
        for option in OPTIONS
        if option.step == "train" and option.changes_result and option.name not in ("method", "tool_format", "thinking")
        if hyper[option.name] not in (option.default, list(option.default or ()) if option.type == "list" else None)
    }
    return digest({"base": subject.base, "dataset": subject.dataset, "settings": declared})


def _decisions_file(layout: Layout) -> str:
    return os.path.join(layout.parent("train"), "methods.json")


def _decisions(layout: Layout) -> dict[str, t.Any]:
    return read_decisions(_decisions_file(layout))


def _write_decision(layout: Layout, key: str, decision: dict[str, t.Any]) -> None:
    write_decision(_decisions_file(layout), key, decision)


# -- memory check -----------------------------------------------------------------------------------------------------


def estimate_resources(hyper: Hyperparameters, subject: Subject, machine: Machine) -> estimates_memory.Estimate | None:
    """Estimate the memory and disk of a fine-tune; None when the shape of its base is unknown."""
    if subject.shape is None:
        return None
    return estimates_memory.estimate(
        subject.shape, hyperparameters.resolved(hyper), machine.accelerator, subject.longest
    )


def misfit(
    hyper: Hyperparameters,
    subject: Subject,
    machine: Machine,
    resources: estimates_memory.Estimate | None,
    steps: t.Sequence[str] = ("train", "merge", "gguf"),
) -> fit.Misfit | None:
    """Explain why a fine-tune does not fit a machine; None when it fits, or when this is unknown.

    :param resources: result of :func:`estimate_resources`.
    :param steps: kinds of step that it makes, of those that take much RAM.
    """
    if resources is None or subject.shape is None:
        return None
    values = hyperparameters.resolved(hyper)
    gpu_total = machine.gpu_total(hyper["gpus"])
    if gpu_total is not None:
        problem = fit.misfit(subject.shape, values, gpu_total, subject.longest, subject.ollama_name, resources)
        if problem is not None:
            return problem
    return _ram_misfit(resources, values, subject, machine, steps)


def fits(needs: t.Mapping[str, t.Any], machine: Machine, gpus: int = 1, merges: bool = True) -> bool | None:
    """Whether a fine-tune fits a machine, by the rule of :func:`misfit`; None when this is unknown.

    :param needs: the estimate of the training as stored (:meth:`estimates.memory.Estimate.as_dict`).
    :param gpus: number of GPUs that it declares.
    :param merges: whether its result is merged into its base on this machine.
    """
    vram, ram = needs.get("vram"), machine.ram
    on_gpu = on_cpu = None
    total = machine.gpu_total(gpus)
    if vram is not None and total is not None and not needs.get("unknown"):
        on_gpu = vram["planned"] <= fit.budget(total)
    if ram is not None:
        on_cpu = all(needs["ram"].get(step, 0) <= ram.total + ram.swap for step in steps_with_ram(merges))
    if on_gpu is False or on_cpu is False:
        return False
    return on_cpu if vram is None else on_gpu


def steps_with_ram(merges: bool) -> tuple[str, ...]:
    """Kinds of step that take much RAM, of those that a fine-tune makes.

    :param merges: whether its result is merged into its base.
    """
    return ("train", "merge", "gguf") if merges else ("train",)


def _ram_misfit(
    resources: estimates_memory.Estimate,
    values: t.Mapping[str, t.Any],
    subject: Subject,
    machine: Machine,
    steps: t.Sequence[str],
) -> fit.Misfit | None:
    """Explain why a fine-tune does not fit in RAM: training on a CPU, or merging, which always runs on the CPU."""
    if subject.shape is None or machine.ram is None:
        return None
    available = machine.ram.total + machine.ram.swap
    for step in steps:
        if resources.ram[step] > available:
            if machine.accelerator != "cpu":
                measure = fit.required_ram_after
            else:
                measure = fit.required_ram if "merge" in steps else fit.required_training_ram
            suggestions = fit.nearest_settings(
                subject.shape, values, available, subject.longest, subject.ollama_name, measure
            )
            content = Message(
                "estimates.ram_too_small",
                step=step,
                needed=resources.ram[step],
                total=machine.ram.total,
                swap=Message("estimates.swap", size=machine.ram.swap)
                if machine.ram.swap
                else Message("estimates.no_swap"),
                suggestions=fit.describe_suggestions(suggestions),
            )
            return fit.Misfit(content)
    return None


def is_trained(layout: Layout, hyper: Hyperparameters, subject: Subject) -> bool:
    """Whether a training has been completed on this host, also if its weights were pruned since: receipts remain."""
    return layout.receipt("train", train_fingerprint(layout, hyper, subject)) is not None


def check_gpus(hyper: Hyperparameters, machine: Machine) -> None:
    """Check that a machine has the declared number of GPUs.

    :raises InputError: when it trains on the CPU, or the driver reports fewer.
    """
    wanted = hyper["gpus"]
    if wanted == 1:
        return
    if machine.accelerator != "cuda":
        raise InputError("estimates.gpus_on_cpu", gpus=wanted)
    if machine.gpus and len(machine.gpus) < wanted:
        raise InputError("estimates.too_few_gpus", gpus=wanted, there=len(machine.gpus))


def check(
    layout: Layout,
    hyper: Hyperparameters,
    subject: Subject,
    machine: Machine,
    *,
    name: str,
    memory_check: str,
    resources: estimates_memory.Estimate | None,
    steps: t.Sequence[str] = ("train", "merge", "gguf"),
) -> Message | None:
    """Check that a training fits the machine, unless it has been trained already.

    :param name: name of the fine-tune, for the message.
    :param memory_check: ``enforce`` or ``warn``.
    :param resources: result of :func:`estimate_resources`.
    :param steps: kinds of step that the fine-tune makes, of those that take much RAM.
    :returns: a warning; None when it fits.
    :raises InputError: when it does not fit and the check is enforced.
    """
    if is_trained(layout, hyper, subject):
        return None
    problem = misfit(hyper, subject, machine, resources, steps)
    if problem is None:
        return None
    if memory_check == "enforce":
        raise InputError("estimates.does_not_fit", name=name, problem=problem.content)
    return problem.content
