# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks of this checkout on a store that an earlier version wrote: nothing is lost or trained again.

README.md describes the store and what the earlier version reported of it. The tests build on each other, in their
order. About a minute on two idle cores.
"""

from __future__ import annotations

import json
import subprocess
import time
import typing as t

import pytest
import yaml

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.runs.schema import SCHEMA
from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import Played, tree
from ansible_collections.ia_homelab.llamafactory.tests.upgrade import store_lab
from ansible_collections.ia_homelab.llamafactory.tests.upgrade.store_lab import Site

EXPECTED: dict[str, t.Any] = json.loads(store_lab.EXPECTED.read_text(encoding="utf-8"))

MODEL = "homelab-model"
HOLD = EXPECTED["models"][MODEL]["hold"]
#: What is planned for the recorded declaration: what was left to be made, and since then new registrations of what is
#: served, by another recipe. The version that is pinned is registered as itself.
PLAN = {**EXPECTED["plan"], MODEL: ["register-held", "register-q8_0", "promote", "retain"]}
#: The fine-tunes of which something is left to be made.
UNFINISHED = ("spare-model", "notes-model", "draft-model", "pocket-model")


@pytest.fixture(scope="module")
def site() -> t.Iterator[Site]:
    """The store as it was recorded, and its Ollama server."""
    made = store_lab.unpack()
    made.server.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def applied(site: Site) -> Played:
    """One apply of the recorded declaration."""
    return site.play("finetune").well()


@pytest.fixture(scope="module")
def afterwards(site: Site, applied: Played) -> dict[str, t.Any]:
    """What the modules report after it."""
    return site.report()


def run_of(name: str, state: str = "") -> str:
    """Id of the one recorded run of a fine-tune, in that state."""
    found = [key for key, run in EXPECTED["runs"].items() if run["name"] == name and state in ("", run["state"])]
    assert len(found) == 1, found
    return found[0]


def attempts(site: Site, run_id: str) -> list[str]:
    """Names of the attempts at the steps of a run."""
    directory = next((site.data / "jobs").glob(f"*/{run_id}"))
    return sorted(path.name for path in directory.iterdir() if path.is_dir())


def new_runs(site: Site, name: str) -> list[str]:
    """Ids of the runs of a fine-tune that were not recorded."""
    found = {path.name for path in (site.data / "jobs").glob(f"*/{name}-*") if path.is_dir()}
    return sorted(found - set(EXPECTED["runs"]))


def finetunes(site: Site) -> list[dict[str, t.Any]]:
    """The declared fine-tunes."""
    text = (site.root / "site" / "inventory" / "group_vars" / "pc_ia.yml").read_text(encoding="utf-8")
    return list(yaml.safe_load(text)["finetunes"])


def test_modules_report_the_recorded_state(site: Site) -> None:
    """Runs, states, steps, versions, tags, the hold and the plan; reading changes no byte."""
    before = tree(site.data)
    assert site.tags() == EXPECTED["tags"]
    report = site.report()
    drift = report["models"][MODEL].pop("drift")
    assert report["runs"] == EXPECTED["runs"]
    assert report["models"] == {MODEL: {k: v for k, v in EXPECTED["models"][MODEL].items() if k != "drift"}}
    assert [reason.partition(",")[0] for reason in drift] == [f"{HOLD['tag']} was registered by recipe 1"]
    assert site.plan() == PLAN
    shown = site.play("status").well().output
    for run_id, run in EXPECTED["runs"].items():
        line = next(line for line in shown.splitlines() if run_id in line)
        assert run["state"] in line.split(), line
    held, against = (tag.removeprefix(f"{MODEL}:") for tag in (HOLD["tag"], HOLD["against"][0]))
    assert f"{MODEL}: held at {held} against {against}" in shown
    assert tree(site.data) == before


def test_check_mode_writes_nothing(site: Site) -> None:
    before = tree(site.data, site.models)
    checked = site.play("finetune", "--check", "--diff").well()
    assert tree(site.data, site.models) == before
    for name in UNFINISHED:
        assert f"{name}: {len(EXPECTED['plan'][name])} of " in checked.output, name
    planned = checked.output.partition(f"{MODEL}: {len(PLAN[MODEL])} of ")[2].partition("\n\n")[0]
    for made in ("base", "train", "merge", "gguf"):
        line = next(line for line in planned.splitlines() if line.split()[:1] and line.split()[0].startswith(made))
        assert line.split(None, 1)[1].startswith(("kept", "not needed")), "nothing is trained or converted again"
    assert "recipe 1 → 2" in planned


@pytest.mark.parametrize(
    "arguments", [("finetune",), ("cancel", "-e", "finetune_name=draft-model")], ids=lambda args: args[0]
)
def test_newer_store_is_refused(site: Site, arguments: tuple[str, ...]) -> None:
    """The message names both schema numbers and what to do. Nothing is written, although rows have changed."""
    schema = site.data / "jobs" / "schema.json"
    prompts = site.root / "site" / "prompts.json"
    kept, rows = schema.read_bytes(), prompts.read_bytes()
    newer = SCHEMA + 1
    schema.write_text(json.dumps({"schema": newer}))
    prompts.write_text(json.dumps(json.loads(rows)[:5]))
    try:
        before, tags = tree(site.data), site.tags()
        refused = site.play(*arguments)
        assert refused.status != 0
        words = " ".join(refused.output.split())
        assert f"has schema {newer}, this core writes {SCHEMA}." in words and "upgrade this one" in words
        assert tree(site.data) == before and site.tags() == tags
    finally:
        schema.write_bytes(kept)
        prompts.write_bytes(rows)


def test_finished_trainings_are_not_repeated(site: Site, applied: Played) -> None:
    """What was trained keeps its receipt. The one training that was interrupted resumes from its checkpoint."""
    receipts = site.receipts("outputs/adapters")
    assert {name: receipts[name]["finished_at"] for name in EXPECTED["trained"]} == EXPECTED["trained"]
    resumed = EXPECTED["runs"][run_of("draft-model")]["steps"]["train"]["fingerprint"]
    assert set(receipts) - set(EXPECTED["trained"]) == {resumed}
    assert receipts[resumed]["results"]["resumed_from"] == 16
    trainings = [path.name for path in (site.data / "jobs").glob("*/*/train-*")]
    assert trainings == ["train-1"] * len(trainings), "a training was attempted again"
    assert attempts(site, run_of("notes-model"))[-2:] == ["register-q8_0-1", "train-1"]
    assert attempts(site, run_of("pocket-model")) == ["gguf-q4_0-1", "register-q4_0-1"]
    assert attempts(site, run_of("spare-model")) == ["register-q8_0-1"]
    (spare,) = new_runs(site, "spare-model")
    assert attempts(site, spare) == ["register-q8_0-1"]


def test_tags_and_hold_are_kept(site: Site, applied: Played, afterwards: dict[str, t.Any]) -> None:
    """Every version keeps its tag. The aliases serve the pinned version, registered again from the same file."""
    tags = site.tags()
    aliases = EXPECTED["models"][MODEL]["served"]
    versions = {name: digest for name, digest in EXPECTED["tags"].items() if name not in aliases}
    assert {name: tags.get(name) for name in versions} == versions
    assert {f"{name}:latest" for name in UNFINISHED} <= set(tags)
    words = " ".join(applied.output.split())
    assert f"held at {HOLD['tag']} by a rollback of {HOLD['at']}" in words and "[WARNING]" in words

    model, recorded = afterwards["models"][MODEL], EXPECTED["models"][MODEL]
    pinned = model["hold"]["tag"]
    assert model["hold"]["at"] == HOLD["at"] and set(HOLD["against"]) < set(model["hold"]["against"])
    assert pinned != HOLD["tag"] and {tags[alias] for alias in aliases} == {tags[pinned]}
    assert {each["version"] for each in model["served"].values()} == {pinned} and model["drift"] == []
    lineage = {tag: model["versions"][tag]["lineage"][1:] for tag in (pinned, HOLD["tag"])}
    assert lineage[pinned] == lineage[HOLD["tag"]]
    for tag, version in recorded["versions"].items():
        assert {**model["versions"][tag], "promoted_at": ""} == {**version, "promoted_at": ""}


def test_every_run_ends(site: Site, afterwards: dict[str, t.Any]) -> None:
    """Active and queued runs succeed, and so does each run that registers a declared model by the current recipe.

    What had ended, and what is not declared any more, stays as it was.
    """
    runs = afterwards["runs"]
    for run_id, recorded in EXPECTED["runs"].items():
        if recorded["state"] in ("running", "queued"):
            assert runs[run_id]["state"] == "succeeded", runs[run_id]
        else:
            assert runs[run_id] == recorded
    for name in (*UNFINISHED, MODEL):
        (run_id,) = new_runs(site, name)
        assert runs[run_id]["state"] == "succeeded", runs[run_id]
    assert list((site.data / "jobs" / "active").iterdir()) == []
    end = time.monotonic() + 60
    while site.processes() and time.monotonic() < end:
        time.sleep(0.1)
    assert site.processes() == {}


def test_second_apply_changes_nothing(site: Site, applied: Played) -> None:
    before, tags = tree(site.data, site.models), site.tags()
    again = site.play("finetune").well()
    assert again.recap["changed"] == 0
    assert site.tags() == tags and tree(site.data, site.models) == before


@pytest.mark.full
def test_interrupted_apply_resumes(site: Site, applied: Played) -> None:
    """Everything is killed at three moments; the next apply comes to the same models.

    In every run ``test_upgrade_engine.py`` kills the engine before changes of its first contact.

    The third moment is in a cancel: the training that takes the most time is stopped by its name. Its checkpoint is
    kept.
    """
    run = run_of("draft-model")
    training = EXPECTED["runs"][run]["steps"]["train"]["fingerprint"]
    checkpoints = f"outputs/adapters/.work-{training}/checkpoint"
    quantized = "jobs/*/pocket-model-*/gguf-q4_0-1/command.json"
    cancel = ("cancel", "-e", "finetune_name=draft-model")
    struck = store_lab.unpack()
    struck.server.start()
    try:
        kill_a_play(struck, "jobs/active/spare-model-*/run.json", "finetune")
        kill_a_play(struck, f"{checkpoints}-24/trainer_state.json", "finetune")
        kill_a_play(struck, quantized, *cancel)
        rest = [each for each in finetunes(struck) if each["name"] != "draft-model"]
        struck.play("finetune", "-e", json.dumps({"finetunes": rest})).well()
        ended = json.loads((struck.data / "jobs" / "done" / run / "state.json").read_text(encoding="utf-8"))
        assert ended["state"] == "cancelled"
        assert (struck.data / f"{checkpoints}-24/trainer_state.json").exists()
        made = {name: layers for name, layers in site.layers().items() if not name.startswith("draft-model:")}
        assert struck.layers() == made
        trained = {name: receipt["finished_at"] for name, receipt in struck.receipts("outputs/adapters").items()}
        assert trained == EXPECTED["trained"]
    finally:
        struck.close()


def kill_a_play(site: Site, pattern: str, *arguments: str) -> None:
    """Start a play and kill it with all that it started, once there is a file that was not there before."""
    assert not any(site.data.glob(pattern)), f"it was too late for {pattern}"
    play = subprocess.Popen(
        site.command(*arguments),
        env=site.environment(),
        cwd=site.root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 240
    while not any(site.data.glob(pattern)):
        assert play.poll() is None and time.monotonic() < end, f"it ended without {pattern}"
        time.sleep(0.005)
    assert site.kill() >= 2, pattern
    assert play.wait() != 0
