# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that Ansible itself runs as root, in the data directory of another user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.toolchain import (
    LOCKS,
    Settings,
    Toolchain,
)
from ansible_collections.ia_homelab.llamafactory.tests.support import probe_core
from ansible_collections.ia_homelab.llamafactory.tests.support.owner_lab import OwnerLab
from ansible_collections.ia_homelab.llamafactory.tests.support.weights import write_safetensors

_ROOT = Path(__file__).resolve().parents[4]
_COLLECTIONS = _ROOT / "playbooks" / "collections"
#: The settings of ``./test.sh`` by which runs of Ansible share the modules that they pack.
_SHARED = {
    **{name: os.environ[name] for name in ("IA_MODULE_CACHE", "ANSIBLE_CALLBACKS_ENABLED", "ANSIBLE_CALLBACK_PLUGINS")
       if name in os.environ},
    "ANSIBLE_LOAD_CALLBACK_PLUGINS": "true",
}  # fmt: skip


@pytest.fixture
def other() -> t.Iterator[OwnerLab]:
    """A data directory of a user without an entry in passwd."""
    owner_lab = OwnerLab(12345, 12346)
    yield owner_lab
    owner_lab.close()


def run_module(
    lab: OwnerLab, module: str, interpreter: str = "/usr/bin/python3", /, **arguments: t.Any
) -> dict[str, t.Any]:
    """Run a module with Ansible, in the data directory unless it works with tools; return its result."""
    if "tools_dir" not in arguments:
        arguments["data_dir"] = str(lab.data)
    tmp = lab.root / "tmp"
    tmp.mkdir(mode=0o700, exist_ok=True)
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible")), "localhost", "-c", "local", "-i", "localhost,",
         "-m", f"ia_homelab.llamafactory.{module}", "-a", json.dumps(arguments),
         "-e", json.dumps({"ansible_python_interpreter": interpreter})],
        env={"PATH": os.environ["PATH"], "HOME": "/root", "LC_ALL": "C.UTF-8", "TMPDIR": str(tmp),
             "ANSIBLE_HOME": str(lab.root / "ansible"), "ANSIBLE_COLLECTIONS_PATH": str(_COLLECTIONS),
             "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_PIPELINING": "true", **_SHARED},
        capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    assert "=> {" in done.stdout, done.stdout + done.stderr
    left = [path.name for path in tmp.iterdir() if "payload" in path.name]
    assert left == [], "root removes what it unpacked"
    result: dict[str, t.Any] = json.loads(done.stdout[done.stdout.index("=> {") + 3 :])
    return result


@pytest.fixture
def base(other: OwnerLab) -> Path:
    """A directory with the smallest base model."""
    directory = other.root / "base"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    (directory / "tokenizer.json").write_text("{}")
    (directory / "tokenizer_config.json").write_text("{}")
    write_safetensors(directory / "model.safetensors", {"w": ("F32", [2, 2], b"\0" * 16)})
    return directory


@pytest.mark.parametrize("interpreter", ["readable", "of root"])
def test_job_of_a_root_play_belongs_to_the_owner(other: OwnerLab, base: Path, interpreter: str) -> None:
    """Supervisor and worker run as the owner, from a core that was installed after root had become that user."""
    python = Path(other.python)
    if interpreter == "of root":
        closed = other.root / "closed"
        closed.mkdir(mode=0o700)
        python = closed / "python3"
        python.symlink_to(other.python)
    result = run_module(other, "base", str(python), name=str(base))
    assert result.get("changed") is True, result
    (core,) = (other.data / "core").iterdir()
    installed = {path.relative_to(core / "ia_homelab_core").as_posix() for path in core.rglob("*.py")}
    assert installed == set(probe_core.shipped_sources())
    (supervisor,) = other.data.glob("jobs/done/*/*/supervisor.json")
    assert supervisor.stat().st_uid == other.uid
    assert other.strangers() == []
    found = run_module(other, "job_info", str(python))
    assert [run["state"] for run in found["runs"]] == ["succeeded"]
    assert run_module(other, "base", str(python), name=str(base))["changed"] is False


def test_rows_that_only_root_can_read_on_the_controller_are_transferred(other: OwnerLab) -> None:
    rows = other.root / "rows.json"
    rows.write_text(json.dumps([{"instruction": "a", "output": "b"}]))
    rows.chmod(0o600)
    result = run_module(other, "dataset", name="prompts", src=str(rows))
    assert (result.get("changed"), result.get("rows")) == (True, 1), result
    assert other.strangers() == []
    refused = run_module(other, "dataset", name="more", src=str(rows), remote_src=True)
    assert "it may not be read by this user" in refused["msg"]


def test_errors_of_the_owner_are_the_result_of_the_module(other: OwnerLab, base: Path) -> None:
    result = run_module(other, "job_info", run="unknown")
    assert result["msg"].startswith("There is no run 'unknown'")
    (other.data / "models").symlink_to(other.root / "elsewhere")
    (other.root / "elsewhere").mkdir()
    refused = run_module(other, "base", name=str(base))
    assert "elsewhere" in refused["msg"] or "models" in refused["msg"], refused
    assert "the user with id 12345" in refused["msg"]
    assert list((other.root / "elsewhere").iterdir()) == []


def test_programs_in_the_tools_directory_of_another_user_run_as_this_user(other: OwnerLab) -> None:
    """The user replaces an interpreter that the module asks for its version."""
    seen = other.root / "seen"
    seen.mkdir()
    seen.chmod(0o777)
    tools = other.data / "tools"
    pins = {name: f"{name}==1" for name in LOCKS}
    settings = Settings(str(tools), pins, accelerator="cpu")
    version = Toolchain(settings).python.version
    planted = Path(Toolchain(settings).components["llamafactory"].path)
    (planted / "bin").mkdir(parents=True)
    for name in (".complete", "bin/llamafactory-cli", "bin/python"):
        (planted / name).write_text(f"#!/bin/sh\nid -u > {seen}/$$\nexit 1\n")
        (planted / name).chmod(0o755)
    for path in [tools, *tools.rglob("*")]:
        os.chown(path, other.uid, other.gid)
    found = run_module(other, "toolchain_info", tools_dir=str(tools), pins=pins, accelerator="cpu")
    assert found["python"]["version"] == version, found
    assert {path.read_text().strip() for path in seen.iterdir()} == {str(other.uid)}
    assert (found["user_is_root"], found["requirements_dir"]) == (True, "/opt/ia-homelab/requirements")
    assert found["tools_dir"] == str(tools)


def test_tools_of_root_in_the_directory_of_another_user_become_this_users(other: OwnerLab) -> None:
    """This user could replace the directory. Version 0.1.0 has made it there as root."""
    tools = other.data / "tools"
    (tools / "builder").mkdir(parents=True)
    other_file = other.data / "file"
    other_file.touch()
    pins = {name: f"{name}==1" for name in LOCKS}
    found = run_module(other, "toolchain_info", tools_dir=str(tools), pins=pins)
    assert found["requirements_dir"] == "/opt/ia-homelab/requirements", found
    assert (tools.stat().st_uid, (tools / "builder").stat().st_uid) == (0, 0), "it only reads"
    failed = run_module(other, "toolchain", tools_dir=str(tools), pins=pins, requirements_dir="/nowhere")
    assert "msg" in failed
    assert {path.stat().st_uid for path in [tools, *tools.rglob("*")]} == {other.uid}
    assert other_file.stat().st_uid == 0


def test_tools_directory_that_another_user_can_replace_is_refused(other: OwnerLab) -> None:
    tools = other.data / "deeper" / "tools"
    tools.mkdir(parents=True)
    pins = {name: f"{name}==1" for name in LOCKS}
    refused = run_module(other, "toolchain_info", tools_dir=str(tools), pins=pins)
    assert f"{other.data} belongs to 12345, who could replace {tools}" in refused["msg"]
    assert f"chown -R USER: {tools}" in refused["hint"]
