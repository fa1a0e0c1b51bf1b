# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The training service: REST, OpenAI's interface, MCP and a web page over the core that the Ansible modules use.

All of them call :class:`application.operations.Operations`. They translate between a protocol and its methods, and
make no decisions of their own.
"""

from __future__ import annotations

from .messages.catalogues import add_catalogues

add_catalogues()
