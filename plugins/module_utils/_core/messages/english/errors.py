# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts that several packages of the core use."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "errors.unexpected": Text("{type}: {reason}", "A defect of the collection: please report it."),
    "errors.invalid_json_named": "{name} is not valid JSON: {reason}.",
    "errors.no_json_object_named": "{name} is not a JSON object.",
    "errors.unreadable": "{path} cannot be read: {reason}.",
    "errors.file_failed": "{path}: {reason}.",
    "errors.invalid_json": "{path} is not valid JSON.",
    "errors.no_json_object": "{path} is not a JSON object.",
    "errors.did_you_mean_quoted": "Did you mean {name!r}?",
    "errors.known": "There are: {names}.",
    "errors.did_you_mean": "Did you mean {names:join|, | or }?",
}
