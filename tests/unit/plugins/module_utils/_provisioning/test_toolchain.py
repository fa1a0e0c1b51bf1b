# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which components belong to a host, which are missing, and what prevents building them."""

from __future__ import annotations

import platform
import re
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import system, toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.components import (
    MARKER,
    REQUIRED_FILES,
    Component,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.ollama_programs import (
    archive_component,
    source_component,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.pythons import Interpreter
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.toolchain import (
    LOCKS,
    Settings,
    Toolchain,
    read_pins,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.stand_in_tools import StandIns

ROLE = Path(__file__).resolve().parents[5] / "roles" / "llamafactory"
PINS = {
    **{name: f"{name}==1.0" for name in LOCKS},
    "llamafactory": "llamafactory==1.0 torch==2",
    "llama_cpp": "llama-cpp-python==1",
    "builder": "uv==1",
}


def settings(tools_dir: object = "/t", **more: t.Any) -> Settings:
    return Settings(str(tools_dir), PINS, accelerator=more.pop("accelerator", "cpu"), **more)


def complete(component: Component) -> None:
    """Put the files of a complete component on the disk."""
    for name in (MARKER, *REQUIRED_FILES[component.name]):
        path = Path(component.path, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine for which version 0.1.0 computed the names below, before the installer became modules."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    options = {"GGML_NATIVE": "OFF", "GGML_AVX": "ON"}
    monkeypatch.setattr(toolchain, "instruction_set_options", lambda: options)


@pytest.mark.parametrize(
    ("more", "llamafactory", "converter"),
    [
        ({}, "42e63517fbceb8e0", "223228d236d801bd"),
        ({"accelerator": "cuda", "torch_index_url": "https://t.test/whl"}, "e53c41aa64388ed5", "d5030a3dd8eef187"),
    ],
)
def test_names_of_installed_components_stay(
    one_machine: None, more: dict[str, t.Any], llamafactory: str, converter: str
) -> None:
    """A host that was provisioned before builds nothing again but llama.cpp, whose second recipe has more programs."""
    found = Toolchain(settings(python_from="uv", deepspeed="torch_index_url" in more, **more)).components
    assert {name: component.path for name, component in found.items()} == {
        "llamafactory": f"/t/llamafactory-{llamafactory}",
        "converter": f"/t/converter-{converter}",
        "llama_cpp": "/t/llama.cpp-0881a1302cf09c99",  # recipe 2, with llama-imatrix and llama-perplexity
        "llama_server": "/t/llama-server-0cfd9431ca817e1c",
        "headers": "/t/llama-headers-8bde6a841185d9d5",
        "builder": "/t/builder-0cb2c76673a6a9c2",
    }
    assert archive_component("/t", "ab").path == "/t/ollama-d114f9a4902d82bc"
    assert source_component("/t", "0.24.0").path == "/t/ollama-c7ca997789323366"
    assert source_component("/t", "0.24.0", "llama-cpp-python==1") == source_component("/t", "0.24.0")


def test_a_build_of_ollama_depends_on_the_llama_server_beside_it(one_machine: None) -> None:
    first = source_component("/t", "0.32.15", "llama-cpp-python==1")
    assert first == source_component("/t", "0.32.15", "llama-cpp-python==1")
    assert first.path != source_component("/t", "0.32.15", "llama-cpp-python==2").path
    assert first.path != source_component("/t", "0.30.0", "llama-cpp-python==1").path


def test_a_component_is_complete_with_all_of_its_files(tmp_path: Path) -> None:
    component = Toolchain(settings(tmp_path, python_from="uv")).components["llamafactory"]
    complete(component)
    assert component.is_complete()
    python = Path(component.path, "bin/python")
    python.unlink()
    assert not component.is_complete()
    python.symlink_to("/removed/by/the/system/python3.11")
    assert not component.is_complete(), "a link to an interpreter that is gone"
    python.unlink()
    python.touch()
    Path(component.path, MARKER).unlink()
    assert not component.is_complete(), "the installation was interrupted"


def test_missing_components_are_listed_in_build_order(tmp_path: Path) -> None:
    found = Toolchain(settings(tmp_path, python_from="uv"))
    assert found.missing(["headers", "llama_cpp", "llamafactory", "converter"]) == [
        "builder", "converter", "llamafactory", "llama_cpp", "headers",
    ]  # fmt: skip
    complete(found.components["builder"])
    complete(found.components["converter"])
    assert found.missing(["converter", "llama_cpp"]) == ["llama_cpp"]
    assert found.missing(["llama_cpp", "llama_server"]) == ["llama_server", "llama_cpp"], "the first build makes both"
    assert found.missing(["converter"]) == []
    assert found.missing([]) == []


def test_a_builder_is_not_needed_if_nothing_is_missing(tmp_path: Path) -> None:
    found = Toolchain(settings(tmp_path, python_from="uv"))
    complete(found.components["headers"])
    assert found.missing(["headers"]) == []
    assert found.missing(["headers", "builder"]) == ["builder"]


def test_installed_environments_decide_before_interpreters(tmp_path: Path, stand_ins: StandIns) -> None:
    older = Toolchain(settings(tmp_path, python=str(stand_ins.add("python3.11"))))
    assert older.python.version == "3.11"
    complete(older.components["llamafactory"])
    again = Toolchain(settings(tmp_path))
    assert again.components["llamafactory"].is_complete()
    assert again.python.path == older.components["llamafactory"].path + "/bin/python", "for the missing converter"
    complete(again.components["converter"])
    assert Toolchain(settings(tmp_path)).python.path == "", "no interpreter is needed"


def test_uv_installs_the_python_of_a_host_without_one(tmp_path: Path) -> None:
    found = Toolchain(settings(tmp_path, python_from="uv"))
    assert found.python == Interpreter("3.12", "")


def test_a_declared_python_that_does_not_run_is_a_problem(tmp_path: Path, stand_ins: StandIns) -> None:
    broken = stand_ins.add("pyenv-shim", script="#!/bin/sh\nexit 127\n")
    found = Toolchain(settings(tmp_path, python=str(broken)))
    (problem,) = found.problems(["converter"])
    assert problem.subject == "python" and str(broken) in str(problem.content) and not problem.packages
    assert found.problems(["llama_cpp"]) == [], "llama.cpp does not depend on it"


def test_a_declared_python_of_another_version_is_a_problem(tmp_path: Path, stand_ins: StandIns) -> None:
    found = Toolchain(settings(tmp_path, python=str(stand_ins.add("python3.14"))))
    assert "version 3.14" in found.problems(["llamafactory"])[0].as_dict()["reason"]


def test_a_host_without_python_names_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_ins: StandIns
) -> None:
    monkeypatch.setattr(toolchain, "find_supported", dict)
    release = {"id": "ubuntu", "version": "22.04", "codename": "jammy", "name": "Ubuntu 22.04"}
    monkeypatch.setattr(toolchain, "os_release", lambda: release)
    (problem,) = Toolchain(settings(tmp_path)).problems(["llamafactory"])
    assert problem.packages == "python3.11 python3.11-venv" and "Ubuntu 22.04" in str(problem.content)
    release["id"] = "fedora"
    (problem,) = Toolchain(settings(tmp_path)).problems(["llamafactory"])
    assert problem.packages == "" and "python_from: uv" in str(problem.content)


def test_a_missing_compiler_and_venv_are_problems(
    tmp_path: Path, stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = str(stand_ins.bin / "python3.12")
    found = Toolchain(settings(tmp_path, python=python))
    assert found.problems(["builder", "llama_cpp"]) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(toolchain, "find_for_environments", lambda _preferred: "")
    venv, compiler = found.problems(["builder", "llama_cpp"])
    assert (venv.packages, compiler.packages) == ("python3.12-venv", "g++")


@pytest.mark.parametrize("name", LOCKS)
def test_pins_are_read_as_the_role_reads_them(name: str) -> None:
    """Else an image, and a host, would give one component two names."""
    variables = yaml.safe_load((ROLE / "vars" / "main.yml").read_text(encoding="utf-8"))
    pattern = variables["llamafactory_pin_and_hash" if name == "llama_cpp" else "llamafactory_pin"]
    text = (ROLE / "files" / f"requirements-{LOCKS[name]}.txt").read_text(encoding="utf-8")
    expected = " ".join(re.findall(pattern, text))
    assert "==" in expected
    assert read_pins(str(ROLE / "files"))[name] == expected


def test_versions_are_those_of_the_pins() -> None:
    found = Toolchain(Settings("/t", read_pins(str(ROLE / "files")), python_from="uv", accelerator="cpu"))
    assert sorted(found.versions()) == ["llama-cpp-python", "llamafactory", "torch", "uv"]


def test_instruction_sets_are_those_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "read_text", lambda _path: "processor : 0\nflags\t: fpu avx fma amx_tile\n")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    options = toolchain.instruction_set_options()
    assert options.pop("GGML_NATIVE") == "OFF"
    assert {name for name, value in options.items() if value == "ON"} == {"GGML_AVX", "GGML_FMA"}
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert toolchain.instruction_set_options() == {"GGML_NATIVE": "OFF"}


def test_the_accelerator_is_found_on_the_bus_before_a_driver_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    for name, value in (("vendor", "0x10de\n"), ("class", "0x030200\n"), ("device", "0x2684\n")):
        (device / name).write_text(value)
    assert system.has_nvidia_gpu(str(tmp_path))
    (device / "class").write_text("0x040300\n")  # its sound
    assert not system.has_nvidia_gpu(str(tmp_path))
    for has_gpu, accelerator in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(toolchain, "has_nvidia_gpu", lambda found=has_gpu: found)
        assert Toolchain(settings(tmp_path, accelerator="auto", python_from="uv")).accelerator == accelerator


def test_programs_that_do_not_start_or_never_end_are_statuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert system.run(str(tmp_path / "missing")) == (system.NOT_FOUND, "")
    assert system.run("/bin/sh", "-c", "echo out; echo err >&2; exit 4") == (4, "out\nerr")
    assert system.run("/bin/sh", "-c", "echo out; echo err >&2", stderr=False) == (0, "out")
    monkeypatch.setenv("LC_ALL", "fr_FR.UTF-8")
    assert system.run("/bin/sh", "-c", "echo $LC_ALL $MORE", env={"MORE": "more"}) == (0, "C more")
    monkeypatch.setattr(system, "_SECONDS", 0.1)
    assert system.run("/bin/sleep", "5") == (system.TIMED_OUT, "")
