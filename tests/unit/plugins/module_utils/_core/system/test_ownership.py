# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One job user: root and the owner of a data directory work on the same jobs, regardless of who started them."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts.layout import Layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import NotReadyError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.system import ownership, processes
from ansible_collections.ia_homelab.llamafactory.tests.support.hub_stand_in import HubStandIn
from ansible_collections.ia_homelab.llamafactory.tests.support.owner_lab import OwnerLab, counting, held

UNKNOWN = pytest.param((12345, 12346), id="unknown")
NOBODY = (65534, 65534)


@pytest.fixture(params=[UNKNOWN, pytest.param(NOBODY, id="nobody", marks=pytest.mark.full)])
def lab(request: pytest.FixtureRequest) -> t.Iterator[OwnerLab]:
    """A data directory of a user without an entry in passwd; in "full" also of one with an entry but no home."""
    owner_lab = OwnerLab(*request.param)
    yield owner_lab
    owner_lab.close()


@pytest.fixture
def root_lab() -> t.Iterator[OwnerLab]:
    """A data directory of root."""
    owner_lab = OwnerLab(0, 0)
    yield owner_lab
    owner_lab.close()


@pytest.fixture
def other() -> t.Iterator[OwnerLab]:
    """A data directory of a user without an entry in passwd."""
    owner_lab = OwnerLab(12345, 12346)
    yield owner_lab
    owner_lab.close()


# -- runs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lab", [UNKNOWN, pytest.param(NOBODY, id="nobody")], indirect=True)
def test_files_created_by_root_belong_to_the_owner(lab: OwnerLab) -> None:
    result = lab.call("apply", "a", counting(1))
    assert result["state"] == "succeeded", result
    name = "nobody" if lab.uid == 65534 else "12345"
    identity = Path(result["artifact"], "who").read_text().split()
    assert identity == [f"{lab.uid}:{lab.gid}:{lab.gid}", str(lab.data), name], (
        "TMPDIR must not be a directory that only root can write to"
    )
    assert json.loads(Path(result["artifact"], "receipt.json").read_text())["kind"] == "probe"
    assert lab.strangers() == []


def test_owner_continues_a_store_created_by_root(lab: OwnerLab) -> None:
    assert lab.call("apply", "a", counting(1))["state"] == "succeeded"
    assert lab.call("apply", "b", counting(1), as_owner=True)["state"] == "succeeded"
    assert lab.call("apply", "c", counting(1))["state"] == "succeeded"
    failed = lab.call("apply", "d", "exit 3")
    assert failed["state"] == "failed"
    again = lab.call("apply", "d", "exit 3", as_owner=True)
    assert again["state"] == "failed", "the same run, restarted after it had ended"
    assert again["job"] != failed["job"]
    assert lab.strangers() == []


def test_one_supervisor_for_two_runs(other: OwnerLab) -> None:
    """The supervisor starts the next job itself, and the owner can take over that job as well."""
    supervisor = other.identity(other.call("begin", "a", held(other, 1)), "supervisor.json")
    second = other.call("begin", "b", counting(300))
    assert second["state"] == "queued"
    (other.root / "go").touch()
    records = other.data / "jobs/active"
    commands = other.wait(lambda: [path for path in records.glob("*/*/command.json") if path.parts[-3].startswith("b")])
    started = {"job": str(commands[0].parent)}
    assert other.identity(started, "supervisor.json") == supervisor
    command = other.identity(started, "command.json")
    processes.send([other.identity(started, "supervisor.json")], 9)
    assert other.call("cancel", "b", counting(300), as_owner=True)["state"] == "cancelled"
    assert not processes.alive(command)
    assert other.strangers() == []


def test_owner_cancels_a_run_started_by_root(lab: OwnerLab) -> None:
    started = lab.call("begin", "a", counting(300))
    command = lab.identity(started, "command.json")
    assert os.stat(f"/proc/{command.pid}").st_uid == lab.uid
    assert os.stat(f"/proc/{lab.identity(started, 'supervisor.json').pid}").st_uid == lab.uid
    result = lab.call("cancel", "a", counting(300), as_owner=True)
    assert result["state"] == "cancelled"
    assert not processes.alive(command)
    assert lab.strangers() == []


@pytest.mark.parametrize("as_owner", [True, False], ids=["owner", "root"])
def test_command_is_adopted_after_its_supervisor_was_killed(other: OwnerLab, as_owner: bool) -> None:
    """The command keeps running and finishes under a supervisor of the other user."""
    started = other.call("begin", "a", counting(25), as_owner=not as_owner)
    command = other.identity(started, "command.json")
    processes.send([other.identity(started, "supervisor.json")], 9)
    result = other.call("apply", "a", counting(25), as_owner=as_owner)
    assert result["state"] == "succeeded", result
    assert other.identity(result, "command.json") == command
    assert Path(result["artifact"], "begun").read_text() == "from 0\n", "the command was not restarted"
    assert other.strangers() == []


def test_owner_ends_a_command_left_running_by_root(other: OwnerLab) -> None:
    started = other.call("begin", "a", counting(300))
    command = other.identity(started, "command.json")
    processes.send([other.identity(started, "supervisor.json")], 9)
    assert other.call("cancel", "a", counting(300), as_owner=True)["state"] == "cancelled"
    assert not processes.alive(command)
    assert other.strangers() == []


def test_owner_resumes_a_run_started_by_root(other: OwnerLab) -> None:
    started = other.call("begin", "a", held(other, 2))
    checkpoint = Path(started["work"], "checkpoint")
    command = other.identity(started, "command.json")
    other.wait(checkpoint.exists)
    processes.send([other.identity(started, "supervisor.json"), command], 9)
    (other.root / "go").touch()
    result = other.call("apply", "a", held(other, 2), as_owner=True)
    assert result["state"] == "succeeded"
    starts = Path(result["artifact"], "begun").read_text().split("\n")
    assert starts[0] == "from 0"
    assert int(starts[1].split()[1]) > 0, "it resumed from its checkpoint"
    assert other.strangers() == []


def test_owner_replaces_a_dataset_of_root(lab: OwnerLab) -> None:
    rows = lab.root / "rows.jsonl"
    for count, as_owner in ((1, False), (2, True), (3, False), (4, True)):
        lines = [json.dumps({"instruction": f"question {number}", "output": "answer"}) for number in range(count)]
        rows.write_text("\n".join(lines) + "\n")
        assert lab.call("dataset", "homelab", str(rows), as_owner=as_owner) == {"rows": count}
        assert lab.strangers() == []


@pytest.fixture
def hub() -> t.Iterator[HubStandIn]:
    """A fake hub with one model."""
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


def test_core_steps_run_if_only_root_can_reach_the_python(other: OwnerLab, hub: HubStandIn) -> None:
    """The core needs only the standard library, so the system's Python can run it."""
    closed = other.root / "closed"
    closed.mkdir(mode=0o700)
    restricted_python = closed / "python3"
    restricted_python.symlink_to(other.python)
    other.python = str(restricted_python)
    result = other.call("base", "org/model", HF_ENDPOINT=hub.url)
    assert result["state"] == "succeeded", result
    command = json.loads(Path(result["job"], "command.json").read_text())
    assert command["argv"][0] == "/usr/bin/python3"
    assert Path(result["artifact"], "model.safetensors").exists()
    assert other.strangers() == []


def test_token_readable_only_by_root_is_refused(other: OwnerLab, hub: HubStandIn) -> None:
    token = other.root / "token"
    token.write_text("hf_OfNobody")
    hub.tokens.add("hf_OfNobody")
    token.chmod(0o600)
    message = other.refused("base", "org/model", str(token), HF_ENDPOINT=hub.url)
    assert f"The token file {token} cannot be read: Permission denied." in message
    assert "whom the data directory belongs to" in message
    os.chown(token, other.uid, other.gid)
    assert other.call("base", "org/model", str(token), HF_ENDPOINT=hub.url)["state"] == "succeeded"
    assert other.strangers() == []


def test_root_stays_root_in_its_own_directory(root_lab: OwnerLab) -> None:
    result = root_lab.call("apply", "b", counting(1))
    assert result["state"] == "succeeded"
    assert Path(result["artifact"], "who").read_text().split() == ["0:0:0", "/root", "root", "/root"]
    assert root_lab.strangers() == []


# -- missing permissions of the owner ----------------------------------------------------------------------------------


@pytest.mark.parametrize("role_of_tool", ["program", "interpreter", "argument"])
def test_tool_reachable_only_by_root_is_refused(other: OwnerLab, role_of_tool: str) -> None:
    closed = other.root / "closed"
    closed.mkdir(mode=0o700)
    tool = closed / "tool"
    tool.write_text('#!/bin/sh\necho > "$WORK/result"\n')
    tool.chmod(0o755)
    script = other.root / "script"
    script.write_text(f'#!{tool}\necho > "$WORK/result"\n')
    script.chmod(0o755)
    argv = {"program": [str(tool)], "interpreter": [str(script)], "argument": ["/bin/sh", str(tool)]}[role_of_tool]
    result = other.call("apply", "a", json.dumps(argv))
    assert result["state"] == "failed"
    assert (
        result["error"]["message"]
        == {
            "program": f"{tool} could not be started: {tool}: Permission denied.",
            "interpreter": f"{script} could not be started: {script}: Permission denied.",
            "argument": f"/bin/sh cannot read {tool}: Permission denied.",
        }[role_of_tool]
    )
    assert "Jobs run as the owner of the data directory, 12345." in result["error"]["hint"]
    assert "namei -l /" in result["error"]["hint"]
    assert not Path(result["job"], "command.json").exists(), "no command was started"
    closed.chmod(0o755)
    assert other.call("apply", "a", json.dumps(argv))["state"] == "succeeded"
    assert other.strangers() == []


def test_link_out_of_the_data_directory_gives_root_nothing_to_do(other: OwnerLab) -> None:
    outside = other.root / "outside"
    outside.mkdir()
    (other.data / "outputs").symlink_to(outside)
    message = other.refused("apply", "a", counting(1))
    assert "Permission denied" in message and "outputs" in message
    assert list(outside.iterdir()) == []


# -- change of ownership -----------------------------------------------------------------------------------------------


def owners(*paths: Path) -> list[int]:
    """Return the user ids of paths without following links."""
    return [path.lstat().st_uid for path in paths]


def test_store_of_root_is_given_to_the_owner_completely(other: OwnerLab) -> None:
    """The state left by an earlier version, or before the directory was given to its user."""
    os.chown(other.data, 0, 0)
    result = other.call("apply", "a", counting(1))
    other.wait(lambda: not other.processes())
    assert set(owners(*other.data.rglob("*"))) == {0}
    os.chown(other.data, other.uid, other.gid)
    other.call("reconcile", "a", counting(1))
    assert other.strangers() == []
    assert Path(result["artifact"], "result").exists()


def test_ownership_is_repaired_after_root_was_killed(other: OwnerLab) -> None:
    started = other.call("begin", "a", counting(300))
    other.identity(started, "command.json")
    leftovers = [Path(started["job"], "tmp/left"), Path(started["work"], "deep/left")]
    leftovers += [
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
    for path in leftovers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert set(owners(*leftovers)) == {0}
    other.call("reconcile", "a", counting(300))
    assert {uid for path in leftovers if path.exists() for uid in owners(path, path.parent)} == {other.uid}
    assert other.call("cancel", "a", counting(300))["state"] == "cancelled"
    assert other.strangers() == []


def test_ended_runs_and_artifacts_are_not_traversed_again(other: OwnerLab) -> None:
    result = other.call("apply", "a", counting(1))
    other.wait(lambda: not other.processes())
    hidden = [Path(result["job"], "unseen"), Path(result["artifact"], "unseen")]
    for path in hidden:
        path.write_text("")
    other.call("reconcile", "a", counting(1))
    assert owners(*hidden) == [0, 0]


def repair(lab: OwnerLab) -> None:
    """Do what the edge does as root before it becomes the owner."""
    Layout(str(lab.data)).repair_ownership()


def test_files_outside_the_data_directory_are_not_given(other: OwnerLab) -> None:
    outside, folder = other.root / "outside", other.root / "folder"
    outside.write_text("")
    folder.mkdir()
    (folder / "inside").write_text("")
    tree = other.data / "jobs"
    tree.mkdir()
    (tree / "file").write_text("")
    (tree / "to_file").symlink_to(outside)
    (tree / "to_folder").symlink_to(folder)
    (tree / "same").hardlink_to(outside)
    os.mkfifo(tree / "pipe")
    (other.data / "core").symlink_to(folder)
    (other.data / "outputs").mkdir()
    os.chown(other.data / "outputs", other.uid, other.gid)
    (other.data / "outputs/served").symlink_to(folder)
    repair(other)
    assert owners(outside, folder, folder / "inside", tree / "same") == [0, 0, 0, 0]
    inside = [tree, tree / "file", tree / "to_file", tree / "to_folder", tree / "pipe"]
    assert owners(*inside) == [other.uid] * 5
    assert owners(other.root) == [0]


def test_files_of_third_users_keep_their_owner(other: OwnerLab) -> None:
    tree = other.data / "jobs"
    tree.mkdir()
    (tree / "theirs").write_text("")
    os.chown(tree / "theirs", 4711, 4712)
    repair(other)
    assert owners(tree, tree / "theirs") == [other.uid, 4711]


def test_nothing_is_repaired_while_a_job_of_root_is_active(other: OwnerLab) -> None:
    """A supervisor of version 0.1.0 that root started keeps its files until it ends."""
    job = other.data / "jobs/active/run/train-1"
    job.mkdir(parents=True)
    old = subprocess.Popen([other.python, "-c", "import time; time.sleep(60)", str(job)])
    try:
        other.wait(lambda: ownership.root_processes(str(other.data)) == [old.pid])
        repair(other)
        assert owners(other.data / "jobs", job) == [0, 0]
    finally:
        old.kill()
        old.wait()
    repair(other)
    assert owners(other.data / "jobs", job) == [other.uid] * 2


# -- what root refuses ---------------------------------------------------------------------------------------------


def test_root_refuses_to_work_in_the_directory_of_another_user(other: OwnerLab) -> None:
    with pytest.raises(NotReadyError, match="root does not work in the directory of another user"):
        Layout(str(other.data)).create()
    assert list(other.data.iterdir()) == []


@pytest.mark.parametrize("exists", [True, False])
def test_directory_of_root_that_another_user_can_replace_is_refused(other: OwnerLab, exists: bool) -> None:
    """Only a directory of root's is refused: a new one belongs to the owner of the directory around it."""
    data = other.data / "deeper" / "data"
    if exists:
        data.mkdir(parents=True)
        with pytest.raises(NotReadyError, match="who could replace"):
            ownership.foreign_owner(str(data))
    else:
        owner = ownership.foreign_owner(str(data))
        assert owner == ownership.Owner(str(data), other.uid, other.gid)


def test_directory_in_a_shared_place_is_refused(root_lab: OwnerLab) -> None:
    shared = root_lab.root / "shared"
    data = shared / "data"
    data.mkdir(parents=True)
    for mode in (0o777, 0o775):
        os.chown(shared, 0, 50)
        shared.chmod(mode)
        with pytest.raises(NotReadyError, match="can be written by other users"):
            ownership.foreign_owner(str(data))
    shared.chmod(0o1777)
    assert ownership.foreign_owner(str(data)) is None
    link = root_lab.root / "link"
    link.symlink_to(data)
    assert ownership.foreign_owner(str(link)) is None
    shared.chmod(0o777)
    with pytest.raises(NotReadyError, match="can be written by other users"):
        ownership.foreign_owner(str(link))


# -- what the owner could plant ------------------------------------------------------------------------------------


def plant_code(lab: OwnerLab) -> tuple[dict[str, str], Path]:
    """Make an interpreter and a core that leave a trace when they are executed.

    :returns: what the owner writes into the record of a run, and the directory of the traces.
    """
    spy, seen = lab.root / "spy", lab.root / "seen"
    seen.mkdir()
    seen.chmod(0o777)
    spy.write_text(f"#!/bin/sh\nid -u > {seen}/$$\nexit 1\n")
    spy.chmod(0o755)
    planted = lab.data / "core" / "planted" / "ia_homelab_core"
    planted.mkdir(parents=True)
    (planted / "__init__.py").touch()
    (planted / "main.py").write_text(f"import os; open('{seen}/core', 'w').write(str(os.getuid()))\n")
    return {"python": str(spy), "core_dir": str(planted.parent)}, seen


def test_record_of_a_run_names_no_code(other: OwnerLab) -> None:
    """The owner rewrites the interpreter and the core of a queued run: neither is executed, and nothing is as root."""
    assert other.call("begin", "a", counting(300))["state"] in ("running", "queued")
    second = other.call("begin", "b", counting(1))
    assert second["state"] == "queued"
    planted, seen = plant_code(other)
    (record,) = other.data.glob("jobs/active/b-*/run.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), **planted}))
    assert other.call("cancel", "a", counting(300))["state"] == "cancelled"
    assert other.call("apply", "b", counting(1))["state"] == "succeeded"
    assert list(seen.iterdir()) == []
    assert other.roots_processes() == []


@pytest.mark.parametrize("what", ["python", "core_dir"])
def test_record_of_a_run_names_no_code_for_another_supervisor(other: OwnerLab, what: str) -> None:
    """The supervisor of a running job is lost, so that root starts another one for the rewritten run."""
    started = other.call("begin", "a", held(other, 1))
    other.identity(started, "command.json")
    planted, seen = plant_code(other)
    (record,) = other.data.glob("jobs/active/a-*/run.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), what: planted[what]}))
    processes.send([other.identity(started, "supervisor.json")], 9)
    (other.root / "go").touch()
    assert other.call("apply", "a", held(other, 1))["state"] == "succeeded"
    assert list(seen.iterdir()) == []


def test_planted_links_change_nothing_of_root(other: OwnerLab) -> None:
    """Links at the names of files that root once opened, in the directory of a job that is about to start."""
    assert other.call("begin", "a", counting(300))["state"] in ("running", "queued")
    assert other.call("begin", "b", "exit 3")["state"] == "queued"
    precious = other.root / "precious"
    precious.mkdir()
    for name in ("log.txt", "supervisor.log", "supervisor.lock", "lock", "gpu_loan.lock", "tokenizer.model"):
        (precious / name).write_text("of root")
        (precious / name).chmod(0o600)
    before = {path.name: (path.read_text(), path.stat().st_mode, path.stat().st_uid) for path in precious.iterdir()}
    job = next(other.data.glob("jobs/active/b-*")) / "step-1"
    job.mkdir()
    for name in ("log.txt", "supervisor.log", "supervisor.lock"):
        (job / name).symlink_to(precious / name)
    (other.data / "jobs/lock").unlink()
    (other.data / "jobs/lock").symlink_to(precious / "lock")
    (other.data / "jobs/gpu_loan.lock").symlink_to(precious / "gpu_loan.lock")
    assert "Permission denied" in other.refused("cancel", "a", counting(300))
    (other.data / "jobs/lock").unlink()
    other.call("cancel", "a", counting(300))
    other.call("apply", "b", "exit 3")
    assert {
        path.name: (path.read_text(), path.stat().st_mode, path.stat().st_uid) for path in precious.iterdir()
    } == before


def test_lease_of_the_gpu_is_not_executed_as_root(other: OwnerLab) -> None:
    """The owner records a server of root's that has to be started again."""
    assert other.call("apply", "a", counting(1))["state"] == "succeeded"
    seen = other.root / "seen"
    seen.mkdir()
    seen.chmod(0o777)
    launch = {
        "argv": ["/bin/sh", "-c", f"id -u > {seen}/uid"], "env": {}, "cwd": "/", "port": 1,
        "uid": 0, "gid": 0, "log": "/dev/null", "record": "",
    }  # fmt: skip
    servers = [{"kind": "process", "name": "ollama", "how": launch, "is_ollama": True}]
    (other.data / "jobs/gpu_loan.json").write_text(json.dumps({"job": "a/train-1", "servers": servers}))
    other.call("reconcile", "a", counting(1))
    uid = other.wait(lambda: (seen / "uid").exists() and (seen / "uid").read_text().strip())
    assert uid == str(other.uid)
