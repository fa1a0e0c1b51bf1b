# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetching a base model end to end: engine, supervisor, worker, real weights over HTTP, killed and resumed.

The hub is a stand-in (there is no real one here); that it speaks as a hub does is shown by the real
``huggingface_hub`` getting the same model from it, and the model by the real ``transformers`` loading it.
Needs ``IA_LF_VENV``; fails where it is missing. About a minute on two cores.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.base_models import names, resolution
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning import pipeline
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.status import RunView
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.store import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import read_json
from ansible_collections.ia_homelab.llamafactory.tests.support.hub_stand_in import HubStandIn
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import make_tiny_base

REPO = "homelab/Tiny-Chat"
TOKEN = "hf_CanaryThatMustNotBeSeenAnywhere42"
WAIT_SECONDS = 120.0

_LOAD = """
import sys, torch, transformers
path = sys.argv[1]
model = transformers.AutoModelForCausalLM.from_pretrained(path, local_files_only=True)
tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
ids = tokenizer("Bonjour", return_tensors="pt").input_ids
print(len(model(ids).logits[0]), sum(p.numel() for p in model.parameters()))
"""


@pytest.fixture(scope="session")
def lf_python() -> str:
    """Python of LLaMA-Factory's virtual environment."""
    venv = os.environ.get("IA_LF_VENV", "")
    assert venv, "set IA_LF_VENV to run these tests"
    python = os.path.join(venv, "bin", "python")
    assert os.path.exists(python), f"{python} is not there"
    return python


def run_python(python: str, *arguments: str, **env: str) -> str:
    """Run a script in LLaMA-Factory's environment; return its output."""
    base = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, *arguments], env={**base, **env}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real model with random weights."""
    return make_tiny_base(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def hub(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[HubStandIn]:
    """A hub with that model."""
    with HubStandIn() as server:
        server.add(REPO, tiny)
        server.repositories[REPO].files["model-q8_0.gguf"] = b"GGUF" + bytes(200_000)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
        yield server


class Workspace:
    """A data directory and its engine."""

    def __init__(self, root: Path, token_file: str = "") -> None:
        self.engine = Engine(str(root))
        self.root = root
        self.token_file = token_file

    def plan(self, name: str = REPO, **more: t.Any) -> Run:
        """The run that fetches the model."""
        base = resolution.resolve_base(self.engine.layout, names.resolve(name), token_file=self.token_file, **more)
        step = pipeline.base_step(pipeline.Identity(base.fingerprint, dict(base.settings), base.options))
        return pipeline.make_run("tiny", [step], ["base"], Toolchain(token_file=self.token_file))

    def follow(self, run: Run) -> RunView:
        """Follow the run to its end."""
        view = self.engine.follow(run.id, timeout=WAIT_SECONDS)
        assert view.state in ("succeeded", "failed"), view
        return view

    def artifact(self, run: Run) -> Path:
        """Path of the weights."""
        return Path(self.engine.layout.artifact("base", run.steps[0].spec.fingerprint))


@pytest.fixture
def workspace(tmp_path: Path) -> t.Iterator[Workspace]:
    """A data directory; processes that are left in it are ended."""
    found = Workspace(tmp_path / "data")
    yield found
    for view in found.engine.observe_all():
        found.engine.cancel(view.id)
        found.engine.follow(view.id, timeout=120)


def content(root: Path) -> dict[str, str]:
    """Digest of each file of a model, by name."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.iterdir()
        if path.is_file() and path.name != "receipt.json"
    }


def wait_for(reached: t.Callable[[], t.Any]) -> t.Any:
    """Wait until a function returns a true value, and return it."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        found = reached()
        if found:
            return found
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def test_real_client_downloads_from_the_stand_in(
    hub: HubStandIn, workspace: Workspace, lf_python: str, tmp_path: Path
) -> None:
    """The real client gets the same files as the collection, and the real loader loads them."""
    program = (
        "import sys, huggingface_hub as h; "
        "print(h.snapshot_download(sys.argv[1], local_dir=sys.argv[2], ignore_patterns=['*.gguf'])); "
        "i = h.HfApi().model_info(sys.argv[1], files_metadata=True); print(i.sha, len(i.siblings))"
    )
    theirs = tmp_path / "theirs"
    said = run_python(
        lf_python, "-c", program, REPO, str(theirs), HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "hf")
    ).split()
    assert said[-2] == hub.repositories[REPO].commit
    run = workspace.plan()
    assert run.steps[0].spec.settings == {"hub": REPO, "commit": said[-2]}
    workspace.engine.submit(run)
    assert workspace.follow(run).state == "succeeded"
    assert content(workspace.artifact(run)) == content(theirs)
    results = workspace.engine.layout.receipt("base", run.steps[0].spec.fingerprint)["results"]  # type: ignore[index]
    assert results["template"] == "", "no template is guessed for a repository that nobody knows"
    loaded = run_python(lf_python, "-c", _LOAD, str(workspace.artifact(run))).split()
    assert int(loaded[0]) > 0
    assert int(loaded[1]) == results["shape"]["parameters"]


def test_real_client_understands_refusals_of_the_stand_in(hub: HubStandIn, lf_python: str, tmp_path: Path) -> None:
    """The real client reports its refusals correctly."""
    hub.repositories[REPO].gated = True
    hub.tokens.add(TOKEN)
    program = (
        "import sys, huggingface_hub as h\n"
        "for name, token in ((sys.argv[1], False), (sys.argv[1], sys.argv[2]), ('no/such', False)):\n"
        "    try: h.hf_hub_download(name, 'config.json', token=token); print('came')\n"
        "    except h.errors.HfHubHTTPError as error: print(type(error).__name__)\n"
    )
    said = run_python(lf_python, "-c", program, REPO, TOKEN, HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "hf"))
    assert said.split() == ["GatedRepoError", "GatedRepoError", "RepositoryNotFoundError"]


def test_interrupted_download_is_resumed(hub: HubStandIn, workspace: Workspace, tiny: Path) -> None:
    """kill -9 to the worker and its supervisor: the next run fetches only the rest."""
    name, size = max(((path.name, path.stat().st_size) for path in tiny.iterdir()), key=lambda found: found[1])
    hub.rate = size // 4
    run = workspace.plan()
    workspace.engine.submit(run)
    wait_for(lambda: hub.sent.get(name, 0) > size // 3)
    view = workspace.engine.observe(run.id)
    progress = wait_for(lambda: workspace.engine.observe(run.id).progress.get("current"))
    assert 0 < progress < size * 2
    pids = [read_json(os.path.join(view.job, file))["pid"] for file in ("command.json", "supervisor.json")]
    for pid in reversed(pids):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(alive(pid) for pid in pids))
    assert not workspace.artifact(run).exists()
    part = next(Path(workspace.engine.layout.parent("base")).glob(f".work-*/.download/{name}.part"))
    kept = part.stat().st_size
    assert size // 5 < kept < size
    wait_for(lambda: not hub.pouring)
    before = hub.sent[name]
    hub.rate = 0
    workspace.engine.submit(workspace.plan())
    assert workspace.follow(run).state == "succeeded"
    assert hub.sent[name] - before <= size - kept
    assert content(workspace.artifact(run)).items() <= content(tiny).items()
    assert name in content(workspace.artifact(run))
    assert not list(Path(workspace.engine.layout.parent("base")).glob(".work-*"))


def alive(pid: int) -> bool:
    """Whether a process still runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_second_run_sends_no_request(hub: HubStandIn, workspace: Workspace) -> None:
    """If all files exist: no job, no request, no write, also without a network."""
    run = workspace.plan()
    workspace.engine.submit(run)
    assert workspace.follow(run).state == "succeeded"
    asked = len(hub.seen)
    before = listing(workspace.root)
    hub.close()
    for offline in (False, True):
        again = workspace.plan(offline=offline)
        assert again.id == run.id
        assert workspace.engine.submit(again).pending == ()
    assert len(hub.seen) == asked
    assert listing(workspace.root) == before


def listing(root: Path) -> list[tuple[str, int]]:
    """All paths below a directory, with their times."""
    return sorted((str(path), path.stat().st_mtime_ns) for path in root.rglob("*"))


def test_gated_model_and_no_leaked_token(
    hub: HubStandIn, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a token it is refused before a download; with one it is fetched, and the token does not leak."""
    hub.repositories[REPO].gated = True
    with pytest.raises(InputError, match="gated"):
        workspace.plan()
    # resolved before it was gated: the step detects this before the download
    hub.repositories[REPO].gated = False
    run = workspace.plan()
    hub.repositories[REPO].gated = True
    sent = hub.total_sent()
    workspace.engine.submit(run)
    view = workspace.follow(run)
    assert view.state == "failed"
    assert "gated" in view.error["message"]  # type: ignore[index]
    assert "token_file" in view.error["hint"]  # type: ignore[index]
    assert hub.total_sent() == sent
    hub.repositories[REPO].readers.add(TOKEN)
    hub.tokens.add(TOKEN)
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN + "\n")
    token_file.chmod(0o600)
    monkeypatch.setenv("HF_TOKEN", TOKEN)  # set in the user's shell: it must not be used
    workspace.token_file = str(token_file)
    hub.rate = 2_000_000
    run = workspace.plan()
    workspace.engine.submit(run)
    seen: list[str] = []
    while workspace.engine.observe(run.id).state not in ("succeeded", "failed"):
        seen += process_texts(str(workspace.root))
        time.sleep(0.02)
    assert workspace.follow(run).state == "succeeded"
    assert any(".main\0perform" in text for text in seen)
    assert not [text for text in seen if TOKEN in text]
    assert TOKEN in {request.token for request in hub.seen}
    assert not [request for request in hub.seen if request.cdn and request.token]
    assert not [path for path in workspace.root.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in json.dumps(workspace.engine.observe(run.id).as_dict())


def process_texts(mark: str) -> list[str]:
    """Command lines and environments of the processes that mention a directory, except this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in text:
            found.append(text.decode("utf-8", "replace"))
    return found
