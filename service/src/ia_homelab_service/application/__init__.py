# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service does, independent of any protocol: jobs, datasets, models, events, and the watcher of the queue."""

from __future__ import annotations
