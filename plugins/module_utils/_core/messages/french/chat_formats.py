# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``chat_formats``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "chat_formats.an_object": "un objet",
    "chat_formats.a_list": "une liste",
    "chat_formats.a_text": "un texte",
    "chat_formats.null": "null",
    "chat_formats.not_in_json": "{path} est {value}, ce que JSON n'a pas.",
    "chat_formats.function_without_name": Text(
        "{path} n'a pas de nom de fonction.", "Donnez à chaque outil un nom, des paramètres et une description."
    ),
    "chat_formats.history_merges": "une réponse antérieure touche la question suivante sans jeton entre elles",
    "chat_formats.thought_merges": "une réflexion vide d'une réponse antérieure touche le texte qui la précède",
    "chat_formats.markers_merge": (
        "ses marqueurs ne sont pas des jetons uniques, et fusionnent avec la réponse à côté d'eux"
    ),
    "chat_formats.questions_merge": (
        "une question ou l'invite système touche le texte autour d'elle sans jeton ni saut de ligne entre eux"
    ),
    "chat_formats.renderer_forced": (
        "Ollama met en forme les modèles de cette architecture par un code intégré, quoi que dise TEMPLATE"
    ),
    "chat_formats.unknown_to_serve": Text(
        "LLaMA-Factory {version} n'a pas de modèle de conversation « {template} ».",
        "{suggestion} Ceux-ci peuvent être servis tels qu'ils ont été entraînés : {known}.",
    ),
    "chat_formats.inexact": Text(
        "Un modèle entraîné avec le modèle de conversation « {template} » ne peut pas être servi tel qu'il a "
        "été entraîné : {reason}.",
        "{suggestion} Ceux-ci peuvent être servis tels qu'ils ont été entraînés : {known}.",
    ),
    "chat_formats.several_questions_inexact": Text(
        "Un modèle entraîné avec le modèle de conversation « {template} » ne peut pas être servi tel qu'il a "
        "été entraîné dans une conversation de plusieurs questions : {reason}.",
        "{suggestion} Ceux-ci peuvent être servis tels qu'ils ont été entraînés : {known}.",
    ),
    "chat_formats.single_question": (
        "Un modèle entraîné avec le modèle de conversation « {template} » n'est servi tel qu'il a été entraîné que "
        "pour la première question d'une conversation : {reason}."
    ),
    "chat_formats.unknown": Text(
        "LLaMA-Factory {version} n'a pas de modèle de conversation « {template} ».", "Il connaît : {known}."
    ),
    "chat_formats.unknown_suggested": Text(
        "LLaMA-Factory {version} n'a pas de modèle de conversation « {template} ».", "{suggestion}"
    ),
    "chat_formats.argument_refused": Text(
        "extra.{argument} change le texte de l'entraînement d'une manière qu'aucun serveur ne peut suivre : {reason}.",
        "Retirez {argument}.",
    ),
    "chat_formats.tool_format_replaces": (
        "il remplace le texte autour des appels d'outils, et omet la fin que leur donne le modèle de conversation"
    ),
    "chat_formats.markers_split": (
        "il découpe les marqueurs du modèle de conversation, et un serveur lit chacun comme un seul jeton"
    ),
    "chat_formats.train_on_prompt_unsupported": Text(
        "LLaMA-Factory ne permet pas extra.train_on_prompt avec le modèle de conversation « {template} ».",
        "Retirez train_on_prompt.",
    ),
    "chat_formats.mask_history_not_served": Text(
        "extra.mask_history retire les réflexions des réponses antérieures avec le modèle de conversation « "
        "{template} », et un serveur ne le fait pas.",
        "Ajoutez preserve_thinking: true, ou retirez mask_history.",
    ),
    "chat_formats.stage_removes_thoughts": (
        "L'étape {stage} retire les réflexions des réponses antérieures avec le modèle de conversation "
        "{template}, et un serveur ne le fait pas : les lignes de plusieurs tours sont entraînées avec un "
        "autre texte que celui qui est servi."
    ),
    "chat_formats.schema_no_object": Text("c'est {value}, et non un schéma JSON", "Écrivez un objet, true ou false."),
    "chat_formats.schema_too_deep": Text(
        "des schémas sont imbriqués sur plus de {levels} niveaux", "Écrivez un schéma plus plat."
    ),
    "chat_formats.schema_no_list": Text(
        "c'est {value}, et non une liste qui contient quelque chose", "Écrivez une liste."
    ),
    "chat_formats.schemas_no_object": Text("c'est {value}, et non un objet de schémas par nom", "Écrivez un objet."),
    "chat_formats.schema_no_text": Text("c'est {value}, et non un texte", "Écrivez un texte."),
    "chat_formats.keyword_unchecked": Text(
        "le mot-clé {keyword} n'est pas comparé aux valeurs. {suggestion}",
        "Retirez-le, ou dites-le autrement : pattern au lieu de format, par exemple.",
    ),
    "chat_formats.pattern_unreadable": "l'expression {pattern} ne peut pas être lue : {reason}",
    "chat_formats.schema_no_number": Text("c'est {value}, et non un nombre", "Écrivez un nombre."),
    "chat_formats.schema_no_count": Text(
        "c'est {value}, et non un nombre d'éléments", "Écrivez un nombre entier à partir de 0."
    ),
    "chat_formats.schema_type_unknown": Text(
        "{value} n'est pas un type de JSON Schema", "{suggestion} Les types sont {types:join|, | et }."
    ),
    "chat_formats.schema_required_no_names": Text(
        "c'est {value}, et non une liste de noms",
        'Nommez les propriétés obligatoires, à côté de "properties" : "required": ["title"].',
    ),
    "chat_formats.reference_elsewhere": Text(
        "{reference} renvoie à un autre document, et un modèle n'en voit aucun",
        "Écrivez sous $defs ce à quoi elle renvoie, et renvoyez à #/$defs/…",
    ),
    "chat_formats.reference_to_nothing": Text(
        "il n'y a pas de {reference}", "Écrivez sous $defs ce à quoi elle renvoie."
    ),
    "chat_formats.reference_circle": Text(
        "les références tournent en rond : {circle}", "Écrivez ce que l'une d'elles représente."
    ),
    "chat_formats.value_not_allowed": Text("le schéma de l'outil l'exclut", "Corrigez l'appel ou le schéma."),
    "chat_formats.value_of_other_type": Text(
        "c'est {value}, et le schéma de l'outil a {types:join| ou }", "Corrigez l'appel ou le schéma."
    ),
    "chat_formats.value_not_in_enum": Text(
        "c'est {value}, et le schéma de l'outil permet {allowed}", "Corrigez l'appel ou le schéma."
    ),
    "chat_formats.value_fits_none": Text(
        "{value} ne correspond à aucun des schémas de {keyword}", "Corrigez l'appel ou le schéma."
    ),
    "chat_formats.value_fits_several": Text(
        "{value} correspond à plusieurs des schémas de {keyword}", "Corrigez l'appel ou le schéma."
    ),
    "chat_formats.value_not_as_pattern": Text(
        "{value} ne correspond pas au motif {pattern} de l'outil", "Corrigez l'appel ou le schéma."
    ),
    "chat_formats.pattern_too_slow": Text(
        "le motif {pattern} de l'outil demande trop de temps ou de mémoire pour cette valeur",
        "Évitez-y les répétitions dans des répétitions, comme (a+)+.",
    ),
    "chat_formats.value_missing": Text("il manque l'argument {name!r}", "Ajoutez-le, ou ne l'exigez pas dans l'outil."),
    "chat_formats.value_unknown": Text(
        "l'outil n'a pas d'argument {name!r}", "{suggestion} Corrigez l'appel ou l'outil."
    ),
    "chat_formats.value_twice": Text("il contient deux fois la même valeur", "Corrigez l'appel ou le schéma."),
    "chat_formats.value_beyond": Text(
        "c'est {value}, et {keyword} de l'outil est {bound}", "Corrigez l'appel ou le schéma."
    ),
    "chat_formats.calls_with_name": "tous, sauf ceux dont un argument s'appelle name",
    "chat_formats.calls_stay_text": "aucun : un appel reste dans la réponse comme texte",
    "chat_formats.calls_not_closed": (
        "au plus un seul, après une réflexion : LLaMA-Factory n'écrit pas la fin d'un appel"
    ),
    "chat_formats.calls_with_quotes": (
        "tous, sauf ceux dont un texte contient des guillemets, que LLaMA-Factory n'échappe pas"
    ),
    "chat_formats.calls_not_single": "seulement un appel unique sans texte avant lui",
    "chat_formats.tools_declared": "il est déclaré",
    "chat_formats.tools_read": "Ollama relit tous les appels au format de {template}",
    "chat_formats.tools_unread": "des appels au format de {template}, Ollama relit : {unread}",
    "chat_formats.tools_own_parser": (
        "Ollama lit les réponses de {template} avec un analyseur qui lui est propre, qui ne lit aucun appel"
    ),
    "chat_formats.calls_unread": Text(
        "Des appels que le modèle apprend au format de {template}, Ollama relit : {unread}.",
        "Mettez tool_format à auto, qui choisit un format qu'Ollama relit, s'il y en a un.",
    ),
    "chat_formats.tools_trained_before": "un entraînement au format de {template} existe",
    "chat_formats.calls_unread_before": Text(
        "Des appels que le modèle a appris au format de {template}, Ollama relit : {unread}.",
        "Mettez tool_format à house pour l'entraîner à nouveau dans un format qu'il relit.",
    ),
    "chat_formats.house_not_read": Text(
        "tool_format: house ne fonctionne pas avec le modèle de conversation {template} : {reason}.",
        "Retirez tool_format.",
    ),
    "chat_formats.text_beside_not_written": (
        "LLaMA-Factory ne sait pas écrire un texte à côté d'un appel au format de {template}, et {count} {count:ligne "
        "en a|lignes en ont} un"
    ),
    "chat_formats.several_not_written": (
        "LLaMA-Factory ne sait pas écrire plusieurs appels à la fois au format de {template}, et {count} {count:ligne "
        "en a|lignes en ont}"
    ),
    "chat_formats.calls_not_trainable": Text(
        "L'entraînement échouerait : {reason}.", "Mettez tool_format à house, ou laissez-le à auto."
    ),
    "chat_formats.thinking_twice": Text(
        "extra.enable_thinking et thinking: {thinking} décident tous deux de ce que deviennent les réflexions.",
        "Retirez extra.enable_thinking : thinking: keep équivaut à true, et off à false.",
    ),
    "chat_formats.thoughts_unknown": Text(
        "thinking: keep ne fonctionne pas avec le modèle de conversation {template}, qui ne prévoit pas de réflexion.",
        "Retirez thinking, ou prenez un modèle de base avec l'un des modèles de conversation {known}.",
    ),
    "chat_formats.thoughts_not_written": Text(
        "{count} {count:ligne a une réflexion|lignes ont des réflexions} avant la réponse, et le modèle de "
        "conversation {template} n'en prévoit pas : le modèle les apprendrait comme texte de ses réponses.",
        "Mettez thinking à off pour les retirer, ou prenez un modèle de base avec l'un des modèles de conversation "
        "{known}.",
    ),
    "chat_formats.thought_open": Text(
        "{file} ligne {row}, {field} : une réflexion commence par {marker} et ne finit pas. En tout, cela concerne "
        "{count} {count:réponse|réponses}.",
        "Ajoutez la fin de la réflexion avant la réponse, ou retirez le marqueur.",
    ),
    "chat_formats.thought_again": Text(
        "{file} ligne {row}, {field} : il y a un autre {marker} après la réflexion, et une seule réflexion peut "
        "précéder une réponse. En tout, cela concerne {count} {count:réponse|réponses}.",
        "Réunissez les réflexions en une seule avant la réponse.",
    ),
    "chat_formats.thought_alone": Text(
        "{file} ligne {row}, {field} : il n'y a pas de réponse après la réflexion, qui finit par {marker}. En tout, "
        "cela concerne {count} {count:réponse|réponses}.",
        "Ajoutez la réponse, ou retirez la ligne.",
    ),
    "chat_formats.thought_inside": Text(
        "{file} ligne {row}, {field} : {marker} se trouve dans la réponse, et le modèle de conversation en marque les "
        "réflexions. En tout, cela concerne {count} {count:réponse|réponses}.",
        "Placez la réflexion avant la réponse, ou écrivez le marqueur autrement.",
    ),
    "chat_formats.thoughts_mixed": (
        "Sur {total} {total:ligne|lignes}, {count} {count:a|ont} une réflexion avant la réponse et {without} n'en "
        "{without:a|ont} pas. Le modèle apprend à écrire une réflexion vide avant ces dernières."
    ),
    "chat_formats.thoughts_partly": (
        "Dans {partly} {partly:ligne|lignes} sur {total}, seules certaines réponses ont une réflexion. Le modèle "
        "apprend à écrire une réflexion vide avant les autres."
    ),
    "chat_formats.thinking_declared": "c'est ce qui est déclaré",
    "chat_formats.thinking_by_argument": "extra.enable_thinking est défini",
    "chat_formats.thinking_trained_before": (
        "un entraînement avec le modèle de conversation {template} existe, dont les lignes restent comme elles étaient"
    ),
    "chat_formats.thoughts_removed": (
        "{count} {count:ligne|lignes} sur {total} {count:a une réflexion, qui est retirée|ont une réflexion, qui est "
        "retirée}"
    ),
    "chat_formats.thoughts_in_rows": "{count} {count:ligne|lignes} sur {total} {count:a|ont} une réflexion",
    "chat_formats.thoughts_in_no_row": "aucune ligne n'a de réflexion",
    "chat_formats.tokens_differ": (
        "La sonde {probe!r} a {expected} jetons à l'entraînement et {got} dans le serveur, avec le même "
        "texte : le vocabulaire ou le jeton BOS diffère."
    ),
    "chat_formats.prompt_differs": (
        "Le texte de la sonde {probe!r} diffère au caractère {position} : l'entraînement a {expected}, le "
        "serveur {got}."
    ),
}
