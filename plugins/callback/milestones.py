# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: milestones
type: stdout
short_description: Print one line for each thing that a playbook has done
version_added: 0.1.0
description:
  - Prints a line with the duration of each role and each longer task of a play, and of the tasks of roles only those
    that take longer than five seconds. Messages of M(ansible.builtin.debug) are printed as they are. A failure is one
    message.
  - The complete output, as P(ansible.builtin.default#callback) formats it, is written to the log file of Ansible
    (E(ANSIBLE_LOG_PATH)).
  - C(quickstart.sh) uses it. It is written for plays on one host.
author:
  - ia_homelab contributors (@ia-homelab)
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout in configuration
"""

import threading
import time
import typing as t

from ansible.plugins.callback.default import CallbackModule as DefaultCallback

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.kinds import KINDS_OF_MODULE

#: Seconds after which a task of a role is named on the terminal.
_LONG_SECONDS = 5.0
#: Seconds up to which a task of a play, if it is no role, is not worth a line.
_SHORT_SECONDS = 3.0
#: Tasks that print their own progress.
_WITH_PROGRESS = frozenset(f"ia_homelab.llamafactory.{module}" for module in (*KINDS_OF_MODULE, "job"))
_DEBUG = ("ansible.builtin.debug", "debug")
_ROLES = ("ansible.builtin.include_role", "include_role")
#: Tasks whose duration says nothing.
_QUIET = (*_DEBUG, "ansible.builtin.set_fact", "ansible.builtin.setup", "gather_facts", "meta")
#: Lines of a failed command's output that are shown.
_OUTPUT_LINES = 8


class _LogOnly:
    """A display whose messages go to the log file alone; warnings are displayed as well."""

    def __init__(self, display: t.Any) -> None:
        self._display = display

    def display(self, msg: str, *_args: t.Any, **_options: t.Any) -> None:
        """Write a message to the log file."""
        self._display.display(msg, log_only=True)

    def banner(self, msg: str, *_args: t.Any, **_options: t.Any) -> None:
        """Write a heading to the log file."""
        self.display(f"\n{msg.strip()} {'*' * max(3, 79 - len(msg))}")

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._display, name)


class CallbackModule(DefaultCallback):
    """Prints milestones, and writes the output of the default callback to the log file."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "ia_homelab.llamafactory.milestones"

    def __init__(self) -> None:
        super().__init__()
        self._terminal: t.Any = self._display
        self._display: t.Any = _LogOnly(self._terminal)
        self._milestone = ""
        self._milestone_began = 0.0
        self._is_role = False
        self._changed = False
        self._task: t.Any = None
        self._task_began = 0.0
        self._timer: threading.Timer | None = None
        self._failure = ""

    # -- milestones --------------------------------------------------------------------------------------------------

    def _say(self, line: str) -> None:
        self._terminal.display(line, screen_only=True)

    def _end_task(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        spent = time.monotonic() - self._task_began
        if self._task is not None and self._is_named(self._task) and spent >= _LONG_SECONDS:
            self._say(f"   {self._task.name}: {spent:.0f} s")
        self._task = None

    def _end_milestone(self) -> None:
        self._end_task()
        spent = time.monotonic() - self._milestone_began
        if self._milestone and not self._failure and (self._is_role or spent >= _SHORT_SECONDS):
            same = ", nothing to change" if self._is_role and not self._changed else ""
            self._say(f"-- {self._milestone}: {spent:.0f} s{same}")
        self._milestone = ""

    @staticmethod
    def _is_named(task: t.Any) -> bool:
        """Whether a task is one of a role that prints nothing by itself."""
        return task._role is not None and bool(task.name) and task.action not in _WITH_PROGRESS

    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        """Start a milestone with a task of a play; name a task of a role once it has taken long."""
        super().v2_playbook_on_task_start(task, is_conditional)
        if task._role is None:
            self._end_milestone()
            self._milestone = "" if task.action in _QUIET else task.get_name().strip()
            self._milestone_began, self._changed = time.monotonic(), False
            self._is_role = task.action in _ROLES
        else:
            self._end_task()
        self._task, self._task_began = task, time.monotonic()
        if self._is_named(task):
            self._timer = threading.Timer(_LONG_SECONDS, self._say, [f"   {task.name} …"])
            self._timer.daemon = True
            self._timer.start()

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        """End the last milestone of the previous play."""
        self._end_milestone()
        super().v2_playbook_on_play_start(play)

    # -- results -----------------------------------------------------------------------------------------------------

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """Note a change, and print the message of a task ``debug``."""
        super().v2_runner_on_ok(result)
        self._changed = self._changed or _did_something(_values(result))
        if self._task is None or not self._task.loop:
            self._show_message(result)

    def v2_runner_item_on_ok(self, result: t.Any) -> None:
        """Print the message of one item of a task ``debug``."""
        super().v2_runner_item_on_ok(result)
        self._show_message(result)

    def _show_message(self, result: t.Any) -> None:
        if self._task is not None and self._task._role is None and self._task.action in _DEBUG:
            self._say(f"\n{_values(result).get('msg', '')}")

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        """Print no milestone for a task of a play that was skipped."""
        super().v2_runner_on_skipped(result)
        if self._task is not None and self._task._role is None:
            self._milestone = ""

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        """Keep the message of a failure for the end: a rescue may follow."""
        super().v2_runner_on_failed(result, ignore_errors)
        if not ignore_errors:
            self._failure = self._describe(result)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        """Keep the reason."""
        super().v2_runner_on_unreachable(result)
        self._failure = self._describe(result)

    def _describe(self, result: t.Any) -> str:
        values = _values(result)
        failed = next((item for item in values.get("results") or () if item.get("failed")), values)
        output = str(failed.get("stderr") or failed.get("stdout") or "").splitlines()[-_OUTPUT_LINES:]
        name = self._task.name if self._task is not None else ""
        return "\n".join(
            [f"{name}: {failed.get('msg') or 'failed'}", *(f"   {line}" for line in output if line.strip())]
        )

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """Print the figures of each host in one line, and the failure if the play ended with one."""
        failed = bool(stats.failures or stats.dark)
        self._failure = self._failure if failed else ""
        self._end_milestone()
        super().v2_playbook_on_stats(stats)
        for host in sorted(stats.processed):
            figures = stats.summarize(host)
            counts = " ".join(f"{name}={figures[key]}" for name, key in _FIGURES)
            self._say(f"{host} : {counts}")
        if failed:
            self._terminal.display(f"\n{self._failure}", stderr=True, screen_only=True)


_FIGURES = (("ok", "ok"), ("changed", "changed"), ("unreachable", "unreachable"), ("failed", "failures"))


def _did_something(values: t.Mapping[str, t.Any]) -> bool:
    """Whether a task changed something, also what ``changed_when`` leaves out: a server that runs for one play."""
    diff = values.get("diff")
    return bool(values.get("changed")) or (isinstance(diff, dict) and diff.get("before") != diff.get("after"))


def _values(result: t.Any) -> t.Mapping[str, t.Any]:
    """Return the values of a task result. Its attribute is public from ansible-core 2.19 on."""
    values: t.Mapping[str, t.Any] = result.result if hasattr(result, "result") else result._result
    return values
