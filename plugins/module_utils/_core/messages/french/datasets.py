# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``datasets``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "datasets.evaluated_version_gone": Text(
        "La version {fingerprint} d'un jeu de données qui est demandé n'est pas sur cette machine.",
        "Appliquez de nouveau son jeu de données.",
    ),
    "datasets.row_finding": "ligne {row} : {path} : {problem!s}",
    "datasets.name_invalid": Text(
        "Un jeu de données ne peut pas s'appeler « {name} ».",
        "Un nom a jusqu'à 100 lettres, chiffres et . _ - et commence par une lettre ou un chiffre.",
    ),
    "datasets.name_of_file": Text(
        "Un jeu de données ne peut pas s'appeler « {name} », c'est un fichier.",
        "Appelez-le « {instead} ».",
    ),
    "datasets.format_unknown": Text("Il n'y a pas de format « {format} ».", "{suggestion} Il y a {formats}."),
    "datasets.nothing_held_out": Text("held_out {share:g} de {rows} lignes n'en met aucune de côté.", "{advice}"),
    "datasets.smallest_share": (
        "La plus petite part qui choisit une ligne est {smallest:0.3f} ; ou ajoutez des lignes, ou retirez-la."
    ),
    "datasets.too_few_to_validate": (
        "Ajoutez des lignes, ou retirez-la : aucune part jusqu'à {largest:g}, la plus grande, n'en choisit une."
    ),
    "datasets.all_held_out": Text(
        "held_out {share:g} de {rows} lignes ne laisse aucune ligne pour l'entraînement.",
        "Ajoutez des lignes, ou retirez-la ; un jeu de données qui n'est pas appris peut aussi être posé : evaluation, "
        "rows.",
    ),
    "datasets.text_not_asked": Text(
        "Les lignes de {directory} sont du texte simple, qui n'a pas de question à poser.",
        "Nommez un jeu de données avec des questions et des réponses.",
    ),
    "datasets.nothing_to_ask": Text(
        "Aucune des {rows} lignes ne peut être posée. {notes!s:join| }",
        "Nommez un jeu de données avec d'autres questions, ou augmentez held_out.",
    ),
    "datasets.questions_trained": (
        "{count} {count:ligne n'est pas posée|lignes ne sont pas posées} : la question est apprise."
    ),
    "datasets.asked_once": (
        "{count} {count:ligne répète|lignes répètent} une question et sa réponse, qui est posée une fois."
    ),
    "datasets.other_answers": (
        "{count} {count:ligne a|lignes ont} une autre réponse à une question posée ; la première est la référence."
    ),
    "datasets.questions_contained": (
        "{count} {count:conversation contient|conversations contiennent} une question mise de côté, et "
        "{count:n'est ni apprise ni posée|ne sont ni apprises ni posées}."
    ),
    "datasets.calls_trained": (
        "{count} {count:appel n'est pas demandé|appels ne sont pas demandés} : une autre ligne avec la même "
        "question est apprise."
    ),
    "datasets.not_asked_disliked": (
        "{count} {count:ligne n'est pas posée|lignes ne sont pas posées} : une réponse rejetée n'est pas une référence."
    ),
    "datasets.not_asked_empty": (
        "{count} {count:ligne n'est pas posée|lignes ne sont pas posées} : la dernière réponse est vide."
    ),
    "datasets.not_asked_thought": (
        "{count} {count:ligne n'est pas posée|lignes ne sont pas posées} : la réflexion se confond avec la réponse."
    ),
    "datasets.unknown": Text(
        "Il n'y a pas de jeu de données « {name} » dans {directory}.",
        "{suggestion} Il y a : {known}.",
    ),
    "datasets.none_yet": Text(
        "Il n'y a pas de jeu de données « {name} » dans {directory}.",
        "Il n'y en a encore aucun : déclarez-le avec le module dataset.",
    ),
    "datasets.at_row_and_line": "ligne de données {row} (ligne {line} du fichier)",
    "datasets.at_row": "ligne de données {row}",
    "datasets.at_line": "ligne {line} du fichier",
    "datasets.at_field": "champ {field}",
    "datasets.problem": Text("{place} : {defect}.", "{defect.hint}"),
    "datasets.refused": Text(
        "Le jeu de données {name} est refusé, {count} : {problems!s:join| } {more}",
        "Ce qui existait avant est laissé tel quel.",
    ),
    "datasets.one_problem": "un problème",
    "datasets.at_least": "au moins {count} problèmes",
    "datasets.exactly": "{count} problèmes",
    "datasets.and_more": "Et {count} de plus.",
    "datasets.and_at_least": "Et au moins {count} de plus.",
    "datasets.kind_null": "null",
    "datasets.kind_boolean": "un booléen ({value})",
    "datasets.kind_number": "un nombre ({value})",
    "datasets.kind_huge_number": "un nombre (énorme)",
    "datasets.kind_text": "un texte ({value})",
    "datasets.kind_list": "une liste de {count}",
    "datasets.kind_object": "un objet",
    "datasets.defect": Text("{problem}", "{fix}"),
    "datasets.yaml_on_controller": Text(
        "YAML n'est lu que sur le contrôleur",
        "Donnez-le comme src sans remote_src, ou en JSON.",
    ),
    "datasets.extension_unknown": Text(
        "un fichier nommé *{extension} n'est pas lu",
        "Les jeux de données sont lus de fichiers .json, .jsonl et .csv, et de fichiers .yml et .yaml du contrôleur.",
    ),
    "datasets.no_extension": Text(
        "le nom n'a pas d'extension",
        "Les jeux de données sont lus de fichiers .json, .jsonl et .csv, et de fichiers .yml et .yaml du contrôleur.",
    ),
    "datasets.no_such_file": Text("ce fichier n'existe pas", "Vérifiez le chemin et ses droits."),
    "datasets.may_not_be_read": Text(
        "cet utilisateur n'a pas le droit de le lire",
        "Vérifiez le chemin et ses droits.",
    ),
    "datasets.file_empty": Text("il est vide", "Mettez-y au moins une ligne."),
    "datasets.other_encoding": Text(
        "le fichier est en {encoding}",
        "Enregistrez le fichier en UTF-8 sans marque d'ordre des octets.",
    ),
    "datasets.no_text_file": Text(
        "le fichier est en UTF-16, en UTF-32, ou n'est pas du texte",
        "Enregistrez le fichier en UTF-8 sans marque d'ordre des octets.",
    ),
    "datasets.not_utf8": Text(
        "l'octet {byte} à la position {offset} n'est pas de l'UTF-8 ({reason})",
        "Enregistrez le fichier en UTF-8 sans marque d'ordre des octets.",
    ),
    "datasets.line_too_long": Text("la ligne a plus de {limit} octets", "Écrivez une ligne de données par ligne."),
    "datasets.no_csv": Text(
        "ce n'est pas du CSV valide ({reason})",
        'Mettez une cellule avec des guillemets ou des retours à la ligne entre "…", et écrivez-y " comme "".',
    ),
    "datasets.cells_differ": Text(
        "elle a {cells} cellules, et l'en-tête en a {columns}",
        'Mettez entre "…" les cellules qui contiennent un séparateur.',
    ),
    "datasets.key_given_twice": Text("il est donné deux fois dans un objet", "Gardez-en un."),
    "datasets.no_json_value": Text(
        "{value} n'est pas une valeur de JSON",
        "Écrivez null s'il n'y a pas de valeur, et le texte entre guillemets.",
    ),
    "datasets.mark_inside": Text(
        "il est précédé d'une marque d'ordre des octets (U+FEFF), comme là où deux fichiers sont joints",
        "Retirez-la, ou enregistrez chaque fichier en UTF-8 sans marque d'ordre des octets avant de les joindre.",
    ),
    "datasets.no_json": Text("ce n'est pas du JSON valide", "Vérifiez les guillemets, les virgules et les crochets."),
    "datasets.nested_too_deeply": "il y a trop de niveaux d'imbrication",
    "datasets.no_json_at": "ce n'est pas du JSON valide ({reason}, au caractère {position} de la ligne)",
    "datasets.value_expected": (
        "ce n'est pas du JSON valide (une valeur est attendue au caractère {position} de la ligne)"
    ),
    "datasets.no_json_because": "ce n'est pas du JSON valide ({reason})",
    "datasets.row_too_long": Text("la ligne a plus de {limit} caractères", "Divisez-la."),
    "datasets.more_after_row": Text(
        "il y a quelque chose après la ligne : {rest}",
        "Écrivez une ligne de données par ligne.",
    ),
    "datasets.forms_of_json": (
        "Un fichier JSON est une liste de lignes, [{{…}}, {{…}}], ou une ligne complète par ligne."
    ),
    "datasets.check_line": (
        "Vérifiez les guillemets, les virgules et les crochets ; une ligne de données complète par ligne."
    ),
    "datasets.row_without_end": Text(
        "la ligne a plus de {limit} caractères, ou sa fin manque",
        "Vérifiez ses guillemets et ses crochets, ou divisez-la.",
    ),
    "datasets.ends_in_list": "le fichier se termine dans la liste",
    "datasets.ends_in_row": "le fichier se termine dans la ligne ; {problem}",
    "datasets.check_json": "Vérifiez les guillemets, les virgules et les crochets.",
    "datasets.no_row": Text("il ne contient aucune ligne", "Mettez-y au moins une ligne."),
    "datasets.column_twice": Text("l'en-tête l'a deux fois", "Donnez à chaque colonne un nom à elle."),
    "datasets.field_missing": Text("il manque", "Donnez le champ « {field} » à chaque ligne."),
    "datasets.preference_field": Text(
        "il appartient aux données de préférence (dpo, rm, kto), et la première ligne fait de ceci un jeu de "
        "données pour {kind}",
        "Gardez une seule sorte de lignes par jeu de données : mettez ces lignes dans un autre, ou retirez le champ du "
        "fichier.",
    ),
    "datasets.answer_beside_pair": Text(
        "c'est la réponse de lignes pour sft, et chosen ou rejected dans la première ligne font de ceci un jeu de "
        "données pour preference",
        "Pour dpo et rm, retirez le champ du fichier ; pour sft, retirez chosen et rejected.",
    ),
    "datasets.answer_apart": Text(
        "c'est le dernier tour de la conversation, séparé des autres",
        "Ajoutez-le à la liste des autres tours, et mettez columns à {{messages: …}} avec le champ de cette liste.",
    ),
    "datasets.field_is_column": Text("c'est ce que LLaMA-Factory appelle {column}", "Mettez columns à {columns}."),
    "datasets.field_has_other_name": Text("il manque ; ici, il s'appelle « {name} »", "Mettez columns à {columns}."),
    "datasets.label_unclear": Text(
        "il dit peut-être si la réponse a plu, mais ce n'est ni true ni false",
        "Si c'est le cas, écrivez true ou false (en JSON ; une cellule d'un CSV est toujours du texte) et mettez "
        "columns à {columns} ; s'il dit autre chose, nommez-le dans ignore_fields.",
    ),
    "datasets.rows_in_field": Text(
        "les lignes sont dans ce champ d'un objet, et un fichier de lignes est une liste, ou une ligne de données par "
        "ligne",
        "N'écrivez que la liste dans le fichier, par exemple avec jq '.[\"{field}\"]' FICHIER > NOUVEAU_FICHIER.",
    ),
    "datasets.history_of_alpaca": Text(
        "seul le format alpaca a un historique, ici il serait perdu",
        "Écrivez les questions et réponses antérieures comme tours, avant les autres.",
    ),
    "datasets.no_media": Text("on n'entraîne pas ici sur des images, des films ou des sons", "Retirez ces lignes."),
    "datasets.field_of_other_format": Text(
        "il n'appartient pas au format {format}",
        "Fixez le format, et gardez-en un seul par jeu de données.",
    ),
    "datasets.set_columns": "Mettez columns à {columns} si c'est ce que c'est.",
    "datasets.field_unknown_suggested": Text(
        "le format {format} n'a pas ce champ, il serait perdu",
        "{suggestion} Sinon, retirez-le, ou nommez-le dans ignore_fields.",
    ),
    "datasets.field_unknown": Text(
        "le format {format} n'a pas ce champ, il serait perdu",
        "Retirez-le, ou nommez-le dans ignore_fields.",
    ),
    "datasets.scalar_not_text": Text("c'est {kind}, et non un texte", "Mettez-le entre guillemets."),
    "datasets.not_text": Text("c'est {kind}, et non un texte", "Écrivez du texte."),
    "datasets.turns_not_text": Text(
        "c'est {kind}, et non un texte : les tours d'une conversation",
        "Écrivez toute la ligne en tours : ceux qui sont communs dans messages, et un tour dans chosen et dans "
        "rejected si elle en a.",
    ),
    "datasets.empty": Text("il est vide", "Écrivez-le, ou retirez la ligne."),
    "datasets.nul": Text("il contient un caractère NUL", "Retirez-le."),
    "datasets.row_no_object": Text("la ligne est {kind}, et non un objet", "Écrivez les lignes comme {{{example}}}."),
    "datasets.turns_no_list": Text("c'est {kind}, et non une liste", "Écrivez une liste de tours."),
    "datasets.no_turns": Text("elle est vide", "Écrivez une question et sa réponse, ou retirez la ligne."),
    "datasets.turn_no_object": Text("c'est {kind}, et non un objet", "Écrivez les tours comme {example}."),
    "datasets.role_missing": Text("il manque", "Dites qui parle : {roles}."),
    "datasets.role_unknown": Text("il n'y a pas de rôle {role!r}", "{suggestion} Les rôles sont {roles}."),
    "datasets.turn_key_unknown": Text("un tour n'a pas cette clé, elle serait perdue", "Retirez-la du tour."),
    "datasets.turn_key_suggested": Text(
        "un tour n'a pas cette clé, elle serait perdue",
        "{suggestion} Sinon, retirez-la du tour.",
    ),
    "datasets.weight_zero": Text(
        "avec le poids 0, on ne doit pas entraîner sur cette réponse, et LLaMA-Factory entraîne sur toutes les "
        "réponses d'une ligne",
        "Terminez la ligne avant cette réponse, ou retirez la ligne. S'il ne faut entraîner que sur la dernière "
        "réponse, retirez les poids et déclarez extra: {{mask_history: true}}.",
    ),
    "datasets.weight_invalid": Text("c'est {kind}, et un poids est 0 ou 1", "Écrivez 1, ou retirez-le du tour."),
    "datasets.late_system_prompt": Text("une invite système n'est qu'au début", "Mettez-la en tête."),
    "datasets.two_system_prompts": Text("elle diffère de l'invite système dans {field}", "Gardez-en une."),
    "datasets.first_turn": "c'est le premier",
    "datasets.turn_before": "{role!r} le précède",
    "datasets.role_out_of_order": Text(
        "c'est {role!r}, et {expected:join| ou } est attendu : {explanation}",
        "Faites alterner la question et la réponse.",
    ),
    "datasets.last_turn_no_answer": Text(
        "le dernier tour n'est pas de l'assistant",
        "Terminez par la réponse que le modèle doit apprendre, ou retirez la ligne.",
    ),
    "datasets.last_turn_no_question": Text(
        "le dernier tour n'est pas une question",
        "Terminez par ce à quoi les deux réponses répondent ; elles sont dans chosen et rejected.",
    ),
    "datasets.content_missing": Text("il manque", "Écrivez ce qui est dit."),
    "datasets.same_answers": Text(
        "c'est la même que chosen, il n'y a donc rien à apprendre",
        "Écrivez deux réponses différentes, ou retirez la ligne.",
    ),
    "datasets.tag_no_boolean": Text(
        "c'est {kind}, et non true ou false",
        "Écrivez true ou false, sans guillemets ; une cellule de CSV est toujours du texte, écrivez donc ces "
        "lignes en JSON.",
    ),
    "datasets.row_cut_off": (
        "1 ligne est probablement plus longue que cutoff_len {cutoff_len} (estimé à {bytes_per_token:g} octets par "
        "jeton ; l'entraînement compte avant de commencer) et serait coupée, les réponses d'abord : augmentez "
        "cutoff_len, ou raccourcissez-la."
    ),
    "datasets.rows_cut_off": (
        "{count} lignes sur {rows} sont probablement plus longues que cutoff_len {cutoff_len} (estimé à "
        "{bytes_per_token:g} octets par jeton ; l'entraînement compte avant de commencer) et seraient coupées, les "
        "réponses d'abord : augmentez cutoff_len, ou raccourcissez-les."
    ),
    "datasets.training_row_invalid": Text(
        "Ligne {row} du jeu de données : {problem!s}", "Corrigez ses outils ; le module dataset nomme la source."
    ),
    "datasets.rows_new": "les lignes sont nouvelles",
    "datasets.rows_changed": "les lignes ont changé",
    "datasets.rows_exist": "les lignes existent",
    "datasets.other_tools": "les outils {names} ont changé",
    "datasets.version_incomplete": "la version est incomplète",
    "datasets.name_new": "le nom est nouveau",
    "datasets.name_exists": "le nom existe",
    "datasets.name_of_other_version": "le nom désigne autre chose",
    "datasets.info_entry_changed": "l'entrée dans dataset_info.json a été modifiée",
}
