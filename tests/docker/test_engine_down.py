# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker Engine is killed, or stopped, while a job runs: the job goes on from its checkpoint when it is back."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

import docker
import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.docker_lab import DockerLab
from ansible_collections.ia_homelab.llamafactory.tests.unit.plugins.module_utils.test_supervisor import starts


class OwnEngine:
    """A Docker Engine of the test's own, beside the machine's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = f"unix://{root}/docker.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self.root / "dockerd.log", "ab") as log:
            self.process = subprocess.Popen(
                [
                    # a network of its own: it would take the bridge of the machine's engine away
                    "unshare", "--net", "dockerd",
                    f"--host={self.url}", f"--data-root={self.root}/data", f"--exec-root={self.root}/exec",
                    f"--pidfile={self.root}/pid", "--bridge=none", "--iptables=false", "--config-file=/dev/null",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + 60
        while True:
            try:
                docker.APIClient(self.url, version="auto").ping()
                return
            except docker.errors.DockerException:
                assert time.monotonic() < end, (self.root / "dockerd.log").read_text()[-3000:]
                time.sleep(0.1)

    def stop(self, number: int = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(60)
        self.process = None


@pytest.fixture
def own(image: str) -> t.Iterator[OwnEngine]:
    # a short path: a socket's has 107 bytes at most
    engine = OwnEngine(Path(tempfile.mkdtemp(prefix="dockerd-")))
    try:
        engine.start()
        saved = docker.APIClient(version="auto").get_image(image)
        docker.APIClient(engine.url, version="auto").load_image(b"".join(saved))
        yield engine
    finally:
        if engine.process is not None:
            engine.stop()
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            where = line.split()[1]
            if where.startswith(f"{engine.root}/"):  # what a killed engine left mounted
                subprocess.run(["umount", "--lazy", where], check=True)
        shutil.rmtree(engine.root)


@pytest.fixture
def lab(tmp_path: Path, installed_core: Path, image: str, own: OwnEngine) -> t.Iterator[DockerLab]:
    made = DockerLab(tmp_path, installed_core, image, own.url)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("number", "supervisor_too"), [(signal.SIGKILL, False), (signal.SIGTERM, False), (signal.SIGKILL, True)]
)
def test_a_job_goes_on_when_the_engine_is_back(
    lab: DockerLab, own: OwnEngine, number: int, supervisor_too: bool
) -> None:
    run = lab.counting("a", steps=1, count=60, pause=0.25)
    lab.engine.submit(run)
    lab.wait(lambda: sum(entry.what == "done" for entry in lab.evidence()) > 3)
    if supervisor_too:
        lab.kill(lab.identity(run, "supervisor.json"))
    own.stop(number)
    time.sleep(0.5)
    assert lab.engine.observe(run.id).state == "running"
    own.start()
    view = lab.apply(run, timeout=150)
    assert view.state == "succeeded", view.error
    begun = starts(lab)
    assert len(begun) == 2 and begun[1] > 0, begun
    assert lab.broken() == []
