# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``distributed``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "distributed.ports_taken": Text(
        "All ports from {first} to {last} are in use.",
        "Stop one of the programs that listen on them.",
    ),
    "distributed.unreachable": Text(
        "{host} cannot reach {other} at {address}, port {port}: {reason}.",
        "The nodes of a training need every TCP port of each other: open the firewall between them, or name "
        "the right address of the host (finetune_node_address).",
    ),
    "distributed.nodes_did_not_come": Text(
        "{nodes} did not join within {minutes:.0f} minutes.",
        "Another training may be running there (playbooks/status.yml shows it): apply again after it.",
    ),
    "distributed.port_taken": Text(
        "Port {port}, on which the other nodes would join, is in use.",
        "Apply again: another port is chosen.",
    ),
    "distributed.leader_did_not_come": Text(
        "{leader} did not start the training within {minutes:.0f} minutes.",
        "Another training may be running there (playbooks/status.yml shows it): apply again after it.",
    ),
    "distributed.nodes_unreadable": "Invalid description of the nodes of a training: {reason!r}.",
    "distributed.nodes_invalid": "Invalid description of the nodes of a training: {count:node|nodes} and rank {rank}.",
    "distributed.nodes_disagree": "The nodes of the job in {job_dir} have not agreed on a port and a checkpoint.",
    "distributed.host_named_twice": Text("{option}: {hosts} is named twice.", "Name each host once."),
    "distributed.host_unknown": Text("{option}: there is no host or group {name!r} in the inventory.", "{suggestion}"),
    "distributed.name_hosts": "Name hosts or groups of the inventory.",
    "distributed.node_failed": Text("{problem}", "{problem.hint} {consequence}"),
    "distributed.look_into_log": Text("{text}", "Read the log of the job on {node}, and apply again."),
    "distributed.on_node": Text("{node}: {problem}", "{problem.hint}"),
    "distributed.node_lost_before": Text(
        "The node {node} was lost before the training began: {reason}.",
        "Check that {node} is up and reachable, and apply again.",
    ),
    "distributed.node_lost_during": Text(
        "The node {node} was lost while the training ran: {reason}.",
        "Check that {node} is up and reachable, and apply again.",
    ),
    "distributed.connection_broke": "the connection was lost ({reason})",
    "distributed.connection_closed": "it closed the connection",
    "distributed.not_a_node": "it is not a node of a training",
    "distributed.no_answer": "no answer",
    "distributed.other_program_answers": "another program listens on this port",
    "distributed.system_error": "{reason}",
    "distributed.silent": "no heartbeat for {seconds:.0f} seconds",
    "distributed.nodes_awaited": "the {count:node|nodes} {nodes}",
    "distributed.port_awaited": "port {port}, which another program uses",
    "distributed.other_training_awaited": "{node}, which runs another training",
    "distributed.readiness_awaited": "{nodes}, which {count:is|are} not ready yet",
    "distributed.others_awaited": "the other nodes, with {leader}",
    "distributed.others_ready_awaited": "the other nodes to be ready",
    "distributed.other_attempt": "{node} runs another attempt of this training.",
    "distributed.node_unknown": "This training has no node {rank} on {node}.",
    "distributed.sent_away": Text("{reason}", "Apply again."),
}
