# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes of a training: stored form, environment of the launcher, and the part of each host."""

from __future__ import annotations

import dataclasses
import socket
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.filter.node_placements import node_placements
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.distributed.nodes import (
    Agreement,
    Nodes,
    environment,
    interface_of,
    read_agreement,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import InputError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.planning.declaration import read_declaration
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import tool_errors
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.training import checkpoints

PAIR = Nodes(1, ("pc-a", "pc-b"), ("10.0.0.1", "10.0.0.2"), 29400, "pair-1:1")


def test_nodes_are_stored_as_plain_values() -> None:
    assert Nodes.from_dict(PAIR.as_dict()) == PAIR
    assert (PAIR.count, PAIR.own_name, PAIR.leader) == (2, "pc-b", "pc-a")


@pytest.mark.parametrize(
    "value", [{}, {**PAIR.as_dict(), "rank": 2}, {**PAIR.as_dict(), "addresses": ["10.0.0.1"]}, {"rank": "first"}]
)
def test_invalid_descriptions_are_refused(value: dict[str, t.Any]) -> None:
    with pytest.raises(InputError, match="Invalid description of the nodes"):
        Nodes.from_dict(value)


def test_environment_of_the_launcher() -> None:
    env = environment(PAIR, Agreement(29401, "10.0.0.1", "eth0"), "cpu")
    assert env == {
        "FORCE_TORCHRUN": "1",
        "NNODES": "2",
        "NODE_RANK": "1",
        "NPROC_PER_NODE": "1",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "29401",
        "GLOO_SOCKET_IFNAME": "eth0",
        "NCCL_SOCKET_IFNAME": "eth0",
    }
    # the launcher counts the GPUs itself
    assert "NPROC_PER_NODE" not in environment(PAIR, Agreement(29401, "10.0.0.1"), "cuda")


def test_the_interface_of_an_address() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("::ffff:127.0.0.1") == "lo"
    assert interface_of("192.0.2.77") == ""
    assert interface_of("2001:db8::1") == ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return  # this machine has no other network
        assert interface_of(probe.getsockname()[0]) in [name for _index, name in socket.if_nameindex()]


def test_missing_agreement_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="have not agreed on"):
        read_agreement(str(tmp_path))


def test_nodes_of_a_declaration() -> None:
    plain = {"name": "m", "base_model": "/base", "dataset": "d"}
    assert read_declaration(plain).nodes == ()
    assert read_declaration({**plain, "nodes": ["a", "b"]}).nodes == ("a", "b")
    assert read_declaration({**plain, "nodes": "a"}).nodes == ("a",)


def test_part_of_each_host() -> None:
    pair = {"name": "pair", "nodes": ["a", "b"]}
    offers = {"pair": {"needed": True, "port": 29400, "training": "f" * 64}}
    led = node_placements([pair, {"name": "single", "nodes": ["a"]}], "a", {"a": "10.0.0.1", "b": "10.0.0.2"}, offers)
    assert led == {
        "pair": {
            "rank": 0,
            "names": ["a", "b"],
            "addresses": ["10.0.0.1", "10.0.0.2"],
            "port": 29400,
            "offer": offers["pair"],
            "session": "",
        }
    }
    runs = [{"name": "pair", "pending": ["train", "merge"], "session": "pair-1:3"}]
    part = node_placements([pair], "b", {"a": "10.0.0.1"}, offers, runs)["pair"]
    assert (part["rank"], part["session"], part["addresses"]) == (1, "pair-1:3", ["10.0.0.1", "b"])
    # without a training, or without a run of the leading host, no other host has a part
    assert node_placements([pair], "b", {}, offers, [{**runs[0], "pending": ["merge"]}]) == {}
    assert node_placements([pair], "b", {}, offers) == {}
    assert node_placements([pair], "c", {}, offers, runs) == {}
    by_name = {pair["name"]: {key: pair[key] for key in pair if key != "name"}}
    assert node_placements(by_name, "b", {"a": "10.0.0.1"}, offers, runs)["pair"] == part


@pytest.mark.parametrize(
    ("line", "echo"),
    [
        (
            "RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]",
            True,
        ),
        ("torch.distributed.DistNetworkError: The client socket has failed: Connection reset by peer", True),
        (
            "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.",
            True,
        ),
        ("torch.OutOfMemoryError: CUDA out of memory.", False),
        ("ValueError: Template chatml2 does not exist.", False),
    ],
)
def test_failures_of_peers_are_recognized_in_the_log(line: str, echo: bool) -> None:
    assert tool_errors.is_peer_failure(["before", line, "after"]) is echo


def test_checkpoints_after_the_agreed_one_are_removed(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        (tmp_path / f"checkpoint-{step}").mkdir()
    assert checkpoints.drop_after(str(tmp_path), 20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-20"]
    assert not checkpoints.drop_after(str(tmp_path), 20)
    assert checkpoints.drop_after(str(tmp_path), None)
    assert list(tmp_path.iterdir()) == []
    assert checkpoints.resumable(str(tmp_path / "nowhere")) == []


def test_a_session_does_not_change_the_names() -> None:
    assert dataclasses.replace(PAIR, session="pair-1:2").names == PAIR.names


def test_a_killed_process_is_reported_from_the_log_of_torchrun() -> None:
    log = ["  exitcode  : -9 (pid: 71)", "  traceback : Signal 9 (SIGKILL) received by PID 71", "=====", "launcher.py"]
    last = "subprocess.CalledProcessError: Command '['torchrun', '--nnodes', '2']' returned non-zero exit status 1."
    assert tool_errors.explain([*log, last]).text == "A process of the training was killed by signal 9."
