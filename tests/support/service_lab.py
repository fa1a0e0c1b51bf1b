# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A training service in a uvicorn process, with the real core and a data directory of its own."""

from __future__ import annotations

import atexit
import compileall
import dataclasses
import functools
import json
import os
import py_compile
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import httpx

from ansible_collections.ia_homelab.llamafactory.tests.support import probe_core
from ansible_collections.ia_homelab.llamafactory.tests.support.engine_lab import Lab
from ansible_collections.ia_homelab.llamafactory.tests.support.fork_server import Forked, ForkServer
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import free_port
from ansible_collections.ia_homelab.llamafactory.tests.support.weights import write_safetensors

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "service" / "src"
CORE = ROOT / "plugins" / "module_utils" / "_core"
PROMPTS = ROOT / "playbooks" / "files" / "homelab_prompts.json"


@functools.cache
def library() -> str:
    """Return a directory with the compiled service and core, as the role installs them; with the steps of the tests."""
    path = tempfile.mkdtemp(prefix="ia-homelab-service-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    for source, name in ((SOURCES / "ia_homelab_service", "ia_homelab_service"), (CORE, "ia_homelab_core")):
        shutil.copytree(source, Path(path, name), ignore=shutil.ignore_patterns("__pycache__"))
    probe_core.extend(Path(path, "ia_homelab_core"))
    compileall.compile_dir(path, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    return path


@functools.cache
def fork_server() -> ForkServer:
    """Return a process that has imported the service of :func:`library`."""
    return ForkServer(library(), "ia_homelab_service.__main__")


@functools.cache
def collections() -> str:
    """Return a directory for ``ANSIBLE_COLLECTIONS_PATH`` with this collection; with the steps of the tests."""
    path = tempfile.mkdtemp(prefix="ia-homelab-collections-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    collection = Path(path, "ansible_collections", "ia_homelab", "llamafactory")
    for name in ("plugins", "meta", "roles"):
        shutil.copytree(ROOT / name, collection / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "galaxy.yml", collection)
    probe_core.extend(collection / CORE.relative_to(ROOT))
    return path


@dataclasses.dataclass
class Service:
    """A service that can be stopped, killed and started again.

    :param root: a directory of the test's own; the data directory is ``data`` in it, as that of ``lab``.
    :param settings: beside ``data_dir`` and ``port``.
    """

    root: Path
    settings: dict[str, t.Any]
    process: subprocess.Popen[bytes] | Forked | None = None

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.port = int(self.settings.setdefault("port", free_port()))
        # never use a server of this machine by accident
        self.settings.setdefault("ollama_url", "http://127.0.0.1:9")
        # the tests of access control set tokens
        self.settings.setdefault("no_token", "tokens_file" not in self.settings)
        self.settings["data_dir"] = str(self.root / "data")
        self.file = self.root / "settings.json"
        self.lab = Lab(self.root)

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Its log output so far."""
        path = self.root / "service.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def client(self, token: str = "", **options: t.Any) -> httpx.Client:
        """Return an HTTP client."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # without certificates, which take time to load and are not needed
        options = {"timeout": 120.0, "trust_env": False, "verify": False, **options}
        return httpx.Client(base_url=self.url, headers=headers, **options)

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Return the arguments and the environment that start it."""
        self.file.write_text(json.dumps(self.settings))
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.root), "PYTHONPATH": library(), "LC_ALL": "C.UTF-8"}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        environment.update({key: value for key, value in os.environ.items() if key in ("HF_ENDPOINT", "HF_TOKEN")})
        return [sys.executable, "-m", "ia_homelab_service", str(self.file)], environment

    def start(self, wait: bool = True, own: bool = False) -> Service:
        """Start the service and wait until it responds.

        :param own: start an interpreter for it, as systemd does, and not a fork of one that has everything imported.
        """
        argv, environment = self.command()
        log = self.root / "service.log"
        if own:
            with open(log, "ab") as stream:
                self.process = subprocess.Popen(
                    argv, env=environment, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, cwd=self.root
                )
        else:
            assert argv[1:3] == ["-m", "ia_homelab_service"], argv
            self.process = fork_server().start(argv[3:], environment, self.root, log)
        if wait:
            self.wait_until_it_answers()
        return self

    def wait_until_it_answers(self, seconds: float = 120.0) -> None:
        """Wait for the first response."""
        end = time.monotonic() + seconds
        with self.client() as client:
            while True:
                try:
                    if client.get("/healthz").status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                assert self.process is not None
                assert self.process.poll() is None, self.log[-3000:]
                assert time.monotonic() < end, self.log[-3000:]
                time.sleep(0.05)

    def kill(self) -> None:
        """Send SIGKILL, like a crash."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Send SIGTERM, like systemd; return the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=120)

    def close(self) -> None:
        """Stop the service and its jobs."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self.lab.close()

    # -- requests of tests -------------------------------------------------------------------------------------

    def publish(self, name: str = "homelab_prompts") -> dict[str, t.Any]:
        """Publish the homelab prompts as a dataset."""
        with self.client() as client, open(PROMPTS, "rb") as stream:
            reply = client.post(f"/api/datasets/{name}", files={"file": ("homelab_prompts.json", stream)})
        assert reply.status_code in (200, 201), reply.text
        return t.cast("dict[str, t.Any]", reply.json())

    def base(self) -> str:
        """Return a directory with the files of a base model that are read before training."""
        path = self.root / "base"
        if not path.exists():
            path.mkdir()
            config = {
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "hidden_size": 8,
                "intermediate_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "vocab_size": 32,
                "max_position_embeddings": 64,
                "tie_word_embeddings": True,
                "torch_dtype": "float32",
            }
            (path / "config.json").write_text(json.dumps(config))
            (path / "tokenizer.json").write_text("{}")
            (path / "tokenizer_config.json").write_text("{}")
            raw = struct.pack("<8f", *[0.5] * 8)
            write_safetensors(path / "model.safetensors", {"model.embed_tokens.weight": ("F32", [2, 4], raw)})
        return str(path)

    def request(self, **more: t.Any) -> dict[str, t.Any]:
        """Return the request of the specification, for that base."""
        return {
            "model_name": self.base(),
            "dataset": "homelab_prompts",
            "training_method": "lora",
            "lora_rank": 16,
            "num_epochs": 3,
            "learning_rate": 2e-4,
            "template": "qwen",
            **more,
        }

    def occupy(self, name: str = "occupant", count: int = 100_000) -> str:
        """Submit a run, like Ansible, that has exclusive use of the machine until it is cancelled; return its id."""
        run = self.lab.counting(name, steps=1, count=count, pause=0.2)
        self.lab.engine.submit(run)
        self.lab.wait(lambda: any(one.step.startswith(name) for one in self.lab.evidence()), timeout=60)
        return run.id


def events(lines: t.Iterable[str]) -> t.Iterator[dict[str, t.Any]]:
    """Yield the events of a stream: ``id``, ``event`` and ``data`` of each."""
    found: dict[str, t.Any] = {}
    for line in lines:
        if not line:
            if "data" in found:
                yield found
            found = {}
        elif not line.startswith(":"):
            key, _colon, value = line.partition(": ")
            found[key] = json.loads(value) if key == "data" else value
