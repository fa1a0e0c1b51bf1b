# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``./quickstart.sh`` refuses, before it installs anything."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def quickstart(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "XDG_DATA_HOME"}
    return subprocess.run(
        [str(ROOT / "quickstart.sh"), *arguments],
        env={**environment, "HOME": str(home)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--verbos"], "unknown option --verbos. ./quickstart.sh --help lists the options."),
        (["page"], "unknown option page."),
        (["--port"], "--port needs a value."),
        (["--port", "abc"], "--port abc: a port is a number from 1 to 65535."),
        (["--port", "0"], "--port 0: a port"),
        (["--page-port", "65536"], "--page-port 65536: a port"),
        (["--page", "--page-port", "11435"], "need different ports"),
        (["--data-dir", "a b"], "contains white space"),
    ],
)
def test_a_wrong_option_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = quickstart(tmp_path, *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert message in done.stderr and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_clean_removes_no_directory_of_others(tmp_path: Path) -> None:
    assert "There is nothing to remove" in quickstart(tmp_path, "--clean").stderr
    own = tmp_path / "own"
    own.mkdir()
    (own / "letter").write_text("kept")
    refused = quickstart(tmp_path, "--clean", "--data-dir", str(own))
    assert refused.returncode == 2 and "is not a data directory of this project" in refused.stderr
    assert (own / "letter").read_text() == "kept"


def test_help_names_every_option(tmp_path: Path) -> None:
    text = quickstart(tmp_path, "--help").stdout
    parsed = re.findall(r"^ +(--[a-z-]+)(?: \| [^)]*)?\)", (ROOT / "quickstart.sh").read_text(encoding="utf-8"), re.M)
    assert len(parsed) >= 9 and [option for option in parsed if f"{option} " not in text] == []
