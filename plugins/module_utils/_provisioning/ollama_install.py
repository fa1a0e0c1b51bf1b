# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install Ollama below the tools directory: from the official archive, or built from the Go module."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil

# pylint: disable=ansible-bad-function  # here is no module whose run_command could be called
import subprocess
import tarfile
import time
import typing as t
import urllib.request
from pathlib import Path

from .._core.errors import NotReadyError, RemoteError
from .components import Component
from .llama_cpp import PROGRAMS
from .ollama_programs import NO_SERVER, Go
from .workspace import Workspace, prepare_child, remove

_TIMEOUT = 30
_CHUNK = 1 << 20
_SPACE_ARCHIVE = 6
_SPACE_BUILD = 4
#: Where Ollama looks for the programs of llama.cpp, from the directory of its own program.
_LIBRARY = "../lib/ollama"
#: Run by the builder's interpreter, whose environment contains zstandard.
_DECOMPRESS = """\
import shutil, sys, zstandard
with open(sys.argv[1], "rb") as packed:
    with zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True) as plain:
        shutil.copyfileobj(plain, sys.stdout.buffer, 1 << 20)
"""


@dataclasses.dataclass(frozen=True)
class Archive:
    """An archive of Ollama, a tar file compressed with zstd (``.zst``) or gzip.

    :param sha256: digest that the file must have.
    """

    url: str
    sha256: str


def install_archive(workspace: Workspace, version: str, archive: Archive) -> float | None:
    """Download and unpack the archive.

    :returns: the seconds it took; None if the component is complete already.
    :raises RemoteError: if the archive cannot be downloaded.
    :raises NotReadyError: if it has another digest or version, or cannot be unpacked.
    """

    def make(work: Path) -> None:
        workspace.need_space(_SPACE_ARCHIVE)
        packed = work / "archive"
        _download(archive, packed)
        result = work / "result"
        result.mkdir()
        _unpack(workspace, archive, packed, result)

    return _install(workspace, version, "archive", make)


def install_from_source(
    workspace: Workspace, version: str, go: Go, headers_dir: str, llama_server: Component | None = None
) -> float | None:
    """Build Ollama for the CPU.

    :param headers_dir: headers of llama.cpp's own vendored libraries, which the engine of older versions includes and a
        Go module cannot contain; empty for versions that run llama-server.
    :param llama_server: the programs of llama.cpp for versions that run them; None for older versions.
    :returns: the seconds it took; None if the component is complete already.
    :raises NotReadyError: if it cannot be built.
    """

    def make(work: Path) -> None:
        workspace.need_space(_SPACE_BUILD)
        workspace.run(
            [
                *(go.path, "install", "-trimpath"),
                *("-ldflags", f"-s -w -X github.com/ollama/ollama/version.Version={version}"),
                f"github.com/ollama/ollama@v{version}",
            ],
            f"Building Ollama {version}",
            **_build_environment(work, go, headers_dir),
        )
        if llama_server is not None:
            _add_llama_server(work / "result/bin" / _LIBRARY, llama_server)

    return _install(workspace, version, "go", make)


def _add_llama_server(library: Path, llama_server: Component) -> None:
    library.mkdir(parents=True)
    # Copies, so that the removal of one component does not break the other.
    for program in PROGRAMS["llama_server"]:
        shutil.copy2(Path(llama_server.path, "bin", program), library / program)


def _build_environment(work: Path, go: Go, headers_dir: str) -> dict[str, str]:
    environment = {
        "GOBIN": str(work / "result/bin"),
        "GOPATH": str(work / "path"),
        # One of the caller's own is shared by several builds, and stays.
        "GOCACHE": os.environ.get("GOCACHE") or str(work / "cache"),
        # Modules are read-only by default, and could then not be removed.
        "GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip(),
    }
    # Go's own defaults without -g: the linker drops what that adds.
    environment.update({name: os.environ.get(name, "-O2") for name in ("CGO_CFLAGS", "CGO_CXXFLAGS")})
    if headers_dir:
        environment["CGO_CPPFLAGS"] = f"-I{headers_dir}"
    if go.toolchain:
        environment["GOTOOLCHAIN"] = go.toolchain
    return environment


def _install(workspace: Workspace, version: str, method: str, make: t.Callable[[Path], None]) -> float | None:
    started = time.monotonic()
    with workspace.locked():
        # Another play may have installed it while this one waited for the lock.
        if workspace.component.is_complete():
            return None
        work = workspace.work_dir()
        try:
            make(work)
            result = work / "result"
            _check(workspace, version, result)
            workspace.mark(result, started, method=method)
            workspace.publish(result)
        finally:
            # Gigabytes, and nothing that the next attempt could use.
            remove(work)
    return round(time.monotonic() - started, 1)


def _download(archive: Archive, path: Path) -> None:
    digest = hashlib.sha256()
    try:
        # With the proxies of the environment.
        opener = urllib.request.build_opener()
        with opener.open(archive.url, timeout=_TIMEOUT) as response, path.open("wb") as stream:
            while True:
                chunk = response.read(_CHUNK)
                if not chunk:
                    break
                digest.update(chunk)
                stream.write(chunk)
    except (OSError, ValueError) as error:
        raise RemoteError(
            "provisioning.archive_not_downloaded", url=archive.url, reason=getattr(error, "reason", error)
        ) from None
    if digest.hexdigest() != archive.sha256:
        raise NotReadyError(
            "provisioning.archive_digest", url=archive.url, digest=digest.hexdigest(), expected=archive.sha256
        )


def _unpack(workspace: Workspace, archive: Archive, packed: Path, result: Path) -> None:
    if not archive.url.endswith(".zst"):
        with tarfile.open(packed) as tar:
            _extract(tar, result)
        return
    command = [str(workspace.builder_program("python")), "-c", _DECOMPRESS, str(packed)]
    with workspace.log.open("a", encoding="utf-8") as log:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            pass_fds=(workspace.lock,),
            preexec_fn=prepare_child,
        ) as decompressor:
            try:
                with tarfile.open(fileobj=decompressor.stdout, mode="r|") as tar:
                    _extract(tar, result)
            except tarfile.TarError as error:
                raise NotReadyError(
                    "provisioning.archive_not_unpacked", url=archive.url, reason=error, log=workspace.log
                ) from None
    if decompressor.returncode:
        raise NotReadyError("provisioning.archive_not_decompressed", url=archive.url, log=workspace.log)


def _extract(tar: tarfile.TarFile, path: Path) -> None:
    # The content is known, because its sha256 is pinned; the filter drops owners and unusual modes.
    if hasattr(tarfile, "tar_filter"):
        tar.extractall(path, filter="tar")
    else:
        tar.extractall(path)


def _check(workspace: Workspace, version: str, result: Path) -> None:
    answer = workspace.run([result / "bin/ollama", "--version"], "Checking ollama", **NO_SERVER)
    if version not in answer:
        raise NotReadyError("provisioning.ollama_version", version=version, answer=answer.strip())
