# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``distributed``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "distributed.ports_taken": Text(
        "All ports from {first} to {last} are taken.",
        "Stop one of the programs that listen there.",
    ),
    "distributed.unreachable": Text(
        "{host} cannot reach {other} at {address}, port {port}: {reason}.",
        "The nodes of a training need every TCP port of each other: open the firewall between them, or name "
        "the right address of the host (finetune_node_address).",
    ),
    "distributed.nodes_did_not_come": Text(
        "{nodes} did not come within {minutes:.0f} minutes.",
        "Another training may be at work there (playbooks/status.yml shows it): apply again after it.",
    ),
    "distributed.port_taken": Text(
        "The port {port}, on which the other nodes are waited for, is taken.",
        "Apply again: another one is chosen.",
    ),
    "distributed.leader_did_not_come": Text(
        "{leader} did not come within {minutes:.0f} minutes.",
        "Another training may be at work there (playbooks/status.yml shows it): apply again after it.",
    ),
    "distributed.nodes_unreadable": "These are no nodes of a training: {reason!r}.",
    "distributed.nodes_invalid": "These are no nodes of a training: {count} of them, and a rank {rank}.",
    "distributed.nodes_disagree": "The nodes of {job_dir} have not agreed upon anything.",
    "distributed.host_named_twice": Text("{option}: {hosts} is named twice.", "Name each host once."),
    "distributed.host_unknown": Text("{option}: there is no host or group {name!r} in the inventory.", "{suggestion}"),
    "distributed.name_hosts": "Name hosts as the inventory does, or groups of them.",
    "distributed.node_failed": Text("{problem}", "{problem.hint} {consequence}"),
    "distributed.look_into_log": Text("{text}", "Look into the log of the job on {node}, and apply again."),
    "distributed.on_node": Text("{node}: {problem}", "{problem.hint}"),
    "distributed.node_lost_before": Text(
        "The node {node} was lost before the training began: {reason}.",
        "Look whether {node} is up and can be reached, and apply again.",
    ),
    "distributed.node_lost_during": Text(
        "The node {node} was lost while the training ran: {reason}.",
        "Look whether {node} is up and can be reached, and apply again.",
    ),
    "distributed.connection_broke": "the connection to it broke ({reason})",
    "distributed.silent": "nothing was heard of it for {seconds:.0f} seconds",
    "distributed.nodes_awaited": "the {count:node|nodes} {nodes}",
    "distributed.port_awaited": "the port {port}, which another program uses",
    "distributed.other_training_awaited": "{node}, which runs another training",
    "distributed.readiness_awaited": "{nodes}, which {count:is|are} not ready yet",
    "distributed.others_awaited": "the other nodes, with {leader}",
    "distributed.others_ready_awaited": "the other nodes to be ready",
    "distributed.other_attempt": "{node} makes another attempt at this training now.",
    "distributed.node_unknown": "This training has no node {rank} on {node}.",
    "distributed.sent_away": Text("{reason}", "Apply again."),
}
