# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say what of the toolchain is on this host, where it belongs, and what is missing to make it.

Reads, never writes, and is cheap: a few stats when all is there. Fed to an interpreter on
standard input (Python 3.8+, standard library only), with one argument, a JSON object:

    wanted: the components that shall be there
    tools_dir, python, python_from, accelerator, deepspeed, index_url, torch_index_url, jobs: the role's variables
    pins: {builder, llamafactory, cuda, deepspeed, converter, llama_cpp}: "name==version …", one line each

Prints a JSON object; the installer takes it as its input. Every component has a directory
named by its content: the pins, and whatever else decides what is inside.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys

# Newest first. 3.14 is not among them: datasets 4.0.0, which LLaMA-Factory 0.9.5 pins,
# cannot pickle there.
SUPPORTED = ("3.13", "3.12", "3.11")
MANAGED = "3.12"
# Counted up when the way a component is made changes what is inside it.
RECIPE = {"builder": 1, "llamafactory": 1, "converter": 1, "llama_cpp": 1, "headers": 1}
# What must be there, besides the marker that is written last, for a component to be used.
VITAL = {
    "builder": ("bin/python", "bin/uv", "bin/cmake", "bin/ninja"),
    "llamafactory": ("bin/python", "bin/llamafactory-cli"),
    "converter": ("bin/python",),
    "llama_cpp": ("bin/llama-quantize", "bin/llama-tokenize", "convert_hf_to_gguf.py", "conversion", "gguf-py"),
    "headers": ("nlohmann/json.hpp", "miniaudio", "stb"),
}
MARKER = ".complete"
# llama.cpp's build options for instruction sets, and the flag of /proc/cpuinfo each needs.
# Named one by one: GGML_NATIVE=ON asks for instructions (AMX) that virtual machines
# advertise and then refuse with SIGILL.
X86_OPTIONS = {
    "GGML_SSE42": "sse4_2",
    "GGML_AVX": "avx",
    "GGML_AVX2": "avx2",
    "GGML_BMI2": "bmi2",
    "GGML_FMA": "fma",
    "GGML_F16C": "f16c",
}


def build_options() -> dict[str, str]:
    """The options of llama.cpp's build that depend on this machine."""
    options = {"GGML_NATIVE": "OFF"}
    if platform.machine() in ("x86_64", "AMD64"):
        try:
            with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
                line = next((line for line in stream if line.startswith("flags")), "")
        except OSError:
            line = ""
        flags = set(line.partition(":")[2].split())
        options.update({option: "ON" if flag in flags else "OFF" for option, flag in X86_OPTIONS.items()})
    return options


def has_nvidia_gpu() -> bool:
    """Whether a GPU of NVIDIA is there: by its driver, or on the PCI bus before there is one."""
    if os.path.exists("/proc/driver/nvidia/version") or os.path.exists("/dev/nvidia0"):
        return True
    for path in glob.glob("/sys/bus/pci/devices/*/vendor"):
        try:
            with open(path, encoding="ascii") as vendor, open(path[:-6] + "class", encoding="ascii") as kind:
                # 0x03: display controllers; some compute cards show as 0x0302.
                if vendor.read().strip() == "0x10de" and kind.read().startswith("0x03"):
                    return True
        except OSError:
            continue
    return False


def ask(python: str, code: str) -> str | None:
    """What an interpreter prints for ``code``; None if it does not run (a shim of pyenv, say)."""
    try:
        answer = subprocess.run(
            [python, "-I", "-c", code], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.decode("utf-8", "replace").strip() if answer.returncode == 0 else None


def identify(python: str) -> dict[str, str] | None:
    """Version ("3.11") and real path of a CPython, seen through a virtual environment to its base."""
    answer = ask(
        python,
        "import sys; b = getattr(sys, '_base_executable', None) or sys.executable;"
        "print(sys.implementation.name, '%d.%d' % sys.version_info[:2], sys.maxsize > 2**32, b, sep='\\n')",
    )
    lines = (answer or "").splitlines()
    if len(lines) != 4 or lines[0] != "cpython" or lines[2] != "True":
        return None
    return {"version": lines[1], "path": lines[3]}


def find_pythons() -> dict[str, str]:
    """Interpreters by version; the system's own before what the PATH of this user adds.

    The environments may be used by other users, for whom an interpreter in one's home is
    out of reach, and must not change with the PATH of who runs the play.
    """
    found: dict[str, str] = {}
    folders = ["/usr/bin", "/usr/local/bin"] + os.environ.get("PATH", "").split(os.pathsep)
    candidates = [os.path.join(folder, "python" + version) for version in SUPPORTED for folder in folders if folder]
    candidates += ["/usr/bin/python3", "/usr/local/bin/python3", sys.executable]
    for candidate in dict.fromkeys(candidates):
        name = os.path.basename(candidate)[len("python") :]
        if name in found or not os.access(candidate, os.X_OK):
            continue
        it = identify(candidate)
        if it and it["version"] in SUPPORTED:
            found.setdefault(it["version"], it["path"])
    return found


class Probe:
    """What the role asked for, held against this host."""

    def __init__(self, wish: dict) -> None:
        self.wish = wish
        self.tools = wish["tools_dir"]
        self.machine = platform.machine()
        self.libc = "-".join(platform.libc_ver()) or "unknown"
        self.accelerator = wish["accelerator"]
        if self.accelerator == "auto":
            self.accelerator = "cuda" if has_nvidia_gpu() else "cpu"
        self.problems: list[dict[str, str]] = []

    def component(self, name: str, prefix: str, **inputs) -> dict:
        """Where a component belongs, and whether it is there whole."""
        inputs.update(component=name, recipe=RECIPE[name], machine=self.machine)
        key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
        path = os.path.join(self.tools, prefix + "-" + key)
        needed = [os.path.join(path, item) for item in (MARKER, *VITAL[name])]
        # A link to an interpreter that the system has since removed counts as missing too.
        lacking = [item for item in needed if not os.path.exists(item)]
        return {
            "name": name,
            "key": key,
            "path": path,
            "inputs": inputs,
            "whole": not lacking,
            # A file that is there exactly when the component is whole.
            "guard": lacking[0] if lacking else needed[0],
            "vital": list(VITAL[name]),
        }

    def environments(self, version: str) -> dict[str, dict]:
        """The two large environments for one version of Python."""
        pins = self.wish["pins"]
        index = self.wish["torch_index_url"]
        extra = pins["cuda"] if self.accelerator == "cuda" else ""
        # Named only where it is wanted: the key of an environment without it stays what it was.
        more = {"deepspeed": pins["deepspeed"]} if self.wish["deepspeed"] else {}
        return {
            "llamafactory": self.component(
                "llamafactory",
                "llamafactory",
                pins=pins["llamafactory"],
                cuda=extra,
                index=index,
                python=version,
                **more,
            ),
            "converter": self.component("converter", "converter", pins=pins["converter"], index=index, python=version),
        }

    def choose_python(self) -> dict[str, str]:
        """The interpreter of the environments: ``version`` and ``path`` ("" when none is there yet)."""
        asked = self.wish["python"]
        if asked:
            found = identify(shutil.which(asked) or asked)
            if found is None:
                self.problem("python", f"llamafactory_python is {asked}, which is no 64-bit CPython that runs.")
                return {"version": SUPPORTED[0], "path": ""}
            if found["version"] not in SUPPORTED:
                self.problem(
                    "python",
                    "llamafactory_python is {}, Python {}; LLaMA-Factory runs on {}.".format(
                        asked, found["version"], ", ".join(SUPPORTED)
                    ),
                )
            return found
        # Environments that are there decide before interpreters do, so that a newer Python
        # appearing on the host, or another user's PATH, installs nothing again.
        for version in SUPPORTED:
            made = self.environments(version)
            if made["llamafactory"]["whole"]:
                python = "" if made["converter"]["whole"] else os.path.join(made["llamafactory"]["path"], "bin/python")
                return {"version": version, "path": python}
        if self.wish["python_from"] == "uv":
            return {"version": MANAGED, "path": ""}
        pythons = find_pythons()
        for version in SUPPORTED:
            if version in pythons:
                return {"version": version, "path": pythons[version]}
        self.problem("python", *self.no_python())
        return {"version": SUPPORTED[0], "path": ""}

    def no_python(self) -> tuple[str, str]:
        release = {}
        try:
            with open("/etc/os-release", encoding="utf-8") as stream:
                release = dict(line.rstrip().replace('"', "").split("=", 1) for line in stream if "=" in line)
        except (OSError, ValueError):
            pass
        system = release.get("PRETTY_NAME", "this system")
        text = f"LLaMA-Factory needs Python 3.11, 3.12 or 3.13, and none is on this host ({system})."
        known = {
            ("debian", "12"): "python3 python3-venv",
            ("debian", "13"): "python3 python3-venv",
            ("ubuntu", "22.04"): "python3.11 python3.11-venv",
            ("ubuntu", "24.04"): "python3 python3-venv",
        }
        packages = known.get((release.get("ID", ""), release.get("VERSION_ID", "")))
        if packages:
            return text, packages
        return (
            text + " Set llamafactory_python_from: uv to let uv fetch one, or llamafactory_python to the path of one.",
            "",
        )

    def problem(self, what: str, why: str, packages: str = "") -> None:
        self.problems.append({"what": what, "why": why, "packages": packages})

    def builder_python(self, chosen: str) -> str:
        """An interpreter able to make a virtual environment with pip in it, for the builder."""
        candidates = [chosen, getattr(sys, "_base_executable", "") or sys.executable, "/usr/bin/python3"]
        for candidate in filter(None, candidates):
            if (
                ask(candidate, "import sys, venv, ensurepip; ensurepip.version(); assert sys.version_info >= (3, 9)")
                is not None
            ):
                return candidate
        version = os.path.basename(chosen or "python3")
        self.problem("venv", "No Python here can make a virtual environment.", version + "-venv")
        return ""

    def compiler(self) -> None:
        if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
            self.problem("c++", "llama-quantize and llama-tokenize are built here, which takes a C++ compiler.", "g++")

    def report(self) -> dict:
        pins = self.wish["pins"]
        wanted = self.wish["wanted"]
        python = self.choose_python()
        components = self.environments(python["version"])
        components["llama_cpp"] = self.component(
            "llama_cpp", "llama.cpp", pins=pins["llama_cpp"], options=build_options(), libc=self.libc
        )
        components["headers"] = self.component("headers", "llama-headers", pins=pins["llama_cpp"])
        components["builder"] = self.component("builder", "builder", pins=pins["builder"])
        missing = [name for name in wanted if not components[name]["whole"]]
        if not {"llamafactory", "converter"}.intersection(missing):
            # Python matters to nothing that is left to do.
            self.problems.clear()
        build_with = ""
        if missing and not components["builder"]["whole"]:
            missing.insert(0, "builder")
            build_with = self.builder_python(python["path"])
        if "llama_cpp" in missing:
            self.compiler()
        versions = dict(item.split("==") for item in " ".join(pins.values()).split() if "==" in item)
        return {
            "tools_dir": self.tools,
            "python": python,
            "python_from": self.wish["python_from"],
            "builder_python": build_with,
            "accelerator": self.accelerator,
            "deepspeed": self.wish["deepspeed"],
            "index_url": self.wish["index_url"],
            "torch_index_url": self.wish["torch_index_url"],
            "jobs": self.wish["jobs"],
            "components": components,
            "missing": missing,
            # Only what stands in the way of making what is missing.
            "problems": self.problems,
            "root": os.geteuid() == 0,
            "apt": shutil.which("apt-get") is not None,
            "versions": {name: versions[name] for name in ("llamafactory", "torch", "llama-cpp-python", "uv")},
            "toolchain": {
                "llamafactory_venv": components["llamafactory"]["path"],
                "converter_venv": components["converter"]["path"],
                "llama_cpp_dir": components["llama_cpp"]["path"],
                "whole": all(components[name]["whole"] for name in ("llamafactory", "converter", "llama_cpp")),
            },
        }


if __name__ == "__main__":
    json.dump(Probe(json.loads(sys.argv[1])).report(), sys.stdout)
