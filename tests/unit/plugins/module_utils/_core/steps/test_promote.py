# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The promotion asks the gate, and moves the tags only on a pass; Ollama is a stand-in over HTTP."""

from __future__ import annotations

import dataclasses
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import (
    InputError,
    JobError,
    RemoteError,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.gate import read_gate
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import (
    Releases,
    content_tag,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.promote import PromoteStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import read_json
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.step_lab import StepLab

OLD, NEW = "a" * 64, "b" * 64
OLD_TAG, NEW_TAG = (content_tag("m", each, "q4_K_M") for each in (OLD, NEW))


@pytest.fixture
def server() -> t.Iterator[FakeOllama]:
    with fake_ollama() as server:
        server.models = {OLD_TAG: "1" * 64, "m:latest": "1" * 64, NEW_TAG: "2" * 64}
        server.reply = lambda model, _prompt: "homelab" if model == NEW_TAG else "Qwen"
        yield server


@pytest.fixture
def make(tmp_path: Path, server: FakeOllama) -> t.Callable[..., StepContext]:
    lab = StepLab(tmp_path)
    lab.tools = dataclasses.replace(lab.tools, ollama_url=server.url)

    def make(registered: str = NEW, aliases: t.Sequence[str] = ("latest", "stable"), **expect: t.Any) -> StepContext:
        gate = read_gate([{"prompt": "Qui es-tu ?", **(expect or {"contains": "homelab"})}])
        assert gate is not None
        options = {"name": "m", "quantization": "q4_K_M", "aliases": list(aliases)}
        return lab.context("promote", {"register": registered}, options, gate=gate.as_settings())

    return make


def run(ctx: StepContext) -> dict[str, t.Any]:
    step = PromoteStep()
    step.command(ctx)
    step.perform(ctx)
    return step.finish(ctx)


def test_a_pass_moves_the_tags(make: t.Callable[..., StepContext], server: FakeOllama) -> None:
    ctx = make()
    assert run(ctx) == {
        "tag": NEW_TAG,
        "digest": "2" * 64,
        "aliases": ["m:latest", "m:stable"],
        "previous": {"m:latest": {"digest": "1" * 64, "tag": OLD_TAG}, "m:stable": None},
        "held": "",
        "asked": 1,
        "met": 1,
        "met_before": 0,
    }
    assert server.models["m:latest"] == server.models["m:stable"] == "2" * 64
    progress = PromoteStep().progress(ctx)
    assert progress is not None and progress.describe() == "100%  answer 2/2  asking"
    assert PromoteStep().drift(ctx) == []
    ledger = Releases(ctx.layout, "m").ledger()
    assert ledger.gates[NEW_TAG]["passed"] is True and ledger.gates[NEW_TAG]["promotion"] == ctx.spec.fingerprint


def test_a_fail_moves_nothing_and_says_which_answer(make: t.Callable[..., StepContext], server: FakeOllama) -> None:
    ctx = make(contains="NAS")
    step = PromoteStep()
    step.command(ctx)
    with pytest.raises(JobError) as caught:
        step.perform(ctx)
    assert "m:latest stays as it was." in caught.value.message
    assert "does not contain 'NAS'" in caught.value.message
    assert read_json(caught.value.details["report"])["passed"] is False
    assert server.models["m:latest"] == "1" * 64 and "m:stable" not in server.models
    assert server.bodies("/api/copy") == []
    assert Releases(ctx.layout, "m").ledger().declared == NEW_TAG, "a rollback now has to block this version"
    with pytest.raises(JobError, match="was not asked to its end"):
        step.finish(ctx)


def test_a_first_version_that_fails_leaves_nothing_served(
    make: t.Callable[..., StepContext], server: FakeOllama
) -> None:
    server.models = {NEW_TAG: "2" * 64}
    ctx = make(contains="NAS")
    PromoteStep().command(ctx)
    with pytest.raises(JobError, match=r"Nothing is served as m:latest\."):
        PromoteStep().perform(ctx)


def test_a_hold_is_not_moved_by_a_pass(make: t.Callable[..., StepContext], server: FakeOllama) -> None:
    ctx = make(aliases=["latest"])
    run(ctx)
    from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama

    Releases(ctx.layout, "m").rollback(Ollama(server.url))
    assert server.models["m:latest"] == "1" * 64
    results = run(ctx)
    assert (results["tag"], results["held"]) == (NEW_TAG, OLD_TAG)
    assert server.models["m:latest"] == "1" * 64
    assert PromoteStep().drift(ctx) == [], "what the hold demands is no drift"


def test_a_tag_moved_by_another_program_is_drift_and_fails_the_step(
    make: t.Callable[..., StepContext], server: FakeOllama
) -> None:
    ctx = make(aliases=["latest"])
    run(ctx)
    server.models["m:latest"] = "3" * 64
    assert [str(each) for each in PromoteStep().drift(ctx)] == [f"m:latest is another model than {NEW_TAG}"]
    with pytest.raises(JobError, match="is another model than"):
        PromoteStep().finish(ctx)
    del server.models["m:latest"]
    assert [str(each) for each in PromoteStep().drift(ctx)] == [f"m:latest does not exist and must be {NEW_TAG}"]


def test_killed_between_two_tags_the_previous_targets_are_kept(
    make: t.Callable[..., StepContext], server: FakeOllama
) -> None:
    ctx = make()
    answer, copies = server.answer, []

    def answer_once(method: str, path: str, body: dict[str, t.Any]) -> tuple[int, dict[str, t.Any]]:
        if path == "/api/copy":
            copies.append(body)
            if len(copies) == 2:
                return 500, {"error": "killed here"}
        return answer(method, path, body)

    server.answer = answer_once  # type: ignore[method-assign]
    PromoteStep().command(ctx)
    with pytest.raises(RemoteError, match="killed here"):
        PromoteStep().perform(ctx)
    assert server.models["m:latest"] == "2" * 64 and "m:stable" not in server.models
    results = run(ctx)
    assert results["previous"]["m:latest"] == {"digest": "1" * 64, "tag": OLD_TAG}, "known although it was moved before"
    assert server.models["m:stable"] == "2" * 64


def test_a_name_that_ollama_refuses_is_found_before_the_command(make: t.Callable[..., StepContext]) -> None:
    with pytest.raises(InputError):
        PromoteStep().command(make(aliases=["two words"]))


def test_the_report_is_part_of_the_artifact(make: t.Callable[..., StepContext]) -> None:
    ctx = make()
    run(ctx)
    report = read_json(os.path.join(ctx.work, "gate.json"))
    assert (report["candidate"]["model"], report["served"]["model"]) == (NEW_TAG, "m:latest")
