# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The installed core: supervisors outlive the module that started them, so they run from a copy on the host.

Ansible deletes a module's code when the module ends. The copy lies under ``core/VERSION-DIGEST`` of the data
directory, is published by one rename and never changed: a job goes on with the code it was started with.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import pkgutil
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


#: The package of the core under the name it is imported by here.
_ROOT = (__package__ or "").rpartition(".")[0]


def module_names() -> list[str]:
    """Dotted names of all modules of the core, relative to its package, sorted: ``errors``, ``engine.engine``."""
    root: t.Any = importlib.import_module(_ROOT)
    found = pkgutil.walk_packages(root.__path__, f"{_ROOT}.")
    return sorted(module.name[len(_ROOT) + 1 :] for module in found if not module.ispkg)


def _sources() -> dict[str, bytes]:
    """Content of every file of the package, by its path in there."""
    found = {"__init__.py": b""}
    for name in module_names():
        module = f"{_ROOT}.{name}"
        spec = importlib.util.find_spec(module)
        loader: t.Any = spec.loader if spec else None
        source = loader.get_source(module) if loader else None
        if not source:
            raise NotReadyError(f"The source of {module} cannot be read.")
        path = name.replace(".", "/")
        found[f"{path}.py"] = source.encode("utf-8")
        while "/" in path:
            path = path.rpartition("/")[0]
            found[f"{path}/__init__.py"] = b""
    if "main.py" not in found:
        # Ansible ships what a module imports: without _bundle, only a part of the core
        raise NotReadyError("This module was shipped with a part of the core and cannot install it.")
    return found


def running_from() -> str:
    """The directory, as on ``PYTHONPATH``, that this very core lies in."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def install(layout: Layout) -> str:
    """Put a copy of this very core under the data directory, unless it is there.

    :returns: the directory to put on ``PYTHONPATH``.
    """
    mine = running_from()
    # one without the version in its name is the training service's own, which its next upgrade replaces
    if _ROOT == PACKAGE and os.path.basename(mine).startswith(f"{VERSION}-"):
        return mine
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
        remove_tree(final)  # somebody took files out of it
        publish_dir(fresh, final)
    except BaseException:
        discard(fresh)
        raise
    return final


def is_installed(core_dir: str) -> bool:
    """Whether a core lies there that :func:`launcher.spawn` can start.

    The first version had no ``main.py``: what one of those was to do, the present core does.
    """
    return os.path.isfile(os.path.join(core_dir, PACKAGE, "main.py"))
