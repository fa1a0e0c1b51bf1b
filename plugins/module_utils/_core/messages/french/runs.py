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
}
