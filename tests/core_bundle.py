# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes ``plugins/module_utils/_bundle.py``; with ``--check``, fails if it is not up to date.

Ansible ships the modules of ``module_utils`` that a module imports, directly or not. Some modules of the core are only
imported by name when they are needed, so one file imports them all.
"""

from __future__ import annotations

import pathlib
import sys

UTILS = pathlib.Path(__file__).resolve().parents[1] / "plugins" / "module_utils"
BUNDLE = UTILS / "_bundle.py"

HEAD = '''# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All modules of the core, so that Ansible ships the whole of it with a module that installs it on the host.

Ansible reads the imports of this file and does not run them. Written by ``tests/core_bundle.py``.
"""

from __future__ import annotations


def modules() -> None:
    """Never called: each import takes time, and Ansible finds them without."""
'''


def names() -> list[str]:
    """Dotted names of the modules of the core, as they are imported here."""
    found = (path.relative_to(UTILS) for path in (UTILS / "_core").rglob("*.py") if path.name != "__init__.py")
    return sorted(".".join(path.with_suffix("").parts) for path in found)


def text() -> str:
    """What the file should contain."""
    lines = []
    for name in names():
        package, _dot, module = name.rpartition(".")
        lines.append(f"    from .{package} import {module} as {name.replace('.', '_')}\n")
    return HEAD + "".join(lines)


def main() -> int:
    """Write the file, or check it."""
    if "--check" not in sys.argv[1:]:
        BUNDLE.write_text(text(), encoding="utf-8")
        return 0
    if BUNDLE.exists() and BUNDLE.read_text(encoding="utf-8") == text():
        return 0
    print(f"{BUNDLE.name} is not up to date: run python tests/core_bundle.py")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
