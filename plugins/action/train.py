# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module ``train`` and shows the progress of the run that it starts."""

from __future__ import annotations

from ansible_collections.ia_homelab.llamafactory.plugins.plugin_utils._follow import FollowAction


class ActionModule(FollowAction):
    """See :class:`FollowAction`."""
