# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How what was trained gets to Ollama: merged into its base, or as an adapter beside it. Pure."""

from __future__ import annotations

import typing as t

from ..errors import InputError

#: ``merged``: one GGUF file of whole weights. ``adapter``: a GGUF file of the adapter, on the one of the base.
EXPORTS = ("merged", "adapter")

#: Arguments of a training after which an adapter alone is not the model: its tokens are new, other weights than the
#: adapter's were learnt, the base was changed beneath it, or its scale is one that GGUF has no place for.
NOT_ALONE = (
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
    """Make sure that a training leaves an adapter that is the whole of what was learnt.

    :param name: of the fine-tune, for the message.
    :param resolved: hyperparameters, defaults filled in.
    :raises InputError: when it does not.
    """
    if resolved["method"] not in ("lora", "qlora"):
        raise InputError(
            f"{name}: export: adapter needs an adapter, and the method {resolved['method']} makes none.",
            "Declare method: lora or qlora, or export: merged.",
        )
    extra = resolved.get("extra") or {}
    wrong = [key for key in NOT_ALONE if extra.get(key)]
    if wrong:
        raise InputError(
            f"{name}: with extra.{wrong[0]} the adapter alone is not the model that was trained.",
            "Declare export: merged.",
        )
