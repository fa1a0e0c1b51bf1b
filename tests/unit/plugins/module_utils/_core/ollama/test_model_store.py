# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.client import Ollama
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.ollama.model_store import (
    local_models_directory,
)


class Server:
    """What is asked of a server with these models, by name its Modelfile."""

    def __init__(self, models: dict[str, str | None]) -> None:
        self.models = models

    def tags(self) -> list[dict[str, t.Any]]:
        return [{"name": name} for name in self.models]

    def show(self, name: str) -> dict[str, t.Any]:
        return {"modelfile": self.models[name]}


def directory_of(models: dict[str, str | None]) -> str:
    return local_models_directory(t.cast(Ollama, Server(models)))


def test_directory_of_a_server_on_this_host(tmp_path: Path) -> None:
    modelfile = f"# Modelfile\nFROM {tmp_path}/blobs/sha256-{'a' * 64}\nTEMPLATE x\n"
    assert directory_of({"first": modelfile, "second": None}) == str(tmp_path)


def test_directory_is_unknown(tmp_path: Path) -> None:
    assert directory_of({}) == "", "without models"
    assert directory_of({"first": None}) == ""
    elsewhere = f"FROM {tmp_path}/missing/blobs/sha256-{'a' * 64}\n"
    assert directory_of({"first": elsewhere}) == "", "a server on another host"
