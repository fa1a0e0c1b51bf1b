# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each quantization costs: in the report of the step, where it is read later, and in words. A stand-in serves."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations import statements, summaries
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.evaluations.store import Evaluations
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import make_step
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import RunStep
from ansible_collections.ia_homelab.llamafactory.tests.support.evaluation_lab import EvaluationLab
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import FakeOllama, fake_ollama

GATE = [{"prompt": f"{number} ?", "contains": "homelab"} for number in range(4)]
HALF = "e" * 64


@pytest.fixture
def server() -> t.Iterator[FakeOllama]:
    with fake_ollama() as server:
        yield server


@pytest.fixture
def lab(tmp_path: Path, server: FakeOllama) -> EvaluationLab:
    return EvaluationLab(tmp_path, server)


def figures(divergence: float) -> dict[str, t.Any]:
    """What the step likelihood has measured of a file."""
    values = {"perplexity": 8.613, "perplexity_ratio": 1.0142, "divergence": divergence, "same_top": 0.934}
    return {name: {"value": value, "error": 0.0031} for name, value in values.items()}


def measured(
    lab: EvaluationLab, files: t.Mapping[str, str], at: str = "2026-11-30T08:00:00Z", **by_name: t.Any
) -> None:
    """A receipt of the step likelihood about these files."""
    step = make_step("likelihood", {"candidates": dict(files), "at": at}, {"gguf": HALF, "dataset": "d" * 64})
    by_name = by_name or {name: figures(0.0171) for name in files}
    half = {"f16": {"perplexity": {"value": 8.492, "error": 0.1}}}
    lab.receipt(step, {"rows": 9, "tokens": 4096, "context": 512, "quantizations": {**half, **by_name}})


def file_of(step: RunStep) -> str:
    return step.spec.upstream["gguf"]


def asked(lab: EvaluationLab, server: FakeOllama, registers: t.Sequence[RunStep]) -> tuple[RunStep, RunStep]:
    """The steps evaluate and promote, of which the first has run: the smaller model fails on one question."""
    small = lab.tag(registers[-1])
    server.reply = lambda model, prompt: "" if (model, prompt) == (small, "1 ?") else "homelab"
    evaluate, promote = lab.steps(registers, GATE, {"choose": "declared"})
    lab.run(evaluate)
    return evaluate, promote


def test_the_report_says_what_each_costs(lab: EvaluationLab, server: FakeOllama) -> None:
    registers = [lab.register(4, "q8_0", ["latest"], size=200), lab.register(5, "q4_K_M", size=116)]
    measured(lab, {"q4_K_M": file_of(registers[1])})
    evaluate, _promote = asked(lab, server, registers)
    report = lab.report(evaluate)
    large, small = report["quantizations"]
    assert (large["model"], large["against"], large["size"], large["differences"]) == ("q8_0", "", 1.0, {})
    assert large["likelihood"] is None
    assert (small["model"], small["against"], small["size"]) == ("q4_K_M", "q8_0", 0.58)
    gate = small["differences"]["gate"]
    assert gate["difference"] == -0.25 and gate["low"] < -0.25 < gate["high"] and gate["asked"] == 4
    assert small["likelihood"] == {**figures(0.0171), "tokens": 4096}
    assert [str(line) for line in statements.quantization(report, "q4_K_M")] == [
        "q4_K_M has 58 % of the size of q8_0: gate -25.0 ± 50.0.",
        "q4_K_M: perplexity 8.613, 1.0142 ± 0.0031 times that of f16; divergence 0.0171 ± 0.0031; the likeliest token "
        "is that of f16 in 93.4 %.",
    ]
    assert statements.quantization(report, "q8_0") == []


def test_what_is_measured_later_is_shown(lab: EvaluationLab, server: FakeOllama) -> None:
    """The step asks nothing again for it: the report is completed where it is read."""
    registers = [lab.register(4, "f16", ["latest"], size=200), lab.register(5, "q4_K_M", size=116)]
    registers[0].spec.upstream["gguf"] = HALF
    lab.receipt(registers[0], {"tag": lab.tag(registers[0]), "digest": "4" * 64})
    evaluate, promote = asked(lab, server, registers)
    assert [each["likelihood"] for each in lab.report(evaluate)["quantizations"]] == [None, None]
    measured(lab, {"q4_K_M": file_of(registers[1])}, at="2026-11-30T07:00:00Z", q4_K_M=figures(0.5))
    measured(lab, {"q8_0": "1" * 64})
    lab.run(promote)
    evaluations = Evaluations(lab.layout)
    small = summaries.summary_of(evaluations, registers[1].spec.fingerprint)
    assert small["quantization"]["likelihood"]["divergence"]["value"] == 0.5
    assert small["lines"][1]["code"] == "evaluations.likelihood"
    half = summaries.summary_of(evaluations, registers[0].spec.fingerprint)
    assert half["lines"][0]["text"] == "f16: perplexity 8.492."


def test_a_single_quantization_costs_nothing(lab: EvaluationLab, server: FakeOllama) -> None:
    register = lab.register(4, "q8_0", ["latest"], size=200)
    evaluate, _promote = asked(lab, server, [register])
    assert lab.report(evaluate)["quantizations"] == []
    assert summaries.summary_of(Evaluations(lab.layout), register.spec.fingerprint)["quantization"] is None


def test_requirements_are_shown_as_they_were_last_compared(lab: EvaluationLab, server: FakeOllama) -> None:
    """A changed requirement asks nothing, so that the report of the evaluation has the earlier one."""
    register = lab.register(4, "q8_0", ["latest"], size=200)
    server.reply = lambda _model, prompt: "" if prompt == "1 ?" else "homelab"
    evaluate, refused = lab.steps([register], GATE, {"require": {"gate": 1}})
    lab.run(evaluate)
    with pytest.raises(Exception, match="not passed"):
        lab.run(refused)
    shown = summaries.summary_of(Evaluations(lab.layout), register.spec.fingerprint)
    assert shown["passed"] is False
    again, promote = lab.steps([register], GATE, {"require": {"gate": 0.5}})
    assert again.spec.fingerprint == evaluate.spec.fingerprint
    lab.run(promote)
    shown = summaries.summary_of(Evaluations(lab.layout), register.spec.fingerprint)
    assert shown["passed"] is True and [each["wanted"] for each in shown["requirements"]] == [0.5]
    assert "not met" not in shown["line"]
