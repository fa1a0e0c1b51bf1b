# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``formats``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "formats.no_gguf": Text(
        "{path} is not a GGUF file: it does not begin with 'GGUF'.",
        "Convert the model with llama.cpp's convert_hf_to_gguf.py.",
    ),
    "formats.gguf_version": "{path}: {reason}; little-endian GGUF versions 2 and 3 can be read.",
    "formats.gguf_without_tensors": Text(
        "{path} holds no tensors: the converter found no weights, and says nothing of it.",
        "Look whether the merged model's .safetensors files are there, and convert again.",
    ),
    "formats.gguf_cut_off": Text(
        "{path} is cut off: {file_bytes} of at least {expected_bytes} bytes are there.",
        "A conversion or a copy was interrupted, or the disk was full: make it again.",
    ),
    "formats.no_file": Text("There is no file {path}.", "Convert the model to GGUF first."),
    "formats.damaged": Text("{path} is damaged: {reason}.", "Make the file again."),
    "formats.safetensors_header": "{path} is not a complete safetensors file: {size} bytes, header of {length}.",
    "formats.safetensors_header_unreadable": "{path} is not a complete safetensors file: its header cannot be read.",
    "formats.safetensors_incomplete": "{path} is incomplete: {size} bytes instead of {expected}.",
    "formats.files_missing": "{directory} is incomplete: {files} is missing.",
    "formats.tensors_missing": "{directory} is incomplete: {count} tensors of the index are missing ({first}, …).",
    "formats.no_yaml": "{value!r} cannot be written to LLaMA-Factory's configuration.",
}
