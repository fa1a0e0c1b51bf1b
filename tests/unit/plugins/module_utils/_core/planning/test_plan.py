# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan: steps that would run, reasons and requirements; saved plans are applied, or refused when stale."""

from __future__ import annotations

import json
import math
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates import host
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning import plan as planning_plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning import (
    plan_text,
    planner,
    saved_plan,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.states import StepState
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import memory
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import read_json, write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.gpus import Gpu
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.memory import Ram
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, rows

ALL = ["base", "train", "merge", "gguf-f16", "gguf-q4_K_M"]
MACHINE = host.Machine("cpu", ram=Ram(16 * 10**9, 12 * 10**9, 0))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanLab:
    """A host with fifty prompts and no results, with enough memory regardless of the machine that runs the tests."""
    monkeypatch.setattr(memory, "ram", lambda: Ram(64 * 10**9, 60 * 10**9, 0))
    plan_lab = PlanLab(tmp_path)
    plan_lab.publish("homelab", rows(50))
    return plan_lab


def plan_of(lab: PlanLab, run: Run, machine: host.Machine = MACHINE, provisional: t.Any = None) -> dict[str, t.Any]:
    before = lab.tree()
    plan = planning_plan.make_plan(lab.layout, run, Engine(lab.layout.root).preview(run), machine, provisional, 2)
    assert lab.tree() == before, "planning writes nothing"
    copy = json.loads(json.dumps(plan))
    assert copy == plan, "a plan consists of plain values"
    return plan


def why(plan: dict[str, t.Any]) -> dict[str, list[str]]:
    return {step["label"]: step["why"] for step in plan["steps"] if step["runs"]}


def declared(lab: PlanLab, **more: t.Any) -> Run:
    # there is no Ollama server to register with
    return lab.plan(register=False, **more)


def test_new_fine_tune(lab: PlanLab) -> None:
    plan = plan_of(lab, declared(lab))
    assert plan["changed"] and plan["pending"] == ALL
    assert why(plan) == dict.fromkeys(ALL, ["a new fine-tune"])
    assert plan["previous"] == ""


def test_optimizer_steps(lab: PlanLab) -> None:
    """The plan shows them, and warns if they are few, but not once the training exists."""
    run = declared(lab)
    (train,) = [step for step in plan_of(lab, run)["steps"] if step["label"] == "train"]
    assert train["takes"]["optimizer_steps"] == 21
    assert "21 optimizer steps, about" in plan_text.text(plan_of(lab, run))
    assert "about 21 optimizer steps (50 rows, 8 for each step, 3 epochs)" in str(planner.warnings_of(run)[0])
    assert planner.warnings_of(declared(lab, epochs=5)) == []
    lab.make(run)
    assert planner.warnings_of(declared(lab)) == []


def test_warmup_of_few_steps_is_no_part_of_the_fingerprint(lab: PlanLab) -> None:
    """A training of a few steps is still the one that is declared."""
    run = declared(lab, epochs=0.1)
    warnings = " ".join(map(str, planner.warnings_of(run)))
    assert "There is no warm-up: warmup_ratio 0.1 would take too many of 1 step" in warnings
    assert run.step("train").spec.settings == {"epochs": 0.1, "template": "qwen"}
    assert run.step("train").spec.options["resolved"]["warmup_ratio"] == 0.1


def test_a_share_that_leaves_no_row_is_refused_before_the_queue(lab: PlanLab) -> None:
    lab.publish("two", rows(2))
    with pytest.raises(InputError, match="validation_share 0.001 of 2 rows leaves no row to validate on"):
        declared(lab, dataset="two", validation_share=0.001)
    assert declared(lab, validation_share=0.2).steps


def test_rows_that_are_held_out_are_not_planned_to_be_read(lab: PlanLab) -> None:
    """Steps, duration and warnings are those of the rows that are left; both shares must leave rows."""
    lab.publish("hundred", [*rows(100), {"instruction": "x" * 20_000, "output": "long"}])
    options = declared(lab, dataset="hundred", held_out=0.3).step("train").spec.options
    counts = options["held_out"]
    assert counts["rows"] == 101 and 15 < counts["held_out"] < 45
    assert options["optimizer_steps"] == math.ceil((101 - counts["held_out"]) / 8) * 3
    whole, part = (plan_of(lab, declared(lab, dataset="hundred", **more)) for more in ({}, {"held_out": 0.3}))
    assert takes(part, "train")["seconds"] < takes(whole, "train")["seconds"]
    lab.publish("two", rows(2))
    with pytest.raises(InputError, match="held_out 0.001 of 2 rows holds no row out"):
        declared(lab, dataset="two", held_out=0.001)
    left = 101 - counts["held_out"]
    with pytest.raises(InputError, match=f"validation_share 0.0001 of {left} rows leaves no row to validate on"):
        declared(lab, dataset="hundred", held_out=0.3, validation_share=0.0001)


def test_holding_rows_out_trains_again_and_the_plan_says_why(lab: PlanLab) -> None:
    run = declared(lab)
    lab.make(run)
    again = declared(lab, held_out=0.3)
    assert again.step("train").spec.fingerprint != run.step("train").spec.fingerprint
    assert again.step("train").spec.settings["held_out"] == 0.3
    counts = again.step("train").spec.options["held_out"]
    (text,) = why(plan_of(lab, again))["train"]
    assert f"held_out 0 → 0.3 (the training no longer reads {counts['held_out']} of the {counts['rows']} rows)" == text


def test_a_training_that_is_kept_must_have_held_the_rows_out(lab: PlanLab) -> None:
    """It would be asked what it was trained on. A training that holds out more is fine."""
    lab.make(declared(lab))
    kept = {"regenerate": "never"}
    with pytest.raises(InputError, match="has read all rows; none is held out"):
        declared(lab, held_out=0.3, **kept)
    lab.make(declared(lab, held_out=0.2), at="2026-02-01T00:00:00Z")
    assert declared(lab, held_out=0.1, **kept).step("train").spec.settings["held_out"] == 0.2
    with pytest.raises(InputError, match="holds out 0.2 of the questions, not 0.3"):
        declared(lab, held_out=0.3, **kept)


def test_modules_of_a_base_that_is_not_there_are_not_checked(lab: PlanLab) -> None:
    """The plan says so."""
    warnings = " ".join(map(str, planner.warnings_of(declared(lab, lora_target="q_prj"))))
    assert "q_prj is not checked before it is on this host" in warnings


def test_findings_of_a_training_are_in_its_status(lab: PlanLab) -> None:
    run = declared(lab)
    lab.make(run)
    assert Engine(lab.layout.root).preview(run).findings == []
    finding = Message("training.loss_is_zero")
    lab.find(run, finding)
    view = Engine(lab.layout.root).preview(run)
    assert view.as_dict()["findings"] == [finding.as_dict()]


def test_nothing_to_do(lab: PlanLab) -> None:
    run = declared(lab)
    lab.make(run)
    plan = plan_of(lab, run)
    assert not plan["changed"] and plan["pending"] == []
    assert plan_text.text(plan) == "homelab-model: nothing to do\n"


def test_what_is_not_checked_is_said(lab: PlanLab) -> None:
    run = declared(lab)
    lab.make(run)
    view = Engine(lab.layout.root).preview(run)
    note = "not checked: Ollama is stopped for the training other"
    reason = Message("engine.not_checked", cause="Ollama is stopped for the training other")
    view.leave_unchecked({"gguf-q4_K_M": reason})
    plan = planning_plan.make_plan(lab.layout, run, view, MACHINE)
    assert not plan["changed"]
    assert plan_text.text(plan) == f"homelab-model: nothing to do ({note})\n"
    assert [step["unchecked"] for step in plan["steps"] if "unchecked" in step] == [note]
    messages = [step["unchecked_message"] for step in plan["steps"] if "unchecked_message" in step]
    assert messages == [reason.as_dict()]
    view.steps[0].state = StepState.NEEDED
    assert f"gguf-q4_K_M  kept ({note})\n" in plan_text.text(planning_plan.make_plan(lab.layout, run, view, MACHINE))


def test_changed_hyperparameter(lab: PlanLab) -> None:
    lab.make(declared(lab, learning_rate=1e-4))
    plan = plan_of(lab, declared(lab, lora_rank=8))
    assert why(plan) == {
        "train": ["learning_rate 0.0001 → 0.0002", "lora_rank 16 → 8"],
        "merge": ["made from another train"],
        "gguf-f16": ["made from another merge"],
        "gguf-q4_K_M": ["made from another merge"],
    }
    assert plan["previous"] == "2026-01-01T00:00:00Z"
    train = next(step for step in plan["steps"] if step["label"] == "train")
    assert train["changes"][0]["input"] == "learning_rate"
    # the base exists and is kept
    assert [step["state"] for step in plan["steps"] if step["label"] == "base"] == ["whole"]


def test_registered_model_and_its_16_bit_file(lab: PlanLab) -> None:
    """The 16-bit file is not an upstream of the registered model, but it belongs to the previous result."""
    lab.make(lab.plan(learning_rate=1e-4))
    assert why(plan_of(lab, lab.plan()))["gguf-f16"] == ["made from another merge"]


def test_llamafactory_arguments_are_compared_individually(lab: PlanLab, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import llamafactory_arguments

    monkeypatch.setattr(llamafactory_arguments, "check", lambda hyper, venv: hyper)
    lab.make(declared(lab, extra={"neftune_noise_alpha": 5}))
    plan = plan_of(lab, declared(lab, extra={"neftune_noise_alpha": 5, "optim": "adamw_8bit"}))
    assert why(plan)["train"] == ["extra.optim none → adamw_8bit"]


def test_changed_dataset_reports_row_counts(lab: PlanLab) -> None:
    before = lab.publish("homelab", rows(50))
    lab.make(declared(lab))
    changed = [*rows(53)]
    changed[7] = {**changed[7], "output": "Autre chose."}
    after = lab.publish("homelab", changed)
    plan = plan_of(lab, declared(lab))
    reason = f"dataset sha256 {before.fingerprint[:12]} → {after.fingerprint[:12]} (3 rows added, 1 changed)"
    assert why(plan)["train"] == [reason]


def test_unpublished_dataset_in_check_mode(lab: PlanLab) -> None:
    """In check mode the new version does not exist: the result of the module dataset is used instead."""
    before = lab.publish("homelab", rows(50))
    lab.make(declared(lab))
    answer = {
        "fingerprint": "e" * 64,
        "outcome": {"rows": 51, "bytes": 4000},
        "changes": {"compared": True, "added": 1, "removed": 0, "changed": 0},
    }
    raw = {"name": "homelab-model", "base_model": "qwen2.5:0.5b", "dataset": "homelab", "register": False}
    run = planner.plan(lab.layout, Request.finetune(raw), Host(Toolchain(), "cpu", {"homelab": answer}, write=False))
    provisional = saved_plan.provisional_datasets(lab.layout, {"homelab": answer})
    plan = plan_of(lab, run, provisional=provisional)
    assert why(plan)["train"] == [f"dataset sha256 {before.fingerprint[:12]} → eeeeeeeeeeee (1 row added)"]
    # without --diff only the number of rows is known
    provisional = saved_plan.provisional_datasets(lab.layout, {"homelab": {**answer, "changes": None}})
    plan = plan_of(lab, run, provisional=provisional)
    assert why(plan)["train"] == [f"dataset sha256 {before.fingerprint[:12]} → eeeeeeeeeeee (50 rows → 51)"]


def test_reordered_rows(lab: PlanLab) -> None:
    lab.make(declared(lab))
    lab.publish("homelab", rows(50)[::-1])
    assert why(plan_of(lab, declared(lab)))["train"][0].endswith("(the same rows in another order or form)")


def test_changed_base(lab: PlanLab) -> None:
    lab.make(declared(lab))
    plan = plan_of(lab, declared(lab, base_model="qwen2.5:7b"))
    assert why(plan)["base"] == ["hub Qwen/Qwen2.5-0.5B-Instruct → Qwen/Qwen2.5-7B-Instruct"]
    assert why(plan)["train"] == [
        "base Qwen/Qwen2.5-0.5B-Instruct@a09a35458c70 → Qwen/Qwen2.5-7B-Instruct@a09a35458c70"
    ]


def test_added_quantization(lab: PlanLab) -> None:
    lab.make(declared(lab))
    plan = plan_of(lab, declared(lab, quantizations=["q4_K_M", "q8_0"]))
    assert why(plan) == {"gguf-q8_0": ["new in this fine-tune"]}


def test_pruned_result(lab: PlanLab) -> None:
    run = declared(lab)
    lab.make(run)
    path = Path(lab.layout.artifact("gguf", run.step("gguf-q4_K_M").spec.fingerprint), "receipt.json")
    write_json(str(path), {**read_json(str(path)), "pruned_at": "2026-02-01T00:00:00Z"})
    assert why(plan_of(lab, run)) == {"gguf-q4_K_M": ["pruned"]}


def test_newest_result_is_compared(lab: PlanLab) -> None:
    lab.make(declared(lab, epochs=1), at="2026-01-01T00:00:00Z")
    lab.make(declared(lab, epochs=5), at="2026-03-01T00:00:00Z")
    lab.make(declared(lab, epochs=2), at="2026-02-01T00:00:00Z")
    plan = plan_of(lab, declared(lab, epochs=4))
    assert why(plan)["train"] == ["epochs 5 → 4"]
    assert plan["previous"] == "2026-03-01T00:00:00Z"


def test_fine_tunes_of_other_names_are_ignored(lab: PlanLab) -> None:
    lab.make(declared(lab, name="other", epochs=1))
    assert why(plan_of(lab, declared(lab)))["train"] == ["a new fine-tune"]


def test_changed_registration(lab: PlanLab) -> None:
    """Another system prompt changes the registration only and does not retrain."""
    lab.make(lab.plan(system="Tu es un assistant."))
    run = lab.plan(system="Tu es un assistant homelab.")
    view = Engine(lab.layout.root).preview(run)
    plan = planning_plan.make_plan(lab.layout, run, view, MACHINE)
    assert why(plan) == {"register-q4_K_M": ["system Tu es un assistant. → Tu es un assistant homelab."]}


# -- requirements --------------------------------------------------------------------------------------------------


def takes(plan: dict[str, t.Any], label: str) -> dict[str, t.Any]:
    return next(dict(step["takes"]) for step in plan["steps"] if step["label"] == label)


def test_disk_memory_and_time_of_each_step(lab: PlanLab) -> None:
    plan = plan_of(lab, declared(lab))
    assert takes(plan, "base")["disk_bytes"] == 999584000
    assert takes(plan, "merge")["disk_bytes"] == 0
    assert "ram_bytes" not in takes(plan, "merge")
    kept = plan_of(lab, declared(lab, keep_merged=True))
    assert 0.98e9 < takes(kept, "merge")["disk_bytes"] < 1.1e9
    assert 1.5e9 < takes(kept, "merge")["ram_bytes"] < 2e9
    assert 0.9e9 < takes(plan, "gguf-f16")["disk_bytes"] < 1.1e9
    assert takes(plan, "gguf-q4_K_M")["disk_bytes"] < 0.5e9
    assert 2e9 < takes(plan, "train")["ram_bytes"] < 4e9
    assert "seconds" not in takes(plan, "base")
    assert all(takes(plan, label)["seconds"] > 0 for label in ALL[1:])
    assert takes(plan, "train")["seconds_from"] == "worked out"


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({}, "on the way to the GGUF file, without merged weights"),
        ({"keep_merged": True}, "merged weights are written and kept"),
        ({"method": "full"}, "merged weights are written: the method full changes the base's own weights"),
    ],
)
def test_way_of_merging(lab: PlanLab, options: dict[str, t.Any], note: str) -> None:
    text = plan_text.text(plan_of(lab, declared(lab, **options)))
    assert any(note in line for line in text.splitlines())


def test_export_of_the_adapter_is_named_where_the_base_is_shared(lab: PlanLab) -> None:
    """Once another fine-tune was trained on it, if much disk is saved and the adapter may be exported."""
    big = {"base_model": "qwen2.5:7b"}
    assert "export: adapter" not in plan_text.text(plan_of(lab, declared(lab, **big)))
    lab.make(declared(lab, name="other", learning_rate=1e-4, **big))
    text = plan_text.text(plan_of(lab, declared(lab, **big)))
    assert "export: adapter would write " in text and "because its base is shared with other, for answers" in text
    full = declared(lab, **big, method="full", memory_check="warn")
    assert "export: adapter" not in plan_text.text(plan_of(lab, full))
    small = plan_text.text(plan_of(lab, declared(lab)))
    assert "export: adapter" not in small, "it has another base"


def test_gpu_memory_is_compared_with_free_memory(lab: PlanLab) -> None:
    gpu = Gpu(0, "NVIDIA GeForce RTX 4090", 24564 * 2**20, 3000 * 2**20)
    machine = host.Machine("cuda", [gpu])
    run = declared(lab, base_model="qwen2.5:7b", method="qlora", accelerator="cuda")
    plan = plan_of(lab, run, machine)
    assert plan["host"]["vram_bytes"] == gpu.total_bytes
    assert 8e9 < takes(plan, "train")["vram_bytes"] < 13e9
    assert any("are free now: another process uses the GPU" in warning for warning in plan["warnings"])
    # fifty rows of fifty characters, three epochs: most of the time is spent on imports
    assert 10 < takes(plan, "train")["seconds"] < 30


def test_previous_duration_is_used_for_the_estimate(lab: PlanLab) -> None:
    """The training time scales with the tokens; the overhead of the previous training is kept."""
    lab.make(declared(lab, learning_rate=1e-4, epochs=3), at="2026-01-01T00:01:00Z")
    assert takes(plan_of(lab, declared(lab, epochs=3)), "train")["seconds"] == 60.0
    requirements = takes(plan_of(lab, declared(lab, epochs=6)), "train")
    assert (requirements["seconds"], requirements["seconds_from"]) == (120.0, "the last time")
    lab.make(declared(lab, learning_rate=3e-4, epochs=3), at="2026-01-01T00:01:30Z")
    assert takes(plan_of(lab, declared(lab, epochs=6)), "train")["seconds"] == 150.0, (
        "half a minute of overhead to start and to save"
    )
    # the previous duration does not apply to another method
    assert takes(plan_of(lab, declared(lab, method="full")), "train")["seconds_from"] == "worked out"


def test_plan_as_text(lab: PlanLab) -> None:
    lab.make(declared(lab, learning_rate=1e-4))
    text = plan_text.text(plan_of(lab, declared(lab)))
    lines = text.splitlines()
    assert lines[0] == "homelab-model: 4 of 5 steps would run"
    assert lines[1].split() == ["base", "kept"]
    assert lines[2].split(None, 1) == ["train", "learning_rate 0.0001 → 0.0002"]
    assert "RAM 3.0 GB, disk " in lines[3] and lines[3].endswith("about 60 s (as the last time)")
    assert lines[-1].startswith("In all: disk ") and ", RAM 3.0 GB of " in lines[-1]
    assert lines[-1].rpartition(", ")[2].startswith("about ")


def test_time_of_a_download_is_unknown_and_a_directory_needs_none(lab: PlanLab) -> None:
    plan = plan_of(lab, declared(lab))
    assert plan_text.text(plan).splitlines()[-1].endswith(", downloads and what is not known left out")
    next(step for step in plan["steps"] if step["label"] == "base")["takes"] = {"disk_bytes": 0}
    assert "left out" not in plan_text.text(plan)


def test_plan_shows_the_reason_of_method_auto(lab: PlanLab) -> None:
    text = plan_text.text(plan_of(lab, declared(lab, method="auto")))
    assert text.startswith("homelab-model: 5 of 5 steps would run (lora: no GPU: quantized training needs one)")


# -- saved plans ---------------------------------------------------------------------------------------------------


def check(lab: PlanLab, saved: list[dict[str, t.Any]], *runs: Run) -> None:
    engine = Engine(lab.layout.root)
    saved_plan.check_saved(lab.layout, saved, [(run, engine.preview(run)) for run in runs])


def refused(lab: PlanLab, saved: dict[str, t.Any], *runs: Run) -> str:
    with pytest.raises(InputError) as caught:
        check(lab, [saved], *runs)
    assert caught.value.message.startswith("The plan is stale: ")
    return caught.value.message


def test_current_plan_is_accepted(lab: PlanLab) -> None:
    run = declared(lab)
    saved = plan_of(lab, run)
    check(lab, [saved], run)
    # some steps are complete: the plan is in progress
    lab.make(run, only=("base", "train"))
    check(lab, [saved], run)
    lab.make(run)
    check(lab, [saved], run)


def test_stale_plan_is_refused_with_the_changes(lab: PlanLab) -> None:
    saved = plan_of(lab, declared(lab))
    assert "homelab-model: train: learning_rate 0.0002 → 0.0001" in refused(
        lab, saved, declared(lab, learning_rate=1e-4)
    )
    assert "gguf-q8_0 was not part of it" in refused(lab, saved, declared(lab, quantizations=["q8_0"]))
    assert "gguf-q4_K_M is no longer wanted" in refused(lab, saved, declared(lab, quantizations=["q8_0"]))
    assert "other was not part of it" in refused(lab, saved, declared(lab), declared(lab, name="other"))
    assert "homelab-model is no longer declared" in refused(lab, saved)
    message = refused(lab, saved, declared(lab, base_model="qwen2.5:7b"))
    assert "train: base Qwen/Qwen2.5-0.5B-Instruct@a09a35458c70 → Qwen/Qwen2.5-7B-Instruct@a09a35458c70" in message
    # steps that only follow from that change are not reported
    assert "merge" not in message


def test_changed_rows_make_a_plan_stale(lab: PlanLab) -> None:
    saved = plan_of(lab, declared(lab))
    lab.publish("homelab", rows(51))
    assert "train: dataset sha256" in refused(lab, saved, declared(lab))
    assert "(1 row added)" in refused(lab, saved, declared(lab))


def test_additional_pending_steps_make_a_plan_stale(lab: PlanLab) -> None:
    lab.make(declared(lab, learning_rate=1e-4))
    run = declared(lab)
    saved = plan_of(lab, run)
    base = Path(lab.layout.artifact("base", run.step("base").spec.fingerprint), "receipt.json")
    base.unlink()
    assert "base was there and is not: not made yet" in refused(lab, saved, run)


def test_changed_aliases_make_a_plan_stale(lab: PlanLab) -> None:
    run = lab.plan()
    saved = planning_plan.make_plan(lab.layout, run, Engine(lab.layout.root).preview(run), MACHINE)
    assert "aliases latest → stable" in refused(lab, saved, lab.plan(aliases=["stable"]))


@pytest.mark.parametrize("saved", [{"schema": 99, "steps": []}, {"schema": 1}, {}])
def test_invalid_plans_are_refused(lab: PlanLab, saved: dict[str, t.Any]) -> None:
    with pytest.raises(InputError, match="no plan that this version"):
        check(lab, [{"name": "homelab-model", **saved}], declared(lab))
