# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``ollama``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "ollama.version_unknown": (
        "Ollama à {url} annonce la version {version!r}, qui est inconnue : {minimum} ou plus récent est nécessaire."
    ),
    "ollama.version_too_old_for_base": Text(
        "Ollama à {url} a la version {version}, qui n'exécute pas les modèles d'architecture {architecture} : "
        "{minimum} ou plus récent est nécessaire.",
        "Mettez-le à jour (le rôle ollama le fait pour un serveur qu'il gère), donnez l'URL d'un autre, ou choisissez "
        "un autre modèle de base.",
    ),
    "ollama.version_too_old": Text(
        "Ollama à {url} a la version {version}, trop ancienne : {minimum} ou plus récent est nécessaire.",
        "Mettez-le à jour (le rôle ollama le fait pour un serveur qu'il gère), ou donnez l'URL d'un autre.",
    ),
    "ollama.no_server": Text(
        "Aucun serveur Ollama ne répond à {url}.",
        "Démarrez-le (« systemctl start ollama », ou « ollama serve »), ou dites où est celui qui tourne.",
    ),
}
