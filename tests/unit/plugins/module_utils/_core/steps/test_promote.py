# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The promotion compares the report with what is required, and moves the tags on a pass; Ollama is a stand-in."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import (
    InputError,
    JobError,
    RemoteError,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import Releases
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import RunStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.promote import PromoteStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import read_json, write_json
from ansible_collections.ia_homelab.llamafactory.tests.support.evaluation_lab import EvaluationLab
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama


@pytest.fixture
def server() -> t.Iterator[FakeOllama]:
    with fake_ollama() as server:
        yield server


class Promotion:
    """A registered model behind a gate, and the one that is served."""

    def __init__(self, lab: EvaluationLab, aliases: t.Sequence[str]) -> None:
        self.lab = lab
        self.old = lab.register(1)
        self.new = lab.register(2, aliases=aliases)
        self.old_tag, self.new_tag = lab.tag(self.old), lab.tag(self.new)
        lab.server.models["m:latest"] = "1" * 64
        lab.server.reply = lambda model, _prompt: "homelab" if model == self.new_tag else "Qwen"

    def steps(self, **expect: t.Any) -> tuple[RunStep, RunStep]:
        """The steps evaluate and promote."""
        return self.lab.steps([self.new], [{"prompt": "Qui es-tu ?", **(expect or {"contains": "homelab"})}])

    def run(self, **expect: t.Any) -> dict[str, t.Any]:
        """Evaluate and promote; returns the results of the promotion."""
        evaluate, promote = self.steps(**expect)
        self.lab.run(evaluate)
        return self.lab.run(promote)

    @property
    def releases(self) -> Releases:
        """The ledger of the model."""
        return Releases(self.lab.layout, "m")


@pytest.fixture
def make(tmp_path: Path, server: FakeOllama) -> t.Callable[..., Promotion]:
    lab = EvaluationLab(tmp_path, server)
    return lambda *aliases: Promotion(lab, aliases or ("latest", "stable"))


def test_a_pass_moves_the_tags(make: t.Callable[..., Promotion], server: FakeOllama) -> None:
    made = make()
    evaluate, promote = made.steps()
    assert made.run() == {
        "tag": made.new_tag,
        "digest": "2" * 64,
        "aliases": ["m:latest", "m:stable"],
        "previous": {"m:latest": {"digest": "1" * 64, "tag": made.old_tag}, "m:stable": None},
        "held": "",
        "quantization": "q4_K_M",
        "evaluation": evaluate.spec.fingerprint,
        "asked": 1,
        "met": 1,
        "met_before": 0,
    }
    assert server.models["m:latest"] == server.models["m:stable"] == "2" * 64
    assert PromoteStep().drift(made.lab.context(promote)) == []
    entry = made.releases.ledger().gates[made.new_tag]
    assert (entry["passed"], entry["promotion"], entry["met"]) == (True, promote.spec.fingerprint, 1)


def test_a_fail_moves_nothing_and_says_which_answer(make: t.Callable[..., Promotion], server: FakeOllama) -> None:
    made = make()
    server.loaded = [made.new_tag, "m:latest"]
    _evaluate, promote = made.steps(contains="NAS")
    with pytest.raises(JobError) as caught:
        made.run(contains="NAS")
    assert caught.value.message.startswith("The gate is shut: 0 of 1 answers of")
    assert "m:latest stays as it was." in caught.value.message
    assert "does not contain 'NAS'" in caught.value.message
    assert read_json(caught.value.details["report"])["passed"] == {"q4_K_M": False}
    assert caught.value.details["evaluation"]["requirements"][0]["name"] == "allowed_failures"
    assert server.models["m:latest"] == "1" * 64 and "m:stable" not in server.models
    assert server.bodies("/api/copy") == []
    assert server.loaded == ["m:latest"], "the memory is for the model that stays in use"
    ledger = made.releases.ledger()
    assert ledger.declared == made.new_tag, "a rollback now has to block this version"
    assert ledger.gates[made.new_tag]["passed"] is False
    with pytest.raises(JobError, match="was not asked to its end"):
        PromoteStep().finish(made.lab.context(promote))


def test_a_first_version_that_fails_leaves_nothing_served(make: t.Callable[..., Promotion], server: FakeOllama) -> None:
    made = make()
    del server.models["m:latest"]
    with pytest.raises(JobError, match=r"Nothing is served as m:latest\."):
        made.run(contains="NAS")


def test_a_hold_is_not_moved_by_a_pass(make: t.Callable[..., Promotion], server: FakeOllama) -> None:
    made = make("latest")
    made.run()
    made.releases.rollback(Ollama(server.url))
    assert server.models["m:latest"] == "1" * 64
    results = made.run()
    assert (results["tag"], results["held"]) == (made.new_tag, made.old_tag)
    assert server.models["m:latest"] == "1" * 64
    assert PromoteStep().drift(made.lab.context(made.steps()[1])) == [], "what the hold demands is no drift"


def test_a_tag_moved_by_another_program_is_drift_and_fails_the_step(
    make: t.Callable[..., Promotion], server: FakeOllama
) -> None:
    made = make("latest")
    made.run()
    ctx = made.lab.context(made.steps()[1])
    server.models["m:latest"] = "3" * 64
    assert [str(each) for each in PromoteStep().drift(ctx)] == [f"m:latest is another model than {made.new_tag}"]
    os.makedirs(ctx.work, exist_ok=True)
    write_json(os.path.join(ctx.work, "decision.json"), {"quantization": "q4_K_M"})
    with pytest.raises(JobError, match="is another model than"):
        PromoteStep().finish(ctx)
    del server.models["m:latest"]
    assert [str(each) for each in PromoteStep().drift(ctx)] == [f"m:latest does not exist and must be {made.new_tag}"]


def test_killed_between_two_tags_the_previous_targets_are_kept(
    make: t.Callable[..., Promotion], server: FakeOllama
) -> None:
    made = make()
    answer, copies = server.answer, []

    def answer_once(method: str, path: str, body: dict[str, t.Any]) -> tuple[int, dict[str, t.Any]]:
        if path == "/api/copy":
            copies.append(body)
            if len(copies) == 2:
                return 500, {"error": "killed here"}
        return answer(method, path, body)

    server.answer = answer_once  # type: ignore[method-assign]
    with pytest.raises(RemoteError, match="killed here"):
        made.run()
    assert server.models["m:latest"] == "2" * 64 and "m:stable" not in server.models
    results = made.run()
    assert results["previous"]["m:latest"] == {"digest": "1" * 64, "tag": made.old_tag}, "although it was moved before"
    assert server.models["m:stable"] == "2" * 64


def test_a_name_that_ollama_refuses_is_found_before_the_command(make: t.Callable[..., Promotion]) -> None:
    made = make("two words")
    with pytest.raises(InputError):
        PromoteStep().command(made.lab.context(made.steps()[1]))


def test_a_changed_condition_asks_nothing(make: t.Callable[..., Promotion], server: FakeOllama) -> None:
    made = make("latest")
    prompts = [{"prompt": "a", "contains": "homelab"}, {"prompt": "b", "contains": "NAS"}]
    evaluate, promote = made.lab.steps([made.new], prompts)
    made.lab.run(evaluate)
    with pytest.raises(JobError, match="The gate is shut: 1 of 2 answers"):
        made.lab.run(promote)
    asked = len(server.bodies("/api/chat"))
    again, lenient = made.lab.steps([made.new], {"prompts": prompts, "allowed_failures": 1})
    assert again.spec.fingerprint == evaluate.spec.fingerprint and lenient.spec.fingerprint != promote.spec.fingerprint
    assert made.lab.run(lenient)["met"] == 1
    assert len(server.bodies("/api/chat")) == asked and server.models["m:latest"] == "2" * 64


def test_a_run_of_an_earlier_version_asks_the_gate_itself(make: t.Callable[..., Promotion], server: FakeOllama) -> None:
    """It was planned without the step evaluate."""
    made = make("latest")
    _evaluate, promote = made.steps()
    for option in ("evaluation", "candidates", "promoted_before"):
        promote.spec.options.pop(option, None)
    results = made.lab.run(promote)
    assert (results["met"], results["met_before"], results["evaluation"]) == (1, 0, "")
    assert server.models["m:latest"] == "2" * 64
    progress = PromoteStep().progress(made.lab.context(promote))
    assert progress is not None and progress.describe() == "100%  answer 2/2  asking q4_K_M"


def test_a_version_that_was_promoted_by_an_earlier_recipe_is_not_asked(
    make: t.Callable[..., Promotion], server: FakeOllama
) -> None:
    made = make("latest")
    _evaluate, promote = made.steps()
    former = RunStep("promote", promote.spec)
    promote.spec.options["promoted_before"] = ["e" * 64]
    path = made.lab.layout.artifact("promote", "e" * 64)
    os.makedirs(path)
    results = {"tag": made.old_tag, "asked": 3, "met": 2, "met_before": None}
    write_json(os.path.join(path, "receipt.json"), {**former.spec.as_dict(), "files": {}, "results": results})
    results = made.lab.run(promote)
    assert (results["tag"], results["asked"], results["met"], results["evaluation"]) == (made.new_tag, 3, 2, "")
    assert server.bodies("/api/chat") == [] and server.models["m:latest"] == "2" * 64


@pytest.mark.parametrize(
    ("choose", "smaller", "expected"),
    [("declared", "homelab", "q8_0"), ("smallest", "homelab", "q4_K_M"), ("smallest", "Qwen", "q8_0")],
)
def test_the_quantization_that_is_chosen_gets_the_tags(
    tmp_path: Path, server: FakeOllama, choose: str, smaller: str, expected: str
) -> None:
    lab = EvaluationLab(tmp_path, server)
    registers = [lab.register(4, "q8_0", ["latest"], size=200), lab.register(5, "q4_K_M", size=100)]
    tags = {str(step.spec.options["quantization"]): lab.tag(step) for step in registers}
    server.reply = lambda model, _prompt: "homelab" if model == tags["q8_0"] else smaller
    declared = {"require": {"gate": 1.0}, "choose": choose}
    evaluate, promote = lab.steps(registers, [{"prompt": "Qui es-tu ?", "contains": "homelab"}], declared)
    lab.run(evaluate)
    results = lab.run(promote)
    assert (results["quantization"], results["tag"]) == (expected, tags[expected])
    assert server.models["m:latest"] == server.models[tags[expected]]
    assert PromoteStep().drift(lab.context(promote)) == []


def test_a_rollback_blocks_every_quantization_of_a_version(tmp_path: Path, server: FakeOllama) -> None:
    lab = EvaluationLab(tmp_path, server)
    old = lab.register(1)
    releases = Releases(lab.layout, "m")
    releases.promote(Ollama(server.url), lab.tag(old), ["m:latest"])
    registers = [lab.register(4, "q8_0", ["latest"], size=200), lab.register(5, "q4_K_M", size=100)]
    server.reply = lambda _model, _prompt: "homelab"
    steps = lab.steps(registers, [{"prompt": "a", "contains": "homelab"}], {"choose": "smallest"})
    for step in steps:
        lab.run(step)
    releases.rollback(Ollama(server.url))
    assert server.models["m:latest"] == "1" * 64
    assert lab.run(steps[1])["held"] == lab.tag(old) and server.models["m:latest"] == "1" * 64


def test_requirements_that_are_not_met_are_named(tmp_path: Path, server: FakeOllama) -> None:
    lab = EvaluationLab(tmp_path, server)
    new = lab.register(2, aliases=["latest"])
    server.reply = lambda _model, _prompt: "no idea"
    evaluate, promote = lab.steps([new], None, {"guard": "general", "require": {"guard": 0.9}})
    assert lab.run(evaluate)["parts"] == {"guard": 40}
    with pytest.raises(JobError) as caught:
        lab.run(promote)
    message = caught.value.message
    assert (
        message.startswith("The evaluation is not passed: q4_K_M: guard is 0")
        and "Nothing is served as m:latest." in message
    )
    assert "nothing is asked again" in caught.value.hint
