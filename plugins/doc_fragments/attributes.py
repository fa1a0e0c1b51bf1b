# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes that every module declares."""

from __future__ import annotations


class ModuleDocFragment:
    """Standard attributes; a module overrides ``support`` and ``details`` where it differs."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns details on what has changed, or would change in check mode, when in diff mode.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second run changes nothing.
    support: full
  platform:
    description: Target OS/families that can be operated against.
    support: full
    platforms: posix
"""

    # For module_defaults with the group ``group/ia_homelab.llamafactory.llamafactory``.
    ACTIONGROUP_LLAMAFACTORY = r"""
options: {}
attributes:
  action_group:
    description:
      - Use C(group/ia_homelab.llamafactory.llamafactory) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - ia_homelab.llamafactory.llamafactory
"""

    # For read-only modules, which change nothing and have no diff.
    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying the target.
    support: full
    details:
      - This action does not modify state.
  diff_mode:
    description: Returns details on what has changed, or would change in check mode, when in diff mode.
    support: N/A
    details:
      - This action does not modify state.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second run changes nothing.
    support: full
    details:
      - This action does not modify state.
  platform:
    description: Target OS/families that can be operated against.
    support: full
    platforms: posix
"""

    # For modules with an action plugin of the same name.
    WITH_ACTION = r"""
options: {}
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the
      controller.
    support: full
"""
