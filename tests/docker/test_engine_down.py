# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker Engine is killed or stopped while a job runs: the job resumes from its checkpoint afterwards."""

from __future__ import annotations

import signal
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.docker_lab import DockerLab
from ansible_collections.ia_homelab.llamafactory.tests.support.own_engine import OwnEngine, own_engine
from ansible_collections.ia_homelab.llamafactory.tests.unit.plugins.module_utils._core.engine.test_supervisor import (
    starts,
)


@pytest.fixture
def own(image: str) -> t.Iterator[OwnEngine]:
    with own_engine(image) as engine:
        yield engine


@pytest.fixture
def lab(tmp_path: Path, installed_core: Path, image: str, own: OwnEngine) -> t.Iterator[DockerLab]:
    made = DockerLab(tmp_path, installed_core, image, own.url)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("number", "supervisor_too"),
    [
        # molecule's scenario stack kills the engine, too
        pytest.param(signal.SIGKILL, False, marks=pytest.mark.full),
        (signal.SIGTERM, False),
        # both at once, each of which is tested alone
        pytest.param(signal.SIGKILL, True, marks=pytest.mark.full),
    ],
)
def test_job_continues_after_engine_restart(lab: DockerLab, own: OwnEngine, number: int, supervisor_too: bool) -> None:
    run = lab.counting("a", steps=1, count=6, held=True)
    lab.engine.submit(run)
    lab.wait(lambda: sum(entry.what == "done" for entry in lab.evidence()) > 3)
    if supervisor_too:
        lab.kill(lab.identity(run, "supervisor.json"))
    own.stop(number)
    time.sleep(0.5)
    assert lab.engine.observe(run.id).state == "running"
    own.start()
    lab.release()
    view = lab.apply(run, timeout=150)
    assert view.state == "succeeded", view.error
    begun = starts(lab)
    assert len(begun) == 2 and begun[1] > 0, begun
    assert lab.broken() == []
