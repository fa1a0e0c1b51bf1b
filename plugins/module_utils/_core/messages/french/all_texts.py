# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All French texts of the core."""

from __future__ import annotations

from . import (
    artifacts,
    base_models,
    chat_formats,
    datasets,
    datasets_tools,
    distributed,
    engine,
    errors,
    estimates,
    evaluations,
    ollama,
    planning,
    releases,
    runs,
    steps,
    system,
    training,
)

#: The catalogues, one for each package, and a second one where they are many.
CATALOGUES = (
    artifacts,
    base_models,
    chat_formats,
    datasets,
    datasets_tools,
    distributed,
    engine,
    errors,
    estimates,
    evaluations,
    ollama,
    planning,
    releases,
    runs,
    steps,
    system,
    training,
)
