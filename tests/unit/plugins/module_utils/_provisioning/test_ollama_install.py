# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ollama is installed by the module, from an archive and from source, and found by ollama_info."""

from __future__ import annotations

import glob
import hashlib
import json
import platform
import re
import shutil
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.versions import MINIMUM_VERSION
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning import ollama_programs, toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._provisioning.components import MARKER
from ansible_collections.ia_homelab.llamafactory.tests.support import modules
from ansible_collections.ia_homelab.llamafactory.tests.support.stand_in_tools import StandIns

VERSION = "0.24.0"
#: A version that runs llama-server.
NEWER = "0.32.15"
PINS = "llama-cpp-python==1.0"
ROLE = Path(__file__).resolve().parents[5] / "roles" / "ollama"


class Installation:
    """Calls of the module."""

    def __init__(self, stand_ins: StandIns) -> None:
        self.stand_ins = stand_ins
        self.tools = stand_ins.root / "tools"
        self.builder = stand_ins.root / "builder"
        (self.builder / "bin").mkdir(parents=True)
        shutil.copy(stand_ins.root / "script", self.builder / "bin/python")
        self.headers = stand_ins.root / "headers"
        self.headers.mkdir()
        self.arguments: dict[str, t.Any] = {
            "tools_dir": str(self.tools),
            "version": VERSION,
            "builder_dir": str(self.builder),
            "headers_dir": str(self.headers),
        }

    def archive(self, name: str = "ollama.tar.zst", mode: str = "w") -> dict[str, str]:
        """An archive to download; the stand-in for zstd leaves data as they are."""
        path = self.stand_ins.root / name
        self.stand_ins.ollama_archive(path, mode)
        return {"url": path.as_uri(), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}

    def from_archive(self, archive: t.Mapping[str, str], check: bool = False, **more: t.Any) -> dict[str, t.Any]:
        arguments = {**self.arguments, "method": "archive", "archive": dict(archive), **more}
        return modules.call("ollama_install", arguments, check=check)

    def from_source(self, check: bool = False, **more: t.Any) -> dict[str, t.Any]:
        return modules.call("ollama_install", {**self.arguments, "method": "go", **more}, check=check)

    def llama_server(self) -> Path:
        """The component with the programs of llama.cpp, as the module toolchain makes it."""
        made = Path(toolchain.llama_server_component(str(self.tools), PINS).path)
        (made / "bin").mkdir(parents=True)
        for name in ("llama-server", "llama-quantize"):
            shutil.copy(self.stand_ins.root / "script", made / "bin" / name)
        (made / MARKER).touch()
        return made

    def look(self, **more: t.Any) -> dict[str, t.Any]:
        arguments = {"tools_dir": str(self.tools), "version": VERSION, "data_dir": str(self.tools / "data")}
        return modules.call("ollama_info", {**arguments, "url": "http://127.0.0.1:1", **more})


@pytest.fixture
def installation(stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch) -> Installation:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1 << 40))
    return Installation(stand_ins)


@pytest.mark.parametrize(("name", "mode"), [("ollama.tar.zst", "w"), ("ollama.tgz", "w:gz")])
def test_archive_check_run_check_run(installation: Installation, name: str, mode: str) -> None:
    archive = installation.archive(name, mode)
    predicted = installation.from_archive(archive, check=True)
    assert predicted["changed"] and not installation.tools.exists()
    made = installation.from_archive(archive)
    assert made["changed"] and made["program"] == predicted["program"]
    program = Path(made["program"])
    assert program.stat().st_mode & 0o777 == 0o755
    record = json.loads((program.parents[1] / MARKER).read_text())
    assert record["method"] == "archive" and record["inputs"]["sha256"] == archive["sha256"]
    for check in (True, False):
        again = installation.from_archive(archive, check=check)
        assert not again["changed"] and again["program"] == made["program"]
    assert not list(installation.tools.glob(".work-*"))
    found = installation.look(archives={platform.machine(): archive})
    assert found["installed"] == made["program"] and found["methods"]["archive"]["complete"]
    assert found["other"] == {"path": "", "version": ""} and found["archive"] == archive


def test_an_archive_that_was_replaced_is_refused(installation: Installation) -> None:
    archive = installation.archive()
    failed = installation.from_archive({**archive, "sha256": "0" * 64}, allow_unavailable=True)
    assert failed["failed"] and f"has the sha256 {archive['sha256']}" in failed["msg"]
    assert [path.name for path in installation.tools.iterdir() if not path.name.startswith(".lo")] == []


def test_an_archive_that_cannot_be_downloaded_leaves_another_method(installation: Installation) -> None:
    missing = {"url": (installation.stand_ins.root / "missing.tar.zst").as_uri(), "sha256": "0" * 64}
    allowed = installation.from_archive(missing, allow_unavailable=True)
    assert not allowed["changed"] and allowed["program"] == "" and "cannot be downloaded" in allowed["reason"]
    failed = installation.from_archive(missing)
    assert failed["failed"] and "missing.tar.zst cannot be downloaded" in failed["msg"]
    assert "build Ollama from source" in failed["hint"]


def test_an_archive_that_is_damaged_is_reported(installation: Installation) -> None:
    path = installation.stand_ins.root / "damaged.tar.zst"
    path.write_bytes(b"no archive" * 1000)
    archive = {"url": path.as_uri(), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert "cannot be unpacked" in installation.from_archive(archive)["msg"]
    shutil.copy(installation.stand_ins.root / "script", path)
    (installation.builder / "bin/python").write_text("#!/bin/sh\nhead -c 10240 /dev/zero; echo no zstd >&2; exit 1\n")
    archive["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    failed = installation.from_archive(archive)
    assert "cannot be decompressed" in failed["msg"]
    log = failed["hint"].rpartition(" ")[2].rstrip(".")
    assert "no zstd" in Path(log).read_text()
    assert not list(installation.tools.glob(".work-*")), "gigabytes are not left behind"


def test_another_version_is_refused(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_VERSION", "0.23.1")
    failed = installation.from_archive(installation.archive())
    assert "is not version 0.24.0" in failed["msg"] and "0.23.1" in failed["msg"]
    assert not installation.look()["installed"]


def test_source_check_run_check_run(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CGO_CXXFLAGS", "-O3")
    monkeypatch.delenv("GOCACHE", raising=False)
    installation.stand_ins.add("go")
    assert installation.from_source(check=True)["changed"] and not installation.tools.exists()
    made = installation.from_source()
    assert made["changed"]
    for check in (True, False):
        again = installation.from_source(check=check)
        assert not again["changed"] and again["program"] == made["program"]
    (log,) = (installation.tools / ".logs").iterdir()
    text = log.read_text()
    assert f"github.com/ollama/ollama/version.Version={VERSION} github.com/ollama/ollama@v{VERSION}\n" in text
    for line in ("GOFLAGS=-modcacherw", f"CGO_CPPFLAGS=-I{installation.headers}", "CGO_CFLAGS=-O2", "CGO_CXXFLAGS=-O3"):
        assert f"{line}\n" in text
    assert re.search(rf"^GOCACHE={re.escape(str(installation.tools))}/\.work-.*/cache$", text, re.MULTILINE)
    assert "GOTOOLCHAIN" not in text, "the installed Go is new enough"


def test_an_older_go_downloads_the_toolchain_it_needs(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GO_VERSION", "1.22.2")
    monkeypatch.setenv("GOCACHE", "/cache/of/the/caller")
    go = installation.stand_ins.add("go")
    assert installation.from_source(go=str(go))["changed"]
    (log,) = (installation.tools / ".logs").iterdir()
    assert "GOTOOLCHAIN=go1.26.0+auto\n" in log.read_text()
    assert "GOCACHE=/cache/of/the/caller\n" in log.read_text()


def test_a_host_without_go_or_headers_is_reported(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glob, "glob", lambda _pattern: [])
    failed = installation.from_source(go=str(installation.stand_ins.root / "no-go"))
    assert "needs Go 1.21 or newer" in failed["msg"]
    installation.stand_ins.add("go")
    installation.headers.rmdir()
    assert "component headers" in installation.from_source()["hint"]


def test_the_arguments_of_a_method_are_required(installation: Installation) -> None:
    assert "archive" in modules.call("ollama_install", {**installation.arguments, "method": "archive"})["msg"]
    del installation.arguments["headers_dir"]
    assert "needs the option headers_dir" in installation.from_source()["msg"]
    assert "needs the option llama_cpp_pins" in installation.from_source(version=NEWER)["msg"]
    refused = installation.from_source(version="latest")
    assert "'latest' is not a version of Ollama" in refused["msg"] and "0.32.15" in refused["hint"]


def test_a_newer_version_is_built_with_llama_server_beside_it(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_VERSION", NEWER)
    installation.stand_ins.add("go")
    del installation.arguments["headers_dir"]
    arguments = {"version": NEWER, "llama_cpp_pins": PINS}
    refused = installation.from_source(**arguments)
    assert "llama-server-" in refused["msg"] and "Install the component llama_server" in refused["hint"]
    component = installation.llama_server()
    predicted = installation.from_source(check=True, **arguments)
    made = installation.from_source(**arguments)
    assert made["changed"] and made["program"] == predicted["program"]
    library = Path(made["program"]).parent / "../lib/ollama"
    assert sorted(path.name for path in library.iterdir()) == ["llama-quantize", "llama-server"]
    assert library.joinpath("llama-server").stat().st_mode & 0o777 == 0o755
    assert not installation.from_source(**arguments)["changed"]
    assert "CGO_CPPFLAGS" not in (installation.tools / ".logs" / f"{Path(made['program']).parts[-3]}.log").read_text()
    found = installation.look(**arguments)
    assert found["installed"] == made["program"] and found["llama_server"] is True
    shutil.rmtree(component)
    assert installation.look(**arguments)["installed"] == made["program"], "it has copies of the programs"
    other = installation.look(version=NEWER, llama_cpp_pins="llama-cpp-python==2.0")
    assert other["installed"] == "" and installation.look()["llama_server"] is False


@pytest.mark.parametrize(
    ("version", "built"), [("0.29.9", True), ("0.30.0", False), ("0.32.5", False), ("0.32.6", True)]
)
def test_a_version_for_another_llama_cpp_is_refused(installation: Installation, version: str, built: bool) -> None:
    problem = installation.look(version=version)["source_problem"]
    assert (problem == "") is built
    installation.stand_ins.add("go")
    made = installation.from_source(check=True, version=version, llama_cpp_pins=PINS)
    assert made.get("changed", False) is built and made.get("msg", "").startswith(problem)
    assert built or "the pinned llama.cpp is too new for it" in made["msg"]
    assert built or problem.endswith("can be built."), "the role appends what to do"


def test_the_archives_of_the_role_belong_to_their_versions() -> None:
    variables = yaml.safe_load((ROLE / "vars/main.yml").read_text(encoding="utf-8"))
    known = variables["ollama_known_archives"]
    default = yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8"))["ollama_version"]
    assert {default, VERSION} <= set(known) and variables["ollama_minimum_version"] == MINIMUM_VERSION
    digests = [archive["sha256"] for archives in known.values() for archive in archives.values()]
    assert len(set(digests)) == len(digests) and all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
    for version, archives in known.items():
        for machine, suffix in (("x86_64", "amd64"), ("aarch64", "arm64")):
            expected = f"https://github.com/ollama/ollama/releases/download/v{version}/ollama-linux-{suffix}.tar.zst"
            assert archives[machine]["url"] == expected


def test_a_go_is_found_by_its_version(stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    old = stand_ins.add("go", script="#!/bin/sh\necho go version go1.19.8 linux/amd64\n")
    assert ollama_programs.find_go(str(old)) == ollama_programs.Go()
    other = stand_ins.root / "other"
    other.mkdir()
    (other / "go").write_text("#!/bin/sh\necho go version go1.30.1 linux/amd64, $GOTOOLCHAIN\n")
    (other / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_ins.bin}:{other}:/usr/bin:/bin")
    assert ollama_programs.find_go() == ollama_programs.Go(str(other / "go"), "1.30", "")


def test_programs_elsewhere_are_found(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    other = installation.stand_ins.root / "other"
    other.mkdir()
    newer = other / "ollama"
    newer.write_text("#!/bin/sh\necho ollama version is 0.30.0\n")
    newer.chmod(0o755)
    tools = str(installation.stand_ins.root / "tools")
    monkeypatch.setenv("PATH", f"{other}:{installation.stand_ins.bin}:/usr/bin:/bin")
    assert ollama_programs.find_program(VERSION, tools) == ollama_programs.Program(str(newer), "0.30.0")
    pinned = installation.stand_ins.add("ollama")
    assert ollama_programs.find_program(VERSION, tools) == ollama_programs.Program(str(pinned), VERSION)
    assert installation.look()["other"] == {"path": str(pinned), "version": VERSION}


def test_a_link_to_an_installed_program_is_no_program_elsewhere(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be used in place of another build of the same version."""
    program = installation.stand_ins.add("ollama")
    inside = installation.tools / "ollama-0123456789abcdef" / "bin" / "ollama"
    inside.parent.mkdir(parents=True)
    program.rename(inside)
    program.symlink_to(inside)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert installation.look()["other"]["path"] != str(program)


def test_the_archive_takes_precedence_over_the_build(installation: Installation) -> None:
    installation.stand_ins.add("go")
    built = installation.from_source()["program"]
    archive = installation.archive()
    assert installation.look(archives={platform.machine(): archive})["installed"] == built
    unpacked = installation.from_archive(archive)["program"]
    assert installation.look(archives={platform.machine(): archive})["installed"] == unpacked
