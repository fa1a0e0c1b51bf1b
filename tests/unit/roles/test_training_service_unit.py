# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit of the training service: its sandbox, and that systemd knows all of it. molecule/service starts it."""

from __future__ import annotations

import re
import shutil
import subprocess
import typing as t
from pathlib import Path

import jinja2
import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.role_play import ROOT

TEMPLATE = ROOT / "roles" / "training_service" / "templates" / "training-service.service.j2"


def rendered(**variables: t.Any) -> str:
    environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    environment.tests["match"] = lambda value, pattern: re.match(pattern, value) is not None
    values = {
        "training_service_data_dir": "/data", "training_service_dir": "/opt/service", "training_service_toolchain": {},
        "training_service_venv": "/usr", "training_service_etc": "/etc/service", "training_service_digest": "0123",
        "training_service_user": "root", "training_service_groups": [], "training_service_memory_high": "2G",
    }  # fmt: skip
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render({**values, **variables})


@pytest.mark.parametrize(
    "line",
    [
        "SystemCallFilter=@system-service", "SystemCallErrorNumber=EPERM", "ProtectProc=invisible", "PrivateTmp=true",
        "MemoryHigh=2G", "NoNewPrivileges=true", "ProtectSystem=strict", "Environment=IA_HOMELAB_DIGEST=0123",
    ],
)  # fmt: skip
def test_the_service_is_confined(line: str) -> None:
    assert line in rendered().splitlines()


def test_the_limit_of_memory_can_be_left_out() -> None:
    assert "MemoryHigh" not in rendered(training_service_memory_high="")


def test_what_jobs_would_not_survive_is_left_out() -> None:
    """A job may start in this unit, and PyTorch compiles code, uses GPUs and /dev/shm, and reads /proc/meminfo."""
    text = rendered()
    for name in ("MemoryDenyWriteExecute", "PrivateDevices", "PrivateIPC", "ProcSubset", "MemoryMax", "PrivateNetwork"):
        assert name not in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_knows_every_option(tmp_path: Path) -> None:
    unit = tmp_path / "ia-homelab-training.service"
    unit.write_text(rendered(training_service_venv="/usr"))
    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert not [line for line in found.stderr.splitlines() if "Unknown" in line or "Failed to parse" in line]
