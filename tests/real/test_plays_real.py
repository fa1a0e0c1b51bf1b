# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks on the real tools, from a gated model on a hub: ``plan.yml`` and what it keeps, ``finetune.yml`` and
what its check mode says and leaves alone, ``rollback.yml`` and ``status.yml``; where the token goes, and what goes on
without a network.

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
#: Exported where the play is started: it has no business in any process of a job.
EXPORTED = "hf_CanaryOfTheEnvironment9876543210"

#: All that is made from one declared fine-tune, task by task.
MAKING = [
    "Publish the datasets",
    "Submit the fine-tunes",
    "Fetch the base models",
    "Train",
    "Merge the adapters into their bases",
    "Convert to GGUF and quantize",
    "Register in Ollama",
]
STEPS = ["base", "train", "merge", "gguf-f16", "gguf-q4_K_M", "register-q4_K_M"]
LATEST = "lab-model:latest"

#: Runs a command beside an Ollama server: PROGRAM LOG COMMAND...
SERVE = """
program=$1 log=$2; shift 2
"$program" serve >>"$log" 2>&1 & server=$!
until "$program" list >/dev/null 2>&1; do sleep 0.2; done
"$@"; status=$?
kill $server; wait $server
exit $status
"""


@dataclasses.dataclass
class House:
    """One finished fine-tune, and how it came to be."""

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
        """A play against the hub, with the token."""
        environment = {"HF_ENDPOINT": self.hub.url, "HF_TOKEN": EXPORTED}
        return self.lab.play(*arguments, environment=environment, finetune_token_file=str(self.token_file), **more)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[House]:
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
        made = House(lab, hub, token_file, watch, committed(lab.prompts), nothing, nothing, nothing, False)
        before = tree(lab.root / "ollama" / "models") if (lab.root / "ollama" / "models").exists() else {}
        # from the beginning: check mode has asked the hub already, what it is that shall be fetched
        watch.start()
        made.checked = made.play("--check", "--diff").well()
        # the name is relative to where the play was started
        made.planned = made.play("-e", "plan=plan.json", playbook="plan").well()
        made.untouched = (
            not lab.data.exists()
            and lab.tags() == {}
            and before
            == {path: facts for path, facts in tree(lab.root / "ollama" / "models").items() if path in before}
        )
        made.asked = [seen for seen in hub.seen if seen.token]
        made.first = made.play("-vvv", "--diff", "-e", "plan=plan.json").well()
        watch.over.set()
        watch.join()
        yield made
        lab.server.stop()


def committed(prompts: Path) -> str:
    """Put the prompts under git; the commit."""
    git = ["git", "-C", str(prompts.parent), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for arguments in (["init", "-q"], ["add", prompts.name], ["commit", "-q", "-m", "Prompts"]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def snapshot(house: House) -> dict[str, t.Any]:
    """All that a play could change."""
    return {"data": tree(house.lab.data), "tags": house.lab.tags()}


def test_check_before_there_is_anything(house: House) -> None:
    assert house.untouched, "check mode wrote something"
    assert house.checked.changed == MAKING
    assert house.first.changed == MAKING
    assert house.lab.tags()[LATEST]


def test_planned_kept_and_applied(house: House) -> None:
    """It was applied as the first play, and did what it says."""
    assert "lab-model: 6 of 6 steps would run" in house.planned.output
    assert "lab-model: 6 of 6 steps would run" in house.checked.output
    assert f"free at {house.lab.data}" in house.planned.output
    kept = json.loads((house.lab.root / "plan.json").read_text(encoding="utf-8"))
    assert kept["hosts"]["pc-ia"][0]["pending"] == STEPS
    other = house.lab.root / "other.json"
    other.write_text(json.dumps({"schema": 1, "hosts": {"another": []}}))
    refused = house.play("-e", f"plan={other}")
    assert refused.status != 0 and "lab-model was not part of it" in refused.output


def test_the_token_is_nowhere(house: House) -> None:
    used = [seen for seen in house.hub.seen if seen.token == CANARY]
    assert used and not any(seen.cdn for seen in used), "it was used, and at the hub alone"
    assert house.asked, "check mode has asked what the model is, with the token"
    assert all(seen.token in ("", CANARY) for seen in house.hub.seen)
    assert house.watch.rounds > 20 and len(house.watch.jobs) >= 5, house.watch.jobs
    assert house.watch.found == set()
    assert "EXEC" in house.first.output, "-vvv tells all"
    for word in (CANARY, EXPORTED):
        assert word not in house.first.output
        assert word not in house.checked.output
    assert holding(house.lab.root, [CANARY, EXPORTED]) == []


def test_the_watch_sees_a_token(tmp_path: Path) -> None:
    """Else the test before would prove nothing."""
    watch = Watch(str(tmp_path), [CANARY], [EXPORTED])
    environment = {**os.environ, "IA_HOMELAB_JOB": f"{tmp_path}/jobs", "HF_TOKEN": EXPORTED}
    shown = subprocess.Popen(["sleep", "60"], env=environment)
    hidden = subprocess.Popen(["sleep", "61"], env={**os.environ, "HF_TOKEN": CANARY})
    told = subprocess.Popen(["sh", "-c", "sleep 60; :", CANARY])
    (tmp_path / "log").write_text(f"Authorization: Bearer {CANARY}\n")
    try:
        with watch:
            end = time.monotonic() + 30
            while len(watch.found) < 3 and time.monotonic() < end:
                time.sleep(0.05)
    finally:
        for process in (shown, told, hidden):
            process.kill()
            process.wait()
    assert sorted(found.split()[0] for found in watch.found) == ["argument", "environment", "environment"]
    assert holding(tmp_path, [CANARY]) == ["log"]


def test_a_refused_token_is_not_shown(house: House) -> None:
    wrong = house.token_file.with_name("wrong-token")
    wrong.write_text(EXPORTED)
    house.lab.data.rename(house.lab.data.with_name("kept"))
    try:
        played = house.play("-vvv", "-e", f"finetune_token_file={wrong}")
        assert played.status != 0
        assert "token" in played.output and EXPORTED not in played.output
        assert holding(house.lab.root, [CANARY, EXPORTED]) == []
    finally:
        subprocess.run(["rm", "-rf", str(house.lab.data)], check=True)
        house.lab.data.with_name("kept").rename(house.lab.data)


@pytest.mark.parametrize("what", ["pruned", "rows", "system", "drift"])
def test_check_mode_is_pure_and_true(house: House, what: str) -> None:
    """Each change is made once, so that each begins where the one before has ended."""
    lab = house.lab
    more: dict[str, t.Any] = {}
    plan: list[str] = []
    expected = MAKING[:2] + MAKING[3:]
    if what == "pruned":
        for path in (lab.data / "models" / "merged").glob("[0-9a-f]*/*.safetensors"):
            path.unlink()
        # the served model is whole: nothing it was made from is made again, and a plan that is done has nothing left
        expected, plan = [], ["-e", "plan=plan.json"]
    elif what == "rows":
        change_rows(lab.prompts)
        lab.declared["finetunes"] = [{**lab.declared["finetunes"][0], "learning_rate": 2e-4}]
    elif what == "system":
        more = {"finetunes": [{**lab.declared["finetunes"][0], "system": "Tu réponds en vers."}]}
        expected = [MAKING[1], MAKING[6]]
    elif what == "drift":
        lab.ollama.delete(LATEST)
        expected = [MAKING[1], MAKING[6]]
    before = snapshot(house)
    checked = house.play("--check", "--diff", **more).well()
    assert snapshot(house) == before
    if what == "rows":
        told(house, checked.output)
        refused = house.play("-e", "plan=plan.json")
        assert refused.status != 0 and "The plan is stale: lab-model: train: " in refused.output
        assert "(3 rows added, 1 changed)" in refused.output
        assert snapshot(house) == before, "a stale plan changed something"
    real = house.play("--diff", *plan, **more).well()
    assert checked.changed == expected
    assert real.changed == expected
    if what == "pruned":
        after = snapshot(house)
        assert after["tags"] == before["tags"]
        assert after == before, "a run that has nothing to do writes nothing"
    elif what == "drift":
        assert house.play("--check", **more).well().changed == []


def change_rows(prompts: Path) -> None:
    """One answer changed, three rows more; not committed."""
    rows = json.loads(prompts.read_text(encoding="utf-8"))
    rows[3]["output"] = "Je ne sais pas."
    rows += [{**rows[0], "instruction": f"Et le numéro {n} ?"} for n in range(3)]
    prompts.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def told(house: House, output: str) -> None:
    """What a check tells of another learning rate and other rows: why, from what to what, and what it takes."""
    lines = [line.strip() for line in output.splitlines()]
    assert "lab-model: 5 of 6 steps would run" in lines
    assert "train            learning_rate 0.002 → 0.0002" in lines
    assert any(line.startswith("dataset sha256 ") and line.endswith(" (3 rows added, 1 changed)") for line in lines)
    assert any("changed: " in line and line.endswith(" → Je ne sais pas.") for line in lines), "the rows themselves"
    assert any(line.startswith("+added: Et le numéro 2 ? → ") for line in lines)
    assert "merge            made from another train" in lines and "gguf-f16         made from another merge" in lines
    assert any(re.match(r"RAM [\d.]+ .B, disk [\d.]+ .B, about .* \(as the last time\)$", line) for line in lines)
    whole = next(line for line in lines if line.startswith("In all: disk "))
    assert re.search(rf"free at {house.lab.data}, RAM [\d.]+ GB of [\d.]+ GB free, about ", whole)


def test_rolled_back_held_and_released(house: House) -> None:
    """Back to the version before and to a named one, in seconds; the next apply keeps it and says so; a release."""
    lab = house.lab
    overview = model_versions.overview(lab.layout, lab.ollama, "lab-model")
    declared, before = overview["served"][LATEST]["version"], overview["previous"]
    tags = [version["tag"] for version in overview["versions"]]
    other = next(tag for tag in tags if tag not in (declared, before))

    def back(*arguments: str) -> Played:
        return house.play("-e", "model=lab-model", *arguments, playbook="rollback").well()

    done = back()
    assert done.recap["changed"] == 1 and f"lab-model is {before}; the hold blocks {declared}" in done.output
    assert lab.tags()[LATEST] == lab.tags()[before] != lab.tags()[declared]
    held = house.play().well()
    assert held.recap["changed"] == 0 and lab.tags()[LATEST] == lab.tags()[before]
    words = " ".join(held.output.split())
    assert "[WARNING]" in words and f"held at {before} by a rollback" in words and "release=true" in words

    named = back("-e", f"version={other.partition(':')[2][:12]}")
    assert named.recap["changed"] == 1 and lab.tags()[LATEST] == lab.tags()[other]
    shown = house.play("-e", "model=lab-model", playbook="status").well().output
    assert re.search(rf"{other} +latest \(held\)", shown) and f"lab-model: held at {other} against {declared}" in shown
    assert re.search(rf"{declared} +kept out ", shown)
    for tag in tags:
        line = next(line for line in shown.splitlines() if tag in line and "lora" in line)
        # the first was made of what is committed, and the others of more
        assert f"{house.commit[:10]}{'' if tag == tags[-1] else '+'}" in line.split()
    made_from = shown[shown.index(f"{LATEST} is {other}, made from") :]
    for step in ("register", "gguf", "merge", "train", "dataset", "base"):
        assert re.search(rf"  {step} +[0-9a-f]{{12}}", made_from), step
    assert f"{lab.prompts.name}@{house.commit[:10]}+" in made_from and f"{REPOSITORY}@" in made_from

    assert back("-e", "release=true").recap["changed"] == 1 and lab.tags()[LATEST] == lab.tags()[other]
    assert house.play().well().changed == [MAKING[1], MAKING[6]]
    assert lab.tags()[LATEST] == lab.tags()[declared]


def test_without_a_network(house: House) -> None:
    """What is there already is enough: to look, to change nothing, and to train once more."""
    lab = house.lab
    lab.server.stop()
    asked = len(house.hub.seen)
    models = {"OLLAMA_HOST": f"127.0.0.1:{lab.server.port}", "OLLAMA_MODELS": str(lab.server.root / "models")}
    serve = [*no_network.within(), "sh", "-c", SERVE, "sh", lab.server.program, str(lab.server.root / "log")]
    other = [{**lab.declared["finetunes"][0], "learning_rate": 0.0007}]

    def play(*arguments: str, **more: t.Any) -> Played:
        return lab.play(*arguments, within=serve, environment={**models, "HOME": str(lab.server.root)}, **more).well()

    assert play().changed == []
    making = MAKING[1:2] + MAKING[3:]
    before = tree(lab.data)
    assert play("--check", "--diff", finetunes=other).changed == making
    assert tree(lab.data) == before
    assert play(finetunes=other).changed == making
    assert len(house.hub.seen) == asked, "the hub was not asked"
    lab.server.start()
    assert lab.ollama.digest(LATEST)


def test_nothing_is_left_running(house: House) -> None:
    assert left_running(str(house.lab.data)) == {}
