# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Model cards stored beside results: Markdown with YAML front matter, as the Hugging Face hub reads it.

https://huggingface.co/docs/hub/model-cards. A card is written from receipts alone, which contain no secrets. The front
matter must not vary between builds of the same result: llama.cpp's converter copies metadata from it.
"""

from __future__ import annotations

import json
import re
import typing as t

from ..artifacts import kinds
from ..artifacts.integrity import is_without_weights
from ..artifacts.layout import Layout, Receipt
from .lineage import ancestry, base_name, sources_of, tag_of

#: Cards of the kinds of results that have one.
CARDS = {kind.name: kind.card for kind in kinds.TABLE if kind.card is not None}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+\Z")
_SHOWN_SETTINGS = (
    "method", "epochs", "learning_rate", "batch_size", "gradient_accumulation", "cutoff_len", "lora_rank", "lora_alpha",
    "lora_target", "lr_scheduler", "warmup_ratio", "precision", "seed", "template",
)  # fmt: skip


def model_card(layout: Layout, receipt: Receipt, evaluation: t.Sequence[str] = ()) -> str:
    """The card of a result; empty for kinds without a card, and for a merge on the way.

    :param receipt: of the result, or of a result to come: ``kind``, ``fingerprint``, ``settings``, ``upstream``,
        ``options``, ``results``.
    :param evaluation: what is said of the evaluation of this version, in lines.
    """
    kind = str(receipt["kind"])
    if kind not in CARDS or (kind == "merge" and is_without_weights(receipt)):
        return ""
    ancestors = ancestry(layout, receipt)
    parts = [
        _front_matter(kind, ancestors),
        f"# {_title(kind, receipt, ancestors)}",
        _summary(kind, ancestors),
        *_use(ancestors),
        *_training(ancestors),
        *_data(ancestors),
        *_gate(ancestors),
        *_evaluation(evaluation),
        _lineage(ancestors),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(kind: str, ancestors: t.Mapping[str, Receipt]) -> str:
    base, method = base_name(ancestors), str(_resolved(ancestors).get("method") or "")
    relation, library = CARDS[kind].relation, CARDS[kind].library
    if kind == "train" and method in ("full", "freeze"):
        relation = "finetune"
    lines = ["---"]
    if _HUB_ID.match(base):
        lines += [f"base_model: {json.dumps(base)}", f"base_model_relation: {relation}"]
    if library:
        lines.append(f"library_name: {'transformers' if relation == 'finetune' else library}")
    tags = ["llama-factory", *([method] if method else []), *([] if library else ["gguf"])]
    lines += ["pipeline_tag: text-generation", "tags:", *(f"  - {tag}" for tag in tags), "---"]
    return "\n".join(lines)


def _title(kind: str, receipt: Receipt, ancestors: t.Mapping[str, Receipt]) -> str:
    registered = ancestors.get("register")
    if registered is not None:
        return tag_of(registered)
    name = (receipt.get("options") or {}).get("name") or (ancestors.get("train", {}).get("options") or {}).get("name")
    quantization = str((receipt.get("settings") or {}).get("quantization") or "")
    return " ".join(filter(None, [str(name or kind), quantization]))


def _summary(kind: str, ancestors: t.Mapping[str, Receipt]) -> str:
    base = base_name(ancestors) or "its base"
    if "train" not in ancestors:
        return f"GGUF file of {base}, not fine-tuned."
    description = CARDS[kind].summary
    commit = (ancestors.get("base", {}).get("settings") or {}).get("commit")
    return f"{description} {base}{f' (commit {commit[:12]})' if commit else ''}, made with LLaMA-Factory and llama.cpp."


def _use(ancestors: t.Mapping[str, Receipt]) -> list[str]:
    registered = ancestors.get("register")
    if registered is None:
        return []
    return ["## Use", f"```console\n$ ollama run {tag_of(registered)}\n```"]


def _resolved(ancestors: t.Mapping[str, Receipt]) -> dict[str, t.Any]:
    return dict((ancestors.get("train", {}).get("options") or {}).get("resolved") or {})


def _training(ancestors: t.Mapping[str, Receipt]) -> list[str]:
    if "train" not in ancestors:
        return []
    resolved, results = _resolved(ancestors), ancestors["train"].get("results") or {}
    rows = [(name, resolved[name]) for name in _SHOWN_SETTINGS if resolved.get(name) is not None]
    rows += list((resolved.get("extra") or {}).items())
    rows += [(name, results[name]) for name in ("steps", "trainable_parameters") if results.get(name) is not None]
    sections = ["## Training", _table(("setting", "value"), rows)]
    metrics = results.get("metrics") or {}
    return [*sections, "## Metrics", _table(("metric", "value"), sorted(metrics.items()))] if metrics else sections


def _data(ancestors: t.Mapping[str, Receipt]) -> list[str]:
    if "dataset" not in ancestors:
        return []
    results = ancestors["dataset"].get("results") or {}
    rows = []
    for source in sources_of(ancestors):
        commit = str(source.get("commit") or "")
        state = f"`{commit}`{' and changes that are not committed' if source.get('dirty') else ''}" if commit else ""
        rows.append((source.get("label"), f"`{str(source.get('sha256') or '')[:12]}`", state))
    text = f"{results.get('rows', '?')} rows of the dataset `{results.get('name', '')}`."
    return ["## Data", text, *([_table(("file", "sha256", "git commit"), rows)] if rows else [])]


def _gate(ancestors: t.Mapping[str, Receipt]) -> list[str]:
    promoted = ancestors.get("promote")
    if promoted is None:
        return []
    results = promoted.get("results") or {}
    before = results.get("met_before")
    text = f"{results.get('met')} of {results.get('asked')} answers were as expected before it was promoted"
    text += f"; of the model it took the place of, {before}." if before is not None else "."
    evaluation = str(results.get("evaluation") or "")
    place = f"`outputs/evaluations/{evaluation}`" if evaluation else "`gate.json`"
    return ["## Gate", f"{text} Questions and answers are in {place}."]


def _evaluation(lines: t.Sequence[str]) -> list[str]:
    return ["## Evaluation", "\n".join(f"* {_cell(line)}" for line in lines)] if lines else []


def _lineage(ancestors: t.Mapping[str, Receipt]) -> str:
    rows = [(kind, f"`{str(receipt['fingerprint'])[:12]}`") for kind, receipt in ancestors.items()]
    return "## Lineage\n\n" + _table(("step", "fingerprint"), rows)


def _table(header: t.Sequence[str], rows: t.Sequence[t.Sequence[t.Any]]) -> str:
    def line(cells: t.Sequence[t.Any]) -> str:
        return "| " + " | ".join(_cell(cell) for cell in cells) + " |"

    return "\n".join([line(header), "|" + "---|" * len(header), *map(line, rows)])


def _cell(value: t.Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.split()).replace("|", "\\|")
