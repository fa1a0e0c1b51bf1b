# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ended runs: what they have made, and how they are dismissed."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.results import results_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.tests.support import evaluation_fixture
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab


def test_dismissed_run_is_gone_and_its_results_are_kept(lab: Lab) -> None:
    failed, made = lab.run("failed", "false"), lab.run("made", "true")
    assert lab.apply(failed).state == "failed" and lab.apply(made).state == "succeeded"
    results = lab.artifacts()
    assert lab.engine.dismiss(failed.id) is True and lab.engine.dismiss(made.id) is True
    assert lab.engine.observe_all() == [] and lab.artifacts() == results
    assert not (lab.data / "jobs" / "done" / failed.id).exists()
    assert lab.engine.dismiss(failed.id) is False
    assert lab.broken() == []


def test_dismissed_run_can_be_submitted_again(lab: Lab) -> None:
    run = lab.run("failed", "false")
    lab.apply(run)
    lab.engine.dismiss(run.id)
    assert lab.apply(run).state == "failed" and len(lab.record(run).jobs) == 1


def test_active_run_is_not_dismissed(lab: Lab) -> None:
    run = lab.run("slow", "sleep 60")
    lab.engine.submit(run)
    with pytest.raises(InputError, match="has not ended"):
        lab.engine.dismiss(run.id)
    assert lab.engine.observe(run.id).state in ("queued", "running")


def step(root: Path, kind: str, **receipt: t.Any) -> dict[str, t.Any]:
    path = root / kind
    path.mkdir()
    (path / "receipt.json").write_text(json.dumps(receipt))
    return {"kind": kind, "path": str(path)}


def test_results_of_a_served_model(tmp_path: Path) -> None:
    times = {"started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:01:30Z"}
    steps = [
        step(tmp_path, "train", results={"findings": [{"code": "x"}]}, **times),
        step(tmp_path, "register", results={"tag": "m:abc-q4_K_M", "aliases": []}, **times),
        step(tmp_path, "evaluate", results={}),
        step(tmp_path, "promote", results={"tag": "m:abc-q4_K_M", "aliases": ["m:latest"], "quantization": "q4_K_M"}),
    ]
    report = evaluation_fixture.report("1" * 64)
    report["requirements"][0]["met"] = False  # less is required now
    (tmp_path / "evaluate" / "report.json").write_text(json.dumps(report))
    log = [{"current_steps": 1, "loss": 2.5}, {"current_steps": 2, "loss": 1.5}, {"current_steps": 2}]
    (tmp_path / "train" / "trainer_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    assert results_of("m", steps) == {
        "name": "m",
        "version": "m:abc-q4_K_M",
        "alias": "m:latest",
        "loss_first": 2.5,
        "loss_last": 1.5,
        "findings": [{"code": "x"}],
        "seconds": 180.0,
        "path": "",
        "evaluation": "calls 48/50, text 71.2, guard 39/40, "
        "vs served calls +6.0 ± 8.0, text +3.1 ± 2.0, guard -2.5 ± 3.8",
    }
    assert results_of("m", steps[:2])["evaluation"] == ""


def test_results_of_an_export_have_its_place(tmp_path: Path) -> None:
    steps = [step(tmp_path, "train"), step(tmp_path, "gguf", results={}), {"kind": "register", "path": "/none"}]
    found = results_of("m", steps)
    assert (found["version"], found["path"], found["loss_first"]) == ("", str(tmp_path / "gguf"), None)
    assert results_of("m", [])["path"] == ""
