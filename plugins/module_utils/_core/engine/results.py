# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the steps of a run have made, in the few facts that a user wants to read at its end."""

from __future__ import annotations

import datetime
import os
import typing as t

from ..artifacts.layout import RECEIPT, REPORT_FILE
from ..evaluations import statements
from ..system.files import read_json, read_record
from ..training.trainer_log import read_all

_TRAINER_LOG = "trainer_log.jsonl"

#: Kinds whose directory is named at the end of an apply when no model of the run is registered in Ollama.
_EXPORTS = ("gguf_adapter", "gguf", "merge", "train")

Step = t.Mapping[str, t.Any]


def results_of(name: str, steps: t.Sequence[Step]) -> dict[str, t.Any]:
    """Return the results of a run. Read-only.

    :param name: name of the fine-tune.
    :param steps: its steps in order, each with ``kind`` and ``path`` (:class:`runs.status.StepView` as a dictionary).
    :returns: ``name``; ``version``, the full tag in Ollama, empty if none was registered; ``loss_first`` and
        ``loss_last``, None without a training; ``findings``, stored messages; ``seconds``, the sum of the time that its
        steps took; ``path``, the directory of the last result if none was registered, else empty; ``alias``, the first
        name under which the version is served, empty if it is under none; ``evaluation``, the line about the version
        in its evaluation, in English, empty without one.
    """
    receipts = [(step["kind"], step["path"], read_json(os.path.join(step["path"], RECEIPT)) or {}) for step in steps]
    value: dict[str, t.Any] = {
        "name": name,
        "version": "",
        "alias": "",
        "loss_first": None,
        "loss_last": None,
        "findings": [],
        "seconds": round(sum(_seconds(receipt) for _kind, _path, receipt in receipts), 1),
        "path": "",
        "evaluation": "",
    }
    report: dict[str, t.Any] | None = None
    for kind, path, receipt in receipts:
        results = receipt.get("results") or {}
        if kind == "train" and receipt:
            value["findings"] = list(results.get("findings") or [])
            losses = [
                entry["loss"] for entry in read_all(os.path.join(path, _TRAINER_LOG)) if _is_number(entry.get("loss"))
            ]
            if losses:
                value.update(loss_first=losses[0], loss_last=losses[-1])
        if kind == "evaluate" and receipt:
            report = read_record(os.path.join(path, REPORT_FILE))
        if kind == "promote" and report is not None:
            # promoted, it has met what is required now; the report has the requirements of its time
            said = statements.line({**report, "requirements": []}, str(results.get("quantization") or ""))
            value["evaluation"] = said.text if said is not None else ""
        if kind in ("register", "promote") and results.get("tag"):
            aliases = results.get("aliases") or []
            value.update(version=str(results["tag"]), alias=str(aliases[0]) if aliases else value["alias"])
    if not value["version"]:
        value["path"] = place_of({kind: path for kind, path, receipt in receipts if receipt})
    return value


def place_of(made: t.Mapping[str, str]) -> str:
    """Return the directory of what a run has made for its user, if it registered no model; empty if there is none.

    :param made: directories of its complete results, by kind of step.
    """
    return next((made[kind] for kind in _EXPORTS if kind in made), "")


def _is_number(value: t.Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _seconds(receipt: t.Mapping[str, t.Any]) -> float:
    try:
        start, end = (
            datetime.datetime.fromisoformat(str(receipt[key]).replace("Z", "+00:00"))
            for key in ("started_at", "finished_at")
        )
    except (KeyError, ValueError):
        return 0.0
    return max(0.0, (end - start).total_seconds())
