# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``artifacts``."""

from __future__ import annotations

from ..text import Texts

TEXTS: Texts = {
    "artifacts.not_made": "pas encore produit",
    "artifacts.receipt_of_other": "son reçu est celui d'un autre résultat",
    "artifacts.no_weights": "fusionné en chemin, et ses poids sont demandés maintenant",
    "artifacts.pruned": "supprimé pour faire de la place",
    "artifacts.file_gone": "{file} a disparu",
    "artifacts.size_differs": "{file} a {bytes} octets au lieu de {expected}",
    "artifacts.receipt_damaged": "son reçu est endommagé",
    "artifacts.unreadable": "{path} : {reason}",
}
