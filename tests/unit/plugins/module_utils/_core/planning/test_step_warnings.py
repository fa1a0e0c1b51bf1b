# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.step_warnings import (
    add_warnings,
    read_warnings,
)

FIRST = Message("errors.did_you_mean_quoted", name="a")
SECOND = Message("errors.did_you_mean_quoted", name="b")


def test_warnings_are_added_to_those_that_are_there() -> None:
    options = add_warnings(add_warnings({"aliases": []}, [FIRST, None]), [SECOND])
    assert read_warnings(options) == [FIRST, SECOND]
    assert options["aliases"] == []
    assert options["warning"] == f"{FIRST} {SECOND}", "what older versions read"


def test_without_warnings_the_options_are_the_same() -> None:
    assert add_warnings({"aliases": []}, [None]) == {"aliases": []}
    assert read_warnings({"aliases": []}) == []


def test_a_warning_of_an_older_version_is_its_text() -> None:
    assert [str(warning) for warning in read_warnings({"warning": "The disk is small."})] == ["The disk is small."]
