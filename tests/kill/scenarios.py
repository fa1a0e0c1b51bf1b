# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A scenario of an engine with kills, and the checks after one more, undisturbed apply."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import installation, launcher
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import CoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import processes
from ansible_collections.ia_homelab.llamafactory.tests.kill import faults
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab, forked

_SECONDS = 60.0


@dataclasses.dataclass
class Result:
    """The outcome of one scenario.

    :param name: identifies the scenario, and allows to repeat it.
    :param kills: processes killed.
    :param problems: deviations from the expected state.
    """

    name: str
    kills: int = 0
    problems: list[str] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def _lab(core: Path) -> t.Iterator[Lab]:
    root = Path(tempfile.mkdtemp(prefix="kill-"))
    lab = Lab(root, core)
    try:
        yield lab
    finally:
        lab.close()
        shutil.rmtree(root, ignore_errors=True)


def started_over(lab: Lab) -> list[str]:
    """Commands that started before the checkpoint of an earlier one."""
    reached: dict[str, int] = {}
    found = []
    for entry in lab.evidence():
        if entry.what == "start" and entry.number < reached.get(entry.step, 0):
            found.append(f"{entry.step} was at {reached[entry.step]} and began again at {entry.number}")
        if entry.what == "done":
            reached[entry.step] = max(reached.get(entry.step, 0), entry.number)
    return found


def at_once(lab: Lab) -> list[str]:
    """Commands that ran at the same time as another one of the same step."""
    last: dict[str, int] = {}
    found = []
    for entry in lab.evidence():
        if entry.what == "start":
            last[entry.step] = entry.pid
        elif last.get(entry.step) != entry.pid:
            found.append(f"{entry.step}: {entry.pid} goes on beside {last.get(entry.step)}")
    return found


def judge(lab: Lab, runs: t.Sequence[Run], expected: t.Mapping[str, t.Any], result: Result) -> None:
    """Apply once without kills; the state must equal that of a run without any kill."""
    for run in runs:
        try:
            view = lab.apply(run, timeout=_SECONDS)
        except CoreError as error:
            result.problems.append(f"{run.name}: {error}")
            continue
        if view.state != "succeeded":
            result.problems.append(f"{run.name}: {view.state}: {view.error}")
    if lab.artifacts() != expected:
        result.problems.append(f"artifacts: {lab.artifacts()} instead of {expected}")
    result.problems += lab.broken() + started_over(lab) + at_once(lab)
    if result.problems:
        kept = Path(tempfile.mkdtemp(prefix="kill-kept-"))
        shutil.copytree(lab.root, kept / "lab", symlinks=True)
        result.problems.append(f"kept in {kept}")


def undisturbed(core: Path, make: t.Callable[[Lab], list[Run]]) -> dict[str, t.Any]:
    """The artifacts of a run without kills (their names do not depend on the path of the data directory)."""
    with _lab(core) as lab:
        for run in make(lab):
            assert lab.apply(run, timeout=_SECONDS).state == "succeeded"
        assert lab.broken() == []
        return lab.artifacts()


def one_run(lab: Lab) -> Run:
    """A run of two steps."""
    return lab.counting("a", steps=2, count=2, pause=0.01)


def from_nothing(lab: Lab) -> Run:
    """The run was not submitted before."""
    return one_run(lab)


def once_more(lab: Lab) -> Run:
    """The run was complete, and its last result is damaged."""
    run = one_run(lab)
    view = lab.apply(run, timeout=_SECONDS)
    assert view.state == "succeeded", view
    assert lab.broken() == []  # and no process is left
    (lab.artifact(run) / "result").unlink()
    lab.evidence_file.unlink()
    return run


#: States of a run at the start of the process that is to be killed.
BEGINNINGS: dict[str, t.Callable[[Lab], Run]] = {"from_nothing": from_nothing, "once_more": once_more}


def _controller(lab: Lab, run: Run, armed: bool) -> None:
    # Ctrl-C and a lost connection are simulated by SIGKILL, so the controller cannot clean up
    launcher.current_python = lambda: str(lab.root / "python")  # type: ignore[assignment]
    (lab.root / "controller").write_text(str(os.getpid()))
    if armed:
        faults.arm(str(lab.root), "controller")
    with contextlib.suppress(CoreError):
        lab.apply(run, timeout=_SECONDS)


def points(core: Path, beginning: str) -> dict[str, list[str]]:
    """All changes that each process of an undisturbed run makes, by role.

    On a busy machine the controller may start the second step before the supervisor of the first one does, which makes
    other changes. Of three runs, the one with the fewest changes of the controller is the usual one.
    """
    found = [_points(core, beginning) for _run in range(3)]
    return min(found, key=lambda changes: len(changes["controller"]))


def _points(core: Path, beginning: str) -> dict[str, list[str]]:
    with _lab(core) as lab:
        run = BEGINNINGS[beginning](lab)
        faults.interpreter(str(lab.root))
        (lab.root / "fault.json").write_text("{}")
        with forked(lambda: _controller(lab, run, True)) as pid:
            os.waitpid(pid, 0)
        assert lab.broken() == []
        return {
            path.name.replace("-child", "/child"): path.read_text().splitlines()
            for path in sorted((lab.root / "points").iterdir())
        }


def every_fault(core: Path) -> list[dict[str, t.Any]]:
    """Every point of every process; at every second one the controller is killed as well."""
    found = []
    for beginning in BEGINNINGS:
        for role, changes in points(core, beginning).items():
            victims = ["self", "parent", "both"] if role.endswith("/child") else ["self"]
            for point in range(1, len(changes) + 1):
                for victim in victims:
                    fault = {"beginning": beginning, "role": role, "point": point, "victim": victim}
                    found.append({**fault, "controller_too": role != "controller" and point % 2 == 0})
    return found


def at_point(core: Path, fault: dict[str, t.Any], expected: dict[str, t.Any]) -> Result:
    """A run in which one process is killed just before one of its changes; not counted if it is not reached."""
    result = Result(json.dumps(fault))
    with _lab(core) as lab:
        run = BEGINNINGS[fault["beginning"]](lab)
        faults.interpreter(str(lab.root))
        (lab.root / "fault.json").write_text(json.dumps(fault))
        with forked(lambda: _controller(lab, run, True)) as pid:
            os.waitpid(pid, 0)
        with contextlib.suppress(FileNotFoundError):
            result.kills = len((lab.root / "fired").read_text().splitlines())
        (lab.root / "fault.json").unlink()
        _settle(lab)
        judge(lab, [run], expected, result)
    return result


def at_install(core: Path, point: int) -> Result:
    """The installing process is killed; the next installation must give the same result."""
    result = Result(f"install {point}")
    with _lab(core) as lab:
        shutil.rmtree(lab.data / "core")
        (lab.root / "fault.json").write_text(json.dumps({"role": "controller", "point": point}))

        def install() -> None:
            faults.arm(str(lab.root), "controller")
            installation.install(lab.layout)

        with forked(install) as pid:
            os.waitpid(pid, 0)
        result.kills = int((lab.root / "fired").exists())
        made = Path(installation.install(lab.layout))
        if _files(made) != _files(core) or [path.name for path in made.parent.iterdir()] != [core.name]:
            there = {str(path.relative_to(made.parent)) for path in made.parent.rglob("*")}
            result.problems.append(f"not the same: {made.name}, {len(there)} files; {core.name}")
    return result


def _files(root: Path) -> dict[str, bytes]:
    """The files of a core but for what Python has compiled, which one that was just installed lacks."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }


def some_runs(lab: Lab) -> list[Run]:
    """An exclusive run of two steps, and another one at the same time."""
    return [
        lab.counting("a", steps=2, count=6, pause=0.03),
        lab.counting("b", steps=1, count=6, pause=0.03, kind="light_probe"),
    ]


def at_random(core: Path, seed: int, kills: int, expected: dict[str, t.Any]) -> Result:
    """A run in which existing processes are killed at random, repeatedly."""
    dice = random.Random(seed)
    result = Result(f"seed {seed}")
    with _lab(core) as lab, contextlib.ExitStack() as stack:
        runs = some_runs(lab)
        controllers: dict[str, int] = {}
        end = time.monotonic() + _SECONDS
        while result.kills < kills and time.monotonic() < end:
            for run in runs:
                if not _runs(controllers.get(run.id)):
                    controllers[run.id] = stack.enter_context(forked(lambda run=run: _apply(lab, run)))  # type: ignore[misc]
            time.sleep(dice.choice((0.0, 0.02, 0.1, 0.3)) * dice.random())
            if all(not lab.engine.pending_steps(run) for run in runs):
                break
            result.kills += _kill_some(lab, dice, list(controllers.values()))
        for pid in controllers.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _settle(lab)
        judge(lab, runs, expected, result)
    return result


def _apply(lab: Lab, run: Run) -> None:
    with contextlib.suppress(CoreError):
        lab.apply(run, timeout=_SECONDS)


def _runs(pid: int | None) -> bool:
    if pid is None:
        return False
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return processes.identify(pid) is not None


def _kill_some(lab: Lab, dice: random.Random, controllers: list[int]) -> int:
    there = lab.processes()
    supervisors = [pid for pid, line in there.items() if ".main supervise " in line]
    leaders = [pid for pid in there if pid not in supervisors and _leads(pid)]
    others = [pid for pid in there if pid not in supervisors and pid not in leaders]
    alive = [pid for pid in controllers if _runs(pid)]
    choices = [alive, supervisors, supervisors, leaders, others, supervisors + leaders, [*alive, *there]]
    targets = dice.choice(choices)
    if not targets:
        return 0
    if targets is alive or targets is others:
        targets = [dice.choice(targets)]
    killed = 0
    for pid in targets:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    return killed


def _leads(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return os.getsid(pid) == pid
    return False


def _settle(lab: Lab) -> None:
    """Wait until a supervisor that is about to start its command has started it.

    If it is killed before that, an apply at this moment would attach to a run that fails.
    """
    end = time.monotonic() + 60
    while time.monotonic() < end:
        jobs = [record.current_job for record in lab.store.active()]
        if all(
            job is None or not job.is_supervised() or os.path.exists(os.path.join(job.directory, "command.json"))
            for job in jobs
        ):
            return
        time.sleep(0.02)


def report(results: t.Sequence[Result]) -> str:
    """Format the problems."""
    lines = [f"{sum(result.kills for result in results)} kills in {len(results)} lives"]
    for result in results:
        lines += [f"{result.name}: {problem}" for problem in result.problems]
    return "\n".join(lines)


def main(argv: t.Sequence[str]) -> int:
    """``python -m …tests.kill.scenarios SEED [KILLS]`` repeats one random life."""
    from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import install_core

    with tempfile.TemporaryDirectory() as folder:
        core = install_core(Path(folder))
        kills = int(argv[1]) if len(argv) > 1 else 6
        result = at_random(core, int(argv[0]), kills, undisturbed(core, some_runs))
    print(report([result]))
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
