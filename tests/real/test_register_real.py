# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The registration of a GGUF file on a real Ollama server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.chat_formats.served import served_format
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import (
    JobError,
    RemoteError,
    StoreError,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.fingerprint import fingerprint
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.formats.gguf import read_header
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.syntax import parse_parameters
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.releases.promotion import move_tags
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import StepSpec, Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.register import RegisterStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import write_json
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import both_servers

pytestmark = both_servers

TEMPLATE = served_format("qwen").template
SYSTEM = 'Tu es l\'assistant du « homelab ».\n\nRéponds en "français" : {{ .Content }} \\n 日本\u00a0!\n'
ASK = [{"role": "user", "content": "Bonjour"}]


class Workspace:
    """A data directory with GGUF files in it."""

    def __init__(self, root: Path, url: str) -> None:
        self.layout = Layout(str(root))
        self.layout.create()
        self.toolchain = Toolchain(ollama_url=url)

    def context(self, file: t.Any, name: str, **more: t.Any) -> StepContext:
        """The registration of a file."""
        made_of = fingerprint("gguf", {"quantization": "f32"}, {"merge": file.digest})
        folder = Path(self.layout.artifact("gguf", made_of))
        if not folder.is_dir():
            folder.mkdir(parents=True)
            os.link(file.path, folder / "model.gguf")
            stat = os.stat(file.path)
            facts = {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": file.digest[7:]}
            write_json(str(folder / "receipt.json"), {"files": {"model.gguf": facts}})
        settings = {"name": name, "template": "qwen", "system": SYSTEM, "parameters": {}, **more.pop("settings", {})}
        options = {"quantization": "f32", "aliases": ["latest"], **more}
        made = fingerprint("register", settings, {"gguf": made_of})
        job = Path(self.layout.jobs) / "job" / made[:12]
        job.mkdir(parents=True, exist_ok=True)
        spec = StepSpec("register", made, settings, {"gguf": made_of}, options)
        return StepContext(self.layout, spec, self.toolchain, self.layout.work("register", made), str(job))

    def register(self, ctx: StepContext) -> dict[str, t.Any]:
        """Register as the supervisor and its worker do."""
        step = RegisterStep()
        command = step.command(ctx)
        assert command is not None and ctx.job_dir in command.argv
        step.perform(ctx)
        results = step.finish(ctx)
        folder = self.layout.artifact("register", ctx.spec.fingerprint)
        os.makedirs(folder, exist_ok=True)
        write_json(os.path.join(folder, "receipt.json"), {"results": results})
        return results


@pytest.fixture
def workspace(tmp_path_factory: pytest.TempPathFactory, ollama: Ollama, gguf: t.Any) -> Workspace:
    # on the filesystem of the file, so that it can be linked
    return Workspace(tmp_path_factory.mktemp("data"), ollama.url)


def test_registration(workspace: Workspace, ollama: Ollama, gguf: t.Any) -> None:
    ctx = workspace.context(gguf, "Reg-Model", settings={"parameters": {"temperature": "0.5", "stop": ["Q:"]}})
    results = workspace.register(ctx)
    assert results["tag"] == f"Reg-Model:{ctx.spec.fingerprint[:12]}-f32"
    assert results["aliases"] == ["Reg-Model:latest"]
    assert results["previous"] == {"Reg-Model:latest": None}
    assert results["blob"] == gguf.digest
    assert results["digest"] == ollama.digest("reg-model") == ollama.digest(results["tag"])
    assert results["bos"] == "nobody" and results["warnings"] == []
    shown = ollama.show("reg-model")
    assert shown["template"] == TEMPLATE and shown["system"] == SYSTEM
    assert parse_parameters(shown["parameters"]) == {"temperature": 0.5, "stop": ["<|im_end|>", "Q:"]}
    assert (
        (Path(ctx.work) / "Modelfile").read_text("utf-8").startswith(f"FROM {ctx.upstream_path('gguf')}/model.gguf\n")
    )
    assert RegisterStep().drift(ctx) == []
    progress = RegisterStep().progress(ctx)
    assert progress is not None and str(progress.note) == "promoting"


def test_second_registration_changes_nothing(
    workspace: Workspace, ollama: Ollama, ollama_server: t.Any, gguf: t.Any
) -> None:
    ctx = workspace.context(gguf, "again")
    first = workspace.register(ctx)
    before = [len(ollama_server.requests("POST", where)) for where in ("/api/create", "/api/copy")]
    modified = ollama.find("again")
    assert workspace.register(ctx) == first
    assert [len(ollama_server.requests("POST", where)) for where in ("/api/create", "/api/copy")] == before
    assert ollama.find("again") == modified


def test_former_target_of_an_alias_is_kept(workspace: Workspace, ollama: Ollama, gguf: t.Any) -> None:
    one = workspace.register(workspace.context(gguf, "moved"))
    ctx = workspace.context(gguf, "moved", settings={"system": "Autre."})
    two = workspace.register(ctx)
    assert two["previous"] == {"moved:latest": {"digest": one["digest"], "tag": one["tag"]}}
    assert ollama.show("moved")["system"] == "Autre."
    assert ollama.show(one["tag"])["system"] == SYSTEM
    assert workspace.register(ctx) == two


def test_model_of_the_user_is_kept(workspace: Workspace, ollama: Ollama, gguf: t.Any) -> None:
    """The model of the user had only the name that is taken over."""
    ollama.push_blob(gguf.path, gguf.digest)
    ollama.create("theirs", files={"model.gguf": gguf.digest}, template="{{ .Prompt }} theirs")
    digest = ollama.digest("theirs")
    results = workspace.register(workspace.context(gguf, "theirs"))
    kept = f"theirs:before-{digest[:12]}"
    assert results["previous"] == {"theirs:latest": {"digest": digest, "tag": kept}}
    assert ollama.show(kept)["template"] == "{{ .Prompt }} theirs"
    assert ollama.digest(kept) == digest


def test_drift_is_detected_and_repaired(workspace: Workspace, ollama: Ollama, gguf: t.Any) -> None:
    ctx = workspace.context(gguf, "drift")
    results = workspace.register(ctx)
    step = RegisterStep()
    ollama.delete("drift")
    assert [str(each) for each in step.drift(ctx)] == [f"drift:latest does not exist and must be {results['tag']}"]
    ollama.create("drift", from_=results["tag"], system="Autre chose.")
    assert [str(each) for each in step.drift(ctx)] == [f"drift:latest is another model than {results['tag']}"]
    workspace.register(ctx)
    assert step.drift(ctx) == []
    ollama.create(results["tag"], files={"model.gguf": gguf.digest}, template="{{ .Prompt }}", system=SYSTEM)
    assert [str(each) for each in step.drift(ctx)] == [f"{results['tag']} has another template and parameters"]
    workspace.register(ctx)
    assert step.drift(ctx) == []
    ollama.delete(results["tag"])
    assert [str(each) for each in step.drift(ctx)] == [f"{results['tag']} is not in Ollama"]
    workspace.register(ctx)
    assert step.drift(ctx) == []
    # equal content in another notation, as another version of the server writes it, is no drift
    ollama.create(
        results["tag"],
        files={"other.gguf": gguf.digest},
        template=TEMPLATE,
        system=SYSTEM,
        license_="MIT",
        parameters={"stop": ["<|im_end|>"]},
    )
    ollama.copy(results["tag"], "drift")
    assert ollama.digest("drift") != results["digest"]
    assert step.drift(ctx) == []


def test_registration_without_promotion(workspace: Workspace, ollama: Ollama, gguf: t.Any) -> None:
    """A gate can run between creating and promoting."""
    ctx = workspace.context(gguf, "unpromoted", promote=False)
    results = workspace.register(ctx)
    assert results["aliases"] == [] and ollama.find("unpromoted") is None
    assert RegisterStep().drift(ctx) == []
    tags = ["unpromoted:latest", "unpromoted:stable"]
    assert move_tags(ollama, results["tag"], tags) == tags
    assert move_tags(ollama, results["tag"], tags) == []
    with pytest.raises(RemoteError, match="unpromoted:none is not in Ollama"):
        move_tags(ollama, "unpromoted:none", tags)


def test_alias_is_always_served(workspace: Workspace, ollama: Ollama, gguf: t.Any) -> None:
    """While an alias is moved, each request is answered by the old or the new model.

    Ollama writes a manifest in place: a request at that moment fails with "unexpected EOF" and is repeated.
    """
    tags = [
        workspace.register(workspace.context(gguf, "busy", settings={"system": f"Système {number}."}, promote=False))[
            "tag"
        ]
        for number in range(2)
    ]
    move_tags(ollama, tags[0], ["busy:latest"])
    stop = threading.Event()
    wrong: list[str] = []
    answers: dict[str, int] = {}

    def ask(how: t.Callable[[Ollama], str]) -> None:
        client = Ollama(ollama.url)
        while not stop.is_set():
            try:
                said = how(client)
                answers[said] = answers.get(said, 0) + 1
            except RemoteError as error:
                if "unexpected EOF" not in str(error):
                    wrong.append(str(error))
                    continue
                try:
                    how(client)
                except RemoteError as again:
                    wrong.append(str(again))

    hows = [
        lambda client: str(client.show("busy")["system"]),
        lambda client: client.render("busy", ASK).split("\n")[1].split("<")[0],
    ]
    threads = [threading.Thread(target=ask, args=(how,)) for how in hows]
    for thread in threads:
        thread.start()
    moved, end = 0, time.monotonic() + 120
    while moved < 20 or (sum(answers.values()) <= 40 and time.monotonic() < end):
        moved += 1
        assert move_tags(ollama, tags[moved % 2], ["busy:latest"]) == ["busy:latest"]
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert set(answers) == {"Système 0.", "Système 1."} and sum(answers.values()) > 40


def test_worker_killed_during_upload(workspace: Workspace, ollama: Ollama, big: t.Any, tmp_path: Path) -> None:
    """kill -9 during the upload, then a second run: the model is created, and nothing is left over."""
    ctx = workspace.context(big, "killed")
    context = tmp_path / "context.json"
    context.write_text(json.dumps([workspace.layout.root, ctx.spec.as_dict(), ollama.url, ctx.work, ctx.job_dir]))
    os.makedirs(ctx.work, exist_ok=True)
    child = subprocess.Popen(
        [sys.executable, "-c", PERFORM, str(context)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
    )
    end = time.monotonic() + 60
    while time.monotonic() < end and child.poll() is None:
        progress = RegisterStep().progress(ctx)
        if progress is not None and 0 < progress.current < progress.total:
            break
        time.sleep(0.002)
    assert child.poll() is None, "it was over before it could be killed"
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not ollama.has_blob(big.digest) and ollama.find("killed") is None
    workspace.register(ctx)
    assert ollama.has_blob(big.digest) and RegisterStep().drift(ctx) == []
    ollama.delete("killed")


#: The worker's action in a process that can be killed.
PERFORM = """
import json, sys
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps.register import RegisterStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.job_context import StepContext
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import StepSpec, Toolchain
root, spec, url, work, job = json.load(open(sys.argv[1]))
ctx = StepContext(Layout(root), StepSpec.from_dict(spec), Toolchain(ollama_url=url), work, job)
RegisterStep().perform(ctx)
"""


def test_invalid_registrations_are_refused(workspace: Workspace, gguf: t.Any, make: t.Any, tmp_path: Path) -> None:
    """Refused before anything is sent."""
    step = RegisterStep()
    with pytest.raises(StoreError, match="is F32, and not Q4_K_M"):
        step.command(workspace.context(gguf, "wrong", quantization="q4_K_M"))
    empty = tmp_path / "empty.gguf"
    make.gguf(empty, {"general.architecture": "llama"}, {})
    with pytest.raises(StoreError, match="no tensors"):
        step.command(workspace.context(make.file(empty), "wrong"))
    ctx = workspace.context(gguf, "unfinished")
    os.makedirs(ctx.work)
    with pytest.raises(JobError, match="is not in Ollama"):
        step.finish(ctx)


def test_receipt_avoids_hashing(workspace: Workspace, gguf: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import register as steps_register

    hashed: list[str] = []
    monkeypatch.setattr(steps_register, "sha256_file", lambda path: hashed.append(path) or gguf.digest[7:])
    ctx = workspace.context(gguf, "hashed")
    workspace.register(ctx)
    assert hashed == []
    path = os.path.join(ctx.upstream_path("gguf"), "model.gguf")
    stat = os.stat(path)
    try:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        workspace.register(ctx)
        assert hashed == [path]
        monkeypatch.setattr(steps_register, "sha256_file", lambda _path: "0" * 64)
        with pytest.raises(StoreError, match="not the file its receipt records"):
            RegisterStep().perform(ctx)
    finally:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_bos_is_added_once(workspace: Workspace, ollama: Ollama, make: t.Any, tmp_path: Path) -> None:
    """BOS is added by the server, by the template, or not at all, as in training; otherwise there is a warning."""
    files = {}
    for add_bos in (True, False):
        files[add_bos] = make.small(tmp_path / f"{add_bos}.gguf", add_bos)
        assert read_header(files[add_bos].path).adds_bos is add_bos
    by_server = workspace.register(workspace.context(files[True], "bos-1", settings={"template": "mistral"}))
    assert by_server["bos"] == "server" and by_server["warnings"] == []
    assert not ollama.render("bos-1", ASK).startswith("<s>")
    by_template = workspace.register(workspace.context(files[False], "bos-2", settings={"template": "mistral"}))
    assert by_template["bos"] == "template" and by_template["warnings"] == []
    assert ollama.render("bos-2", ASK).startswith("<s>[INST] Tu es")
    assert "</s>" in by_template["parameters"]["stop"]
    unwanted = workspace.register(workspace.context(files[True], "bos-3"))
    assert unwanted["bos"] == "server" and "add_bos_token" in unwanted["warnings"][0]
    counts = [ollama.chat(name, ASK, {"num_predict": 1})["prompt_eval_count"] for name in ("bos-1", "bos-2")]
    assert counts[0] == counts[1]
