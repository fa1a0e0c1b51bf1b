# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The password in the address of an Ollama server: in a file of its own, and not in the records of runs."""

from __future__ import annotations

import dataclasses
import os

from ..artifacts.layout import Layout
from ..fingerprint import digest
from ..ollama.syntax import split_credentials
from ..runs.spec import Toolchain
from ..system.files import make_dirs, write_atomic


def without_password(layout: Layout, toolchain: Toolchain) -> Toolchain:
    """Return a toolchain to store: user and password of its Ollama server are in a file that only this user can read.

    Each server has one file, so the runs in the queue have the password of the last submission.
    """
    url, credentials = split_credentials(toolchain.ollama_url)
    if not credentials:
        return toolchain
    path = layout.path("jobs", "passwords", digest(url)[:16])
    make_dirs(os.path.dirname(path))
    os.chmod(os.path.dirname(path), 0o700)
    write_atomic(path, credentials, 0o600)
    return dataclasses.replace(toolchain, ollama_url=url, ollama_password_file=path)
