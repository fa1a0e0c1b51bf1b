# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fine-tune and the machine it is declared for: what ``auto`` is on it, what it takes there, whether it fits.

What ``auto`` came to is written down and kept: another driver, a model loaded beside it or a later version of this
program do not change what was decided. A declared input that changes (the base, the dataset, a hyperparameter) has it
decided anew.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import typing as t

from ..artifacts.layout import Layout
from ..base_models.catalogue import Shape
from ..errors import InputError
from ..fingerprint import digest, fingerprint
from ..system import gpus as system_gpus
from ..system import memory
from ..system.clock import utc_now
from ..system.disk import gigabytes
from ..system.files import make_dirs, read_json, write_json
from ..system.locks import FileLock
from ..training import hyperparameters
from ..training.hyperparameters import Hyperparameters
from ..training.options import METHODS, OPTIONS
from . import fit
from . import memory as estimates_memory

#: What becomes of a training that cannot fit: an error, or a warning.
CHECKS = ("enforce", "warn")

#: Tokens of the chat template's own around a row.
_AROUND = 64


class Machine:
    """What a fine-tune runs on. Looked at only when somebody wants to know: a run with nothing to do asks no driver.

    :param accelerator: ``cuda`` or ``cpu``.
    :param gpus: the GPUs; None to ask the driver.
    :param ram: the machine's memory; None to ask the kernel.
    """

    def __init__(
        self, accelerator: str, gpus: t.Sequence[system_gpus.Gpu] | None = None, ram: memory.Ram | None = None
    ) -> None:
        self.accelerator = accelerator
        self._gpus = gpus
        self._ram = ram

    @functools.cached_property
    def gpus(self) -> tuple[system_gpus.Gpu, ...]:
        """The GPUs that trainings run on."""
        if self.accelerator != "cuda":
            return ()
        return tuple(system_gpus.gpus() if self._gpus is None else self._gpus)

    @functools.cached_property
    def ram(self) -> memory.Ram | None:
        """Its memory, when the kernel tells."""
        return self._ram or memory.ram()

    @property
    def gpu_total(self) -> int | None:
        """All memory of the GPU; of the smallest, where there are several, since each holds a whole copy of what is
        trained. None without one."""
        return min((gpu.total_bytes for gpu in self.gpus), default=None)

    @property
    def gpu_free(self) -> int | None:
        """The same, of what nobody holds just now."""
        return min((gpu.free_bytes for gpu in self.gpus), default=None)


def inspect_machine(accelerator: str) -> Machine:
    """This machine.

    :param accelerator: auto, cuda or cpu.
    """
    return Machine(system_gpus.accelerator(accelerator))


@dataclasses.dataclass(frozen=True)
class Subject:
    """What a training is about, beside its hyperparameters.

    :param base: fingerprint of the base model.
    :param dataset: fingerprint of the dataset.
    :param shape: how the base is built, when known.
    :param found_out: what is known of the dataset (``results`` of its receipt).
    :param ollama_name: the base's name in the catalogue; empty when it has none.
    """

    base: str
    dataset: str
    shape: Shape | None = None
    dataset_results: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict)
    ollama_name: str = ""

    @property
    def rows(self) -> int | None:
        """Rows of the dataset, when known."""
        rows = self.dataset_results.get("rows")
        return rows if isinstance(rows, int) else None

    @property
    def longest(self) -> int | None:
        """Tokens of its longest row at most, when known: no tokenizer makes more tokens of a text than it has
        characters, but for rare signs, and its JSON has more characters than the text."""
        characters = (self.dataset_results.get("longest_row") or {}).get("characters")
        return characters + _AROUND if isinstance(characters, int) else None

    def train_fingerprint(self, hyper: Hyperparameters) -> str:
        """The name of the training with these settings."""
        upstream = {"base": self.base, "dataset": self.dataset}
        return fingerprint("train", hyperparameters.settings(hyper), upstream)


# -- method: auto ----------------------------------------------------------------------------------------------------


def resolve_method(
    layout: Layout, hyper: Hyperparameters, subject: Subject, machine: Machine, write: bool
) -> tuple[Hyperparameters, str]:
    """The hyperparameters with the method that ``auto`` means, and why; others stay as they are.

    What was decided for the same inputs counts; then a training that is there already; else it is decided now.

    :param write: whether a decision may be written down.
    """
    if hyper.method != "auto":
        return hyper, ""
    key = _key(hyper, subject)
    known = _decisions(layout).get(key)
    if isinstance(known, dict) and known.get("method") in METHODS:
        return hyper.with_method(known["method"]), f"{known.get('reason', '')} (decided {known.get('decided_at', '')})"
    for method in ("lora", "qlora", "full"):
        receipt = layout.receipt("train", subject.train_fingerprint(hyper.with_method(method)))
        if receipt is not None:
            reason = str((receipt.get("options") or {}).get("method_reason") or "")
            return hyper.with_method(method), reason or "it has been trained so already"
    method, reason = fit.choose_method(subject.shape, hyper.values, machine.gpu_total, subject.rows, subject.longest)
    if machine.accelerator == "cuda" and machine.gpu_total is None:
        reason = "the driver tells of no GPU whose memory is known"
    if write:
        _write_decision(layout, key, {"method": method, "reason": reason, "decided_at": utc_now()})
    return hyper.with_method(method), reason


def _key(hyper: Hyperparameters, subject: Subject) -> str:
    """The inputs of a decision: all that is declared of the training beside the method."""
    declared = {
        option.name: hyper[option.name]
        for option in OPTIONS
        if option.step == "train" and option.changes_result and option.name != "method"
        if hyper[option.name] not in (option.default, list(option.default or ()) if option.type == "list" else None)
    }
    return digest({"base": subject.base, "dataset": subject.dataset, "settings": declared})


def _decisions_file(layout: Layout) -> str:
    return os.path.join(layout.parent("train"), "methods.json")


def _decisions(layout: Layout) -> dict[str, t.Any]:
    found = read_json(_decisions_file(layout)) or {}
    return found if isinstance(found, dict) else {}


def _write_decision(layout: Layout, key: str, decision: dict[str, t.Any]) -> None:
    path = _decisions_file(layout)
    make_dirs(os.path.dirname(path))
    with FileLock(os.path.join(os.path.dirname(path), ".methods.lock")):
        write_json(path, {**_decisions(layout), key: decision})


# -- does it fit -----------------------------------------------------------------------------------------------------


def size(hyper: Hyperparameters, subject: Subject, machine: Machine) -> estimates_memory.Estimate | None:
    """What a fine-tune takes; None when nobody knows how its base is built."""
    if subject.shape is None:
        return None
    return estimates_memory.estimate(
        subject.shape, hyperparameters.resolved(hyper), machine.accelerator, subject.longest
    )


def misfit(hyper: Hyperparameters, subject: Subject, machine: Machine) -> fit.Misfit | None:
    """Whether a fine-tune cannot fit a machine, and what would; None when it can, or nobody knows."""
    found = size(hyper, subject, machine)
    if found is None or subject.shape is None:
        return None
    values = hyperparameters.resolved(hyper)
    if machine.gpu_total is not None:
        wrong = fit.misfit(subject.shape, values, machine.gpu_total, subject.longest, subject.ollama_name)
        if wrong is not None:
            return wrong
    return _no_ram(found, values, subject, machine)


def _no_ram(
    found: estimates_memory.Estimate, values: t.Mapping[str, t.Any], subject: Subject, machine: Machine
) -> fit.Misfit | None:
    """The same of the machine's own memory: for training on a CPU, and for merging, which is done there always."""
    if subject.shape is None or machine.ram is None:
        return None
    room = machine.ram.total + machine.ram.swap
    for step in ("train", "merge"):
        if found.ram[step] > room:
            message = (
                f"The step {step} takes about {gigabytes(found.ram[step])} of the machine's memory, "
                f"which has {gigabytes(machine.ram.total)} and "
                f"{f'{gigabytes(machine.ram.swap)} of' if machine.ram.swap else 'no'} swap."
            )
            on_cpu = machine.accelerator == "cpu"
            measure = fit.required_ram if on_cpu else fit.required_merge_ram
            near = fit.nearest(subject.shape, values, room, subject.longest, subject.ollama_name, measure)
            return fit.Misfit(message, f"Add memory or swap. {fit.hint(near)}")
    return None


def check(
    layout: Layout, hyper: Hyperparameters, subject: Subject, machine: Machine, name: str, memory_check: str
) -> str:
    """See to it that a training that is still to be made fits the machine.

    :param name: of the fine-tune.
    :param memory_check: one of :data:`CHECKS`.
    :returns: a warning; empty when there is nothing to say.
    :raises InputError: when it cannot fit and that is enforced.
    """
    # a receipt outlives pruning: what has been trained has fitted
    if layout.receipt("train", subject.train_fingerprint(hyper)) is not None:
        return ""
    wrong = misfit(hyper, subject, machine)
    if wrong is None:
        return ""
    if memory_check == "enforce":
        raise InputError(
            f"{name}: {wrong.message}", f"{wrong.hint} To try it all the same, declare memory_check: warn."
        )
    return f"{wrong.message} {wrong.hint}"
