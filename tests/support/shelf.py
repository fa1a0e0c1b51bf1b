# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A minimal stand-in for an Ollama server, for names and digests; tests/real uses a real one."""

from __future__ import annotations

import typing as t

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama


class Shelf:
    """Stands in for an Ollama server: digest by name."""

    url = "http://stand-in"

    def __init__(self) -> None:
        self.models: dict[str, str] = {}

    def tags(self) -> list[dict[str, t.Any]]:
        return [{"name": name, "digest": digest} for name, digest in self.models.items()]

    def digest(self, name: str) -> str:
        return self.models.get(name, "")

    def copy(self, source: str, destination: str) -> None:
        self.models[destination] = self.models[source]

    def delete(self, name: str) -> bool:
        return self.models.pop(name, None) is not None

    @property
    def ollama(self) -> Ollama:
        """Return itself as a client."""
        return t.cast(Ollama, self)
