# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the package ``runs``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "runs.result_place": "{name} est dans {path} sur la machine.",
    "runs.state_absent": "non soumis",
    "runs.state_queued": "en attente",
    "runs.state_queued_at": "en attente ({place})",
    "runs.state_running": "en cours",
    "runs.state_paused": "en pause",
    "runs.state_succeeded": "réussi",
    "runs.state_failed": "échoué",
    "runs.state_cancelled": "arrêté",
    "runs.state_cancelling": "en cours d'arrêt",
    "runs.dismiss_active": Text("L'exécution {run} n'est pas terminée.", "Annulez-la d'abord."),
    "runs.progress": "{parts:join|  }",
    "runs.progress_step": "pas {current:g}/{total:g}",
    "runs.progress_loss": "perte {loss:.4g}",
    "runs.progress_eval_loss": "perte de validation {loss:.4g}",
    "runs.progress_eta": "reste {duration}",
    "runs.job_record_damaged": "L'enregistrement du travail {job_dir} manque ou est abîmé.",
    "runs.no_run": "Ce n'est pas l'enregistrement d'une exécution : {type} : {reason}.",
    "runs.no_step": "L'exécution {run} n'a pas d'étape {step!r}.",
    "runs.schema_damaged": Text("{path} est abîmé.", 'Si tout jobs/ est de cette version : {{"schema": 1}}.'),
    "runs.schema_newer": Text(
        "Le stockage des exécutions {jobs} a le schéma {schema}, et ce noyau écrit {schema_2}.",
        "Une version plus récente de la collection est passée par ici : mettez celle-ci à jour.",
    ),
    "runs.tool_missing": Text(
        "{tool} n'a pas été trouvé dans {path}.",
        "Installez les outils avec le rôle ia_homelab.llamafactory.llamafactory, ou dites où ils sont.",
    ),
    "runs.id_invalid": "{run!r} n'est pas l'identifiant d'une exécution.",
    "runs.record_missing": "Il manque.",
    "runs.record_of_other_run": "Il est celui de l'exécution {run}.",
    "runs.no_job": "Ce n'est pas l'enregistrement d'un travail : {type} : {reason}.",
}
