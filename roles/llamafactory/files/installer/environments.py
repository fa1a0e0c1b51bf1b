# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python environments: the small one that builds, and the two large ones."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from workshop import Failed, Workshop

HERE = Path(__file__).resolve().parent
# Imports that fail where an installation is broken in the ways seen: a torchaudio for
# another CUDA lets `llamafactory-cli version` pass and breaks only this. The converter imports no more than these and
# the two or three modules of a model's own architecture.
HEALTH = {
    "llamafactory": "import llamafactory.train.tuner",
    "converter": (
        "import torch, sentencepiece, google.protobuf, gguf\nfrom transformers import AutoConfig, AutoTokenizer"
    ),
}
# Measured, in GiB, rounded up: the environments share their largest files by hard links.
SPACE = {"llamafactory": 8, "converter": 2}
SPACE_TORCH_INDEX = 3


def make_builder(shop: Workshop) -> None:
    started = time.monotonic()
    shop.need_space(1)
    shop.clear(shop.path)
    python = shop.spec["builder_python"]
    shop.run([python, "-m", "venv", shop.path], "Making a virtual environment for the tools that build")
    shop.run(
        [
            shop.path / "bin/python",
            *("-m", "pip", "install", "--require-hashes", "--only-binary", ":all:"),
            *("-r", HERE / "requirements-builder.txt"),
        ],
        "Installing uv, cmake and ninja",
    )
    shop.mark(shop.path, started)


def make_environment(shop: Workshop) -> None:
    started = time.monotonic()
    name = shop.component["name"]
    accelerator = shop.spec["accelerator"]
    torch_index = shop.spec["torch_index_url"]
    if not shop.component["whole"]:
        shop.need_space(SPACE_TORCH_INDEX if torch_index else SPACE[name])
    shop.clear(shop.path)
    python = shop.spec["python"]["path"] or _managed_python(shop)
    uv = shop.builder("uv")
    shop.run([uv, "venv", "--python", python, shop.path], "Making a virtual environment")
    names = [name, "cuda"] if name == "llamafactory" and accelerator == "cuda" else [name]
    install = [uv, "pip", "install", "--python", shop.path / "bin/python", "--no-build"]
    if name == "llamafactory":
        # Without compiled files in place every start of every user who may not write here
        # would compile thousands of modules again. Of the converter's a quarter is ever
        # imported, and the check below compiles that.
        install.append("--compile-bytecode")
    if torch_index:
        # Another build of PyTorch has other hashes and needs fewer packages: the lock says
        # which versions, the short list what is wanted.
        install += ["--index", torch_index, "--index-strategy", "unsafe-best-match", "--no-verify-hashes"]
        for item in names:
            install += ["-r", HERE / f"requirements-{item}.in", "-c", HERE / f"requirements-{item}.txt"]
    else:
        install.append("--require-hashes")
        for item in names:
            install += ["-r", HERE / f"requirements-{item}.txt"]
    index = {} if shop.spec["index_url"] else _index_of_pip(shop)
    shop.run(install, "Installing the pinned packages", **index)
    if name == "llamafactory" and shop.spec["deepspeed"]:
        _add_deepspeed(shop, index)
    shop.run([shop.path / "bin/python", "-c", HEALTH[name]], "Checking that the installation works", HF_HUB_OFFLINE="1")
    shop.mark(shop.path, started, python=python, accelerator=accelerator, packages=_packages(shop))


def _add_deepspeed(shop: Workshop, index: dict[str, str]) -> None:
    """It comes as source alone, and its build asks the PyTorch it will run with. Nothing is compiled yet: DeepSpeed
    does that when a training first needs it."""
    install = [shop.builder("uv"), "pip", "install", "--python", shop.path / "bin/python"]
    install += ["--no-deps", "--no-build-isolation", "--compile-bytecode", "--require-hashes"]
    install += ["-r", HERE / "requirements-deepspeed.txt"]
    shop.run(install, "Installing DeepSpeed", DS_BUILD_OPS="0", **index)
    shop.run([shop.path / "bin/python", "-c", "import deepspeed"], "Checking that DeepSpeed works")


def _managed_python(shop: Workshop) -> str:
    """A Python that uv fetches, kept beside the other tools."""
    uv, version = shop.builder("uv"), shop.spec["python"]["version"]
    folder = {"UV_PYTHON_INSTALL_DIR": str(shop.tools / "python")}
    shop.run([uv, "python", "install", version], f"Fetching Python {version} through uv", **folder)
    found = shop.run(
        [uv, "python", "find", "--managed-python", version], "Finding the Python that uv fetched", **folder
    )
    return found.strip().splitlines()[-1]


def _index_of_pip(shop: Workshop) -> dict[str, str]:
    """uv does not read pip's configuration; a host whose pip uses a mirror means it for uv, too."""
    if any(name in os.environ for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL")):
        return {}
    listing = shop.run([shop.builder("python"), "-m", "pip", "config", "list"], "Asking pip for its index")
    for line in listing.splitlines():
        name, found, value = line.partition("=")
        if found and name.split(".")[-1] == "index-url":
            return {"UV_DEFAULT_INDEX": value.strip("'\"")}
    return {}


def _packages(shop: Workshop) -> dict[str, str]:
    code = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
    )
    listing = shop.run([shop.path / "bin/python", "-c", code], "Listing what was installed").strip()
    try:
        packages = json.loads(listing.splitlines()[-1])
    except (IndexError, ValueError):
        raise Failed("The new environment cannot list its packages.") from None
    return dict(sorted(packages.items()))
