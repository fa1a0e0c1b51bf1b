# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of datasets: removed, looked up, refused; and the differences of a new version."""

from __future__ import annotations

import os
import typing as t

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets import registry
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.registry import (
    Declaration,
    absent,
    apply,
    check_name,
    dataset_name,
    load,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.tests.support.dataset_lab import (
    HOMELAB,
    quartet,
    records,
    row,
    tree,
)

# ---------------------------------------------------------------- differences


def test_changes_are_reported(layout: Layout) -> None:
    apply(layout, HOMELAB, records(row(1), row(2), row(3), row(3, "encore")))
    new = records(row(1), row(2, "autre"), row(4), row(3, "encore"), row(5))
    for check in (True, False):
        changes = apply(layout, HOMELAB, new, check=check, compare=True).changes
        assert changes == {
            "compared": True,
            "added": 2,
            "removed": 1,
            "changed": 1,
            "before": ["changed: question 2 → réponse 2", "removed: question 3 → réponse 3"],
            "after": ["changed: question 2 → autre", "added: question 4 → réponse 4", "added: question 5 → réponse 5"],
        }
    assert apply(layout, HOMELAB, new, compare=True).changes == {}


def test_changes_are_independent_of_the_output_format(layout: Layout) -> None:
    """A history converts all rows to conversations; equivalent rows have not changed."""
    apply(layout, HOMELAB, records(row(1), row(2)))
    new = t.cast(t.Any, {**row(3), "history": [["a", "b"]]})
    changes = apply(layout, HOMELAB, records(row(1), row(2), new), compare=True).changes
    assert (changes["added"], changes["removed"], changes["changed"]) == (1, 0, 0)


def test_changes_are_bounded(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(number) for number in range(60)]
    apply(layout, HOMELAB, records(*rows))
    new = [{**old_row, "output": "x" * 1000} for old_row in rows[:30]] + [row(number) for number in range(100, 160)]
    changes = apply(layout, HOMELAB, records(*new), check=True, compare=True).changes
    assert (changes["added"], changes["removed"], changes["changed"]) == (60, 30, 30)
    assert len(changes["before"]) == len(changes["after"]) == 42
    assert max(map(len, changes["after"])) < 400
    monkeypatch.setattr(f"{registry.__package__}.diff.COMPARED", 50)
    changes = apply(layout, HOMELAB, records(*new), check=True, compare=True).changes
    assert changes == {"compared": False, "added": 0, "removed": 0, "changed": 0, "before": [], "after": []}


# ---------------------------------------------------------------- removal


@pytest.mark.parametrize("purge", [False, True])
def test_absent(purge: bool, layout: Layout) -> None:
    dataset = quartet(layout, records(row(1))).dataset
    assert dataset is not None
    before = tree(layout.root)
    planned = absent(layout, "homelab", purge, check=True)
    assert tree(layout.root) == before
    done = absent(layout, "homelab", purge)
    assert planned == done
    assert done.changed
    assert done.before == dataset.fingerprint
    after = tree(layout.root)
    for check in (True, False):
        assert not absent(layout, "homelab", purge, check=check).changed
        assert tree(layout.root) == after
    assert os.path.exists(dataset.data_file) == (not purge)
    # models that were trained on it refer to its receipt
    assert load(layout, dataset.fingerprint).results == dataset.results
    with pytest.raises(InputError, match="There is no dataset 'homelab'"):
        load(layout, "homelab")
    assert quartet(layout, records(row(1))).changed


def test_absent_keeps_rows_that_another_name_refers_to(layout: Layout) -> None:
    quartet(layout, records(row(1)))
    quartet(layout, records(row(1)), Declaration("other"))
    assert absent(layout, "homelab", purge=True).changed
    assert os.path.exists(load(layout, "other").data_file)
    assert not apply(layout, Declaration("other"), records(row(1))).changed


def test_rows_can_be_purged_after_the_name(layout: Layout) -> None:
    dataset = quartet(layout, records(row(1))).dataset
    assert dataset is not None
    absent(layout, "homelab")
    assert absent(layout, "homelab", purge=True).reasons == ["the rows are there"]
    assert not os.path.exists(dataset.data_file)


def test_absent_of_an_unknown_name(layout: Layout) -> None:
    assert not absent(layout, "homelab", purge=True).changed
    assert not os.path.exists(layout.root)


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("homelab", "homelab"),
        ("/app/data/homelab.json", "homelab"),
        ("homelab.jsonl", "homelab"),
        ("data/v1.2.csv", "v1.2"),
        (" homelab ", "homelab"),
        ("C:\\data\\homelab.json", "homelab"),
        ("/app/data/homelab/", "homelab"),
    ],
)
def test_dataset_name(text: str, name: str) -> None:
    assert dataset_name(text) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "a b", "a,b", "é", "-x", "x\n", "a" * 101, "a.json", "f" * 64, "x\0"]
)
def test_invalid_names(name: str, layout: Layout) -> None:
    with pytest.raises(InputError):
        check_name(name)
    with pytest.raises(InputError):
        apply(layout, Declaration(name), records(row(1)))
    with pytest.raises(InputError):
        absent(layout, name)
    assert not os.path.exists(layout.root)


def test_unknown_names_get_a_suggestion(layout: Layout) -> None:
    with pytest.raises(InputError, match="There is none yet"):
        load(layout, "homelab")
    apply(layout, Declaration("homelab_prompts"), records(row(1)))
    with pytest.raises(InputError, match="Did you mean 'homelab_prompts'"):
        load(layout, "homelab-prompt")
    with pytest.raises(InputError, match="refers to a version that is not there"):
        load(layout, "0" * 64)
