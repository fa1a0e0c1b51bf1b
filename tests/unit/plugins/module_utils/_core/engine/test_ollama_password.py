# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The password in the address of Ollama is in one file that only its owner can read, and the steps have it."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.syntax import (
    split_credentials,
    with_credentials,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import load_context
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab

PASSWORD = "s3cret-of-ollama"
URL = f"https://ollama:{PASSWORD}@gpu.lan:11434"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_no_record_of_a_run_has_the_password(lab: Lab) -> None:
    run = lab.run("a", "true")
    run = dataclasses.replace(run, toolchain=Toolchain(ollama_url=URL))
    assert lab.apply(run).state == "succeeded"
    holders = [path for path in lab.data.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert len(holders) == 1 and mode(holders[0]) == 0o600 and mode(holders[0].parent) == 0o700
    context = load_context(lab.job(run).directory)
    assert context.toolchain.ollama_url == "https://gpu.lan:11434"
    assert context.toolchain.ollama_address == URL
    holders[0].unlink()
    assert context.toolchain.ollama_address == "https://gpu.lan:11434", "the server refuses, and no supervisor crashes"


def test_a_new_password_counts_for_stored_runs(lab: Lab) -> None:
    run = dataclasses.replace(lab.run("a", "true"), toolchain=Toolchain(ollama_url=URL))
    lab.apply(run)
    other = URL.replace(PASSWORD, "another")
    lab.apply(dataclasses.replace(lab.run("b", "true"), toolchain=Toolchain(ollama_url=other)))
    assert load_context(lab.job(run).directory).toolchain.ollama_address == other


def test_directories_of_runs_and_jobs_are_closed_to_other_users(lab: Lab) -> None:
    run = lab.run("a", "exit 3")
    lab.apply(run)
    directory = Path(lab.job(run).directory)
    assert (mode(directory.parent), mode(directory)) == (0o750, 0o750)
    for path in (directory.parent, directory):
        path.chmod(0o755)  # as an earlier version left it
    lab.apply(run)
    assert (mode(directory.parent), mode(directory)) == (0o750, 0o750)


@pytest.mark.parametrize(
    ("url", "without", "credentials"),
    [
        (URL, "https://gpu.lan:11434", f"ollama:{PASSWORD}"),
        ("u:p@h:1/path", "h:1/path", "u:p"),
        ("http://u%40x:p%2Fq@[::1]:1", "http://[::1]:1", "u%40x:p%2Fq"),
        ("http://u@h", "http://h", "u"),
        ("http://u:p@q@h", "http://h", "u:p@q"),
        ("http://h:1", "http://h:1", ""),
        ("h", "h", ""),
        ("http://h/a@b", "http://h/a@b", ""),
    ],
)
def test_an_address_is_split_and_joined(url: str, without: str, credentials: str) -> None:
    assert split_credentials(url) == (without, credentials)
    assert with_credentials(without, credentials) == url
    assert Ollama(url).url == Ollama(without).url
