# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A separate Docker Engine that a test may kill and configure."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

import docker


class OwnEngine:
    """A second Docker Engine on the machine."""

    def __init__(self, root: Path, settings: t.Mapping[str, t.Any]) -> None:
        self.root = root
        (root / "daemon.json").write_text(json.dumps(dict(settings)))
        self.url = f"unix://{root}/docker.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with open(self.root / "dockerd.log", "ab") as log:
            self.process = subprocess.Popen(
                [
                    # its own network, because it would otherwise replace the bridge of the machine's engine
                    "unshare", "--net", "dockerd",
                    f"--host={self.url}", f"--data-root={self.root}/data", f"--exec-root={self.root}/exec",
                    f"--pidfile={self.root}/pid", "--bridge=none", "--iptables=false",
                    f"--config-file={self.root}/daemon.json",
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
        """End it, by a signal."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(60)
        self.process = None


@contextlib.contextmanager
def own_engine(image: str, **settings: t.Any) -> t.Iterator[OwnEngine]:
    """Run a separate engine with an image of the machine's engine.

    :param settings: its ``daemon.json``.
    """
    # a short path, because the path of a socket is limited to 107 bytes
    engine = OwnEngine(Path(tempfile.mkdtemp(prefix="dockerd-")), settings)
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
            if where.startswith(f"{engine.root}/"):  # mounts that a killed engine has left
                subprocess.run(["umount", "--lazy", where], check=True)
        shutil.rmtree(engine.root)
