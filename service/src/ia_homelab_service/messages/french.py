# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the training service."""

from __future__ import annotations

from ia_homelab_core.messages.text import Text, Texts

TEXTS: Texts = {
    "service.wrong_fields": Text("La requête a des champs faux : {fields}.", "{only.hint}"),
    "service.field_unknown": Text("Il n'y a pas de champ « {field} ».", "{suggestion}"),
    "service.field_missing": "{field} manque.",
    "service.field_no_text_but": "{field} doit être un texte, et non {value!r}.",
    "service.field_no_text": "{field} doit être un texte.",
    "service.fixed_on_the_page": Text("{field} vaut toujours {value} sur la page.", "Retirez-le."),
    "service.field_no_json": '{field} doit être du JSON comme {{"temperature": 0.2}}, et non {value!r}.',
    "service.body_no_object": "Le corps doit être un objet JSON.",
    "service.body_too_slow": "Le corps de la requête n'est pas arrivé en {seconds} secondes.",
    "service.title_too_slow": "Trop lent",
    "service.body_too_deep": "Le corps a plus de {limit} niveaux d'imbrication.",
    "service.form_too_many_fields": "Le formulaire a plus de {limit} champs.",
    "service.event_queued": "Mis en file d'attente.",
    "service.event_queued_again": "Remis en file d'attente.",
    "service.event_cancelling": "Arrêt demandé.",
    "service.event_step_started": "{step} a commencé.",
    "service.event_evaluated": "{version} : {line}",
    "service.event_step_done": "{step} est terminé.",
    "service.event_step_stopped": "{step} a été arrêté.",
    "service.event_step_failed": "{step} a échoué.",
    "service.event_step_failed_because": "{step} a échoué : {problem}",
    "service.event_succeeded": "Réussi.",
    "service.event_cancelled": "Annulé.",
    "service.event_failed": "Échoué.",
    "service.event_failed_because": "Échec : {problem}",
    "service.title_bad_request": "Requête incorrecte",
    "service.title_token_needed": "Jeton nécessaire",
    "service.title_not_allowed": "Non autorisé",
    "service.title_not_found": "Introuvable",
    "service.title_method_not_allowed": "Méthode non autorisée",
    "service.title_conflict": "Conflit",
    "service.title_too_large": "Trop grand",
    "service.title_unsupported_media_type": "Type de média non pris en charge",
    "service.title_wrong_host": "Mauvais hôte",
    "service.title_wrong_fields": "Champs incorrects",
    "service.title_too_many": "Trop de requêtes",
    "service.title_failure": "Échec",
    "service.title_another_server_failed": "Échec d'un autre serveur",
    "service.title_not_ready": "Pas prêt",
    "service.title_error": "Erreur",
    "service.path_unknown": "Il n'y a rien à l'adresse {path}.",
    "service.method_not_allowed": "{path} n'accepte pas {method}.",
    "service.failed": Text("Le service a échoué.", "C'est une erreur du programme : consultez le journal du service."),
    "service.host_unknown": Text(
        "Ce service n'est pas connu sous ce nom.",
        "Ajoutez ce nom à training_service_allowed_hosts s'il désigne cette machine.",
    ),
    "service.host_unknown_without_tokens": Text(
        "Ce service n'est pas connu sous ce nom.",
        "Sans jetons (training_service_no_token), il n'est joignable que sous le nom 127.0.0.1 ou localhost.",
    ),
    "service.forwarded": Text(
        "La requête a été transmise par un proxy ({header}).",
        "Ajoutez l'adresse du proxy à training_service_trusted_proxies s'il est à vous.",
    ),
    "service.forwarded_without_tokens": Text(
        "La requête a été transmise par un proxy ({header}).",
        "Sans jetons (training_service_no_token), aucune requête d'un proxy n'est acceptée.",
    ),
    "service.origin_not_allowed": Text(
        "Les pages d'un autre site n'ont pas le droit de faire cela.",
        "Ajoutez son origine à training_service_allowed_origins si ce site est le vôtre.",
    ),
    "service.too_many_streams": "Il y a trop de flux d'événements.",
    "service.rows_wrong": Text(
        "{total} {total:défaut|défauts} dans les lignes. Le premier : {place} : {problem}.",
        "{problem.hint}",
    ),
    "service.stopping": "Le service s'arrête.",
    "service.no_server_answers": "Aucun serveur de modèles ne répond.",
    "service.server_silent": Text("{server} ne répond pas : {reason}.", "Vérifiez qu'il est démarré."),
    "service.server_gave_no_reason": "Le serveur n'a pas donné de raison.",
    "service.answer_broke_off": "La réponse s'est interrompue : {reason}.",
    "service.body_not_sent_as_json": "Le corps doit être du JSON, envoyé avec Content-Type: application/json.",
    "service.body_no_json": "Le corps n'est pas du JSON.",
    "service.body_half_character": "Le corps contient un caractère incomplet (un demi-codet isolé).",
    "service.body_too_large": "Le corps a plus de {limit} octets.",
    "service.body_too_large_here": Text("Le corps a plus de {limit} octets.", "Si c'est voulu, augmentez {variable}."),
    "service.file_missing": "Il n'y a pas de fichier dans la requête, ou il est vide.",
    "service.inventory_only": Text(
        "{option} se déclare dans un inventaire : plusieurs machines n'entraînent ensemble que là où Ansible "
        "le leur demande à toutes.",
        "Appliquez-le avec playbooks/finetune.yml.",
    ),
    "service.goal_twice": "goal est donné deux fois : comme {first} et comme {second}.",
    "service.goal_unknown": "goal doit être parmi {known}, et non {goal!r}.",
    "service.export_format_unknown": Text("Il n'y a pas de format {format!r}.", "Le format est gguf."),
    "service.status_unknown": Text("Aucune exécution n'a l'état « {status} ».", "{suggestion}"),
    "service.row_format_unknown": Text("Il n'y a pas de format « {format} ».", "{suggestion}"),
    "service.row_invalid": Text("Ligne {row} : {defect}.", "{defect.hint}"),
    "service.upload_too_large": Text(
        "L'envoi est plus grand que les {bytes} octets pour lesquels il y a de la place.",
        "Supprimez les fichiers qui ne servent plus, ou augmentez training_service_upload_quota_bytes.",
    ),
    "service.job_id_invalid": "{job!r} n'est pas l'identifiant d'une exécution.",
    "service.job_unknown": "Il n'y a pas d'exécution « {job} ».",
    "service.job_unknown_suggested": Text("Il n'y a pas d'exécution « {job} ».", "{problem.hint}"),
    "service.job_trains_nothing": Text(
        "L'exécution {job} n'entraîne rien.",
        "Exportez une exécution que POST /api/train a renvoyée.",
    ),
    "service.job_not_trained": Text(
        "L'exécution {job} n'est pas encore entraînée.",
        "Attendez que GET /api/status/{job} annonce succeeded.",
    ),
    "service.job_ended": "L'exécution {job} est terminée : il n'y a rien à mettre en pause.",
    "service.job_succeeded": "L'exécution {job} a réussi : il n'y a rien à reprendre.",
    "service.step_unknown": Text("L'exécution {job} n'a pas d'étape {step!r}.", "Ses étapes sont {known}."),
    "service.model_not_registered": "Il n'y a pas de modèle {tag!r} qu'une exécution ait enregistré.",
    "service.model_gone": Text("{tag} n'est plus dans Ollama.", "Demandez de nouveau son affinage."),
    "service.not_evaluated": Text(
        "{tag} n'a pas été évalué.", "Déclarez evaluation ou gate pour son affinage, puis appliquez-le."
    ),
    "service.nothing_to_compare": Text(
        "{tag} et {against} n'ont répondu à aucune question commune.",
        "Évaluez les deux avec les mêmes lignes, questions témoins ou questions de la porte de qualité.",
    ),
    "service.no_model": "Aucune exécution n'a enregistré de modèle {name!r}.",
    "service.model_alias": Text(
        "« {name} » n'est pas une version, mais un nom déplacé d'une version à l'autre.",
        "Supprimez une version par sa propre étiquette, comme {tag}.",
    ),
    "service.form_too_old": Text("Le formulaire était trop ancien.", "Envoyez-le de nouveau."),
    "service.origin_missing": "La session d'un navigateur doit donner son Origin pour cela.",
    "service.sign_in_needed": Text(
        "Il faut un jeton.",
        "Identifiez-vous sur /login, ou envoyez l'en-tête Authorization: Bearer JETON.",
    ),
    "service.token_needed": Text("Il faut un jeton.", "Envoyez l'en-tête Authorization: Bearer JETON."),
    "service.scope_missing": "Ce jeton n'en a pas le droit : il lui manque la portée {scope}.",
    "service.token_needed_on_host": Text(
        "Il faut un jeton du service ; {variable} et {file_variable} n'en ont pas qui soit connu.",
        "Donnez à {file_variable} le fichier du jeton, comme {example}.",
    ),
    "service.no_token_set": Text(
        "Aucun jeton n'est défini : chaque utilisateur de cette machine pourrait entraîner et supprimer.",
        "Donnez tokens_file (le rôle training_service en crée un), ou dites no_token: true "
        "(training_service_no_token).",
    ),
}
