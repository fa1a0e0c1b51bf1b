# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hosts train one model together with real LLaMA-Factory: torchrun and gloo on CPUs. One is lost during it.

The hosts are namespaces (see ``node_lab``). About a minute on two cores; in "full" the network is cut and a process
is killed, too, which ``test_node_link.py`` does to a trivial command.
"""

from __future__ import annotations

import json
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.node_plays import NAMES, Nodes


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Nodes]:
    made = Nodes(tmp_path_factory.mktemp("nodes") / "house")
    made.lab.start()
    yield made
    made.lab.stop()


@pytest.mark.full
def test_cut_network_ends_both_with_a_message(nodes: Nodes) -> None:
    before = {name: len(nodes.outcomes(name)) for name in NAMES}
    ended = nodes.begin()
    nodes.lab.pull_the_cable("pc-b")
    errors = nodes.both_ended(before, time.monotonic())
    played = ended()
    nodes.lab.plug_in("pc-b")
    for name, other in (NAMES, reversed(NAMES)):
        assert f"The node {other} was lost while the training ran" in errors[name]["message"]
        assert f"Check that {other} is up and reachable, and apply again." in errors[name]["hint"]
        assert (
            "It starts from the beginning: on a CPU several processes cannot resume from a checkpoint."
            in errors[name]["hint"]
        )
    assert played.status != 0
    assert "The node pc-b was lost" in played.output
    assert nodes.left_running() == {}


@pytest.mark.full
def test_killed_process_ends_both_with_a_message(nodes: Nodes) -> None:
    before = {name: len(nodes.outcomes(name)) for name in NAMES}
    ended = nodes.begin()
    nodes.lab.on("pc-b", "kill", "-9", str(nodes.worker("pc-b")))
    errors = nodes.both_ended(before, time.monotonic())
    played = ended()
    # the affected host reports itself, and the other one names it
    assert "train_node ended with status 1" in errors["pc-b"]["message"]
    assert errors["pc-a"]["message"].startswith("pc-b: train_node ended with status 1")
    assert played.status != 0
    assert nodes.left_running() == {}


def test_next_apply_finishes_the_training(nodes: Nodes) -> None:
    nodes.play(within=nodes.lab.within()).well()
    (receipt,) = nodes.receipts("pc-a", "train")
    assert receipt["settings"]["nodes"] == 2
    assert receipt["results"]["resumed_from"] is None
    adapter = Path(nodes.on("pc-a").artifact("train", receipt["fingerprint"]))
    losses = [entry["loss"] for entry in json.loads((adapter / "trainer_state.json").read_text())["log_history"][:-1]]
    assert losses[-1] < losses[0] / 3
    # 50 rows, 10 at a time on each of two hosts
    assert receipt["results"]["steps"] == 30 * 3
    (part,) = nodes.receipts("pc-b", "train_node")
    assert part["results"] == {
        "node": "pc-b",
        "nodes": list(NAMES),
        "training": receipt["fingerprint"],
        "steps": receipt["results"]["steps"],
    }
    assert len(nodes.receipts("pc-a", "gguf")) == 1
    assert nodes.receipts("pc-b", "train") == nodes.receipts("pc-b", "gguf") == []
    assert not list(Path(nodes.on("pc-b").root).glob("outputs/*/.work-*"))


def test_a_second_apply_changes_nothing(nodes: Nodes) -> None:
    played = nodes.play(within=nodes.lab.within()).well()
    assert played.changed == []


def test_different_bases_are_refused_before_the_training(nodes: Nodes) -> None:
    config = nodes.lab.home("pc-b") / "base" / "config.json"
    content = config.read_text()
    config.write_text(content + " ")
    before = {name: len(nodes.outcomes(name)) for name in NAMES}
    more = [{**nodes.finetune, "seed": 7}]
    played = nodes.play(within=nodes.lab.within(), finetunes=more)
    config.write_text(content)
    assert played.status != 0
    assert "pair: pc-b has another base model than pc-a" in played.output
    assert "pair is trained by pc-a, pc-b together, and pc-b is missing" in " ".join(played.output.split())
    assert {name: len(nodes.outcomes(name)) for name in NAMES} == before
