# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The oldest tested Ollama server that runs a text model of each architecture.

Source: ``tests/real/test_architecture_pairs_real.py``, which asks tiny models of random weights on the oldest supported
server, 0.24.0, and on the current one, 0.32.15. All that were tested run on both. An architecture that was not tested
is missing.
"""

from __future__ import annotations

from ..ollama.versions import MINIMUM_VERSION

#: Version by ``model_type`` of ``config.json``. gemma3, mistral3, qwen3_5 and qwen3_5_moe, which take images, are
#: served as the text models inside them, which were tested: the converter has one class for both.
OLDEST_SERVER: dict[str, str] = {
    **dict.fromkeys(
        (
            "gemma2",
            "gemma3",
            "gemma3_text",
            "glm4",
            "glm4_moe",
            "glm4_moe_lite",
            "gpt_oss",
            "granite",
            "granitemoehybrid",
            "lfm2",
            "llama",
            "ministral3",
            "mistral",
            "mistral3",
            "olmo2",
            "phi3",
            "qwen2",
            "qwen3",
            "qwen3_5",
            "qwen3_5_moe",
            "qwen3_5_moe_text",
            "qwen3_5_text",
            "qwen3_moe",
            "smollm3",
        ),
        MINIMUM_VERSION,
    ),
}
