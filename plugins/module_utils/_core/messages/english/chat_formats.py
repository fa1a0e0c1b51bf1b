# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``chat_formats``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "chat_formats.arguments_no_object": "{path} is {value} and not a JSON object of arguments.",
    "chat_formats.tool_no_object": "{path} is {value} and not a JSON object that describes a tool.",
    "chat_formats.function_without_name": Text(
        "{path} has no name of a function.", "Give each tool a name, parameters and a description."
    ),
    "chat_formats.no_schema": "{path} is {value} and not a JSON schema.",
    "chat_formats.type_no_name": Text("{path} is {value} and not the name of a type.", "Write type: object."),
    "chat_formats.properties_no_object": "{path} is {value} and not a JSON object of properties.",
    "chat_formats.no_list_of_texts": "{path} is not a list of texts.",
    "chat_formats.not_in_json": "{path} is {value}, which JSON does not have.",
    "chat_formats.an_object": "an object",
    "chat_formats.a_list": "a list",
    "chat_formats.a_text": "a text",
    "chat_formats.null": "null",
    "chat_formats.properties_sorted": "the properties are sorted by name, as a server writes them",
    "chat_formats.single_type": "a list of one type is written as the type",
    "chat_formats.empty_left_out": "it is empty, and a server leaves it out",
    "chat_formats.key_unknown": "no server receives this key of a tool",
    "chat_formats.keys_sorted": "the keys are sorted, as a server writes them",
    "chat_formats.number_rounded": "a server rounds {value}: write it as a text",
    "chat_formats.written_as_integer": "{value} is written as the whole number {integer}",
    "chat_formats.exponent_uncertain": "a server may write {value} otherwise (with or without an exponent)",
    "chat_formats.too_deep": "deeper than {levels} levels, where llama3 and glm4 indent differently",
    "chat_formats.history_merges": "an earlier answer runs into the next question without a token between them",
    "chat_formats.thought_merges": "an empty thought of an earlier answer runs into the text before it",
    "chat_formats.markers_merge": "its markers are no single tokens, and merge with the answer beside them",
    "chat_formats.questions_merge": (
        "a question or the system prompt runs into the text around it without a token or a line break between them"
    ),
    "chat_formats.renderer_forced": (
        "Ollama renders models of this architecture with a built-in renderer, whatever TEMPLATE says"
    ),
    "chat_formats.unknown_to_serve": Text(
        "LLaMA-Factory {version} has no chat template {template!r}.",
        "{suggestion} These can be served as they were trained: {known}.",
    ),
    "chat_formats.inexact": Text(
        "A model trained with the chat template {template!r} cannot be served as it was trained: {reason}.",
        "{suggestion} These can be served as they were trained: {known}.",
    ),
    "chat_formats.several_questions_inexact": Text(
        "A model trained with the chat template {template!r} cannot be served as it was trained in a "
        "conversation of several questions: {reason}.",
        "{suggestion} These can be served as they were trained: {known}.",
    ),
    "chat_formats.single_question": (
        "A model trained with the chat template {template!r} is served as it was trained for the first question of a "
        "conversation only: {reason}."
    ),
    "chat_formats.unknown": Text("LLaMA-Factory {version} has no chat template {template!r}.", "It knows: {known}."),
    "chat_formats.unknown_suggested": Text(
        "LLaMA-Factory {version} has no chat template {template!r}.", "{suggestion}"
    ),
    "chat_formats.tools_not_writable": "The tools of the chat template {template!r} cannot be written by Ollama.",
    "chat_formats.argument_refused": Text(
        "extra.{argument} changes the text of the training in a way that no server can follow: {reason}.",
        "Leave {argument} out.",
    ),
    "chat_formats.tool_format_replaces": (
        "it replaces the text around calls of tools, and leaves out how the template ends them"
    ),
    "chat_formats.markers_split": (
        "it splits the markers of the template into pieces, and a server reads each as one token"
    ),
    "chat_formats.train_on_prompt_unsupported": Text(
        "LLaMA-Factory does not support extra.train_on_prompt with the chat template {template!r}.",
        "Leave train_on_prompt out.",
    ),
    "chat_formats.mask_history_not_served": Text(
        "extra.mask_history removes the thoughts of earlier answers with the chat template {template!r}, and "
        "a server does not.",
        "Set preserve_thinking: true beside it, or leave mask_history out.",
    ),
    "chat_formats.stage_removes_thoughts": (
        "The stage {stage} removes the thoughts of earlier answers with the chat template {template}, and a "
        "server does not: rows of several turns are trained with another text than they are served with."
    ),
    "chat_formats.tokens_differ": (
        "The probe {probe!r} has {expected} tokens in training and {got} in the server, with the same text: "
        "the vocabulary or the BOS token differs."
    ),
    "chat_formats.prompt_differs": (
        "The prompt of the probe {probe!r} differs at character {position}: training has {expected}, the server {got}."
    ),
}
