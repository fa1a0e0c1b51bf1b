# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task prints for people to read, beside its result."""

from __future__ import annotations

import typing as t

from ansible import constants
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


def shortened(result: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return a result; a failed one without what its message does not need, unless the play is verbose."""
    if not result.get("failed") or display.verbosity > 0:
        return result
    return {name: value for name, value in result.items() if name in _SHORT}
