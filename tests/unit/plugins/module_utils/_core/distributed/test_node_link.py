# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The link between the nodes of a training, over real sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.distributed import (
    node_connection,
    node_link,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.distributed.node_link import (
    Leader,
    Link,
    Member,
    NodeLost,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.distributed.nodes import (
    Agreement,
    Nodes,
    read_agreement,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.errors import CoreError, JobError
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.messages.message import Message

TRAINING = "f" * 64


def pause(_reason: Message) -> None:
    time.sleep(0.01)


class Group:
    """Nodes on this machine, each in a thread of its own."""

    def __init__(self, root: Path, count: int, trained: bool = False, have: t.Sequence[t.Sequence[int]] = ()) -> None:
        self.root = root
        names = tuple(f"pc-{chr(ord('a') + rank)}" for rank in range(count))
        self.port = node_connection.free_port("127.0.0.1", 29400)
        self.links: list[Link] = []
        for rank in range(count):
            nodes = Nodes(rank, names, ("127.0.0.1",) * count, self.port, "run:1")
            (root / names[rank]).mkdir()
            steps = have[rank] if have else ()
            kind = Leader if rank == 0 else Member
            self.links.append(
                kind(nodes, TRAINING, str(root / names[rank]), steps, trained, stored("It starts from the beginning."))
            )

    def each(self, function: t.Callable[[Link], t.Any], which: t.Sequence[int] | None = None) -> list[t.Any]:
        """Call a function for all nodes at the same time; returns the results or the errors of the core."""
        results: dict[int, t.Any] = {}

        def one(rank: int) -> None:
            try:
                results[rank] = function(self.links[rank])
            except CoreError as error:
                results[rank] = error

        ranks = range(len(self.links)) if which is None else which
        threads = [threading.Thread(target=one, args=(rank,)) for rank in ranks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        return [results.get(rank) for rank in ranks]

    def begin(self) -> list[Agreement]:
        found = self.each(lambda link: link.join(pause))
        self.each(lambda link: link.ready(pause))
        return found

    def close(self) -> None:
        for link in self.links:
            link.close()


@pytest.fixture
def group(tmp_path: Path) -> t.Iterator[t.Callable[..., Group]]:
    made: list[Group] = []

    def make(count: int = 2, **more: t.Any) -> Group:
        made.append(Group(tmp_path, count, **more))
        return made[-1]

    yield make
    for each in made:
        each.close()


def watch(link: Link, seconds: float = 120.0) -> None:
    """What a supervisor function while its command runs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        link.check()
        time.sleep(0.01)


def test_nodes_agree_on_a_port_and_the_latest_common_checkpoint(group: t.Callable[..., Group]) -> None:
    three = group(3, have=[(30, 20, 10), (20, 10), (40, 20, 10)])
    found = three.begin()
    assert {agreed.resume for agreed in found} == {20}
    assert len({agreed.port for agreed in found}) == 1
    assert found[0].port > three.port
    assert [agreed.master for agreed in found] == ["127.0.0.1"] * 3
    assert [agreed.interface for agreed in found] == ["lo"] * 3
    assert read_agreement(str(three.root / "pc-b")) == found[1]
    three.each(lambda link: watch(link, 0.3))


def test_without_a_common_checkpoint_the_training_starts_from_the_beginning(group: t.Callable[..., Group]) -> None:
    assert [agreed.resume for agreed in group(2, have=[(10,), ()]).begin()] == [None, None]


def test_a_completed_training_releases_the_members(group: t.Callable[..., Group]) -> None:
    assert [agreed.trained for agreed in group(2, trained=True).each(lambda link: link.join(pause))] == [True, True]


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_node_stops_all_and_is_named(group: t.Callable[..., Group], lost: int) -> None:
    three = group(3)
    three.begin()
    three.links[lost].close()
    rest = [rank for rank in range(3) if rank != lost]
    for error in three.each(watch, rest):
        assert isinstance(error, NodeLost)
        assert error.message.startswith(f"The node pc-{'abc'[lost]} was lost while the training ran: ")
        assert error.hint.endswith("and apply again. It starts from the beginning.")


def test_a_node_without_heartbeat_counts_as_lost(
    group: t.Callable[..., Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_link, "HEARTBEAT_TIMEOUT_SECONDS", 3.0)  # a busy machine may stop a thread for a second
    monkeypatch.setattr(node_link, "HEARTBEAT_SECONDS", 0.1)
    two = group()
    two.begin()
    assert two.each(lambda link: watch(link, 3.5)) == [None, None]
    (error,) = two.each(watch, [0])  # the other node has stopped
    assert "no heartbeat for 3 seconds" in str(error)


def stored(text: str, hint: str = "") -> Message:
    return Message.from_stored({"text": text, "hint": hint})


@pytest.mark.parametrize("source", [0, 1])
def test_all_nodes_report_the_failure_of_one(group: t.Callable[..., Group], source: int) -> None:
    three = group(3)
    three.begin()
    three.links[source].report_failure(stored("the disk is full.", "Make room."))
    for error in three.each(watch, [rank for rank in range(3) if rank != source]):
        assert error.message == f"pc-{'ab'[source]}: the disk is full."
        assert error.hint == "Make room. It starts from the beginning."
        assert error.details == {"node": f"pc-{'ab'[source]}"}


def test_a_secondary_failure_waits_for_its_cause(
    group: t.Callable[..., Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    two = group()
    two.begin()
    two.links[1].report_failure(stored("connection closed by peer"), is_consequence=True)
    assert two.each(lambda link: watch(link, 0.5), [0]) == [None]
    two.links[0].report_failure(stored("out of memory", "Lower batch_size."))
    assert "pc-a: out of memory" in str(two.links[1].peer_failure())
    monkeypatch.setattr(node_link, "ROOT_CAUSE_SECONDS", 0.1)
    two.links[0]._secondary = None
    two.links[1].report_failure(stored("connection closed by peer"), is_consequence=True)
    (error,) = two.each(watch, [0])
    assert "pc-b: connection closed by peer" in str(error)


def test_a_node_that_has_completed_its_part_is_not_lost(group: t.Callable[..., Group]) -> None:
    two = group()
    two.begin()
    two.links[1].done()
    two.links[1].close()
    assert two.each(lambda link: watch(link, 0.5), [0]) == [None]
    assert two.links[0].peer_failure(0.2) is None


def test_another_attempt_is_refused_and_another_training_waits(group: t.Callable[..., Group]) -> None:
    two = group()
    leader, member = two.links
    other = Nodes(1, member.nodes.names, member.nodes.addresses, two.port, "run:0")
    waited_for: list[str] = []

    def other_training() -> None:
        with contextlib.suppress(JobError):
            Member(other, "e" * 64, str(two.root)).join(
                lambda reason: (waited_for.append(str(reason)), pause(reason))[1]
            )

    threading.Thread(target=other_training, daemon=True).start()
    thread = threading.Thread(target=lambda: leader.join(pause))
    thread.start()
    with pytest.raises(JobError, match="pc-a runs another attempt of this training") as refused:
        Member(other, TRAINING, str(two.root)).join(pause)
    french = Message.from_stored(json.loads(json.dumps(refused.value.content.as_dict()))).render("fr")
    assert french.message == "pc-a fait maintenant une autre tentative de cet entraînement."
    end = time.monotonic() + 60
    while "pc-a, which runs another training" not in waited_for and time.monotonic() < end:
        time.sleep(0.05)
    assert "pc-a, which runs another training" in waited_for
    assert member.join(pause).resume is None
    thread.join(120)
    assert not thread.is_alive()


def test_a_client_with_another_protocol_is_disconnected(group: t.Callable[..., Group]) -> None:
    two = group()
    thread = threading.Thread(target=lambda: two.links[0].join(pause))
    thread.start()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(ConnectionRefusedError):
            with socket.create_connection(("127.0.0.1", two.port), 5) as browser:
                browser.sendall(b"GET / HTTP/1.1\r\n\r\n")
                with contextlib.suppress(ConnectionResetError):
                    assert browser.recv(100) == b""
            break
        time.sleep(0.05)
    two.links[1].join(pause)
    thread.join(120)
    assert not thread.is_alive()


def test_a_node_that_does_not_join_is_named(group: t.Callable[..., Group], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_link, "JOIN_SECONDS", 0.2)
    with pytest.raises(JobError, match="pc-b, pc-c did not join within"):
        group(3).links[0].join(pause)


def test_waiting_can_be_cancelled(group: t.Callable[..., Group]) -> None:
    def cancelled(_reason: Message) -> None:
        raise JobError("cancelled")

    for link in group().links:
        with pytest.raises(JobError, match="cancelled"):
            link.join(cancelled)


def test_a_host_answers_probes() -> None:
    port = node_connection.free_port("127.0.0.1", 29400)
    ports = node_connection.answer_probes("127.0.0.1", [port, 0], 1)
    assert ports[0] == port
    assert node_connection.probe("pc-b", "pc-a", "127.0.0.1", port) is None
    end = time.monotonic() + 60
    while (problem := node_connection.probe("pc-b", "pc-a", "127.0.0.1", port)) is None and time.monotonic() < end:
        pass
    # the port is closed after one answer
    assert str(problem).startswith(f"pc-b cannot reach pc-a at 127.0.0.1, port {port}: Connection refused.")
    assert "open the firewall between them" in str(problem)
    assert node_connection.probe("pc-b", "pc-a", "127.0.0.1", ports[1]) is None


def test_another_program_on_the_port_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: [server.accept()[0].sendall(b"SSH-2.0-x\r\n") for _attempt in range(3)]).start()
        problem = node_connection.probe("pc-b", "pc-a", "127.0.0.1", server.getsockname()[1])
    assert "another program listens on this port" in str(problem)
