# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Training stages: the kind of dataset each needs, and what it produces. No side effects."""

from __future__ import annotations

import dataclasses
import typing as t

from ..datasets.output_formats import KTO, PREFERENCE, PRETRAINING, SFT
from ..errors import InputError
from ..messages.message import Message

#: Default of ``learning_rate``, suitable for adapters in supervised fine-tuning.
_SFT_LEARNING_RATE = 2e-4


@dataclasses.dataclass(frozen=True)
class Stage:
    """A training stage of LLaMA-Factory.

    :param kind: kind of rows it trains on.
    :param rows: code of the description of these rows, for messages.
    :param learning_rate: usual learning rate for an adapter; None when that of sft is suitable.
    :param generates: whether the result generates answers; a reward model only scores them.
    """

    kind: str
    rows: str
    learning_rate: float | None = None
    generates: bool = True


STAGES: dict[str, Stage] = {
    "sft": Stage(SFT, "training.rows_sft"),
    "dpo": Stage(PREFERENCE, "training.rows_preference", 5e-6),
    "kto": Stage(KTO, "training.rows_kto", 5e-6),
    "rm": Stage(PREFERENCE, "training.rows_preference", 1e-4, generates=False),
    "pt": Stage(PRETRAINING, "training.rows_text"),
}


def check_dataset(values: t.Mapping[str, t.Any], name: str, results: t.Mapping[str, t.Any]) -> None:
    """Reject a dataset that a stage cannot train on.

    :param values: all hyperparameters.
    :param name: name of the dataset.
    :param results: ``results`` of the dataset's receipt.
    :raises InputError: when it is for another stage, or contains too little text.
    """
    stage, cutoff_len = str(values["stage"]), int(values["cutoff_len"])
    expected, kind = STAGES[stage], str(results.get("kind") or SFT)
    if kind != expected.kind:
        fitting_stages = [other for other, candidate in STAGES.items() if candidate.kind == kind]
        raise InputError(
            "training.dataset_of_other_stage",
            stage=stage,
            wanted=Message(expected.rows),
            name=name,
            rows=Message(STAGES[fitting_stages[0]].rows),
            stages=fitting_stages,
            details={"stage": stage, "dataset": name, "kind": kind, "wanted": expected.kind},
        )
    size = results.get("bytes")
    # LLaMA-Factory splits text into pieces of cutoff_len tokens and drops the remainder; a token has at least one byte
    if stage == "pt" and isinstance(size, int) and size < cutoff_len:
        raise InputError("training.too_little_text", name=name, size=size, cutoff_len=cutoff_len)


def warnings_for(values: t.Mapping[str, t.Any]) -> list[Message]:
    """Warnings for the user who declares a stage.

    :param values: all hyperparameters.
    """
    stage = str(values["stage"])
    warnings = []
    rate = STAGES[stage].learning_rate
    if rate is not None and values["learning_rate"] == _SFT_LEARNING_RATE and values["method"] != "full":
        warnings.append(
            Message("training.learning_rate_of_sft", learning_rate=_SFT_LEARNING_RATE, stage=stage, usual=rate)
        )
    if stage == "pt":
        warnings.append(Message("training.text_teaches_no_answering"))
    return warnings


def is_registered(stage: str, declared: bool | None) -> bool:
    """Whether the result is registered in Ollama.

    :param declared: declared value of ``register``; None when it is not declared.
    :raises InputError: when registration is declared for a stage whose result cannot be served.
    """
    if not STAGES[stage].generates:
        if declared:
            raise InputError("training.reward_model_not_served")
        return False
    return True if declared is None else declared


def require_generative(stage: str, code: str) -> None:
    """Reject a stage whose result does not generate answers.

    :param code: code of the message: which operation was requested.
    :raises InputError: for the stage rm.
    """
    if not STAGES[stage].generates:
        raise InputError(code)
