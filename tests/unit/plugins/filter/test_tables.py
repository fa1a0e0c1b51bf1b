# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of ``status.yml``: what a training found out about itself is part of them."""

from __future__ import annotations

import typing as t

from ansible_collections.ia_homelab.llamafactory.plugins.filter.job_table import job_table
from ansible_collections.ia_homelab.llamafactory.plugins.filter.model_table import model_table
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message

FINDING = Message("training.loss_is_zero")


def test_findings_follow_the_table_of_runs() -> None:
    run: dict[str, t.Any] = {"id": "homelab-1", "state": "succeeded"}
    assert len(job_table([run])) == 2, "a run of an earlier version has none"
    lines = job_table([{**run, "findings": [FINDING.as_dict()]}, {**run, "id": "other-1", "findings": []}])
    assert lines[3:] == [f"homelab-1: {FINDING}"]
    assert "cutoff_len" in lines[3], "the setting to change"


def test_findings_are_part_of_the_lineage_of_a_served_model() -> None:
    entry = {
        "step": "train", "fingerprint": "ab" * 32, "there": True, "pruned_at": "",
        "facts": {"method": "lora", "findings": [FINDING.as_dict()]},
    }  # fmt: skip
    version = {
        "tag": "homelab:1", "gate": None, "registered_at": "", "pruned_at": "", "there": True, "lineage": [entry],
    }  # fmt: skip
    model = {
        "name": "homelab", "served": {"homelab:latest": {"version": "homelab:1"}}, "hold": None, "previous": "",
        "drift": [], "versions": [version],
    }  # fmt: skip
    lines = model_table([model])
    assert "homelab:latest is 1, made from" in lines, "the name once"
    assert lines[-1] == f"  {FINDING}"
    assert lines[-2].startswith("  train")


def test_each_version_that_was_evaluated_has_a_line() -> None:
    version = {"tag": "m:2", "gate": None, "registered_at": "", "pruned_at": "", "there": True, "lineage": []}
    model = {
        "name": "m", "served": {"m:latest": {"version": "m:2"}}, "hold": None, "previous": "m:1", "drift": [],
        "versions": [{**version, "evaluation": {"line": "calls 48/50, text 71.2"}},
                     {**version, "tag": "m:1", "evaluation": {}}, {**version, "tag": "m:0"}],
    }  # fmt: skip
    lines = model_table([model])
    assert lines[4:] == ["m:2: calls 48/50, text 71.2", "m:latest is 2, made from"]


def test_the_base_that_evaluations_ask_is_told_from_versions() -> None:
    version = {
        "tag": "m-base:1", "gate": None, "registered_at": "", "pruned_at": "", "there": True, "lineage": [],
        "base_of": "m",
    }  # fmt: skip
    model = {"name": "m-base", "served": {}, "hold": None, "previous": "", "drift": [], "versions": [version]}
    assert model_table([model])[1].split("  ")[:2] == ["m-base:1", "base of m, for evaluations"]
