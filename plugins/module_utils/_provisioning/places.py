# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the tools and their lock files are.

Root executes nothing that another user can replace. Tools that root installs are therefore below a directory of root's,
unless a directory was declared or tools are in the data directory already. In a directory of another user the modules
work as that user (``_ansible_module.main``).
"""

from __future__ import annotations

import os
import typing as t

from .._core.errors import NotReadyError
from .._core.system.ownership import foreign_owner, repair_ownership

#: Directory of root's for tools.
ROOT_TOOLS = "/opt/ia-homelab/tools"
#: Directory of root's for lock files that an installer who is not root reads.
ROOT_REQUIREMENTS = "/opt/ia-homelab/requirements"


def tools_dir(params: dict[str, t.Any]) -> str:
    """Return the directory of the tools, and put it into ``params`` if it was not declared.

    :param params: the options ``tools_dir`` and ``llamafactory_data_dir`` of a module.
    """
    if not params.get("tools_dir"):
        beside_data = os.path.join(params.get("llamafactory_data_dir") or "/data/llamafactory", "tools")
        as_root = os.geteuid() == 0 and not os.path.isdir(beside_data)
        params["tools_dir"] = ROOT_TOOLS if as_root else beside_data
    return str(params["tools_dir"])


def works_in(params: dict[str, t.Any]) -> str:
    """Return the directory whose owner installs the tools: that of the tools, or the one around it.

    A directory of root's in that of another user was made by root with an earlier version. This user could replace it,
    so it is this user's (:func:`give_tools`).

    :param params: as for :func:`tools_dir`.
    """
    tools = tools_dir(params)
    return os.path.dirname(tools) if _is_roots_in_foreign(tools) else tools


def give_tools(tools: str) -> None:
    """Give tools of root's in the directory of another user to this user, as root."""
    around = os.path.dirname(tools)
    owner = foreign_owner(around) if _is_roots_in_foreign(tools) else None
    if owner is not None:
        repair_ownership(owner, lambda _relative: False, only=os.path.basename(tools))


def _is_roots_in_foreign(tools: str) -> bool:
    try:
        return os.geteuid() == 0 and os.stat(tools).st_uid == 0 != os.stat(os.path.dirname(tools)).st_uid
    except OSError:
        return False


def requirements_dir(tools: str, started_by_root: bool) -> str:
    """Return the directory to which root, or the user who installs, copies the lock files.

    :param started_by_root: whether root runs the module; if it works as another user now, root must not write to the
        directory of the tools.
    """
    return ROOT_REQUIREMENTS if started_by_root and os.geteuid() != 0 else os.path.join(tools, ".requirements")


def require_program_of_root(program: str) -> None:
    """Require that root, if it runs this, does not execute a program that another user can replace.

    :raises NotReadyError: otherwise.
    """
    owner = foreign_owner(os.path.dirname(os.path.realpath(program)))
    if owner is not None:
        raise NotReadyError("provisioning.program_replaceable", program=program, user=owner.name)
