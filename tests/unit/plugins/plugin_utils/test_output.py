# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a failed result ends a task: raised, so that it is printed once, or returned where Ansible needs that.

What the default callback prints of it is counted in ``tests/real/test_terminal_real.py``.
"""

from __future__ import annotations

import types
import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils import _output

FAILED = {"failed": True, "msg": "The disk is full.", "changed": True, "runs": [1], "exception": "a traceback"}


def task(**more: t.Any) -> t.Any:
    """A task with conditions."""
    return types.SimpleNamespace(**{"failed_when": [], "until": [], **more})


def test_result_without_failure_is_returned() -> None:
    result = {"changed": True, "runs": [1]}
    assert _output.finished(task(), result) is result


def test_failure_is_raised_without_exception_and_details() -> None:
    with pytest.raises(_output.Failure) as raised:
        _output.finished(task(), dict(FAILED))
    assert raised.value.answer == {"failed": True, "msg": "The disk is full.", "changed": True}
    assert raised.value.result.get("changed") is True, "what ansible-core makes the result of"
    assert str(raised.value) == "The disk is full." and raised.value.omit_exception_key


def test_failure_has_its_details_if_the_play_is_verbose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_output.display, "verbosity", 1)
    with pytest.raises(_output.Failure) as raised:
        _output.finished(task(), dict(FAILED))
    assert raised.value.answer["runs"] == [1]


@pytest.mark.parametrize("conditions", [{"failed_when": [False]}, {"until": ["done is succeeded"]}])
def test_failure_that_conditions_of_the_task_decide_about_is_returned(conditions: dict[str, t.Any]) -> None:
    result = _output.finished(task(**conditions), dict(FAILED))
    assert result == {"failed": True, "msg": "The disk is full.", "changed": True, "exception": "a traceback"}


@pytest.mark.parametrize("more", [{"module_stderr": "Traceback"}, {"unreachable": True}, {"msg": ""}])
def test_what_ansible_explains_is_returned(more: dict[str, t.Any]) -> None:
    assert _output.finished(task(), {**FAILED, **more})["exception"] == "a traceback"


def test_origin_of_the_task_is_printed_from_vvv_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_output.display, "verbosity", 3)
    assert _output.finished(task(), dict(FAILED)) == FAILED
