# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a fine-tune is trained anew, and which inputs count for that.

``on_change`` (the default) trains when an input that counts has changed, ``never`` when nothing was trained yet,
``always`` on every apply. An input that does not count stays what it was for the training that was made last; that is
read from its receipt, which outlives pruning.

``always`` makes a new attempt under the same declaration. An attempt has a number, which is part of the training's
fingerprint from the second on, so that no result ever takes the place of another. No counter is kept: the attempt to
make is the first one that has not come to its end. So an attempt that was broken off is gone on with, and one whose
model did not pass its gate is not asked again but followed by another. None is made while a rollback holds the last one
out: it would let in what was rolled back.
"""

from __future__ import annotations

import typing as t

from ..artifacts.layout import Layout
from ..base_models.resolution import BaseIdentity
from ..errors import InputError
from ..releases import lineage
from ..releases.promotion import Releases, content_tag
from ..runs.run import RunStep
from ..training import hyperparameters
from ..training.hyperparameters import Hyperparameters

POLICIES = ("on_change", "never", "always")
INPUTS = ("dataset", "hyperparameters", "base")

Steps = tuple[list[RunStep], list[str]]
#: Settings and options of a training.
Training = tuple[dict[str, t.Any], dict[str, t.Any]]

_WHY = "(regenerate, regenerate_on)."


def inputs_that_count(name: str, policy: str, inputs: t.Sequence[str]) -> tuple[str, ...]:
    """The inputs whose change trains anew.

    :param name: of the fine-tune, for messages.
    :param policy: one of :data:`POLICIES`.
    :param inputs: those declared, of :data:`INPUTS`.
    :raises InputError: for what is none of those.
    """
    for value, known, option in ((policy, POLICIES, "regenerate"), *((one, INPUTS, "regenerate_on") for one in inputs)):
        if value not in known:
            raise InputError(f"{name}: {option} has {value!r}.", f"There are: {', '.join(known)}.")
    return () if policy == "never" else tuple(inputs)


class Kept:
    """The inputs that stay what they were for the training made last; none when nothing was made yet.

    :param counts: the inputs that do not stay.
    """

    def __init__(self, layout: Layout, name: str, counts: t.Sequence[str]) -> None:
        ignored = [one for one in INPUTS if one not in counts]
        self._layout = layout
        self._name = name
        self._receipt = lineage.last_training(layout, name) if ignored else None
        self._ignored = ignored if self._receipt else []
        #: What has changed and does not count, in words.
        self.notes: list[str] = []

    def base(self, declared: BaseIdentity) -> BaseIdentity:
        """The base to train: the declared one, or the one trained last."""
        if "base" not in self._ignored or self._receipt is None:
            return declared
        fingerprint = str(self._receipt["upstream"]["base"])
        receipt = lineage.read_receipt(self._layout, "base", fingerprint)
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
        """What the step ``base`` needs beside its settings."""
        if self._receipt is not None and "base" in self._ignored:
            receipt = lineage.read_receipt(self._layout, "base", base.fingerprint)
            if receipt is not None:
                return dict(receipt.get("options") or {})
        return base.options

    def dataset(self, declared: str, dataset_results: t.Mapping[str, t.Any]) -> tuple[str, dict[str, t.Any]]:
        """Fingerprint of the dataset to train on, and what was found out about it."""
        if "dataset" not in self._ignored or self._receipt is None:
            return declared, dict(dataset_results)
        fingerprint = str(self._receipt["upstream"]["dataset"])
        if fingerprint == declared:
            return declared, dict(dataset_results)
        self._note("dataset", fingerprint[:12])
        receipt = lineage.read_receipt(self._layout, "dataset", fingerprint) or {}
        return fingerprint, dict(receipt.get("results") or {})

    def training(self, declared: Hyperparameters, read: t.Callable[[], Training]) -> Training:
        """Settings and options of the training.

        :param declared: its hyperparameters, as declared: ``auto`` may not be resolved yet.
        :param read: works out the declared ones.
        """
        if "hyperparameters" not in self._ignored or self._receipt is None:
            return read()
        before = dict(self._receipt["settings"])
        was = (self._receipt["options"].get("resolved") or {}).get("method") or before.get("method", "lora")
        # what auto would come to now is not asked: it was settled for the training that is kept
        auto = ["method"] if declared.method == "auto" else []
        auto += [] if declared["template"] else ["template"]
        now = hyperparameters.settings(declared.with_method(str(was)) if auto[:1] == ["method"] else declared)
        found = hyperparameters.differences(before, now, auto)
        if found:
            shown = ", ".join(found)
            self.notes.append(f"changed hyperparameters do not count, and nothing is trained for them: {shown} {_WHY}")
        return before, {**self._receipt["options"], "name": self._name}

    def _note(self, what: str, kept: str) -> None:
        self.notes.append(f"the {what} has changed, and does not count: {kept} is kept {_WHY}")


def next_attempt(layout: Layout, plan: t.Callable[[int], Steps]) -> Steps:
    """The steps of the first attempt that has not come to its end, or that a rollback keeps out.

    :param plan: makes the steps of an attempt, and the labels of its goals, from its number.
    """
    number = 1
    while True:
        steps, goals = plan(number)
        if not _ended(layout, steps, goals) or _kept_out(layout, steps):
            return steps, goals
        number += 1


def _ended(layout: Layout, steps: t.Sequence[RunStep], goals: t.Sequence[str]) -> bool:
    by_label = {step.label: step.spec for step in steps}
    for label in goals:
        spec = by_label[label]
        if lineage.read_receipt(layout, spec.kind, spec.fingerprint) is not None:
            continue
        if spec.kind != "promote":
            return False
        name = str(spec.options["name"])
        tag = content_tag(name, spec.upstream["register"], str(spec.options["quantization"]))
        asked = Releases(layout, name).ledger().gates.get(tag) or {}
        if asked.get("promotion") != spec.fingerprint or asked.get("passed"):
            return False
    return True


def _kept_out(layout: Layout, steps: t.Sequence[RunStep]) -> bool:
    for spec in (step.spec for step in steps if step.spec.kind == "register"):
        name = str(spec.settings["name"])
        if Releases(layout, name).blocking_hold(content_tag(name, spec.fingerprint, str(spec.options["quantization"]))):
            return True
    return False
