# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Preference, KTO and text rows: detected, checked and published completely."""

from __future__ import annotations

import json
import os
import tempfile
import typing as t
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.output_formats import (
    OUTPUT_FORMATS,
    Sample,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.registry import (
    Declaration,
    apply,
    load,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rendering import Rendered, render
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.rules.registry import (
    RULES,
    make_rules,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError

ASKED = [{"from": "human", "value": "Un film ?"}]
GOOD, BAD = {"from": "gpt", "value": "Lequel ?"}, {"from": "gpt", "value": "Non."}
ROLES = {"human": "user", "gpt": "assistant"}


def openai(*turns: dict[str, str]) -> list[dict[str, str]]:
    """The same turns in OpenAI's notation."""
    return [{"role": ROLES[turn["from"]], "content": turn["value"]} for turn in turns]


#: Equivalent rows in each format: kind → format → row.
WRITTEN: dict[str, dict[str, dict[str, t.Any]]] = {
    "preference": {
        "alpaca": {"instruction": "Un film ?", "chosen": "Lequel ?", "rejected": "Non.", "system": "Bref."},
        "sharegpt": {"conversations": ASKED, "chosen": GOOD, "rejected": BAD, "system": "Bref."},
        "openai": {
            "messages": [{"role": "system", "content": "Bref."}, *openai(*ASKED)],
            "chosen": openai(GOOD)[0],
            "rejected": openai(BAD)[0],
        },
    },
    "kto": {
        "alpaca": {"instruction": "Un film ?", "output": "Lequel ?", "kto_tag": True, "system": "Bref."},
        "sharegpt": {"conversations": [*ASKED, GOOD], "kto_tag": True, "system": "Bref."},
        "openai": {"messages": [{"role": "system", "content": "Bref."}, *openai(*ASKED, GOOD)], "kto_tag": True},
    },
    "pretraining": {"text": {"text": "Il était une fois."}},
}
PUBLISHED: dict[str, dict[str, t.Any]] = {
    "preference": {"conversations": ASKED, "chosen": GOOD, "rejected": BAD, "system": "Bref.", "tools": ""},
    "kto": {"conversations": [*ASKED, GOOD], "kto_tag": True, "system": "Bref.", "tools": ""},
    "pretraining": {"text": "Il était une fois."},
}


def published(rows: list[t.Any], folder: str, **options: t.Any) -> tuple[Rendered, list[dict[str, t.Any]]]:
    """Render and read back."""
    path = os.path.join(folder, "out.jsonl")
    rendered = render("test", [Source("records", records=rows)], path=path, **options)
    return rendered, [json.loads(line) for line in Path(path).read_text("utf-8").split("\n")[:-1]]


@pytest.mark.parametrize("kind", WRITTEN)
def test_equivalent_rows_have_the_same_content(kind: str, tmp_path: Path) -> None:
    fingerprints = set()
    for name, row in WRITTEN[kind].items():
        rendered, rows = published([row], str(tmp_path))
        assert rows == [PUBLISHED[kind]]
        assert (rendered.results["kind"], rendered.results["format"], rendered.output_format) == (kind, name, kind)
        fingerprints.add(rendered.fingerprint)
        assert published([row], str(tmp_path), declared=name)[0].fingerprint == rendered.fingerprint
    assert len(fingerprints) == 1


def test_golden_fingerprints(tmp_path: Path) -> None:
    """An upgrade of the collection must not change the fingerprint of existing datasets."""
    assert {
        kind: published([next(iter(WRITTEN[kind].values()))], str(tmp_path))[0].fingerprint for kind in WRITTEN
    } == GOLDEN


GOLDEN = {
    "kto": "a9d679e366539ed2ba4a0c1e9d578614b01317678738011e26179a888bca4fb8",
    "preference": "2db35995794cdfe89cbdcb3e6ca71b23e7d3c7d43c90ced4a15a0acbb5d8c38c",
    "pretraining": "eb6cc05fb80b1e103af40942ca906599cf7ddc8f7078df6e7a4b769e2779bdc8",
}


def test_the_entry_is_complete(tmp_path: Path) -> None:
    """A key that is missing in columns or tags becomes None in LLaMA-Factory, and ranking decides on the stage."""
    layout = Layout(str(tmp_path / "data"))
    for kind, written in WRITTEN.items():
        apply(layout, Declaration(kind), [Source("records", records=[next(iter(written.values()))])])
    info = json.loads(Path(layout.datasets, "dataset_info.json").read_text())
    turns = {"messages": "conversations", "system": "system", "tools": "tools"}
    tags = OUTPUT_FORMATS["sharegpt"].entry("")["tags"]
    assert len(tags) == 7
    for kind, formatting, ranking, columns in (
        ("preference", "sharegpt", True, {**turns, "chosen": "chosen", "rejected": "rejected"}),
        ("kto", "sharegpt", False, {**turns, "kto_tag": "kto_tag"}),
        ("pretraining", "alpaca", False, {"prompt": "text"}),
    ):
        assert (info[kind]["formatting"], info[kind]["ranking"]) == (formatting, ranking)
        assert info[kind]["columns"] == columns
        assert info[kind].get("tags") == (tags if formatting == "sharegpt" else None)
        dataset = load(layout, kind)
        assert dataset.kind == kind
        assert list(json.loads(Path(dataset.data_file).read_text())) == dataset.results["columns"]


def test_datasets_published_without_a_kind_are_for_sft(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "data"))
    done = apply(layout, Declaration("old"), [Source("records", records=[{"instruction": "a", "output": "b"}])])
    assert done.dataset is not None
    path = Path(done.dataset.path, "receipt.json")
    receipt = json.loads(path.read_text())
    del receipt["results"]["kind"]
    path.write_text(json.dumps(receipt))
    assert load(layout, "old").kind == "sft"


def test_the_question_may_have_history_input_and_tools(tmp_path: Path) -> None:
    """History, input, tools and calls work with two answers as with one."""
    row = {"instruction": "Et ?", "input": "vite", "chosen": "a", "rejected": "b", "history": [["q", "r"]]}
    _rendered, rows = published([row], str(tmp_path))
    assert [turn["value"] for turn in rows[0]["conversations"]] == ["q", "r", "Et ?\nvite"]
    call = {"from": "function_call", "value": '{"name": "f", "arguments": {}}'}
    talk = {
        "conversations": [*ASKED, call, {"from": "observation", "value": "rien"}],
        "chosen": GOOD,
        "rejected": call,
        "tools": [{"name": "f", "parameters": {"type": "object", "properties": {}}}],
    }
    _rendered, rows = published([talk], str(tmp_path))
    assert [turn["from"] for turn in rows[0]["conversations"]] == ["human", "function_call", "observation"]
    assert rows[0]["rejected"] == call
    assert json.loads(rows[0]["tools"])[0]["name"] == "f"


def test_columns_decide_the_kind_as_well(tmp_path: Path) -> None:
    row = {"question": "a", "good": "b", "bad": "c"}
    columns = {"prompt": "question", "chosen": "good", "rejected": "bad"}
    assert published([row], str(tmp_path), columns=columns)[0].results["kind"] == "preference"
    row = {"instruction": "a", "output": "b", "label": False}
    assert published([row], str(tmp_path), columns={"kto_tag": "label"})[1][0]["kto_tag"] is False
    assert published([{"body": "a"}], str(tmp_path), columns={"prompt": "body"}, declared="text")[1] == [{"text": "a"}]


def test_an_ignored_field_does_not_decide_the_kind(tmp_path: Path) -> None:
    row = {"instruction": "a", "output": "b", "rejected": "c"}
    assert published([row], str(tmp_path), ignored=["rejected"])[0].results["kind"] == "sft"
    rules = make_rules("auto", {}, ["rejected"], row)
    assert rules.check(row) == []


def test_a_column_of_dates_only_is_refused(tmp_path: Path) -> None:
    """LLaMA-Factory's reader would convert it to timestamps."""
    with pytest.raises(InputError, match="is a date and nothing else"):
        published([{"text": "2024-01-01"}], str(tmp_path))
    row = {"instruction": "a", "chosen": "2024-01-01", "rejected": "non"}
    with pytest.raises(InputError, match=r"every chosen\.value .* is a date"):
        published([row], str(tmp_path))
    assert published([row, {**row, "chosen": "oui"}], str(tmp_path))[0].results["rows"] == 2


text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(
    lambda said: not said.isspace()
)


@given(text, text, text, text)
@settings(max_examples=60, deadline=None)
def test_any_text_is_preserved(asked: str, chosen: str, rejected: str, system: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows: list[dict[str, t.Any]] = [
            {"instruction": f"q {asked}", "chosen": f"c {chosen}", "rejected": f"r {rejected}", "system": f"s {system}"}
        ]
        row = published(rows, folder)[1][0]
        assert row["conversations"][0]["value"] == f"q {asked}"
        assert (row["chosen"]["value"], row["rejected"]["value"]) == (f"c {chosen}", f"r {rejected}")
        assert row["system"] == f"s {system}"
        assert published([{"text": f"t {asked}"}], folder)[1] == [{"text": f"t {asked}"}]


def test_keys_of_equal_and_contradicting_samples() -> None:
    turns = [("human", "a"), ("gpt", "b")]
    plain = Sample(turns, "s")
    assert Sample(turns, "s").key == plain.key
    other = Sample([("human", "a"), ("gpt", "c")], "s")
    assert (other.key[0] == plain.key[0], other.key[1] == plain.key[1]) == (True, False)
    assert Sample(turns, "t").key[0] != plain.key[0]
    pair = Sample(turns[:1], chosen=("gpt", "x"), rejected=("gpt", "y"))
    swapped = Sample(turns[:1], chosen=("gpt", "y"), rejected=("gpt", "x"))
    third = Sample(turns[:1], chosen=("gpt", "x"), rejected=("gpt", "z"))
    assert pair.key[0] == swapped.key[0] != third.key[0]
    assert pair.key[1] != swapped.key[1]
    liked, disliked = Sample(turns, liked=True), Sample(turns, liked=False)
    assert liked.key[0] == disliked.key[0]
    assert liked.key[1] != disliked.key[1]


def test_every_format_has_every_kind_except_text() -> None:
    assert set(RULES) == {
        *((name, kind) for name in ("alpaca", "sharegpt", "openai") for kind in ("sft", "preference", "kto")),
        ("text", "pretraining"),
    }
