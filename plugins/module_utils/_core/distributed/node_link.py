# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The link between the supervisors of one training on several hosts: they start together and report failures.

torch alone is not sufficient: its rendezvous waits a quarter of an hour for a missing host, and a host without power is
detected after half an hour, without its name. Each member keeps one connection to the leading host, which carries one
JSON object per line::

    member: {"join": {"session", "rank", "training", "checkpoints"}}       repeated until the leader listens
    leader: {"wait": reason, "wait_message": …} or {"refused": …}          and closes the connection
    leader: {"begin": {"port", "resume", "trained"}}                       all members have joined
    member: {"ready": true}                                                its training can be started
    leader: {"go": true}                                                   all are ready
    both:   {"beat": true} every two seconds, {"failed": …}, {"done": true}

There is neither encryption nor authentication: like torchrun's rendezvous, the link needs a trusted network.
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
from .node_connection import Connection, free_port, listen, unreachable
from .nodes import AGREEMENT_FILE, Agreement, Nodes, interface_of

#: Seconds that the nodes wait for each other before a training; one may still run another training.
JOIN_SECONDS = 600.0
#: Seconds after which a member reports that the leader cannot be reached.
BLOCKED_SECONDS = 40.0
#: Seconds between two heartbeats, and without a heartbeat before a node counts as lost.
HEARTBEAT_SECONDS, HEARTBEAT_TIMEOUT_SECONDS = 2.0, 20.0
#: Seconds that a failed node waits for a failure of another node, which may be the cause.
PEER_FAILURE_SECONDS = 6.0

#: Seconds that a failure which is a consequence of another one waits for the report of its cause.
ROOT_CAUSE_SECONDS = 12.0

_POLL_SECONDS = 0.1
#: Seconds between two attempts to reach the leader, and timeout of an attempt.
_RETRY_SECONDS, _CONNECT_SECONDS = 1.0, 5.0


class NodeLost(JobError):
    """Another node was lost, or its part of the training failed."""


class Link:
    """One end of the link. Used by the supervisor of a job, which calls :meth:`check` several times per second.

    :param nodes: the nodes, as this host sees them.
    :param training: fingerprint of the training; includes those of its base and its dataset.
    :param job_dir: directory of the job, in which the agreement is recorded.
    :param checkpoints: steps of the complete checkpoints of this node.
    :param trained: leader only: whether an earlier attempt completed the training.
    :param consequence: what the next attempt does (resume or restart), added to the hint of a failure.
    """

    def __init__(
        self,
        nodes: Nodes,
        training: str,
        job_dir: str,
        checkpoints: t.Sequence[int] = (),
        trained: bool = False,
        consequence: Message | None = None,
    ) -> None:
        self.nodes = nodes
        self.training = training
        self.job_dir = job_dir
        self.checkpoints = list(checkpoints)
        self.trained = trained
        self.consequence = consequence
        self._connections: dict[str, Connection] = {}
        self._done: set[str] = set()
        self._began = False
        self._last_sent = 0.0
        self._finished = False
        self._secondary: tuple[float, NodeLost] | None = None

    # -- before the training -----------------------------------------------------------------------------------

    def join(self, pause: t.Callable[[Message], None]) -> Agreement:
        """Wait for all nodes, and agree with them.

        :param pause: called about ten times per second with what the node waits for; may raise an error to stop.
        :raises JobError: if a node does not join in time.
        """
        raise NotImplementedError

    def ready(self, pause: t.Callable[[Message], None]) -> None:
        """Report that this node is ready, and wait for the others.

        :raises NodeLost: if a node fails meanwhile.
        """
        raise NotImplementedError

    def _record(self, agreed: Agreement) -> Agreement:
        write_json(os.path.join(self.job_dir, AGREEMENT_FILE), vars(agreed))
        return agreed

    def _begin_watch(self) -> None:
        self._began = True
        for connection in self._connections.values():
            connection.last_received = time.monotonic()

    # -- during the training -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Send a heartbeat if one is due, and process what the others have sent.

        :raises NodeLost: if a node is lost or has failed.
        """
        now = time.monotonic()
        if self._secondary is not None and now > self._secondary[0]:
            raise self._secondary[1]
        if self._began and now - self._last_sent >= HEARTBEAT_SECONDS:
            self._last_sent = now
            for connection in self._connections.values():
                connection.send(beat=True)
        for name, connection in list(self._connections.items()):
            for message in connection.receive():
                self._handle(name, message)
            if name in self._done or self._finished:
                continue
            if connection.broken:
                raise self._lost(name, Message("distributed.connection_broke", reason=connection.broken))
            if self._began and now - connection.last_received > HEARTBEAT_TIMEOUT_SECONDS:
                raise self._lost(name, Message("distributed.silent", seconds=HEARTBEAT_TIMEOUT_SECONDS))

    def _handle(self, name: str, message: t.Mapping[str, t.Any]) -> None:
        received = message.get("failed")
        if isinstance(received, dict):
            node, problem = str(received.get("node")), Message.from_stored(received)
            if not problem.hint:
                problem = Message("distributed.look_into_log", text=problem, node=node)
            error = self._error(problem, node)
            if not received.get("echo"):
                raise error
            self._secondary = self._secondary or (time.monotonic() + ROOT_CAUSE_SECONDS, error)
            self._done.add(name)
        if message.get("done"):
            self._done.add(name)

    def _lost(self, name: str, why: Message) -> NodeLost:
        code = "distributed.node_lost_during" if self._began else "distributed.node_lost_before"
        return self._error(Message(code, node=name, reason=why), name)

    def _error(self, problem: Message, node: str) -> NodeLost:
        consequence: Message | str = ""
        if self._began and self.consequence is not None and str(self.consequence) not in problem.hint:
            consequence = self.consequence
        return NodeLost("distributed.node_failed", problem=problem, consequence=consequence, details={"node": node})

    def report_failure(self, problem: Message, is_consequence: bool = False) -> None:
        """Report a failure of this node to the others.

        :param is_consequence: whether it is probably a consequence of another node's failure.
        """
        report = Message("distributed.on_node", node=self.nodes.own_name, problem=problem).as_dict()
        for connection in self._connections.values():
            connection.send(failed={"node": self.nodes.own_name, **report, "echo": is_consequence})

    def peer_failure(self, seconds: float = PEER_FAILURE_SECONDS) -> NodeLost | None:
        """Wait some seconds for a failure of another node.

        :returns: the failure; None if no other node reports one.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self.check()
            except NodeLost as error:
                return error
            time.sleep(_POLL_SECONDS)
        return None

    def done(self) -> None:
        """Report that this node has completed its part; lost nodes are ignored from now on."""
        self._finished = True
        for connection in self._connections.values():
            connection.send(done=True)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()


class Leader(Link):
    """The end of the leading node."""

    def join(self, pause: t.Callable[[Message], None]) -> Agreement:
        available = [set(self.checkpoints)]
        server = self._listen(pause)
        joining: list[Connection] = []
        end = time.monotonic() + JOIN_SECONDS
        try:
            while True:
                missing = [name for name in self.nodes.names[1:] if name not in self._connections]
                if not missing:
                    break
                pause(Message("distributed.nodes_awaited", nodes=missing, count=len(missing)))
                if time.monotonic() > end:
                    raise JobError("distributed.nodes_did_not_come", nodes=list(missing), minutes=JOIN_SECONDS / 60)
                with contextlib.suppress(BlockingIOError):
                    joining.append(Connection(server.accept()[0]))
                for candidate in list(joining):
                    joined = self._admit(candidate)
                    if joined is not None:
                        available.append(joined)
                    if joined is not None or candidate.broken:
                        joining.remove(candidate)
                self.check()
        finally:
            server.close()
            for candidate in joining:
                candidate.close()
        own = next(iter(self._connections.values())).address()
        common = set.intersection(*available)
        agreed = Agreement(
            free_port(self.nodes.addresses[0], self.nodes.port + 1),
            own,
            interface_of(own),
            max(common) if common else None,
            self.trained,
        )
        for connection in self._connections.values():
            connection.send(begin={"port": agreed.port, "resume": agreed.resume, "trained": self.trained})
        return self._record(agreed)

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

    def _admit(self, candidate: Connection) -> set[int] | None:
        """Process the request of a connection to join.

        :returns: the checkpoints of the node; None if it has not joined (yet).
        """
        for message in candidate.receive():
            request = message.get("join")
            if not isinstance(request, dict):
                candidate.broken = Message("distributed.not_a_node")
                break
            if request.get("training") != self.training:
                other = Message("distributed.other_training_awaited", node=self.nodes.own_name)
                candidate.send(wait=str(other), wait_message=other.as_dict())
            elif request.get("session") != self.nodes.session:
                refused = Message("distributed.other_attempt", node=self.nodes.own_name)
                candidate.send(refused=str(refused), refused_message=refused.as_dict())
            elif request.get("rank") not in range(1, self.nodes.count):
                refused = Message("distributed.node_unknown", node=self.nodes.own_name, rank=str(request.get("rank")))
                candidate.send(refused=str(refused), refused_message=refused.as_dict())
            else:
                name = self.nodes.names[int(request["rank"])]
                if name in self._connections:
                    self._connections.pop(name).close()  # its supervisor was restarted
                self._connections[name] = candidate
                return {step for step in request.get("checkpoints") or [] if isinstance(step, int)}
            candidate.broken = Message("distributed.connection_closed")
        if candidate.broken:
            candidate.close()
        return None

    def ready(self, pause: t.Callable[[Message], None]) -> None:
        self._ready: set[str] = set()
        while True:
            missing = [name for name in self._connections if name not in self._ready]
            if not missing:
                break
            pause(Message("distributed.readiness_awaited", nodes=missing, count=len(missing)))
            self.check()
        for connection in self._connections.values():
            connection.send(go=True)
        self._begin_watch()

    def _handle(self, name: str, message: t.Mapping[str, t.Any]) -> None:
        if message.get("ready"):
            self._ready = {*getattr(self, "_ready", ()), name}
        try:
            super()._handle(name, message)
        except NodeLost as error:
            self._forward(error, name)
            raise

    def _lost(self, name: str, why: Message) -> NodeLost:
        error = super()._lost(name, why)
        self._forward(error, name)
        return error

    def _forward(self, error: NodeLost, source: str) -> None:
        """Forward a failure to the other members, which have connections to the leader only."""
        for name, connection in self._connections.items():
            if name != source:
                connection.send(failed={"node": source, **error.content.as_dict()})


class Member(Link):
    """The end of another node."""

    def join(self, pause: t.Callable[[Message], None]) -> Agreement:
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
                opened = socket.create_connection((self.nodes.addresses[0], self.nodes.port), _CONNECT_SECONDS)
            except ConnectionRefusedError:
                answered = time.monotonic()  # the host is up, and its part has not started yet
            except OSError as error:
                if time.monotonic() - answered > BLOCKED_SECONDS:
                    raise unreachable(
                        self.nodes.own_name, self.nodes.leader, self.nodes.addresses[0], self.nodes.port, error
                    ) from error
            else:
                answered = time.monotonic()
                connection = Connection(opened)
                connection.send(join=join)
                found = self._begin(connection, waiting, pause)
                if isinstance(found, Agreement):
                    return self._record(found)
                connection.close()
                waiting = found or waiting
            until = time.monotonic() + _RETRY_SECONDS
            while time.monotonic() < until:
                pause(waiting)
        raise JobError("distributed.leader_did_not_come", leader=self.nodes.leader, minutes=JOIN_SECONDS / 60)

    def _begin(
        self, connection: Connection, waiting: Message, pause: t.Callable[[Message], None]
    ) -> Agreement | Message | None:
        """Wait until the leader starts the attempt.

        :returns: the agreement, or what to wait for before the next attempt to join.
        """
        while True:
            for message in connection.receive():
                if "refused" in message:
                    reason = Message.from_stored(message.get("refused_message") or message["refused"])
                    raise JobError("distributed.sent_away", reason=reason)
                if "wait" in message:
                    return Message.from_stored(message.get("wait_message") or message["wait"])
                received = message.get("begin")
                if isinstance(received, dict):
                    self._connections[self.nodes.leader] = connection
                    own, master = connection.address(), str(connection.socket.getpeername()[0])
                    resume = received.get("resume")
                    step = resume if isinstance(resume, int) else None
                    return Agreement(
                        int(received["port"]), master, interface_of(own), step, bool(received.get("trained"))
                    )
                self._handle(self.nodes.leader, message)
            if connection.broken:
                return None  # the job of the leader ended, or its supervisor was replaced
            others = Message("distributed.others_awaited", leader=self.nodes.leader)
            pause(others if self.nodes.count > 2 else waiting)

    def ready(self, pause: t.Callable[[Message], None]) -> None:
        self._started = False
        for connection in self._connections.values():
            connection.send(ready=True)
        while not self._started:
            pause(Message("distributed.others_ready_awaited"))
            self.check()
        self._begin_watch()

    def _handle(self, name: str, message: t.Mapping[str, t.Any]) -> None:
        if message.get("go"):
            self._started = True
        super()._handle(name, message)
