# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import StoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.estimates.decisions import (
    read_decisions,
    write_decision,
)


def test_the_other_decisions_are_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "new" / "decisions.json")
    assert read_decisions(path) == {}
    write_decision(path, "a", {"value": 1})
    write_decision(path, "b", {"value": 2})
    write_decision(path, "a", {"value": 3})
    assert read_decisions(path) == {"a": {"value": 3}, "b": {"value": 2}}


def test_decisions_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "decisions.json")
    threads = [threading.Thread(target=write_decision, args=(path, str(number), {})) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read_decisions(path), key=int) == [str(number) for number in range(20)]


@pytest.mark.parametrize("content", ["", "{"])
def test_a_damaged_file_is_an_error_and_stays(tmp_path: Path, content: str) -> None:
    path = tmp_path / "decisions.json"
    path.write_text(content)
    with pytest.raises(StoreError, match="is not valid JSON"):
        read_decisions(str(path))
    with pytest.raises(StoreError, match="is not valid JSON"):
        write_decision(str(path), "a", {})
    assert path.read_text() == content


@pytest.mark.parametrize("content", ["[1]", '"text"', "null"])
def test_another_content_has_no_decisions(tmp_path: Path, content: str) -> None:
    path = tmp_path / "decisions.json"
    path.write_text(content)
    assert read_decisions(str(path)) == {}
