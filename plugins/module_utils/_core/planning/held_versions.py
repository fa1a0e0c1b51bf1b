# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The version that a rollback pins, registered again when the recipe of registrations has changed.

Such a version is not declared any more, so no step of the declared run would register it. It stays pinned.
"""

from __future__ import annotations

from ..artifacts.integrity import artifact_defect
from ..artifacts.layout import Layout
from ..ollama.syntax import same_name
from ..releases import lineage
from ..releases.promotion import Releases, content_tag
from ..releases.recipes import RECIPE, recipe_of, with_recipe
from ..runs.run import RunStep
from .pipeline import make_step

LABEL = "register-held"


def registration(layout: Layout, name: str) -> RunStep | None:
    """Return the step that registers the pinned version of a model by the current recipe; None if none is needed.

    None is needed if nothing is pinned, if the recipe of its registration is current, if the files it is made from are
    not there any more, or if the user has rolled the new registration of that version back.

    :param name: name of the model, without a tag.
    """
    hold = Releases(layout, name).ledger().hold
    if hold is None:
        return None
    receipts = lineage.registrations(layout, name)
    receipt = next((each for each in receipts if same_name(lineage.tag_of(each), hold.tag)), None)
    if receipt is None or recipe_of(receipt["settings"]) >= RECIPE:
        return None
    upstream = {str(kind): str(value) for kind, value in (receipt.get("upstream") or {}).items()}
    if any(artifact_defect(layout, kind, value) for kind, value in upstream.items()):
        return None
    quantization = str(receipt["options"]["quantization"])
    options = {
        "name": str(receipt["options"].get("name") or ""),
        "quantization": quantization,
        "aliases": [],
        "held": hold.tag,
    }
    step = make_step("register", with_recipe(receipt["settings"]), upstream, options, LABEL)
    return None if hold.blocks(content_tag(name, step.spec.fingerprint, quantization)) else step
