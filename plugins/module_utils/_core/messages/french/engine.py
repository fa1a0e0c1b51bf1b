# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``engine``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "engine.python_denied": Text("{path} ne peut pas être exécuté par l'utilisateur des travaux.", "{advice}"),
    "engine.run_unknown": Text("Il n'y a pas d'exécution « {run_id} » dans {directory}.", "{suggestion}"),
    "engine.run_cancelled": Text(
        "{name} : l'exécution {run} a été annulée.",
        "Appliquez de nouveau pour la reprendre : un entraînement repart de son dernier point de reprise s'il en a "
        "écrit un.",
    ),
    "engine.source_unreadable": "La source de {module} ne peut pas être lue.",
    "engine.core_incomplete": "Ce module a été livré avec une partie du noyau et ne peut pas l'installer.",
    "engine.supervisor_not_started": "Le superviseur n'a pas pu démarrer : {reason}.",
    "engine.input_missing": Text(
        "{name} : {step} demande le résultat {kind} {fingerprint} : {reason}.",
        "Faites-le d'abord, avec le module {module}.",
    ),
    "engine.supervisor_lost": "Abandonné : le superviseur de cette tentative a été perdu {times} fois.",
    "engine.node_supervisor_lost": Text(
        "Le superviseur de la part de ce nœud dans l'entraînement a été perdu, et avec lui la liaison avec les autres "
        "nœuds.",
        "Appliquez de nouveau.",
    ),
    "engine.cancelled_before_start": "{kind} a été annulé avant de commencer.",
    "engine.job_directory_removed": "Le répertoire du travail, {job_dir}, a été retiré pendant qu'il s'exécutait.",
    "engine.step_cancelled": "{kind} a été annulé.",
    "engine.run_failed": Text("{name} : {problem}", "{problem.hint}"),
    "engine.not_cleared": Text("{problem} {failure}", "{problem.hint}"),
    "engine.command_killed": Text("{kind} a été tué par le signal {signal} : {problem}", "{problem.hint}"),
    "engine.command_failed": Text("{kind} s'est terminé avec le statut {status} : {problem}", "{problem.hint}"),
    "engine.disk_full": Text(
        "Le disque est plein : {free:bytes} libres dans {path}.",
        "Faites de la place sur ce système de fichiers et relancez : ce qui était terminé est gardé.",
    ),
    "engine.disk_full_as_well": Text(
        "{problem} Le disque est plein : {free:bytes} libres dans {path}.",
        "Faites de la place sur ce système de fichiers et relancez : ce qui était terminé est gardé.",
    ),
    "engine.not_determined": "les étapes restantes ne peuvent pas être déterminées",
    "engine.not_asked": "Le résultat {kind} {fingerprint} n'a pas été vérifié auparavant.",
    "engine.recipe_changed": (
        "{tag} a été enregistré avec la recette {before}, et les invites suivent maintenant la recette {now} : "
        "l'application suivante l'enregistre de nouveau"
    ),
    "engine.drift": "{problems:join| ; }",
    "engine.result_lost": Text(
        "{step} a réussi, mais son résultat est incomplet ou a changé : {cause}.",
        "Autre chose le modifie : cherchez un autre programme qui écrit à cet endroit.",
    ),
    "engine.supervisor_does_not_start": Text("Le superviseur de ce travail ne démarre pas : {reason}", "Voyez {log}."),
    "engine.says_nothing": "il ne dit rien.",
    "engine.run_record_damaged": Text(
        "L'enregistrement de cette exécution est abîmé : {reason}",
        "Il a été modifié de l'extérieur. Appliquez de nouveau : ce qui est terminé est gardé, et l'enregistrement est "
        "réécrit.",
    ),
    "engine.run_changed": "L'exécution {run} a changé.",
    "engine.lease_damaged": Text(
        "L'enregistrement du bail du GPU est illisible. Il a été renommé en {aside}, et {path} compte comme absent.",
        "Si un serveur qu'il nomme ne tourne pas, démarrez-le.",
    ),
    "engine.gpu_of_other_store": "le GPU, qu'un entraînement d'un autre répertoire de données utilise",
    "engine.gpu_of_other_store_by": (
        "le GPU, qu'un entraînement de {user} dans un autre répertoire de données utilise (pid {pid})"
    ),
    "engine.ollama_starting": "Ollama, qui vient d'être redémarré : {problem}",
    "engine.ollama_which_is_stopped": "Ollama, qui est arrêté pour l'entraînement {training}",
    "engine.limit_of_container": " ; son conteneur peut utiliser {limit} (memory_limit)",
    "engine.ended_by_kernel": Text(
        "{problem} Le noyau a mis fin à un processus faute de mémoire (RAM) pendant son exécution{container}.",
        "Diminuez batch_size ou cutoff_len, fermez ce qui tourne à côté, ou ajoutez du swap. La fusion demande "
        "environ 2 Go de RAM par milliard de paramètres. {hint}",
    ),
    "engine.not_checked": "pas vérifié : {cause}",
    "engine.ollama_stopped_for": "Ollama est arrêté pour l'entraînement {training}",
    "engine.ollama_changed_by": "Ollama, que l'on arrête ou redémarre pour {jobs:join| et }",
    "engine.ollama_in_use": "Ollama, qui sert à {users:join| et }",
    "engine.ollama_user": "{name}",
    "engine.ollama_user_job": "{step} de {run}",
    "engine.supervisor_awaited": "un nouveau superviseur, le sien ayant été perdu : le prochain apply en démarre un",
    "engine.check_awaited": "la vérification de {step} : {reason}",
    "engine.run_awaited": "l'exécution {run}",
    "engine.gpu_in_use": "le GPU, dont {count:se sert|se servent} {processes:join| et }",
    "engine.gpu_process": "{program}{owner} (pid {pid}{memory})",
    "engine.gpu_process_owner": " de {user}",
    "engine.gpu_process_memory": ", {size:bytes}",
    "engine.ollama_needed": Text("Il faut pour cela {reason}.", "Relancez après cela, ou annulez cette exécution."),
}
