# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts that several packages of the core use."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "errors.unexpected": Text("{type} : {reason}", "C'est un défaut de la collection : merci de le signaler."),
    "errors.unreadable": "{path} ne peut pas être lu : {reason}.",
    "errors.file_failed": "{path} : {reason}.",
    "errors.invalid_json": "{path} n'est pas du JSON valide.",
    "errors.no_json_object": "{path} n'est pas un objet JSON.",
    "errors.did_you_mean_quoted": "Vouliez-vous dire « {name} » ?",
    "errors.known": "Il y a : {names}.",
    "errors.did_you_mean": "Vouliez-vous dire {names:join|, | ou } ?",
}
