# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The build of llama.cpp in an image needs only the files that the role copies into the build context."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import build_llama_cpp
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.toolchain import Toolchain
from ansible_collections.ia_homelab.llamafactory.tests.support.stand_in_tools import StandIns

ROOT = Path(__file__).resolve().parents[5]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A build context, from the list of the role."""
    variables = yaml.safe_load((ROOT / "roles/llamafactory/vars/main.yml").read_text(encoding="utf-8"))
    text = variables["llamafactory_image_modules"]
    named = re.findall(r"'(module_utils/[\w/]+\.py)'", text)
    globs = re.findall(r"'/(module_utils/[\w/]+/\*\.py)'", text)
    assert named and "module_utils/_provisioning/*.py" in globs
    for path in [*named, *(path for pattern in globs for path in (ROOT / "plugins").glob(pattern))]:
        path = ROOT / "plugins" / path
        target = tmp_path / "context" / path.relative_to(ROOT / "plugins")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path / "context"


def test_it_imports_nothing_from_outside_of_the_context(context: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-E", "-S", "-m", "module_utils._provisioning.build_llama_cpp", "--help"],
        cwd=context, capture_output=True, text=True, check=False, env={"PATH": os.defpath},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--requirements-dir" in done.stdout


def test_its_errors_have_their_texts_in_the_context(context: Path, tmp_path: Path) -> None:
    program = "from module_utils._core.errors import InputError as E; print(E('provisioning.no_program', program='x'))"
    done = subprocess.run(
        [sys.executable, "-E", "-S", "-c", program],
        cwd=context, capture_output=True, text=True, check=False, env={"PATH": os.defpath},
    )  # fmt: skip
    assert done.stdout == "x is not a program. Install Ollama first.\n", done.stderr


def test_the_dockerfile_runs_it_with_arguments_that_it_has() -> None:
    text = (ROOT / "roles/llamafactory/files/images/llama-cpp/Dockerfile").read_text(encoding="utf-8")
    assert "COPY module_utils/ /opt/installer/module_utils/" in text
    assert f"python3 -m module_utils._provisioning.{build_llama_cpp.__name__.rpartition('.')[2]} " in text
    used = set(re.findall(r"--(?:tools-dir|requirements-dir|index-url)", text))
    assert used == {"--tools-dir", "--requirements-dir", "--index-url"}


def test_it_builds_llama_cpp(
    stand_ins: StandIns, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # as in an image, the builder's environment is made with the interpreter of the system
    monkeypatch.setattr(Toolchain, "builder_python", lambda _self: str(stand_ins.bin / "python3.12"))
    tools = stand_ins.root / "tools"
    arguments = ["--tools-dir", str(tools), "--requirements-dir", str(stand_ins.requirements)]
    assert build_llama_cpp.main(arguments) == 0
    (built,) = tools.glob("llama.cpp-*")
    assert capsys.readouterr().out == f"{built}\n"
    assert (built / "bin/llama-quantize").exists()


def test_it_reports_why_it_cannot(stand_ins: StandIns, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--tools-dir", str(stand_ins.root / "tools"), "--requirements-dir", str(stand_ins.root / "missing")]
    assert build_llama_cpp.main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and "/missing does not exist" in captured.err
