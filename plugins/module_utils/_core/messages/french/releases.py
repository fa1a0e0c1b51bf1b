# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``releases``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "releases.version_served": "{aliases:join|,}",
    "releases.version_held": "{aliases:join|,} (retenue)",
    "releases.version_pruned": "élaguée",
    "releases.version_undetermined": "inconnue : Ollama ne répond pas",
    "releases.version_gone": "absente d'Ollama",
    "releases.version_kept_out": "écartée",
    "releases.version_previous": "précédente",
    "releases.version_kept": "conservée",
    "releases.version_base": "base de {model}, pour les évaluations",
    "releases.place_gate": "la porte de qualité",
    "releases.place_option": "{option} de {place}",
    "releases.no_boolean": "{place:capital} doit être true ou false, et non {value!r}.",
    "releases.regex_too_slow": Text(
        "Une expression régulière de la porte dépasse {seconds} secondes ou sa mémoire pour une réponse : {pattern!r}.",
        "Évitez les répétitions dans des répétitions, comme (a+)+.",
    ),
    "releases.deletes_served": Text(
        "{tag} est servi sous {names}.", "Promouvez d'abord une autre version, puis supprimez celle-ci."
    ),
    "releases.deletes_held": Text("Un retour arrière maintient {tag}.", "Levez d'abord le maintien."),
    "releases.deletes_declared": Text(
        "{tag} est la version déclarée : la prochaine application la réenregistrerait.",
        "Déclarez d'abord une autre version.",
    ),
    "releases.version_in_use": Text(
        "{tag} sert à une exécution qui n'est pas terminée.", "Attendez sa fin, ou annulez-la."
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
    "releases.unmet_not_empty": "est vide",
    "releases.unmet_contains": "ne contient pas {text!r}",
    "releases.unmet_not_contains": "contient {text!r}",
    "releases.unmet_regex": "ne correspond pas à {pattern!r}",
    "releases.unmet_not_regex": "correspond à {pattern!r}",
    "releases.unmet_equals": "n'est pas {text!r}",
    "releases.unmet_not_equals": "est {text!r}",
    "releases.unmet_ends_by_itself": "ne s'est pas terminée d'elle-même en {tokens} {tokens:jeton|jetons}",
    "releases.unmet_max_tokens": "a {tokens} jetons au lieu d'au plus {limit}",
    "releases.unmet_max_tokens_unended": "a {tokens} jetons ou davantage au lieu d'au plus {limit}",
    "releases.unmet_call_unread": "fait un appel que le serveur ne sait pas lire",
    "releases.unmet_no_calls": "appelle {calls}",
    "releases.unmet_calls_none": "n'appelle aucun outil au lieu de {expected}",
    "releases.unmet_calls": "appelle {names} au lieu de {expected}",
    "releases.unmet_argument_missing": "appelle {tool} sans {argument}",
    "releases.unmet_argument": "appelle {tool} avec {argument} {value}, qui {reason}",
    "releases.unmet_argument_equals": "n'est pas {value}",
    "releases.schema_invalid": Text(
        "{place:capital} doit être un schéma JSON, et non {value!r}.",
        "Par exemple : json_schema: {{type: object, required: [title]}}",
    ),
    "releases.schema_faulty": Text(
        "{place:capital} n'est pas un schéma auquel des réponses peuvent être comparées : {path} : {problem}",
        "{problem.hint}",
    ),
    "releases.unmet_json_schema": "est du JSON, mais pas conforme à json_schema : {path} : {reason}",
    "releases.unmet_json": "n'est pas du JSON : {reason}",
    "releases.no_json_value": "{name} n'est pas une valeur JSON",
    "releases.nested_too_deeply": "l'imbrication est trop profonde",
    "releases.failed_question": "{number}. {question}",
    "releases.failed_answer": "   réponse : {answer}",
    "releases.failed_because": "   elle {reasons:join| ; elle }",
    "releases.served_met": "   servi actuellement : {answer} (comme attendu)",
    "releases.served_failed": "   servi actuellement : {answer} (elle {reasons:join| ; elle })",
    "releases.further_failures": "et {count} de plus.",
    "releases.not_in_ollama": "{tag} n'est pas dans Ollama",
    "releases.alias_differs": "{alias} est un autre modèle que {tag}",
    "releases.alias_missing": "{alias} n'existe pas et doit être {tag}",
    "releases.held": (
        "{name} : maintenu à {held} par un retour arrière du {since}, {tag} n'est donc pas promu. Levez "
        "le maintien avec playbooks/rollback.yml -e finetune_name={name} -e finetune_release=true, "
        "ou déclarez autre chose."
    ),
}
