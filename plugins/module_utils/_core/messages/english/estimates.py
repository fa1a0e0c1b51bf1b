# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``estimates``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "estimates.does_not_fit": Text(
        "{name}: {problem}",
        "{problem.hint} To try it all the same, declare memory_check: warn.",
    ),
    "estimates.suggestion": "{settings} ({memory:bytes})",
    "estimates.gpu_too_small": Text(
        "This training takes about {needed:bytes} of GPU memory ({parts}); the GPU has {total:bytes}, of which "
        "{reserve:bytes} are kept in reserve.",
        "{suggestions}",
    ),
    "estimates.nothing_smaller": "Nothing smaller in the catalogue would fit either.",
    "estimates.nearest": "The nearest that fits: {suggestions:join|; or }.",
    "estimates.weights": "weights {size:bytes}",
    "estimates.trained": "what is trained {size:bytes}",
    "estimates.activations": "values kept for the way back {size:bytes}",
    "estimates.logits": "scores of the vocabulary {size:bytes}",
    "estimates.ram_too_small": Text(
        "The step {step} takes about {needed:bytes} of the machine's memory, which has {total:bytes} and {swap}.",
        "Add memory or swap. {suggestions}",
    ),
    "estimates.swap": "{size:bytes} of swap",
    "estimates.no_swap": "no swap",
}
