# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""dataset_info.json is shared: other entries are unchanged, broken files are not touched, no registration is lost."""

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

OTHER_ENTRIES = """{
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


def rows(*outputs: str) -> list[Source]:
    """One row per answer."""
    return [Source("records", records=[{"instruction": "a", "output": output} for output in outputs])]


def test_other_entries_are_unchanged_to_the_byte(tmp_path: Path) -> None:
    info = of(tmp_path / "i.json", OTHER_ENTRIES)
    info.put("ours", ENTRY)
    head, _comma, rest = info.text.partition(',\n    "ours": ')
    assert head == OTHER_ENTRIES[:-3]
    assert rest.endswith("\n    }\n}\n")
    info.put("ours", {"file_name": "y.jsonl"})
    assert info.entries["ours"] == {"file_name": "y.jsonl"}
    info.remove("ours")
    assert info.text == OTHER_ENTRIES


def test_an_entry_is_replaced_at_its_place(tmp_path: Path) -> None:
    info = of(tmp_path / "i.json", OTHER_ENTRIES)
    info.put("é", ENTRY)
    assert list(info.entries) == ["identity", "é", "homelab"]
    before, after = OTHER_ENTRIES.index('{"hf_hub'), OTHER_ENTRIES.index(',\n    "homelab"')
    assert info.text.startswith(OTHER_ENTRIES[:before])
    assert info.text.endswith(OTHER_ENTRIES[after:])


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
def test_only_one_entry_changes(
    tmp_path_factory: pytest.TempPathFactory,
    other_entries: dict[str, object],
    indent: int | str | None,
    ascii_only: bool,
    name: str,
) -> None:
    text = json.dumps(other_entries, indent=indent, ensure_ascii=ascii_only)
    path = tmp_path_factory.getbasetemp() / "any.json"
    info = of(path, text)
    info.put(name, ENTRY)
    assert list(json.loads(info.text).items()) == list({**other_entries, name: ENTRY}.items())
    info.remove(name)
    expected = {key: value for key, value in other_entries.items() if key != name}
    assert list(json.loads(info.text).items()) == list(expected.items())
    if name not in other_entries and other_entries:
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
def test_a_broken_file_is_refused_and_unchanged(name: str, layout: Layout) -> None:
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


def test_a_name_of_another_program_is_replaced_only_by_force(layout: Layout) -> None:
    path = Path(layout.datasets, "dataset_info.json")
    path.parent.mkdir(parents=True)
    path.write_text(OTHER_ENTRIES)
    for check in (True, False):
        with pytest.raises(InputError, match="by another program"):
            apply(layout, Declaration("homelab"), rows("b"), check=check)
        with pytest.raises(InputError, match="by another program"):
            absent(layout, "homelab", check=check)
    with pytest.raises(InputError, match="by another program"):
        load(layout, "homelab")
    assert path.read_text() == OTHER_ENTRIES
    assert apply(layout, Declaration("homelab"), rows("b"), check=True, force=True).changed
    assert path.read_text() == OTHER_ENTRIES
    assert apply(layout, Declaration("homelab"), rows("b"), force=True).changed
    assert load(layout, "homelab").rows == 1
    assert path.read_text().startswith(OTHER_ENTRIES[: OTHER_ENTRIES.index('"homelab"')])
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


def test_an_entry_is_complete(layout: Layout) -> None:
    """LLaMA-Factory reads a missing key as None."""
    apply(layout, Declaration("homelab"), rows("b"))
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    apply(layout, Declaration("talk"), [Source("records", records=[{"conversations": turns}])])
    entries = json.loads(Path(layout.datasets, "dataset_info.json").read_text())
    assert set(entries["homelab"]["columns"]) == {"prompt", "query", "response", "system"}
    assert set(entries["talk"]["columns"]) == {"messages", "system", "tools"}
    assert len(entries["talk"]["tags"]) == 7
    for name, entry in entries.items():
        own_entry = json.loads(Path(load(layout, name).path, "dataset_info.json").read_text())
        assert own_entry == {load(layout, name).entry: {**entry, "file_name": "data.jsonl"}}
        assert version_of(entry) == load(layout, name).fingerprint


def _register_many(root: str, begin: int, count: int) -> None:
    layout = Layout(root)
    for number in range(begin, begin + count):
        apply(layout, Declaration(f"set-{number}"), rows(str(number % 5)))


def test_concurrent_registrations_are_all_kept(layout: Layout) -> None:
    """Three processes register, partly the same content, while a fourth name is removed."""
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
    entries = json.loads(Path(layout.datasets, "dataset_info.json").read_text())
    assert set(entries) == {f"set-{number}" for number in range(3 * count)}
    assert all(load(layout, name).rows == 1 for name in entries)
    versions = [name for name in os.listdir(layout.parent("dataset")) if not name.startswith(".")]
    assert len(versions) == 6
    assert len(os.listdir(layout.parent("dataset"))) == 6
