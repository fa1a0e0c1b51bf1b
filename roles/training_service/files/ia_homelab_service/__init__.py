# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The training service: REST, OpenAI's interface, MCP and a page over the core that the Ansible modules use.

Everything goes through :class:`operations.Operations`; what faces a client translates and decides nothing.
"""

from __future__ import annotations
