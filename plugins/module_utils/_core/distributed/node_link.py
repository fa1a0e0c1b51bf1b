# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The line between the supervisors of one training on several hosts: they begin together and hear of each other's end.

torch alone would not do: its rendezvous waits for a quarter of an hour for who never comes, a host that lost its power
is noticed after half an hour, and then none of the others knows who it was. One connection goes from each host to the
leading one, with JSON lines on it::

    member: {"join": {"session", "rank", "training", "checkpoints"}}       again until the leading one is there
    leader: {"wait": why, "wait_message": …}, or the same with "refused", and closes
    leader: {"begin": {"port", "resume", "trained"}}                       once all are there
    member: {"ready": true}                                                prepared, as the leading one itself
    leader: {"go": true}                                                   all are
    both:   {"beat": true} every two seconds, {"failed": …}, {"done": true}

It is no secret and proves nothing: like torchrun's own rendezvous it wants a network that is trusted.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
import typing as t

from ..errors import JobError
from ..messages.message import Message
from ..system.files import write_json
from .node_line import Line, free_port, listen, unreachable
from .nodes import AGREED, Agreed, Nodes, interface_of

#: Seconds that the nodes wait for each other before a training: one may have another training to finish first.
JOIN_SECONDS = 600.0
#: Seconds in which a node tries to reach the leading one, which answers nothing at all, before it says so.
BLOCKED_SECONDS = 40.0
#: Seconds between two signs of life, and without any before a node counts as lost.
BEAT_SECONDS, SILENT_SECONDS = 2.0, 20.0
#: Seconds a failure waits for what the others have to tell: one of them may have been its cause.
NEWS_SECONDS = 6.0

#: Seconds that a failure which only echoes another one, elsewhere, waits for that one to be told.
ECHO_SECONDS = 12.0

_POLL_SECONDS = 0.1
#: Between two attempts to reach the leading node, and for each of them.
_RETRY_SECONDS, _CONNECT_SECONDS = 1.0, 5.0


class NodeLost(JobError):
    """Another node is not there any more, or its part of the training has failed."""


class Link:
    """One node's end. Used by the one process that supervises its job, which calls :meth:`check` all the time.

    :param nodes: who they are.
    :param training: fingerprint of the training, which holds those of its base and its dataset.
    :param job_dir: where it is written down what was agreed upon.
    :param checkpoints: steps of the whole checkpoints of this node.
    :param trained: whether the training had come to its end before (of the leading node).
    :param again: what becomes of the training when it is asked for again, for people to read.
    """

    def __init__(
        self,
        nodes: Nodes,
        training: str,
        job_dir: str,
        checkpoints: t.Sequence[int] = (),
        trained: bool = False,
        again: str = "",
    ) -> None:
        self.nodes = nodes
        self.training = training
        self.job_dir = job_dir
        self.checkpoints = list(checkpoints)
        self.trained = trained
        self.again = again
        self._lines: dict[str, Line] = {}
        self._done: set[str] = set()
        self._began = False
        self._beat = 0.0
        self._over = False
        self._echo: tuple[float, NodeLost] | None = None

    # -- before the training -----------------------------------------------------------------------------------

    def meet(self, pause: t.Callable[[Message], None]) -> Agreed:
        """Wait until all are there, and agree upon how to begin.

        :param pause: called with what is waited for, about ten times a second; may raise an error to end it.
        :raises JobError: when they do not come together.
        """
        raise NotImplementedError

    def ready(self, pause: t.Callable[[Message], None]) -> None:
        """Say that this node is prepared, and wait until all are.

        :raises NodeLost: when one fails meanwhile.
        """
        raise NotImplementedError

    def _agree(self, agreed: Agreed) -> Agreed:
        write_json(os.path.join(self.job_dir, AGREED), vars(agreed))
        return agreed

    def _start(self) -> None:
        self._began = True
        for line in self._lines.values():
            line.heard = time.monotonic()

    # -- during the training -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Give a sign of life, and hear of the others.

        :raises NodeLost: when one of them is lost or has failed.
        """
        now = time.monotonic()
        if self._echo is not None and now > self._echo[0]:
            raise self._echo[1]
        if self._began and now - self._beat >= BEAT_SECONDS:
            self._beat = now
            for line in self._lines.values():
                line.send(beat=True)
        for name, line in list(self._lines.items()):
            for message in line.receive():
                self._hear(name, message)
            if name in self._done or self._over:
                continue
            if line.broken:
                raise self._lost(name, Message("distributed.connection_broke", reason=line.broken))
            if self._began and now - line.heard > SILENT_SECONDS:
                raise self._lost(name, Message("distributed.silent", seconds=SILENT_SECONDS))

    def _hear(self, name: str, message: t.Mapping[str, t.Any]) -> None:
        told = message.get("failed")
        if isinstance(told, dict):
            node, problem = str(told.get("node")), Message.from_stored(told)
            if not problem.hint:
                problem = Message("distributed.look_into_log", text=problem, node=node)
            error = self._error(problem, node)
            if not told.get("echo"):
                raise error
            self._echo = self._echo or (time.monotonic() + ECHO_SECONDS, error)
            self._done.add(name)
        if message.get("done"):
            self._done.add(name)

    def _lost(self, name: str, why: Message) -> NodeLost:
        code = "distributed.node_lost_during" if self._began else "distributed.node_lost_before"
        return self._error(Message(code, node=name, reason=why), name)

    def _error(self, problem: Message, node: str) -> NodeLost:
        consequence = self.again if self._began and self.again not in problem.hint else ""
        return NodeLost("distributed.node_failed", problem=problem, consequence=consequence, details={"node": node})

    def tell(self, problem: Message, echo: bool = False) -> None:
        """Tell the others that this part has failed.

        :param echo: whether it failed because another one did, as far as can be told.
        """
        told = Message("distributed.on_node", node=self.nodes.me, problem=problem).as_dict()
        for line in self._lines.values():
            line.send(failed={"node": self.nodes.me, **told, "echo": echo})

    def news(self, seconds: float = NEWS_SECONDS) -> NodeLost | None:
        """What the others tell within some time of a failure of theirs; None when all is well with them."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self.check()
            except NodeLost as error:
                return error
            time.sleep(_POLL_SECONDS)
        return None

    def done(self) -> None:
        """Say that this part has come to its end well: from now on nobody is missed."""
        self._over = True
        for line in self._lines.values():
            line.send(done=True)

    def close(self) -> None:
        """Hang up."""
        for line in self._lines.values():
            line.close()
        self._lines.clear()


class Leader(Link):
    """The leading node's end."""

    def meet(self, pause: t.Callable[[Message], None]) -> Agreed:
        have = [set(self.checkpoints)]
        server = self._listen(pause)
        guests: list[Line] = []
        end = time.monotonic() + JOIN_SECONDS
        try:
            while True:
                missing = [name for name in self.nodes.names[1:] if name not in self._lines]
                if not missing:
                    break
                pause(Message("distributed.nodes_awaited", nodes=missing, count=len(missing)))
                if time.monotonic() > end:
                    raise JobError("distributed.nodes_did_not_come", nodes=list(missing), minutes=JOIN_SECONDS / 60)
                with contextlib.suppress(BlockingIOError):
                    guests.append(Line(server.accept()[0]))
                for guest in list(guests):
                    joined = self._receive_guest(guest)
                    if joined is not None:
                        have.append(joined)
                    if joined is not None or guest.broken:
                        guests.remove(guest)
                self.check()
        finally:
            server.close()
            for guest in guests:
                guest.close()
        own = next(iter(self._lines.values())).address()
        common = set.intersection(*have)
        agreed = Agreed(
            free_port(self.nodes.addresses[0], self.nodes.port + 1),
            own,
            interface_of(own),
            max(common) if common else None,
            self.trained,
        )
        for line in self._lines.values():
            line.send(begin={"port": agreed.port, "resume": agreed.resume, "trained": self.trained})
        return self._agree(agreed)

    def _listen(self, pause: t.Callable[[Message], None]) -> socket.socket:
        end = time.monotonic() + BLOCKED_SECONDS
        while True:
            try:
                return listen(self.nodes.addresses[0], self.nodes.port)
            except OSError as error:
                if time.monotonic() > end:
                    raise JobError(
                        "distributed.port_taken", port=self.nodes.port, details={"port": self.nodes.port}
                    ) from error
            pause(Message("distributed.port_awaited", port=self.nodes.port))

    def _receive_guest(self, guest: Line) -> set[int] | None:
        """Hear who has come; its checkpoints when it is one of ours."""
        for message in guest.receive():
            asked = message.get("join")
            if not isinstance(asked, dict):
                guest.broken = "it speaks something else"
                break
            if asked.get("training") != self.training:
                other = Message("distributed.other_training_awaited", node=self.nodes.me)
                guest.send(wait=str(other), wait_message=other.as_dict())
            elif asked.get("session") != self.nodes.session:
                refused = Message("distributed.other_attempt", node=self.nodes.me)
                guest.send(refused=str(refused), refused_message=refused.as_dict())
            elif asked.get("rank") not in range(1, self.nodes.count):
                refused = Message("distributed.node_unknown", node=self.nodes.me, rank=str(asked.get("rank")))
                guest.send(refused=str(refused), refused_message=refused.as_dict())
            else:
                name = self.nodes.names[int(asked["rank"])]
                if name in self._lines:
                    self._lines.pop(name).close()  # its supervisor was lost and has come again
                self._lines[name] = guest
                return {step for step in asked.get("checkpoints") or [] if isinstance(step, int)}
            guest.broken = "it was sent away"
        if guest.broken:
            guest.close()
        return None

    def ready(self, pause: t.Callable[[Message], None]) -> None:
        self._ready: set[str] = set()
        while True:
            missing = [name for name in self._lines if name not in self._ready]
            if not missing:
                break
            pause(Message("distributed.readiness_awaited", nodes=missing, count=len(missing)))
            self.check()
        for line in self._lines.values():
            line.send(go=True)
        self._start()

    def _hear(self, name: str, message: t.Mapping[str, t.Any]) -> None:
        if message.get("ready"):
            self._ready = {*getattr(self, "_ready", ()), name}
        try:
            super()._hear(name, message)
        except NodeLost as error:
            self._pass_on(error, name)
            raise

    def _lost(self, name: str, why: Message) -> NodeLost:
        error = super()._lost(name, why)
        self._pass_on(error, name)
        return error

    def _pass_on(self, error: NodeLost, source: str) -> None:
        """The others are connected to us alone: what one tells goes on to the rest."""
        for name, line in self._lines.items():
            if name != source:
                line.send(failed={"node": source, **error.content.as_dict()})


class Member(Link):
    """Another node's end."""

    def meet(self, pause: t.Callable[[Message], None]) -> Agreed:
        join = {
            "session": self.nodes.session,
            "rank": self.nodes.rank,
            "training": self.training,
            "checkpoints": self.checkpoints,
        }
        end = time.monotonic() + JOIN_SECONDS
        answered = time.monotonic()
        waiting = Message("distributed.nodes_awaited", nodes=[self.nodes.leader], count=1)
        while time.monotonic() < end:
            try:
                connection = socket.create_connection((self.nodes.addresses[0], self.nodes.port), _CONNECT_SECONDS)
            except ConnectionRefusedError:
                answered = time.monotonic()  # it is there, and has something else to finish first
            except OSError as error:
                if time.monotonic() - answered > BLOCKED_SECONDS:
                    raise unreachable(
                        self.nodes.me, self.nodes.leader, self.nodes.addresses[0], self.nodes.port, error
                    ) from error
            else:
                answered = time.monotonic()
                line = Line(connection)
                line.send(join=join)
                found = self._begin(line, waiting, pause)
                if isinstance(found, Agreed):
                    return self._agree(found)
                line.close()
                waiting = found or waiting
            until = time.monotonic() + _RETRY_SECONDS
            while time.monotonic() < until:
                pause(waiting)
        raise JobError("distributed.leader_did_not_come", leader=self.nodes.leader, minutes=JOIN_SECONDS / 60)

    def _begin(self, line: Line, waiting: Message, pause: t.Callable[[Message], None]) -> Agreed | Message | None:
        """Wait for the others; what was agreed upon, or what to wait for when the leading node is not at it."""
        while True:
            for message in line.receive():
                if "refused" in message:
                    reason = Message.from_stored(message.get("refused_message") or message["refused"])
                    raise JobError("distributed.sent_away", reason=reason)
                if "wait" in message:
                    return Message.from_stored(message.get("wait_message") or message["wait"])
                told = message.get("begin")
                if isinstance(told, dict):
                    self._lines[self.nodes.leader] = line
                    own, master = line.address(), str(line.socket.getpeername()[0])
                    resume = told.get("resume")
                    step = resume if isinstance(resume, int) else None
                    return Agreed(int(told["port"]), master, interface_of(own), step, bool(told.get("trained")))
                self._hear(self.nodes.leader, message)
            if line.broken:
                return None  # it was waiting and is gone: its job ended, or another supervisor takes it over
            others = Message("distributed.others_awaited", leader=self.nodes.leader)
            pause(others if self.nodes.count > 2 else waiting)

    def ready(self, pause: t.Callable[[Message], None]) -> None:
        self._gone = False
        for line in self._lines.values():
            line.send(ready=True)
        while not self._gone:
            pause(Message("distributed.others_ready_awaited"))
            self.check()
        self._start()

    def _hear(self, name: str, message: t.Mapping[str, t.Any]) -> None:
        if message.get("go"):
            self._gone = True
        super()._hear(name, message)
