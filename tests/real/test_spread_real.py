# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``playbooks/finetune.yml`` for two hosts with separate data directories that share a list of fine-tunes.

About a minute on two cores. The tests build on each other, in their order.
"""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.tests.support.play_lab import (
    TRAINING,
    Played,
    PlayLab,
    left_running,
    make_tiny_base,
    tree,
)

HOSTS = ("pc-a", "pc-b")


class Pair(PlayLab):
    """Two hosts that make fine-tunes up to the GGUF file."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        super().__init__(root, str(make_tiny_base(root / "base")))
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        hosts = {name: {**host, "llamafactory_data_dir": str(self.data_of(name))} for name in HOSTS}
        self.inventory.write_text(json.dumps({"pc_ia": {"hosts": hosts}}))
        del self.declared["llamafactory_data_dir"]
        self.declared["finetune_spread_over"] = ["pc_ia"]

    def data_of(self, host: str) -> Path:
        """The data directory of a host."""
        return self.root / host

    def finetunes(self, *names: str) -> list[dict[str, t.Any]]:
        """Declarations."""
        more = {**TRAINING, "quantization": "f16", "register": False}
        return [
            {"name": name, "base_model": str(self.root / "base"), "dataset": "prompts", **more, "seed": seed}
            for seed, name in enumerate(names)
        ]

    def made(self) -> dict[str, int]:
        """Number of trainings on each host."""
        return {host: len(list(self.data_of(host).glob("outputs/adapters/*/receipt.json"))) for host in HOSTS}


def changed(played: Played) -> dict[str, int]:
    """The changed tasks of each host."""
    recap = played.output.partition("PLAY RECAP")[2]
    lines = [line.split() for line in recap.splitlines() if " ok=" in line]
    return {line[0]: int(next(word[8:] for word in line if word.startswith("changed="))) for line in lines}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("spread") / "lab")


def test_placements_are_stable(pair: Pair) -> None:
    two = pair.finetunes("alpha", "beta")
    checked = pair.play("--check", finetunes=two).well()
    assert not any(pair.data_of(host).exists() for host in HOSTS)
    pair.play(finetunes=two).well()
    assert pair.made() == {"pc-a": 1, "pc-b": 1}
    places = json.loads((pair.data_of("pc-a") / "places.json").read_text())["places"]
    assert sorted(places) == ["alpha", "beta"]
    assert sorted(places.values()) == ["pc-a", "pc-b"]
    # check mode has predicted the placement
    for name, host in places.items():
        assert f"{host}: {name}" in checked.output

    assert left_running(str(pair.root / "pc-")) == {}, "supervisors write at their end"
    before = tree(*map(pair.data_of, HOSTS))
    assert changed(pair.play(finetunes=two).well()) == {"pc-a": 0, "pc-b": 0}
    assert tree(*map(pair.data_of, HOSTS)) == before


@pytest.mark.full
def test_a_third_one_is_made_by_one_host(pair: Pair) -> None:
    """It stands first in the list; nothing else is made. ``test_places.py`` tests how it is placed."""
    two = pair.finetunes("alpha", "beta")
    places = json.loads((pair.data_of("pc-a") / "places.json").read_text())["places"]
    three = [{**pair.finetunes("gamma")[0], "seed": 7}, *two]
    pair.play("--limit", "pc-b", finetunes=three, finetune_wait=False).well()
    pair.play(finetunes=three).well()
    after = json.loads((pair.data_of("pc-b") / "places.json").read_text())["places"]
    assert {name: after[name] for name in places} == places
    assert pair.made() == {host: 1 + (after["gamma"] == host) for host in HOSTS}
    assert (pair.data_of("pc-a") / "places.json").read_text() == (pair.data_of("pc-b") / "places.json").read_text()


def test_unknown_host_is_refused_with_a_suggestion(pair: Pair) -> None:
    refused = pair.play("--check", finetunes=pair.finetunes("alpha"), finetune_spread_over=["pc_ai"])
    assert refused.status != 0
    assert "no host or group 'pc_ai' in the inventory" in refused.output
    assert "pc_ia" in refused.output.partition("Did you mean")[2]
