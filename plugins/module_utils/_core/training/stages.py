# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each stage of training needs of a dataset, and what comes out of it. Pure."""

from __future__ import annotations

import dataclasses
import typing as t

from ..datasets.output_formats import KTO, PREFERENCE, PRETRAINING, SFT
from ..errors import InputError

#: The default of ``learning_rate``, which suits adapters in supervised fine-tuning.
_SFT_RATE = 2e-4


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage of LLaMA-Factory.

    :param kind: the kind of rows it trains on.
    :param rows: the same in words.
    :param rate: a learning rate that is usual for an adapter, where that of sft is too high; None where it is not.
    :param answers: whether what comes out answers; a reward model only scores.
    """

    kind: str
    rows: str
    rate: float | None = None
    answers: bool = True


STAGES: dict[str, Stage] = {
    "sft": Stage(SFT, "questions and answers"),
    "dpo": Stage(PREFERENCE, "pairs of answers, chosen and rejected", 5e-6),
    "kto": Stage(KTO, "answers with a kto_tag", 5e-6),
    "rm": Stage(PREFERENCE, "pairs of answers, chosen and rejected", 1e-4, answers=False),
    "pt": Stage(PRETRAINING, "text"),
}


def check_dataset(values: t.Mapping[str, t.Any], name: str, results: t.Mapping[str, t.Any]) -> None:
    """Refuse a dataset that a stage cannot train on.

    :param values: all hyperparameters.
    :param name: of the dataset; :param results: what was found out about it.
    :raises InputError: when it is for another stage, or holds too little.
    """
    stage, cutoff_len = str(values["stage"]), int(values["cutoff_len"])
    wanted, kind = STAGES[stage], str(results.get("kind") or SFT)
    if kind != wanted.kind:
        fitting = [other for other, found in STAGES.items() if found.kind == kind]
        raise InputError(
            f"The stage {stage} trains on {wanted.rows}, and the dataset {name!r} holds {STAGES[fitting[0]].rows}.",
            f"Declare stage: {' or '.join(fitting)}, or another dataset.",
            {"stage": stage, "dataset": name, "kind": kind, "wanted": wanted.kind},
        )
    size = results.get("bytes")
    # text is cut into pieces of cutoff_len tokens, and a rest is dropped; a token is at least a byte
    if stage == "pt" and isinstance(size, int) and size < cutoff_len:
        raise InputError(
            f"The dataset {name!r} holds less text ({size} bytes) than one piece of {cutoff_len} tokens.",
            "Lower cutoff_len, or add text: what does not fill a piece is not trained on.",
        )


def warnings_for(values: t.Mapping[str, t.Any]) -> list[str]:
    """What the one who declares a stage should know.

    :param values: all hyperparameters.
    """
    stage = str(values["stage"])
    found = []
    rate = STAGES[stage].rate
    if rate is not None and values["learning_rate"] == _SFT_RATE and values["method"] != "full":
        found.append(f"learning_rate {_SFT_RATE:g} suits sft; for {stage} something like {rate:g} is usual.")
    if stage == "pt":
        found.append(
            "Training on text teaches no answering: the model answers as its base does, and a base that was not made "
            "for chat goes on with the text instead."
        )
    return found


def registers(stage: str, declared: bool | None) -> bool:
    """Whether the result goes to Ollama.

    :param declared: what was declared; None when nothing was.
    :raises InputError: when it shall and cannot.
    """
    if not STAGES[stage].answers:
        if declared:
            raise InputError(
                "A reward model (stage rm) scores answers and gives none: there is nothing for Ollama to serve.",
                "Leave register out: the run ends with the trained adapter and its value head.",
            )
        return False
    return True if declared is None else declared


def require_answers(stage: str, step: str) -> None:
    """Refuse to make a model to talk to of a reward model.

    :param step: what was asked for (``merged``, …).
    :raises InputError: for the stage rm.
    """
    if not STAGES[stage].answers:
        raise InputError(
            f"A reward model (stage rm) is not {step}: it scores answers and gives none.",
            "Use what the training made: the adapter and value_head.safetensors beside it.",
        )
