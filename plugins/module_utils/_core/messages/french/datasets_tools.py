# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``datasets`` about tools, calls and results."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "datasets.tools_of_conversations": Text(
        "le format {format} n'a pas d'outils, ils seraient perdus",
        "Écrivez ces lignes comme conversations (sharegpt) ou messages (openai), qui ont des outils.",
    ),
    "datasets.call_before": "{role!r} le précède avec un appel",
    "datasets.result_without_call": Text(
        "c'est {role!r}, un résultat, et {expected:join| ou } est attendu : {explanation}",
        "Écrivez l'appel avant lui, ou retirez la ligne.",
    ),
    "datasets.call_without_result": Text(
        "c'est {role!r}, et {expected:join| ou } est attendu : {explanation}",
        "Écrivez le résultat de l'appel avant lui, ou retirez la ligne.",
    ),
    "datasets.tools_undeclared": Text(
        "aucun outil n'est déclaré sous le nom « {name} »",
        "{suggestion} Déclarez-les dans finetune_tools, ou écrivez ici la liste des outils. Déclarés : {sets}.",
    ),
    "datasets.text_after_call": Text(
        "il y a un texte après un appel, et l'entraînement le mettrait avant l'appel",
        "Écrivez le texte avant <tool_call>, ou comme une réponse à part après le résultat.",
    ),
    "datasets.call_not_closed": Text("un appel ne se termine pas par {end}", "Écrivez {end} après chaque appel."),
    "datasets.call_of_unknown_tool": Text(
        "la ligne n'a pas d'outil {name!r}",
        "{suggestion} Ses outils sont {tools}. Ajoutez l'outil, ou corrigez l'appel.",
    ),
    "datasets.call_id_twice": Text("deux appels ont l'id {id!r}", "Donnez à chaque appel son propre id."),
    "datasets.call_without_id": Text(
        "les appels qui précèdent n'ont pas d'id, et ceci nomme {id!r}",
        "Donnez cet id à l'appel, ou retirez tool_call_id.",
    ),
    "datasets.call_misses_result": Text(
        "l'appel {id!r} de {name} n'a pas de résultat, et d'autres en ont un", "Ajoutez-lui un tour de rôle tool."
    ),
    "datasets.result_of_no_call": Text(
        "aucun appel précédent n'a l'id {id!r}", "{suggestion} Les appels ont les id {ids:join|, | et }."
    ),
    "datasets.result_twice": Text("l'appel {id!r} a déjà un résultat", "Gardez un résultat par appel."),
    "datasets.result_without_id": Text(
        "il ne dit pas de quel appel il est le résultat, et les autres le disent", "Écrivez l'id de son appel."
    ),
    "datasets.results_too_many": Text(
        "il y a plus de résultats que d'appels avant eux ({calls})", "Gardez un résultat par appel."
    ),
    "datasets.result_of_other_tool": Text(
        "c'est le résultat de {called}, et il nomme {name}", "Écrivez le nom de l'outil appelé, ou aucun."
    ),
    "datasets.tool_twice": Text("il y a déjà un outil {name!r}", "Donnez à chaque outil son propre nom."),
    "datasets.tools_not_given": (
        "{name} : {count} {count:ligne a|lignes ont} dans leurs outils ou appels quelque chose qu'aucun serveur ne "
        "redonne au modèle ; l'entraînement l'omet, ou peut l'écrire autrement : {examples:join| ; }."
    ),
    "datasets.two_thoughts": Text("la réponse a deux réflexions, dans {fields:join| et }", "Retirez l'une d'elles."),
    "datasets.thought_with_marker": Text(
        "la réflexion contient {marker}, qui marque le début et la fin des réflexions",
        "Retirez ce marqueur de la réflexion.",
    ),
    "datasets.tool_value_lost": "{file} ligne {row}, {field} : {what}",
    "datasets.calls_without_tools": (
        "{name} : {count} {count:ligne appelle|lignes appellent} des outils sans en avoir : le modèle apprend à "
        "appeler ce qu'on ne lui montre pas. Ajoutez les outils à la ligne."
    ),
}
