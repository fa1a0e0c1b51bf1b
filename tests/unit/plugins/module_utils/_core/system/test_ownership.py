# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One job user: root and the owner of a data directory work on the same jobs, whoever began them."""

from __future__ import annotations

import json
import os
import struct
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import ownership, processes
from ansible_collections.ia_homelab.llamafactory.tests.support.hub_stand_in import HubStandIn
from ansible_collections.ia_homelab.llamafactory.tests.support.owner_lab import OwnerLab

#: Writes who it is, then counts to COUNT with a checkpoint after each, and goes on from there when it is started again.
_COUNTING = """
echo "$(id -u):$(id -g):$(id -G) $HOME $USER $LOGNAME $TMPDIR" > who
n=0; [ ! -e checkpoint ] || n=$(cat checkpoint)
echo "from $n" >> begun
while [ $n -lt COUNT ]; do sleep 0.1; n=$((n + 1)); echo $n > .new; mv .new checkpoint; done
mkdir -p deep/er; echo done > deep/er/file; ln -s deep link; mv checkpoint result
"""


def counting(count: int) -> str:
    """A script that takes a tenth of a second for each."""
    return _COUNTING.replace("COUNT", str(count))


@pytest.fixture(params=[(12345, 12346), (65534, 65534)], ids=["unknown", "nobody"])
def lab(request: pytest.FixtureRequest) -> t.Iterator[OwnerLab]:
    """A data directory of somebody without an entry in passwd, and of one with an entry and no home."""
    made = OwnerLab(*request.param)
    yield made
    made.close()


@pytest.fixture
def mine() -> t.Iterator[OwnerLab]:
    """A data directory of root."""
    made = OwnerLab(0, 0)
    yield made
    made.close()


@pytest.fixture
def other() -> t.Iterator[OwnerLab]:
    """A data directory of a user that is not known here."""
    made = OwnerLab(12345, 12346)
    yield made
    made.close()


# -- runs --------------------------------------------------------------------------------------------------------------


def test_what_root_makes_is_the_owners(lab: OwnerLab) -> None:
    told = lab.call("apply", "a", counting(1))
    assert told["state"] == "succeeded", told
    name = "nobody" if lab.uid == 65534 else "12345"
    who = Path(told["artifact"], "who").read_text().split()
    assert who == [f"{lab.uid}:{lab.gid}:{lab.gid}", str(lab.data), name, name], (
        "and no TMPDIR that only root can write to"
    )
    assert json.loads(Path(told["artifact"], "receipt.json").read_text())["kind"] == "probe"
    assert lab.strangers() == []


def test_the_owner_goes_on_with_the_store_that_root_made(lab: OwnerLab) -> None:
    assert lab.call("apply", "a", counting(1))["state"] == "succeeded"
    assert lab.call("apply", "b", counting(1), as_owner=True)["state"] == "succeeded"
    assert lab.call("apply", "c", counting(1))["state"] == "succeeded"
    failed = lab.call("apply", "d", "exit 3")
    assert failed["state"] == "failed"
    again = lab.call("apply", "d", "exit 3", as_owner=True)
    assert again["state"] == "failed", "the same run, out of the ended ones and back"
    assert again["job"] != failed["job"]
    assert lab.strangers() == []


def test_one_supervisor_of_roots_for_two_runs(other: OwnerLab) -> None:
    """It goes on with the next job itself: that one, too, the owner can go on with."""
    supervisor = other.identity(other.call("begin", "a", counting(12)), "supervisor.json")
    second = other.call("begin", "b", counting(300))
    assert second["state"] == "queued"
    records = other.data / "jobs/active"
    found = other.wait(lambda: [path for path in records.glob("*/*/command.json") if path.parts[-3].startswith("b")])
    begun = {"job": str(found[0].parent)}
    assert other.identity(begun, "supervisor.json") == supervisor
    command = other.identity(begun, "command.json")
    processes.send([other.identity(begun, "supervisor.json")], 9)
    assert other.call("cancel", "b", counting(300), as_owner=True)["state"] == "cancelled"
    assert not processes.alive(command)
    assert other.strangers() == []


def test_the_owner_cancels_what_root_began(lab: OwnerLab) -> None:
    begun = lab.call("begin", "a", counting(300))
    command = lab.identity(begun, "command.json")
    assert os.stat(f"/proc/{command.pid}").st_uid == lab.uid
    assert os.stat(f"/proc/{lab.identity(begun, 'supervisor.json').pid}").st_uid == 0, "it may have to stop a server"
    told = lab.call("cancel", "a", counting(300), as_owner=True)
    assert told["state"] == "cancelled"
    assert not processes.alive(command)
    assert lab.strangers() == []


@pytest.mark.parametrize("as_owner", [True, False], ids=["owner", "root"])
def test_adopted_after_the_supervisor_was_killed(other: OwnerLab, as_owner: bool) -> None:
    """The command goes on, and ends under a supervisor of the other's."""
    begun = other.call("begin", "a", counting(25), as_owner=not as_owner)
    command = other.identity(begun, "command.json")
    processes.send([other.identity(begun, "supervisor.json")], 9)
    told = other.call("apply", "a", counting(25), as_owner=as_owner)
    assert told["state"] == "succeeded", told
    assert other.identity(told, "command.json") == command
    assert Path(told["artifact"], "begun").read_text() == "from 0\n", "it was not started again"
    assert other.strangers() == []


def test_the_owner_ends_what_a_killed_root_left_running(other: OwnerLab) -> None:
    begun = other.call("begin", "a", counting(300))
    command = other.identity(begun, "command.json")
    processes.send([other.identity(begun, "supervisor.json")], 9)
    assert other.call("cancel", "a", counting(300), as_owner=True)["state"] == "cancelled"
    assert not processes.alive(command)
    assert other.strangers() == []


def test_the_owner_resumes_what_root_began(other: OwnerLab) -> None:
    begun = other.call("begin", "a", counting(15))
    checkpoint = Path(begun["work"], "checkpoint")
    command = other.identity(begun, "command.json")
    other.wait(checkpoint.exists)
    processes.send([other.identity(begun, "supervisor.json"), command], 9)
    told = other.call("apply", "a", counting(15), as_owner=True)
    assert told["state"] == "succeeded"
    starts = Path(told["artifact"], "begun").read_text().split("\n")
    assert starts[0] == "from 0"
    assert int(starts[1].split()[1]) > 0, "from its checkpoint"
    assert other.strangers() == []


def test_a_dataset_of_root_is_replaced_by_the_owner(lab: OwnerLab) -> None:
    rows = lab.root / "rows.jsonl"
    for count, as_owner in ((1, False), (2, True), (3, False), (4, True)):
        lines = [json.dumps({"instruction": f"question {number}", "output": "answer"}) for number in range(count)]
        rows.write_text("\n".join(lines) + "\n")
        assert lab.call("dataset", "homelab", str(rows), as_owner=as_owner) == {"rows": count}
        assert lab.strangers() == []


@pytest.fixture
def hub() -> t.Iterator[HubStandIn]:
    """A hub with one model."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [400, 64], "data_offsets": [0, 102400]}}).encode()
    config = {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1,
        "num_attention_heads": 2, "vocab_size": 100,
    }  # fmt: skip
    with HubStandIn() as server:
        server.add(
            "org/model",
            {
                "config.json": json.dumps(config).encode(),
                "tokenizer.json": b'{"version": "1.0"}',
                "tokenizer_config.json": json.dumps({"chat_template": "<|start_header_id|>"}).encode(),
                "model.safetensors": struct.pack("<Q", len(header)) + header + bytes(102400),
            },
        )
        yield server


def test_the_cores_own_work_with_a_python_that_only_root_reaches(other: OwnerLab, hub: HubStandIn) -> None:
    """It takes nothing but the standard library, so the system's Python does it."""
    closed = other.root / "closed"
    closed.mkdir(mode=0o700)
    mine = closed / "python3"
    mine.symlink_to(other.python)
    other.python = str(mine)
    told = other.call("base", "org/model", HF_ENDPOINT=hub.url)
    assert told["state"] == "succeeded", told
    command = json.loads(Path(told["job"], "command.json").read_text())
    assert command["argv"][0] == "/usr/bin/python3"
    assert Path(told["artifact"], "model.safetensors").exists()
    assert other.strangers() == []


def test_a_token_that_only_root_reads(other: OwnerLab, hub: HubStandIn) -> None:
    token = other.root / "token"
    token.write_text("hf_OfNobody")
    hub.tokens.add("hf_OfNobody")
    token.chmod(0o600)
    told = other.call("base", "org/model", str(token), HF_ENDPOINT=hub.url)
    assert told["state"] == "failed"
    assert told["error"]["message"] == f"The token file {token} cannot be read: Permission denied."
    assert "whom the data directory belongs to" in told["error"]["hint"]
    os.chown(token, other.uid, other.gid)
    assert other.call("base", "org/model", str(token), HF_ENDPOINT=hub.url)["state"] == "succeeded"
    assert other.strangers() == []


def test_nothing_is_given_where_the_data_directory_is_roots(mine: OwnerLab) -> None:
    assert mine.call("apply", "a", counting(1))["state"] == "succeeded"
    mine.watch_chown()
    told = mine.call("apply", "b", counting(1))
    assert told["state"] == "succeeded"
    assert Path(told["artifact"], "who").read_text().split() == ["0:0:0", "/root", "root", "/root"]
    assert mine.strangers() == []
    assert mine.chowned.read_text() == ""


def test_the_eye_for_what_is_given_sees(other: OwnerLab) -> None:
    """Guards the test above: in somebody else's directory the same eye sees callers and supervisors give."""
    assert other.call("apply", "a", counting(1))["state"] == "succeeded"
    other.watch_chown()
    assert other.call("apply", "b", counting(1))["state"] == "succeeded"
    seen = other.chowned.read_text()
    assert "['-c'" in seen
    assert "main.py', 'supervise'" in seen


# -- what the owner cannot reach ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["program", "interpreter", "argument"])
def test_a_tool_that_only_root_reaches(other: OwnerLab, what: str) -> None:
    closed = other.root / "closed"
    closed.mkdir(mode=0o700)
    tool = closed / "tool"
    tool.write_text('#!/bin/sh\necho > "$WORK/result"\n')
    tool.chmod(0o755)
    script = other.root / "script"
    script.write_text(f'#!{tool}\necho > "$WORK/result"\n')
    script.chmod(0o755)
    argv = {"program": [str(tool)], "interpreter": [str(script)], "argument": ["/bin/sh", str(tool)]}[what]
    told = other.call("apply", "a", json.dumps(argv))
    assert told["state"] == "failed"
    verb = "read" if what == "argument" else "run"
    assert told["error"]["message"] == (
        f"Jobs run as the user 12345, whom the data directory {other.data} belongs to, and who cannot {verb} {tool}."
    )
    assert f"namei -l {tool}" in told["error"]["hint"]
    assert not Path(told["job"], "command.json").exists(), "nothing was started"
    closed.chmod(0o755)
    assert other.call("apply", "a", json.dumps(argv))["state"] == "succeeded"
    assert other.strangers() == []


def test_a_link_out_of_the_data_directory(other: OwnerLab) -> None:
    outside = other.root / "outside"
    outside.mkdir()
    (other.data / "outputs").symlink_to(outside)
    told = other.call("apply", "a", counting(1))
    assert told["state"] == "failed"
    assert "cannot write to" in told["error"]["message"]
    assert "mount" in told["error"]["hint"]
    assert all(path.stat().st_uid == 0 for path in [outside, *outside.rglob("*")])


# -- giving ------------------------------------------------------------------------------------------------------------


def owners(*paths: Path) -> list[int]:
    """User ids of some paths, links not followed."""
    return [path.lstat().st_uid for path in paths]


def test_a_store_that_was_roots_is_given_whole(other: OwnerLab) -> None:
    """As an earlier version left it, or before the directory was given to its user."""
    os.chown(other.data, 0, 0)
    told = other.call("apply", "a", counting(1))
    other.wait(lambda: not other.processes())
    assert set(owners(*other.data.rglob("*"))) == {0}
    os.chown(other.data, other.uid, other.gid)
    other.call("reconcile", "a", counting(1))
    assert other.strangers() == []
    assert Path(told["artifact"], "result").exists()


def test_what_a_killed_root_left_is_mended(other: OwnerLab) -> None:
    begun = other.call("begin", "a", counting(300))
    other.identity(begun, "command.json")
    left = [Path(begun["job"], "tmp/left"), Path(begun["work"], "deep/left")]
    left += [
        other.data / name
        for name in (
            "core/.new-1.1-x/deep/left",
            "datasets/.registered/left.json",
            "datasets/versions/.work-x/left",
            "jobs/active/.new-1.1-x/left",
            "outputs/served/m/left",
            "places.json",
        )
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert set(owners(*left)) == {0}
    other.call("reconcile", "a", counting(300))
    assert {uid for path in left if path.exists() for uid in owners(path, path.parent)} == {other.uid}
    assert other.call("cancel", "a", counting(300))["state"] == "cancelled"
    assert other.strangers() == []


def test_ended_runs_and_artifacts_are_not_walked_again(other: OwnerLab) -> None:
    told = other.call("apply", "a", counting(1))
    other.wait(lambda: not other.processes())
    unseen = [Path(told["job"], "unseen"), Path(told["artifact"], "unseen")]
    for path in unseen:
        path.write_text("")
    other.call("reconcile", "a", counting(1))
    assert owners(*unseen) == [0, 0]


def test_nothing_outside_is_given(other: OwnerLab) -> None:
    outside, folder = other.root / "outside", other.root / "folder"
    outside.write_text("")
    folder.mkdir()
    (folder / "inside").write_text("")
    tree = other.data / "tree"
    tree.mkdir()
    (tree / "file").write_text("")
    (tree / "to_file").symlink_to(outside)
    (tree / "to_folder").symlink_to(folder)
    (tree / "same").hardlink_to(outside)
    os.mkfifo(tree / "pipe")
    (other.data / "way").symlink_to(folder)
    Layout(str(other.data))
    ownership.give_to_owner(str(tree), deep=True)
    for path in ("way/inside", "tree/../../outside", "tree/to_folder/inside", "not/there"):
        ownership.give_to_owner(str(other.data / path), deep=True)
    assert owners(outside, folder, folder / "inside", tree / "same") == [0, 0, 0, 0]
    given = [tree, tree / "file", tree / "to_file", tree / "to_folder", tree / "pipe"]
    assert owners(*given) == [other.uid] * 5
    ownership.give_to_owner(str(other.data))
    assert owners(other.root) == [0]


def test_what_is_somebody_elses_stays_so(other: OwnerLab) -> None:
    tree = other.data / "tree"
    tree.mkdir()
    (tree / "theirs").write_text("")
    os.chown(tree / "theirs", 4711, 4712)
    Layout(str(other.data))
    ownership.give_to_owner(str(tree), deep=True)
    assert owners(tree, tree / "theirs") == [other.uid, 4711]
