# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL while the real tools work: LLaMA-Factory, llama.cpp, Ollama; then one more run.

The end state must equal that of an undisturbed run byte for byte: training on one thread resumes exactly.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import registry
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.planner import plan
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.request import Host, Request
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.spec import Toolchain
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system.files import read_json
from ansible_collections.ia_homelab.llamafactory.tests.support.ollama_server import Server, free_port
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import make_tiny_base

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("IA_KILL_SEED", "20261124"))
COUNT = int(os.environ.get("IA_KILL_REAL_COUNT", "12"))
#: The steps of twenty kills. With the default seed the first twelve kill each process in a training, and Ollama
#: in a registration, an evaluation and a promotion.
STEPS = ("train",) * 3 + ("register-q4_K_M", "gguf-f16", "evaluate", "gguf-f16", "gguf-q4_K_M", "train", "gguf-f16")
STEPS += ("register-q4_K_M", "promote", "train", "gguf-f16", "train", "gguf-f16", "gguf-f16", "train")
STEPS += ("register-q4_K_M", "gguf-f16")
#: Those that ask the one server, and are struck one at a time; of the others two at a time.
SERVED = ("register-q4_K_M", "evaluate", "promote")
SAVE_STEPS = 4

#: The answers do not matter, only the requests.
GATE = {
    "prompts": [{"prompt": "Bonjour", "not_empty": True}, {"prompt": "Qui es-tu ?", "not_empty": True}],
    "options": {"num_predict": 20},
    "allowed_failures": 1,
}

#: Submits the run and follows it, as the module does.
CONTROLLER = """
import json, sys
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine.engine import Engine
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.run import Run
run = Run.from_dict(json.load(open(sys.argv[2])))
engine = Engine(sys.argv[1])
engine.submit(run)
view = engine.follow(run.id)
print(view.state, view.error)
sys.exit(0 if view.state == "succeeded" else 1)
"""


@dataclasses.dataclass
class Lab:
    """A finished undisturbed run, which is copied for each kill.

    :param data: its data directory.
    :param files: digests of all files of each artifact, by step.
    """

    data: pathlib.Path
    run: Run
    server: Server
    files: dict[str, dict[str, str]]


def digests(layout: Layout, run: Run) -> dict[str, dict[str, str]]:
    """Digests of the files of each step; the logs of a resumed training differ in their times."""
    found = {}
    for step in run.steps:
        receipt = layout.receipt(step.spec.kind, step.spec.fingerprint)
        assert receipt is not None, f"{step.label} is not there"
        found[step.label] = {
            name: facts["sha256"]
            for name, facts in receipt["files"].items()
            if name.endswith((".safetensors", ".gguf", "config.json", ".model", "tokenizer.json"))
        }
        described = pathlib.Path(layout.artifact(step.spec.kind, step.spec.fingerprint), "Modelfile")
        if step.spec.kind == "register":  # it contains the path of its source file
            found[step.label]["Modelfile"] = described.read_text(encoding="utf-8").replace(layout.root, "")
    return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Lab]:
    root = tmp_path_factory.mktemp("kill-real")
    data = root / "data"
    layout = Layout(str(data))
    layout.create()
    prompts = ROOT / "playbooks/files/homelab_prompts.json"
    base = root / "tiny-base"
    make_tiny_base(base)
    registry.apply(layout, registry.Declaration("homelab"), [registry.Source("homelab_prompts.json", str(prompts))])
    server = Server(os.environ["IA_OLLAMA_BIN"], root / "ollama", free_port())
    server.root.mkdir()
    server.start()
    toolchain = Toolchain(
        llamafactory_venv=os.environ["IA_LF_VENV"],
        converter_venv=os.environ["IA_CONV_VENV"],
        llama_cpp_dir=os.environ["IA_LLAMA_CPP_DIR"],
        ollama_url=server.url,
    )
    declared = {
        "name": "struck", "base_model": str(base), "dataset": "homelab", "template": "qwen", "epochs": 4,
        "batch_size": 10, "gradient_accumulation": 1, "learning_rate": 3e-3, "cutoff_len": 512,
        "save_steps": SAVE_STEPS, "gate": GATE,
    }  # fmt: skip
    run = plan(layout, Request.finetune(declared), Host(toolchain, "cpu"))
    engine = Engine(str(data))
    engine.submit(run)
    view = engine.follow(run.id)
    assert view.state == "succeeded", view.error
    yield Lab(data, run, server, digests(layout, run))
    server.stop(hard=True)


def processes(mark: str) -> list[int]:
    """Live processes that mention a data directory."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mark.encode() in text and int(entry.name) != os.getpid() and state not in "ZX":
            found.append(int(entry.name))
    return found


def wait_for_job(data: pathlib.Path, run: str, label: str, controller: subprocess.Popen[bytes]) -> pathlib.Path | None:
    """The directory of the step's job once its command runs; None if the step ended before."""
    directory = data / "jobs/active" / run / f"{label}-1"
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if (directory / "command.json").exists():
            return directory
        if controller.poll() is not None:
            return None
        time.sleep(0.01)
    raise AssertionError(f"{label} never began")


def strike(choice: random.Random, job: pathlib.Path, controller: subprocess.Popen[bytes], victims: str) -> None:
    """Send SIGKILL to the chosen processes."""
    if victims in ("controller", "all"):
        controller.kill()
    if victims in ("supervisor", "all"):
        recorded = read_json(str(job / "supervisor.json")) or {}
        if recorded:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(recorded["pid"]), signal.SIGKILL)
    if victims in ("command", "all"):
        recorded = read_json(str(job / "command.json")) or {}
        if recorded:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(recorded["pid"]), signal.SIGKILL)
    del choice


def label_of(number: int) -> str:
    """The step that a kill affects."""
    return STEPS[number % len(STEPS)]


def batches() -> list[list[int]]:
    """All kills, grouped by those that are made at the same time."""
    alone = [number for number in range(COUNT) if label_of(number) in SERVED]
    others = [number for number in range(COUNT) if label_of(number) not in SERVED]
    return [others[index : index + 2] for index in range(0, len(others), 2)] + [[number] for number in alone]


@pytest.mark.parametrize("numbers", batches(), ids=lambda numbers: "+".join(map(str, numbers)))
def test_killed_and_run_again(lab: Lab, numbers: list[int], tmp_path: pathlib.Path) -> None:
    print(f"IA_KILL_SEED={SEED}")
    with concurrent.futures.ThreadPoolExecutor(len(numbers)) as pool:
        struck = [pool.submit(strike_once, lab, number, tmp_path / str(number)) for number in numbers]
        problems = [f"{number}: {one.exception()}" for number, one in zip(numbers, struck) if one.exception()]
    assert problems == []


def strike_once(lab: Lab, number: int, tmp_path: pathlib.Path) -> None:
    """Kill processes of a step, run again, and check the result."""
    tmp_path.mkdir()
    choice = random.Random(SEED + number)
    label = label_of(number)
    victims = choice.choice(["controller", "supervisor", "command", "all"])
    if label in SERVED:
        victims = choice.choice([victims, "ollama"])
    data = tmp_path / "data"
    shutil.copytree(lab.data, data, ignore=shutil.ignore_patterns("jobs"))
    layout = Layout(str(data))
    first = [step.label for step in lab.run.steps].index(label)
    for step in lab.run.steps[first:]:
        shutil.rmtree(layout.artifact(step.spec.kind, step.spec.fingerprint))
    # only up to the killed step; later steps are made as usual
    goals = (label,)
    run = dataclasses.replace(lab.run, id=f"struck-{number}", goals=goals, steps=lab.run.steps[: first + 1])
    (tmp_path / "run.json").write_text(json.dumps(run.as_dict()))
    client = Ollama(lab.server.url)
    if label.startswith("register"):
        for model in client.tags():
            client.delete(model["name"])
    elif label == "promote" and client.digest("struck:latest"):
        client.delete("struck:latest")
    argv = [sys.executable, "-c", CONTROLLER, str(data), str(tmp_path / "run.json")]

    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    controller = subprocess.Popen(
        argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    job = wait_for_job(data, run.id, label, controller)
    saved = False
    if job is not None:
        if label == "train":
            saved = _let_it_train(choice, layout, run, controller)
        else:
            time.sleep(choice.uniform(0, 3 if label not in SERVED else 0.4))
        if victims == "ollama":
            lab.server.stop(hard=True)
        else:
            strike(choice, job, controller, victims)
    if victims == "ollama":
        # a step that was asking ends with an error; a run whose steps had ended waits until the server answers again
        with contextlib.suppress(subprocess.TimeoutExpired):
            controller.wait(20)
        lab.server.start()
    if victims in ("command", "supervisor", "ollama"):
        controller.wait(300)  # it continues on its own, or ends with an error
    else:
        time.sleep(0.2)
        controller.kill()
        controller.wait()

    again = subprocess.run(
        argv,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )
    what = f"seed {SEED + number}: {victims} killed in {label}"
    assert again.returncode == 0, f"{what}: {again.stdout.decode()[-3000:]}"
    assert digests(layout, run)[label] == lab.files[label], what
    engine = Engine(str(data))
    assert engine.observe(run.id).state == "succeeded", what
    assert engine.store.active() == [], what
    end = time.monotonic() + 60
    while processes(str(tmp_path)) and time.monotonic() < end:
        time.sleep(0.05)
    assert processes(str(tmp_path)) == [], what
    leftovers = [str(path) for path in data.rglob(".*") if path.name.startswith((".work-", ".new-", ".gone-"))]
    assert leftovers == [], what
    if label == "train" and saved:
        resumed = (layout.receipt("train", run.steps[-1].spec.fingerprint) or {})["results"]["resumed_from"]
        if victims in ("command", "all"):
            assert resumed is not None and resumed >= SAVE_STEPS, f"{what}: begun again instead of resumed"
    if label in SERVED:
        registered = lab.run.step("register-q4_K_M").spec.fingerprint
        tags = {model["name"] for model in Ollama(lab.server.url).tags()}
        wanted = "struck:latest" if label == "promote" else f"struck:{registered[:12]}-q4_K_M"
        assert wanted in tags, f"{what}: {tags}"


def _let_it_train(choice: random.Random, layout: Layout, run: Run, controller: subprocess.Popen[bytes]) -> bool:
    """Wait until a random step of the training; whether a checkpoint was there then."""
    work = pathlib.Path(layout.work("train", run.steps[-1].spec.fingerprint))
    until = choice.randint(0, 19)
    end = time.monotonic() + 120
    while time.monotonic() < end and controller.poll() is None and until:
        try:
            lines = (work / "trainer_log.jsonl").read_bytes().count(b"\n")
        except OSError:
            lines = 0
        if lines >= until:
            break
        time.sleep(0.02)
    return any((path / "trainer_state.json").exists() for path in work.glob("checkpoint-*"))
