# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorded store: how it is packed, unpacked somewhere else, and used with plays and a real Ollama server.

Paths stand in many records of a store. So it is recorded under :data:`RECORDED`, and unpacked into a directory whose
path has the same length: the recorded path is replaced in all text files without changing a size. The digests of the
changed files are replaced in the receipts too. Modification times are restored to the nanosecond.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import lzma
import os
import re
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server, free_port
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import ROOT, Played, processes, run_play

HERE = Path(__file__).resolve().parent
ARCHIVE = HERE / "store.tar.xz"
EXPECTED = HERE / "expected.json"

#: Where the store was recorded. The last eight letters are replaced by those of :func:`tempfile.mkdtemp`.
RECORDED = "/tmp/ia-upgrade-recorded"
RECORDED_PORT = 11434

#: What is packed of the root.
PARTS = ("data", "probes", "models", "ollama/models")
#: No process of another machine has this boot id.
NO_BOOT = "00000000-0000-4000-8000-000000000000"

_PAX_TIME = "mtime"


class Site:
    """A user's inventory, prompts and tools, a data directory, and an Ollama server, all below one directory.

    :param root: the directory; its path is as long as :data:`RECORDED`.
    """

    def __init__(self, root: Path) -> None:
        assert len(str(root)) == len(RECORDED), root
        self.root = root
        self.data = root / "data"
        self.models = root / "ollama" / "models"
        port = free_port()
        while port < 10000:
            port = free_port()
        self.server = Server(os.environ["IA_OLLAMA_BIN"], root / "ollama", port)
        self.server.root.mkdir()

    def equip(self) -> Site:
        """Add the inventory, the prompts and the tools of this machine."""
        shutil.copytree(HERE / "site", self.root / "site")
        for path in (self.root / "site").rglob("*.yml"):
            path.write_bytes(self._relocated(path.read_bytes()))
        (self.root / "tools").mkdir()
        for name, variable in (
            ("llamafactory", "IA_LF_VENV"),
            ("converter", "IA_CONV_VENV"),
            ("llama.cpp", "IA_LLAMA_CPP_DIR"),
        ):
            (self.root / "tools" / name).symlink_to(os.environ[variable])
        return self

    def _relocated(self, content: bytes) -> bytes:
        content = content.replace(RECORDED.encode(), str(self.root).encode())
        return content.replace(f"127.0.0.1:{RECORDED_PORT}".encode(), f"127.0.0.1:{self.server.port}".encode())

    # -- plays -------------------------------------------------------------------------------------------------

    def command(self, playbook: str, *arguments: str) -> list[str]:
        """The command line of a play.

        :param playbook: name of one of the collection's, or a path.
        """
        path = playbook if os.path.isabs(playbook) else str(ROOT / "playbooks" / f"{playbook}.yml")
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        return [program, "-i", str(self.root / "site" / "inventory"), path, *arguments]

    def environment(self) -> dict[str, str]:
        """The environment of a play."""
        return {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "playbooks" / "collections"),
            "ANSIBLE_HOME": str(self.root / "ansible"),
            "ANSIBLE_LOCAL_TEMP": str(self.root / "ansible" / "tmp"),
            "ANSIBLE_REMOTE_TEMP": str(self.root / "ansible" / "tmp"),
            "ANSIBLE_NOCOLOR": "1",
        }

    def play(self, playbook: str, *arguments: str, timeout: float = 300) -> Played:
        """Run a playbook to its end."""
        return run_play(self.command(playbook, *arguments), self.environment(), self.root, timeout)

    def processes(self) -> dict[int, str]:
        """Command lines of the processes below this directory, those of the Ollama server left out."""
        found = {}
        for pid, line in processes(str(self.root)).items():
            with contextlib.suppress(ProcessLookupError):
                if self.server.process is None or os.getpgid(pid) != self.server.process.pid:
                    found[pid] = line
        return found

    def kill(self) -> int:
        """SIGKILL all of them, as a power failure would; how many there were."""
        killed: set[int] = set()
        end = time.monotonic() + 60
        while (found := self.processes()) and time.monotonic() < end:
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            killed.update(found)
            time.sleep(0.02)
        return len(killed)

    def close(self) -> None:
        """End all processes and remove the directory."""
        self.server.stop(hard=True)
        self.kill()
        shutil.rmtree(self.root)

    # -- what is there -----------------------------------------------------------------------------------------

    def report(self) -> dict[str, t.Any]:
        """What the modules report of the runs and the models, without times, paths and figures of the machine."""
        answers = self.root / "answers.json"
        self.play(str(HERE / "read.yml"), "-e", f"answers={answers}").well()
        found = json.loads(answers.read_text(encoding="utf-8"))
        return {
            "runs": {run["id"]: _run_facts(run) for run in found["runs"]},
            "models": {model["name"]: _model_facts(model) for model in found["models"]},
        }

    def tags(self) -> dict[str, str]:
        """Digest of each model by its name, as the server lists them."""
        return {str(model["name"]): str(model["digest"]) for model in Ollama(self.server.url).tags()}

    def layers(self) -> dict[str, list[str]]:
        """Digests of the parts of each model by its name. (That of a whole manifest depends on where it was made.)"""
        found = {}
        for path in (self.models / "manifests").glob("*/library/*/*"):
            manifest = json.loads(path.read_text(encoding="utf-8"))
            found[f"{path.parent.name}:{path.name}"] = [layer["digest"] for layer in manifest["layers"]]
        return found

    def plan(self) -> dict[str, list[str]]:
        """Labels of the steps that an apply would make, by fine-tune."""
        kept = self.root / "plan.json"
        self.play("plan", "-e", f"finetune_plan_file={kept}").well()
        plans = json.loads(kept.read_text(encoding="utf-8"))["hosts"]["pc-ia"]
        return {plan["name"]: plan["pending"] for plan in plans}

    def receipts(self, parent: str) -> dict[str, dict[str, t.Any]]:
        """The receipts below a directory of artifacts, by fingerprint."""
        found = (self.data / parent).glob("[0-9a-f]*/receipt.json")
        return {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in found}


def _run_facts(run: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {
        "name": run["name"],
        "state": run["state"],
        "current": run["current"],
        "error": (run["error"] or {}).get("step"),
        "steps": {
            step["label"]: {
                "kind": step["kind"],
                "fingerprint": step["fingerprint"],
                "pending": step["state"] in ("needed", "running", "failed"),
            }
            for step in run["steps"]
        },
    }


def _model_facts(model: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    versions = {
        version["tag"]: {
            **{name: version[name] for name in ("digest", "there", "registered_at", "promoted_at", "pruned_at")},
            "gate": version["gate"].get("passed"),
            "lineage": [f"{step['step']} {step['fingerprint']} {step['there']}" for step in version["lineage"]],
        }
        for version in model["versions"]
    }
    plain = ("served", "declared", "previous", "hold", "drift")
    return {**{name: model[name] for name in plain}, "versions": versions}


# -- the archive -----------------------------------------------------------------------------------------------


def unpack(*parts: str) -> Site:
    """The recorded store in a new directory; the caller removes it with :meth:`Site.close`.

    :param parts: those of :data:`PARTS` that are wanted; all by default.
    """
    site = Site(Path(tempfile.mkdtemp(prefix="ia-upgrade-", dir="/tmp")))
    times: dict[Path, int] = {}
    with tarfile.open(ARCHIVE) as packed:
        for member in packed:
            if parts and not member.name.startswith(parts):
                continue
            path = site.root / member.name
            times[path] = _nanoseconds(member.pax_headers.get(_PAX_TIME) or str(int(member.mtime)))
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
            else:
                stream = packed.extractfile(member)
                assert stream is not None, member.name
                path.write_bytes(stream.read())
            path.chmod(member.mode)
    digests: dict[bytes, bytes] = {}
    files = [path for path in times if path.is_file() and not path.is_relative_to(site.models)]
    for path in sorted(files, key=lambda path: path.name == "receipt.json"):
        before = path.read_bytes()
        if b"\0" in before:
            continue
        after = site._relocated(before)
        if path.name == "receipt.json":
            for old, new in digests.items():
                after = after.replace(old, new)
        if after != before:
            path.write_bytes(after)
            digests[_digest(before)] = _digest(after)
    for path, moment in sorted(times.items(), key=lambda item: str(item[0]), reverse=True):
        os.utime(path, ns=(moment, moment))
    return site.equip()


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _nanoseconds(seconds: str) -> int:
    whole, _dot, fraction = seconds.partition(".")
    return int(whole) * 10**9 + int(fraction.ljust(9, "0")[:9] or "0")


def pack(site: Site, archive: Path, replaced: t.Mapping[str, str], forbidden: re.Pattern[str]) -> int:
    """Write the archive; the same tree gives the same bytes.

    :param replaced: texts of this machine, and what stands in their place.
    :param forbidden: texts that must not be left.
    :returns: bytes of all files.
    """
    packed, total = io.BytesIO(), 0
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in _paths(site.root):
            stat = path.stat()
            member = tarfile.TarInfo(str(path.relative_to(site.root)))
            member.mode = stat.st_mode & 0o777
            member.mtime = stat.st_mtime_ns / 10**9
            member.pax_headers = {_PAX_TIME: f"{stat.st_mtime_ns // 10**9}.{stat.st_mtime_ns % 10**9:09}"}
            member.uname = member.gname = "root"
            if path.is_dir():
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
                continue
            content = path.read_bytes()
            if b"\0" not in content:
                for old, new in replaced.items():
                    content = content.replace(old.encode(), new.encode())
                left = forbidden.findall(content.decode())
                assert not left, f"{path} holds {left}"
            member.size = len(content)
            total += len(content)
            tar.addfile(member, io.BytesIO(content))
    archive.write_bytes(lzma.compress(packed.getvalue(), preset=9 | lzma.PRESET_EXTREME))
    return total


def _paths(root: Path) -> t.Iterator[Path]:
    for part in PARTS:
        yield root / part
        for path in sorted((root / part).rglob("*")):
            relative = path.relative_to(root)
            if relative.parts[:2] == ("data", "cache") and len(relative.parts) > 3:
                continue  # of the Hugging Face cache no more than its directory
            if path.is_dir() or path.is_file():
                yield path
