# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The toolchain of a fine-tune on this host: its components, which are missing, and what prevents building them.

Only reads, and is cheap: a few file lookups if everything is installed.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import shutil
import typing as t

from .._core.messages.message import Message
from .components import Component, component, libc
from .pythons import MANAGED, SUPPORTED, Interpreter, find_for_environments, find_supported, identify
from .system import has_nvidia_gpu, has_program, os_release, read_text

#: All components in the order they are made: the builder makes the others, and llama.cpp is checked with the
#: environment of the converter. The build of llama_server also makes llama_cpp and headers, so it precedes them.
ORDER = ("builder", "converter", "llamafactory", "llama_server", "llama_cpp", "headers")
#: What runs a fine-tune.
TOOLS = ("llamafactory", "converter", "llama_cpp")
_ENVIRONMENTS = ("llamafactory", "converter")
_LISTED_VERSIONS = ("llamafactory", "torch", "llama-cpp-python", "uv")

#: Options of llama.cpp's build for instruction sets, and the flag in /proc/cpuinfo that each needs. They are listed one
#: by one because GGML_NATIVE=ON selects instructions (AMX) that virtual machines advertise and then refuse with SIGILL.
X86_OPTIONS = {
    "GGML_SSE42": "sse4_2",
    "GGML_AVX": "avx",
    "GGML_AVX2": "avx2",
    "GGML_BMI2": "bmi2",
    "GGML_FMA": "fma",
    "GGML_F16C": "f16c",
}

#: Packages with a supported Python, by system.
_PYTHON_PACKAGES = {
    ("debian", "12"): "python3 python3-venv",
    ("debian", "13"): "python3 python3-venv",
    ("ubuntu", "22.04"): "python3.11 python3.11-venv",
    ("ubuntu", "24.04"): "python3 python3-venv",
}
_PIN = re.compile(r"(?m)^[A-Za-z0-9][^\s;\\]*")
_PIN_AND_HASH = re.compile(r"(?m)^[A-Za-z0-9][^\s;\\]*|--hash=\S+")
#: Lock files by the name of their pins, as in requirements-NAME.txt.
LOCKS = {
    "builder": "builder",
    "llamafactory": "llamafactory",
    "cuda": "cuda",
    "deepspeed": "deepspeed",
    "converter": "converter",
    "llama_cpp": "llama-cpp",
}


def read_pins(requirements_dir: str) -> dict[str, str]:
    """The pinned packages of every lock file in a directory, one line for each lock; a missing file has no pins."""
    return {
        name: " ".join(
            (_PIN_AND_HASH if name == "llama_cpp" else _PIN).findall(
                read_text(os.path.join(requirements_dir, f"requirements-{lock}.txt"))
            )
        )
        for name, lock in LOCKS.items()
    }


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the caller wants.

    :param tools_dir: directory of all components.
    :param pins: ``name==version`` of the packages of each lock: builder, llamafactory, cuda, deepspeed, converter,
        llama_cpp.
    :param python: path or name of the interpreter of the environments; empty to choose one.
    :param python_from: ``host``, or ``uv`` to install one with uv.
    :param accelerator: auto, cuda or cpu.
    :param deepspeed: whether the environment of LLaMA-Factory contains DeepSpeed.
    :param torch_index_url: package index with other builds of PyTorch; empty for the usual index.
    """

    tools_dir: str
    pins: t.Mapping[str, str]
    python: str = ""
    python_from: str = "host"
    accelerator: str = "auto"
    deepspeed: bool = False
    torch_index_url: str = ""


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something that prevents building a missing component.

    :param subject: what is missing: python, venv or c++.
    :param content: why, in one sentence.
    :param packages: system packages that solve it, separated by blanks; empty if they are not known.
    """

    subject: str
    content: Message
    packages: str = ""

    def as_dict(self) -> dict[str, t.Any]:
        """Return plain values: the reason as text in English, and as a message."""
        message = self.content.as_dict()
        return {
            "subject": self.subject,
            "reason": message["text"],
            "reason_message": message,
            "packages": self.packages,
        }


class Toolchain:
    """The components that the settings ask for on this host."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.accelerator = settings.accelerator
        if self.accelerator == "auto":
            self.accelerator = "cuda" if has_nvidia_gpu() else "cpu"
        self._python_problems: list[Problem] = []
        self.python = self._choose_python()
        pins, tools = settings.pins, settings.tools_dir
        self.components = self._environments(self.python.version)
        self.components["llama_cpp"] = component(
            tools,
            "llama_cpp",
            "llama.cpp",
            pins=pins["llama_cpp"],
            options=instruction_set_options(),
            libc=libc(),
        )
        self.components["llama_server"] = llama_server_component(tools, pins["llama_cpp"])
        self.components["headers"] = component(tools, "headers", "llama-headers", pins=pins["llama_cpp"])
        self.components["builder"] = component(tools, "builder", "builder", pins=pins["builder"])

    def missing(self, wanted: t.Iterable[str]) -> list[str]:
        """Names of the components to build, in build order, so that all wanted ones are complete."""
        wanted = set(wanted)
        names = [name for name in ORDER if name in wanted and not self.components[name].is_complete()]
        if names and "builder" not in names and not self.components["builder"].is_complete():
            names.insert(0, "builder")
        return names

    def problems(self, missing: t.Collection[str]) -> list[Problem]:
        """What prevents building these components."""
        problems = list(self._python_problems) if set(_ENVIRONMENTS).intersection(missing) else []
        if "builder" in missing and not self.builder_python():
            package = os.path.basename(self.python.path or "python3") + "-venv"
            problems.append(Problem("venv", Message("provisioning.no_venv"), package))
        compiled = [name for name in ("llama_cpp", "llama_server") if name in missing]
        if compiled and not has_program("c++", "g++", "clang++"):
            programs = ["llama-quantize", "llama-server" if "llama_server" in compiled else "llama-tokenize"]
            problems.append(Problem("c++", Message("provisioning.no_compiler", programs=programs), "g++"))
        return problems

    def builder_python(self) -> str:
        """Path of an interpreter that can make the builder's environment; empty if there is none."""
        return find_for_environments(self.python.path)

    def versions(self) -> dict[str, str]:
        """Pinned versions of the main packages."""
        pins = " ".join(self.settings.pins.values()).split()
        versions = dict(item.split("==") for item in pins if "==" in item)
        return {name: versions[name] for name in _LISTED_VERSIONS if name in versions}

    def _environments(self, version: str) -> dict[str, Component]:
        """The two large environments for one version of Python."""
        pins, tools = self.settings.pins, self.settings.tools_dir
        index = self.settings.torch_index_url
        # Only where it is wanted: the key of an environment without DeepSpeed does not depend on its version.
        more = {"deepspeed": pins["deepspeed"]} if self.settings.deepspeed else {}
        return {
            "llamafactory": component(
                tools,
                "llamafactory",
                "llamafactory",
                pins=pins["llamafactory"],
                cuda=pins["cuda"] if self.accelerator == "cuda" else "",
                index=index,
                python=version,
                **more,
            ),
            "converter": component(
                tools, "converter", "converter", pins=pins["converter"], index=index, python=version
            ),
        }

    def _choose_python(self) -> Interpreter:
        if self.settings.python:
            return self._declared_python(self.settings.python)
        # Installed environments take precedence over interpreters, so that a newer Python on the host, or the PATH of
        # another user, does not install everything again.
        for version in SUPPORTED:
            made = self._environments(version)
            if made["llamafactory"].is_complete():
                path = "" if made["converter"].is_complete() else os.path.join(made["llamafactory"].path, "bin/python")
                return Interpreter(version, path)
        if self.settings.python_from == "uv":
            return Interpreter(MANAGED, "")
        interpreters = find_supported()
        for version in SUPPORTED:
            if version in interpreters:
                return interpreters[version]
        self._python_problems.append(_no_python())
        return Interpreter(SUPPORTED[0], "")

    def _declared_python(self, python: str) -> Interpreter:
        interpreter = identify(shutil.which(python) or python)
        if interpreter is None:
            reason = Message("provisioning.python_unusable", python=python)
            self._python_problems.append(Problem("python", reason))
            return Interpreter(SUPPORTED[0], "")
        if interpreter.version not in SUPPORTED:
            reason = Message(
                "provisioning.python_unsupported", python=python, version=interpreter.version, supported=SUPPORTED
            )
            self._python_problems.append(Problem("python", reason))
        return interpreter


def llama_server_component(tools_dir: str, pins: str) -> Component:
    """The programs of llama.cpp that Ollama runs, from version 0.30 on.

    :param pins: the source of llama.cpp, as in its lock file.
    """
    return component(
        tools_dir, "llama_server", "llama-server", pins=pins, options=instruction_set_options(), libc=libc()
    )


def instruction_set_options() -> dict[str, str]:
    """The options of llama.cpp's build that depend on this machine."""
    options = {"GGML_NATIVE": "OFF"}
    if platform.machine() in ("x86_64", "AMD64"):
        lines = read_text("/proc/cpuinfo").splitlines()
        flags = set(next((line for line in lines if line.startswith("flags")), "").partition(":")[2].split())
        options.update({option: "ON" if flag in flags else "OFF" for option, flag in X86_OPTIONS.items()})
    return options


def _no_python() -> Problem:
    system = os_release()
    packages = _PYTHON_PACKAGES.get((system["id"], system["version"]), "")
    code = "provisioning.no_python" if packages else "provisioning.no_python_package"
    return Problem("python", Message(code, system=system["name"], supported=SUPPORTED), packages)
