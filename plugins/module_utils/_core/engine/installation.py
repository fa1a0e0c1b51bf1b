# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed core: supervisors outlive the module that started them, so they run from a copy on the host.

Ansible deletes the code of a module when the module ends. The copy is in ``core/VERSION-DIGEST`` of the data
directory. It is published by one rename and never changed, so a supervisor runs one version of it to its end.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import pkgutil
import re
import sys
import typing as t

from ..artifacts.layout import Layout
from ..errors import NotReadyError
from ..system.files import (
    NEW,
    discard,
    make_dirs,
    make_temporary_dir,
    publish_dir,
    remove_tree,
    sweep,
    temporary_prefix,
)
from ..version import VERSION

#: The name under which the installed copy of the core is imported.
PACKAGE = "ia_homelab_core"

#: A supervisor of the first version that is still alive starts the next job by this name, from the core that the job's
#: run records: written into the copy, so that the run does not wait for the next apply.
_FIRST_VERSION_ENTRY = b"""\
import sys

from .engine.supervisor import main

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
"""

#: Name of an installed core, ``VERSION-DIGEST``.
_CORE_NAME = re.compile(r"[0-9][0-9A-Za-z.]*-[0-9a-f]{12}\Z")

#: The package of the core under the name it is imported by here.
_ROOT = (__package__ or "").rpartition(".")[0]


def module_names() -> list[str]:
    """Return the sorted dotted names of all modules of the core, relative to its package: ``engine.engine``."""
    root: t.Any = importlib.import_module(_ROOT)
    modules = pkgutil.walk_packages(root.__path__, f"{_ROOT}.")
    return sorted(module.name[len(_ROOT) + 1 :] for module in modules if not module.ispkg)


def _sources() -> dict[str, bytes]:
    """Return the content of every file of the package, by its path relative to the package."""
    files = {"__init__.py": b""}
    for name in module_names():
        module = f"{_ROOT}.{name}"
        loader = _loader(module)
        source = loader.get_source(module) if loader else None
        if not source:
            raise NotReadyError("engine.source_unreadable", module=module)
        path = name.replace(".", "/")
        files[f"{path}.py"] = source.encode("utf-8")
        while "/" in path:
            path = path.rpartition("/")[0]
            files[f"{path}/__init__.py"] = b""
    if "main.py" not in files:
        # Ansible ships only what a module imports: a module that does not import _bundle has only a part of the core
        raise NotReadyError("engine.core_incomplete")
    files["_supervisor.py"] = _FIRST_VERSION_ENTRY
    return files


def _loader(module: str) -> t.Any:
    """Return the loader that imports a module now; None if there is none.

    Not that of its specification: after this process has become another user, it cannot read the archive from which
    the module was imported, and another finder has the code.
    """
    package: t.Any = importlib.import_module(module.rpartition(".")[0])
    for finder in sys.meta_path:
        spec = finder.find_spec(module, package.__path__)
        if spec is not None:
            return spec.loader
    return None


def current_core_dir() -> str:
    """Return the directory, as on ``PYTHONPATH``, of the core that is running this code."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def install(layout: Layout) -> str:
    """Install a copy of the running core in the data directory, unless the copy exists.

    :returns: the directory to put on ``PYTHONPATH``.
    :raises NotReadyError: when the source of the core cannot be read, or only a part of it was shipped.
    """
    current = current_core_dir()
    # a directory without the version in its name belongs to the training service, whose next upgrade replaces it
    if _ROOT == PACKAGE and os.path.basename(current).startswith(f"{VERSION}-"):
        return current
    sources = _sources()
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(name.encode() + b"\0" + hashlib.sha256(sources[name]).digest())
    parent = layout.path("core")
    final = os.path.join(parent, f"{VERSION}-{digest.hexdigest()[:12]}")
    if is_installed(final):
        return final
    make_dirs(parent)
    sweep(parent)
    fresh = make_temporary_dir(temporary_prefix(NEW), parent)
    try:
        os.chmod(fresh, 0o755)
        package = os.path.join(fresh, PACKAGE)
        make_dirs(package)
        for name, data in sources.items():
            path = os.path.join(package, name)
            make_dirs(os.path.dirname(path))
            with open(path, "wb") as stream:
                stream.write(data)
            os.chmod(path, 0o644)
        remove_tree(final)  # an incomplete copy, from which files were removed
        publish_dir(fresh, final)
    except BaseException:
        discard(fresh)
        raise
    return final


def core_for(layout: Layout, recorded: str, supervises: bool) -> str:
    """Return the directory of the core that the next supervisor of a run runs.

    It is the core of the caller. Only a supervisor, which may be older than the run, leaves the run to the core that
    submitted it. Of what the run records, only the name of that core counts, below the data directory: code and
    interpreter are never taken from where a record points to.

    :param recorded: directory of the core in the record of the run.
    :param supervises: whether the caller is a supervisor.
    """
    name = os.path.basename(recorded)
    submitted_with = layout.path("core", name)
    if supervises and _CORE_NAME.match(name) and is_installed(submitted_with):
        return submitted_with
    return install(layout)


def is_installed(core_dir: str) -> bool:
    """Whether the directory contains a complete core that :func:`launcher.spawn` can start."""
    return os.path.isfile(os.path.join(core_dir, PACKAGE, "main.py"))
