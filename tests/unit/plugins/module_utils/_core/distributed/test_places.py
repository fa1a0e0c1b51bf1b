# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts make which fine-tune: what stays where it is, what is spread, and what the inventory does not know."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.filter.finetune_places import finetune_places
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.distributed.places import (
    Places,
    Told,
    expand,
    place,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError

GROUPS = {"all": ["a", "b", "c", "d"], "gpus": ["a", "b", "c"], "ungrouped": ["d"]}


def declared(*names: str, **more: t.Any) -> list[dict[str, t.Any]]:
    return [{"name": name, "dataset": "prompts", **more} for name in names]


def remembered(places: Places) -> dict[str, Told]:
    """What every host tells after that."""
    return {host: Told(places.places, places.serial) for host in GROUPS["all"]}


def test_without_a_spread_every_host_of_the_play_makes_all() -> None:
    found = place(declared("one", "two"), GROUPS, ["a", "b"])
    assert found.hosts == {"one": ["a", "b"], "two": ["a", "b"]}
    assert found.places == {}


def test_each_goes_to_one_host_and_no_host_gets_two_more_than_another() -> None:
    found = place(declared(*"stuvwxyz"), GROUPS, ["a"], ["gpus"])
    counts = [list(found.places.values()).count(host) for host in "abc"]
    assert sorted(counts) == [2, 3, 3]
    assert found.hosts == {name: [host] for name, host in found.places.items()}


@settings(deadline=None)
@given(
    st.lists(st.text("abcdefgh", min_size=1, max_size=3), min_size=2, max_size=12, unique=True),
    st.data(),
)
def test_adding_one_anywhere_in_the_list_moves_no_other(names: list[str], data: st.DataObject) -> None:
    new = data.draw(st.sampled_from(names))
    rest = data.draw(st.permutations([name for name in names if name != new]))
    before = place(declared(*rest), GROUPS, ["a"], ["gpus"])
    after = place(declared(*names), GROUPS, ["a"], ["gpus"], remembered(before))
    assert {name: after.places[name] for name in rest} == before.places
    assert after.serial == before.serial + 1


def test_the_same_declaration_changes_nothing() -> None:
    before = place(declared(*"stuv"), GROUPS, ["a"], ["gpus"])
    assert place(declared(*"vtus"), GROUPS, ["a"], ["gpus"], remembered(before)).places == before.places
    assert place(declared(*"stuv"), GROUPS, ["a"], ["gpus"], remembered(before)).serial == before.serial


def test_it_does_not_matter_which_hosts_answer() -> None:
    before = place(declared(*"stuv"), GROUPS, ["a"], ["gpus"])
    for host in "abc":
        alone = {host: remembered(before)[host]}
        assert place(declared(*"stuv"), GROUPS, [host], ["gpus"], alone) == before


def test_a_host_that_was_away_does_not_bring_the_past_back() -> None:
    old, new = Told({"one": "a", "two": "b"}, 1), Told({"one": "c", "two": "b"}, 2)
    assert place(declared("one", "two"), GROUPS, ["a"], ["gpus"], {"a": old, "b": new}).places["one"] == "c"
    assert place(declared("one", "two"), GROUPS, ["a"], ["gpus"], {"a": new, "b": old}).places["one"] == "c"


def test_only_those_of_a_host_that_has_left_the_group_move() -> None:
    before = {"one": "a", "two": "d", "three": "b"}
    found = place(declared("one", "two", "three"), GROUPS, ["a"], ["gpus"], {"a": Told(before, 4)})
    assert found.places == {"one": "a", "two": "c", "three": "b"}


def test_one_that_is_not_declared_for_a_while_comes_back_to_its_host() -> None:
    before = place(declared(*"stuv"), GROUPS, ["a"], ["gpus"])
    between = place(declared(*"stu"), GROUPS, ["a"], ["gpus"], remembered(before))
    assert between.places == before.places
    assert between.serial == before.serial
    assert between.hosts == {name: [before.places[name]] for name in "stu"}


def test_what_is_served_stays_where_it_is() -> None:
    told = {"a": Told(served=frozenset({"one", "two", "three"})), "b": Told(served=frozenset({"four"}))}
    found = place(declared("New", "One", "Two", "Three", "Four"), GROUPS, ["a"], ["gpus"], told)
    assert found.places == {"One": "a", "Two": "a", "Three": "a", "Four": "b", "New": "c"}


def test_what_several_serve_is_spread_over_them() -> None:
    everything = Told(served=frozenset("stuv"))
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
def test_what_the_inventory_does_not_know_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        place(declared("big", nodes=names), GROUPS, ["a"])
    assert str(caught.value) == message


def test_the_filter_reads_what_hosts_tell_and_says_who_makes_what() -> None:
    told = {
        "a": {"places": json.dumps({"schema": 1, "serial": 3, "places": {"one": "b"}}), "served": []},
        "b": {"places": "", "served": ["one", "my%2Fmodel"]},
    }
    finetunes = [
        {"name": "one", "dataset": "/app/data/first.json"},
        {"name": "my/model", "dataset": "second"},
        {"name": "both", "dataset": "third", "nodes": ["a", "b"]},
    ]
    found = finetune_places(finetunes, GROUPS, ["a", "b"], ["a", "b"], told)
    assert found["places"] == {"one": "b", "my/model": "b"}
    assert found["serial"] == 4
    assert found["idle"] == {"a": ["first", "second"], "b": []}
    assert found["lines"] == ["a: both (node 1 of 2)", "b: one, my/model, both (node 2 of 2)"]
    by_name = {finetune["name"]: {key: finetune[key] for key in finetune if key != "name"} for finetune in finetunes}
    assert finetune_places(by_name, GROUPS, ["a", "b"], ["a", "b"], told) == found


def test_the_filter_refuses_a_name_that_contradicts_its_key() -> None:
    with pytest.raises(AnsibleFilterError, match="the fine-tune 'one' has another name inside: 'two'"):
        finetune_places({"one": {"name": "two"}}, GROUPS, ["a"])


def test_a_damaged_file_is_refused_with_what_to_do() -> None:
    with pytest.raises(AnsibleFilterError, match=r"a: the file .* is damaged .* Remove places\.json"):
        finetune_places(declared("one"), GROUPS, ["a"], ["gpus"], {"a": {"places": "{"}})
