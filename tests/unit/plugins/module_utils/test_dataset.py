# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A declaration made true: twice changes nothing, a check writes nothing and tells the truth, a crash loses nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils import _dataset, _dataset_sources
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._dataset import (
    Declaration,
    Outcome,
    absent,
    apply,
    check_name,
    dataset_name,
    load,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._dataset_sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._errors import (
    InputError,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._files import sha256_file
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._layout import Layout

HOMELAB = Declaration("homelab")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A data directory."""
    return Layout(str(tmp_path / "data"))


def row(number: int, output: str = "") -> dict[str, str]:
    """A row of its own."""
    return {"instruction": f"question {number}", "output": output or f"réponse {number}", "system": "s"}


def records(*rows: dict[str, str]) -> list[Source]:
    """Rows in memory."""
    return [Source("records", records=list(rows))]


def file_of(path: Path, *rows: dict[str, str]) -> Source:
    """Rows in a file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(path.name, str(path))


def tree(root: str) -> dict[str, tuple[bytes, int]]:
    """Content and mtime of every file below a directory, and the directories."""
    found: dict[str, tuple[bytes, int]] = {}
    for folder, dirs, names in os.walk(root):
        for name in dirs:
            found[os.path.join(folder, name)] = (b"", 0)
        for name in names:
            path = os.path.join(folder, name)
            found[path] = (Path(path).read_bytes(), os.stat(path).st_mtime_ns)
    return found


def quartet(layout: Layout, sources: t.Sequence[Source], declaration: Declaration = HOMELAB) -> Outcome:
    """Check, run, check, run: the checks write nothing and tell what the runs do. The first run's outcome."""
    before = tree(layout.root)
    told = apply(layout, declaration, sources, check=True)
    assert tree(layout.root) == before
    done = apply(layout, declaration, sources)
    assert (told.changed, told.reasons, told.dataset) == (done.changed, done.reasons, done.dataset)
    after = tree(layout.root)
    for check in (True, False):
        again = apply(layout, declaration, sources, check=check)
        assert not again.changed
        assert again.reasons == []
        assert again.dataset == done.dataset
        assert tree(layout.root) == after
    assert load(layout, declaration.name) == done.dataset
    return done


def test_first_version(layout: Layout, tmp_path: Path) -> None:
    done = quartet(layout, [file_of(tmp_path / "a.jsonl", row(1), row(2))])
    assert done.changed
    assert done.reasons == ["the rows are new"]
    assert done.dataset is not None
    assert done.dataset.rows == 2
    assert done.dataset.sources[0]["label"] == "a.jsonl"
    assert done.dataset.sources[0]["sha256"] == sha256_file(str(tmp_path / "a.jsonl"))
    receipt = layout.receipt("dataset", done.dataset.fingerprint)
    assert receipt is not None
    assert receipt["kind"] == "dataset"
    assert receipt["results"] == done.dataset.results
    data = receipt["files"]["data.jsonl"]
    assert data["sha256"] == sha256_file(done.dataset.data_file) == receipt["settings"]["content"]
    assert sorted(os.listdir(done.dataset.path)) == ["data.jsonl", "dataset_info.json", "receipt.json"]
    assert os.stat(done.dataset.path).st_mode & 0o777 == 0o755


def test_next_version_keeps_the_one_before(layout: Layout) -> None:
    first = quartet(layout, records(row(1))).dataset
    done = quartet(layout, records(row(1), row(2)))
    assert done.reasons == ["the rows changed"]
    assert first is not None
    assert done.before == first.fingerprint
    assert load(layout, first.fingerprint).path == first.path
    back = quartet(layout, records(row(1)))
    assert back.reasons == ["the name refers to something else"]
    assert back.dataset is not None
    assert back.dataset.fingerprint == first.fingerprint


def test_the_same_rows_from_elsewhere_change_nothing(layout: Layout, tmp_path: Path) -> None:
    apply(layout, HOMELAB, records(row(1)))
    for source in (file_of(tmp_path / "b.jsonl", row(1)), file_of(tmp_path / "c.json", row(1))):
        assert not apply(layout, HOMELAB, [source]).changed
        assert load(layout, "homelab").sources[0]["label"] == source.label


def test_rows_are_not_read_again_while_the_source_is_the_same(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = file_of(tmp_path / "a.jsonl", row(1))
    apply(layout, HOMELAB, [source])

    def must_not(*_args: t.Any, **_more: t.Any) -> t.NoReturn:
        raise AssertionError("the rows were read again")

    monkeypatch.setattr(_dataset, "render", must_not)
    assert not apply(layout, HOMELAB, [source]).changed
    with pytest.raises(AssertionError):
        apply(layout, dataclasses.replace(HOMELAB, ignore_fields=("x",)), [source])
    file_of(tmp_path / "a.jsonl", row(2))
    with pytest.raises(AssertionError):
        apply(layout, HOMELAB, [source])


def test_a_large_file_is_not_hashed_again_while_its_identity_stands(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_dataset_sources, "_LARGE", 10)
    source = file_of(tmp_path / "a.jsonl", row(1))
    old = time.time_ns() - 10**10
    os.utime(source.path, ns=(old, old))
    apply(layout, HOMELAB, [source])
    hashed = []

    def counted(path: str) -> str:
        hashed.append(path)
        return sha256_file(path)

    monkeypatch.setattr(_dataset_sources, "sha256_file", counted)
    assert not apply(layout, HOMELAB, [source]).changed
    assert hashed == []
    # same size, other content, other mtime
    Path(source.path).write_text(Path(source.path).read_text().replace("question 1", "question 2"))
    os.utime(source.path, ns=(old + 1, old + 1))
    assert apply(layout, HOMELAB, [source]).changed
    assert hashed == [source.path]


def test_a_file_that_was_just_written_is_hashed_again(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mtime may stand still while it changes once more."""
    monkeypatch.setattr(_dataset_sources, "_LARGE", 10)
    source = file_of(tmp_path / "a.jsonl", row(1))
    apply(layout, HOMELAB, [source])
    found = os.stat(source.path)
    Path(source.path).write_text(Path(source.path).read_text().replace("question 1", "question 2"))
    os.utime(source.path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert apply(layout, HOMELAB, [source]).changed


def test_digests_alone_are_enough_while_they_are_the_same(layout: Layout, tmp_path: Path) -> None:
    """What the action plugin asks before it transfers anything."""
    source = file_of(tmp_path / "a.jsonl", row(1))
    digest = sha256_file(source.path)
    told = Source("a.jsonl", sha256=digest, size=3, commit="c" * 40, dirty=True)
    assert apply(layout, HOMELAB, [told]) == Outcome(False, needs_rows=True)
    assert not os.path.exists(layout.root)
    carried = dataclasses.replace(told, path=source.path, kind="json")
    done = apply(layout, HOMELAB, [carried])
    assert done.changed
    same = apply(layout, HOMELAB, [told])
    assert not same.needs_rows
    assert not same.changed
    assert same.dataset == done.dataset
    assert load(layout, "homelab").sources == [
        {"label": "a.jsonl", "bytes": 3, "sha256": digest, "commit": "c" * 40, "dirty": True}
    ]
    # a commit alone is no change, but the newest one is remembered
    assert not apply(layout, HOMELAB, [dataclasses.replace(told, commit="d" * 40, dirty=False)]).changed
    assert load(layout, "homelab").sources[0]["commit"] == "d" * 40
    # another digest, another number of files, another kind of file: the rows are needed
    for others in (
        [dataclasses.replace(told, sha256="0" * 64)],
        [told, told],
        [dataclasses.replace(told, label="a.csv")],
    ):
        assert apply(layout, HOMELAB, others).needs_rows
    # the version was damaged
    os.unlink(load(layout, "homelab").data_file)
    assert apply(layout, HOMELAB, [told]).needs_rows


@pytest.mark.parametrize("damage", ["removed", "cut", "same size", "receipt", "receipt broken", "info", "directory"])
def test_a_damaged_version_is_made_whole(damage: str, layout: Layout) -> None:
    dataset = quartet(layout, records(row(1), row(2))).dataset
    assert dataset is not None
    before = tree(dataset.path)
    data = Path(dataset.data_file)
    if damage == "removed":
        data.unlink()
    elif damage == "cut":
        data.write_bytes(data.read_bytes()[:-5])
    elif damage == "same size":
        data.write_bytes(data.read_bytes().replace(b"question 1", b"question 9"))
    elif damage == "receipt":
        Path(dataset.path, "receipt.json").unlink()
    elif damage == "receipt broken":
        Path(dataset.path, "receipt.json").write_text("{")
    elif damage == "info":
        Path(dataset.path, "dataset_info.json").unlink()
    else:
        os.rename(dataset.path, dataset.path + ".away")
    done = quartet(layout, records(row(1), row(2)))
    assert done.reasons == ["the rows are new" if damage == "directory" else "the version is not whole"]
    assert {path: raw for path, (raw, _at) in tree(dataset.path).items() if path == dataset.data_file} == {
        dataset.data_file: before[dataset.data_file][0]
    }


def test_a_touched_version_is_whole(layout: Layout) -> None:
    dataset = quartet(layout, records(row(1))).dataset
    assert dataset is not None
    os.utime(dataset.data_file)
    assert not apply(layout, HOMELAB, records(row(1))).changed


def test_a_changed_entry_is_put_right(layout: Layout) -> None:
    quartet(layout, records(row(1)))
    path = Path(layout.datasets, "dataset_info.json")
    before = path.read_text()
    found = json.loads(before)
    found["homelab"]["num_samples"] = 1
    path.write_text(json.dumps(found))
    assert quartet(layout, records(row(1))).reasons == ["the entry in dataset_info.json was changed"]
    assert json.loads(path.read_text()) == json.loads(before)
    path.write_text("{}")
    assert quartet(layout, records(row(1))).reasons == ["the name is new"]


def test_two_names_may_share_a_version(layout: Layout) -> None:
    one = quartet(layout, records(row(1))).dataset
    two = quartet(layout, records(row(1)), Declaration("other")).dataset
    assert one is not None
    assert two is not None
    assert one.path == two.path
    assert load(layout, "other").name == "other"


# ---------------------------------------------------------------- what differs


def test_changes_are_told(layout: Layout) -> None:
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


def test_changes_are_the_same_across_forms(layout: Layout) -> None:
    """A history makes conversations of all rows; those that mean the same have not changed."""
    apply(layout, HOMELAB, records(row(1), row(2)))
    new = t.cast(t.Any, {**row(3), "history": [["a", "b"]]})
    changes = apply(layout, HOMELAB, records(row(1), row(2), new), compare=True).changes
    assert (changes["added"], changes["removed"], changes["changed"]) == (1, 0, 0)


def test_changes_are_bounded(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(number) for number in range(60)]
    apply(layout, HOMELAB, records(*rows))
    new = [{**one, "output": "x" * 1000} for one in rows[:30]] + [row(number) for number in range(100, 160)]
    changes = apply(layout, HOMELAB, records(*new), check=True, compare=True).changes
    assert (changes["added"], changes["removed"], changes["changed"]) == (60, 30, 30)
    assert len(changes["before"]) == len(changes["after"]) == 42
    assert max(map(len, changes["after"])) < 400
    monkeypatch.setattr(f"{_dataset.__package__}._dataset_compare.COMPARED", 50)
    changes = apply(layout, HOMELAB, records(*new), check=True, compare=True).changes
    assert changes == {"compared": False, "added": 0, "removed": 0, "changed": 0, "before": [], "after": []}


# ---------------------------------------------------------------- taken away


@pytest.mark.parametrize("purge", [False, True])
def test_absent(purge: bool, layout: Layout) -> None:
    dataset = quartet(layout, records(row(1))).dataset
    assert dataset is not None
    before = tree(layout.root)
    told = absent(layout, "homelab", purge, check=True)
    assert tree(layout.root) == before
    done = absent(layout, "homelab", purge)
    assert told == done
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


def test_absent_where_nothing_is(layout: Layout) -> None:
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
def test_names_that_cannot_be(name: str, layout: Layout) -> None:
    with pytest.raises(InputError):
        check_name(name)
    with pytest.raises(InputError):
        apply(layout, Declaration(name), records(row(1)))
    with pytest.raises(InputError):
        absent(layout, name)
    assert not os.path.exists(layout.root)


def test_unknown_names_tell_the_nearest(layout: Layout) -> None:
    with pytest.raises(InputError, match="There is none yet"):
        load(layout, "homelab")
    apply(layout, Declaration("homelab_prompts"), records(row(1)))
    with pytest.raises(InputError, match="Did you mean 'homelab_prompts'"):
        load(layout, "homelab-prompt")
    with pytest.raises(InputError, match="refers to a version that is not there"):
        load(layout, "0" * 64)


# ---------------------------------------------------------------- memory, crashes, a full disk

_CHILD = """
import json, os, resource, sys
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils import _dataset as d
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._dataset_sources import Source
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._layout import Layout
"""
PYTHON_PATH = str(Path(__file__).parents[4] / "playbooks" / "collections")


def python(code: str, *args: str, **more: t.Any) -> subprocess.Popen[str]:
    """Another Python that runs some code."""
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD + code, *args],
        env={**os.environ, "PYTHONPATH": PYTHON_PATH},
        stdout=subprocess.PIPE,
        text=True,
        **more,
    )


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_memory_stays_flat(kind: str, tmp_path: Path) -> None:
    """A child reads a few rows, then 200000: its peak hardly grows. (Held in memory, they would take some 200 MB.)"""
    for name, count in (("few", 2000), ("many", 200_000)):
        with open(tmp_path / f"{name}.{kind}", "w") as out:
            head, line, between, tail = {
                "jsonl": ("", '{"instruction": "question %d é", "output": "%s"}', "\n", "\n"),
                "json": ("[", '{"instruction": "question %d é", "output": "%s"}', ", ", "]"),
                "csv": ("instruction,output\n", 'question %d é,"%s"', "\n", "\n"),
            }[kind]
            out.write(head + between.join(line % (number, "r" * 100) for number in range(count)) + tail)
    child = python(
        """
for name in ("few", "many"):
    path = sys.argv[1] + "/" + name + "." + sys.argv[2]
    out = d.apply(Layout(sys.argv[1] + "/data"), d.Declaration(name), [Source(os.path.basename(path), path)])
    print(out.dataset.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
""",
        str(tmp_path),
        kind,
    )
    told, _errors = child.communicate(timeout=300)
    (few_rows, few), (many_rows, many) = (map(int, line.split()) for line in told.splitlines())
    assert (few_rows, many_rows) == (2000, 200_000)
    assert many - few < 15_000, f"{few} KiB, then {many} KiB"
    assert many < 150_000


def test_killed_while_it_renders(layout: Layout, tmp_path: Path) -> None:
    """The dataset before is as it was, and the next run sweeps up what was left and gets there."""
    quartet(layout, records(row(1)))
    before = tree(layout.root)
    os.mkfifo(tmp_path / "go")
    child = python(
        """
class Slow(list):
    def __iter__(self):
        for number in range(10**9):
            if number == 50000:
                open(sys.argv[2], "w").close()
            yield {"instruction": str(number), "output": "b" * 200}
d.apply(Layout(sys.argv[1]), d.Declaration("homelab"), [Source("records", records=Slow(), sha256="0" * 64, size=1)])
""",
        layout.root,
        str(tmp_path / "go"),
    )
    open(tmp_path / "go").close()
    child.send_signal(signal.SIGKILL)
    child.wait(30)
    child.communicate()
    left = set(tree(layout.root)) - set(before)
    assert any(os.path.basename(path).startswith(".work-") for path in left), "it was not killed in mid-work"
    assert {path: value for path, value in tree(layout.root).items() if path not in left} == before
    assert load(layout, "homelab").rows == 1
    quartet(layout, records(row(1), row(2)))
    assert not [path for path in tree(layout.root) if ".work-" in path or ".gone-" in path]


def test_work_of_another_process_is_not_swept_away(layout: Layout, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "begun")
    os.mkfifo(tmp_path / "go-on")
    child = python(
        """
class Slow(list):
    def __iter__(self):
        for number in range(3):
            if number == 2 and not self:
                self.append(1)
            elif number == 2:
                open(sys.argv[2], "w").close()
                open(sys.argv[3]).close()
            yield {"instruction": str(number), "output": "b"}
d.apply(Layout(sys.argv[1]), d.Declaration("slow"), [Source("records", records=Slow([1]), sha256="0" * 64, size=1)])
""",
        layout.root,
        str(tmp_path / "begun"),
        str(tmp_path / "go-on"),
    )
    open(tmp_path / "begun").close()
    assert apply(layout, HOMELAB, records(row(1))).changed
    open(tmp_path / "go-on", "w").close()
    child.communicate(timeout=60)
    assert child.returncode == 0
    assert load(layout, "slow").rows == 3
    assert load(layout, "homelab").rows == 1


def test_a_full_disk_is_told_with_figures(layout: Layout) -> None:
    """The limit on a file's size stands in for a full disk, which an unprivileged test cannot make."""
    quartet(layout, records(row(1)))
    before = tree(layout.root)
    child = python(
        """
import errno, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._errors import NotReadyError
errno.ENOSPC = errno.EFBIG
rows = [{"instruction": str(number), "output": "b" * 200} for number in range(20000)]
try:
    d.apply(Layout(sys.argv[1]), d.Declaration("homelab"), [Source("records", records=rows)])
except Exception as error:
    print(isinstance(error, NotReadyError), error)
""",
        layout.root,
    )
    told, _errors = child.communicate(timeout=60)
    assert told.startswith("True The disk is full")
    assert "MB free" in told
    assert {path: raw for path, raw in tree(layout.root).items() if not path.endswith(".lock")} == {
        path: raw for path, raw in before.items() if not path.endswith(".lock")
    }


def test_ru_maxrss_is_told_in_kibibytes() -> None:
    """Guards the figures of the test of memory."""
    assert 5_000 < resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 10_000_000
