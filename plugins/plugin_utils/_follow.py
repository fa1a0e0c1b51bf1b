# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Live progress of long tasks: complete lines on stderr, throttled, one line per host.

Lines on stderr disturb neither a JSON callback nor a redirected log, and lines of several hosts do not interleave. The
run itself is detached on the host: it continues when the connection or the controller is lost, and the next play
attaches to it.
"""

from __future__ import annotations

import time
import typing as t

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.kinds import KINDS_OF_MODULE
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.progress import Progress
from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils import _output

display = Display()

_JOB = "ia_homelab.llamafactory.job"
#: Seconds of one call of the module ``job``.
_SHORTEST_SECONDS, _LONGEST_SECONDS = 1.0, 10.0

#: Seconds between two lines of a step: after the first one, and at most.
_FIRST_PAUSE, _LAST_PAUSE = 10.0, 1800.0

#: Seconds after which a step is named that has nothing to say of its progress: a shorter one needs no line.
_SILENT_SECONDS = 5.0

#: Seconds for which a task follows runs of which it cannot be determined whether they are complete. They stay queued.
_UNDETERMINED_SECONDS = 120.0


class ProgressPrinter:
    """Prints a progress line on a new step and after 10, 20, 40 … seconds, at last every half hour.

    So a step has few lines, however long it takes. One without progress to tell is named only once it has taken some
    seconds. The same line is printed again after six times as long.

    :param host: inventory name of the host.
    :param write: function that receives each line.
    :param now: clock in seconds.
    """

    def __init__(self, host: str, write: t.Callable[[str], None], now: t.Callable[[], float] = time.monotonic) -> None:
        self._host = host
        self._write = write
        self._now = now
        self._label = ""
        self._at = float("-inf")
        self._pause = _FIRST_PAUSE
        self._text = ""
        self._silent: tuple[str, float] = ("", 0.0)

    def show(self, view: t.Mapping[str, t.Any]) -> None:
        """Print a line about a run if one is due."""
        progress = Progress.from_dict(view.get("progress") or {})
        label = view["current"] or view["state"]
        is_new = label != self._label
        age = self._now() - self._at
        if not is_new and age < self._pause:
            return
        text = self._line(view, label, progress)
        if view["current"] and not view.get("waiting_for") and not progress.describe():
            if self._silent[0] != label:
                self._silent = (label, self._now())
            if self._now() - self._silent[1] < _SILENT_SECONDS:
                return
        if text == self._text and age < 6 * self._pause:
            return
        self._pause = _FIRST_PAUSE if is_new else min(2 * self._pause, _LAST_PAUSE)
        self._label, self._at, self._text = label, self._now(), text
        self._write(text)

    def _line(self, view: t.Mapping[str, t.Any], label: str, progress: Progress) -> str:
        head = f"[{self._host}] {label} {view['name']}"
        if view.get("waiting_for"):
            return f"{head}  waiting for {view['waiting_for']}"
        description = progress.describe()
        return f"{head}  {description}" if description else head


class FollowAction(ActionBase):
    """Runs a module that starts a detached run, then follows that run and prints its progress.

    The module is called with ``wait=false``, unless an earlier task has started the run (``runs``). The run is then
    followed by the module ``job`` for every kind of step, in check mode as well: Ansible builds a module once per play,
    and each build takes about a second, most of which the last step would add to the total.
    """

    _supports_check_mode = True
    _supports_async = False
    #: States of the module that start no run, or that the module follows itself.
    _NOT_FOLLOWED: t.ClassVar[tuple[str, ...]] = (
        "submitted",
        "cancelled",
        "dismissed",
        "absent",
        "rolled_back",
        "released",
    )

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        return _output.finished(self._task, self._run(tmp, task_vars or {}))

    def _run(self, tmp: None, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        args = dict(self._task.args)
        wait = boolean(args.pop("wait", True)) and args.get("state") not in self._NOT_FOLLOWED
        wait = wait and not self._task.check_mode
        runs = args.get("runs")
        if runs is not None and not runs and not any(args.get(name) for name in ("finetunes", "name", "run")):
            result.update(changed=False, runs=[], steps=[], **({"results": []} if args.get("summary") else {}))
            return result
        if runs is not None and not wait and args.get("state") not in self._NOT_FOLLOWED:
            result.update(self._call(_JOB, {**self._passed_runs(args, runs), "wait": False}, task_vars))
            return result
        if not wait or not runs:
            first = self._call(self._task.action, {**args, "wait": args.get("state") == "cancelled"}, task_vars)
            result.update(first)
            runs = first.get("runs") or []
            if not wait or first.get("failed") or not any(run["waiting"] for run in runs):
                return result
        result.update(self._follow(args, runs, task_vars))
        return result

    def _call(self, name: str, args: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        answer: dict[str, t.Any] = self._execute_module(module_name=name, module_args=args, task_vars=task_vars)
        answer.pop("invocation", None)
        return answer

    def _passed_runs(self, args: t.Mapping[str, t.Any], runs: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
        """Return the options with which the module ``job`` answers for the steps of this task."""
        kinds = args.get("kinds") or list(KINDS_OF_MODULE[self._task.action.rpartition(".")[2]])
        summary = {"summary": args["summary"]} if args.get("summary") else {}
        return {"data_dir": args["data_dir"], "runs": runs, "kinds": kinds, **summary}

    def _follow(
        self, args: t.Mapping[str, t.Any], runs: t.Sequence[t.Mapping[str, t.Any]], task_vars: dict[str, t.Any]
    ) -> dict[str, t.Any]:
        """Follow runs, one after the other, until no step that this task is responsible for is pending.

        :returns: the last answer, with the results or the error.
        """
        host = str(task_vars.get("inventory_hostname", "localhost"))
        printer = ProgressPrinter(host, lambda line: display.display(line, stderr=True))
        began = time.monotonic()
        deadline = began + float(args["timeout"]) if args.get("timeout") else None
        followed: list[str] = []
        kinds = self._passed_runs(args, runs)["kinds"]
        determined_at = began
        while True:
            slice_seconds = min(_LONGEST_SECONDS, _SHORTEST_SECONDS + (time.monotonic() - began) / 4)
            answer = self._call(_JOB, {**self._passed_runs(args, runs), "timeout": slice_seconds}, task_vars)
            if answer.get("failed"):
                return {"changed": True, "runs": runs, **answer}
            runs = answer["runs"]
            waiting = [run for run in runs if run["waiting"]]
            for view in waiting[:1] or [run for run in runs if run["id"] in followed]:
                if waiting or not args.get("runs") or _is_at(view, kinds):
                    printer.show(view)
                followed = [view["id"]]
            if not waiting:
                return answer
            if not all(run.get("undetermined") for run in waiting):
                determined_at = time.monotonic()
            elif time.monotonic() - determined_at > _UNDETERMINED_SECONDS:
                return {
                    "failed": True,
                    "changed": True,
                    "runs": runs,
                    "msg": f"{waiting[0]['name']}: still waiting for {waiting[0]['waiting_for'].rstrip('.')}. The run "
                    "stays in the queue: make that server answer, and apply again.",
                }
            if deadline is not None and time.monotonic() > deadline:
                return {
                    "failed": True,
                    "changed": True,
                    "runs": runs,
                    "msg": f"{waiting[0]['name']}: still at {waiting[0]['current'] or waiting[0]['state']}. The run "
                    "continues: apply again to attach to it.",
                }


def _is_at(view: t.Mapping[str, t.Any], kinds: t.Sequence[str]) -> bool:
    """Whether a run is at a step of these kinds. The line of another step belongs to another task."""
    return any(step["label"] == view["current"] and step["kind"] in kinds for step in view.get("steps") or [])
