# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client, and the registration of a GGUF file, on a real Ollama server."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils import _ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._errors import JobError, RemoteError, StoreError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._files import write_json
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._fingerprint import fingerprint
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._gguf import read_header
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ollama import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._ollama_text import modelfile, parse_parameters
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._step_register import (
    RegisterStep,
    differences,
    promote,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._steps import StepContext, StepSpec, Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._templates import template_for

TEMPLATE = template_for("qwen").go_template()
SYSTEM = 'Tu es l\'assistant du « homelab ».\n\nRéponds en "français" : {{ .Content }} \\n 日本\u00a0!\n'
PARAMETERS = {
    "stop": ["<|im_end|>", 'Q:\n"\\', "｜fin｜"],
    "temperature": 0.0,
    "top_p": 1e-06,
    "num_ctx": 2048,
    "repeat_penalty": 1.05,
    "use_mmap": True,
}
TOKENS = ["</s>", "<s>", "<|im_start|>", "<|im_end|>", *map(chr, range(0x100, 0x144)), *map(chr, range(33, 127)), "ab"]
ASK = [{"role": "user", "content": "Bonjour"}]


class File(t.NamedTuple):
    """A GGUF file on the disk."""

    path: str
    digest: str


def file_of(path: Path) -> File:
    return File(str(path), "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory, make: t.Any) -> File:
    """A model that answers nothing."""
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    make.model(path, TOKENS, ["a b"], 4, False)
    return file_of(path)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory, make: t.Any) -> File:
    """A file that takes a moment to send: 400 MB, of nothing."""
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    make.gguf(path, {"general.architecture": "llama", "general.file_type": 0}, {"nothing": (100_000_000,)})
    yield file_of(path)
    path.unlink()


def requests(server: t.Any, method: str, path: str) -> list[int]:
    """Status of each request of that kind so far, from the server's log."""
    found = re.findall(r"\[GIN\][^|]*\|\s*(\d+) \|[^|]*\|[^|]*\| (\w+)\s+\"([^\"]*)\"", server.log)
    return [int(status) for status, verb, where in found if (verb, where) == (method, path)]


# -- the client --------------------------------------------------------------------------------------------------------


def test_a_file_is_sent_once(ollama: Ollama, ollama_server: t.Any, gguf: File) -> None:
    assert not ollama.has_blob(gguf.digest)
    told: list[tuple[int, int]] = []
    assert ollama.push_blob(gguf.path, gguf.digest, lambda sent, total: told.append((sent, total)))
    size = os.path.getsize(gguf.path)
    assert told[-1] == (size, size)
    assert ollama.has_blob(gguf.digest)
    assert not ollama.push_blob(gguf.path, gguf.digest)
    where = f"/api/blobs/{gguf.digest}"
    assert requests(ollama_server, "POST", where) == [201]
    assert requests(ollama_server, "HEAD", where)[:2] == [404, 404]
    assert set(requests(ollama_server, "HEAD", where)[2:]) == {200}


def test_what_is_created_is_what_is_shown(ollama: Ollama, gguf: File) -> None:
    ollama.push_blob(gguf.path, gguf.digest)
    said: list[str] = []
    ollama.create(
        "shown:1",
        files={"model.gguf": gguf.digest},
        template=TEMPLATE,
        system=SYSTEM,
        parameters=PARAMETERS,
        on_status=said.append,
    )
    assert said[0] == "parsing GGUF" and said[-1] == "success"
    shown = ollama.show("shown:1")
    assert shown["template"] == TEMPLATE
    assert shown["system"] == SYSTEM
    assert parse_parameters(shown["parameters"]) == PARAMETERS
    assert differences(shown, TEMPLATE, SYSTEM, PARAMETERS) == []
    assert differences(shown, TEMPLATE, SYSTEM + " ", {**PARAMETERS, "temperature": 1.0}) == [
        "system prompt",
        "parameters",
    ]
    assert gguf.digest.replace(":", "-") in shown["modelfile"]
    found = ollama.find("shown:1")
    assert found is not None and re.fullmatch("[0-9a-f]{64}", found["digest"])


def test_a_model_is_asked_and_unloaded(ollama: Ollama, gguf: File) -> None:
    ollama.push_blob(gguf.path, gguf.digest)
    ollama.create("asked", files={"model.gguf": gguf.digest}, template=TEMPLATE, parameters={"stop": ["<|im_end|>"]})
    reply = ollama.chat("asked", ASK, {"temperature": 0})
    assert reply["done"] and reply["message"]["content"] == ""
    pieces = list(ollama.chat_stream("asked", ASK, {"temperature": 0}))
    assert pieces[-1]["done"]
    assert any(_ollama.full_name(model["name"]) == _ollama.full_name("asked") for model in ollama.ps())
    ollama.unload("asked")
    end = time.monotonic() + 10
    while ollama.ps() and time.monotonic() < end:
        time.sleep(0.05)
    assert ollama.ps() == []


def test_a_modelfile_makes_the_same_model(ollama: Ollama, ollama_server: t.Any, gguf: File, tmp_path: Path) -> None:
    """Read by the real program; the no-break space that its reader drops is left out here."""
    system = SYSTEM.replace("\u00a0", " ")
    path = tmp_path / "Modelfile"
    path.write_text(modelfile(gguf.path, TEMPLATE, system, {**PARAMETERS, "stop": PARAMETERS["stop"][::2]}), "utf-8")
    environment = {"HOME": str(tmp_path), "OLLAMA_HOST": ollama.url, "PATH": os.environ["PATH"]}
    subprocess.run(
        [ollama_server.program, "create", "by-file", "-f", str(path)],
        env=environment,
        check=True,
        capture_output=True,
        timeout=60,
    )
    shown = ollama.show("by-file")
    assert differences(shown, TEMPLATE, system, {**PARAMETERS, "stop": PARAMETERS["stop"][::2]}) == []


def test_names_mean_what_we_think(ollama: Ollama, gguf: File) -> None:
    ollama.push_blob(gguf.path, gguf.digest)
    ollama.create("Case-Model:Q4_x", files={"model.gguf": gguf.digest}, template=TEMPLATE)
    for name in ("case-model:q4_X", "library/Case-Model:Q4_x", "registry.ollama.ai/library/CASE-MODEL:q4_x"):
        assert ollama.show(name)["template"] == TEMPLATE
        assert ollama.digest(name)
    ollama.copy("case-model:q4_x", "CASE-model")
    assert ollama.digest("case-model:latest") == ollama.digest("Case-Model:Q4_x")


def test_what_is_not_there(ollama: Ollama) -> None:
    assert ollama.find("never-made") is None
    assert ollama.digest("never-made") == ""
    assert not ollama.delete("never-made")
    with pytest.raises(RemoteError, match="could not show never-made: model 'never-made' not found") as caught:
        ollama.show("never-made")
    assert caught.value.details["status"] == 404
    with pytest.raises(RemoteError, match="could not copy never-made"):
        ollama.copy("never-made", "other")
    with pytest.raises(RemoteError, match="could not answer with never-made"):
        ollama.chat("never-made", ASK)


def test_deleted(ollama: Ollama, gguf: File) -> None:
    ollama.push_blob(gguf.path, gguf.digest)
    ollama.create("gone", files={"model.gguf": gguf.digest}, template=TEMPLATE)
    ollama.copy("gone", "stays")
    assert ollama.delete("gone")
    assert ollama.find("gone") is None
    assert ollama.show("stays")["template"] == TEMPLATE


def test_files_that_are_no_model(ollama: Ollama, gguf: File, tmp_path: Path) -> None:
    """The server's own words reach the user, with what to do."""
    whole = Path(gguf.path).read_bytes()
    for name, raw, words in (
        ("junk.gguf", b"no model" * 100, "unknown|not in GGUF|invalid"),
        ("cut.gguf", whole[:-100], "exceeds file size"),
        ("header.gguf", whole[:200], "EOF"),
    ):
        path = tmp_path / name
        path.write_bytes(raw)
        ollama.push_blob(str(path), file_of(path).digest)
        with pytest.raises(RemoteError, match=f"could not create broken: .*({words})") as caught:
            ollama.create("broken", files={"model.gguf": file_of(path).digest}, template=TEMPLATE)
        assert "make it again" in caught.value.hint, caught.value.message
    assert ollama.find("broken") is None


def test_a_file_that_is_not_what_it_is_called(ollama: Ollama, tmp_path: Path) -> None:
    path = tmp_path / "changed.gguf"
    path.write_bytes(b"x" * 5_000_000)
    digest = file_of(path).digest
    path.write_bytes(b"y" * 5_000_000)
    with pytest.raises(RemoteError, match="digest mismatch"):
        ollama.push_blob(str(path), digest)
    assert not ollama.has_blob(digest)


def test_a_template_that_is_none(ollama: Ollama, gguf: File) -> None:
    ollama.push_blob(gguf.path, gguf.digest)
    with pytest.raises(RemoteError, match="could not create bad-template: .*template"):
        ollama.create("bad-template", files={"model.gguf": gguf.digest}, template="{{ if }}")


def test_killed_server_in_mid_upload(tmp_path_factory: pytest.TempPathFactory, ollama_server: t.Any, big: File) -> None:
    """The upload fails, with a reason; begun again it is whole."""
    server = type(ollama_server)(ollama_server.program, tmp_path_factory.mktemp("killed"), ollama_server.port + 1)
    server.start()
    try:
        client = Ollama(server.url)

        def kill_half_way(sent: int, total: int) -> None:
            if sent > total // 2 and server.process is not None:
                server.stop(hard=True)

        with pytest.raises(RemoteError, match="ended the connection|cannot be reached") as caught:
            client.push_blob(big.path, big.digest, kill_half_way)
        assert caught.value.hint
        with pytest.raises(RemoteError, match="No Ollama server answers"):
            client.has_blob(big.digest)
        server.start()
        assert not client.has_blob(big.digest)
        assert client.push_blob(big.path, big.digest)
        assert client.has_blob(big.digest)
    finally:
        server.stop()


# -- the registration --------------------------------------------------------------------------------------------------


class House:
    """A data directory with GGUF files in it."""

    def __init__(self, root: Path, url: str) -> None:
        self.layout = Layout(str(root))
        self.layout.create()
        self.toolchain = Toolchain(ollama_url=url)

    def context(self, file: File, name: str, **more: t.Any) -> StepContext:
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
        """What the supervisor and its worker do."""
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
def house(tmp_path_factory: pytest.TempPathFactory, ollama: Ollama, gguf: File) -> House:
    # on the filesystem of the file, so that it can be linked
    return House(tmp_path_factory.mktemp("data"), ollama.url)


def test_registered(house: House, ollama: Ollama, gguf: File) -> None:
    ctx = house.context(gguf, "Reg-Model", settings={"parameters": {"temperature": "0.5", "stop": ["Q:"]}})
    results = house.register(ctx)
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
    assert progress is not None and progress.note == "promoting"


def test_registered_again_nothing_changes(house: House, ollama: Ollama, ollama_server: t.Any, gguf: File) -> None:
    ctx = house.context(gguf, "again")
    first = house.register(ctx)
    before = [len(requests(ollama_server, "POST", where)) for where in ("/api/create", "/api/copy")]
    modified = ollama.find("again")
    assert house.register(ctx) == first
    assert [len(requests(ollama_server, "POST", where)) for where in ("/api/create", "/api/copy")] == before
    assert ollama.find("again") == modified


def test_what_an_alias_pointed_to_is_remembered(house: House, ollama: Ollama, gguf: File) -> None:
    one = house.register(house.context(gguf, "moved"))
    ctx = house.context(gguf, "moved", settings={"system": "Autre."})
    two = house.register(ctx)
    assert two["previous"] == {"moved:latest": {"digest": one["digest"], "tag": one["tag"]}}
    assert ollama.show("moved")["system"] == "Autre."
    assert ollama.show(one["tag"])["system"] == SYSTEM
    assert house.register(ctx) == two


def test_a_model_of_the_user_is_kept(house: House, ollama: Ollama, gguf: File) -> None:
    """It had no other name than the one that is taken."""
    ollama.push_blob(gguf.path, gguf.digest)
    ollama.create("theirs", files={"model.gguf": gguf.digest}, template="{{ .Prompt }} theirs")
    digest = ollama.digest("theirs")
    results = house.register(house.context(gguf, "theirs"))
    kept = f"theirs:before-{digest[:12]}"
    assert results["previous"] == {"theirs:latest": {"digest": digest, "tag": kept}}
    assert ollama.show(kept)["template"] == "{{ .Prompt }} theirs"
    assert ollama.digest(kept) == digest


def test_drift_is_seen_and_mended(house: House, ollama: Ollama, gguf: File) -> None:
    ctx = house.context(gguf, "drift")
    results = house.register(ctx)
    step = RegisterStep()
    ollama.delete("drift")
    assert step.drift(ctx) == [f"drift:latest is not there, and shall be {results['tag']}"]
    ollama.create("drift", from_=results["tag"], system="Autre chose.")
    assert step.drift(ctx) == [f"drift:latest is another model than {results['tag']}"]
    house.register(ctx)
    assert step.drift(ctx) == []
    ollama.create(results["tag"], files={"model.gguf": gguf.digest}, template="{{ .Prompt }}", system=SYSTEM)
    assert step.drift(ctx) == [f"{results['tag']} has another template and parameters"]
    house.register(ctx)
    assert step.drift(ctx) == []
    ollama.delete(results["tag"])
    assert step.drift(ctx) == [f"{results['tag']} is not in Ollama"]
    house.register(ctx)
    assert step.drift(ctx) == []
    # the same in other words, as another version of the server would write it: no drift
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


def test_without_promotion(house: House, ollama: Ollama, gguf: File) -> None:
    """A gate may stand between creating and promoting."""
    ctx = house.context(gguf, "gated", promote=False)
    results = house.register(ctx)
    assert results["aliases"] == [] and ollama.find("gated") is None
    assert RegisterStep().drift(ctx) == []
    assert promote(ollama, "gated", results["tag"], ["latest", "stable"]) == ["gated:latest", "gated:stable"]
    assert promote(ollama, "gated", results["tag"], ["latest", "stable"]) == []
    with pytest.raises(RemoteError, match="gated:none is not in Ollama"):
        promote(ollama, "gated", "gated:none", ["latest"])


def test_an_alias_always_answers(house: House, ollama: Ollama, gguf: File) -> None:
    """Asked all the while: the old or the new one answers, and never nobody."""
    tags = [
        house.register(house.context(gguf, "busy", settings={"system": f"Système {number}."}, promote=False))["tag"]
        for number in range(2)
    ]
    promote(ollama, "busy", tags[0], ["latest"])
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
                wrong.append(str(error))

    hows = [
        lambda client: str(client.show("busy")["system"]),
        lambda client: client.render("busy", ASK).split("\n")[1].split("<")[0],
    ]
    threads = [threading.Thread(target=ask, args=(how,)) for how in hows]
    for thread in threads:
        thread.start()
    for number in range(20):
        assert promote(ollama, "busy", tags[(number + 1) % 2], ["latest"]) == ["busy:latest"]
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert set(answers) == {"Système 0.", "Système 1."} and sum(answers.values()) > 40


def test_killed_in_mid_upload(house: House, ollama: Ollama, big: File, tmp_path: Path) -> None:
    """kill -9 while it uploads, then again: created, with nothing left behind."""
    ctx = house.context(big, "killed")
    context = tmp_path / "context.json"
    context.write_text(json.dumps([house.layout.root, ctx.spec.as_dict(), ollama.url, ctx.work, ctx.job_dir]))
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
    house.register(ctx)
    assert ollama.has_blob(big.digest) and RegisterStep().drift(ctx) == []
    ollama.delete("killed")


#: What the worker does, in a process that can be killed.
PERFORM = """
import json, sys
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._step_register import RegisterStep
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._steps import StepContext, StepSpec, Toolchain
root, spec, url, work, job = json.load(open(sys.argv[1]))
ctx = StepContext(Layout(root), StepSpec.from_dict(spec), Toolchain(ollama_url=url), work, job)
RegisterStep().perform(ctx)
"""


def test_what_cannot_be_registered(house: House, gguf: File, make: t.Any, tmp_path: Path) -> None:
    """Refused before anything is sent."""
    step = RegisterStep()
    with pytest.raises(StoreError, match="is F32, and not Q4_K_M"):
        step.command(house.context(gguf, "wrong", quantization="q4_K_M"))
    empty = tmp_path / "empty.gguf"
    make.gguf(empty, {"general.architecture": "llama"}, {})
    with pytest.raises(StoreError, match="no tensors"):
        step.command(house.context(file_of(empty), "wrong"))
    ctx = house.context(gguf, "unfinished")
    os.makedirs(ctx.work)
    with pytest.raises(JobError, match="is not in Ollama"):
        step.finish(ctx)


def test_the_receipt_saves_hashing(house: House, gguf: File, monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.ia_homelab.llamafactory.plugins.module_utils import _step_register

    hashed: list[str] = []
    monkeypatch.setattr(_step_register, "sha256_file", lambda path: hashed.append(path) or gguf.digest[7:])
    ctx = house.context(gguf, "hashed")
    house.register(ctx)
    assert hashed == []
    path = os.path.join(ctx.upstream_path("gguf"), "model.gguf")
    stat = os.stat(path)
    try:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        house.register(ctx)
        assert hashed == [path]
        monkeypatch.setattr(_step_register, "sha256_file", lambda _path: "0" * 64)
        with pytest.raises(StoreError, match="not the file its receipt tells of"):
            RegisterStep().perform(ctx)
    finally:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_bos_is_put_once(house: House, ollama: Ollama, make: t.Any, tmp_path: Path) -> None:
    """By the server, by the template, or by nobody: as in training, or it is warned of."""
    files = {}
    for add_bos in (True, False):
        path = tmp_path / f"{add_bos}.gguf"
        make.model(path, TOKENS, ["a b"], 4, add_bos)
        files[add_bos] = file_of(path)
        assert read_header(str(path)).adds_bos is add_bos
    by_server = house.register(house.context(files[True], "bos-1", settings={"template": "mistral"}))
    assert by_server["bos"] == "server" and by_server["warnings"] == []
    assert not ollama.render("bos-1", ASK).startswith("<s>")
    by_template = house.register(house.context(files[False], "bos-2", settings={"template": "mistral"}))
    assert by_template["bos"] == "template" and by_template["warnings"] == []
    assert ollama.render("bos-2", ASK).startswith("<s>[INST] Tu es")
    assert "</s>" in by_template["parameters"]["stop"]
    unwanted = house.register(house.context(files[True], "bos-3"))
    assert unwanted["bos"] == "server" and "add_bos_token" in unwanted["warnings"][0]
    counts = [ollama.chat(name, ASK, {"num_predict": 1})["prompt_eval_count"] for name in ("bos-1", "bos-2")]
    assert counts[0] == counts[1]
