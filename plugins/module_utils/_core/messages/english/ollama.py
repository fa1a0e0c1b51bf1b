# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``ollama``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "ollama.name_invalid": Text(
        "{name!r} cannot be the name of a model in Ollama.",
        "Model and tag: 1 to 80 letters, digits, '_', '-' and '.', the first a letter, a digit or '_'.",
    ),
    "ollama.tag_reserved": Text(
        "{name!r} cannot be used: Ollama reads the tag {tag!r} as where the model runs.",
        "Choose another tag.",
    ),
    "ollama.parameter_no_list": "The parameter {name} must be a list of texts, not {value!r}.",
    "ollama.parameter_no_boolean": "The parameter {name} must be true or false, not {value!r}.",
    "ollama.no_parameter": Text("Ollama has no parameter {name!r}.", "{suggestion}"),
    "ollama.known_parameters": "It has: {names}.",
    "ollama.parameter_no_number": "The parameter {name} must be a number, not {value!r}.",
    "ollama.parameter_no_integer": "The parameter {name} must be a whole number, not {value!r}.",
}
