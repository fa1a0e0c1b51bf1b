# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fine-tune on a machine: the resolution of auto, which is stored, and the memory check."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models.names import resolve
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates import host
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import Goal
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import warnings_of
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import memory
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.gpus import Gpu
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training.hyperparameters import normalise
from ansible_collections.ia_homelab.llamafactory.tests.support.plan_lab import PlanLab, nvidia_smi, rows

BIG = "qwen2.5:7b"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlanLab:
    """A host with fifty prompts and enough memory, independent of the machine that runs the tests."""
    monkeypatch.setattr(memory, "ram", lambda: memory.Ram(64 * 10**9, 60 * 10**9, 0))
    plan_lab = PlanLab(tmp_path)
    plan_lab.publish("homelab", rows(50))
    return plan_lab


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[int], None]:
    """Installs a simulated GPU with the given memory in MiB."""

    def install(total: int) -> None:
        directory = nvidia_smi(tmp_path / "bin", total, total - 400)
        monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")

    return install


def method_of(lab: PlanLab, **declared: t.Any) -> tuple[str, str]:
    options = (
        lab.plan(**{"accelerator": "cuda", "method": "auto", "base_model": BIG, **declared}).step("train").spec.options
    )
    return options["resolved"]["method"], options["method_reason"]


# -- method: auto --------------------------------------------------------------------------------------------------


def test_auto_is_resolved_with_a_reason(lab: PlanLab, gpu: t.Callable[[int], None]) -> None:
    gpu(24564)
    method, reason = method_of(lab)
    assert method == "lora"
    assert "25.8 GB of GPU memory" in reason and "lora takes about" in reason


def test_auto_keeps_its_decision(lab: PlanLab, gpu: t.Callable[[int], None]) -> None:
    gpu(12288)
    assert method_of(lab)[0] == "qlora"
    gpu(81920)
    method, reason = method_of(lab)
    assert method == "qlora"
    assert "12.9 GB" in reason and "decided" in reason
    # also without a driver
    assert method_of(lab, accelerator="cpu")[0] == "qlora"


@pytest.mark.parametrize("change", [{"lora_rank": 8}, {"base_model": "qwen2.5:0.5b"}, {"epochs": 4}])
def test_a_changed_input_causes_a_new_decision(
    lab: PlanLab, gpu: t.Callable[[int], None], change: dict[str, t.Any]
) -> None:
    gpu(12288)
    assert method_of(lab)[0] == "qlora"
    gpu(81920)
    assert method_of(lab, **change)[0] == "lora"
    assert method_of(lab)[0] == "qlora"


def test_changed_rows_cause_a_new_decision(lab: PlanLab, gpu: t.Callable[[int], None]) -> None:
    gpu(12288)
    assert method_of(lab)[0] == "qlora"
    gpu(81920)
    lab.publish("homelab", rows(51))
    assert method_of(lab)[0] == "lora"


def test_options_that_do_not_change_the_result_are_ignored(lab: PlanLab, gpu: t.Callable[[int], None]) -> None:
    gpu(12288)
    assert method_of(lab)[0] == "qlora"
    gpu(81920)
    # another spelling, a default value, or an operational option
    assert method_of(lab, learning_rate="2e-4", save_steps=7, quantizations=["q8_0"], name="other")[0] == "qlora"


def test_check_mode_stores_no_decision(lab: PlanLab, gpu: t.Callable[[int], None]) -> None:
    gpu(12288)
    before = lab.tree()
    run = lab.plan("cuda", write=False, method="auto", base_model=BIG)
    assert run.step("train").spec.settings == {"method": "qlora", "template": "qwen"}
    assert lab.tree() == before
    gpu(81920)
    assert method_of(lab)[0] == "lora"


def test_method_of_an_existing_training_is_kept(lab: PlanLab, gpu: t.Callable[[int], None]) -> None:
    """An upgrade of the collection must not cause a retraining: earlier versions did not store decisions."""
    gpu(81920)
    lab.make(lab.plan("cuda", method="lora", base_model=BIG))
    gpu(12288)
    assert method_of(lab)[0] == "lora"


def test_declared_method_is_not_stored(lab: PlanLab) -> None:
    before = lab.tree()
    lab.plan(method="lora")
    assert lab.tree() == before


def test_full_for_many_rows_and_a_low_learning_rate(lab: PlanLab, gpu: t.Callable[[int], None]) -> None:
    gpu(24564)
    lab.publish("homelab", rows(1000))
    assert method_of(lab, base_model="qwen2.5:0.5b", learning_rate=1e-5)[0] == "full"


# -- memory check --------------------------------------------------------------------------------------------------


def test_misfit_is_rejected_with_a_suggestion(lab: PlanLab, gpu: t.Callable[[int], None]) -> None:
    gpu(12288)
    with pytest.raises(InputError) as caught:
        lab.plan("cuda", base_model=BIG)
    assert caught.value.message.startswith("homelab-model: This training takes about ")
    assert "the GPU has 12.9 GB" in caught.value.message
    assert "The nearest that fits: method: qlora (" in caught.value.hint
    assert "memory_check: warn" in caught.value.hint


def test_misfit_is_a_warning_with_memory_check_warn(lab: PlanLab, gpu: t.Callable[[int], None]) -> None:
    gpu(12288)
    run = lab.plan("cuda", base_model=BIG, memory_check="warn")
    assert any("The nearest that fits" in str(warning) for warning in warnings_of(run))
    # memory_check does not change the fingerprint
    gpu(81920)
    assert lab.plan("cuda", base_model=BIG).id == run.id


def test_existing_training_is_never_rejected(lab: PlanLab, gpu: t.Callable[[int], None]) -> None:
    gpu(81920)
    run = lab.plan("cuda", base_model=BIG)
    lab.make(run)
    gpu(12288)
    assert lab.plan("cuda", base_model=BIG).id == run.id


def test_single_step_is_checked_too(lab: PlanLab, gpu: t.Callable[[int], None]) -> None:
    gpu(12288)
    with pytest.raises(InputError, match="This training takes about"):
        lab.plan("cuda", goal=Goal.TRAIN, name="x", base_model=BIG)
    assert lab.plan("cuda", goal=Goal.TRAIN, name="x", base_model=BIG, memory_check="warn").name == "x"


def test_invalid_memory_check(lab: PlanLab) -> None:
    with pytest.raises(InputError, match="memory_check must be one of enforce, warn, not 'never'"):
        lab.plan(memory_check="never")


def test_driver_without_gpus(lab: PlanLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert lab.plan("cuda", base_model=BIG).name == "homelab-model"
    method, reason = method_of(lab)
    assert method == "lora" and "no GPU whose memory is known" in reason


def test_not_enough_ram_to_merge(lab: PlanLab) -> None:
    subject = host.Subject("b" * 64, "d" * 64, resolve(BIG).shape, {"rows": 50}, BIG)
    gpu = Gpu(0, "big", 80 * 2**30, 80 * 2**30)
    hyper = normalise({"method": "lora", "keep_merged": True})
    machine = host.Machine("cuda", [gpu], memory.Ram(8 * 10**9, 8 * 10**9, 0))
    misfit = host.misfit(hyper, subject, machine, host.estimate_resources(hyper, subject, machine))
    assert misfit is not None
    assert misfit.message == "The step merge takes about 15.9 GB of the machine's memory, which has 8.0 GB and no swap."
    assert misfit.hint == "Add memory or swap. The nearest that fits: keep_merged: false (4.8 GB)."
    enlarged = normalise({"method": "lora", "extra": {"resize_vocab": True}})
    misfit = host.misfit(enlarged, subject, machine, host.estimate_resources(enlarged, subject, machine))
    assert misfit is not None
    assert "base_model: qwen2.5:" in misfit.hint
    merged_on_the_way = normalise({"method": "lora"})
    assert (
        host.misfit(merged_on_the_way, subject, machine, host.estimate_resources(merged_on_the_way, subject, machine))
        is None
    )
    machine = host.Machine("cuda", [gpu], memory.Ram(8 * 10**9, 8 * 10**9, 16 * 10**9))
    assert host.misfit(hyper, subject, machine, host.estimate_resources(hyper, subject, machine)) is None


def test_not_enough_ram_to_train_on_a_cpu(lab: PlanLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ram", lambda: memory.Ram(4 * 10**9, 4 * 10**9, 0))
    lab.publish("homelab", [{"instruction": "x" * 5000, "output": "y"}])
    with pytest.raises(InputError, match="The step train takes about .* has 4.0 GB") as caught:
        lab.plan(batch_size=8)
    assert "The nearest that fits: batch_size: " in caught.value.hint
    assert "qlora" not in caught.value.hint


def test_the_smallest_gpu_that_trains_counts() -> None:
    cards = [Gpu(0, "a", 12 * 2**30, 11 * 2**30), Gpu(1, "b", 24 * 2**30, 20 * 2**30)]
    machine = host.Machine("cuda", cards)
    assert (machine.gpu_total(), machine.gpu_free()) == (24 * 2**30, 20 * 2**30)
    assert (machine.gpu_total(2), machine.gpu_free(2)) == (12 * 2**30, 11 * 2**30)
    assert host.Machine("cpu", cards).gpu_total() is None


def test_gpus_that_are_not_there(lab: PlanLab, gpu: t.Callable[[int], None]) -> None:
    """They are missed when it is planned; with one, nothing is asked."""
    with pytest.raises(InputError, match="gpus: 2 has no effect: this host trains on the CPU"):
        lab.plan("cpu", gpus=2)
    gpu(24564)
    with pytest.raises(InputError, match="gpus: 2 is declared, and the driver of this host reports 1") as caught:
        lab.plan("cuda", gpus=2)
    assert caught.value.hint == "Declare gpus: 1."
    one, two = (lab.plan("cuda", gpus=count).step("train").spec.fingerprint for count in (1, "1"))
    assert one == two == lab.plan("cuda").step("train").spec.fingerprint


def test_the_number_of_gpus_is_part_of_the_training(lab: PlanLab, monkeypatch: pytest.MonkeyPatch) -> None:
    cards = [Gpu(index, "x", 24 * 10**9, 24 * 10**9) for index in range(2)]
    monkeypatch.setattr(host.system_gpus, "gpus", lambda: cards)
    spec = lab.plan("cuda", gpus=2).step("train").spec
    assert spec.settings["gpus"] == 2
    assert spec.fingerprint != lab.plan("cuda").step("train").spec.fingerprint
    assert spec.options["optimizer_steps"] == lab.plan("cuda").step("train").spec.options["optimizer_steps"]


def test_estimate_is_stored_with_the_training(lab: PlanLab, gpu: t.Callable[[int], None]) -> None:
    gpu(24564)
    estimate = lab.plan("cuda", base_model=BIG).step("train").spec.options["estimate"]
    assert estimate["vram"]["planned"] > estimate["vram"]["raw"] > 16e9
    # the rows have about fifty characters, far below the cutoff
    assert estimate["length"] < 300


def test_invalid_decisions_file_is_ignored(lab: PlanLab) -> None:
    path = os.path.join(lab.layout.parent("train"), "methods.json")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_text("[]")
    assert lab.plan(method="auto").step("train").spec.options["resolved"]["method"] == "lora"


# -- the rule for stored estimates -------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [4096, 8188, 12288, 16376, 24564, 49140])
@pytest.mark.parametrize("method", ["qlora", "lora", "full"])
def test_a_stored_estimate_fits_by_the_rule_by_which_a_training_is_refused(
    lab: PlanLab, gpu: t.Callable[[int], None], total: int, method: str
) -> None:
    gpu(total)
    spec = lab.plan(accelerator="cuda", method=method, base_model=BIG, memory_check="warn").step("train").spec
    found = host.fits(spec.options["estimate"], host.inspect_machine("cuda"))
    try:
        lab.plan(accelerator="cuda", method=method, base_model=BIG)
    except InputError:
        assert found is False
    else:
        assert found is True


def test_whether_it_fits_may_be_unknown() -> None:
    small = {"vram": None, "ram": {"train": 1, "merge": 1}, "unknown": []}
    ram = memory.Ram(2, 2, 0)
    assert host.fits(small, host.Machine("cpu", (), ram)) is True
    assert host.fits({**small, "ram": {"train": 1, "merge": 3}}, host.Machine("cpu", (), ram)) is False
    too_large = {**small, "ram": {"train": 1, "merge": 3, "gguf": 3}}
    assert host.fits(too_large, host.Machine("cpu", (), ram), merges=False) is True, "only the adapter is wanted"
    on_gpu = {**small, "vram": {"planned": 1}}
    assert host.fits(on_gpu, host.Machine("cuda", (), ram)) is None, "there is no GPU"
    gpus = (Gpu(0, "GPU", 48 * 10**9, 1), Gpu(1, "GPU", 24 * 10**9, 1))
    assert host.fits(on_gpu, host.Machine("cuda", gpus, ram)) is True
    assert host.fits({**on_gpu, "unknown": ["optim"]}, host.Machine("cuda", gpus, ram)) is None
    between = {**on_gpu, "vram": {"planned": 30 * 10**9}}
    assert host.fits(between, host.Machine("cuda", gpus, ram)) is True, "one GPU is used, the largest"
    assert host.fits(between, host.Machine("cuda", gpus, ram), gpus=2) is False, "of several the smallest counts"
