# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``artifacts``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "artifacts.data_dir_relative": "The data directory must be an absolute path, not {data_dir!r}.",
    "artifacts.data_dir_with_blank": Text(
        "The data directory {data_dir!r} has a blank in its path.",
        "LLaMA-Factory's launcher splits its command line on blanks: choose another path.",
    ),
    "artifacts.kind_unknown": Text(
        "This version has no kind of step {kind!r}.",
        "Another version of the collection wrote it: use that one.",
    ),
    "artifacts.no_fingerprint": "{fingerprint!r} is not a fingerprint (64 hexadecimal digits).",
    "artifacts.not_made": "not made yet",
    "artifacts.receipt_of_other": "its receipt belongs to another result",
    "artifacts.pruned": "pruned",
    "artifacts.no_weights": "merged on the way, and its weights are asked for now",
    "artifacts.file_gone": "{file} is gone",
    "artifacts.size_differs": "{file} has {bytes} bytes instead of {expected}",
    "artifacts.receipt_damaged": "its receipt is damaged",
    "artifacts.unreadable": "{path}: {reason}",
}
