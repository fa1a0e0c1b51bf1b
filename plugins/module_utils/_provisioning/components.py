# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Components: directories below the tools directory, named after everything that decides their content."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import typing as t

#: File of a component that is written last: a record of what the component was made from.
MARKER = ".complete"

#: Increased when the way a component is made changes its content.
RECIPES = {
    "builder": 1,
    "llamafactory": 1,
    "converter": 1,
    "llama_cpp": 2,
    "llama_server": 1,
    "headers": 1,
    "ollama": 1,
}

#: What a usable component contains besides the marker.
REQUIRED_FILES: dict[str, tuple[str, ...]] = {
    "builder": ("bin/python", "bin/uv", "bin/cmake", "bin/ninja"),
    "llamafactory": ("bin/python", "bin/llamafactory-cli"),
    "converter": ("bin/python",),
    "llama_cpp": (
        *(f"bin/llama-{name}" for name in ("quantize", "tokenize", "imatrix", "perplexity")),
        "convert_hf_to_gguf.py",
        "conversion",
        "gguf-py",
    ),
    "llama_server": ("bin/llama-server", "bin/llama-quantize"),
    "headers": ("nlohmann/json.hpp", "miniaudio", "stb"),
    "ollama": ("bin/ollama",),
}


@dataclasses.dataclass(frozen=True)
class Component:
    """One component.

    :param name: its kind, a key of :data:`RECIPES`.
    :param path: its directory.
    :param key: digest of the inputs, the end of the directory's name.
    :param inputs: everything that decides its content.
    """

    name: str
    path: str
    key: str
    inputs: t.Mapping[str, t.Any]

    @property
    def required_files(self) -> tuple[str, ...]:
        """Files and directories that a usable component contains, the marker included."""
        return (MARKER, *REQUIRED_FILES[self.name])

    def is_complete(self) -> bool:
        """Whether it can be used. A link to an interpreter that the system has removed counts as missing."""
        return all(os.path.exists(os.path.join(self.path, item)) for item in self.required_files)

    def as_dict(self) -> dict[str, t.Any]:
        """Plain values for a module's result."""
        return {"path": self.path, "key": self.key, "complete": self.is_complete()}


def component(tools_dir: str, name: str, prefix: str, **inputs: t.Any) -> Component:
    """The component that these inputs make.

    :param prefix: beginning of the directory's name.
    """
    inputs.update(component=name, recipe=RECIPES[name], machine=platform.machine())
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    return Component(name, os.path.join(tools_dir, f"{prefix}-{key}"), key, inputs)


def libc() -> str:
    """Name and version of the C library, such as ``glibc-2.36``."""
    return "-".join(platform.libc_ver())
