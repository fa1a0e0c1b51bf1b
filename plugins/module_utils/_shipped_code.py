# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code that Ansible shipped with a module, kept in memory.

Ansible imports a module from an archive that only the user who started it can read. A module that becomes another user
later imports from memory what it has not imported before, and installs the core from there.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import pkgutil
import sys
import types
import typing as t
import zipfile
import zipimport


class ShippedCode(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds and loads modules whose sources are in memory.

    :param archive: path of the archive.
    """

    def __init__(self, archive: str) -> None:
        self._archive = archive
        with zipfile.ZipFile(archive) as content:
            self._sources = {name: content.read(name) for name in content.namelist() if name.endswith(".py")}

    def _path(self, fullname: str) -> str | None:
        base = fullname.replace(".", "/")
        return next((path for path in (f"{base}/__init__.py", f"{base}.py") if path in self._sources), None)

    def directories(self) -> list[str]:
        """Return the directories of all packages in the archive."""
        packages = {os.path.dirname(name) for name in self._sources if name.endswith("/__init__.py")}
        return [os.path.join(self._archive, package) for package in sorted(packages)]

    def find_spec(
        self, fullname: str, path: t.Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the specification of a module of the archive; None for any other module."""
        del path, target
        found = self._path(fullname)
        if found is None:
            return None
        origin = os.path.join(self._archive, found)
        is_package = found.endswith("/__init__.py")
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=origin, is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(origin)]
        return spec

    def get_source(self, fullname: str) -> str:
        """Return the source of a module.

        :raises ImportError: if the archive has no such module.
        """
        path = self._path(fullname)
        if path is None:
            raise ImportError(f"The archive has no module {fullname}.", name=fullname)
        return self._sources[path].decode("utf-8")

    def is_package(self, fullname: str) -> bool:
        """Whether a module of the archive is a package."""
        return (self._path(fullname) or "").endswith("/__init__.py")


def keep_shipped_code() -> None:
    """Keep the archive this file was imported from in memory; no-op if it was imported from a directory."""
    loader = getattr(__spec__, "loader", None)
    if isinstance(loader, zipimport.zipimporter):
        code = ShippedCode(loader.archive)
        sys.meta_path.insert(0, code)
        # pkgutil lists a package by the importer of its directory, which only root can create, and which is kept
        for directory in code.directories():
            pkgutil.get_importer(directory)
