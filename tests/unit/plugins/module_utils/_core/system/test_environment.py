# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment variables that jobs inherit, and lines that they log."""

from __future__ import annotations

import io
import os
import sys

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.environment import clean_environment
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.log import log_line


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    made: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", made)
    return made


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "https_proxy", "HTTPS_PROXY", "HF_ENDPOINT"]
)
def test_inherited(environment: dict[str, str], name: str) -> None:
    environment[name] = "x"
    assert clean_environment()[name] == "x"


@pytest.mark.parametrize("name", ["HF_TOKEN", "SECRET", "AWS_KEY", "PYTHONPATH", "path", "XCUDA_", "SSH_AUTH_SOCK"])
def test_not_inherited(environment: dict[str, str], name: str) -> None:
    environment[name] = "x"
    assert name not in clean_environment()


def test_a_bare_environment_is_completed(environment: dict[str, str]) -> None:
    found = clean_environment()
    assert "/usr/bin" in found["PATH"].split(":") and os.path.isabs(found["HOME"])
    assert found["PYTHONDONTWRITEBYTECODE"] == "1"
    environment.update(PATH="", HOME="/h")
    assert (clean_environment()["PATH"], clean_environment()["HOME"]) == ("", "/h")


def test_a_logged_line_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process has lost no line."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(raw, 8192), encoding="utf-8"))
    log_line("é")
    assert raw.getvalue() == "é\n".encode()
