# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``releases``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "releases.regex_too_slow": Text(
        "Une expression régulière de la porte dépasse {seconds} secondes ou sa mémoire pour une réponse : {pattern!r}.",
        "Évitez les répétitions dans des répétitions, comme (a+)+.",
    ),
    "releases.never_promoted": Text(
        "Rien du modèle {name} n'a jamais été promu ici.",
        "Donnez le nom d'un modèle déclaré dans finetunes.",
    ),
    "releases.rollback_target_gone": Text(
        "{name} ne peut pas revenir en arrière : {tag} n'est plus dans Ollama.",
        "playbooks/status.yml montre les versions qu'il y a.",
    ),
    "releases.no_other_version": Text(
        "{name} ne peut pas revenir en arrière : il n'a pas eu d'autre version.",
        "playbooks/status.yml montre les versions qu'il y a.",
    ),
    "releases.answers": "{met} réponses sur {asked} de {model} sont comme attendu.",
    "releases.answers_of_both": "{met} réponses sur {asked} de {model} sont comme attendu, {served_met} de {served}.",
    "releases.not_in_ollama": "{tag} n'est pas dans Ollama",
    "releases.alias_differs": "{alias} est un autre modèle que {tag}",
    "releases.alias_missing": "{alias} n'existe pas et doit être {tag}",
    "releases.held": (
        "{name} : maintenu à {held} par un retour arrière du {since}, {tag} n'est donc pas promu. Levez le "
        "maintien avec playbooks/rollback.yml -e model={name} -e release=true, ou déclarez autre chose."
    ),
}
