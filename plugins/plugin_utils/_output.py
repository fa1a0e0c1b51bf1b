# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task prints for people to read, beside its result."""

from __future__ import annotations

import typing as t

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.utils.display import Display

display = Display()

#: Callbacks whose standard output is for people. Others write JSON or XML, which lines of text would damage.
_FOR_PEOPLE = (
    "default",
    "ansible.builtin.default",
    "minimal",
    "ansible.builtin.minimal",
    "yaml",
    "community.general.yaml",
    "ia_homelab.llamafactory.milestones",
)

#: Keys of a failed result that are printed without ``-v``. The default callback prints a failed result whole.
_SHORT = ("failed", "changed", "msg", "exception", "unreachable")


def show(lines: t.Sequence[str]) -> None:
    """Print lines as they are: on standard output, or on standard error if the former is for a program."""
    is_for_people = constants.config.get_config_value("DEFAULT_STDOUT_CALLBACK") in _FOR_PEOPLE
    for line in lines:
        display.display(line, stderr=not is_for_people)


#: Keys of the result of a module that has crashed: what it printed is needed to find out why.
_OF_A_CRASH = ("module_stdout", "module_stderr")
#: From ``-vvv`` on, Ansible says at which line of which file a task is that failed.
_WITH_ORIGIN = 3


class Failure(AnsibleActionFail):
    """A failed result that is printed once.

    Of a failed result that an action returns, ansible-core makes an exception. The default callback prints the
    exception, with the lines of the role around the task, and then the result, with the same message. No option changes
    that; a result that is raised may leave out the exception.

    :param answer: the failed result, with ``msg``.
    """

    def __init__(self, answer: dict[str, t.Any]) -> None:
        self.answer = {name: value for name, value in answer.items() if name != "exception"}
        # ansible-core adds the others itself, of which it prints what it finds here
        added = {name: value for name, value in self.answer.items() if name not in ("failed", "msg")}
        super().__init__(str(answer["msg"]), result=added)

    @property
    def omit_exception_key(self) -> bool:
        """Whether ansible-core leaves its exception out of the result."""
        return True


def finished(task: t.Any, result: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the result of a task; of a failed one what is to be printed.

    :raises Failure: instead of returning a failed result, except where that is needed: Ansible evaluates
        ``failed_when`` and ``until`` only for what is returned.
    """
    if not result.get("failed"):
        return result
    crashed = any(name in result for name in _OF_A_CRASH) or not result.get("msg")
    if crashed or result.get("unreachable") or display.verbosity >= _WITH_ORIGIN:
        return _shortened(result)
    if getattr(task, "failed_when", None) or getattr(task, "until", None):
        return _shortened(result)
    raise Failure(_shortened(result))


def _shortened(result: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return a failed result without what its message does not need, unless the play is verbose."""
    if display.verbosity > 0:
        return result
    return {name: value for name, value in result.items() if name in _SHORT}
