# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine with its own data directory, runs of trivial real commands, and checks of what they leave behind."""

from __future__ import annotations

import compileall
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.kinds import PARENTS
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import installation
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.pipeline import make_run, make_step
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Job, Record, Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.status import RunView
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import processes as system_processes
from ansible_collections.ia_homelab.llamafactory.tests.support import probe_core, probe_step

#: Counts up to COUNT with a checkpoint after each number, resumes from it when started again, and ends by giving
#: its last checkpoint the name of the result. Records its actions in EVIDENCE (outside of the data directory). Leaves
#: two helper processes that do not end on their own, one of them in its own session. If HOLD is a path, the command
#: does not count to the last number before that file exists.
COUNTING = r"""
set -e
say() { echo "$1 $STEP ${2:-0} $$ $(date +%s%N)" >> "$EVIDENCE"; }
[ -z "$UPSTREAM" ] || [ "$(cat "$UPSTREAM/result")" = "$COUNT" ] || exit 9
sleep 1000 & setsid sleep 1000 &
[ ! -e result ] || exit 0
n=0; [ ! -e checkpoint ] || n=$(cat checkpoint)
say start "$n"
while [ "$n" -lt "$COUNT" ]; do
    [ -z "$HOLD" ] || [ $((n + 1)) -lt "$COUNT" ] || until [ -e "$HOLD" ]; do sleep 0.02; done
    sleep "$PAUSE"; n=$((n + 1))
    echo "$n" > .checkpoint; mv .checkpoint checkpoint
    say done "$n"
done
say end "$n"
mv checkpoint result
"""


#: A line of the evidence, or the end of one whose beginning was left by a killed command.
_RECORD = re.compile(r"(start|done|end) (\S+) (\d+) (\d+) (\d+)$")


class Evidence(t.NamedTuple):
    """One record of a counting command.

    :param what: start, done or end.
    :param step: which command.
    :param number: the last number.
    :param pid: its process id.
    :param at: nanoseconds since the epoch.
    """

    what: str
    step: str
    number: int
    pid: int
    at: int


def until(what: t.Callable[[], t.Any], timeout: float) -> t.Any:
    """Wait until a function returns a true value, and return it.

    :param timeout: seconds.
    """
    end = time.monotonic() + timeout
    while True:
        found = what()
        if found or time.monotonic() > end:
            assert found, "timeout"
            return found
        time.sleep(0.01)


class Lab:
    """One data directory.

    :param root: a directory for this test.
    :param core: an installed core to copy, which is faster than installing one.
    """

    def __init__(self, root: Path, core: Path | None = None) -> None:
        self.root = root
        self.data = root / "data"
        self.evidence_file = root / "evidence"
        self._go = root / "go-on"
        self.layout = Layout(str(self.data))
        self.engine = Engine(str(self.data))
        self.store = self.engine.store
        if core is not None:
            shutil.copytree(core, self.data / "core" / core.name)

    # -- runs --------------------------------------------------------------------------------------------------

    def run(
        self,
        name: str,
        *scripts: str,
        kind: str = probe_step.ProbeStep.kind,
        expects: t.Sequence[str] = (),
        environment: t.Mapping[str, str] | None = None,
        **options: t.Any,
    ) -> Run:
        """A run of shell scripts, each with the one before as input; the last one is the goal."""
        steps, upstream = [], {}
        for index, script in enumerate(scripts or ("true",)):
            step = make_step(
                kind,
                {"run": name, "step": index},
                upstream,
                {"argv": ["/bin/sh", "-c", script], "expects": list(expects), **options},
                f"step-{index}",
            )
            steps.append(step)
            upstream = {kind: step.spec.fingerprint}
        return make_run(name, steps, [steps[-1].label], Toolchain(environment=dict(environment or {})))

    def counting(
        self,
        name: str,
        steps: int = 2,
        count: int = 3,
        pause: float = 0.02,
        kind: str = probe_step.ProbeStep.kind,
        held: bool = False,
    ) -> Run:
        """A run of counting commands (see :data:`COUNTING`).

        :param held: whether they do not end before :meth:`release` is called.
        """
        scripts, fingerprint = [], ""
        run = None
        for index in range(steps):
            upstream = self.layout.artifact(kind, fingerprint) if fingerprint else ""
            values = {
                "EVIDENCE": self.evidence_file, "STEP": f"{name}-{index}", "COUNT": count, "PAUSE": pause,
                "UPSTREAM": upstream, "HOLD": self._go if held else "",
            }  # fmt: skip
            scripts.append("".join(f"{key}='{value}'\n" for key, value in values.items()) + COUNTING)
            run = self.run(name, *scripts, kind=kind, expects=["result"])
            fingerprint = run.steps[-1].spec.fingerprint
        assert run is not None
        return run

    def release(self) -> None:
        """Let held commands end."""
        self._go.touch()

    def apply(self, run: Run, timeout: float = 120.0, **options: t.Any) -> RunView:
        """Submit and follow to the end, as a controller does."""
        submission = self.engine.submit(run)
        if not submission.pending and not submission.attached:
            return submission.view
        return self.engine.follow(run.id, timeout=timeout, poll=0.02, **options)

    def record(self, run: Run) -> Record:
        """The run's record in the store."""
        found = self.store.record(run.id)
        assert found is not None, f"{run.id} is not in the store"
        return found

    def job(self, run: Run) -> Job:
        """The last job of a run."""
        return self.record(run).jobs[-1]

    def artifact(self, run: Run, index: int = -1) -> Path:
        """Path of the result of a step."""
        spec = run.steps[index].spec
        return Path(self.layout.artifact(spec.kind, spec.fingerprint))

    # -- processes ---------------------------------------------------------------------------------------------

    def wait(self, what: t.Callable[[], t.Any], timeout: float = 120.0) -> t.Any:
        """Wait until a function returns a true value, and return it. The time is for a busy machine."""
        return until(what, timeout)

    def identity(self, run: Run, name: str) -> system_processes.Identity | None:
        """The process identity in a file of the run's last job: ``supervisor.json`` or ``command.json``."""
        record = self.store.record(run.id)
        if record is None or not record.jobs:
            return None
        with contextlib.suppress(FileNotFoundError, ValueError):
            return system_processes.Identity.from_dict(json.loads(Path(record.jobs[-1].directory, name).read_text()))
        return None

    def wait_for_command(self, run: Run, said: str = "done") -> system_processes.Identity:
        """Wait until the run's command runs and has written a record."""
        self.wait(lambda: any(entry.what == said for entry in self.evidence()))
        found: system_processes.Identity = self.wait(lambda: self.identity(run, "command.json"))
        return found

    def kill(self, identity: system_processes.Identity | None) -> None:
        """Send SIGKILL and wait for the end of the process."""
        assert identity is not None, "there is no process to kill"
        system_processes.send([identity], signal.SIGKILL)
        self.wait(lambda: not system_processes.alive(identity))

    def processes(self) -> dict[int, str]:
        """Processes that mention this data directory, except this one."""
        needle = str(self.data).encode()
        found = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            if int(name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                line = Path("/proc", name, "cmdline").read_bytes()
                ours = needle in line or needle in Path("/proc", name, "environ").read_bytes()
                if ours and system_processes.identify(int(name)) is not None:
                    found[int(name)] = line.replace(b"\0", b" ").decode(errors="replace")
        return found

    def close(self) -> None:
        """End all remaining processes."""
        end = time.monotonic() + 60
        while self.processes() and time.monotonic() < end:
            for pid in self.processes():
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    # -- what is there -----------------------------------------------------------------------------------------

    def evidence(self) -> list[Evidence]:
        """The records of the counting commands, in order.

        A command that was killed while it wrote a line leaves the beginning of one: that record does not count, and the
        next command's record follows on the same line of the file.
        """
        try:
            text = self.evidence_file.read_text()
        except FileNotFoundError:
            return []
        # the last line may be being written
        found = map(_RECORD.search, text.split("\n")[:-1])
        return [Evidence(w, s, int(n), int(p), int(at)) for w, s, n, p, at in (one.groups() for one in found if one)]

    def tree(self) -> dict[str, t.Any]:
        """Every path of the data directory, with everything that a write would change."""
        found: dict[str, t.Any] = {}
        for folder, _dirs, names in os.walk(self.data):
            for path in [Path(folder), *(Path(folder, name) for name in names)]:
                stat = path.lstat()
                content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
                found[str(path)] = (
                    stat.st_mode,
                    stat.st_ino,
                    stat.st_size,
                    stat.st_mtime_ns,
                    stat.st_ctime_ns,
                    content,
                )
        return found

    def artifacts(self) -> dict[str, dict[str, str]]:
        """Digest of each file of each published artifact, except receipts, which contain times."""
        found: dict[str, dict[str, str]] = {}
        for parent in sorted(set(PARENTS.values())):
            for path in sorted((self.data / parent).glob("[0-9a-f]*")):
                found[f"{parent}/{path.name}"] = {
                    str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
                    for file in sorted(path.rglob("*"))
                    if file.is_file() and file.name != "receipt.json"
                }
        return found

    def leftovers(self) -> list[str]:
        """Names of files that are partly written or partly removed. Unfinished work directories may remain."""
        found = []
        for folder, dirs, names in os.walk(self.data):
            for name in [*dirs, *names]:
                finished = name.startswith(".work-") and os.path.exists(os.path.join(folder, name[len(".work-") :]))
                if finished or name.startswith((".new-", ".gone-")):
                    found.append(os.path.relpath(os.path.join(folder, name), self.data))
        return sorted(found)

    def broken(self, damaged: t.Collection[str] = ()) -> list[str]:
        """Deviations from the expected end state; waits for supervisors to end.

        :param damaged: names of files that the test itself damaged, and that need not be repaired.
        """
        end = time.monotonic() + 20
        while self.processes() and time.monotonic() < end:
            time.sleep(0.01)
        found = [f"process {pid}: {line}" for pid, line in self.processes().items()]
        found += [f"left over: {name}" for name in self.leftovers()]
        found += [f"still in the queue: {record.id}" for record in self.store.active()]
        for path in (self.data / "jobs").rglob("*.json"):
            try:
                json.loads(path.read_text())
            except ValueError as error:
                if path.name not in damaged:
                    found.append(f"{path}: {error}")
        for parent in sorted(set(PARENTS.values())):
            for path in (self.data / parent).glob("[0-9a-f]*"):
                receipt = json.loads((path / "receipt.json").read_text())
                files = {str(file.relative_to(path)): file for file in path.rglob("*") if file.is_file()}
                del files["receipt.json"]
                digests = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
                if digests != {name: facts["sha256"] for name, facts in receipt["files"].items()}:
                    found.append(f"{path} is not what its receipt says: {sorted(files)}")
        return found


def install_core(root: Path) -> Path:
    """Install a core with the steps of ``probe_core``, to be copied into labs.

    It is compiled, because each of the many processes of the tests would do that for itself.
    """
    installed = Path(installation.install(Layout(str(root / "core-source"))))
    assert all((installed / installation.PACKAGE / name).exists() for name in probe_core.ADDITIONS)
    compileall.compile_dir(installed, quiet=1)
    return installed


@contextlib.contextmanager
def forked(body: t.Callable[[], t.Any]) -> t.Iterator[int]:
    """Fork a child process that calls a function and ends; yield its id. It is killed and reaped at the end."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            body()
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    try:
        yield pid
    finally:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def in_child(body: t.Callable[[], t.Any]) -> t.Any:
    """Call a function in a child process, so that it can change ids, umask or audit hooks; return its result."""
    with tempfile.TemporaryFile() as answer:

        def write() -> None:
            try:
                value = {"ok": body()}
            except Exception as error:
                value = {"error": f"{type(error).__name__}: {error}"}
            answer.write(json.dumps(value).encode())
            answer.flush()

        with forked(write) as pid:
            os.waitpid(pid, 0)
        answer.seek(0)
        found = json.loads(answer.read() or b'{"error": "it died"}')
    assert "error" not in found, found["error"]
    return found["ok"]
