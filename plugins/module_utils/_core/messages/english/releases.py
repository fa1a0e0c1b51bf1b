# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``releases``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "releases.version_served": "{aliases:join|,}",
    "releases.version_held": "{aliases:join|,} (held)",
    "releases.version_pruned": "pruned",
    "releases.version_undetermined": "unknown: Ollama does not answer",
    "releases.version_gone": "not in Ollama",
    "releases.version_kept_out": "kept out",
    "releases.version_previous": "previous",
    "releases.version_kept": "kept",
    "releases.version_base": "base of {model}, for evaluations",
    "releases.gate_invalid": "A gate is a list of prompts, or a dictionary with prompts, not {value!r}.",
    "releases.gate_without_prompts": Text(
        "The gate has no prompts.",
        "Give at least one, with what its answer must be like.",
    ),
    "releases.gate_option": Text("The gate: {problem}", "{problem.hint}"),
    "releases.gate_allows_all": (
        "The gate allows {allowed_failures} of {count} answers to fail: it would stop nothing."
    ),
    "releases.candidate_missing": Text("{model} is not in Ollama at {url}.", "'ollama list' shows what there is."),
    "releases.never_promoted": Text(
        "Nothing of the model {name} was ever promoted here.",
        "Give the name of a model declared in finetunes.",
    ),
    "releases.name_with_tag": Text(
        "The name of a model is declared without a tag, not as {name!r}.",
        "Use aliases for tags.",
    ),
    "releases.tag_missing": Text("{tag} is not in Ollama at {url}.", "Register it again."),
    "releases.place_gate": "the gate",
    "releases.place_prompt": "prompt {number} of the gate",
    "releases.place_option": "{option} of {place}",
    "releases.no_dictionary": Text(
        "{place:capital} is no dictionary.",
        "Give prompt, and what its answer must be like.",
    ),
    "releases.regex_too_slow": Text(
        "A regular expression of the gate exceeds its {seconds} seconds or its memory for one answer: {pattern!r}.",
        "Avoid repetitions within repetitions, such as (a+)+.",
    ),
    "releases.no_regex": "{place} is no regular expression: {pattern!r}: {reason}.",
    "releases.prompt_or_messages": "{place:capital} needs either prompt or messages.",
    "releases.messages_invalid": "messages of {place} is no list of messages.",
    "releases.message_invalid": "messages of {place}: each has role ({roles}) and content.",
    "releases.ends_with_answer": "messages of {place} end with an answer: nothing would be asked.",
    "releases.key_unknown": Text("{place:capital} has an unknown key {key!r}.", "{suggestion}"),
    "releases.no_text": Text("{place:capital} must be a text, not {value!r}.", "Put it in quotes."),
    "releases.no_boolean": "{place:capital} must be true or false, not {value!r}.",
    "releases.no_integer": "{place:capital} must be a whole number, at least {minimum}, not {value!r}.",
    "releases.place_argument": "the argument {argument} in {place}",
    "releases.tools_undeclared": Text(
        "{place:capital}: no tools are declared as {name!r}.",
        "Declare them in finetune_tools, or give the list of tools.",
    ),
    "releases.tools_no_list": "{place:capital} must be a list of tools or the name of declared tools, not {value!r}.",
    "releases.tools_invalid": Text("{place:capital}: {problem}", "{problem.hint}"),
    "releases.calls_empty": Text("{place:capital} names no call.", "Write no_calls: true if none is expected."),
    "releases.calls_without_tools": Text(
        "{place:capital} has no effect: the prompt offers no tools.", "Give tools to the prompt or to the gate."
    ),
    "releases.calls_and_no_calls": "{place:capital} expects calls and no_calls at once.",
    "releases.call_without_name": Text(
        "{place:capital} must be a list of calls with name and arguments, not {value!r}.",
        "For example: calls: [{{name: request_media, arguments: {{title: {{regex: Chihiro}}}}}}]",
    ),
    "releases.call_unknown": Text(
        "{place:capital}: the prompt offers no tool {name!r}. {suggestion}", "It offers {names}."
    ),
    "releases.call_arguments_invalid": "{place:capital}: the arguments of {name} must be a dictionary, not {value!r}.",
    "releases.argument_unknown": Text(
        "{place:capital}: {name} has no argument {argument!r}. {suggestion}", "It has {names}."
    ),
    "releases.matcher_missing": Text("{place:capital} expects nothing.", "Give a value, or one of {names}."),
    "releases.matcher_unknown": Text(
        "{place:capital} has an unknown key {key!r}. {suggestion}",
        "The keys are {names}. An argument that is a dictionary itself is written as {{equals: …}}.",
    ),
    "releases.message_key_unknown": Text(
        "messages of {place} have a key {key!r} that the model would not see. {suggestion}", "Remove it."
    ),
    "releases.tool_calls_invalid": Text(
        "tool_calls in messages of {place} is no list of calls.", "Each call has name and arguments."
    ),
    "releases.result_without_call": Text(
        "messages of {place}: the result {reference!r} belongs to no call before it.",
        "Give it the tool_call_id of a call, or leave the id out where the order says it.",
    ),
    "releases.version_ambiguous": Text(
        "{version!r} names more than one version of {name} in Ollama.",
        "There are: {available}.",
    ),
    "releases.deletes_served": Text(
        "{tag} is served as {names}.", "Promote or roll back to another version first, then delete this one."
    ),
    "releases.deletes_held": Text("A rollback holds {tag}.", "Release the hold first."),
    "releases.deletes_declared": Text(
        "{tag} is the declared version: the next apply would register it again.", "Declare another version first."
    ),
    "releases.version_in_use": Text("{tag} is used by a run that has not ended.", "Wait for its end, or cancel it."),
    "releases.version_unknown": Text("{version!r} is no version of {name} in Ollama.", "There are: {available}."),
    "releases.no_versions": Text("{version!r} is no version of {name} in Ollama.", "There are: none."),
    "releases.rollback_target_gone": Text(
        "{name} cannot be rolled back: {tag} is not in Ollama any more.",
        "playbooks/status.yml shows the versions there are.",
    ),
    "releases.no_other_version": Text(
        "{name} cannot be rolled back: it has had no other version.",
        "playbooks/status.yml shows the versions there are.",
    ),
    "releases.answers": "{met} of {asked} answers of {model} are as expected.",
    "releases.answers_of_both": "{met} of {asked} answers of {model} are as expected, {served_met} of {served}.",
    "releases.unmet_not_empty": "is empty",
    "releases.unmet_contains": "does not contain {text!r}",
    "releases.unmet_not_contains": "contains {text!r}",
    "releases.unmet_regex": "does not match {pattern!r}",
    "releases.unmet_not_regex": "matches {pattern!r}",
    "releases.unmet_equals": "is not {text!r}",
    "releases.unmet_not_equals": "is {text!r}",
    "releases.unmet_ends_by_itself": "did not end by itself within {tokens} {tokens:token|tokens}",
    "releases.unmet_max_tokens": "has {tokens} tokens and not at most {limit}",
    "releases.unmet_max_tokens_unended": "has {tokens} tokens or more and not at most {limit}",
    "releases.unmet_call_unread": "makes a call that the server cannot read",
    "releases.unmet_no_calls": "calls {calls}",
    "releases.unmet_calls_none": "calls no tool and not {expected}",
    "releases.unmet_calls": "calls {names} and not {expected}",
    "releases.unmet_argument_missing": "calls {tool} without {argument}",
    "releases.unmet_argument": "calls {tool} with {argument} {value}, which {reason}",
    "releases.unmet_argument_equals": "is not {value}",
    "releases.schema_invalid": Text(
        "{place:capital} must be a JSON schema, not {value!r}.",
        "For example: json_schema: {{type: object, required: [title]}}",
    ),
    "releases.schema_faulty": Text(
        "{place:capital} is no schema that answers can be compared with: {path}: {problem}",
        "{problem.hint}",
    ),
    "releases.unmet_json_schema": "is JSON, but not as json_schema says: {path}: {reason}",
    "releases.unmet_json": "is no JSON: {reason}",
    "releases.no_json_value": "{name} is no JSON value",
    "releases.nested_too_deeply": "it is nested too deeply",
    "releases.failed_question": "{number}. {question}",
    "releases.failed_answer": "   answer: {answer}",
    "releases.failed_because": "   it {reasons:join|; it }",
    "releases.served_met": "   served now: {answer} (as expected)",
    "releases.served_failed": "   served now: {answer} (it {reasons:join|; it })",
    "releases.further_failures": "and {count} more.",
    "releases.not_in_ollama": "{tag} is not in Ollama",
    "releases.alias_differs": "{alias} is another model than {tag}",
    "releases.alias_missing": "{alias} does not exist and must be {tag}",
    "releases.held": (
        "{name}: held at {held} by a rollback of {since}, so {tag} is not promoted. Release it with "
        "playbooks/rollback.yml -e finetune_name={name} -e finetune_release=true, or declare something else."
    ),
}
