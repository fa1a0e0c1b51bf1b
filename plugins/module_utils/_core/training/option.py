# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The form of a row in the table of options (``training.options``), and what rows share. No side effects."""

from __future__ import annotations

import dataclasses
import typing as t

from ..messages.message import Message

#: Training methods; ``auto`` is resolved to one of the others before the training.
METHODS = ("lora", "qlora", "full", "freeze", "auto")
#: Those that ``auto`` is resolved to.
AUTOMATIC_METHODS = ("lora", "qlora", "full")
#: Methods that train an adapter.
ADAPTERS = ("lora", "qlora")
#: Stages of LLaMA-Factory (see ``training.stages`` for their datasets). Its ppo is not supported: it needs a reward
#: model during the training.
STAGES = ("sft", "pt", "rm", "dpo", "kto")
#: Steps whose options are hyperparameters: with them, a training, its merged weights and GGUF files are repeated.
HYPERPARAMETER_STEPS = ("train", "merge", "gguf")


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a fine-tune.

    :param name: name in a declaration.
    :param type: ``int``, ``float``, ``bool``, ``list`` (of strings), ``dict``, ``str`` (a word in any case) or ``text``
        (kept as it is written).
    :param default: value when it is not declared; None for no value (or one derived from other options).
    :param title: label in a form, in English.
    :param description: what it does, for users: plain English sentences without markup.
    :param minimum: inclusive lower bound.
    :param maximum: inclusive upper bound.
    :param exclusive_minimum: exclusive lower bound.
    :param choices: allowed values, of each element for a list; empty for any.
    :param aliases: alternative names (LLaMA-Factory's, those of the REST contract).
    :param changes_result: whether another value gives another result; such hyperparameters enter the fingerprint.
    :param lf_argument: LLaMA-Factory's key; empty when there is no direct counterpart.
    :param methods: methods it applies to; empty for all.
    :param stages: stages it applies to; empty for all.
    :param needs: another option, and the values of it with which this one has an effect; empty for all.
    :param requires: another option without which this one is refused, because it has no effect; empty for none.
    :param decides_method: whether declaring it, even with its default, implies one of :attr:`methods`.
    :param step: the step it belongs to: ``base``, ``dataset``, ``train``, ``merge``, ``gguf``, ``register``,
        ``evaluate``, ``promote`` or ``retain``; ``run`` for all of them together. Those of ``HYPERPARAMETER_STEPS`` are
        hyperparameters.
    :param required: whether a declaration must have it.
    :param explained: whether its wrong values have messages of their own, so that Ansible must not check its choices.
    :param inventory_only: whether only an inventory can declare it.
    :param usual: whether it is an argument of its own where there is room for a few only, as in tools of MCP.
    """

    name: str
    type: str
    default: t.Any
    title: str
    description: str
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: float | None = None
    choices: tuple[t.Any, ...] = ()
    aliases: tuple[str, ...] = ()
    changes_result: bool = True
    lf_argument: str = ""
    methods: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    needs: tuple[str, tuple[t.Any, ...]] | tuple[()] = ()
    requires: str = ""
    decides_method: bool = False
    step: str = "train"
    required: bool = False
    explained: bool = False
    inventory_only: bool = False
    usual: bool = False

    def applies(self, method: str, stage: str) -> bool:
        """Whether the option applies to a method and a stage."""
        return (not self.methods or method in self.methods) and (not self.stages or stage in self.stages)

    def is_effective(self, values: t.Mapping[str, t.Any]) -> bool:
        """Whether the option that it needs has a value with which this one has an effect.

        :param values: values by name, with defaults.
        """
        return not self.needs or values[self.needs[0]] in self.needs[1]

    @property
    def is_hyperparameter(self) -> bool:
        """Whether it is an option of the training, of its merged weights or of its GGUF files."""
        return self.step in HYPERPARAMETER_STEPS

    @property
    def names(self) -> tuple[str, ...]:
        """The name, and its aliases."""
        return (self.name, *self.aliases)

    def copy_default(self) -> t.Any:
        """The default as a value that the caller may modify."""
        if isinstance(self.default, tuple):
            return list(self.default)
        return dict(self.default) if isinstance(self.default, dict) else self.default

    def bounds(self) -> list[Message]:
        """The bounds in words: ``above 0``, ``at least 1``, ``at most 4096``."""
        bounds = []
        if self.exclusive_minimum is not None:
            bounds.append(Message("training.above", bound=self.exclusive_minimum))
        if self.minimum is not None:
            bounds.append(Message("training.at_least", bound=self.minimum))
        if self.maximum is not None:
            bounds.append(Message("training.at_most", bound=self.maximum))
        return bounds
