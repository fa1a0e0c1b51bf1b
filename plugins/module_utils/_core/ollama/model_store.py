# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a server on this host keeps its models."""

from __future__ import annotations

import os

from .client import Ollama
from .syntax import models_directory


def local_models_directory(ollama: Ollama) -> str:
    """Directory of the models of a server on this host; empty if unknown.

    A server reports it only as part of a Modelfile, so it is known only if the server has a model.

    :raises RemoteError: if the server does not answer.
    """
    first = next(iter(ollama.tags()), None)
    directory = models_directory(str(ollama.show(str(first["name"])).get("modelfile") or "")) if first else ""
    return directory if directory and os.path.isdir(directory) else ""
