# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``playbooks/finetune.yml`` on the real tools, from a gated model on a hub: what check mode says and leaves alone,
where the token goes, and what goes on without a network.

The hub is a stand-in (see ``hub_stand_in``). About two minutes on two cores.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support import no_network
from ansible_collections.ia_homelab.llamafactory.tests.support.hub_stand_in import HubStandIn, Seen
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import (
    Played,
    PlayLab,
    make_tiny_base,
    processes,
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
    "Ask for the fine-tunes",
    "Fetch the base models",
    "Train",
    "Merge the adapters into their bases",
    "Convert to GGUF and quantize",
    "Register in Ollama",
]

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
    first: Played
    checked: Played
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
        made = House(lab, hub, token_file, watch, nothing, nothing, False)
        before = tree(lab.root / "ollama" / "models") if (lab.root / "ollama" / "models").exists() else {}
        # from the beginning: check mode has asked the hub already, what it is that shall be fetched
        watch.start()
        made.checked = made.play("--check", "--diff").well()
        made.untouched = (
            not lab.data.exists()
            and lab.tags() == {}
            and before
            == {path: facts for path, facts in tree(lab.root / "ollama" / "models").items() if path in before}
        )
        made.asked = [seen for seen in hub.seen if seen.token]
        made.first = made.play("-vvv", "--diff").well()
        watch.over.set()
        watch.join()
        yield made
        lab.server.stop()


def snapshot(house: House) -> dict[str, t.Any]:
    """All that a play could change."""
    return {"data": tree(house.lab.data), "tags": house.lab.tags()}


def test_check_before_there_is_anything(house: House) -> None:
    assert house.untouched, "check mode wrote something"
    assert house.checked.changed == MAKING
    assert house.first.changed == MAKING
    assert house.lab.tags()["lab-model:latest"]


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
        wrong.write_text(f"token = {CANARY}\nand more\n")
        played = house.play("-vvv", "-e", f"finetune_token_file={wrong}")
        assert played.status != 0
        assert f"{wrong} does not hold one token" in played.output and CANARY not in played.output
        assert holding(house.lab.root, [CANARY, EXPORTED]) == []
    finally:
        subprocess.run(["rm", "-rf", str(house.lab.data)], check=True)
        house.lab.data.with_name("kept").rename(house.lab.data)


@pytest.mark.parametrize("what", ["nothing", "learning_rate", "system", "rows", "drift", "pruned"])
def test_check_mode_is_pure_and_true(house: House, what: str) -> None:
    """Each change is made once, so that each begins where the one before has ended."""
    lab = house.lab
    more: dict[str, t.Any] = {}
    expected = MAKING[:2] + MAKING[3:]
    if what == "nothing":
        expected = []
    elif what == "learning_rate":
        more = {"finetunes": [{**lab.declared["finetunes"][0], "learning_rate": 0.001}]}
        expected = MAKING[1:2] + MAKING[3:]
    elif what == "system":
        more = {"finetunes": [{**lab.declared["finetunes"][0], "system": "Tu réponds en vers."}]}
        expected = [MAKING[1], MAKING[6]]
    elif what == "rows":
        lab.prompts.write_text(lab.prompts.read_text().replace("homelab", "home lab"))
    elif what == "drift":
        lab.ollama.delete("lab-model:latest")
        expected = [MAKING[1], MAKING[6]]
    elif what == "pruned":
        for path in (lab.data / "models" / "merged").glob("[0-9a-f]*/*.safetensors"):
            path.unlink()
        expected = []  # the served model is whole: nothing it was made from is made again
    before = snapshot(house)
    checked = house.play("--check", "--diff", **more).well()
    assert snapshot(house) == before
    real = house.play("--diff", **more).well()
    assert checked.changed == expected
    assert real.changed == expected
    again = house.play("--check", **more).well()
    assert again.changed == []
    if not expected:
        after = snapshot(house)
        assert after["tags"] == before["tags"]
        assert after == before, "a run that has nothing to do writes nothing"


def test_without_a_network(house: House) -> None:
    """What is there already is enough: to look, to change nothing, and to train once more."""
    lab = house.lab
    house.play().well()
    lab.server.stop()
    asked = len(house.hub.seen)
    models = {"OLLAMA_HOST": f"127.0.0.1:{lab.server.port}", "OLLAMA_MODELS": str(lab.server.root / "models")}
    serve = [*no_network.within(), "sh", "-c", SERVE, "sh", lab.server.program, str(lab.server.root / "log")]
    other = [{**lab.declared["finetunes"][0], "learning_rate": 0.0007}]

    def play(*arguments: str, **more: t.Any) -> Played:
        return lab.play(*arguments, within=serve, environment={**models, "HOME": str(lab.server.root)}, **more).well()

    assert play().changed == []
    making = MAKING[1:2] + MAKING[3:]
    assert play("--check", "--diff", finetunes=other).changed == making
    assert play(finetunes=other).changed == making
    assert play(finetunes=other).changed == []
    assert len(house.hub.seen) == asked, "the hub was not asked"
    lab.server.start()
    assert lab.ollama.digest("lab-model:latest")


def test_nothing_is_left_running(house: House) -> None:
    end = time.monotonic() + 10
    while processes(str(house.lab.data)) and time.monotonic() < end:
        time.sleep(0.05)
    assert processes(str(house.lab.data)) == {}
