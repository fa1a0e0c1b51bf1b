# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows that are longer than ``cutoff_len``: LLaMA-Factory cuts them off without a word, the end of the answer with it.

While a run is planned there is no tokenizer, so the figure is an estimate from the rows' sizes, and says so. Before
a training starts the tokenizer of the base counts (``programs.count_tokens``), with the text that the template puts
around each message. A token is at least a byte, so only rows of more bytes than ``cutoff_len`` are counted at all.
"""

from __future__ import annotations

import json
import os
import subprocess
import typing as t

from ..base_models.chat_templates import TEMPLATES, OllamaTemplate
from ..programs import count_tokens
from .output_formats import ASSISTANT, CALL, DATA_FILE
from .statistics import smallest

#: Bytes of text a token stands for, roughly, in prose of European languages (English more, code and others less).
BYTES_PER_TOKEN = 4.0
#: Tokens a template puts in where a row has fewer bytes of JSON: its own system prompt.
_SLACK = 64
#: Bytes of rows that are counted at most (some seconds), and seconds the counting may take.
_MOST = 16 * 1024 * 1024
_SECONDS = 300
_EOS = "{eos}"


def _cuts(values: t.Mapping[str, t.Any]) -> bool:
    """Whether rows are cut off at all: text is cut into pieces that follow each other, unless ``packing`` is off."""
    extra = values.get("extra") or {}
    return str(values.get("stage") or "sft") != "pt" or extra.get("packing") is False


def warning(values: t.Mapping[str, t.Any], results: t.Mapping[str, t.Any]) -> str:
    """What is to be expected, while nothing can be counted; empty when no row can be too long, or none looks it.

    :param values: all hyperparameters.
    :param results: what was found out about the dataset.
    """
    cutoff = int(values["cutoff_len"])
    lengths = results.get("lengths") or []
    # the whole of a step counts as its lower end: rather one too few than a false alarm
    long = sum(int(count) for top, count in lengths if smallest(int(top)) / BYTES_PER_TOKEN > cutoff)
    if not long or not _cuts(values):
        return ""
    rows = "1 row is" if long == 1 else f"{long} of {results.get('rows')} rows are"
    return (
        f"{rows} probably longer than cutoff_len {cutoff} (estimated at {BYTES_PER_TOKEN:g} bytes a token; the "
        "training counts before it starts) and would be cut off, answers first: raise cutoff_len, or shorten them."
    )


def texts(row: t.Mapping[str, t.Any], template: OllamaTemplate | None) -> list[tuple[str, int]]:
    """The texts a published row comes to in training, and how many tokens are to be added to each.

    Two where there are two answers to choose from. Without a template the text around the messages is guessed.
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
    turns: t.Sequence[tuple[str, str]], system: str, tools: str, template: OllamaTemplate | None
) -> tuple[str, int]:
    if template is None:
        return "\n".join([system, tools, *(text for _role, text in turns)]), 8 * (len(turns) + bool(system))
    parts = []
    system = system or template.default_system
    if system or tools:
        parts += [template.system[0], system, tools, template.system[1]]
    for role, text in turns:
        before, after = template.assistant if role in (ASSISTANT, CALL) else template.user
        parts += [before, text, after]
    whole = "".join(parts)
    return whole.replace(_EOS, ""), whole.count(_EOS) + template.bos


def count(
    python: str, base: str, dataset: str, values: t.Mapping[str, t.Any], env: t.Mapping[str, str]
) -> dict[str, t.Any] | None:
    """Count the rows that will be cut off.

    :param python: of an environment with ``tokenizers`` (LLaMA-Factory's).
    :param base: directory of the base; :param dataset: directory of a published version.
    :param values: all hyperparameters.
    :param env: the whole environment of the counting program.
    :returns: ``rows`` that are longer than ``cutoff_len``, tokens of the ``longest`` and its row from 1; ``counted``
        rows of ``candidates`` that have more bytes than that; ``exact``, whether the template is known and all
        candidates were counted. None when no row can be too long.
    :raises OSError: when it cannot be counted; :raises ValueError: likewise.
    """
    if not _cuts(values):
        return None
    cutoff = int(values["cutoff_len"])
    template = TEMPLATES.get(str(values.get("template")))
    candidates, size, exact = 0, 0, template is not None
    numbers: list[int] = []
    lines: list[str] = []
    with open(os.path.join(dataset, DATA_FILE), "rb") as stream:
        for number, raw in enumerate(stream, 1):
            if len(raw) + _SLACK <= cutoff:
                continue
            candidates += 1
            size += len(raw)
            if size > _MOST and numbers:
                exact = False
                continue
            numbers.append(number)
            lines.append(json.dumps(texts(json.loads(raw), template)))
    if not candidates:
        return None
    loader: t.Any = getattr(count_tokens.__spec__, "loader", None)
    done = subprocess.run(
        [python, "-I", "-c", loader.get_source(count_tokens.__name__), base],
        input="\n".join(lines).encode("ascii"),
        capture_output=True,
        timeout=_SECONDS,
        env=dict(env),
        check=False,
    )
    if done.returncode:
        raise ValueError(done.stderr.decode("utf-8", "replace").strip()[-300:] or f"status {done.returncode}")
    counts: list[int] = json.loads(done.stdout)
    longest = max(range(len(counts)), key=counts.__getitem__)
    return {
        "cutoff_len": cutoff,
        "rows": sum(tokens > cutoff for tokens in counts),
        "longest": counts[longest],
        "longest_row": numbers[longest],
        "counted": len(counts),
        "candidates": candidates,
        "exact": exact,
    }


def describe_count(found: t.Mapping[str, t.Any]) -> str:
    """The sentence for what :func:`count` found; empty when no row is cut off."""
    if not found["rows"]:
        return ""
    rows = "1 row is" if found["rows"] == 1 else f"{found['rows']} rows are"
    about = (
        "" if found["exact"] else f" (of {found['counted']} that were counted, of {found['candidates']} that may be)"
    )
    return (
        f"{rows} longer than cutoff_len {found['cutoff_len']} and will be cut off{about}; the longest, row "
        f"{found['longest_row']}, has {found['longest']} tokens."
    )
