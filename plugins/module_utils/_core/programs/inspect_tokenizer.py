# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspects the small files of a base model: the tokens of its vocabulary, and what its own chat template writes.

Run by the Python of LLaMA-Factory's environment; it imports ``tokenizers`` or ``sentencepiece`` and ``jinja2`` only,
and takes about half a second. Standard input: ``{"directory", "tokens", "chat_template", "conversations", "eos", "bos",
"text"}``. A conversation has ``name``, ``messages`` and ``tools``. Standard output, as JSON:

* ``tokenizer``: ``json``, ``sentencepiece`` or ``vocabulary``; ``unknown`` for one that only its own code reads.
* ``missing``: those of ``tokens`` that are no single token.
* ``rendered``: for each name of a conversation ``text``, or ``error``.
* ``pre_tokenizer``: SHA-256 of the tokens of ``text``, as llama.cpp's converter computes it; empty without a text.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import sys
import typing as t


def read_object(directory: str, name: str) -> dict[str, t.Any]:
    """The JSON object in a file; empty if there is none."""
    try:
        with open(os.path.join(directory, name), encoding="utf-8") as stream:
            value = json.load(stream)
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def added_tokens(directory: str) -> set[str]:
    """The tokens that a tokenizer adds to its vocabulary."""
    decoder = read_object(directory, "tokenizer_config.json").get("added_tokens_decoder") or {}
    found = {str(entry.get("content")) for entry in decoder.values() if isinstance(entry, dict)}
    return found | set(read_object(directory, "added_tokens.json"))


def inspect(directory: str, tokens: t.Sequence[str], text: str) -> dict[str, t.Any]:
    """What is known of the tokenizer in a directory."""
    known, kind, digest = added_tokens(directory), "unknown", ""
    if os.path.exists(os.path.join(directory, "tokenizer.json")):
        import tokenizers

        tokenizer = tokenizers.Tokenizer.from_file(os.path.join(directory, "tokenizer.json"))
        kind = "json"
        known |= {token for token in tokens if tokenizer.token_to_id(token) is not None}
        if text and not os.path.exists(os.path.join(directory, "tokenizer.model")):
            digest = hashlib.sha256(str(tokenizer.encode(text).ids).encode()).hexdigest()
    elif os.path.exists(os.path.join(directory, "tokenizer.model")):
        import sentencepiece

        pieces = sentencepiece.SentencePieceProcessor(model_file=os.path.join(directory, "tokenizer.model"))
        kind = "sentencepiece"
        known |= {token for token in tokens if pieces.piece_to_id(token) != pieces.unk_id()}
    elif os.path.exists(os.path.join(directory, "vocab.json")):
        kind = "vocabulary"
        known |= set(read_object(directory, "vocab.json"))
    missing = [] if kind == "unknown" else [token for token in tokens if token not in known]
    return {"tokenizer": kind, "missing": missing, "pre_tokenizer": digest}


def _refuse(message: str) -> t.NoReturn:
    raise ValueError(message)


def render(chat_template: str, conversation: t.Mapping[str, t.Any], eos: str, bos: str) -> str:
    """The prompt of a conversation, as transformers' ``apply_chat_template`` renders it."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    return environment.from_string(chat_template).render(
        messages=conversation["messages"],
        tools=conversation["tools"] or None,
        add_generation_prompt=True,
        eos_token=eos,
        bos_token=bos,
    )


def answer(request: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The answer to a request."""
    result = inspect(request["directory"], request["tokens"], request["text"])
    rendered: dict[str, t.Any] = {}
    for conversation in request["conversations"] if request["chat_template"] else ():
        try:
            text = render(request["chat_template"], conversation, request["eos"], request["bos"])
        except Exception as error:
            # a template raises whatever its expressions do; it is only not compared then
            rendered[conversation["name"]] = {"error": f"{type(error).__name__}: {error}"[:200]}
            continue
        rendered[conversation["name"]] = {"text": text}
    return {**result, "rendered": rendered}


def main() -> None:
    """Answer the request on standard input."""
    json.dump(answer(json.load(sys.stdin)), sys.stdout)


if __name__ == "__main__":
    main()
