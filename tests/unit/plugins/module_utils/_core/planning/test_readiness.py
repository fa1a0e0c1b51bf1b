# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that cannot reach their end, for want of disk or a server, are refused before anything runs."""

from __future__ import annotations

import dataclasses
import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError, NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning import readiness
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import Goal
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.plans import plans_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import memory
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.memory import Ram
from ansible_collections.ia_homelab.llamafactory.tests.support.fake_ollama import fake_ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, rows

SILENT = "http://127.0.0.1:9"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanLab:
    """A host with prompts and no results, with enough memory regardless of the machine that runs the tests."""
    monkeypatch.setattr(memory, "ram", lambda: Ram(64 * 10**9, 60 * 10**9, 0))
    plan_lab = PlanLab(tmp_path)
    plan_lab.publish("homelab", rows(300))
    return plan_lab


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> t.Callable[[int], None]:
    """Sets the free space of every filesystem."""

    def has(size: int) -> None:
        monkeypatch.setattr(readiness, "free_bytes", lambda _path: size)

    has(10**13)
    return has


def served(run: Run, url: str) -> Run:
    """The run with another Ollama server."""
    return dataclasses.replace(run, toolchain=Toolchain(ollama_url=url))


def to_make(run: Run, *labels: str) -> list[t.Any]:
    """Steps of a run for :func:`readiness.peak_disk`."""
    return [(run, run.step(label)) for label in labels]


# -- disk --------------------------------------------------------------------------------------------------------------


def test_too_little_disk_is_refused_before_anything_runs(lab: PlanLab, free: t.Callable[[int], None]) -> None:
    run, engine = lab.plan(register=False), Engine(lab.layout.root)
    assert engine.check_start([run]) == []
    free(10**9)
    before = lab.tree()
    with pytest.raises(NotReadyError, match="Nothing was started") as caught:
        engine.check_start([run])
    assert "homelab-model: the steps still to be made need about 2." in caught.value.message
    assert f"1.0 GB are free at {lab.layout.root}." in caught.value.message
    assert "preflight_check: warn" in caught.value.hint
    assert lab.tree() == before and engine.store.active() == []


def test_the_check_may_only_warn(lab: PlanLab, free: t.Callable[[int], None]) -> None:
    free(10**9)
    run, engine = lab.plan(register=False, preflight_check="warn"), Engine(lab.layout.root)
    (warning,) = engine.check_start([run])
    assert warning.code == "planning.disk_short"
    assert run.id == lab.plan(register=False).id, "the check is no part of what is made"


def test_check_mode_tells_the_same(lab: PlanLab, free: t.Callable[[int], None]) -> None:
    free(10**9)
    run, engine = lab.plan(register=False), Engine(lab.layout.root)
    (plan,) = plans_of(lab.layout, [(run, engine.preview(run))], "cpu", obstacles=engine.obstacles([run]))
    assert any("the steps still to be made need about 2." in warning for warning in plan["warnings"])


def test_only_steps_still_to_be_made_count(lab: PlanLab, free: t.Callable[[int], None]) -> None:
    run, engine = lab.plan(register=False), Engine(lab.layout.root)
    lab.make(run, only=["base", "train", "merge", "gguf-f16"])
    needed = run.step("train").spec.options["estimate"]["disk"]["gguf-q4_K_M"]
    free(needed)
    assert engine.check_start([run]) == []
    free(needed - 1)
    with pytest.raises(NotReadyError, match="Nothing was started"):
        engine.check_start([run])
    lab.make(run)
    assert engine.check_start([run]) == [], "nothing is left to be made"


def test_checkpoints_are_gone_when_the_next_step_begins(lab: PlanLab) -> None:
    run = lab.plan(register=False, method="full", learning_rate=1e-5)
    disk, kept = (run.step("train").spec.options["estimate"][name] for name in ("disk", "kept"))
    assert kept["train"] < disk["train"] / 4
    needed = readiness.peak_disk(lab.layout, to_make(run, "train", "merge", "gguf-f16"))
    assert needed == max(disk["train"], kept["train"] + disk["merge"] + disk["gguf-f16"])


def test_what_is_written_already_is_not_needed_again(lab: PlanLab) -> None:
    run = lab.plan(register=False)
    work = Path(lab.layout.work("base", run.step("base").spec.fingerprint))
    work.mkdir(parents=True)
    needed = readiness.peak_disk(lab.layout, to_make(run, "base"))
    with open(work / "model.safetensors", "wb") as stream:
        stream.truncate(5_000_000)
    assert readiness.peak_disk(lab.layout, to_make(run, "base")) == needed - 5_000_000


def test_all_runs_of_an_apply_share_the_disk(lab: PlanLab, free: t.Callable[[int], None]) -> None:
    """Each would fit alone. Their base is fetched once."""
    runs, engine = [lab.plan(name=name, register=False) for name in ("one", "two")], Engine(lab.layout.root)
    other = [lab.plan(name="two", register=False, lora_rank=8)]
    alone = readiness.peak_disk(lab.layout, readiness.steps_to_make([(runs[0], engine.preview(runs[0]).pending)]))
    free(alone)
    for each in (runs[:1], other, runs):
        assert engine.check_start(each) == [], "both make the same, and make it once"
    with pytest.raises(NotReadyError, match="one, two: the steps"):
        engine.check_start([*runs[:1], *other])
    steps = readiness.steps_to_make([(run, [step.label for step in run.steps]) for run in [*runs[:1], *other]])
    assert [step.spec.kind for _run, step in steps].count("base") == 1


def test_a_local_base_takes_no_disk(lab: PlanLab) -> None:
    run = lab.plan(register=False)
    spec = run.step("base").spec
    local = dataclasses.replace(run.step("base"), spec=dataclasses.replace(spec, options={"location": "/srv/base"}))
    assert readiness.disk_of(run, local) == 0
    assert readiness.disk_of(run, run.step("base")) == spec.options["bytes"]


# -- the server --------------------------------------------------------------------------------------------------------


def test_a_silent_server_is_refused_before_the_training(lab: PlanLab, free: t.Callable[[int], None]) -> None:
    run, engine = served(lab.plan(), SILENT), Engine(lab.layout.root)
    with pytest.raises(NotReadyError, match="the last steps need Ollama at http://127.0.0.1:9, which does not answer"):
        engine.check_start([run])
    for other in (lab.plan(register=False), lab.plan(goal=Goal.TRAIN)):
        assert engine.check_start([served(other, SILENT)]) == [], "it needs no server"
    (warning,) = engine.check_start([served(lab.plan(preflight_check="warn"), SILENT)])
    assert warning.code == "planning.server_silent"
    with fake_ollama() as server:
        assert engine.check_start([served(run, server.url)]) == []
    lab.make(run)
    assert engine.check_start([run]) == [], "whether it has drifted is another question"


def test_a_server_that_is_stopped_for_a_training_comes_back(lab: PlanLab, free: t.Callable[[int], None]) -> None:
    run = served(lab.plan(), SILENT)
    pending = [(run, ["train", "register-q4_K_M"])]
    assert readiness.obstacles(lab.layout, pending, lambda _layout, _url: "other-model") == []
    assert [each.code for each in readiness.obstacles(lab.layout, pending, lambda _layout, _url: "")] == [
        "planning.server_silent"
    ]


def test_a_server_that_a_training_restarts_is_no_obstacle(lab: PlanLab, free: t.Callable[[int], None]) -> None:
    """With the policy cpu it is restarted twice; the record is that of a job that runs."""
    run, engine = served(lab.plan(), SILENT), Engine(lab.layout.root)
    job = Path(lab.layout.path("jobs", "active", "other-1", "train-1"))
    job.mkdir(parents=True)
    server = {"is_ollama": True, "kind": "unit", "name": "ia-homelab-absent.service"}
    lease = {"job": "other-1/train-1", "name": "other", "policy": "cpu", "ollama_url": SILENT, "servers": [server]}
    write_json(lab.layout.path("jobs", "gpu_loan.json"), lease)
    assert engine.check_start([run]) == []
    write_json(str(job / "outcome.json"), {"state": "succeeded"})
    with pytest.raises(NotReadyError, match="does not answer"):
        engine.check_start([run])


@pytest.mark.parametrize("shared", [True, False])
def test_models_of_the_server_take_disk_where_they_are(
    lab: PlanLab, free: t.Callable[[int], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared: bool
) -> None:
    """On the same filesystem they are added to the other steps; on another, that one has to have room."""
    store = tmp_path / "ollama"
    store.mkdir()
    monkeypatch.setattr(readiness, "local_models_directory", lambda _server: str(store))
    if not shared:
        monkeypatch.setattr(readiness, "_same_filesystem", lambda _one, _other: False)
    with fake_ollama() as server:
        run, engine = served(lab.plan(), server.url), Engine(lab.layout.root)
        lab.make(run, only=["base", "train", "merge", "gguf-f16"])
        disk = run.step("train").spec.options["estimate"]["disk"]
        both = disk["gguf-q4_K_M"] + disk["register-q4_K_M"]
        free(both if shared else disk["register-q4_K_M"])
        assert engine.check_start([run]) == []
        free((both if shared else disk["register-q4_K_M"]) - 1)
        with pytest.raises(NotReadyError, match=str(lab.layout.root if shared else store)):
            engine.check_start([run])


# -- who is not asked --------------------------------------------------------------------------------------------------


def test_single_steps_and_runs_in_the_queue_are_left_out(lab: PlanLab, free: t.Callable[[int], None]) -> None:
    """A single step begins with what would fail, and a run in the queue has begun."""
    free(0)
    engine, run = Engine(lab.layout.root), lab.plan(register=False)
    assert engine.check_start([dataclasses.replace(run, declaration={})]) == []
    engine.store.prepare()
    with engine.store.lock():
        engine.store.enqueue(dataclasses.replace(run, seq=1, round=1))
    assert engine.obstacles([run]) == []
    assert engine.check_start([run]) == []


# -- memory ------------------------------------------------------------------------------------------------------------


def test_ram_is_that_of_the_steps_that_are_made(lab: PlanLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter that is not merged needs no memory for merging."""
    big: dict[str, t.Any] = {"accelerator": "cuda", "base_model": "qwen2.5:7b", "method": "qlora"}
    full = lab.plan(**big, keep_merged=True).step("train").spec.options["estimate"]["ram"]
    assert full["train"] < full["merge"]
    monkeypatch.setattr(memory, "ram", lambda: Ram(full["merge"] - 1, full["merge"] - 1, 0))
    with pytest.raises(InputError, match="The step merge takes about"):
        lab.plan(**big, keep_merged=True)
    assert lab.plan(**big).steps, "it is merged on the way"
    assert lab.plan(**big, export="adapter").steps
    assert lab.plan(**big, goal=Goal.TRAIN).steps


def test_the_plan_has_the_peak_of_memory_over_the_steps_to_make(
    lab: PlanLab, monkeypatch: pytest.MonkeyPatch, free: t.Callable[[int], None]
) -> None:
    def plan() -> dict[str, t.Any]:
        run, engine = lab.plan(register=False), Engine(lab.layout.root)
        return plans_of(lab.layout, [(run, engine.preview(run))], "cpu")[0]

    made = plan()
    takes = [step["takes"] for step in made["steps"] if step["runs"]]
    assert made["needs"]["disk_bytes"] == sum(each["disk_bytes"] for each in takes)
    assert made["needs"]["ram_bytes"] == max(each["ram_bytes"] for each in takes if "ram_bytes" in each)
    lab.make(lab.plan(register=False), only=["base", "train"])
    left = plan()
    assert left["needs"]["disk_bytes"] == made["needs"]["disk_bytes"] - sum(each["disk_bytes"] for each in takes[:2])
    merging = left["needs"]["ram_bytes"]
    assert not any("memory" in warning for warning in left["warnings"])
    # it has been trained, so it is not refused; but what is left does not fit
    monkeypatch.setattr(memory, "ram", lambda: Ram(merging - 2000, merging - 2000, 1000))
    assert any("the largest of its steps takes about" in warning for warning in plan()["warnings"])


def test_the_password_of_a_server_is_used_and_not_shown(
    lab: PlanLab, free: t.Callable[[int], None], tmp_path: Path
) -> None:
    run, engine = served(lab.plan(), "http://me:secret@127.0.0.1:9"), Engine(lab.layout.root)
    (found,) = engine.obstacles([run])
    assert found.code == "planning.server_silent" and "http://127.0.0.1:9" in str(found)
    assert "secret" not in json.dumps(found.as_dict())
    password = tmp_path / "password"
    password.write_text("me:secret")
    stored = dataclasses.replace(run, toolchain=Toolchain(ollama_url=SILENT, ollama_password_file=str(password)))
    asked: list[str] = []

    def stopped_for(_layout: t.Any, url: str) -> str:
        asked.append(url)
        return "a training"

    assert readiness.obstacles(lab.layout, [(stored, {"register-q4_K_M"})], stopped_for) == []
    assert asked == ["http://me:secret@127.0.0.1:9"], "a run that was stored has the password in a file"
