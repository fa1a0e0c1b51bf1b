# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Invalid data: each case is refused with its file, row and field, and existing files are unchanged to the byte."""

from __future__ import annotations

import os
import pickle
import typing as t
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.problems import COUNTED, SHOWN
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.registry import (
    Declaration,
    apply,
    load,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.datasets.sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.tests.support.bad_bytes import BYTES, NAMES
from ansible_collections.ia_homelab.llamafactory.tests.support.bad_data import GOOD, GOOD_LINE
from ansible_collections.ia_homelab.llamafactory.tests.support.bad_files import FILES
from ansible_collections.ia_homelab.llamafactory.tests.support.bad_kinds import KINDS
from ansible_collections.ia_homelab.llamafactory.tests.support.bad_rows import ROWS

CORPUS = {**ROWS, **FILES, **KINDS, **BYTES, **NAMES}


def tree(root: str) -> dict[str, bytes]:
    """Every file below a directory."""
    return {
        os.path.join(folder, name): Path(folder, name).read_bytes()
        for folder, _dirs, names in os.walk(root)
        for name in names
    }


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A data directory with a valid dataset, which no test may change."""
    layout = Layout(str(tmp_path_factory.mktemp("data")))
    apply(layout, Declaration("homelab"), [Source("records", records=[GOOD])])
    return layout


def refuse(layout: Layout, source: Source, declared: str = "auto") -> InputError:
    """The error for a source, the same from apply and from check."""
    before = tree(layout.root)
    errors = []
    for check in (True, False):
        with pytest.raises(InputError) as caught:
            apply(layout, Declaration("homelab", declared), [source], check=check)
        errors.append(caught.value)
        assert tree(layout.root) == before
    assert str(errors[0]) == str(errors[1])
    assert load(layout, "homelab").rows == 1
    return errors[0]


@pytest.mark.parametrize("name", CORPUS)
def test_bad_file_is_refused(name: str, layout: Layout, tmp_path: Path) -> None:
    bad = CORPUS[name]
    if isinstance(bad.data, list):
        source = Source("records", records=bad.data)
    else:
        path = tmp_path / bad.name
        path.write_bytes(bad.data if isinstance(bad.data, bytes) else bad.data.encode("utf-8", "surrogatepass"))
        source = Source(bad.name, str(path))
    error = refuse(layout, source, bad.format)
    problem = error.details["problems"][0]
    assert problem["file"] == bad.name
    assert (problem["row"], problem["field"]) == (bad.row, bad.field), problem
    assert bad.what in problem["what"], problem
    assert problem["fix"].endswith(".")
    # the message contains it as well
    assert bad.name in error.message and bad.what in error.message
    assert bad.row is None or f"row {bad.row}" in error.message
    assert len(str(error)) < 2000


@pytest.mark.parametrize(
    ("end", "is_cut"),
    [('"output" "b"}]', False), ('"output": "b",}]', False), ('"output": "b', True), ('"output": ', True), ("", True)],
)
def test_only_of_a_cut_file_is_it_said_that_it_ends(end: str, is_cut: bool, layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"instruction": "a", ' + end + "\n")
    what = refuse(layout, Source("a.json", str(path))).details["problems"][0]["what"]
    assert what.startswith("the file ends in the row" if is_cut else "it is not valid JSON"), what


def test_the_corpus_is_large() -> None:
    """Counted by content and file type, not by name."""
    distinct = {(bad.name, bad.format, pickle.dumps(bad.data)) for bad in CORPUS.values()}
    assert len(distinct) == len(CORPUS) == len(ROWS) + len(FILES) + len(KINDS) + len(BYTES) + len(NAMES)
    assert len(distinct) >= 300


def special_files(folder: Path) -> t.Iterator[tuple[str, str]]:
    """Paths that are not regular files."""
    outside = folder / "outside"
    inside = folder / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "real.jsonl").write_text(GOOD_LINE)
    (inside / "out.jsonl").symlink_to(outside / "real.jsonl")
    yield "out.jsonl", "a link that leads out of its directory"
    (inside / "up.jsonl").symlink_to("../outside/real.jsonl")
    yield "up.jsonl", "a link that leads out of its directory"
    (inside / "loop.jsonl").symlink_to("loop.jsonl")
    yield "loop.jsonl", "a link to itself"
    (inside / "gone.jsonl").symlink_to("nothing.jsonl")
    yield "gone.jsonl", "no such file"
    os.mkfifo(inside / "fifo.jsonl")
    yield "fifo.jsonl", "not a regular file"
    (inside / "folder.jsonl").mkdir()
    yield "folder.jsonl", "a directory"
    (inside / "device.jsonl").symlink_to("/dev/zero")
    yield "device.jsonl", "a link that leads out of its directory"
    yield "missing.jsonl", "no such file"


def test_special_files_are_refused(layout: Layout, tmp_path: Path) -> None:
    for name, defect in special_files(tmp_path):
        problem = refuse(layout, Source(name, str(tmp_path / "inside" / name))).details["problems"][0]
        assert (problem["file"], problem["row"]) == (name, None)
        assert defect in problem["what"], problem


def test_a_device_is_refused(layout: Layout) -> None:
    assert "not a regular file" in refuse(layout, Source("zero.jsonl", "/dev/zero")).message


def test_a_link_inside_its_directory_is_followed(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "real.jsonl").write_text(GOOD_LINE)
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    assert not apply(
        layout, Declaration("homelab"), [Source("link.jsonl", str(tmp_path / "link.jsonl"))], check=True
    ).changed


def test_all_problems_are_reported_once(layout: Layout, tmp_path: Path) -> None:
    """Two files with several problems each, in order; then the count."""
    (tmp_path / "a.jsonl").write_text(f'{{"instruction": 1, "output": ""}}\nx\n{GOOD_LINE}\n')
    (tmp_path / "b.csv").write_text("instruction,output\na,b\nc\n")
    sources = [Source(name, str(tmp_path / name)) for name in ("a.jsonl", "b.csv")]
    with pytest.raises(InputError) as caught:
        apply(layout, Declaration("two"), sources)
    places = [(problem["file"], problem["row"], problem["field"]) for problem in caught.value.details["problems"]]
    assert places == [("a.jsonl", 1, "instruction"), ("a.jsonl", 1, "output"), ("a.jsonl", 2, ""), ("b.csv", 2, "")]
    assert caught.value.details["problems_total"] == 4
    assert "4 problems" in caught.value.message
    assert "And 1 more." in caught.value.message


def test_very_many_problems_are_bounded(layout: Layout) -> None:
    error = refuse(layout, Source("records", records=[GOOD] + [{"instruction": "a"}] * (5 * COUNTED)))
    assert len(error.details["problems"]) == SHOWN
    assert error.details["problems_total"] == COUNTED
    assert f"at least {COUNTED} problems" in error.message


def test_line_numbers_are_reported_if_they_differ_from_rows(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f"\n{GOOD_LINE}\n\n\nx\n")
    error = refuse(layout, Source("a.jsonl", str(tmp_path / "a.jsonl")))
    assert "a.jsonl, row 2 (line 5)" in error.message


@pytest.mark.parametrize(
    ("declared", "columns", "ignored", "message"),
    [
        ("alpacca", {}, (), "Did you mean 'alpaca'?"),
        ("alpaca", {"prompts": "question"}, (), "Did you mean 'prompt'?"),
        ("sharegpt", {"prompt": "question"}, (), "no column 'prompt'"),
        ("alpaca", {"prompt": "output"}, (), "'output' is named twice"),
        ("alpaca", {}, ("system",), "'system' is named twice"),
    ],
)
def test_invalid_declarations(
    declared: str, columns: dict[str, str], ignored: tuple[str, ...], message: str, layout: Layout
) -> None:
    with pytest.raises(InputError) as caught:
        apply(layout, Declaration("homelab", declared, columns, ignored), [Source("records", records=[GOOD])])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("row", "fix"),
    [
        ({"instruction": "a", "ouput": "b"}, "Did you mean 'output'?"),
        ({"question": "a", "output": "b"}, "Set columns to {prompt: question}"),
        ({"instruction": "a", "output": "b", "Systeme": "s"}, "Did you mean 'system'?"),
        ({"instruction": "a", "output": "b", "date": "s"}, "name it in ignore_fields"),
    ],
)
def test_the_fix_for_an_unknown_field(row: dict[str, str], fix: str, layout: Layout) -> None:
    problems = refuse(layout, Source("records", records=[GOOD, row]), "alpaca").details["problems"]
    assert any(fix in problem["fix"] for problem in problems), problems


broken = st.tuples(
    st.sampled_from([GOOD_LINE, f"[{GOOD_LINE}, {GOOD_LINE}]", "instruction,output\na,b\n"]),
    st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=4), st.integers(0, 8)), min_size=1, max_size=4),
    st.sampled_from(["a.json", "a.jsonl", "a.csv"]),
)


@given(broken)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused(
    layout: Layout, tmp_path: Path, wreck: tuple[str, list[tuple[int, bytes, int]], str]
) -> None:
    """Bytes are inserted and removed anywhere: rows are read completely or refused with a place; nothing else."""
    text, changes, name = wreck
    data = bytearray(text.encode())
    for offset, inserted, removed in changes:
        offset = min(offset, len(data))
        data[offset : offset + removed] = inserted
    path = tmp_path / name
    path.write_bytes(bytes(data))
    before = tree(layout.root)
    try:
        done = apply(layout, Declaration("homelab"), [Source(name, str(path))], check=True)
    except InputError as error:
        problem = error.details["problems"][0]
        assert problem["file"] == name
        assert problem["what"] and problem["fix"]
        assert problem["row"] is None or problem["row"] >= 1
        assert len(str(error)) < 3000
    else:
        assert done.dataset is not None and done.dataset.rows >= 1
    assert tree(layout.root) == before


@given(
    st.dictionaries(
        st.sampled_from(
            ["instruction", "output", "system", "chosen", "rejected", "kto_tag", "text", "conversations", "messages"]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just("a"),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.sampled_from(["from", "value", "role", "content"]), inner, max_size=2)
            ),
            max_leaves=6,
        ),
        max_size=5,
    )
)
@settings(max_examples=200, deadline=None)
def test_any_row_is_read_or_refused(layout: Layout, row: dict[str, t.Any]) -> None:
    """Values of any type: the row is valid, or the problem names the field."""
    try:
        done = apply(layout, Declaration("homelab"), [Source("records", records=[row])], check=True)
    except InputError as error:
        problem = error.details["problems"][0]
        assert (problem["file"], problem["row"]) in (("records", 1), ("records", None))
        assert problem["what"] and problem["fix"].endswith(".")
    else:
        assert done.dataset is not None
        assert done.dataset.rows == 1
