# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shell scripts as stand-ins for the programs that install the tools: Python, pip, uv, cmake, ninja, go."""

from __future__ import annotations

import io
import os
import tarfile
import typing as t
from pathlib import Path

#: Acts as the program by whose name it is started. $STAND_IN is the directory of the stand-ins.
SCRIPT = r"""#!/bin/sh
[ ! -e "$STAND_IN/fail-$(basename "$0")" ] || { echo "$(basename "$0") fails as told"; exit 3; }
become() { for path; do mkdir -p "$(dirname "$path")"; cp "$STAND_IN/script" "$path"; done; }
case "$(basename "$0") $*" in
python*" -I -c import sys; b = "*) printf 'cpython\n%s\nTrue\n%s\n' "$(basename "$0" | sed s/python//)" "$0" ;;
python*" -I -c "*) ;;
python*" -m venv "*) become "$3/bin/python" ;;
python*" -m pip install "*) for name in uv cmake ninja; do become "$(dirname "$0")/$name"; done ;;
python*" -m pip config list") echo "global.index-url='https://index.test/simple'" ;;
python*" -m pip download "*) for last; do :; done; mkdir -p "$last"; cp "$STAND_IN/source.tar.gz" "$last" ;;
python*" -c import importlib.metadata"*) echo '{"torch": "2.9.1", "a": "1"}' ;;
python*" -c import shutil, sys, zstandard"*) cat "$3" ;;
python*" -c "*) ;;
python*convert_hf_to_gguf.py*) ;;
"uv venv "*) become "$4/bin/python"; echo "$UV_DEFAULT_INDEX" >"$4/../uv-index" ;;
"uv pip install "*) become "$(dirname "$4")/llamafactory-cli"; echo "index $UV_DEFAULT_INDEX" ;;
"uv python install "*) become "$UV_PYTHON_INSTALL_DIR/python$3" ;;
"uv python find "*) echo "$UV_PYTHON_INSTALL_DIR/python$4" ;;
cmake*) ;;
ninja*) for name; do case $name in llama-*) become "$2/bin/$name" ;; esac; done ;;
llama-*) echo "usage: $0"; exit 1 ;;
"go version") echo "go version go${GO_VERSION:-1.26.1} linux/amd64" ;;
"go install "*) become "$GOBIN/ollama"; env | grep -E '^(CGO|GO)' ;;
"ollama --version") echo "Warning: could not connect"; echo "Warning: client version is ${OLLAMA_VERSION:-0.24.0}" ;;
*) echo "no stand-in for: $0 $*"; exit 9 ;;
esac
"""

LOCKS = ("builder", "converter", "llamafactory", "cuda", "deepspeed", "llama-cpp")


class StandIns:
    """A directory of stand-ins, and the lock files of an imagined toolchain."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "bin"
        self.bin.mkdir(parents=True)
        (root / "script").write_text(SCRIPT)
        (root / "script").chmod(0o755)
        self.requirements = root / "requirements"
        self.requirements.mkdir()
        for name in LOCKS:
            (self.requirements / f"requirements-{name}.txt").write_text(f"{name}==1.0 \\\n    --hash=sha256:{name}\n")
            (self.requirements / f"requirements-{name}.in").write_text(f"{name}\n")
        self.source(root / "source.tar.gz")

    def add(self, *names: str, script: str = "") -> Path:
        """Put programs into the PATH; returns the last one.

        :param script: shell script to use instead of the common one.
        """
        for name in names:
            (self.bin / name).write_text(script or SCRIPT)
            (self.bin / name).chmod(0o755)
        return self.bin / names[-1]

    def fail(self, program: str, fails: bool = True) -> None:
        """Let a program fail, or work again."""
        path = self.root / f"fail-{program}"
        if fails:
            path.touch()
        else:
            path.unlink()

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which the stand-ins are found, and no compiler of this machine is."""
        return {"STAND_IN": str(self.root), "PATH": f"{self.bin}:/usr/bin:/bin"}

    @property
    def settings(self) -> dict[str, t.Any]:
        """Arguments of the module toolchain."""
        return {
            "tools_dir": str(self.root / "tools"),
            "requirements_dir": str(self.requirements),
            "pins": {name.replace("-", "_"): f"{name}==1.0" for name in LOCKS},
            "python": str(self.bin / "python3.12"),
            "accelerator": "cpu",
        }

    @staticmethod
    def source(path: Path, converter: bool = True) -> None:
        """Write a source distribution that contains llama.cpp, and some things that must not be unpacked."""
        tree = "llama_cpp_python-1.0/vendor/llama.cpp/"
        names = ["LICENSE", "convert_lora_to_gguf.py", "conversion/base.py", "gguf-py/gguf.py", "docs/manual.md"]
        names += ["common/json.cpp", "vendor/nlohmann/json.hpp", "vendor/miniaudio/a.h", "vendor/stb/b.h"]
        names += ["convert_hf_to_gguf.py"] if converter else []
        with tarfile.open(path, "w:gz") as tar:
            for name in [tree + name for name in names] + ["llama_cpp_python-1.0/setup.py", tree + "../../../escaped"]:
                entry = tarfile.TarInfo(name)
                entry.uid, entry.mode = 12345, 0o666
                tar.addfile(entry, io.BytesIO())

    @staticmethod
    def ollama_archive(path: Path, mode: str) -> None:
        """Write an archive with an ollama that is a stand-in."""
        with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
            entry = tarfile.TarInfo("bin/ollama")
            entry.size, entry.mode, entry.uid = len(SCRIPT), 0o755, os.getuid()
            tar.addfile(entry, io.BytesIO(SCRIPT.encode()))
