# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Importance matrix and likelihood in a plan: what is made, what is refused, and what it takes."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import registry
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError, NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates.host import Machine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning import measurements, plan_text
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.plan import make_plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.readiness import disk_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import likelihood, measured_text
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.registry import get_step
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.memory import Ram
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, rows

TYPES = ["q4_K_M", "iq2_XXS", "q8_0"]


@pytest.fixture
def lab(tmp_path: Path) -> PlanLab:
    lab = PlanLab(tmp_path)
    lab.publish("homelab", rows(40))
    lab.publish("others", rows(10, 100))
    return lab


def planned(lab: PlanLab, llama_cpp: str = "", **declared: t.Any) -> Run:
    """The run of a fine-tune of a base of which the shape is known."""
    raw = {"name": "mine", "base_model": "qwen2.5:0.5b", "dataset": "homelab", "method": "lora", **declared}
    tools = Toolchain(ollama_url="http://127.0.0.1:9", llama_cpp_dir=llama_cpp)
    return plan(lab.layout, Request.finetune(raw), Host(tools, "cpu"))


def fingerprints(run: Run) -> dict[str, str]:
    return {step.label: step.spec.fingerprint for step in run.steps}


def test_only_files_that_use_a_matrix_change_with_it(lab: PlanLab) -> None:
    without = fingerprints(planned(lab, quantizations=["q4_K_M", "q8_0"]))
    run = planned(lab, quantizations=TYPES, imatrix="dataset")
    found = fingerprints(run)
    assert [step.label for step in run.steps] == [
        *("base", "train", "merge", "gguf-f16", "imatrix", "gguf-q4_K_M", "gguf-iq2_XXS", "gguf-q8_0"),
        *("register-q4_K_M", "register-iq2_XXS", "register-q8_0"),
    ]
    same = {label for label in without if found.get(label) == without[label]}
    assert same == {"base", "train", "merge", "gguf-f16", "gguf-q8_0", "register-q8_0"}
    matrix, quantized = run.step("imatrix").spec, run.step("gguf-iq2_XXS").spec
    assert matrix.upstream == {"gguf": found["gguf-f16"], "dataset": run.step("train").spec.upstream["dataset"]}
    assert dict(get_step("gguf").inputs(lab.layout, quantized)) == {
        "gguf": found["gguf-f16"],
        "imatrix": found["imatrix"],
    }
    assert dict(get_step("gguf").inputs(lab.layout, run.step("gguf-q8_0").spec)) == {"gguf": found["gguf-f16"]}


def test_another_dataset_makes_another_matrix(lab: PlanLab) -> None:
    before = fingerprints(planned(lab, imatrix="dataset"))
    lab.publish("homelab", rows(41))
    after = fingerprints(planned(lab, imatrix="dataset", regenerate="on_change"))
    assert before["imatrix"] != after["imatrix"]


def test_matrix_of_a_shared_base_is_refused(lab: PlanLab) -> None:
    with pytest.raises(InputError, match="the base is quantized once for all its fine-tunes"):
        planned(lab, imatrix="dataset", export="adapter")


@pytest.mark.parametrize(
    ("option", "program"),
    [
        ({"imatrix": "dataset"}, "llama-imatrix"),
        ({"evaluation": {"held_out": 0.2, "likelihood": True}}, "llama-perplexity"),
    ],
)
def test_programs_that_an_earlier_version_did_not_build_are_told(
    lab: PlanLab, tmp_path: Path, option: dict[str, t.Any], program: str
) -> None:
    (tmp_path / "llama.cpp" / "bin").mkdir(parents=True)
    with pytest.raises(NotReadyError, match=f"needs {program}, .*Run the role ia_homelab.llamafactory.llamafactory"):
        planned(lab, str(tmp_path / "llama.cpp"), **option)
    (tmp_path / "llama.cpp" / "bin" / program).touch()
    planned(lab, str(tmp_path / "llama.cpp"), **option)


@pytest.mark.parametrize(
    ("declared", "which", "dataset"),
    [
        ({"evaluation": {"held_out": 0.2, "likelihood": True}}, "held_out", "homelab"),
        ({"evaluation": {"rows": "others", "likelihood": True}}, "others", "others"),
        ({"evaluation": {"likelihood": True, "guard": "general"}, "validation_share": 0.2}, "validation", "homelab"),
    ],
)
def test_rows_that_are_not_trained_on(lab: PlanLab, declared: dict[str, t.Any], which: str, dataset: str) -> None:
    run = planned(lab, quantizations=["q4_K_M", "q8_0"], **declared)
    spec = run.step("likelihood").spec
    files = fingerprints(run)
    assert spec.settings["rows"] == which
    assert spec.settings["candidates"] == {"q4_K_M": files["gguf-q4_K_M"], "q8_0": files["gguf-q8_0"]}
    assert spec.upstream == {"gguf": files["gguf-f16"], "dataset": registry.load(lab.layout, dataset).fingerprint}
    assert "likelihood" in run.goals
    required = get_step(spec.kind).inputs(lab.layout, spec)
    assert {("gguf", files[f"gguf-{name}"]) for name in ("f16", "q4_K_M", "q8_0")} < set(required)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"evaluation": {"guard": "general", "likelihood": True}}, "needs rows that are not trained on"),
        ({"evaluation": {"held_out": 0.2, "likelihood": True}, "export": "adapter"}, "no quantized files of this"),
        ({"evaluation": {"held_out": 0.2, "likelihood": True}, "quantizations": ["f16"]}, "and none is declared"),
        (
            {"evaluation": {"held_out": 0.2, "against": ["base"]}, "quantizations": ["iq2_M"], "imatrix": "dataset"},
            "base, which would be quantized to iq2_M without",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(lab: PlanLab, declared: dict[str, t.Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        planned(lab, **declared)


def test_what_they_take_is_in_the_plan(lab: PlanLab) -> None:
    """Of Qwen 2.5 0.5B: 494 million parameters, 151 936 tokens in the vocabulary."""
    run = planned(lab, imatrix="dataset", evaluation={"held_out": 0.2, "likelihood": True})
    matrix, compared = run.step("imatrix"), run.step("likelihood")
    assert 500_000 < (disk_of(run, matrix) or 0) < 5_000_000
    assert disk_of(run, compared) == measurements.LIKELIHOOD_TOKENS * 151936
    takes = compared.spec.options["takes"]
    # a fifth of 40 rows of about 70 bytes, read by two files
    assert 100 < takes["tokens"] < 1000
    assert 2.5e9 < takes["ram_bytes"] == matrix.spec.options["takes"]["ram_bytes"] < 4e9


def test_text_of_the_plan(lab: PlanLab) -> None:
    """Both are told with memory, disk and time, and a comparison that is declared later is all that is made."""
    declared: dict[str, t.Any] = {"quantizations": ["q4_K_M"], "imatrix": "dataset"}
    lab.publish("homelab", [{"instruction": f"Quand {n} ?", "output": "Oui. " * 80} for n in range(500)])
    run = planned(lab, **declared)
    machine = Machine("cpu", (), Ram(total=64 << 30, available=60 << 30, swap=0))
    made = make_plan(lab.layout, run, Engine(lab.layout.root).preview(run), machine, None, 2)
    (matrix,) = (step["takes"] for step in made["steps"] if step["label"] == "imatrix")
    # 2 operations for each of 494 million parameters and 32 768 tokens, on two cores
    assert matrix["seconds"] == pytest.approx(15 + 2 * 494e6 * 32768 / 30e9, rel=0.01)
    assert re.search(r"\n  imatrix +RAM 2\.\d GB, disk \d\.\d MB, about 18 min", plan_text.text(made)), plan_text.text(
        made
    )
    lab.make(run)
    later = planned(lab, **declared, evaluation={"rows": "others", "likelihood": True, "guard": "general"})
    view = Engine(lab.layout.root).preview(later)
    assert view.pending[0] == "likelihood" and "imatrix" not in view.pending and "gguf-q4_K_M" not in view.pending


def test_names_are_those_of_the_steps() -> None:
    """The planner may not import the steps, and has copies of their names."""
    mine = (measurements.VALIDATION, measurements.HELD_OUT, measurements.OTHERS)
    assert mine == (likelihood.VALIDATION, likelihood.HELD_OUT, likelihood.OTHERS)
    assert measurements.LIKELIHOOD_TOKENS % measured_text.CONTEXT == 0 == measurements.IMATRIX_TOKENS % 512
