# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists the models that the installed LLaMA-Factory names (``extras/constants.py``), as JSON.

Run by the interpreter of LLaMA-Factory's environment; takes about six seconds, all of it LLaMA-Factory's imports.
Prints ``{"version", "models": {hub id: [template, multimodal]}}``. The template is empty for a model that LLaMA-Factory
names without one: most of them are bases without chat.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import typing as t


def models() -> dict[str, t.Any]:
    """The models of the LLaMA-Factory of this environment, by their id on the Hugging Face hub."""
    from llamafactory.extras import constants

    found: dict[str, t.Any] = {}
    for name, sources in constants.SUPPORTED_MODELS.items():
        hub_id = sources.get(constants.DownloadSource.DEFAULT)
        if hub_id:
            template = constants.DEFAULT_TEMPLATE.get(name) or ""
            found[hub_id] = [template, name in constants.MULTIMODAL_SUPPORTED_MODELS]
    return {
        "version": importlib.metadata.version("llamafactory"),
        "models": {name: found[name] for name in sorted(found)},
    }


def main() -> None:
    """Print the models."""
    output, sys.stdout = sys.stdout, sys.stderr  # messages of the imports must not get into the JSON
    os.environ.setdefault("DISABLE_VERSION_CHECK", "1")
    json.dump(models(), output, ensure_ascii=True)


if __name__ == "__main__":
    main()
