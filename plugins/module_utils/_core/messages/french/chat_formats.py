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
    "chat_formats.tokens_differ": (
        "La sonde {probe!r} a {expected} jetons à l'entraînement et {got} dans le serveur, avec le même "
        "texte : le vocabulaire ou le jeton BOS diffère."
    ),
    "chat_formats.prompt_differs": (
        "Le texte de la sonde {probe!r} diffère au caractère {position} : l'entraînement a {expected}, le "
        "serveur {got}."
    ),
}
