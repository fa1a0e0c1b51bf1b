# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the modules that Ansible has packed for one play for the plays after it.

Ansible packs a module with all that it imports once per run, in a directory that it removes at the end. For a module of
this collection that takes 1.5 seconds of processor time, and the tests run some hundreds of plays. This plugin puts
what an earlier play of the same ``./test.sh`` has packed into that directory, and keeps what the play has added.

It keeps them with compiled code beside the source, without which Python compiles all that a module imports whenever it
runs: 0.2 to 0.5 seconds of processor time for one of this collection. Another version of Python uses the source.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import importlib.util
import io
import marshal
import os
import pickle
import sys
import tempfile
import typing as t
import zipfile
from pathlib import Path

from ansible import constants
from ansible.plugins.callback import CallbackBase
from ansible.release import __version__
from ansible.utils.collection_loader._collection_finder import _get_collection_path

DOCUMENTATION = r"""
name: module_cache
type: aggregate
short_description: Keeps packed modules for the next play
description:
  - Keeps the modules that Ansible has packed, in the directory that the environment variable C(IA_MODULE_CACHE) names.
  - Without it, it does nothing.
"""

#: Names of files of Ansible's cache begin with the full name of the module; others may be different ones of one name.
_KEPT = ("ansible_collections.ia_homelab.llamafactory.", "ansible.modules.")


class CallbackModule(CallbackBase):
    """Copies packed modules before the first task and after the last."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "module_cache"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *arguments: t.Any, **more: t.Any) -> None:
        super().__init__(*arguments, **more)
        self._own = Path(constants.DEFAULT_LOCAL_TMP, "ansiballz_cache")
        self._kept: Path | None = None
        root = os.environ.get("IA_MODULE_CACHE")
        # Plays of other users cannot write there, and pack their modules themselves.
        if root and os.access(root, os.W_OK):
            self._kept = Path(root, _digest())
            self._kept.mkdir(exist_ok=True)
            self._own.mkdir(exist_ok=True)
            _link(self._kept, self._own)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """Keep what this play has packed."""
        if self._kept and self._own.is_dir():
            for path in _packed(self._own):
                if not (self._kept / path.name).exists():
                    _keep(path, self._kept)


def _packed(directory: Path) -> t.Iterator[Path]:
    for path in directory.iterdir():
        if path.name.startswith(_KEPT) and not path.name.endswith((".lock", "-part")):
            yield path


def _link(source: Path, target: Path) -> None:
    for path in _packed(source):
        # Ansible writes these files aside and renames them; the two directories may be on different file systems.
        with contextlib.suppress(OSError):
            os.link(path, target / path.name)


def _keep(path: Path, target: Path) -> None:
    """Put a packed module into a directory, with compiled code. Another play may keep the same one."""
    module = pickle.loads(path.read_bytes())
    compiled = target.parent / "compiled"
    compiled.mkdir(exist_ok=True)
    packed = base64.b64encode(_with_compiled(base64.b64decode(module.zip_data), compiled))
    _write(target / path.name, pickle.dumps(dataclasses.replace(module, zip_data=packed)))


def _with_compiled(packed: bytes, compiled: Path) -> bytes:
    """An archive with compiled code beside each source.

    :param compiled: directory for the compiled code of each source: most modules have most of them in common.
    """
    whole = io.BytesIO(packed)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in archive.namelist():
            if name.endswith(".py"):
                archive.writestr(zipfile.ZipInfo(f"{name}c"), _compiled(name, archive.read(name), compiled), 8, 1)
    return whole.getvalue()


def _compiled(name: str, source: bytes, compiled: Path) -> bytes:
    kept = compiled / hashlib.sha256(f"{sys.version} {name} ".encode() + source).hexdigest()
    with contextlib.suppress(OSError):
        return kept.read_bytes()
    code = compile(source, name, "exec", dont_inherit=True)
    # The first of the flags: named by the hash of its source (PEP 552), which is not compared when it is imported.
    header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source)
    _write(kept, header + marshal.dumps(code))
    return header + marshal.dumps(code)


def _write(path: Path, content: bytes) -> None:
    """Write a file aside and rename it."""
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    with open(handle, "wb") as stream:
        stream.write(content)
    os.replace(aside, path)


def _digest() -> str:
    """Digest of what modules are packed from: the version of Ansible, and the code of the collection."""
    digest = hashlib.sha256(f"{__version__} {sys.version}".encode())
    with contextlib.suppress(ValueError):
        plugins = Path(os.fsdecode(_get_collection_path("ia_homelab.llamafactory")), "plugins")
        for path in sorted(file for part in ("modules", "module_utils") for file in plugins.glob(f"{part}/**/*.py")):
            digest.update(f"{path.relative_to(plugins)} ".encode() + path.read_bytes())
    return digest.hexdigest()[:16]
