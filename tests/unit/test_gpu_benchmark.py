# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark ``gpu`` without a GPU: it refuses, and what needs none is right."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu() -> t.Any:
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("gpu_benchmark", BENCHMARK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_benchmark"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["gpu_benchmark"]


def test_without_a_gpu_nothing_is_run(tmp_path: Path) -> None:
    """It ends at once, says why, and leaves nothing."""
    environment = {"PATH": str(tmp_path / "no-driver"), "IA_BENCHMARK_DIR": str(tmp_path), "IA_LF_VENV": "/nowhere"}
    done = subprocess.run(
        [sys.executable, str(BENCHMARK)], env={**environment, "PYTHONDONTWRITEBYTECODE": "1"}, cwd=tmp_path,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr == "There is no GPU here: the NVIDIA driver reports none. Nothing was run.\n"
    assert os.listdir(tmp_path) == []


def test_refusals(gpu: t.Any, tmp_path: Path) -> None:
    card = gpu.gpus.Gpu(0, "x", 24 * 10**9, 0)
    assert "IA_LF_VENV" in gpu.refusal([card], str(tmp_path))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    assert gpu.refusal([card], str(tmp_path)) == ""
    assert "no GPU" in gpu.refusal([], str(tmp_path))


@pytest.mark.parametrize(
    ("method", "size", "layers"), [("qlora", 24e9, 28), ("lora", 24e9, 28), ("full", 24e9, 3), ("full", 200e9, 28)]
)
def test_as_many_layers_as_fit(gpu: t.Any, method: str, size: float, layers: int) -> None:
    """By the same estimate that refuses a training."""
    shape = gpu.largest_that_fits(method, int(size))
    assert shape.layers == layers
    assert gpu.fit.required_vram(shape, gpu.declared(method), gpu.LENGTH) <= gpu.fit.budget(int(size))
    if layers < 28:
        more = gpu.with_layers(shape, layers + 1)
        assert gpu.fit.required_vram(more, gpu.declared(method), gpu.LENGTH) > gpu.fit.budget(int(size))
    assert gpu.largest_that_fits("full", 2 * 10**9) is None


def test_the_declarations_are_valid(gpu: t.Any) -> None:
    for method in gpu.METHODS:
        entry = {"name": "x", "base_model": "/b", "dataset": "rows", **gpu.declared(method)}
        request = gpu.Request.finetune(entry, gpu.Goal.TRAIN)
        assert request.declared.hyper["gpus"] == 1
    assert len(gpu.rows()) == gpu.ROWS == len({row["instruction"] for row in gpu.rows()})
    # a token is at most a number here
    assert all(len(row["output"].split()) >= gpu.LENGTH for row in gpu.rows())


def test_error_of_the_time_left(gpu: t.Any) -> None:
    """What was shown at half of the steps, against what it took from there."""
    samples = [gpu.Sample(float(step), step, 20, 1.2 * (20 - step)) for step in range(21)]
    assert gpu.eta_error(samples) == pytest.approx(0.2)
    assert gpu.eta_error(samples[:15]) is None, "it did not end"
    assert gpu.eta_error([gpu.Sample(1.0, 5, 10, None), gpu.Sample(2.0, 10, 10, 0.0)]) is None
    assert gpu.eta_error([]) is None


def test_missed_goals(gpu: t.Any) -> None:
    good = gpu.Measured("lora", 28, 7 * 10**9, "succeeded", 105, 100, 0.1, 60.0, 50.0, 1)
    assert good.problems() == [] and good.memory_error == pytest.approx(0.05)
    bad = gpu.Measured("full", 2, 10**9, "succeeded", 70, 100, -0.5, None, None, 2)
    problems = bad.problems()
    assert [problem.split(": ")[0] for problem in problems] == ["full"] * 3
    assert "memory is off by -30%" in problems[0] and "time left is off by -50%" in problems[1]
    assert gpu.Measured("x", 1, 1, "out of time").problems() == ["x: out of time"]
    assert gpu.Measured("x", 0, 0, "does not fit").problems() == [], "a small GPU is no fault of an estimate"


def test_table(gpu: t.Any) -> None:
    known = gpu.Measured("lora", 28, 7615616512, "succeeded", 18 * 10**9, 17 * 10**9, 0.04, 61.0, 55.4, 1)
    lines = gpu.table([known, gpu.Measured("full", 0, 0, "does not fit")])
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2] == "| lora | 28 | 7.6 B | succeeded | 18.0 GB | 17.0 GB | +6% | +4% | 61 s | 55 s | 1 |"
    assert lines[3] == "| full | 0 | 0.0 B | does not fit | – | – | – | – | – | – | – |"


def test_the_peak_is_that_of_all_processes_of_the_job(gpu: t.Any) -> None:
    """Processes of others do not count."""
    processes = [
        [gpu.gpus.GpuProcess(1, "python", 10, "GPU-a", "", "job"), gpu.gpus.GpuProcess(2, "ollama", 99, "GPU-a")],
        [
            gpu.gpus.GpuProcess(1, "python", 30, "GPU-a", "", "job"),
            gpu.gpus.GpuProcess(3, "p", None, "GPU-b", "", "job"),
        ],
        [],
    ]
    watch = gpu.Watch(lambda: processes.pop(0))
    progress = {"current": 1, "total": 4, "eta_seconds": 9.0}
    for current in ("train", "train", ""):
        watch(gpu.RunView("id", "name", "running", current=current, progress=progress))
    assert (watch.peak, watch.uuids) == (30, {"GPU-a", "GPU-b"})
    assert [(sample.current, sample.eta) for sample in watch.samples] == [(1, 9.0), (1, 9.0)]
