# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Export modes: how a training result reaches Ollama. No side effects."""

from __future__ import annotations

import typing as t

from ..errors import InputError
from ..messages.message import Message

#: Training arguments that require a merged export. With them the adapter alone is not the model: tokens were added,
#: weights outside the adapter were trained, the base itself was modified, or GGUF cannot store the adapter's scale.
MERGE_ONLY_ARGUMENTS = (
    "add_tokens",
    "add_special_tokens",
    "new_special_tokens_config",
    "resize_vocab",
    "additional_target",
    "modules_to_save",
    "use_dora",
    "use_rslora",
    "pissa_init",
    "trust_remote_code",
)


def check_exportable(name: str, resolved: t.Mapping[str, t.Any]) -> None:
    """Check that the adapter of a training contains everything that was learnt.

    :param name: name of the fine-tune, for the message.
    :param resolved: hyperparameters, defaults filled in.
    :raises InputError: when the method makes no adapter, or an argument requires a merged export.
    """
    if resolved["method"] not in ("lora", "qlora"):
        problem = Message("training.method_without_adapter", method=resolved["method"])
        raise InputError("training.of_finetune", name=name, problem=problem)
    if resolved.get("keep_merged"):
        raise InputError("training.of_finetune", name=name, problem=Message("training.adapter_with_merged"))
    extra = resolved.get("extra") or {}
    conflicts = [key for key in MERGE_ONLY_ARGUMENTS if extra.get(key)]
    if conflicts:
        problem = Message("training.adapter_is_not_model", argument=conflicts[0])
        raise InputError("training.of_finetune", name=name, problem=problem)
