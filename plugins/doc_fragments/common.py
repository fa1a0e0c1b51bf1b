# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options shared by the modules."""

from __future__ import annotations


class ModuleDocFragment:
    """Location of the data on the host."""

    DOCUMENTATION = r"""
options:
  data_dir:
    description:
      - Directory on the host for models, datasets, outputs and jobs.
      - The roles and playbooks set it from C(llamafactory_data_dir).
      - It must be absolute and must not contain spaces.
    type: path
    required: true
"""
