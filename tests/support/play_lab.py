# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PC IA for a test on this machine: a tiny base, an Ollama server, and the real playbooks.

Needs the tools that ``./test.sh tools`` installs, named by ``IA_LF_VENV``, ``IA_CONV_VENV``, ``IA_LLAMA_CPP_DIR`` and
``IA_OLLAMA_BIN``; the base is a copy of ``IA_TINY_BASE``, or made where that is not set.
"""

from __future__ import annotations

import atexit
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server, free_port

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = ROOT / "playbooks" / "files" / "homelab_prompts.json"
MAKER = ROOT / "playbooks" / "files" / "make_tiny_base.py"

#: A training of five steps; its quality does not matter.
TRAINING: dict[str, t.Any] = {
    "template": "qwen",
    "method": "lora",
    "epochs": 1,
    "batch_size": 10,
    "gradient_accumulation": 1,
    "learning_rate": 0.002,
    "cutoff_len": 512,
    "quantization": "q4_K_M",
}


def taken_by(playbook: Path) -> list[str]:
    """The extra variables that a playbook says it takes (``play_hosts``), and others do not."""
    listed = re.search(r"takes=\[([^\]]*)\]", playbook.read_text(encoding="utf-8"))
    return re.findall(r"'(\w+)'", listed.group(1)) if listed else []


@dataclasses.dataclass(frozen=True)
class Played:
    """The outcome of a play.

    :param status: exit status.
    :param output: the output of both streams.
    """

    status: int
    output: str

    @property
    def recap(self) -> dict[str, int]:
        """The figures of the play recap, of the one host."""
        line = re.search(r"^\S+\s+: (ok=.*)$", self.output, re.MULTILINE)
        assert line, self.output[-3000:]
        return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line.group(1))}

    @property
    def changed(self) -> list[str]:
        """Names of the tasks that reported a change."""
        found, task = [], ""
        for line in self.output.splitlines():
            named = re.match(r"TASK \[(?:[\w.]+ : )?(.*)\] \*", line)
            task = named.group(1) if named else task
            if line.startswith("changed: ") and task not in found:
                found.append(task)
        return found

    def well(self) -> Played:
        """Return itself if it ended without an error."""
        assert self.status == 0, self.output[-6000:]
        return self


def run_play(command: t.Sequence[str], environment: t.Mapping[str, str], directory: Path, timeout: float) -> Played:
    """Run the command of a play to its end.

    :param timeout: seconds.
    """
    done = subprocess.run(
        command,
        env=environment,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    return Played(done.returncode, done.stdout)


#: The bases that :func:`make_tiny_base` has created in this process.
_MADE: dict[tuple[str, ...], Path] = {}


def make_tiny_base(target: Path, *shape: str) -> Path:
    """Create a real base model of two megabytes, always the same: a copy of that of the tools, or created once.

    :param shape: options for ``make_tiny_base.py``, to create a larger base.
    """
    if not shape and os.environ.get("IA_TINY_BASE"):
        _MADE[shape] = Path(os.environ["IA_TINY_BASE"])
    if shape not in _MADE:
        made = Path(tempfile.mkdtemp(prefix="tiny-base."))
        atexit.register(shutil.rmtree, made, ignore_errors=True)
        python = os.path.join(os.environ["IA_LF_VENV"], "bin", "python")
        argv = [python, str(MAKER), "--prompts", str(PROMPTS), "--output", str(made / "base"), *shape]
        subprocess.run(
            argv, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
        )
        _MADE[shape] = made / "base"
    shutil.copytree(_MADE[shape], target)
    return target


def toolchain(ollama_url: str = "", **more: t.Any) -> Toolchain:
    """Paths of the real tools."""
    return Toolchain(
        llamafactory_venv=os.environ["IA_LF_VENV"],
        converter_venv=os.environ["IA_CONV_VENV"],
        llama_cpp_dir=os.environ["IA_LLAMA_CPP_DIR"],
        ollama_url=ollama_url,
        **more,
    )


def processes(mark: str) -> dict[int, str]:
    """Command lines of live processes that mention a path, except this one."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
            text = line + (entry / "environ").read_bytes()
            state = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mark.encode() in text and int(entry.name) != os.getpid() and state not in "ZX":
            found[int(entry.name)] = line.replace(b"\0", b" ").decode(errors="replace")
    return found


def left_running(mark: str, seconds: float = 60) -> dict[int, str]:
    """Those of :func:`processes` that do not end within some seconds.

    A process that has reported its outcome may need a moment to end.
    """
    end = time.monotonic() + seconds
    while (found := processes(mark)) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def tree(*roots: Path) -> dict[str, tuple[t.Any, ...]]:
    """Every path below a directory, with everything that a write would change: mode, inode, size, times, content."""
    found: dict[str, tuple[t.Any, ...]] = {}
    for root in roots:
        for path in [root, *root.rglob("*")]:
            stat = path.lstat()
            plain = path.is_file() and not path.is_symlink()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if plain else ""
            found[str(path)] = (stat.st_mode, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, content)
    return found


class PlayLab:
    """One data directory, one Ollama server, one host named ``pc-ia``.

    :param root: a directory for this test.
    :param base: the base model, a hub id or a directory.
    """

    def __init__(self, root: Path, base: str) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.data = root / "data"
        self.layout = Layout(str(self.data))
        self.prompts = root / "prompts.json"
        shutil.copy(PROMPTS, self.prompts)
        self.server = Server(os.environ["IA_OLLAMA_BIN"], root / "ollama", free_port())
        self.server.root.mkdir()
        self.inventory = root / "hosts.yml"
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        self.inventory.write_text(json.dumps({"pc_ia": {"hosts": {"pc-ia": host}}}))
        self.declared: dict[str, t.Any] = {
            "llamafactory_data_dir": str(self.data),
            "llamafactory_accelerator": "cpu",
            "llamafactory_toolchain": {
                "llamafactory_venv": os.environ["IA_LF_VENV"],
                "converter_venv": os.environ["IA_CONV_VENV"],
                "llama_cpp_dir": os.environ["IA_LLAMA_CPP_DIR"],
            },
            "ollama_url": self.server.url,
            "finetune_datasets": [{"name": "prompts", "src": str(self.prompts)}],
            "finetunes": [{"name": "lab-model", "base_model": base, "dataset": "prompts", **TRAINING}],
        }

    @property
    def ollama(self) -> Ollama:
        """A client of the server."""
        return Ollama(self.server.url, timeout=120)

    def tags(self) -> dict[str, str]:
        """Digest by name, as the server lists them."""
        return {str(model["name"]): str(model["digest"]) for model in self.ollama.tags()}

    def command(self, *arguments: str, playbook: str = "finetune", **declared: t.Any) -> list[str]:
        """The command line of a play.

        :param declared: variables that replace those of :attr:`declared` in this play.
        """
        variables = self.root / "variables.json"
        variables.write_text(json.dumps({**self.declared, **declared}))
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        path = playbook if os.path.isabs(playbook) else str(ROOT / "playbooks" / f"{playbook}.yml")
        return [program, "-i", str(self.inventory), path, "-e", f"@{variables}", *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a play."""
        return {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks" / "collections"),
            "ANSIBLE_HOME": str(self.root / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
            **more,
        }

    def play(
        self,
        *arguments: str,
        playbook: str = "finetune",
        within: t.Sequence[str] = (),
        environment: t.Mapping[str, str] | None = None,
        timeout: float = 600,
        **declared: t.Any,
    ) -> Played:
        """Run a playbook to its end.

        :param within: a command that runs the play (``unshare -n`` and the like).
        """
        command = [*within, *self.command(*arguments, playbook=playbook, **declared)]
        return run_play(command, self.environment(**(environment or {})), self.root, timeout)
