# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A complete evaluation on the disk, whose values were written by hand."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.fingerprint import fingerprint
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.recipes import RECIPE
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import (
    make_dirs,
    read_json,
    write_json,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.model_store import ModelStore

SERVED_DIGEST = "5" * 64

#: Questions by their ids. The first one has no reference, but expectations.
QUESTIONS: dict[str, dict[str, t.Any]] = {
    "guard-1": {
        "id": "guard-1", "part": "guard", "messages": [{"role": "user", "content": "2 + 2 ?"}], "tools": [],
        "expect": {"contains": ["4"]}, "reference": None, "options": {}, "row": None,
    },
    "call-1": {
        "id": "call-1", "part": "held_out", "messages": [{"role": "user", "content": "Demande Heat."}],
        "tools": [{"type": "function", "function": {"name": "request_media", "parameters": {}}}], "expect": {},
        "reference": {"content": "", "calls": [{"name": "request_media", "arguments": {"title": "Heat"}}]},
        "options": {}, "row": 7,
    },
    "text-1": {
        "id": "text-1", "part": "held_out", "messages": [{"role": "user", "content": "Où est le NAS ?"}], "tools": [],
        "expect": {}, "reference": {"content": "Dans le bureau.", "calls": []}, "options": {}, "row": 12,
    },
    "text-2": {
        "id": "text-2", "part": "held_out", "messages": [{"role": "user", "content": "Quel est <b>le</b> port ?"}],
        "tools": [], "expect": {}, "reference": {"content": "Le port 8096.", "calls": []}, "options": {}, "row": 31,
    },
}  # fmt: skip

#: Scores of each answer: of the candidate, and of the model that is served. The candidate became worse in the call.
SCORES: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "guard-1": ({"guard": 1.0}, {"guard": 1.0}),
    "call-1": ({"calls": 0.0}, {"calls": 1.0}),
    "text-1": ({"exact": 1.0, "same": 1.0, "text": 100.0}, {"exact": 0.0, "same": 0.0, "text": 40.0}),
    "text-2": ({"exact": 0.0, "same": 0.0, "text": 42.4}, {"exact": 0.0, "same": 0.0, "text": 48.0}),
}

TEXTS: dict[str, tuple[str, str]] = {
    "guard-1": ("4", "Quatre : 4."),
    "call-1": ("Voilà.", ""),
    "text-1": ("Dans le bureau.", "Au bureau."),
    "text-2": ("Le <script>alert(1)</script> 80.", "Le port 80."),
}

UNMET = {"code": "releases.unmet_calls_none", "parameters": {"expected": "request_media"}, "text": "calls no tool"}


def share(met: int, asked: int, low: float, high: float) -> dict[str, t.Any]:
    """The entry of a share in a report."""
    return {"value": met / asked, "low": low, "high": high, "met": met, "asked": asked}


def report(digest: str, label: str = "q4_K_M", **changes: t.Any) -> dict[str, t.Any]:
    """A report on a candidate and on the model that was served."""
    candidate = {
        "guard": share(39, 40, 0.871, 0.996), "calls": share(48, 50, 0.865, 0.989), "exact": share(1, 2, 0.1, 0.9),
        "same": share(1, 2, 0.1, 0.9), "text": {"value": 71.2, "low": 66.0, "high": 76.4, "asked": 31},
    }  # fmt: skip
    served = {
        "guard": share(40, 40, 0.912, 1.0), "calls": share(45, 50, 0.786, 0.957), "exact": share(0, 2, 0.0, 0.66),
        "same": share(0, 2, 0.0, 0.66), "text": {"value": 68.1, "low": 62.0, "high": 74.0, "asked": 31},
    }  # fmt: skip
    one = {"model": label, "against": "served"}
    return {
        "schema": 1, "asked_at": "2026-11-30T08:00:00.000Z", "seconds": 93.5, "server_version": "0.32.15", "items": 4,
        "parts": {"held_out": 3, "guard": 1}, "name": "m", "declared": label, "chosen": label,
        "models": [
            {"label": label, "role": "candidate", "model": f"m:abc-{label}", "digest": digest, "bytes": 400_000_000,
             "measures": candidate, "tokens_per_answer": 21.5, "seconds_per_answer": 0.8},
            {"label": "served", "role": "served", "model": "m:latest", "digest": SERVED_DIGEST, "bytes": 400_000_000,
             "measures": served, "tokens_per_answer": 25.0, "seconds_per_answer": 0.9},
        ],
        "comparisons": [
            {**one, "measure": "calls", "difference": 0.06, "low": -0.02, "high": 0.14, "asked": 50,
             "worse": ["call-1"], "better": []},
            {**one, "measure": "text", "difference": 3.1, "low": 1.1, "high": 5.1, "asked": 31,
             "worse": ["text-2"], "better": ["text-1"]},
            {**one, "measure": "guard", "difference": -0.025, "low": -0.075, "high": 0.0, "asked": 40,
             "worse": [], "better": []},
        ],
        "judge": None, "quantizations": [],
        "requirements": [
            {"model": label, "name": "calls", "wanted": 0.8, "value": 0.96, "bound": 0.865, "met": True},
            {"model": label, "name": "not_worse_than_served", "measure": "calls", "wanted": 0.0, "value": 0.06,
             "bound": None, "met": True},
        ],
        "passed": {label: True},
        "notes": [{"code": "messages.stored", "parameters": {"text": "Two rows were left out.", "hint": ""},
                   "text": "Two rows were left out."}],
        **changes,
    }  # fmt: skip


def write_evaluation(
    layout: Layout,
    registration: str,
    digest: str,
    label: str = "q4_K_M",
    at: str = "2026-11-30T08:01:00.000Z",
    served_digest: str = SERVED_DIGEST,
    swapped: bool = False,
    **changes: t.Any,
) -> str:
    """Write an evaluation of one version, and return its fingerprint.

    :param registration: fingerprint of the registration of the version.
    :param digest: digest of the version in Ollama.
    :param swapped: whether the candidate has the answers that the served model has otherwise.
    :param changes: other values of the report.
    """
    settings = {"candidates": {label: registration}, "asked": at}
    upstream = {"register": registration}
    name = fingerprint("evaluate", settings, upstream)
    path = Path(layout.artifact("evaluate", name))
    make_dirs(str(path))
    content = report(digest, label, **changes)
    content["models"][1]["digest"] = served_digest
    write_json(str(path / "report.json"), content)
    path.joinpath("questions.jsonl").write_text("".join(json.dumps(each) + "\n" for each in QUESTIONS.values()))
    lines = []
    for number, (model, of) in enumerate(((label, digest), ("served", served_digest))):
        column = 1 - number if swapped else number
        for item in QUESTIONS:
            scores, text = SCORES[item][column], TEXTS[item][column]
            answer: dict[str, t.Any] = {
                "text": text, "ended": True, "tokens": 9, "seconds": 0.5, "calls": [], "malformed_call": False
            }  # fmt: skip
            if item == "call-1" and scores["calls"]:
                answer["calls"] = [{"name": "request_media", "arguments": {"title": "Heat"}}]
            unmet = [UNMET] if scores.get("calls") == 0.0 else []
            line = {"item": item, "model": model, "digest": of, "answer": answer, "scores": scores, "unmet": unmet}
            lines.append(json.dumps(line) + "\n")
    path.joinpath("answers.jsonl").write_text("".join(lines))
    files = {
        file: {"bytes": (path / file).stat().st_size} for file in ("report.json", "questions.jsonl", "answers.jsonl")
    }
    results = {"digests": {label: digest, "served": served_digest}}
    receipt = {
        "schema": 1, "kind": "evaluate", "fingerprint": name, "settings": settings, "upstream": upstream,
        "options": {}, "results": results, "files": files, "finished_at": at, "run": "", "job": "",
    }  # fmt: skip
    write_json(str(path / "receipt.json"), receipt)
    return name


def evaluated_versions(data: Path) -> list[str]:
    """Write three versions of the model m, of which the latest two were evaluated; return their tags, latest first.

    The answers of the latest version are those that the one before compared with, and the other way round.
    """
    store, versions = ModelStore(data, RECIPE), []
    for epochs in (1, 2, 3):
        steps = store.make(epochs)
        registration = steps[-1].spec.fingerprint
        path = str(Path(store.layout.artifact("register", registration), "receipt.json"))
        receipt = read_json(path)
        facts = {"tag": store.tag(steps), "digest": f"{epochs}" * 64}
        write_json(path, {**receipt, "results": {**receipt["results"], **facts}})
        versions.insert(0, (store.tag(steps), registration))
    write_evaluation(store.layout, versions[1][1], "2" * 64, swapped=True)
    write_evaluation(store.layout, versions[0][1], "3" * 64, at="2026-11-30T09:01:00.000Z")
    return [tag for tag, _registration in versions]
