# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows longer than ``cutoff_len``, which LLaMA-Factory truncates without a warning, including the end of the answer.

No tokenizer is available while a run is planned, so the count is an estimate from the rows' sizes, and is labelled as
such. Before a training starts, the tokenizer of the base model counts (``programs.count_tokens``), with the text that
the template adds around each message; rows with tools or calls are rendered by LLaMA-Factory itself
(``programs.count_rendered``). A token has at least one byte, so only rows that may have more bytes than ``cutoff_len``
are counted.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os

# pylint: disable=ansible-bad-function  # here is no module whose run_command could be called
import subprocess
import typing as t

from ..chat_formats import facts
from ..chat_formats.facts import TemplateFacts
from ..json_text import parse_json
from ..messages.message import Message
from ..programs import count_tokens
from .output_formats import ASSISTANT, CALL, DATA_FILE, HUMAN, OBSERVATION
from .statistics import lower_bound

#: Approximate bytes per token in prose of European languages (more for English, less for code and other languages).
BYTES_PER_TOKEN = 4.0
#: Tokens that a template can add to a row beyond its JSON bytes: the template's own system prompt.
_SLACK = 64
#: Bounds of what LLaMA-Factory writes for a row with tools: times the row (it may indent JSON), and a text about them.
_TOOL_FACTOR, _TOOL_PROMPT = 6, 2048
_CALL = f'"from":"{CALL}"'.encode("ascii")
#: LLaMA-Factory's roles by those of a published row.
_ROLES = {HUMAN: "user", ASSISTANT: "assistant", OBSERVATION: "observation", CALL: "function"}
#: Program that renders rows with LLaMA-Factory; it imports another one beside it.
_RENDERING = os.path.join(os.path.dirname(os.path.abspath(count_tokens.__file__)), "count_rendered.py")
#: Maximum bytes of rows to count (some seconds), and maximum duration of the count in seconds.
_MAX_BYTES = 16 * 1024 * 1024
_SECONDS = 300
#: Stands for the EOS token, whose text is unknown while a row is rendered; it is counted, and then removed.
_EOS = "\0"


def _truncates_rows(values: t.Mapping[str, t.Any]) -> bool:
    """Whether rows are truncated: pretraining text is split into consecutive pieces, unless ``packing`` is off."""
    extra = values.get("extra") or {}
    return str(values.get("stage") or "sft") != "pt" or extra.get("packing") is False


def warning(values: t.Mapping[str, t.Any], results: t.Mapping[str, t.Any]) -> Message | None:
    """The warning at planning time; None if rows are not truncated or none seems too long.

    :param values: all hyperparameters.
    :param results: statistics of the dataset.
    """
    cutoff = int(values["cutoff_len"])
    lengths = results.get("lengths") or []
    # a bucket counts with its lower bound: an underestimate is better than a false alarm
    too_long = sum(int(count) for top, count in lengths if lower_bound(int(top)) / BYTES_PER_TOKEN > cutoff)
    if not too_long or not _truncates_rows(values):
        return None
    facts = {"cutoff_len": cutoff, "bytes_per_token": BYTES_PER_TOKEN}
    if too_long == 1:
        return Message("datasets.row_cut_off", **facts)
    return Message("datasets.rows_cut_off", count=too_long, rows=results.get("rows"), **facts)


def texts(row: t.Mapping[str, t.Any], template: TemplateFacts | None) -> list[tuple[str, int]]:
    """The training texts of a published row, and the number of tokens to add to each.

    Two texts for a pair of answers. Without a template the text around the messages is estimated.
    """
    if "text" in row:
        return [(row["text"], 1)]
    if "instruction" in row:
        question = "\n".join(text for text in (row["instruction"], row["input"]) if text)
        return [_render([("human", question), (ASSISTANT, row["output"])], row["system"], "", template)]
    turns = [(str(turn["from"]), str(turn["value"])) for turn in row["conversations"]]
    if "chosen" in row:
        answers = [(str(row[name]["from"]), str(row[name]["value"])) for name in ("chosen", "rejected")]
        return [_render([*turns, answer], row["system"], row["tools"], template) for answer in answers]
    return [_render(turns, row["system"], row["tools"], template)]


def _render(
    turns: t.Sequence[tuple[str, str]], system: str, tools: str, template: TemplateFacts | None
) -> tuple[str, int]:
    if template is None:
        return "\n".join([system, tools, *(text for _role, text in turns)]), 8 * (len(turns) + bool(system))
    parts = []
    system = system or template.default_system
    eos = template.eos_text(_EOS)
    if system or tools:
        prefix, suffix = template.system.around(eos, "")
        parts += [prefix, system, tools, suffix]
    slots = {ASSISTANT: template.assistant, CALL: template.function, OBSERVATION: template.observation}
    for role, text in turns:
        prefix, suffix = slots.get(role, template.user).around(eos, "")
        if role in (ASSISTANT, CALL) and template.thought_words[1].strip() not in text:
            parts.append(template.empty_thought)
        parts += [prefix, text, suffix]
    rendered = template.prefix.text(eos, "") + "".join(parts)
    more = rendered.count(_EOS) + template.starts_with_bos + template.efficient_eos
    return rendered.replace(_EOS, ""), more


def count(
    python: str,
    base: str,
    dataset: str,
    values: t.Mapping[str, t.Any],
    env: t.Mapping[str, str],
    numbers: t.Sequence[int] = (),
) -> dict[str, t.Any] | None:
    """Count the rows that will be truncated.

    :param python: interpreter of an environment with ``tokenizers`` (LLaMA-Factory's).
    :param base: directory of the base model; :param dataset: directory of a published version.
    :param values: all hyperparameters.
    :param env: complete environment of the counting program.
    :param numbers: the number of each row, for what is said of it; they are counted from 1 if it is empty.
    :returns: ``rows``, number of rows longer than ``cutoff_len``; ``longest``, tokens of the longest one, and
        ``longest_row``, its number from 1; ``candidates``, number of rows with more bytes than that, and ``counted``,
        how many of them were counted; ``exact``, whether the template is known and all candidates were counted. None
        if no row can be too long.
    :raises OSError: if the counting program cannot run; :raises ValueError: if it fails.
    """
    if not _truncates_rows(values):
        return None
    cutoff = int(values["cutoff_len"])
    name, default_system = str(values.get("template")), (values.get("extra") or {}).get("default_system")
    template = facts.facts_of(name) if name in facts.names() else None
    if template is not None and default_system is not None:
        template = dataclasses.replace(template, default_system=str(default_system))
    candidates, total_bytes, exact = 0, 0, template is not None
    # by number of the row: its texts, or its conversations for LLaMA-Factory
    rows: dict[int, list[tuple[str, int]]] = {}
    with_tools: dict[int, list[dict[str, t.Any]]] = {}
    with open(os.path.join(dataset, DATA_FILE), "rb") as stream:
        for number, raw in zip(numbers or itertools.count(1), stream):
            rendered = template is not None and _uses_tools(raw)
            if (len(raw) * _TOOL_FACTOR + _TOOL_PROMPT if rendered else len(raw) + _SLACK) <= cutoff:
                continue
            candidates += 1
            total_bytes += len(raw)
            if total_bytes > _MAX_BYTES and (rows or with_tools):
                exact = False
                continue
            if rendered:
                with_tools[number] = conversations(json.loads(raw))
            else:
                rows[number] = texts(json.loads(raw), template)
    if not candidates:
        return None
    counts: dict[int, int] = {}
    if rows:
        loader: t.Any = getattr(count_tokens.__spec__, "loader", None)
        source = "\n".join(json.dumps(each) for each in rows.values())
        argv = [python, "-I", "-c", loader.get_source(count_tokens.__name__), base]
        counts.update(zip(rows, _answer(argv, source, env)))
    if with_tools:
        extra = values.get("extra") or {}
        request = {
            "template": name,
            "tokenizer": base,
            "arguments": {key: value for key, value in extra.items() if key != "tool_format"},
            "rows": list(with_tools.values()),
        }
        answers = _answer([python, _RENDERING], json.dumps(request), env)
        exact = exact and None not in answers
        counts.update((number, tokens) for number, tokens in zip(with_tools, answers) if tokens is not None)
    if not counts:
        return None
    longest = max(counts, key=counts.__getitem__)
    return {
        "cutoff_len": cutoff,
        "rows": sum(tokens > cutoff for tokens in counts.values()),
        "longest": counts[longest],
        "longest_row": longest,
        "counted": len(counts),
        "candidates": candidates,
        "exact": exact,
    }


def _uses_tools(raw: bytes) -> bool:
    """Whether a published row has tools or calls, whose text is LLaMA-Factory's own."""
    return (b'"tools":' in raw and b'"tools":""' not in raw) or _CALL in raw


def _answer(argv: t.Sequence[str], text: str, env: t.Mapping[str, str]) -> list[t.Any]:
    """The JSON list that a program prints for a text on its standard input.

    :raises OSError: if it cannot run; :raises ValueError: if it fails.
    """
    completed = subprocess.run(
        argv, input=text.encode("ascii"), capture_output=True, timeout=_SECONDS, env=dict(env), check=False
    )
    if completed.returncode:
        raise ValueError(completed.stderr.decode("utf-8", "replace").strip()[-300:] or f"status {completed.returncode}")
    return t.cast("list[t.Any]", parse_json(completed.stdout))


def conversations(row: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """A published row as LLaMA-Factory's templates take it: two conversations for a pair of answers."""
    turns = list(row["conversations"])
    endings = [[row[name]] for name in ("chosen", "rejected")] if "chosen" in row else [[]]
    return [
        {
            "system": row.get("system") or "",
            "tools": row.get("tools") or "",
            "messages": [
                {"role": _ROLES[str(turn["from"])], "content": str(turn["value"])} for turn in [*turns, *ending]
            ],
        }
        for ending in endings
    ]


def describe_count(result: t.Mapping[str, t.Any]) -> str:
    """The message for a result of :func:`count`; empty if no row is truncated."""
    if not result["rows"]:
        return ""
    rows = "1 row is" if result["rows"] == 1 else f"{result['rows']} rows are"
    precision = (
        "" if result["exact"] else f" (of {result['counted']} that were counted, of {result['candidates']} that may be)"
    )
    return (
        f"{rows} longer than cutoff_len {result['cutoff_len']} and will be cut off{precision}; the longest, row "
        f"{result['longest_row']}, has {result['longest']} tokens."
    )
