# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue of base models: Ollama names with their Hugging Face weights, chat template and shape.

Sources: the models' ``config.json`` on the hub (shapes), LLaMA-Factory's ``extras/constants.py`` (template of each
family), Ollama's library (tags, and the default tag of a bare name). Parameter counts are those of the weights, with
shared (tied) embeddings counted once; a test recomputes them from the shape.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Shape:
    """Dimensions of a model for a memory estimate; for a multimodal model, those of its language model.

    :param model_type: ``model_type`` of ``config.json``.
    :param layers: number of decoder layers.
    :param hidden: hidden size.
    :param intermediate: size of the feed-forward layer.
    :param heads: number of attention heads.
    :param kv_heads: number of key and value heads.
    :param head_dim: size of one head.
    :param vocabulary: rows of the embedding matrix (padding rows included).
    :param parameters: parameters of the weights, tied ones counted once; 0 if unknown.
    :param tied: whether the output layer is the embedding matrix.
    """

    model_type: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    parameters: int
    tied: bool


@dataclasses.dataclass(frozen=True)
class Entry:
    """One model of the catalogue.

    :param family: name in Ollama's library.
    :param tags: tags in Ollama's library; the first is displayed.
    :param hub_id: Hugging Face id of the trainable weights.
    :param template: LLaMA-Factory's chat template.
    :param gated: whether the licence must be accepted on the hub first.
    :param shape: dimensions of the model.
    """

    family: str
    tags: tuple[str, ...]
    hub_id: str
    template: str
    gated: bool
    shape: Shape


# model_type, layers, hidden, intermediate, heads, kv_heads, head_dim, vocabulary, parameters, tied
_QWEN25_05B = Shape("qwen2", 24, 896, 4864, 14, 2, 64, 151936, 494032768, True)
_QWEN25_15B = Shape("qwen2", 28, 1536, 8960, 12, 2, 128, 151936, 1543714304, True)
_QWEN25_3B = Shape("qwen2", 36, 2048, 11008, 16, 2, 128, 151936, 3085938688, True)
_QWEN25_7B = Shape("qwen2", 28, 3584, 18944, 28, 4, 128, 152064, 7615616512, False)
_QWEN25_14B = Shape("qwen2", 48, 5120, 13824, 40, 8, 128, 152064, 14770033664, False)
_QWEN25_32B = Shape("qwen2", 64, 5120, 27648, 40, 8, 128, 152064, 32763876352, False)
_QWEN25_72B = Shape("qwen2", 80, 8192, 29568, 64, 8, 128, 152064, 72706203648, False)
_QWEN3_06B = Shape("qwen3", 28, 1024, 3072, 16, 8, 128, 151936, 596049920, True)
_QWEN3_17B = Shape("qwen3", 28, 2048, 6144, 16, 8, 128, 151936, 1720574976, True)
_QWEN3_4B = Shape("qwen3", 36, 2560, 9728, 32, 8, 128, 151936, 4022468096, True)
_QWEN3_8B = Shape("qwen3", 36, 4096, 12288, 32, 8, 128, 151936, 8190735360, False)
_QWEN3_14B = Shape("qwen3", 40, 5120, 17408, 40, 8, 128, 151936, 14768307200, False)
_QWEN3_32B = Shape("qwen3", 64, 5120, 25600, 64, 8, 128, 151936, 32762123264, False)
_LLAMA3_8B = Shape("llama", 32, 4096, 14336, 32, 8, 128, 128256, 8030261248, False)
_LLAMA3_70B = Shape("llama", 80, 8192, 28672, 64, 8, 128, 128256, 70553706496, False)
_LLAMA32_1B = Shape("llama", 16, 2048, 8192, 32, 8, 64, 128256, 1235814400, True)
_LLAMA32_3B = Shape("llama", 28, 3072, 8192, 24, 8, 128, 128256, 3212749824, True)
_MISTRAL_7B = Shape("mistral", 32, 4096, 14336, 32, 8, 128, 32768, 7248023552, False)
_NEMO_12B = Shape("mistral", 40, 5120, 14336, 32, 8, 128, 131072, 12247782400, False)
_MISTRAL_SMALL = Shape("mistral", 40, 5120, 32768, 32, 8, 128, 131072, 23572403200, False)
_GEMMA2_2B = Shape("gemma2", 26, 2304, 9216, 8, 4, 256, 256000, 2614341888, True)
_GEMMA2_9B = Shape("gemma2", 42, 3584, 14336, 16, 8, 256, 256000, 9241705984, True)
_GEMMA2_27B = Shape("gemma2", 46, 4608, 36864, 32, 16, 128, 256000, 27227128320, True)
_GEMMA3_270M = Shape("gemma3_text", 18, 640, 2048, 4, 1, 256, 262144, 268098176, True)
_GEMMA3_1B = Shape("gemma3_text", 26, 1152, 6912, 4, 1, 256, 262144, 999885952, True)
# multimodal from 4b on: the parameter count covers all weights, the other fields describe the language model
_GEMMA3_4B = Shape("gemma3", 34, 2560, 10240, 8, 4, 256, 262208, 4300079472, True)
_GEMMA3_12B = Shape("gemma3", 48, 3840, 15360, 16, 8, 256, 262208, 12187325040, True)
_GEMMA3_27B = Shape("gemma3", 62, 5376, 21504, 32, 16, 128, 262208, 27432406640, True)
_PHI35_MINI = Shape("phi3", 32, 3072, 8192, 32, 32, 96, 32064, 3821079552, False)
_PHI4 = Shape("phi3", 40, 5120, 17920, 40, 10, 128, 100352, 14659507200, False)
_PHI4_MINI = Shape("phi3", 32, 3072, 8192, 24, 8, 128, 200064, 3836021760, True)
_R1_QWEN_15B = Shape("qwen2", 28, 1536, 8960, 12, 2, 128, 151936, 1777088000, False)
_SMOLLM2_135M = Shape("llama", 30, 576, 1536, 9, 3, 64, 49152, 134515008, True)
_SMOLLM2_360M = Shape("llama", 32, 960, 2560, 15, 5, 64, 49152, 361821120, True)
_SMOLLM2_17B = Shape("llama", 24, 2048, 8192, 32, 32, 64, 49152, 1711376384, True)
_TINYLLAMA = Shape("llama", 22, 2048, 5632, 32, 4, 64, 32000, 1100048384, False)

CATALOGUE: tuple[Entry, ...] = (
    Entry("qwen2.5", ("0.5b",), "Qwen/Qwen2.5-0.5B-Instruct", "qwen", False, _QWEN25_05B),
    Entry("qwen2.5", ("1.5b",), "Qwen/Qwen2.5-1.5B-Instruct", "qwen", False, _QWEN25_15B),
    Entry("qwen2.5", ("3b",), "Qwen/Qwen2.5-3B-Instruct", "qwen", False, _QWEN25_3B),
    Entry("qwen2.5", ("7b",), "Qwen/Qwen2.5-7B-Instruct", "qwen", False, _QWEN25_7B),
    Entry("qwen2.5", ("14b",), "Qwen/Qwen2.5-14B-Instruct", "qwen", False, _QWEN25_14B),
    Entry("qwen2.5", ("32b",), "Qwen/Qwen2.5-32B-Instruct", "qwen", False, _QWEN25_32B),
    Entry("qwen2.5", ("72b",), "Qwen/Qwen2.5-72B-Instruct", "qwen", False, _QWEN25_72B),
    Entry("qwen2.5-coder", ("0.5b",), "Qwen/Qwen2.5-Coder-0.5B-Instruct", "qwen", False, _QWEN25_05B),
    Entry("qwen2.5-coder", ("1.5b",), "Qwen/Qwen2.5-Coder-1.5B-Instruct", "qwen", False, _QWEN25_15B),
    Entry("qwen2.5-coder", ("3b",), "Qwen/Qwen2.5-Coder-3B-Instruct", "qwen", False, _QWEN25_3B),
    Entry("qwen2.5-coder", ("7b",), "Qwen/Qwen2.5-Coder-7B-Instruct", "qwen", False, _QWEN25_7B),
    Entry("qwen2.5-coder", ("14b",), "Qwen/Qwen2.5-Coder-14B-Instruct", "qwen", False, _QWEN25_14B),
    Entry("qwen2.5-coder", ("32b",), "Qwen/Qwen2.5-Coder-32B-Instruct", "qwen", False, _QWEN25_32B),
    Entry("qwen3", ("0.6b",), "Qwen/Qwen3-0.6B", "qwen3", False, _QWEN3_06B),
    Entry("qwen3", ("1.7b",), "Qwen/Qwen3-1.7B", "qwen3", False, _QWEN3_17B),
    Entry("qwen3", ("4b",), "Qwen/Qwen3-4B", "qwen3", False, _QWEN3_4B),
    Entry(
        "qwen3", ("4b-instruct", "4b-instruct-2507"), "Qwen/Qwen3-4B-Instruct-2507", "qwen3_nothink", False, _QWEN3_4B
    ),
    Entry("qwen3", ("4b-thinking", "4b-thinking-2507"), "Qwen/Qwen3-4B-Thinking-2507", "qwen3", False, _QWEN3_4B),
    Entry("qwen3", ("8b",), "Qwen/Qwen3-8B", "qwen3", False, _QWEN3_8B),
    Entry("qwen3", ("14b",), "Qwen/Qwen3-14B", "qwen3", False, _QWEN3_14B),
    Entry("qwen3", ("32b",), "Qwen/Qwen3-32B", "qwen3", False, _QWEN3_32B),
    Entry("llama3", ("8b",), "meta-llama/Meta-Llama-3-8B-Instruct", "llama3", True, _LLAMA3_8B),
    Entry("llama3.1", ("8b",), "meta-llama/Llama-3.1-8B-Instruct", "llama3", True, _LLAMA3_8B),
    Entry("llama3.1", ("70b",), "meta-llama/Llama-3.1-70B-Instruct", "llama3", True, _LLAMA3_70B),
    Entry("llama3.2", ("1b",), "meta-llama/Llama-3.2-1B-Instruct", "llama3", True, _LLAMA32_1B),
    Entry("llama3.2", ("3b",), "meta-llama/Llama-3.2-3B-Instruct", "llama3", True, _LLAMA32_3B),
    Entry("llama3.3", ("70b",), "meta-llama/Llama-3.3-70B-Instruct", "llama3", True, _LLAMA3_70B),
    Entry(
        "mistral",
        ("7b", "v0.3", "7b-instruct-v0.3"),
        "mistralai/Mistral-7B-Instruct-v0.3",
        "mistral",
        False,
        _MISTRAL_7B,
    ),
    Entry("mistral-nemo", ("12b",), "mistralai/Mistral-Nemo-Instruct-2407", "ministral", False, _NEMO_12B),
    Entry(
        "mistral-small",
        ("24b", "24b-instruct-2501"),
        "mistralai/Mistral-Small-24B-Instruct-2501",
        "mistral_small",
        False,
        _MISTRAL_SMALL,
    ),
    Entry("gemma2", ("2b",), "google/gemma-2-2b-it", "gemma2", True, _GEMMA2_2B),
    Entry("gemma2", ("9b",), "google/gemma-2-9b-it", "gemma2", True, _GEMMA2_9B),
    Entry("gemma2", ("27b",), "google/gemma-2-27b-it", "gemma2", True, _GEMMA2_27B),
    Entry("gemma3", ("270m",), "google/gemma-3-270m-it", "gemma2", True, _GEMMA3_270M),
    Entry("gemma3", ("1b",), "google/gemma-3-1b-it", "gemma2", True, _GEMMA3_1B),
    Entry("gemma3", ("4b",), "google/gemma-3-4b-it", "gemma3", True, _GEMMA3_4B),
    Entry("gemma3", ("12b",), "google/gemma-3-12b-it", "gemma3", True, _GEMMA3_12B),
    Entry("gemma3", ("27b",), "google/gemma-3-27b-it", "gemma3", True, _GEMMA3_27B),
    Entry("phi3.5", ("3.8b", "3.8b-mini"), "microsoft/Phi-3.5-mini-instruct", "phi", False, _PHI35_MINI),
    Entry("phi4", ("14b",), "microsoft/phi-4", "phi4", False, _PHI4),
    Entry("phi4-mini", ("3.8b",), "microsoft/Phi-4-mini-instruct", "phi4_mini", False, _PHI4_MINI),
    Entry(
        "deepseek-r1",
        ("1.5b", "1.5b-qwen-distill"),
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
        "deepseekr1",
        False,
        _R1_QWEN_15B,
    ),
    Entry(
        "deepseek-r1",
        ("7b", "7b-qwen-distill"),
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
        "deepseekr1",
        False,
        _QWEN25_7B,
    ),
    Entry(
        "deepseek-r1", ("8b", "8b-0528-qwen3"), "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", "deepseekr1", False, _QWEN3_8B
    ),
    Entry(
        "deepseek-r1",
        ("8b-llama-distill",),
        "deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
        "deepseekr1",
        False,
        _LLAMA3_8B,
    ),
    Entry(
        "deepseek-r1",
        ("14b", "14b-qwen-distill"),
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B",
        "deepseekr1",
        False,
        _QWEN25_14B,
    ),
    Entry(
        "deepseek-r1",
        ("32b", "32b-qwen-distill"),
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
        "deepseekr1",
        False,
        _QWEN25_32B,
    ),
    Entry(
        "deepseek-r1",
        ("70b", "70b-llama-distill"),
        "deepseek-ai/DeepSeek-R1-Distill-Llama-70B",
        "deepseekr1",
        False,
        _LLAMA3_70B,
    ),
    Entry("smollm2", ("135m",), "HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2", False, _SMOLLM2_135M),
    Entry("smollm2", ("360m",), "HuggingFaceTB/SmolLM2-360M-Instruct", "smollm2", False, _SMOLLM2_360M),
    Entry("smollm2", ("1.7b",), "HuggingFaceTB/SmolLM2-1.7B-Instruct", "smollm2", False, _SMOLLM2_17B),
    Entry("tinyllama", ("1.1b",), "TinyLlama/TinyLlama-1.1B-Chat-v1.0", "zephyr", False, _TINYLLAMA),
)

#: Tag that a bare name (or ``:latest``) refers to in Ollama's library.
DEFAULT_TAGS: dict[str, str] = {
    "qwen2.5": "7b",
    "qwen2.5-coder": "7b",
    "qwen3": "8b",
    "llama3": "8b",
    "llama3.1": "8b",
    "llama3.2": "3b",
    "llama3.3": "70b",
    "mistral": "7b",
    "mistral-nemo": "12b",
    "mistral-small": "24b",
    "gemma2": "9b",
    "gemma3": "4b",
    "phi3.5": "3.8b",
    "phi4": "14b",
    "phi4-mini": "3.8b",
    "deepseek-r1": "8b",
    "smollm2": "1.7b",
    "tinyllama": "1.1b",
}
