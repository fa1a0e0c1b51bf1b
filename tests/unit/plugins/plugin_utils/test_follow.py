# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Following a run from the controller: which lines are printed when, and how the task ends."""

from __future__ import annotations

import types
import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils import _follow, _output
from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils._follow import FollowAction, ProgressPrinter


class Screen:
    """A printer, its clock, and the lines it has written."""

    def __init__(self) -> None:
        self.time = 0.0
        self.lines: list[str] = []
        self.printer = ProgressPrinter("pc-ia", self.lines.append, lambda: self.time)

    def show(self, seconds: float, label: str = "train", waiting_for: str = "", **progress: t.Any) -> list[str]:
        """Show a run after so many more seconds; the lines that were written."""
        self.time += seconds
        before = len(self.lines)
        self.printer.show(
            {"name": "m", "state": "running", "current": label, "progress": progress, "waiting_for": waiting_for}
        )
        return self.lines[before:]


def test_a_line_for_each_step_even_at_once() -> None:
    screen = Screen()
    assert screen.show(0, note="loading") == ["[pc-ia] train m  loading"]
    assert screen.show(0, label="merge", note="loading") == ["[pc-ia] merge m  loading"]


def test_a_step_without_progress_is_named_once_it_takes_long() -> None:
    screen = Screen()
    assert screen.show(0) == [] and screen.show(4) == []
    assert screen.show(0, label="merge") == [] and screen.show(4.9, label="merge") == []
    assert screen.show(0.2, label="merge") == ["[pc-ia] merge m"]
    assert screen.show(1, label="merge") == []


def test_a_step_has_few_lines_however_long_it_takes() -> None:
    screen = Screen()
    written = [screen.time for step in range(8 * 3600) if screen.show(1, current=step, total=8 * 3600)]
    assert written[:6] == [1.0, 11.0, 31.0, 71.0, 151.0, 311.0]
    assert len(written) < 25, "in eight hours"
    assert max(later - earlier for earlier, later in zip(written, written[1:])) == 1800.0


def test_a_new_step_begins_with_short_pauses() -> None:
    screen = Screen()
    for step in range(100):
        screen.show(1, current=step, total=100)
    assert screen.show(0, label="merge", current=1, total=9) == ["[pc-ia] merge m  11%  step 1/9"]
    assert screen.show(9.9, label="merge", current=2, total=9) == []
    assert screen.show(0.2, label="merge", current=3, total=9) == ["[pc-ia] merge m  33%  step 3/9"]


def test_the_same_line_is_repeated_seldom() -> None:
    screen = Screen()
    screen.show(0, note="loading")
    written = [screen.time for _attempt in range(100) if screen.show(5, note="loading")]
    assert written == [60.0, 180.0, 420.0]


def test_what_a_run_waits_for_is_shown_instead_of_progress() -> None:
    screen = Screen()
    line = "[pc-ia] train m  waiting for the GPU, where python (pid 7) computes"
    assert screen.show(0, waiting_for="the GPU, where python (pid 7) computes", current=5, total=10) == [line]


def test_a_run_without_a_step_shows_its_state() -> None:
    assert Screen().show(0, label="") == ["[pc-ia] running m"]


# -- the action --------------------------------------------------------------------------------------------------------


def failure_of(action: Action) -> dict[str, t.Any]:
    """The failed result with which the action ends."""
    with pytest.raises(_output.Failure) as raised:
        action.run(None, {})
    return raised.value.answer


def run_view(name: str, waiting: bool, **more: t.Any) -> dict[str, t.Any]:
    return {"id": f"id-{name}", "name": name, "state": "running", "current": "train", "waiting": waiting, **more}


class Action(FollowAction):
    """The action with prepared answers of the modules instead of a connection."""

    def __init__(self, module: str, arguments: dict[str, t.Any], answers: t.Sequence[dict[str, t.Any]]) -> None:
        task = {"action": f"ia_homelab.llamafactory.{module}", "args": arguments, "check_mode": False, "async_val": 0}
        self._task = types.SimpleNamespace(**task)
        self.answers = list(answers)
        self.calls: list[tuple[str, dict[str, t.Any]]] = []

    def _execute_module(self, **named: t.Any) -> dict[str, t.Any]:
        self.calls.append((named["module_name"].rpartition(".")[2], named["module_args"]))
        return {"invocation": "hidden", **self.answers.pop(0)}


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that were displayed."""
    lines: list[str] = []
    display = types.SimpleNamespace(display=lambda line, stderr: lines.append(f"{line} {stderr}"))
    monkeypatch.setattr(_follow, "display", display)
    monkeypatch.setattr(_follow.ActionBase, "run", lambda _self, _tmp, _vars: {})
    return lines


def test_a_run_is_started_and_followed_to_its_end(shown: list[str]) -> None:
    action = Action(
        "train",
        {"data_dir": "/d", "adapter": "a"},
        [
            {"changed": True, "runs": [run_view("m", True)]},
            {"changed": True, "runs": [run_view("m", True, progress={"note": "loading"})]},
            {"changed": True, "runs": [run_view("m", False, state="succeeded", current="")], "results": 1},
        ],
    )
    result = action.run(None, {"inventory_hostname": "pc-ia"})
    assert result["results"] == 1 and "invocation" not in result
    assert [name for name, _arguments in action.calls] == ["train", "job", "job"]
    assert action.calls[0][1] == {"data_dir": "/d", "adapter": "a", "wait": False}
    followed = action.calls[1][1]
    assert followed["kinds"] == ["train", "train_node"] and followed["data_dir"] == "/d"
    assert 1.0 <= followed["timeout"] <= 10.0
    assert shown == ["[pc-ia] train m  loading True", "[pc-ia] succeeded m True"], "on standard error, and the end too"


def test_the_line_of_a_step_belongs_to_its_own_task(shown: list[str]) -> None:
    steps = [{"label": "train", "kind": "train"}, {"label": "gguf-f16", "kind": "gguf"}]
    begun = run_view("m", True, steps=steps, progress={"note": "loading"})
    over = run_view("m", False, steps=steps, progress={"note": "reading"}, current="gguf-f16")
    answers = [{"changed": True, "runs": [begun]}, {"changed": True, "runs": [over]}]
    action = Action("train", {"data_dir": "/d", "runs": [begun]}, answers)
    assert action.run(None, {"inventory_hostname": "pc-ia"})["changed"]
    assert shown == ["[pc-ia] train m  loading True"]


@pytest.mark.parametrize("module", ["base", "train", "job"])
def test_without_runs_no_host_is_contacted(shown: list[str], module: str) -> None:
    action = Action(module, {"data_dir": "/d", "runs": []}, [])
    assert action.run(None, {}) == {"changed": False, "runs": [], "steps": []} and action.calls == []
    action = Action(module, {"data_dir": "/d", "runs": [], "summary": True}, [])
    assert action.run(None, {})["results"] == []


def test_a_submission_of_nothing_is_no_task_without_runs(shown: list[str]) -> None:
    action = Action("job", {"data_dir": "/d", "finetunes": []}, [{"changed": False, "runs": []}])
    assert action.run(None, {})["changed"] is False and len(action.calls) == 1


def test_runs_of_an_earlier_task_are_only_followed(shown: list[str]) -> None:
    runs = [run_view("a", True), run_view("b", True)]
    action = Action("merge", {"data_dir": "/d", "runs": runs}, [{"changed": False, "runs": [run_view("a", False)]}])
    assert action.run(None, {})["changed"] is False
    assert [name for name, _arguments in action.calls] == ["job"]
    assert action.calls[0][1]["runs"] == runs and action.calls[0][1]["kinds"] == ["merge"]
    assert shown == [], "a task that had nothing to wait for prints nothing"


@pytest.mark.parametrize(
    ("arguments", "waits"),
    [
        ({"wait": False}, False),
        ({"wait": "no"}, False),
        ({"state": "submitted"}, False),
        ({"state": "cancelled"}, True),
        ({"state": "absent"}, False),
        ({"state": "rolled_back"}, False),
    ],
)
def test_what_is_not_followed(shown: list[str], arguments: dict[str, t.Any], waits: bool) -> None:
    answer = {"changed": True, "runs": [run_view("m", True)]}
    action = Action("job", {"data_dir": "/d", **arguments}, [answer])
    assert action.run(None, {}) == answer
    assert action.calls[0][1]["wait"] is waits, "a cancellation is waited for by the module"


def test_check_mode_is_not_followed(shown: list[str]) -> None:
    action = Action("train", {"data_dir": "/d"}, [{"changed": True, "runs": [run_view("m", True)]}])
    action._task.check_mode = True
    assert action.run(None, {})["changed"] is True and len(action.calls) == 1


def test_runs_of_an_earlier_task_are_answered_for_by_job_in_check_mode(shown: list[str]) -> None:
    """By the module that is built already, with what the module of the task would answer."""
    runs = [run_view("m", True)]
    action = Action("merge", {"data_dir": "/d", "runs": runs}, [{"changed": True, "runs": runs}])
    action._task.check_mode = True
    assert action.run(None, {}) == {"changed": True, "runs": runs}
    assert action.calls == [("job", {"data_dir": "/d", "runs": runs, "kinds": ["merge"], "wait": False})]


def test_a_complete_start_is_the_answer(shown: list[str]) -> None:
    answer = {"changed": False, "runs": [run_view("m", False)]}
    action = Action("train", {"data_dir": "/d"}, [answer])
    assert action.run(None, {}) == answer and len(action.calls) == 1


def test_a_failed_start_is_the_failure(shown: list[str]) -> None:
    action = Action("train", {"data_dir": "/d"}, [{"failed": True, "msg": "no"}])
    assert failure_of(action) == {"failed": True, "msg": "no"} and len(action.calls) == 1


@pytest.mark.parametrize("verbosity", [0, 1])
def test_a_failure_is_its_message_unless_the_play_is_verbose(
    shown: list[str], monkeypatch: pytest.MonkeyPatch, verbosity: int
) -> None:
    monkeypatch.setattr(_output.display, "verbosity", verbosity)
    runs = [run_view("m", True)]
    action = Action("train", {"data_dir": "/d"}, [{"runs": runs}, {"failed": True, "msg": "out of memory"}])
    result = failure_of(action)
    details = {"runs": runs} if verbosity else {}
    assert result == {"failed": True, "msg": "out of memory", "changed": True, **details}


def test_a_timeout_says_where_the_run_is(shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(0, 1000, 40))
    monkeypatch.setattr(_follow.time, "monotonic", lambda: float(next(seconds)))
    answers = [{"changed": True, "runs": [run_view("m", True)]} for _answer in range(9)]
    action = Action("train", {"data_dir": "/d", "timeout": 100}, answers)
    result = failure_of(action)
    assert result["failed"] and result["changed"]
    assert result["msg"] == "m: still at train. The run continues: apply again to attach to it."
    assert 1 < len(action.calls) < 9


def test_runs_that_cannot_be_determined_are_not_followed_for_ever(
    shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(0, 1000, 40))
    monkeypatch.setattr(_follow.time, "monotonic", lambda: float(next(seconds)))
    reason = "not checked: No Ollama server answers at http://127.0.0.1:11434."
    away = run_view("m", True, undetermined=reason, waiting_for=f"the check of register: {reason}")
    answers = [{"changed": True, "runs": [away, *more]} for more in ([run_view("n", True)], *[()] * 9)]
    action = Action("ollama_model", {"data_dir": "/d"}, answers)
    result = failure_of(action)
    assert result["failed"] and result["msg"] == (
        f"m: still waiting for the check of register: {reason} The run stays in the queue: make that server answer, "
        "and apply again."
    )
    assert 2 < len(action.calls) < 9, "a run at work is followed, whatever the others wait for"
