# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``system``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "system.disk_full": Text(
        "Le disque est plein : {path} n'a pas pu être écrit ({free:bytes} libres).",
        "Faites de la place sur ce système de fichiers et relancez : ce qui était terminé est gardé.",
    ),
    "system.not_writable": Text(
        "{path} ne peut pas être écrit par l'utilisateur d'identifiant {user} : {reason}.",
        "Lancez en tant que l'utilisateur à qui le répertoire de données appartient.",
    ),
    "system.docker_denied": Text(
        "Le moteur Docker ne répond pas à {address} : {reason}",
        "L'utilisateur des tentatives doit être dans le groupe docker.",
    ),
    "system.docker_unavailable": Text(
        "Le moteur Docker ne répond pas à {address} : {reason}",
        "Démarrez-le avec « systemctl start docker », et regardez « journalctl -u docker ».",
    ),
}
