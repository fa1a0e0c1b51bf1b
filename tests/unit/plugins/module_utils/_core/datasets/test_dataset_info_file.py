# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""dataset_info.json belongs to others as well: their bytes stay, broken files are left alone, nobody is lost."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.dataset_info_file import (
    InfoFile,
    version_of,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.registry import (
    Declaration,
    absent,
    apply,
    load,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError

THEIRS = """{
    "identity": {"file_name": "identity.json"},   \t
    "é": {"hf_hub_url": "x/é", "num": 1.50, "columns": {"prompt":"a", "b": [1e3,
      2]}},
    "homelab": {"file_name": "homelab.json", "formatting": "alpaca"}
}
"""
ENTRY = {"file_name": "x.jsonl", "columns": {"prompt": "instruction"}}


def of(path: Path, text: str) -> InfoFile:
    """The file with this text."""
    path.write_bytes(text.encode())
    return InfoFile(str(path))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A data directory."""
    return Layout(str(tmp_path / "data"))


def rows(*outputs: str) -> list[Source]:
    """A row for each answer."""
    return [Source("records", records=[{"instruction": "a", "output": output} for output in outputs])]


def test_theirs_stay_to_the_byte(tmp_path: Path) -> None:
    info = of(tmp_path / "i.json", THEIRS)
    info.put("ours", ENTRY)
    head, _comma, rest = info.text.partition(',\n    "ours": ')
    assert head == THEIRS[:-3]
    assert rest.endswith("\n    }\n}\n")
    info.put("ours", {"file_name": "y.jsonl"})
    assert info.entries["ours"] == {"file_name": "y.jsonl"}
    info.remove("ours")
    assert info.text == THEIRS


def test_an_entry_in_the_middle_is_replaced_where_it_stands(tmp_path: Path) -> None:
    info = of(tmp_path / "i.json", THEIRS)
    info.put("é", ENTRY)
    assert list(info.entries) == ["identity", "é", "homelab"]
    before, after = THEIRS.index('{"hf_hub'), THEIRS.index(',\n    "homelab"')
    assert info.text.startswith(THEIRS[:before])
    assert info.text.endswith(THEIRS[after:])


@pytest.mark.parametrize("text", ["", " \n", "{}", "{ }\n", "{\n}"])
def test_a_file_without_entries(text: str, tmp_path: Path) -> None:
    info = of(tmp_path / "i.json", text)
    info.put("ours", ENTRY)
    assert json.loads(info.text) == {"ours": ENTRY}
    info.remove("ours")
    assert json.loads(info.text) == {}


names = st.text(st.characters(codec="utf-8"), max_size=4)
entries = st.dictionaries(
    names, st.recursive(st.none() | st.text() | st.floats(allow_nan=False), st.lists, max_leaves=3)
)


@given(entries, st.sampled_from([None, 0, 1, 4, "\t"]), st.booleans(), names)
@settings(max_examples=100, deadline=None)
def test_only_the_one_entry_differs(
    tmp_path_factory: pytest.TempPathFactory,
    theirs: dict[str, object],
    indent: int | str | None,
    ascii_only: bool,
    name: str,
) -> None:
    text = json.dumps(theirs, indent=indent, ensure_ascii=ascii_only)
    path = tmp_path_factory.getbasetemp() / "any.json"
    info = of(path, text)
    info.put(name, ENTRY)
    assert list(json.loads(info.text).items()) == list({**theirs, name: ENTRY}.items())
    info.remove(name)
    expected = {key: value for key, value in theirs.items() if key != name}
    assert list(json.loads(info.text).items()) == list(expected.items())
    if name not in theirs and theirs:
        assert info.text == text


BROKEN = {
    "cut": '{"a": {"file_name": "x"}',
    "list": "[]",
    "text": '"x"',
    "comma": '{"a": {},}',
    "no comma": '{"a": {} "b": {}}',
    "no colon": '{"a" {}}',
    "no value": '{"a": }',
    "number as a name": "{1: {}}",
    "twice": '{"a": {}, "a": {}}',
    "more": "{} {}",
    "comment": '{"a": {}} // x',
}


@pytest.mark.parametrize("name", [*BROKEN, "not UTF-8", "a directory"])
def test_a_broken_file_is_refused_and_left_alone(name: str, layout: Layout) -> None:
    path = Path(layout.datasets, "dataset_info.json")
    path.parent.mkdir(parents=True)
    if name == "a directory":
        path.mkdir()
    else:
        path.write_bytes(b'{"\xff": {}}' if name == "not UTF-8" else BROKEN[name].encode())
    before = path.read_bytes() if path.is_file() else b""
    for act in (
        lambda: apply(layout, Declaration("homelab"), rows("b")),
        lambda: apply(layout, Declaration("homelab"), rows("b"), check=True, force=True),
        lambda: absent(layout, "homelab"),
        lambda: load(layout, "homelab"),
    ):
        with pytest.raises(InputError, match=r"dataset_info\.json"):
            act()
    assert (path.read_bytes() if path.is_file() else b"") == before
    assert os.listdir(layout.datasets) == ["dataset_info.json"]


def test_somebody_elses_name_is_taken_over_only_by_force(layout: Layout) -> None:
    path = Path(layout.datasets, "dataset_info.json")
    path.parent.mkdir(parents=True)
    path.write_text(THEIRS)
    for check in (True, False):
        with pytest.raises(InputError, match="by somebody else"):
            apply(layout, Declaration("homelab"), rows("b"), check=check)
        with pytest.raises(InputError, match="by somebody else"):
            absent(layout, "homelab", check=check)
    with pytest.raises(InputError, match="by somebody else"):
        load(layout, "homelab")
    assert path.read_text() == THEIRS
    assert apply(layout, Declaration("homelab"), rows("b"), check=True, force=True).changed
    assert path.read_text() == THEIRS
    assert apply(layout, Declaration("homelab"), rows("b"), force=True).changed
    assert load(layout, "homelab").rows == 1
    assert path.read_text().startswith(THEIRS[: THEIRS.index('"homelab"')])
    assert not apply(layout, Declaration("homelab"), rows("b")).changed


def test_the_mode_and_a_link_are_kept(layout: Layout, tmp_path: Path) -> None:
    real = tmp_path / "shared.json"
    real.write_text("{}")
    real.chmod(0o664)
    path = Path(layout.datasets, "dataset_info.json")
    path.parent.mkdir(parents=True)
    path.symlink_to(real)
    apply(layout, Declaration("homelab"), rows("b"))
    assert path.is_symlink()
    assert list(json.loads(real.read_text())) == ["homelab"]
    assert real.stat().st_mode & 0o777 == 0o664


def test_an_entry_is_whole(layout: Layout) -> None:
    """LLaMA-Factory takes a key that is left out for None."""
    apply(layout, Declaration("homelab"), rows("b"))
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    apply(layout, Declaration("talk"), [Source("records", records=[{"conversations": turns}])])
    found = json.loads(Path(layout.datasets, "dataset_info.json").read_text())
    assert set(found["homelab"]["columns"]) == {"prompt", "query", "response", "system"}
    assert set(found["talk"]["columns"]) == {"messages", "system", "tools"}
    assert len(found["talk"]["tags"]) == 7
    for name, entry in found.items():
        inside = json.loads(Path(load(layout, name).path, "dataset_info.json").read_text())
        assert inside == {load(layout, name).entry: {**entry, "file_name": "data.jsonl"}}
        assert version_of(entry) == load(layout, name).fingerprint


def _register_many(root: str, begin: int, count: int) -> None:
    layout = Layout(root)
    for number in range(begin, begin + count):
        apply(layout, Declaration(f"set-{number}"), rows(str(number % 5)))


def test_nobody_is_lost_among_several_at_once(layout: Layout) -> None:
    """Three processes register, some of the same content, while a fourth name goes."""
    apply(layout, Declaration("first"), rows("z"))
    count = 15
    spawn = multiprocessing.get_context("fork")
    workers = [spawn.Process(target=_register_many, args=(layout.root, start * count, count)) for start in range(3)]
    for worker in workers:
        worker.start()
    absent(layout, "first")
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    found = json.loads(Path(layout.datasets, "dataset_info.json").read_text())
    assert set(found) == {f"set-{number}" for number in range(3 * count)}
    assert all(load(layout, name).rows == 1 for name in found)
    versions = [name for name in os.listdir(layout.parent("dataset")) if not name.startswith(".")]
    assert len(versions) == 6
    assert len(os.listdir(layout.parent("dataset"))) == 6
