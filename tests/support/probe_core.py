# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The core with the steps of ``probe_step`` added, which run any command.

The core that is shipped does not have these steps, and has no way to load a step from elsewhere: a process that runs
as root must not import code that another user can write. The tests add the steps to copies of the core instead: to
the core of the process that imports this module, to the copies that this process installs in data directories, and to
directories (:func:`extend`).
"""

from __future__ import annotations

from pathlib import Path

from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.artifacts import layout
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.engine import installation
from ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core.steps import registry
from ansible_collections.ia_homelab.llamafactory.tests.support import probe_step

_PARENTS = {
    step.kind: "outputs/probes"
    for step in (probe_step.ProbeStep, probe_step.LightProbeStep, probe_step.OllamaProbeStep)
}
_CORE = "ansible_collections.ia_homelab.llamafactory.plugins.module_utils._core."

#: What is added to the end of files of a core, by their path in it. The first file is new.
ADDITIONS = {
    "steps/probe.py": Path(probe_step.__file__).read_text(encoding="utf-8").replace(f"from {_CORE}", "from .."),
    "steps/registry.py": """

from .probe import LightProbeStep, OllamaProbeStep, ProbeStep

STEPS.update({step.kind: step for step in (ProbeStep(), LightProbeStep(), OllamaProbeStep())})
""",
    "artifacts/layout.py": f"\nPARENTS.update({_PARENTS!r})\n",
}

#: The sources of the core as it is shipped; this process installs the extended ones.
shipped_sources = installation._sources


def extended_sources() -> dict[str, bytes]:
    """Return the content of every file of the extended core, by its path relative to the package."""
    sources = shipped_sources()
    for name, text in ADDITIONS.items():
        sources[name] = sources.get(name, b"") + text.encode()
    return sources


def extend(core: Path) -> None:
    """Extend a copy of the core.

    :param core: the directory of its package.
    """
    for name, text in ADDITIONS.items():
        with open(core / name, "a", encoding="utf-8") as stream:
            stream.write(text)


registry.STEPS.update(
    {step.kind: step for step in (probe_step.ProbeStep(), probe_step.LightProbeStep(), probe_step.OllamaProbeStep())}
)
layout.PARENTS.update(_PARENTS)
installation._sources = extended_sources
