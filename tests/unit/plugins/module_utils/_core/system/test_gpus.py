# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parsing of recorded nvidia-smi output.

The recordings come from real cards, as published in bug reports, because the tests run without an NVIDIA driver. A
fake nvidia-smi prints such a recording.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import gpus as system_gpus
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.processes import JOB_MARKER

MIB = 1024 * 1024

L40S = """index, name, memory.total [MiB], memory.used [MiB], memory.free [MiB]
0, NVIDIA L40S, 46068 MiB, 9123 MiB, 36346 MiB
"""
L40S_PROCESSES = """pid, process_name, used_gpu_memory [MiB]
44378, tritonserver, 1836 MiB
44966, /opt/tritonserver/backends/python/triton_python_backend_stub, 974 MiB
52114, /usr/bin/python3, 6294 MiB
"""
A800 = """index, name, memory.total [MiB], memory.free [MiB], driver_version, compute_cap
0, NVIDIA A800-SXM4-80GB, 81920 MiB, 8404 MiB, 580.95.05, 8.0
1, NVIDIA A800-SXM4-80GB, 81920 MiB, 12549 MiB, 580.95.05, 8.0
"""
RTX_5080 = """name, memory.total [MiB], memory.free [MiB], driver_version, compute_cap
NVIDIA GeForce RTX 5080, 16303 MiB, 10379 MiB, 590.48.01, 12.0
"""
#: With --format=csv,noheader,nounits
PLAIN = "0, NVIDIA GeForce RTX 4090, 24564, 23456\n"
#: DGX Spark: the GPU shares the machine's memory
GB10 = """name, memory.total [MiB], memory.free [MiB]
NVIDIA GB10, [N/A], [N/A]
"""
H200_PROCESSES = """gpu_uuid, pid, process_name, used_gpu_memory [MiB]
GPU-a44622e3-2296-6285-0a86-84d0f6c67900, 1328667, /usr/local/bin/python3.10, 130004 MiB
GPU-4e9e74b7-4977-f04d-3af3-ccfe5f570e90, 1425258, python3, 105842 MiB
"""
NO_PROCESSES = "gpu_uuid, pid, process_name, used_gpu_memory [MiB]\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (L40S, [system_gpus.Gpu(0, "NVIDIA L40S", 46068 * MIB, 36346 * MIB)]),
        (RTX_5080, [system_gpus.Gpu(0, "NVIDIA GeForce RTX 5080", 16303 * MIB, 10379 * MIB, "", "590.48.01")]),
        (
            A800,
            [
                system_gpus.Gpu(0, "NVIDIA A800-SXM4-80GB", 81920 * MIB, 8404 * MIB, "", "580.95.05"),
                system_gpus.Gpu(1, "NVIDIA A800-SXM4-80GB", 81920 * MIB, 12549 * MIB, "", "580.95.05"),
            ],
        ),
        (GB10, []),
        (PLAIN, [system_gpus.Gpu(0, "NVIDIA GeForce RTX 4090", 24564 * MIB, 23456 * MIB)]),
        ("", []),
        ("No devices were found\n", []),
    ],
    ids=["l40s", "rtx-5080", "two-a800", "gb10", "no-header-no-units", "empty", "none"],
)
def test_gpus(text: str, expected: list[system_gpus.Gpu]) -> None:
    assert system_gpus.parse(text) == expected


def test_processes() -> None:
    gpu_processes = system_gpus.parse_processes(L40S_PROCESSES)
    assert [(each.pid, each.used_bytes) for each in gpu_processes] == [
        (44378, 1836 * MIB),
        (44966, 974 * MIB),
        (52114, 6294 * MIB),
    ]
    assert gpu_processes[2].name == "/usr/bin/python3"
    gpu_processes = system_gpus.parse_processes(H200_PROCESSES)
    assert gpu_processes[1].uuid == "GPU-4e9e74b7-4977-f04d-3af3-ccfe5f570e90"
    assert system_gpus.parse_processes(NO_PROCESSES) == []


def test_process_name_with_commas_and_unknown_size() -> None:
    # a process may choose any name
    text = "gpu_uuid, pid, used_gpu_memory [MiB], process_name\nGPU-1, 77, [N/A], python, serve, all\n"
    assert system_gpus.parse_processes(text) == [system_gpus.GpuProcess(77, "python, serve, all", None, "GPU-1")]


def fake_nvidia_smi(directory: Path, gpus: str, processes: str, status: int = 0) -> None:
    program = directory / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\ncase $1 in\n"
        f"--query-gpu=*) cat <<'END'\n{gpus}END\n;;\n--query-compute-apps=*) cat <<'END'\n{processes}END\n;;\nesac\n"
        f"exit {status}\n"
    )
    program.chmod(0o755)


def test_owner_and_job_of_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = subprocess.Popen(["sleep", "60"], env={**os.environ, JOB_MARKER: "/data/jobs/active/a/train-1"})
    foreign = subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"]})
    try:
        rows = [f"GPU-1, {each.pid}, 512 MiB, sleep\n" for each in (own, foreign)]
        head = "gpu_uuid, pid, used_gpu_memory [MiB], process_name\n"
        fake_nvidia_smi(tmp_path, L40S, head + "".join(rows) + "GPU-1, 4194999, 7 MiB, gone\n")
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        gpu_processes = system_gpus.processes()
        assert [each.job for each in gpu_processes] == ["/data/jobs/active/a/train-1", "", ""]
        assert [each.pid for each in system_gpus.foreign(gpu_processes)] == [foreign.pid, 4194999]
        assert gpu_processes[0].user == gpu_processes[1].user != ""
        assert gpu_processes[2].user == ""
        assert system_gpus.gpus() == [system_gpus.Gpu(0, "NVIDIA L40S", 46068 * MIB, 36346 * MIB)]
    finally:
        for each in (own, foreign):
            each.kill()
            each.wait()


def test_no_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert system_gpus.gpus() == [] and system_gpus.processes() == []
    # without the driver the tool exits with status 9
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    fake_nvidia_smi(tmp_path, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", "", 9)
    assert system_gpus.gpus() == [] and system_gpus.processes() == []


@pytest.mark.parametrize(
    ("output", "status", "expected"),
    [
        ("index, compute_cap\n0, 8.9\n1, 7.5\n", 0, {0: (8, 9), 1: (7, 5)}),
        ("index, compute_cap\n0, 12.0\n", 0, {0: (12, 0)}),
        ("index, compute_cap\n0, [N/A]\n", 0, {}),
        ('Field "compute_cap" is not a valid field to query.\n', 2, {}),
        ("", 9, {}),
    ],
)
def test_compute_capabilities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, status: int, expected: dict[int, tuple[int, int]]
) -> None:
    fake_nvidia_smi(tmp_path, output, "", status)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert system_gpus.compute_capabilities() == expected
