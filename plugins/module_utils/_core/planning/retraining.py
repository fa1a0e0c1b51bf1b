# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a fine-tune is retrained, and which inputs trigger it.

``on_change`` (the default) trains when a tracked input has changed, ``never`` only if nothing was trained yet,
``always`` on every apply. An untracked input keeps the value of the last training; it is read from the receipt of that
training, which outlives pruning.

``always`` starts a new attempt under the same declaration. An attempt has a number, which is part of the training's
fingerprint from the second attempt on, so that no result ever replaces another. There is no stored counter: the next
attempt is the first one that is not finished. An interrupted attempt is therefore resumed, and an attempt whose model
did not pass its gate is not evaluated again but followed by another. No attempt starts while a rollback holds out the
last one, because it would undo the rollback.
"""

from __future__ import annotations

import typing as t

from ..artifacts.layout import Layout
from ..base_models.resolution import BaseIdentity
from ..chat_formats.house_format import AUTO, TEMPLATE
from ..chat_formats.thinking import FROM_ROWS, KEEP
from ..datasets import tool_statistics
from ..errors import InputError
from ..fingerprint import fingerprint
from ..messages.message import Message
from ..releases import lineage
from ..releases.promotion import Releases, content_tag, former_tags
from ..releases.recipes import earlier_fingerprints
from ..runs.run import RunStep
from ..training import extra_files, hyperparameters
from ..training.hyperparameters import Hyperparameters
from ..training.options import BY_NAME
from .inputs import ResolvedDataset

POLICIES: tuple[str, ...] = BY_NAME["regenerate"].choices
INPUTS: tuple[str, ...] = BY_NAME["regenerate_on"].choices

Steps = tuple[list[RunStep], list[str]]
#: Settings and options of a training.
Training = tuple[dict[str, t.Any], dict[str, t.Any]]


def retraining_inputs(name: str, policy: str, inputs: t.Sequence[str]) -> tuple[str, ...]:
    """Return the inputs whose change triggers a retraining.

    :param name: name of the fine-tune, for messages.
    :param policy: one of :data:`POLICIES`.
    :param inputs: declared inputs, each one of :data:`INPUTS`.
    :raises InputError: for an unknown policy or input.
    """
    declared = [(policy, POLICIES, "regenerate"), *((each, INPUTS, "regenerate_on") for each in inputs)]
    for value, allowed, option in declared:
        if value not in allowed:
            raise InputError(
                "planning.option_not_allowed", name=name, option=option, value=value, allowed=list(allowed)
            )
    return () if policy == "never" else tuple(inputs)


class PinnedInputs:
    """The inputs that are pinned to their value in an earlier training; none if nothing was trained yet.

    :param tracked: the inputs that are not pinned to the last training of the fine-tune.
    """

    def __init__(self, layout: Layout, name: str, tracked: t.Sequence[str]) -> None:
        ignored = [each for each in INPUTS if each not in tracked]
        self._layout = layout
        self._name = name
        self._receipt: t.Mapping[str, t.Any] | None = lineage.last_training(layout, name) if ignored else None
        self._ignored = ignored if self._receipt else []
        self._continues = False
        #: Messages about changed inputs that are ignored.
        self.notes: list[Message] = []

    @classmethod
    def of_training(cls, layout: Layout, name: str, receipt: t.Mapping[str, t.Any]) -> PinnedInputs:
        """Pin all inputs to those of a training from which a run continues, whatever has changed since.

        :param receipt: receipt of the training.
        """
        pinned = cls(layout, name, INPUTS)
        pinned._receipt, pinned._ignored, pinned._continues = receipt, list(INPUTS), True
        return pinned

    def base(self, resolve: t.Callable[[], BaseIdentity]) -> BaseIdentity:
        """Return the base to train: the declared one, or the pinned one.

        :param resolve: function that resolves the declared base.
        """
        if "base" not in self._ignored or self._receipt is None:
            return resolve()
        fingerprint = str(self._receipt["upstream"]["base"])
        receipt = lineage.read_receipt(self._layout, "base", fingerprint)
        if not self._continues or receipt is None:
            declared = resolve()
            if fingerprint == declared.fingerprint or receipt is None:
                return declared
            self._note("base", lineage.base_name({"base": receipt}))
        results = receipt.get("results") or {}
        resolved = self._receipt["options"]["resolved"]
        location = results.get("location")
        return BaseIdentity(
            settings=dict(receipt["settings"]),
            location=str(location) if location else None,
            description=lineage.base_name({"base": receipt}),
            template=str(resolved.get("template") or ""),
            template_source="recorded",
            source="recorded",
        )

    def base_options(self, base: BaseIdentity) -> dict[str, t.Any]:
        """Return the options of the step ``base``."""
        if self._receipt is not None and "base" in self._ignored:
            receipt = lineage.read_receipt(self._layout, "base", base.fingerprint)
            if receipt is not None:
                return dict(receipt.get("options") or {})
        return base.options

    def dataset(self, resolve: t.Callable[[], ResolvedDataset]) -> ResolvedDataset:
        """Return the dataset to train on: the declared one, or the pinned one.

        :param resolve: function that resolves the declared dataset.
        """
        if "dataset" not in self._ignored or self._receipt is None:
            return resolve()
        fingerprint = str(self._receipt["upstream"]["dataset"])
        if not self._continues:
            declared = resolve()
            if fingerprint == declared.fingerprint:
                return declared
            self._note("dataset", fingerprint[:12])
        receipt = lineage.read_receipt(self._layout, "dataset", fingerprint) or {}
        directory = self._layout.artifact("dataset", fingerprint)
        return ResolvedDataset(fingerprint, tool_statistics.tool_use(receipt.get("results") or {}, directory), None)

    def training(self, declared: Hyperparameters, read: t.Callable[[], Training]) -> Training:
        """Return the settings and options of the training.

        :param declared: declared hyperparameters: ``auto`` may not be resolved yet.
        :param read: function that resolves the declared hyperparameters.
        """
        if "hyperparameters" not in self._ignored or self._receipt is None:
            return read()
        before = dict(self._receipt["settings"])
        if self._continues:
            return before, self._options()
        method = (self._receipt["options"].get("resolved") or {}).get("method") or before.get("method", "lora")
        # auto is not resolved again: the pinned training already has a value for it
        ignored = ["method"] if declared.method == "auto" else []
        ignored += [] if declared["template"] else ["template"]
        ignored += [] if declared["tool_format"] != AUTO else ["tool_format"]
        # a training of an earlier version has the path in its settings: its content then is not known
        contents = extra_files.with_contents(self._layout, declared).contents
        recorded = before.get("extra") or {}
        known = {name: each for name, each in contents.items() if recorded.get(name) != declared.extra[name]}
        declared = declared.with_contents(known)
        current = hyperparameters.settings(declared.with_method(str(method)) if ignored[:1] == ["method"] else declared)
        if current.get("tool_format") == TEMPLATE:
            del current["tool_format"]  # as in the settings of a training
        resolved = self._receipt["options"].get("resolved") or {}
        if declared["thinking"] in (FROM_ROWS, resolved.get("thinking", KEEP)):
            ignored.append("thinking")
        differences = hyperparameters.differences(before, current, ignored)
        if differences:
            self.notes.append(Message("planning.pinned_hyperparameters", changed=list(differences)))
        return before, self._options()

    def _options(self) -> dict[str, t.Any]:
        """The options of the pinned training, without the warnings that were given before it."""
        recorded = dict((self._receipt or {}).get("options") or {})
        kept = {key: value for key, value in recorded.items() if key not in ("warning", "warnings")}
        return {**kept, "name": self._name}

    def _note(self, input_name: str, pinned_value: str) -> None:
        self.notes.append(Message("planning.pinned_input", input=input_name, kept=pinned_value))


def next_attempt(layout: Layout, plan: t.Callable[[int], Steps]) -> Steps:
    """Return the steps of the first attempt that is not finished, or that a rollback holds out.

    :param plan: function that returns the steps of an attempt and the labels of its goals, given its number.
    """
    number = 1
    while True:
        steps, goals = plan(number)
        if not _is_finished(layout, steps, goals) or _is_held_out(layout, steps):
            return steps, goals
        number += 1


def _is_finished(layout: Layout, steps: t.Sequence[RunStep], goals: t.Sequence[str]) -> bool:
    by_label = {step.label: step.spec for step in steps}
    registered = {step.spec.fingerprint: step.spec for step in steps if step.spec.kind == "register"}
    for label in goals:
        spec = by_label[label]
        # a registration by an earlier recipe, and what was made from it, finished the attempt as well
        former: t.Sequence[str] = ()
        if spec.kind == "register":
            former = earlier_fingerprints(spec.settings, spec.upstream)
        elif spec.upstream.get("register") in registered:
            register = registered[spec.upstream["register"]]
            former = [
                fingerprint(spec.kind, spec.settings, {**spec.upstream, "register": each})
                for each in earlier_fingerprints(register.settings, register.upstream)
            ]
        names = [spec.fingerprint, *former]
        if any(lineage.read_receipt(layout, spec.kind, each) is not None for each in names):
            continue
        if spec.kind != "promote":
            return False
        name, quantization = str(spec.options["name"]), str(spec.options["quantization"])
        tags = [content_tag(name, spec.upstream["register"], quantization), *spec.options.get("formerly", ())]
        gates = Releases(layout, name).ledger().gates
        answers = [gates[tag] for tag in tags if tag in gates]
        if not any(answer.get("promotion") in names and not answer.get("passed") for answer in answers):
            return False
    return True


def _is_held_out(layout: Layout, steps: t.Sequence[RunStep]) -> bool:
    for spec in (step.spec for step in steps if step.spec.kind == "register"):
        name, quantization = str(spec.settings["name"]), str(spec.options["quantization"])
        formerly = former_tags(name, spec.settings, spec.upstream, quantization)
        if Releases(layout, name).blocking_hold(content_tag(name, spec.fingerprint, quantization), formerly):
            return True
    return False
