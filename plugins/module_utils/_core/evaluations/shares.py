# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bounds of the shares of a dataset that are set aside, from the training and for an evaluation. No imports."""

from __future__ import annotations

#: The largest share that can be set aside; at least half of the questions is trained on.
LARGEST_SHARE = 0.5
