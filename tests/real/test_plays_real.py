# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks on the real tools, from a gated model on a hub: saved plans (``plan.yml``), ``finetune.yml`` and its
check mode, ``rollback.yml`` and ``status.yml``; where the token is used, and what works without a network.

The hub is a stand-in (see ``hub_stand_in``). The tests build on each other, in their order: four trainings, about five
minutes on two idle cores.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import model_versions
from ansible_collections.ia_homelab.llamafactory.tests.support import no_network
from ansible_collections.ia_homelab.llamafactory.tests.support.hub_stand_in import HubStandIn, Seen
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import (
    Played,
    PlayLab,
    left_running,
    make_tiny_base,
    tree,
)
from ansible_collections.ia_homelab.llamafactory.tests.support.token_watch import Watch, holding

REPOSITORY = "homelab/Tiny-Chat"
CANARY = "hf_CanaryOfTheTokenFile0123456789"
#: Exported in the environment of the play; no process of a job may have it.
EXPORTED = "hf_CanaryOfTheEnvironment9876543210"

#: The tasks that make the results of one fine-tune, in order.
MAKING = [
    "Plan, publish the datasets and submit",
    "Fetch the base models",
    "Train",
    "Merge, convert to GGUF and register in Ollama",
]
STEPS = ["base", "train", "merge", "gguf-f16", "gguf-q4_K_M", "register-q4_K_M"]
LATEST = "lab-model:latest"

#: Runs a command while an Ollama server runs: PROGRAM LOG COMMAND...
SERVE = """
program=$1 log=$2; shift 2
"$program" serve >>"$log" 2>&1 & server=$!
until "$program" list >/dev/null 2>&1; do sleep 0.2; done
"$@"; status=$?
kill $server; wait $server
exit $status
"""


@dataclasses.dataclass
class Workspace:
    """A finished fine-tune, and the outputs of the plays that made it."""

    lab: PlayLab
    hub: HubStandIn
    token_file: Path
    watch: Watch
    commit: str
    first: Played
    checked: Played
    planned: Played
    untouched: bool
    asked: t.Sequence[Seen] = ()

    def play(self, *arguments: str, **more: t.Any) -> Played:
        """Run a play with the hub and the token."""
        environment = {"HF_ENDPOINT": self.hub.url, "HF_TOKEN": EXPORTED}
        return self.lab.play(*arguments, environment=environment, finetune_token_file=str(self.token_file), **more)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Workspace]:
    root = tmp_path_factory.mktemp("plays")
    lab = PlayLab(root / "lab", REPOSITORY)
    token_file = root / "token"
    token_file.write_text(CANARY + "\n")
    token_file.chmod(0o600)
    watch = Watch(str(lab.data), [CANARY], [EXPORTED])
    with HubStandIn() as hub:
        hub.add(REPOSITORY, make_tiny_base(root / "base"), gated=True, readers={CANARY})
        lab.server.start()
        nothing = Played(0, "")
        made = Workspace(lab, hub, token_file, watch, committed(lab.prompts), nothing, nothing, nothing, False)
        before = tree(lab.root / "ollama" / "models") if (lab.root / "ollama" / "models").exists() else {}
        # from the start, because check mode has already asked the hub for the commit
        watch.start()
        made.checked = made.play("--check", "--diff").well()
        # the path is relative to the working directory of the play
        made.planned = made.play("-e", "finetune_plan_file=plan.json", playbook="plan").well()
        made.untouched = (
            not lab.data.exists()
            and lab.tags() == {}
            and before
            == {path: facts for path, facts in tree(lab.root / "ollama" / "models").items() if path in before}
        )
        made.asked = [seen for seen in hub.seen if seen.token]
        made.first = made.play("-vvv", "--diff", "-e", "finetune_plan_file=plan.json").well()
        watch.over.set()
        watch.join()
        yield made
        lab.server.stop()


def committed(prompts: Path) -> str:
    """Commit the prompts to git; return the commit."""
    git = ["git", "-C", str(prompts.parent), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for arguments in (["init", "-q"], ["add", prompts.name], ["commit", "-q", "-m", "Prompts"]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def snapshot(workspace: Workspace) -> dict[str, t.Any]:
    """Everything that a play could change, once the processes of the plays before have ended."""
    assert left_running(str(workspace.lab.data)) == {}
    return {"data": tree(workspace.lab.data), "tags": workspace.lab.tags()}


def test_check_mode_on_an_empty_host(workspace: Workspace) -> None:
    assert workspace.untouched, "check mode wrote something"
    assert workspace.checked.changed == MAKING[:1], "a check ends with the plan"
    assert workspace.first.changed == MAKING
    assert workspace.lab.tags()[LATEST]


def test_saved_plan_is_applied(workspace: Workspace) -> None:
    """The saved plan was applied as the first play, and exactly its steps were run."""
    assert "lab-model: 6 of 6 steps would run" in workspace.planned.output
    assert "lab-model: 6 of 6 steps would run" in workspace.checked.output
    assert f"free at {workspace.lab.data}" in workspace.planned.output
    kept = json.loads((workspace.lab.root / "plan.json").read_text(encoding="utf-8"))
    assert kept["hosts"]["pc-ia"][0]["pending"] == STEPS
    other = workspace.lab.root / "other.json"
    other.write_text(json.dumps({"schema": 1, "hosts": {"another": []}}))
    refused = workspace.play("-e", f"finetune_plan_file={other}")
    assert refused.status != 0 and "lab-model was not part of it" in refused.output


def test_token_is_not_leaked(workspace: Workspace) -> None:
    used = [seen for seen in workspace.hub.seen if seen.token == CANARY]
    assert used and not any(seen.cdn for seen in used), "the token was used, and only at the hub"
    assert workspace.asked, "check mode has resolved the model with the token"
    assert all(seen.token in ("", CANARY) for seen in workspace.hub.seen)
    assert workspace.watch.rounds > 20 and len(workspace.watch.jobs) >= 5, workspace.watch.jobs
    assert workspace.watch.found == set()
    assert "EXEC" in workspace.first.output, "-vvv is verbose"
    for word in (CANARY, EXPORTED):
        assert word not in workspace.first.output
        assert word not in workspace.checked.output
    assert holding(workspace.lab.root, [CANARY, EXPORTED]) == []


def test_token_watch_detects_a_token(tmp_path: Path) -> None:
    """The test before is meaningful only if a token would be found."""
    watch = Watch(str(tmp_path), [CANARY], [EXPORTED])
    environment = {**os.environ, "IA_HOMELAB_JOB": f"{tmp_path}/jobs", "HF_TOKEN": EXPORTED}
    shown = subprocess.Popen(["sleep", "60"], env=environment)
    hidden = subprocess.Popen(["sleep", "61"], env={**os.environ, "HF_TOKEN": CANARY})
    argument = subprocess.Popen(["sh", "-c", "sleep 60; :", CANARY])
    (tmp_path / "log").write_text(f"Authorization: Bearer {CANARY}\n")
    try:
        with watch:
            end = time.monotonic() + 30
            while len(watch.found) < 3 and time.monotonic() < end:
                time.sleep(0.05)
    finally:
        for process in (shown, argument, hidden):
            process.kill()
            process.wait()
    assert sorted(found.split()[0] for found in watch.found) == ["argument", "environment", "environment"]
    assert holding(tmp_path, [CANARY]) == ["log"]


def test_rejected_token_is_not_printed(workspace: Workspace) -> None:
    wrong = workspace.token_file.with_name("wrong-token")
    wrong.write_text(EXPORTED)
    workspace.lab.data.rename(workspace.lab.data.with_name("kept"))
    try:
        played = workspace.play("-vvv", "-e", f"finetune_token_file={wrong}")
        assert played.status != 0
        assert "token" in played.output and EXPORTED not in played.output
        assert holding(workspace.lab.root, [CANARY, EXPORTED]) == []
    finally:
        subprocess.run(["rm", "-rf", str(workspace.lab.data)], check=True)
        workspace.lab.data.with_name("kept").rename(workspace.lab.data)


@pytest.mark.parametrize(
    "what",
    # what the full run adds leaves everything as it is, and test_check_mode.py tests it without tools
    [pytest.param("pruned", marks=pytest.mark.full), "rows", "system", "drift"],
)
def test_check_mode_writes_nothing_and_predicts_changes(workspace: Workspace, what: str) -> None:
    """Each change is applied once, so that it starts from the state of the one before."""
    lab = workspace.lab
    more: dict[str, t.Any] = {}
    plan: list[str] = []
    expected = MAKING[:1] + MAKING[2:]
    if what == "pruned":
        for path in (lab.data / "models" / "merged").glob("[0-9a-f]*/adapter_changes.json"):
            path.unlink()
        # the served model is complete, so none of its inputs is rebuilt, and an applied plan has no pending steps
        expected, plan = [], ["-e", "finetune_plan_file=plan.json"]
    elif what == "rows":
        change_rows(lab.prompts)
        lab.declared["finetunes"] = [{**lab.declared["finetunes"][0], "learning_rate": 2e-4}]
    elif what == "system":
        more = {"finetunes": [{**lab.declared["finetunes"][0], "system": "Tu réponds en vers."}]}
        expected = [MAKING[0], MAKING[3]]
    elif what == "drift":
        lab.ollama.delete(LATEST)
        expected = [MAKING[0], MAKING[3]]
    before = snapshot(workspace)
    checked = workspace.play("--check", "--diff", **more).well()
    assert snapshot(workspace) == before
    if what == "rows":
        check_reported_plan(workspace, checked.output)
        refused = workspace.play("-e", "finetune_plan_file=plan.json")
        words = " ".join(refused.output.split())
        assert refused.status != 0 and "The plan is stale: lab-model: train: " in words, refused.output
        assert "(3 rows added, 1 changed)" in words, refused.output
        assert snapshot(workspace) == before, "a stale plan changed something"
    real = workspace.play("--diff", *plan, **more).well()
    assert checked.changed == expected[:1]
    assert real.changed == expected
    if what == "pruned":
        after = snapshot(workspace)
        assert after["tags"] == before["tags"]
        assert after == before, "a run without pending steps writes nothing"
    elif what == "drift":
        assert workspace.play("--check", **more).well().changed == []


def change_rows(prompts: Path) -> None:
    """Change one answer and add three rows, without a commit."""
    rows = json.loads(prompts.read_text(encoding="utf-8"))
    rows[3]["output"] = "Je ne sais pas."
    rows += [{**rows[0], "instruction": f"Et le numéro {n} ?"} for n in range(3)]
    prompts.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def version(tag: str) -> str:
    """The version in a tag of Ollama."""
    return tag.partition(":")[2]


def check_reported_plan(workspace: Workspace, output: str) -> None:
    """Check the output for another learning rate and other rows: causes, old and new values, and resources."""
    lines = [line.strip() for line in output.splitlines()]
    assert "lab-model: 5 of 6 steps would run" in lines
    assert any(line.startswith("train            learning_rate 0.002 → 0.0002") for line in lines)
    assert re.search(r"dataset sha256 .* \(3 rows added, 1 changed\)", output)
    assert any("changed: " in line and line.endswith(" → Je ne sais pas.") for line in lines), "the rows are shown"
    assert any(line.startswith("+added: Et le numéro 2 ? → ") for line in lines)
    for made in ("merge            made from another train", "gguf-f16         made from another merge"):
        assert any(line.startswith(made) for line in lines)
    assert any(re.search(r"RAM [\d.]+ .B, disk [\d.]+ .B, about .* \(as the last time\)$", line) for line in lines)
    whole = next(line for line in lines if line.startswith("In all: disk "))
    assert re.search(rf"free at {workspace.lab.data}, RAM [\d.]+ GB of [\d.]+ GB free, about ", whole)


def test_rollback_hold_and_release(workspace: Workspace) -> None:
    """Roll back to the previous and to a named version, within seconds; the next apply keeps it and warns; release."""
    lab = workspace.lab
    overview = model_versions.overview(lab.layout, lab.ollama, "lab-model")
    declared, before = overview["served"][LATEST]["version"], overview["previous"]
    tags = [version["tag"] for version in overview["versions"]]
    other = next(tag for tag in tags if tag not in (declared, before))

    def back(*arguments: str) -> Played:
        return workspace.play("-e", "finetune_name=lab-model", *arguments, playbook="rollback").well()

    done = back()
    assert done.recap["changed"] == 1 and f"lab-model is {before}; the hold blocks {declared}" in done.output
    assert lab.tags()[LATEST] == lab.tags()[before] != lab.tags()[declared]
    held = workspace.play().well()
    assert held.recap["changed"] == 0 and lab.tags()[LATEST] == lab.tags()[before]
    words = " ".join(held.output.split())
    assert "[WARNING]" in words and f"held at {before} by a rollback" in words and "release=true" in words

    named = back("-e", f"finetune_version={other.partition(':')[2][:12]}")
    assert named.recap["changed"] == 1 and lab.tags()[LATEST] == lab.tags()[other]
    shown = workspace.play("-e", "finetune_name=lab-model", playbook="status").well().output
    assert re.search(rf"{other} +latest \(held\)", shown)
    assert f"lab-model: held at {version(other)} against {version(declared)}" in shown
    assert re.search(rf"{declared} +kept out ", shown)
    for tag in tags:
        line = next(line for line in shown.splitlines() if tag in line and "lora" in line)
        # the first version was made from committed prompts, the others from modified ones
        assert f"{workspace.commit[:10]}{'' if tag == tags[-1] else '+'}" in line.split()
    made_from = shown[shown.index(f"{LATEST} is {version(other)}, made from") :]
    for step in ("register", "gguf", "merge", "train", "dataset", "base"):
        assert re.search(rf"  {step} +[0-9a-f]{{12}}", made_from), step
    assert f"{lab.prompts.name}@{workspace.commit[:10]}+" in made_from and f"{REPOSITORY}@" in made_from

    assert back("-e", "finetune_release=true").recap["changed"] == 1 and lab.tags()[LATEST] == lab.tags()[other]
    assert workspace.play().well().changed == [MAKING[0], MAKING[3]]
    assert lab.tags()[LATEST] == lab.tags()[declared]


def test_apply_without_a_network(workspace: Workspace) -> None:
    """Existing files suffice for status, for an apply without changes, and for another training."""
    lab = workspace.lab
    lab.server.stop()
    asked = len(workspace.hub.seen)
    models = {"OLLAMA_HOST": f"127.0.0.1:{lab.server.port}", "OLLAMA_MODELS": str(lab.server.root / "models")}
    serve = [*no_network.within(), "sh", "-c", SERVE, "sh", lab.server.program, str(lab.server.root / "log")]
    other = [{**lab.declared["finetunes"][0], "learning_rate": 0.0007}]

    def play(*arguments: str, **more: t.Any) -> Played:
        return lab.play(*arguments, within=serve, environment={**models, "HOME": str(lab.server.root)}, **more).well()

    assert play().changed == []
    making = MAKING[:1] + MAKING[2:]
    assert left_running(str(lab.data)) == {}
    before = tree(lab.data)
    assert play("--check", "--diff", finetunes=other).changed == making[:1]
    assert tree(lab.data) == before
    assert play(finetunes=other).changed == making
    assert len(workspace.hub.seen) == asked, "the hub was not asked"
    lab.server.start()
    assert lab.ollama.digest(LATEST)


def test_no_process_is_left(workspace: Workspace) -> None:
    assert left_running(str(workspace.lab.data)) == {}
