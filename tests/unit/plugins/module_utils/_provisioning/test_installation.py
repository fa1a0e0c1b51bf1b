# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The toolchain is installed by the module, with stand-ins for the programs that do the work."""

from __future__ import annotations

import json
import os
import re
import shutil
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import llama_cpp, toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.components import MARKER
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.workspace import Workspace
from ansible_collections.ia_homelab.llamafactory.tests.support import modules
from ansible_collections.ia_homelab.llamafactory.tests.support.stand_in_tools import StandIns

FILES = Path(__file__).resolve().parents[5] / "roles" / "llamafactory" / "files"
ALL = ["builder", "converter", "llamafactory", "llama_cpp"]


@pytest.fixture(autouse=True)
def enough_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-ins need no space, and the machine of the tests may have little."""
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1 << 40))


def run(stand_ins: StandIns, check: bool = False, **more: t.Any) -> dict[str, t.Any]:
    return modules.call("toolchain", {**stand_ins.settings, **more}, check=check)


def look(stand_ins: StandIns, **more: t.Any) -> dict[str, t.Any]:
    arguments = {**stand_ins.settings, **more}
    del arguments["requirements_dir"]
    return modules.call("toolchain_info", arguments)


def names(result: t.Mapping[str, t.Any]) -> list[str]:
    return [item["name"] for item in result["installed"]]


def commands(result: t.Mapping[str, t.Any], component: str) -> list[str]:
    """The commands in the log of a component."""
    path = Path(result["components"][component]["path"])
    lines = (path.parent / ".logs" / f"{path.name}.log").read_text().splitlines()
    return [line[2:] for line in lines if line.startswith("$ ")]


def marker(result: t.Mapping[str, t.Any], component: str) -> dict[str, t.Any]:
    return dict(json.loads(Path(result["components"][component]["path"], MARKER).read_text()))


def test_check_run_check_run(stand_ins: StandIns) -> None:
    tools = Path(stand_ins.settings["tools_dir"])
    assert look(stand_ins)["missing"] == ["builder", "converter", "llamafactory", "llama_cpp"]
    predicted = run(stand_ins, check=True)
    assert predicted["changed"] and not tools.exists(), "check mode creates nothing"
    made = run(stand_ins)
    assert made["changed"] and names(made) == names(predicted) == ALL
    assert [item["path"] for item in made["installed"]] == [item["path"] for item in predicted["installed"]]
    assert made["toolchain"]["complete"] and not predicted["toolchain"]["complete"]
    before = {path: path.stat().st_mtime_ns for path in tools.rglob("*")}
    for check in (True, False):
        again = run(stand_ins, check=check)
        assert not again["changed"] and again["installed"] == []
        assert again["toolchain"] == made["toolchain"]
    assert {path: path.stat().st_mtime_ns for path in tools.rglob("*")} == before
    found = look(stand_ins)
    assert (found["missing"], found["problems"], found["toolchain"]) == ([], [], made["toolchain"])


def test_llama_cpp_comes_with_the_headers(stand_ins: StandIns) -> None:
    made = run(stand_ins, components=["llama_cpp"])
    assert names(made) == ["builder", "llama_cpp"]
    assert made["components"]["headers"]["complete"]
    tree = Path(made["components"]["llama_cpp"]["path"])
    assert sorted(path.name for path in tree.iterdir()) == [
        MARKER, "LICENSE", "bin", "conversion", "convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "gguf-py",
    ]  # fmt: skip
    assert (tree / "LICENSE").stat().st_mode & 0o777 == 0o644, "modes of the archive are not taken over"
    assert not list(tree.parent.rglob("escaped")) and not (stand_ins.root / "escaped").exists()
    assert marker(made, "llama_cpp")["options"]["LLAMA_BUILD_SERVER"] == "OFF"
    assert any(" -DGGML_NATIVE=OFF" in command for command in commands(made, "llama_cpp"))
    assert not run(stand_ins, components=["headers"])["changed"]


def test_llama_server_comes_with_llama_cpp_in_one_build(stand_ins: StandIns) -> None:
    made = run(stand_ins, components=["llama_server"])
    assert names(made) == ["builder", "llama_server"]
    assert all(made["components"][name]["complete"] for name in ("llama_cpp", "headers"))
    tree = Path(made["components"]["llama_server"]["path"])
    assert sorted(path.name for path in tree.iterdir()) == [MARKER, "LICENSE", "bin"]
    assert sorted(path.name for path in (tree / "bin").iterdir()) == ["llama-quantize", "llama-server"]
    both = Path(made["components"]["llama_cpp"]["path"])
    assert sorted(path.name for path in (both / "bin").iterdir()) == sorted(llama_cpp.PROGRAMS["llama_cpp"])
    assert marker(made, "llama_server")["options"]["LLAMA_BUILD_SERVER"] == "ON"
    (build,) = [command for command in commands(made, "llama_server") if "/ninja -C" in command]
    assert build.endswith(" llama-server llama-quantize llama-tokenize llama-imatrix llama-perplexity")
    assert not run(stand_ins, components=["llama_cpp", "llama_server", "headers"])["changed"]


def test_llama_server_is_added_to_an_installed_llama_cpp(stand_ins: StandIns) -> None:
    made = run(stand_ins, components=["llama_cpp"])
    tree = Path(made["components"]["llama_cpp"]["path"])
    before = (tree / MARKER).stat().st_ino
    added = run(stand_ins, components=["llama_cpp", "llama_server"])
    assert names(added) == ["llama_server"]
    assert (tree / MARKER).stat().st_ino == before, "the installed component is not replaced"
    (build,) = [command for command in commands(added, "llama_server") if "/ninja -C" in command]
    assert build.endswith(" llama-server llama-quantize")


def test_a_build_that_is_interrupted_between_two_components_is_repeated(
    stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Workspace.publish

    def end_after_llama_cpp(workspace: Workspace, result: Path) -> None:
        publish(workspace, result)
        if workspace.component.name == "llama_cpp":
            raise KeyboardInterrupt

    monkeypatch.setattr(Workspace, "publish", end_after_llama_cpp)
    with pytest.raises(KeyboardInterrupt):
        run(stand_ins, components=["llama_server"])
    found = look(stand_ins, components=["llama_cpp", "llama_server"])
    assert found["missing"] == ["llama_server"] and found["components"]["llama_cpp"]["complete"]
    monkeypatch.setattr(Workspace, "publish", publish)
    assert names(run(stand_ins, components=["llama_cpp", "llama_server"])) == ["llama_server"]


def test_headers_are_unpacked_alone(stand_ins: StandIns) -> None:
    made = run(stand_ins, components=["headers"])
    assert names(made) == ["builder", "headers"]
    assert not [command for command in commands(made, "headers") if "cmake" in command]
    assert not made["components"]["llama_cpp"]["complete"]


def test_the_converter_is_checked_with_its_environment(stand_ins: StandIns) -> None:
    made = run(stand_ins, components=["converter", "llama_cpp"])
    python = made["components"]["converter"]["path"] + "/bin/python"
    assert [command for command in commands(made, "llama_cpp") if command.startswith(python)]


def test_a_llama_cpp_that_came_first_is_checked_with_the_converter(stand_ins: StandIns) -> None:
    made = run(stand_ins, components=["llama_cpp"])
    assert "convert_hf_to_gguf.py --help" not in " ".join(commands(made, "llama_cpp"))
    made = run(stand_ins, components=["converter"])
    program = made["components"]["llama_cpp"]["path"] + "/convert_hf_to_gguf.py"
    assert [command for command in commands(made, "converter") if command.endswith(f" {program} --help")]


def test_what_fails_is_reported_and_built_again_by_the_next_run(stand_ins: StandIns) -> None:
    stand_ins.fail("ninja")
    failed = run(stand_ins, components=["llama_cpp"])
    assert failed["failed"]
    programs = "llama-quantize, llama-tokenize, llama-imatrix and llama-perplexity"
    assert failed["msg"].startswith(f"Building {programs} failed (exit 3); the log is ")
    assert failed["msg"].endswith("ninja fails as told")
    found = look(stand_ins, components=["llama_cpp"])
    assert found["missing"] == ["llama_cpp"], "the builder stays"
    tools = Path(stand_ins.settings["tools_dir"])
    (work,) = tools.glob(".work-*")
    (work / "left").touch()
    stand_ins.fail("ninja", fails=False)
    made = run(stand_ins, components=["llama_cpp"])
    assert names(made) == ["llama_cpp"]
    assert not work.exists() and not list(tools.glob(".work-*"))


def test_an_environment_that_was_interrupted_is_replaced(stand_ins: StandIns) -> None:
    half = Path(look(stand_ins)["components"]["converter"]["path"])
    (half / "bin").mkdir(parents=True)
    (half / "bin" / "python").touch()
    (half / "broken").touch()
    made = run(stand_ins, components=["converter"])
    assert names(made) == ["builder", "converter"] and not (half / "broken").exists()


def test_an_environment_that_cannot_import_its_packages_is_not_complete(stand_ins: StandIns) -> None:
    stand_ins.fail("uv")
    failed = run(stand_ins, components=["converter"])
    assert failed["msg"].startswith("Making a virtual environment failed (exit 3)")
    stand_ins.fail("uv", fails=False)
    script = (stand_ins.root / "script").read_text()
    broken = script.replace('python*" -c "*) ;;', 'python*" -c "*) echo torchaudio is broken; exit 1 ;;')
    assert broken != script
    (stand_ins.root / "script").write_text(broken)
    failed = run(stand_ins, components=["converter"])
    assert "Checking that the installation works failed" in failed["msg"] and "torchaudio is broken" in failed["msg"]
    assert look(stand_ins, components=["converter"])["missing"] == ["converter"]


def test_the_marker_records_what_was_installed(stand_ins: StandIns) -> None:
    record = marker(run(stand_ins, components=["llamafactory"]), "llamafactory")
    assert record["packages"] == {"a": "1", "torch": "2.9.1"}
    assert record["accelerator"] == "cpu" and record["python"] == stand_ins.settings["python"]
    assert record["inputs"]["python"] == "3.12"


def test_uv_uses_the_index_that_pip_is_configured_for(stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run(stand_ins, components=["converter"])
    assert "index https://index.test/simple" in log(made, "converter")
    declared = run(stand_ins, components=["llamafactory"], index_url="https://mirror.test/simple")
    assert "index https://mirror.test/simple" in log(declared, "llamafactory")
    assert not [command for command in commands(declared, "llamafactory") if "pip config" in command]
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://environment.test/simple")
    by_environment = run(stand_ins, components=["llamafactory"], accelerator="cuda")
    assert "index https://environment.test/simple" in log(by_environment, "llamafactory")


def log(result: t.Mapping[str, t.Any], component: str) -> str:
    path = Path(result["components"][component]["path"])
    return (path.parent / ".logs" / f"{path.name}.log").read_text()


def test_packages_are_installed_by_their_hashes(stand_ins: StandIns) -> None:
    made = run(stand_ins, components=["converter", "llamafactory"], accelerator="cuda", deepspeed=True)
    installs = [c for c in commands(made, "llamafactory") if "pip install" in c]
    assert len(installs) == 2 and all("--require-hashes" in command for command in installs)
    assert "requirements-llamafactory.txt" in installs[0] and "requirements-cuda.txt" in installs[0]
    assert "--no-build " in installs[0] and "--compile-bytecode" in installs[0]
    assert "requirements-deepspeed.txt" in installs[1] and "--no-deps" in installs[1]
    (converter,) = [c for c in commands(made, "converter") if "pip install" in c]
    assert "requirements-cuda" not in converter and "--compile-bytecode" not in converter
    (builder,) = [c for c in commands(made, "builder") if "pip install" in c]
    assert "--require-hashes --only-binary :all:" in builder


def test_another_build_of_pytorch_comes_from_its_index(stand_ins: StandIns) -> None:
    for name in ("llamafactory", "converter"):
        shutil.copy(FILES / f"requirements-{name}.in", stand_ins.requirements)
    made = run(stand_ins, components=["llamafactory"], torch_index_url="https://torch.test/whl")
    torch, rest = [c for c in commands(made, "llamafactory") if "pip install" in c]
    assert "--no-deps" in torch and "--default-index https://torch.test/whl --no-verify-hashes" in torch
    assert re.search(r"--no-verify-hashes torch==\S+ torchvision==\S+ torchaudio==\S+$", torch), "one index for these"
    assert "torch.test" not in rest and "index-strategy" not in rest and "verify-hashes" not in rest
    assert "requirements-llamafactory.in -c" in rest
    other = run(stand_ins, components=["converter"], torch_index_url="https://torch.test/whl")
    (converter,) = [c for c in commands(other, "converter") if "--default-index" in c]
    assert re.search(r"--no-verify-hashes torch==\S+$", converter)
    assert made["components"]["llamafactory"]["key"] != run(stand_ins, check=True)["components"]["llamafactory"]["key"]


def test_uv_installs_a_python_beside_the_tools(stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "find_for_environments", lambda _preferred: str(stand_ins.bin / "python3.12"))
    made = run(stand_ins, components=["converter"], python="", python_from="uv")
    python = Path(stand_ins.settings["tools_dir"], "python", "python3.12")
    assert python.exists() and marker(made, "converter")["python"] == str(python)


def test_downloads_are_kept_for_the_next_component(stand_ins: StandIns) -> None:
    cache = Path(stand_ins.settings["tools_dir"], ".cache")
    run(stand_ins, components=["builder"])
    cache.mkdir()
    run(stand_ins, components=["converter"], keep_cache=True)
    assert cache.exists()
    run(stand_ins, components=["llamafactory"])
    assert not cache.exists()


def test_problems_stop_the_installation_before_it_begins(stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = stand_ins.root / "empty"
    empty.mkdir()
    for name in ("basename", "sed"):
        (empty / name).symlink_to(shutil.which(name) or "")
    (empty / "apt-get").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(empty))
    assert run(stand_ins, check=True)["changed"], "the role would install the packages first"
    failed = run(stand_ins)
    assert "needs a C++ compiler" in failed["msg"] and failed["hint"].endswith("apt-get install g++")
    (problem,) = failed["details"]["problems"]
    assert (problem["subject"], problem["reason_message"]["code"]) == ("c++", "provisioning.no_compiler")
    assert not Path(stand_ins.settings["tools_dir"]).exists()
    found = look(stand_ins)
    assert (found["hint"], found["has_apt"]) == (failed["hint"], True)
    (empty / "apt-get").unlink()
    assert run(stand_ins)["hint"] == "Install, by the names this system has for them: g++"


def test_missing_lock_files_are_reported(stand_ins: StandIns) -> None:
    failed = run(stand_ins, requirements_dir=str(stand_ins.root / "none"))
    assert "/none does not exist" in failed["msg"] and "lock files" in failed["hint"]


def test_a_source_without_llama_cpp_is_refused(stand_ins: StandIns) -> None:
    stand_ins.source(stand_ins.root / "source.tar.gz", converter=False)
    assert "does not contain llama.cpp" in run(stand_ins, components=["llama_cpp"])["msg"]


def test_programs_that_do_not_run_here_are_refused(stand_ins: StandIns) -> None:
    script = (stand_ins.root / "script").read_text()
    (stand_ins.root / "script").write_text(script.replace('echo "usage: $0"; exit 1', "echo illegal instruction"))
    assert "does not print its usage" in run(stand_ins, components=["llama_cpp"])["msg"]
    assert look(stand_ins, components=["llama_cpp"])["missing"] == ["llama_cpp"]


@pytest.mark.parametrize(
    ("meminfo", "jobs"), [("MemAvailable: 1048576 kB\n", 1), ("MemAvailable: 9999999999 kB\n", 3), ("", 3)]
)
def test_compilers_fit_into_the_free_memory(monkeypatch: pytest.MonkeyPatch, meminfo: str, jobs: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2})
    monkeypatch.setattr(llama_cpp, "read_text", lambda _path: meminfo)
    assert llama_cpp.parallel_jobs() == jobs


def test_the_number_of_compilers_can_be_declared(stand_ins: StandIns) -> None:
    made = run(stand_ins, components=["llama_cpp"], build_jobs=7)
    assert [c for c in commands(made, "llama_cpp") if "/ninja -C " in c and " -j 7 " in c]
