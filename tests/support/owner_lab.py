# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A data directory of an ordinary user, and processes of that user and of root that work in it.

They use the system's Python and a copy of the core that every user can read, because the environment of the tests
may be in root's home.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.installation import PACKAGE
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import processes as system_processes
from ansible_collections.ia_homelab.llamafactory.tests.support import probe_core
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import until

_CORE = Path(system_processes.__file__).parents[1]

#: The program of a caller: ``DATA WHAT NAME SCRIPT``.
_CALLER = rf"""
import json, os, sys
from {PACKAGE}.artifacts.layout import Layout
from {PACKAGE}.base_models import names, resolution
from {PACKAGE}.datasets import registry, sources
from {PACKAGE}.engine.engine import Engine
from {PACKAGE}.errors import CoreError
from {PACKAGE}.planning.pipeline import make_run, make_step
from {PACKAGE}.runs.spec import Toolchain
from {PACKAGE}.system.ownership import become_owner
data, what, name, script = sys.argv[1:]
os.umask(0o077)
Layout(data).repair_ownership()
become_owner(data)
if what == "dataset":
    source = sources.Source(os.path.basename(script), script)
    made = registry.apply(Layout(data), registry.Declaration(name), [source])
    print(json.dumps({{"rows": made.dataset.rows}}))
    sys.exit()
argv = json.loads(script) if script.startswith("[") else ["/bin/sh", "-c", script]
variables = {{key: os.environ[key] for key in ("HOME", "USER", "TMPDIR") if key in os.environ}}
kind, tools = "probe", Toolchain(environment=variables)
step = make_step("probe", {{"run": name}}, {{}}, {{"argv": argv, "expects": ["result"]}}, "step")
if what == "base":
    kind, tools = "base", Toolchain(token_file=script)
    found = resolution.resolve_base(Layout(data), names.resolve(name), token_file=script)
    step = make_step("base", dict(found.settings), {{}}, found.options, "step")
run = make_run(name.replace("/", "-"), [step], ["step"], tools)
engine = Engine(data)
if what in ("begin", "apply", "base"):
    engine.submit(run)
elif what == "cancel":
    engine.cancel(run.id)
elif what == "reconcile":
    engine.reconcile()
view = engine.observe(run.id) if what in ("begin", "reconcile") else engine.follow(run.id, timeout=120, poll=0.05)
record = engine.store.record(run.id)
artifact, work = (place(kind, step.spec.fingerprint) for place in (engine.layout.artifact, engine.layout.work))
print(json.dumps({{"state": view.state, "error": view.error, "job": view.job, "artifact": artifact, "work": work}}))
"""


#: Records its user, then counts to COUNT with a checkpoint after each step; a restart resumes from the checkpoint.
_COUNTING = """
echo "$(id -u):$(id -g):$(id -G) $HOME $USER $LOGNAME $TMPDIR" > who
n=0; [ ! -e checkpoint ] || n=$(cat checkpoint)
echo "from $n" >> begun
while [ $n -lt COUNT ]; do sleep 0.1; n=$((n + 1)); echo $n > .new; mv .new checkpoint; done
mkdir -p deep/er; echo done > deep/er/file; ln -s deep link; mv checkpoint result
"""


def counting(count: int) -> str:
    """Return a script that takes a tenth of a second per count."""
    return _COUNTING.replace("COUNT", str(count))


def held(lab: OwnerLab, count: int) -> str:
    """Return a script like :func:`counting` that does not end before ``go`` exists in the directory of the lab."""
    return counting(count).replace("mkdir", f"until [ -e '{lab.root}/go' ]; do sleep 0.05; done\nmkdir", 1)


@functools.cache
def _readable_core(python: str) -> Path:
    """A copy of the core that every user can read, compiled for an interpreter; its directory for ``PYTHONPATH``."""
    root = Path(tempfile.mkdtemp(prefix="owner-core-", dir="/tmp"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    shutil.copytree(_CORE, root / PACKAGE, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    probe_core.extend(root / PACKAGE)
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    subprocess.run([python, "-m", "compileall", "-q", str(root)], env=environment, check=True)
    subprocess.run(["chmod", "-R", "go+rX", str(root)], check=True)
    return root


class OwnerLab:
    """One data directory.

    :param uid: its owner.
    :param gid: its group.
    """

    def __init__(self, uid: int, gid: int) -> None:
        assert os.geteuid() == 0, "only root can give files away"
        self.uid, self.gid = uid, gid
        self.root = Path(tempfile.mkdtemp(prefix="owner-", dir="/tmp"))
        self.root.chmod(0o755)
        self.data = self.root / "data"
        self.data.mkdir(mode=0o755)
        os.chown(self.data, uid, gid)
        self.python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or "/usr/bin/python3"
        self.core = _readable_core(self.python)

    # -- callers -----------------------------------------------------------------------------------------------

    def call(self, what: str, name: str, script: str = "", as_owner: bool = False, **more: str) -> dict[str, t.Any]:
        """Run a caller as root or as the owner; return its result.

        :param more: additional environment variables.
        """
        done = self._call(what, name, script, as_owner, more)
        assert done.returncode == 0, done.stderr
        told: dict[str, t.Any] = json.loads(done.stdout)
        return told

    def refused(self, what: str, name: str, script: str = "", **more: str) -> str:
        """Run a caller as root that fails; return what it wrote to its standard error."""
        done = self._call(what, name, script, False, more)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def _call(
        self, what: str, name: str, script: str, as_owner: bool, more: t.Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        user: dict[str, t.Any] = {"user": self.uid, "group": self.gid, "extra_groups": [self.gid]} if as_owner else {}
        env = {"PATH": "/usr/bin:/bin", "HOME": "/root", "USER": "root", "TMPDIR": "/root", "LC_ALL": "C.UTF-8"}
        return subprocess.run(
            [self.python, "-c", _CALLER, str(self.data), what, name, script],
            env={**env, **more, "PYTHONPATH": str(self.core), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True, text=True, check=False, cwd="/", **user,
        )  # fmt: skip

    # -- what is there -----------------------------------------------------------------------------------------

    def strangers(self) -> list[str]:
        """Paths below the data directory that do not belong to its owner, once all processes have ended."""
        self.wait(lambda: not self.processes())
        found = []
        for path in [self.data, *self.data.rglob("*")]:
            stat = path.lstat()
            if (stat.st_uid, stat.st_gid) != (self.uid, self.gid):
                found.append(f"{path} {stat.st_uid}:{stat.st_gid}")
        return found

    def identity(self, told: t.Mapping[str, t.Any], name: str) -> system_processes.Identity:
        """Wait for the process identity in a file of a job; return it."""
        path = Path(told["job"], name)
        found: system_processes.Identity = self.wait(
            lambda: system_processes.Identity.from_dict(json.loads(path.read_text())) if path.exists() else None
        )
        return found

    def roots_processes(self) -> list[int]:
        """Processes of root's that mention this data directory."""
        return [pid for pid in self.processes() if os.stat(f"/proc/{pid}").st_uid == 0]

    def processes(self) -> list[int]:
        """Processes that mention this data directory."""
        needle, found = str(self.data).encode(), []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                texts = [Path("/proc", name, each).read_bytes() for each in ("cmdline", "environ")]
            except OSError:
                continue
            if any(needle in text for text in texts) and system_processes.identify(int(name)) is not None:
                found.append(int(name))
        return found

    def wait(self, what: t.Callable[[], t.Any], timeout: float = 120.0) -> t.Any:
        """Wait until a function returns a true value, and return it."""
        return until(what, timeout)

    def close(self) -> None:
        """End remaining processes and remove the directory."""
        end = time.monotonic() + 60
        while self.processes() and time.monotonic() < end:
            for pid in self.processes():
                identity = system_processes.identify(pid)
                system_processes.send([identity] if identity else [], 9)
            time.sleep(0.02)
        shutil.rmtree(self.root, ignore_errors=True)
