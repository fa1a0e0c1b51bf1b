# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""French texts that several packages of the core use."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "errors.unexpected": Text("{type} : {reason}", "C'est un défaut de la collection : merci de le signaler."),
}
