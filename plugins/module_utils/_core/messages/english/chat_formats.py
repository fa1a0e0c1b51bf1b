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
    "chat_formats.schema_is_boolean": "no server receives true or false as a schema: write an object",
    "chat_formats.parameters_are_object": "a server receives one type of parameters, object",
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
    "chat_formats.schema_no_object": Text("it is {value}, and no JSON schema", "Write an object, true or false."),
    "chat_formats.schema_too_deep": Text(
        "schemas stand in each other more than {levels} levels deep", "Write a flatter schema."
    ),
    "chat_formats.schema_no_list": Text("it is {value}, and not a list with something in it", "Write a list."),
    "chat_formats.schemas_no_object": Text("it is {value}, and no object of schemas by name", "Write an object."),
    "chat_formats.schema_no_text": Text("it is {value}, and not text", "Write a text."),
    "chat_formats.keyword_unchecked": Text(
        "the keyword {keyword} is not compared with values. {suggestion}",
        "Remove it, or say it in another way: pattern instead of format, for example.",
    ),
    "chat_formats.pattern_unreadable": "the expression {pattern} cannot be read: {reason}",
    "chat_formats.schema_no_number": Text("it is {value}, and not a number", "Write a number."),
    "chat_formats.schema_no_count": Text("it is {value}, and no number of things", "Write a whole number from 0 on."),
    "chat_formats.schema_type_unknown": Text(
        "{value} is no type of JSON Schema", "{suggestion} The types are {types:join|, | and }."
    ),
    "chat_formats.schema_required_no_names": Text(
        "it is {value}, and not a list of names",
        'Name the properties that are required, beside "properties": "required": ["title"].',
    ),
    "chat_formats.reference_elsewhere": Text(
        "{reference} refers to another document, and a model sees none",
        "Write what it refers to below $defs, and refer to #/$defs/…",
    ),
    "chat_formats.reference_to_nothing": Text("there is no {reference}", "Write what it refers to below $defs."),
    "chat_formats.reference_circle": Text(
        "the references lead in a circle: {circle}", "Write what one of them stands for."
    ),
    "chat_formats.value_not_allowed": Text("the schema of the tool excludes it", "Correct the call or the schema."),
    "chat_formats.value_of_other_type": Text(
        "it is {value}, and the schema of the tool has {types:join| or }", "Correct the call or the schema."
    ),
    "chat_formats.value_not_in_enum": Text(
        "it is {value}, and the schema of the tool allows {allowed}", "Correct the call or the schema."
    ),
    "chat_formats.value_fits_none": Text(
        "{value} matches none of the schemas in {keyword}", "Correct the call or the schema."
    ),
    "chat_formats.value_fits_several": Text(
        "{value} matches several of the schemas in {keyword}", "Correct the call or the schema."
    ),
    "chat_formats.value_not_as_pattern": Text(
        "{value} does not match the pattern {pattern} of the tool", "Correct the call or the schema."
    ),
    "chat_formats.pattern_too_slow": Text(
        "the pattern {pattern} of the tool takes too much time or memory for this value",
        "Avoid repetitions within repetitions in it, such as (a+)+.",
    ),
    "chat_formats.value_missing": Text("the argument {name!r} is missing", "Add it, or do not require it in the tool."),
    "chat_formats.value_unknown": Text(
        "the tool has no argument {name!r}", "{suggestion} Correct the call or the tool."
    ),
    "chat_formats.value_twice": Text("it contains a value twice", "Correct the call or the schema."),
    "chat_formats.value_beyond": Text(
        "it is {value}, and {keyword} of the tool is {bound}", "Correct the call or the schema."
    ),
    "chat_formats.calls_with_name": "all but those with an argument that is called name",
    "chat_formats.calls_stay_text": "none: a call stays in the answer as text",
    "chat_formats.calls_not_closed": (
        "at most a single one, after a thought: LLaMA-Factory does not write the end of a call"
    ),
    "chat_formats.calls_with_quotes": (
        "all but those with quotation marks in a text, which LLaMA-Factory does not escape"
    ),
    "chat_formats.calls_not_single": "only a single call without text before it",
    "chat_formats.tools_declared": "it is declared",
    "chat_formats.tools_read": "Ollama reads every call in the format of {template} back",
    "chat_formats.tools_unread": "of the calls in the format of {template}, Ollama reads back: {unread}",
    "chat_formats.tools_own_parser": (
        "Ollama reads the answers of {template} with a parser of its own, which reads no calls"
    ),
    "chat_formats.calls_unread": Text(
        "Of the calls that the model learns in the format of {template}, Ollama reads back: {unread}.",
        "Set tool_format to auto, which selects a format that Ollama reads if there is one.",
    ),
    "chat_formats.tools_trained_before": "a training in the format of {template} exists",
    "chat_formats.calls_unread_before": Text(
        "Of the calls that the model has learnt in the format of {template}, Ollama reads back: {unread}.",
        "Set tool_format to house to train it again in a format that it reads.",
    ),
    "chat_formats.house_not_read": Text(
        "tool_format: house does not work with the chat template {template}: {reason}.", "Leave tool_format out."
    ),
    "chat_formats.text_beside_not_written": (
        "LLaMA-Factory cannot write a text beside a call in the format of {template}, and {count} {count:row has|rows "
        "have} one"
    ),
    "chat_formats.several_not_written": (
        "LLaMA-Factory cannot write several calls at once in the format of {template}, and {count} {count:row has|rows "
        "have} them"
    ),
    "chat_formats.calls_not_trainable": Text(
        "The training would fail: {reason}.", "Set tool_format to house, or leave it at auto."
    ),
    "chat_formats.thinking_twice": Text(
        "extra.enable_thinking and thinking: {thinking} both decide what becomes of thoughts.",
        "Leave extra.enable_thinking out: thinking: keep stands for true, and off for false.",
    ),
    "chat_formats.thoughts_unknown": Text(
        "thinking: keep does not work with the chat template {template}, which has no form for thoughts.",
        "Leave thinking out, or take a base model with one of the templates {known}.",
    ),
    "chat_formats.thoughts_not_written": Text(
        "{count} {count:row has a thought|rows have thoughts} before the answer, and the chat template {template} "
        "has no form for them: the model would learn them as text of its answers.",
        "Set thinking to off to remove them, or take a base model with one of the templates {known}.",
    ),
    "chat_formats.thought_open": Text(
        "{file} row {row}, {field}: a thought begins with {marker} and does not end. In all, this concerns {count} "
        "{count:answer|answers}.",
        "Add the end of the thought before the answer, or remove the marker.",
    ),
    "chat_formats.thought_again": Text(
        "{file} row {row}, {field}: after the thought there is another {marker}, and only one thought may stand before "
        "an answer. In all, this concerns {count} {count:answer|answers}.",
        "Combine them into one thought before the answer.",
    ),
    "chat_formats.thought_alone": Text(
        "{file} row {row}, {field}: there is no answer after the thought, which ends with {marker}. In all, this "
        "concerns {count} {count:answer|answers}.",
        "Add the answer, or remove the row.",
    ),
    "chat_formats.thought_inside": Text(
        "{file} row {row}, {field}: {marker} stands within the answer, and the chat template marks thoughts with it. "
        "In all, this concerns {count} {count:answer|answers}.",
        "Put the thought before the answer, or write the marker in another way.",
    ),
    "chat_formats.thoughts_mixed": (
        "Of {total} {total:row|rows}, {count} {count:has|have} a thought before the answer and {without} "
        "{without:has|have} none. The model learns to write an empty thought before the latter."
    ),
    "chat_formats.thoughts_partly": (
        "In {partly} of {total} {total:row|rows}, only some answers have a thought. The model learns to write an empty "
        "thought before the others."
    ),
    "chat_formats.thinking_declared": "it is declared",
    "chat_formats.thinking_by_argument": "extra.enable_thinking is set",
    "chat_formats.thinking_trained_before": (
        "a training with the chat template {template} exists, whose rows stay as they were"
    ),
    "chat_formats.thoughts_removed": (
        "{count} of {total} {total:row has|rows have} a thought, which {count:is|are} removed"
    ),
    "chat_formats.thoughts_in_rows": "{count} of {total} {total:row has|rows have} a thought",
    "chat_formats.thoughts_in_no_row": "no row has a thought",
    "chat_formats.tokens_differ": (
        "The probe {probe!r} has {expected} tokens in training and {got} in the server, with the same text: "
        "the vocabulary or the BOS token differs."
    ),
    "chat_formats.prompt_differs": (
        "The prompt of the probe {probe!r} differs at character {position}: training has {expected}, the server {got}."
    ),
}
