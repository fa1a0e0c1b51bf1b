# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python environments: the small one that builds the others, and the two large ones."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
import typing as t
from pathlib import Path

from .._core.errors import NotReadyError
from .llama_cpp import check_converter
from .toolchain import Toolchain
from .workspace import Workspace, remove

#: Imports that fail if an installation is broken in a known way: a torchaudio for another CUDA lets
#: ``llamafactory-cli version`` pass and breaks only this. The converter imports little more than these.
_HEALTH_CHECKS = {
    "llamafactory": "import llamafactory.train.tuner",
    "converter": (
        "import torch, sentencepiece, google.protobuf, gguf\nfrom transformers import AutoConfig, AutoTokenizer"
    ),
}
#: Measured, in GiB, rounded up: the environments share their largest files by hard links.
_SPACE = {"llamafactory": 8, "converter": 2}
_SPACE_TORCH_INDEX = 3

#: The packages that an index of PyTorch has in other builds.
_OF_TORCH = re.compile(r"(torch|torchvision|torchaudio)==")


def make_builder(workspace: Workspace, toolchain: Toolchain, requirements_dir: Path) -> None:
    """Make the environment with uv, cmake and ninja."""
    started = time.monotonic()
    workspace.need_space(1)
    remove(workspace.path)
    workspace.run([toolchain.builder_python(), "-m", "venv", workspace.path], "Making the builder's environment")
    workspace.run(
        [
            workspace.path / "bin/python",
            *("-m", "pip", "install", "--require-hashes", "--only-binary", ":all:"),
            *("-r", requirements_dir / "requirements-builder.txt"),
        ],
        "Installing uv, cmake and ninja",
    )
    workspace.mark(workspace.path, started)


def make_environment(workspace: Workspace, toolchain: Toolchain, requirements_dir: Path) -> None:
    """Make the environment of LLaMA-Factory, or of llama.cpp's converter."""
    started = time.monotonic()
    _Environment(workspace, toolchain, requirements_dir).make(started)


@dataclasses.dataclass(frozen=True)
class _Environment:
    workspace: Workspace
    toolchain: Toolchain
    requirements_dir: Path

    @property
    def name(self) -> str:
        return self.workspace.component.name

    def make(self, started: float) -> None:
        workspace, toolchain = self.workspace, self.toolchain
        torch_index = toolchain.settings.torch_index_url
        workspace.need_space(_SPACE_TORCH_INDEX if torch_index else _SPACE[self.name])
        remove(workspace.path)
        python = toolchain.python.path or self._managed_python()
        workspace.run([self._uv, "venv", "--python", python, workspace.path], "Making a virtual environment")
        index = {} if workspace.index_url else self._index_of_pip()
        if torch_index:
            command = self._install_torch_command(torch_index)
            workspace.run(command, "Installing PyTorch from its index", **index)
        workspace.run(self._install_command(torch_index), "Installing the pinned packages", **index)
        if self.name == "llamafactory" and toolchain.settings.deepspeed:
            self._add_deepspeed(index)
        workspace.run(
            [self._python, "-c", _HEALTH_CHECKS[self.name]], "Checking that the installation works", HF_HUB_OFFLINE="1"
        )
        llama_cpp = toolchain.components["llama_cpp"]
        if self.name == "converter" and llama_cpp.is_complete():
            check_converter(workspace, self._python, Path(llama_cpp.path))
        workspace.mark(
            workspace.path, started, python=python, accelerator=toolchain.accelerator, packages=self._packages()
        )

    @property
    def _uv(self) -> Path:
        return self.workspace.builder_program("uv")

    @property
    def _python(self) -> Path:
        return self.workspace.path / "bin/python"

    def _install_torch_command(self, torch_index: str) -> list[str | Path]:
        """Install the packages of PyTorch, and nothing else, from an index with other builds of them.

        Only these come from that index, and only their hashes are not checked: those of the lock are of other builds.
        """
        install: list[str | Path] = [self._uv, "pip", "install", "--python", self._python, "--no-build", "--no-deps"]
        if self.name == "llamafactory":
            install.append("--compile-bytecode")
        install += ["--default-index", torch_index, "--no-verify-hashes"]
        lines = self._requirements(f"{self.name}.in").read_text(encoding="utf-8").splitlines()
        return [*install, *(line.strip() for line in lines if _OF_TORCH.match(line))]

    def _install_command(self, torch_index: str) -> list[str | Path]:
        names = [self.name]
        install: list[str | Path] = [self._uv, "pip", "install", "--python", self._python, "--no-build"]
        if self.name == "llamafactory":
            if self.toolchain.accelerator == "cuda":
                names.append("cuda")
            # Without compiled files every start by a user who cannot write here compiles thousands of modules again.
            # Of the converter's modules a quarter is imported, and the health check compiles these.
            install.append("--compile-bytecode")
        if torch_index:
            # PyTorch is installed. Another build of it needs fewer packages: the lock gives versions and hashes, the
            # short list the packages.
            for name in names:
                install += ["-r", self._requirements(f"{name}.in"), "-c", self._requirements(f"{name}.txt")]
        else:
            install.append("--require-hashes")
            for name in names:
                install += ["-r", self._requirements(f"{name}.txt")]
        return install

    def _requirements(self, name: str) -> Path:
        return self.requirements_dir / f"requirements-{name}"

    def _add_deepspeed(self, index: t.Mapping[str, str]) -> None:
        """Install DeepSpeed, which is published as source only, and whose build imports the PyTorch it will run with.

        Nothing is compiled yet: DeepSpeed does that when a training first needs it.
        """
        install: list[str | Path] = [self._uv, "pip", "install", "--python", self._python]
        install += ["--no-deps", "--no-build-isolation", "--compile-bytecode", "--require-hashes"]
        install += ["-r", self._requirements("deepspeed.txt")]
        self.workspace.run(install, "Installing DeepSpeed", DS_BUILD_OPS="0", **index)
        self.workspace.run([self._python, "-c", "import deepspeed"], "Checking that DeepSpeed works")

    def _managed_python(self) -> str:
        """Path of a Python that uv installs beside the other tools."""
        version = self.toolchain.python.version
        folder = {"UV_PYTHON_INSTALL_DIR": str(self.workspace.tools_dir / "python")}
        self.workspace.run([self._uv, "python", "install", version], f"Installing Python {version} with uv", **folder)
        listing = self.workspace.run(
            [self._uv, "python", "find", "--managed-python", version], "Looking for the Python of uv", **folder
        )
        return listing.strip().splitlines()[-1]

    def _index_of_pip(self) -> dict[str, str]:
        """The package index of pip's configuration, which uv does not read."""
        if any(name in os.environ for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL")):
            return {}
        builder_python = self.workspace.builder_program("python")
        listing = self.workspace.run([builder_python, "-m", "pip", "config", "list"], "Reading pip's configuration")
        for line in listing.splitlines():
            name, found, value = line.partition("=")
            if found and name.split(".")[-1] == "index-url":
                return {"UV_DEFAULT_INDEX": value.strip("'\"")}
        return {}

    def _packages(self) -> dict[str, str]:
        """Version of every installed package."""
        code = (
            "import importlib.metadata as m, json;"
            "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
        )
        listing = self.workspace.run([self._python, "-c", code], "Listing the installed packages").strip()
        try:
            packages = json.loads(listing.splitlines()[-1])
        except (IndexError, ValueError):
            raise NotReadyError("provisioning.packages_not_listed", log=self.workspace.log) from None
        return dict(sorted(packages.items()))
