# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where tools and lock files belong, and which programs root does not execute."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import places


def test_tools_of_root_are_in_a_directory_of_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(**more: t.Any) -> str:
        params = {"tools_dir": None, "llamafactory_data_dir": str(tmp_path), **more}
        result = places.tools_dir(params)
        assert params["tools_dir"] == result, "the module uses it"
        return result

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert chosen() == "/opt/ia-homelab/tools"
    assert chosen(tools_dir="/srv/tools") == "/srv/tools"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert chosen() == f"{tmp_path}/tools"
    (tmp_path / "tools").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert chosen() == f"{tmp_path}/tools", "existing tools are not installed again"


def test_root_copies_no_lock_files_into_a_directory_of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert places.requirements_dir("/t", True) == "/t/.requirements"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert places.requirements_dir("/t", True) == "/opt/ia-homelab/requirements"
    assert places.requirements_dir("/t", False) == "/t/.requirements"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_does_not_start_a_program_of_another_user(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "ollama"
    program.parent.mkdir()
    program.touch()
    link = tmp_path / "ollama"
    link.symlink_to(program)
    places.require_program_of_root(str(link))
    os.chown(program.parent, 12345, 12345)
    with pytest.raises(NotReadyError, match="can be replaced by 12345, and root would execute it"):
        places.require_program_of_root(str(link))
