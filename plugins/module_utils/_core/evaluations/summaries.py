# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an evaluation has found of one version, as plain values: for modules and the service."""

from __future__ import annotations

import typing as t

from ..artifacts.layout import Layout, Receipt
from . import statements
from .store import Evaluation, Evaluations, model_of


def summary_of(evaluations: Evaluations, registration: str) -> dict[str, t.Any]:
    """Summarize the last evaluation of a version; empty if there is none.

    :param registration: fingerprint of the registration of the version.
    """
    found = evaluations.report_of(registration)
    return summary(*found) if found is not None else {}


def summary(evaluation: Evaluation, report: t.Mapping[str, t.Any], label: str) -> dict[str, t.Any]:
    """Summarize what a report says of one model.

    :param label: of the model in the report.
    :returns: ``fingerprint`` and ``path`` of the evaluation, ``label``, ``asked_at``, ``items`` (number of questions),
        ``line`` in English and as a message (``line_message``), ``measures``, ``quantization`` (what it costs against
        the largest one; None for a single one), ``comparisons`` with numbers of items
        instead of their ids, ``requirements`` and ``passed`` (None if nothing is required), and what else is said
        (``lines``). Empty if the report does not have the model.
    """
    model, line = model_of(report, label), statements.line(report, label)
    if model is None or line is None:
        return {}
    said = [
        *statements.quantization(report, label),
        *statements.judged(report, label),
        *statements.requirements(report, label),
        *statements.notes(report),
    ]
    required = [dict(entry) for entry in report.get("requirements") or () if entry["model"] == label]
    return {
        "fingerprint": evaluation.fingerprint,
        "path": evaluation.path,
        "label": label,
        "asked_at": str(report.get("asked_at") or ""),
        "questions": int(report.get("items") or 0),
        "line": line.text,
        "line_message": line.as_dict(),
        "measures": dict(model.get("measures") or {}),
        "tokens_per_answer": model.get("tokens_per_answer"),
        "seconds_per_answer": model.get("seconds_per_answer"),
        "comparisons": [counted(entry) for entry in report.get("comparisons") or () if entry["model"] == label],
        "quantization": next((q for q in report.get("quantizations") or () if q["model"] == label), None),
        "requirements": required,
        "passed": bool((report.get("passed") or {}).get(label)) if required else None,
        "lines": [each.as_dict() for each in said],
    }


def counted(entry: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A comparison with the numbers of items that became worse and better, and its verdict as a message."""
    counts = {name: len(entry.get(name) or ()) for name in ("worse", "better")}
    return {**entry, **counts, "verdict": statements.verdict(entry).as_dict()}


def lines_of_card(layout: Layout, artifact: Receipt) -> list[str]:
    """What the model card of a promoted version says of its evaluation; empty for other artifacts, or if there is none.

    :param artifact: receipt of the promotion, or of the promotion to come.
    """
    registration = str((artifact.get("upstream") or {}).get("register") or "")
    if artifact["kind"] != "promote" or not registration:
        return []
    found = Evaluations(layout).report_of(registration)
    return statements.card(found[1], found[2]) if found is not None else []
