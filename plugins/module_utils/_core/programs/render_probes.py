# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders and tokenizes conversations as LLaMA-Factory does in training.

Run by the Python of LLaMA-Factory's environment, or imported into a process that has LLaMA-Factory loaded already
(:func:`render`). Standard input: ``{"template": NAME, "tokenizer": DIRECTORY, "arguments": {…}, "probes": [{"name",
"system", "messages", "tools", "continued"}]}``; the probes are those of ``Probe.training_form``, the arguments those of
LLaMA-Factory that change the text. Standard output: the result of :func:`render` as JSON.
"""

from __future__ import annotations

import copy
import datetime
import json
import os
import sys
import types
import typing as t


def load_tokenizer(directory: str, arguments: t.Mapping[str, t.Any]) -> t.Any:
    """Load the tokenizer of a base model as LLaMA-Factory's ``load_tokenizer`` does.

    :param directory: of the base model; :param arguments: LLaMA-Factory's, those about the tokenizer are used.
    """
    from transformers import AutoTokenizer

    tokenizer: t.Any = AutoTokenizer.from_pretrained(
        directory,
        use_fast=bool(arguments.get("use_fast_tokenizer", True)),
        split_special_tokens=bool(arguments.get("split_special_tokens", False)),
        padding_side="right",
        trust_remote_code=bool(arguments.get("trust_remote_code", False)),
    )
    for name, special in (("add_tokens", False), ("add_special_tokens", True)):
        tokens = [token.strip() for token in str(arguments.get(name) or "").split(",") if token.strip()]
        if tokens:
            tokenizer.add_tokens(new_tokens=tokens, special_tokens=special)
    return tokenizer


def load_template(name: str, tokenizer: t.Any, arguments: t.Mapping[str, t.Any]) -> t.Any:
    """A copy of a registered template, changed by the arguments as in training; the registry keeps its own.

    The tokenizer is changed as in training (EOS and stop words).
    """
    from llamafactory.data import template as registry

    data_arguments = types.SimpleNamespace(
        template=name,
        train_on_prompt=bool(arguments.get("train_on_prompt", False)),
        tool_format=arguments.get("tool_format"),
        default_system=arguments.get("default_system"),
        enable_thinking=arguments.get("enable_thinking", True),
        preserve_thinking=bool(arguments.get("preserve_thinking", False)),
    )
    registered = registry.TEMPLATES.get(name)
    if registered is not None:
        registry.TEMPLATES[name] = copy.deepcopy(registered)
    try:
        return registry.get_template_and_fix_tokenizer(tokenizer, data_arguments)
    finally:
        if registered is not None:
            registry.TEMPLATES[name] = registered


def text_of(tokenizer: t.Any, ids: t.Sequence[int]) -> str:
    """The text of tokens, markers included."""
    decoded: str = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return decoded


def ending(template: t.Any, tokenizer: t.Any) -> list[int]:
    """The tokens that end an answer; a continued answer has none of them."""
    slots: list[t.Any] = []
    for slot in template.format_assistant.slots:
        before, content, after = slot.partition("{{content}}") if isinstance(slot, str) else ("", "", "")
        if content:
            slots = [after]
        elif not isinstance(slot, str) or before:
            slots.append(slot)
    ids: list[int] = template._convert_elements_to_ids(tokenizer, slots)
    return ids


def prompt_of(template: t.Any, tokenizer: t.Any, probe: t.Mapping[str, t.Any], discard_thoughts: bool) -> list[int]:
    """The tokens of a conversation up to where the next answer begins or continues.

    :param discard_thoughts: whether thoughts of earlier answers are removed (``mask_history``).
    """
    messages = copy.deepcopy(probe["messages"])
    pairs = template.encode_multiturn(
        tokenizer, messages, probe["system"] or None, probe["tools"] or None, discard_thoughts
    )
    ids = [number for source, target in pairs[:-1] for number in (*source, *target)]
    ids += pairs[-1][0]
    if not probe["continued"]:
        return ids
    said, end = list(pairs[-1][1]), ending(template, tokenizer)
    if not end or said[-len(end) :] == end:
        return ids + (said[: -len(end)] if end else said)
    # the end is tokenized together with the answer: take the text without it
    text, suffix = text_of(tokenizer, said), text_of(tokenizer, end)
    tokens: list[int] = tokenizer.encode(text[: -len(suffix)], add_special_tokens=False)
    return ids + tokens


def render(request: t.Mapping[str, t.Any], tokenizer: t.Any = None) -> dict[str, t.Any]:
    """Render the probes of a request.

    :param tokenizer: loaded from the directory in the request if None. It is changed as in training.
    :returns: ``eos`` and ``bos``, the texts of the tokens in training; ``date``, the day that descriptions of tools may
        contain; ``added_tokens``, how many tokens the template has added to the vocabulary; and ``probes``: for each
        name ``text`` and ``ids``, or ``error`` if LLaMA-Factory cannot render it.
    """
    arguments = dict(request.get("arguments") or {})
    if tokenizer is None:
        tokenizer = load_tokenizer(str(request["tokenizer"]), arguments)
    size = len(tokenizer)
    template = load_template(str(request["template"]), tokenizer, arguments)
    discard_thoughts = bool(arguments.get("mask_history")) and not arguments.get("preserve_thinking")
    rendered: dict[str, t.Any] = {}
    for probe in request["probes"]:
        try:
            ids = prompt_of(template, tokenizer, probe, discard_thoughts)
        except Exception as error:
            # LLaMA-Factory raises whatever its formatters do; training would end there, the probe is only not rendered
            rendered[probe["name"]] = {"error": f"{type(error).__name__}: {error}"}
            continue
        rendered[probe["name"]] = {"text": text_of(tokenizer, ids), "ids": ids}
    return {
        "eos": tokenizer.eos_token or "",
        "bos": tokenizer.bos_token or "",
        "date": datetime.datetime.now().strftime("%d %b %Y"),
        "added_tokens": len(tokenizer) - size,
        "probes": rendered,
    }


def main() -> None:
    """Answer the request on standard input."""
    output, sys.stdout = sys.stdout, sys.stderr  # messages of the imports must not get into the JSON
    os.environ.setdefault("DISABLE_VERSION_CHECK", "1")
    json.dump(render(json.load(sys.stdin)), output)


if __name__ == "__main__":
    main()
