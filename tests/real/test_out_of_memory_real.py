# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real training without enough memory: the error names the cause and what to lower; then it resumes.

Memory is limited by RLIMIT_DATA (setrlimit(2)), or by a control group, in which the kernel kills the training.
The command inherits both from its supervisor, and the supervisor from the applying process. About half a minute on two
cores.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import registry
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import in_child
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import (
    PROMPTS,
    TRAINING,
    left_running,
    make_tiny_base,
    toolchain,
)

#: Less than what loading PyTorch needs.
LIMIT = 300 * 1024 * 1024


@contextlib.contextmanager
def control_group() -> t.Iterator[Path]:
    """A control group (version 1 or 2) with little memory; removed at the end."""
    first, second = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    root = first if (first / "memory.limit_in_bytes").exists() else second
    group = root / f"ia-homelab-test-{os.getpid()}"
    if root is second:
        (second / "cgroup.subtree_control").write_text("+memory")
    group.mkdir()
    try:
        (group / ("memory.limit_in_bytes" if root is first else "memory.max")).write_text(str(LIMIT))
        swap = group / ("memory.swappiness" if root is first else "memory.swap.max")
        if swap.exists():
            swap.write_text("0")
        yield group
    finally:
        end = time.monotonic() + 60
        while (group / "cgroup.procs").read_text().split() and time.monotonic() < end:
            time.sleep(0.05)
        group.rmdir()


@pytest.fixture(scope="module")
def pending_training(tmp_path_factory: pytest.TempPathFactory) -> tuple[Engine, Run]:
    """A training that has not started."""
    root = tmp_path_factory.mktemp("memory")
    engine = Engine(str(root / "data"))
    engine.layout.create()
    base = make_tiny_base(root / "base")
    registry.apply(engine.layout, registry.Declaration("prompts"), [registry.Source("prompts.json", str(PROMPTS))])
    declared = {
        "name": "memory-limited",
        "base_model": str(base),
        "dataset": "prompts",
        "register": False,
        **TRAINING,
    }
    return engine, plan(engine.layout, Request.finetune(declared), Host(toolchain(), "cpu"))


def failed_train(engine: Engine, run: Run, starve: t.Callable[[], object]) -> dict[str, t.Any]:
    """Apply a run in a process with too little memory; return its error."""

    def apply() -> dict[str, t.Any]:
        starve()
        engine.submit(run)
        return engine.follow(run.id, timeout=600).as_dict()

    view = in_child(apply)
    log = Path(view["job"], "log.txt").read_text(errors="replace")
    assert view["state"] == "failed" and view["error"]["step"] == "train", log[-3000:]
    error: dict[str, t.Any] = view["error"]
    assert os.path.isfile(error["details"]["log"])
    for word in ("batch_size", "cutoff_len"):
        assert word in error["hint"], f"{error}\n{log[-3000:]}"
    assert left_running(engine.layout.root) == {}
    return error


def test_allocation_refused_by_limit(pending_training: tuple[Engine, Run]) -> None:
    error = failed_train(*pending_training, lambda: resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT)))
    assert "The machine ran out of memory (RAM)." in error["message"]


def test_killed_by_the_kernel_is_recognized(pending_training: tuple[Engine, Run]) -> None:
    with control_group() as group:
        error = failed_train(*pending_training, lambda: (group / "cgroup.procs").write_text(str(os.getpid())))
    assert "was killed by signal 9" in error["message"]
    assert "for want of memory (RAM)" in error["message"]


def test_training_resumes_with_enough_memory(pending_training: tuple[Engine, Run]) -> None:
    engine, run = pending_training
    engine.submit(run)
    until = {"base", "train"}
    view = engine.follow(run.id, until, timeout=600)
    assert not [label for label in view.pending if label in until], view.error
    engine.cancel(run.id)
    engine.follow(run.id, timeout=60)
