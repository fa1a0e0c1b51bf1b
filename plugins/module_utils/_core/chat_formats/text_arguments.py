# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""LLaMA-Factory's arguments that change the text or the tokens of a row, and what becomes of each.

A model is served with the text it was trained with. An argument in ``extra`` that changes that text is either part of
what is served, or refused when a run is planned. ``tests/real/test_lf_arguments_real.py`` holds the table against the
arguments that LLaMA-Factory reads where it renders and tokenizes a row.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..errors import InputError
from ..messages.message import Message
from .facts import TemplateFacts, facts_of, names

#: What becomes of an argument.
SERVED, REFUSED, DEPENDS, NO_EFFECT = "served", "refused", "depends", "no effect"
#: Stages that render a row with ``encode_oneturn``, which leaves earlier answers without a thought as they are.
_ONE_TURN_STAGES = ("dpo", "kto", "rm")


@dataclasses.dataclass(frozen=True)
class TextArgument:
    """An argument that LLaMA-Factory reads where it renders or tokenizes a row.

    :param outcome: :data:`SERVED`, the served text follows it; :data:`REFUSED`, no server can follow it;
        :data:`DEPENDS`, on the template and other arguments; :data:`NO_EFFECT`, neither text nor tokens of a prompt
        depend on it.
    :param reason: how it is served, why it has no effect, or, as a message, why it is refused.
    :param in_probes: whether ``programs/render_probes.py`` reads it, which renders the probes of a training.
    """

    outcome: str
    reason: str | Message
    in_probes: bool = False


_DIRECTORY = "the base model is a directory"
_NO_PICTURES = "rows hold no images, videos or sounds"
_VOCABULARY = "the tokens go into the GGUF file with the tokenizer of the training"

#: By LLaMA-Factory's name.
TEXT_ARGUMENTS: dict[str, TextArgument] = {
    "template": TextArgument(SERVED, "the option template"),
    "default_system": TextArgument(SERVED, "system prompt of conversations that have none", in_probes=True),
    "enable_thinking": TextArgument(SERVED, "where the empty thought stands in the prompt", in_probes=True),
    "tool_format": TextArgument(REFUSED, Message("chat_formats.tool_format_replaces"), in_probes=True),
    "split_special_tokens": TextArgument(REFUSED, Message("chat_formats.markers_split"), in_probes=True),
    "mask_history": TextArgument(
        DEPENDS, "templates with thoughts remove those of earlier answers then", in_probes=True
    ),
    "preserve_thinking": TextArgument(
        DEPENDS, "with mask_history, it keeps the thoughts of earlier answers", in_probes=True
    ),
    "train_on_prompt": TextArgument(DEPENDS, "only what is learnt; some templates do not support it", in_probes=True),
    "add_tokens": TextArgument(SERVED, _VOCABULARY, in_probes=True),
    "add_special_tokens": TextArgument(SERVED, _VOCABULARY, in_probes=True),
    "new_special_tokens_config": TextArgument(SERVED, _VOCABULARY),
    "init_special_tokens": TextArgument(NO_EFFECT, "only the first weights of new tokens"),
    "resize_vocab": TextArgument(SERVED, _VOCABULARY),
    "use_fast_tokenizer": TextArgument(NO_EFFECT, "both tokenizers read the same files", in_probes=True),
    "trust_remote_code": TextArgument(NO_EFFECT, "the tokenizer comes with the base model", in_probes=True),
    "model_max_length": TextArgument(NO_EFFECT, "where a row is cut off"),
    "cutoff_len": TextArgument(NO_EFFECT, "where a row is cut off"),
    "packing": TextArgument(NO_EFFECT, "how rows are put together"),
    "neat_packing": TextArgument(NO_EFFECT, "how rows are put together"),
    "model_name_or_path": TextArgument(NO_EFFECT, "the option base_model"),
    **dict.fromkeys(("cache_dir", "hf_hub_token", "model_revision"), TextArgument(NO_EFFECT, _DIRECTORY)),
    **dict.fromkeys(
        (
            *("image_max_pixels", "image_min_pixels", "image_do_pan_and_scan", "crop_to_patches", "video_max_pixels"),
            *("video_min_pixels", "video_fps", "video_maxlen", "use_audio_in_video", "audio_sampling_rate"),
        ),
        TextArgument(NO_EFFECT, _NO_PICTURES),
    ),
    "skip_special_tokens": TextArgument(NO_EFFECT, "how LLaMA-Factory shows an answer that it generates"),
}


def check(extra: t.Mapping[str, t.Any], template: str) -> None:
    """Check that the text of a training with these arguments can be served.

    :param extra: LLaMA-Factory's arguments, with values of the types that it expects.
    :param template: name of the chat template; one that is unknown here is not checked for what depends on it.
    :raises InputError: for the first argument that cannot be followed.
    """
    for name, argument in TEXT_ARGUMENTS.items():
        if argument.outcome == REFUSED and extra.get(name):
            raise InputError(
                "chat_formats.argument_refused", argument=name, reason=argument.reason, details={"argument": name}
            )
    facts = facts_of(template) if template in names() else None
    if facts is None:
        return
    if extra.get("train_on_prompt") and facts.efficient_eos:
        raise InputError(
            "chat_formats.train_on_prompt_unsupported", template=template, details={"argument": "train_on_prompt"}
        )
    if extra.get("mask_history") and not extra.get("preserve_thinking") and facts.reasoning:
        raise InputError(
            "chat_formats.mask_history_not_served", template=template, details={"argument": "mask_history"}
        )


def warning(values: t.Mapping[str, t.Any]) -> Message | None:
    """The warning for a stage whose rows of several turns are rendered otherwise than they are served; else None.

    :param values: all hyperparameters: ``stage`` and ``template``.
    """
    template = str(values.get("template") or "")
    facts: TemplateFacts | None = facts_of(template) if template in names() else None
    if facts is None or not facts.reasoning or values.get("stage") not in _ONE_TURN_STAGES:
        return None
    return Message("chat_formats.stage_removes_thoughts", stage=values["stage"], template=template)
