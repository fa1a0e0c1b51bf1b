# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The line between the nodes of a training, over real sockets: they begin together, and hear of each other's end."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.distributed import node_line, node_link
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.distributed.node_link import (
    Leader,
    Link,
    Member,
    NodeLost,
)
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.distributed.nodes import (
    Agreed,
    Nodes,
    read_agreed,
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
        self.port = node_line.free_port("127.0.0.1", 29400)
        self.links: list[Link] = []
        for rank in range(count):
            nodes = Nodes(rank, names, ("127.0.0.1",) * count, self.port, "run:1")
            (root / names[rank]).mkdir()
            steps = have[rank] if have else ()
            kind = Leader if rank == 0 else Member
            self.links.append(kind(nodes, TRAINING, str(root / names[rank]), steps, trained, "It begins anew."))

    def each(self, does: t.Callable[[Link], t.Any], which: t.Sequence[int] | None = None) -> list[t.Any]:
        """Have all of them do something at the same time; what came of it, an error of the core included."""
        came: dict[int, t.Any] = {}

        def one(rank: int) -> None:
            try:
                came[rank] = does(self.links[rank])
            except CoreError as error:
                came[rank] = error

        ranks = range(len(self.links)) if which is None else which
        threads = [threading.Thread(target=one, args=(rank,)) for rank in ranks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        return [came.get(rank) for rank in ranks]

    def begin(self) -> list[Agreed]:
        found = self.each(lambda link: link.meet(pause))
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
    """What a supervisor does while its command runs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        link.check()
        time.sleep(0.01)


def test_they_agree_upon_a_port_and_the_last_checkpoint_all_have(group: t.Callable[..., Group]) -> None:
    three = group(3, have=[(30, 20, 10), (20, 10), (40, 20, 10)])
    found = three.begin()
    assert {agreed.resume for agreed in found} == {20}
    assert len({agreed.port for agreed in found}) == 1
    assert found[0].port > three.port
    assert [agreed.master for agreed in found] == ["127.0.0.1"] * 3
    assert [agreed.interface for agreed in found] == ["lo"] * 3
    assert read_agreed(str(three.root / "pc-b")) == found[1]
    three.each(lambda link: watch(link, 0.3))


def test_without_a_checkpoint_that_all_have_they_begin_anew(group: t.Callable[..., Group]) -> None:
    assert [agreed.resume for agreed in group(2, have=[(10,), ()]).begin()] == [None, None]


def test_what_had_come_to_its_end_lets_the_others_go(group: t.Callable[..., Group]) -> None:
    assert [agreed.trained for agreed in group(2, trained=True).each(lambda link: link.meet(pause))] == [True, True]


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_one_that_is_gone_ends_all_and_is_named(group: t.Callable[..., Group], lost: int) -> None:
    three = group(3)
    three.begin()
    three.links[lost].close()
    rest = [rank for rank in range(3) if rank != lost]
    for error in three.each(watch, rest):
        assert isinstance(error, NodeLost)
        assert error.message.startswith(f"The node pc-{'abc'[lost]} was lost while the training ran: ")
        assert error.hint.endswith("and apply again. It begins anew.")


def test_silence_counts_as_lost(group: t.Callable[..., Group], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_link, "SILENT_SECONDS", 3.0)  # a busy machine may stop a thread for a second
    monkeypatch.setattr(node_link, "BEAT_SECONDS", 0.1)
    two = group()
    two.begin()
    assert two.each(lambda link: watch(link, 3.5)) == [None, None]
    (error,) = two.each(watch, [0])  # the other one does nothing any more
    assert "nothing was heard of it for 3 seconds" in str(error)


def stored(text: str, hint: str = "") -> Message:
    return Message.from_stored({"text": text, "hint": hint})


@pytest.mark.parametrize("source", [0, 1])
def test_what_one_fails_with_is_what_all_tell(group: t.Callable[..., Group], source: int) -> None:
    three = group(3)
    three.begin()
    three.links[source].tell(stored("the disk is full.", "Make room."))
    for error in three.each(watch, [rank for rank in range(3) if rank != source]):
        assert error.message == f"pc-{'ab'[source]}: the disk is full."
        assert error.hint == "Make room. It begins anew."
        assert error.details == {"node": f"pc-{'ab'[source]}"}


def test_an_echo_waits_for_its_cause(group: t.Callable[..., Group], monkeypatch: pytest.MonkeyPatch) -> None:
    two = group()
    two.begin()
    two.links[1].tell(stored("connection closed by peer"), echo=True)
    assert two.each(lambda link: watch(link, 0.5), [0]) == [None]
    two.links[0].tell(stored("out of memory", "Lower batch_size."))
    assert "pc-a: out of memory" in str(two.links[1].news())
    monkeypatch.setattr(node_link, "ECHO_SECONDS", 0.1)
    two.links[0]._echo = None
    two.links[1].tell(stored("connection closed by peer"), echo=True)
    (error,) = two.each(watch, [0])
    assert "pc-b: connection closed by peer" in str(error)


def test_one_that_has_done_its_part_is_not_missed(group: t.Callable[..., Group]) -> None:
    two = group()
    two.begin()
    two.links[1].done()
    two.links[1].close()
    assert two.each(lambda link: watch(link, 0.5), [0]) == [None]
    assert two.links[0].news(0.2) is None


def test_another_attempt_is_refused_and_another_training_waits(group: t.Callable[..., Group]) -> None:
    two = group()
    leader, member = two.links
    other = Nodes(1, member.nodes.names, member.nodes.addresses, two.port, "run:0")
    told: list[str] = []

    def stranger() -> None:
        with contextlib.suppress(JobError):
            Member(other, "e" * 64, str(two.root)).meet(lambda reason: (told.append(str(reason)), pause(reason))[1])

    threading.Thread(target=stranger, daemon=True).start()
    thread = threading.Thread(target=lambda: leader.meet(pause))
    thread.start()
    with pytest.raises(JobError, match="pc-a makes another attempt at this training now") as refused:
        Member(other, TRAINING, str(two.root)).meet(pause)
    french = Message.from_stored(json.loads(json.dumps(refused.value.content.as_dict()))).render("fr")
    assert french.message == "pc-a fait maintenant une autre tentative de cet entraînement."
    end = time.monotonic() + 60
    while "pc-a, which runs another training" not in told and time.monotonic() < end:
        time.sleep(0.05)
    assert "pc-a, which runs another training" in told
    assert member.meet(pause).resume is None
    thread.join(120)
    assert not thread.is_alive()


def test_what_speaks_something_else_is_sent_away(group: t.Callable[..., Group]) -> None:
    two = group()
    thread = threading.Thread(target=lambda: two.links[0].meet(pause))
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
    two.links[1].meet(pause)
    thread.join(120)
    assert not thread.is_alive()


def test_a_node_that_does_not_come_is_named(group: t.Callable[..., Group], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_link, "JOIN_SECONDS", 0.2)
    with pytest.raises(JobError, match="pc-b, pc-c did not come within"):
        group(3).links[0].meet(pause)


def test_what_is_waited_for_may_be_cancelled(group: t.Callable[..., Group]) -> None:
    def cancelled(_reason: Message) -> None:
        raise JobError("cancelled")

    for link in group().links:
        with pytest.raises(JobError, match="cancelled"):
            link.meet(cancelled)


def test_a_host_answers_whether_it_can_be_reached() -> None:
    port = node_line.free_port("127.0.0.1", 29400)
    ports = node_line.answer("127.0.0.1", [port, 0], 1)
    assert ports[0] == port
    assert node_line.dial("pc-b", "pc-a", "127.0.0.1", port) is None
    end = time.monotonic() + 60
    while (problem := node_line.dial("pc-b", "pc-a", "127.0.0.1", port)) is None and time.monotonic() < end:
        pass
    # it has answered so often as it should, and is gone
    assert str(problem).startswith(f"pc-b cannot reach pc-a at 127.0.0.1, port {port}: Connection refused.")
    assert "open the firewall between them" in str(problem)
    assert node_line.dial("pc-b", "pc-a", "127.0.0.1", ports[1]) is None


def test_what_answers_and_is_no_node_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: [server.accept()[0].sendall(b"SSH-2.0-x\r\n") for _attempt in range(3)]).start()
        problem = node_line.dial("pc-b", "pc-a", "127.0.0.1", server.getsockname()[1])
    assert "something else answers there" in str(problem)
