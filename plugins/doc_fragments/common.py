# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that the modules share."""

from __future__ import annotations


class ModuleDocFragment:
    """Where things lie on the host."""

    DOCUMENTATION = r"""
options:
  data_dir:
    description:
      - The directory on the host under which models, datasets, outputs and jobs lie.
      - The roles and playbooks set it from C(llamafactory_data_dir).
      - It must be absolute and must not hold blanks.
    type: path
    required: true
"""
