# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removal of secrets from text that leaves the service."""

from __future__ import annotations

import re
import typing as t

#: Patterns of secrets: Hugging Face tokens, bearer tokens, passwords in URLs.
_PATTERNS = (
    (re.compile(r"\bhf_[A-Za-z0-9]{16,}"), "hf_***"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 ***"),
    (
        re.compile(
            r"(?i)\b((?:api|hub|hf|access)[_-]?(?:key|token)|password|passwd|secret)"
            r"(\"?\s*[=:]\s*\"?)[^\s\"',;]{4,}"
        ),
        r"\1\2***",
    ),
    (re.compile(r"(://[^/\s:@]+:)[^/\s@]+@"), r"\1***@"),
)  # fmt: skip


class Redactor:
    """Replaces known secrets, and text that looks like one, in text and plain values.

    :param secrets: the known secrets, such as the content of a token file.
    """

    def __init__(self, secrets: t.Iterable[str] = ()) -> None:
        self._secrets = sorted({secret for secret in secrets if len(secret) >= 8}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return text

    def value(self, value: t.Any) -> t.Any:
        """Return a plain value without secrets, at any depth."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, t.Mapping):
            return {key: self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value
