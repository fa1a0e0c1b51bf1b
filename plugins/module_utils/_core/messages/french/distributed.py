# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``distributed``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "distributed.unreachable": Text(
        "{host} ne peut pas joindre {other} à l'adresse {address}, port {port} : {reason}.",
        "Les nœuds d'un entraînement ont besoin de tous les ports TCP les uns des autres : ouvrez le pare-feu entre "
        "eux, ou indiquez la bonne adresse de l'hôte (finetune_node_address).",
    ),
    "distributed.nodes_did_not_come": Text(
        "{nodes} : non rejoints en {minutes:.0f} minutes.",
        "Un autre entraînement y est peut-être en cours (voir playbooks/status.yml) : appliquez de nouveau ensuite.",
    ),
    "distributed.port_taken": Text(
        "Le port {port}, sur lequel les autres nœuds doivent se connecter, est occupé.",
        "Appliquez de nouveau : un autre port est choisi.",
    ),
    "distributed.leader_did_not_come": Text(
        "{leader} n'a pas commencé l'entraînement en {minutes:.0f} minutes.",
        "Un autre entraînement y est peut-être en cours (voir playbooks/status.yml) : appliquez de nouveau ensuite.",
    ),
    "distributed.look_into_log": Text("{text}", "Lisez le journal du travail sur {node}, puis appliquez de nouveau."),
    "distributed.node_lost_before": Text(
        "Le nœud {node} a été perdu avant le début de l'entraînement : {reason}.",
        "Vérifiez que {node} est allumé et joignable, puis appliquez de nouveau.",
    ),
    "distributed.node_lost_during": Text(
        "Le nœud {node} a été perdu pendant l'entraînement : {reason}.",
        "Vérifiez que {node} est allumé et joignable, puis appliquez de nouveau.",
    ),
    "distributed.connection_broke": "la connexion a été perdue ({reason})",
    "distributed.connection_closed": "il a fermé la connexion",
    "distributed.not_a_node": "ce n'est pas un nœud d'un entraînement",
    "distributed.no_answer": "pas de réponse",
    "distributed.other_program_answers": "un autre programme écoute sur ce port",
    "distributed.silent": "aucun signe de vie depuis {seconds:.0f} secondes",
    "distributed.nodes_awaited": "{count:le nœud|les nœuds} {nodes}",
    "distributed.port_awaited": "le port {port}, qu'un autre programme occupe",
    "distributed.other_training_awaited": "{node}, qui exécute un autre entraînement",
    "distributed.readiness_awaited": "{nodes}, qui se {count:prépare|préparent}",
    "distributed.others_awaited": "les autres nœuds, avec {leader}",
    "distributed.others_ready_awaited": "les autres nœuds, qui se préparent",
    "distributed.other_attempt": "{node} fait maintenant une autre tentative de cet entraînement.",
    "distributed.node_unknown": "Cet entraînement n'a pas de nœud {rank} sur {node}.",
    "distributed.sent_away": Text("{reason}", "Appliquez à nouveau."),
}
