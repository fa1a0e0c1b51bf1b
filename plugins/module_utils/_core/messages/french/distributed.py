# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``distributed``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
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
