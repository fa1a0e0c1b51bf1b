# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts of the training service."""

from __future__ import annotations

from ia_homelab_core.messages.text import Texts

TEXTS: Texts = {
    "service.job_unknown": "Il n'y a pas de tâche {job!r}.",
    "service.file_unknown": "Il n'y a pas de fichier {file_id!r}.",
}
