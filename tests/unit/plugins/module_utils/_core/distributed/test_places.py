# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The placement of fine-tunes on hosts."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.filter.finetune_places import finetune_places
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.distributed.places import (
    HostReport,
    Places,
    expand,
    place,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError

GROUPS = {"all": ["a", "b", "c", "d"], "gpus": ["a", "b", "c"], "ungrouped": ["d"]}


def declared(*names: str, **more: t.Any) -> list[dict[str, t.Any]]:
    return [{"name": name, "dataset": "prompts", **more} for name in names]


def reports_after(places: Places) -> dict[str, HostReport]:
    """The reports of all hosts when a placement was recorded."""
    return {host: HostReport(places.places, places.serial) for host in GROUPS["all"]}


def test_without_a_spread_every_host_makes_all() -> None:
    found = place(declared("one", "two"), GROUPS, ["a", "b"])
    assert found.hosts == {"one": ["a", "b"], "two": ["a", "b"]}
    assert found.places == {}


def test_fine_tunes_are_spread_evenly() -> None:
    found = place(declared(*"stuvwxyz"), GROUPS, ["a"], ["gpus"])
    counts = [list(found.places.values()).count(host) for host in "abc"]
    assert sorted(counts) == [2, 3, 3]
    assert found.hosts == {name: [host] for name, host in found.places.items()}


@settings(deadline=None)
@given(
    st.lists(st.text("abcdefgh", min_size=1, max_size=3), min_size=2, max_size=12, unique=True),
    st.data(),
)
def test_adding_a_fine_tune_moves_no_other(names: list[str], data: st.DataObject) -> None:
    new = data.draw(st.sampled_from(names))
    rest = data.draw(st.permutations([name for name in names if name != new]))
    before = place(declared(*rest), GROUPS, ["a"], ["gpus"])
    after = place(declared(*names), GROUPS, ["a"], ["gpus"], reports_after(before))
    assert {name: after.places[name] for name in rest} == before.places
    assert after.serial == before.serial + 1


def test_the_same_declaration_changes_nothing() -> None:
    before = place(declared(*"stuv"), GROUPS, ["a"], ["gpus"])
    assert place(declared(*"vtus"), GROUPS, ["a"], ["gpus"], reports_after(before)).places == before.places
    assert place(declared(*"stuv"), GROUPS, ["a"], ["gpus"], reports_after(before)).serial == before.serial


def test_the_placement_does_not_depend_on_the_reachable_hosts() -> None:
    before = place(declared(*"stuv"), GROUPS, ["a"], ["gpus"])
    for host in "abc":
        alone = {host: reports_after(before)[host]}
        assert place(declared(*"stuv"), GROUPS, [host], ["gpus"], alone) == before


def test_the_latest_record_is_used() -> None:
    old, new = HostReport({"one": "a", "two": "b"}, 1), HostReport({"one": "c", "two": "b"}, 2)
    assert place(declared("one", "two"), GROUPS, ["a"], ["gpus"], {"a": old, "b": new}).places["one"] == "c"
    assert place(declared("one", "two"), GROUPS, ["a"], ["gpus"], {"a": new, "b": old}).places["one"] == "c"


def test_only_fine_tunes_of_a_removed_host_move() -> None:
    before = {"one": "a", "two": "d", "three": "b"}
    found = place(declared("one", "two", "three"), GROUPS, ["a"], ["gpus"], {"a": HostReport(before, 4)})
    assert found.places == {"one": "a", "two": "c", "three": "b"}


def test_a_fine_tune_that_is_declared_again_returns_to_its_host() -> None:
    before = place(declared(*"stuv"), GROUPS, ["a"], ["gpus"])
    between = place(declared(*"stu"), GROUPS, ["a"], ["gpus"], reports_after(before))
    assert between.places == before.places
    assert between.serial == before.serial
    assert between.hosts == {name: [before.places[name]] for name in "stu"}


def test_served_models_stay_on_their_host() -> None:
    reports = {"a": HostReport(served=frozenset({"one", "two", "three"})), "b": HostReport(served=frozenset({"four"}))}
    found = place(declared("New", "One", "Two", "Three", "Four"), GROUPS, ["a"], ["gpus"], reports)
    assert found.places == {"One": "a", "Two": "a", "Three": "a", "Four": "b", "New": "c"}


def test_models_that_several_hosts_serve_are_spread_over_them() -> None:
    everything = HostReport(served=frozenset("stuv"))
    found = place(declared(*"stuv"), GROUPS, ["a"], ["a", "b"], {"a": everything, "b": everything})
    assert sorted(found.places.values()) == ["a", "a", "b", "b"]


def test_nodes_name_the_hosts_and_count_as_load() -> None:
    finetunes = [*declared("big", nodes=["c", "a"]), *declared("pinned", nodes="b"), *declared("free")]
    found = place(finetunes, {**GROUPS, "pair": ["a", "c"]}, ["a"], ["gpus", "d"])
    assert found.hosts == {"big": ["c", "a"], "pinned": ["b"], "free": ["d"]}
    assert found.places == {"free": "d"}


def test_a_group_stands_for_its_hosts() -> None:
    assert expand("x", ["gpus", "d"], GROUPS) == ["a", "b", "c", "d"]
    assert expand("x", ["d", "gpus"], GROUPS) == ["d", "a", "b", "c"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["gpu"], "big: nodes: there is no host or group 'gpu' in the inventory. Did you mean gpus?"),
        (["gpus", "a"], "big: nodes: a is named twice. Name each host once."),
    ],
)
def test_unknown_hosts_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        place(declared("big", nodes=names), GROUPS, ["a"])
    assert str(caught.value) == message


def test_the_filter_reads_reports_and_describes_the_placement() -> None:
    reports = {
        "a": {"places": json.dumps({"schema": 1, "serial": 3, "places": {"one": "b"}}), "served": []},
        "b": {"places": "", "served": ["one", "my%2Fmodel"]},
    }
    finetunes = [
        {"name": "one", "dataset": "/app/data/first.json"},
        {"name": "my/model", "dataset": "second"},
        {"name": "both", "dataset": "third", "nodes": ["a", "b"]},
    ]
    found = finetune_places(finetunes, GROUPS, ["a", "b"], ["a", "b"], reports)
    assert found["places"] == {"one": "b", "my/model": "b"}
    assert found["serial"] == 4
    assert found["idle"] == {"a": ["first", "second"], "b": []}
    assert found["lines"] == ["a: both (node 1 of 2)", "b: one, my/model, both (node 2 of 2)"]
    by_name = {finetune["name"]: {key: finetune[key] for key in finetune if key != "name"} for finetune in finetunes}
    assert finetune_places(by_name, GROUPS, ["a", "b"], ["a", "b"], reports) == found


def test_the_filter_refuses_a_name_that_contradicts_its_key() -> None:
    with pytest.raises(AnsibleFilterError, match="the fine-tune 'one' has another name inside: 'two'"):
        finetune_places({"one": {"name": "two"}}, GROUPS, ["a"])


def test_a_damaged_file_is_refused_with_what_to_do() -> None:
    with pytest.raises(
        AnsibleFilterError, match=r"a: places\.json in its data directory, .*, is damaged .* Remove it: it is restored"
    ):
        finetune_places(declared("one"), GROUPS, ["a"], ["gpus"], {"a": {"places": "{"}})
