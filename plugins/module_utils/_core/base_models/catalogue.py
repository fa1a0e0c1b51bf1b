# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue of base models: Ollama names with their Hugging Face weights, chat template, shape and licence.

Sources: the models' ``config.json`` on the hub (shapes), LLaMA-Factory's ``extras/constants.py`` (template of each
family; ``llamafactory_models.py`` has its values, and a test compares), Ollama's library (tags, and the default tag of
a bare name), the models' pages on the hub (licences). Parameter counts are those of the weights, with shared (tied)
embeddings counted once; a test recomputes them from the shape. A fact without a source is left out: the shape is then
read from the model's files, and a family has no default tag.

``python tests/catalogue_docs.py`` writes the table in ``docs/base-models.md``.
"""

from __future__ import annotations

from .entry import Entry, Shape

# model_type, layers, hidden, intermediate, heads, kv_heads, head_dim, vocabulary, parameters, tied, and of a mixture of
# experts: experts, experts of a token, intermediate of an expert
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
_QWEN3_30B = Shape("qwen3_moe", 48, 2048, 6144, 32, 4, 128, 151936, 30532122624, False, 128, 8, 768)
_QWEN3_235B = Shape("qwen3_moe", 94, 4096, 12288, 64, 4, 128, 151936, 235093634560, False, 128, 8, 1536)
_GPT_OSS_20B = Shape("gpt_oss", 24, 2880, 2880, 64, 8, 64, 201088, 20914757184, False, 32, 4, 2880)
_GPT_OSS_120B = Shape("gpt_oss", 36, 2880, 2880, 64, 8, 64, 201088, 116829156672, False, 128, 4, 2880)

CATALOGUE: tuple[Entry, ...] = (
    Entry("qwen2.5", ("0.5b",), "Qwen/Qwen2.5-0.5B-Instruct", "qwen", False, _QWEN25_05B, "apache-2.0"),
    Entry("qwen2.5", ("1.5b",), "Qwen/Qwen2.5-1.5B-Instruct", "qwen", False, _QWEN25_15B, "apache-2.0"),
    Entry("qwen2.5", ("3b",), "Qwen/Qwen2.5-3B-Instruct", "qwen", False, _QWEN25_3B, "qwen-research"),
    Entry("qwen2.5", ("7b",), "Qwen/Qwen2.5-7B-Instruct", "qwen", False, _QWEN25_7B, "apache-2.0"),
    Entry("qwen2.5", ("14b",), "Qwen/Qwen2.5-14B-Instruct", "qwen", False, _QWEN25_14B, "apache-2.0"),
    Entry("qwen2.5", ("32b",), "Qwen/Qwen2.5-32B-Instruct", "qwen", False, _QWEN25_32B, "apache-2.0"),
    Entry("qwen2.5", ("72b",), "Qwen/Qwen2.5-72B-Instruct", "qwen", False, _QWEN25_72B, "qwen"),
    Entry("qwen2.5-coder", ("0.5b",), "Qwen/Qwen2.5-Coder-0.5B-Instruct", "qwen", False, _QWEN25_05B, "apache-2.0"),
    Entry("qwen2.5-coder", ("1.5b",), "Qwen/Qwen2.5-Coder-1.5B-Instruct", "qwen", False, _QWEN25_15B, "apache-2.0"),
    Entry("qwen2.5-coder", ("3b",), "Qwen/Qwen2.5-Coder-3B-Instruct", "qwen", False, _QWEN25_3B, "qwen-research"),
    Entry("qwen2.5-coder", ("7b",), "Qwen/Qwen2.5-Coder-7B-Instruct", "qwen", False, _QWEN25_7B, "apache-2.0"),
    Entry("qwen2.5-coder", ("14b",), "Qwen/Qwen2.5-Coder-14B-Instruct", "qwen", False, _QWEN25_14B, "apache-2.0"),
    Entry("qwen2.5-coder", ("32b",), "Qwen/Qwen2.5-Coder-32B-Instruct", "qwen", False, _QWEN25_32B, "apache-2.0"),
    Entry("qwen3", ("0.6b",), "Qwen/Qwen3-0.6B", "qwen3", False, _QWEN3_06B, "apache-2.0"),
    Entry("qwen3", ("1.7b",), "Qwen/Qwen3-1.7B", "qwen3", False, _QWEN3_17B, "apache-2.0"),
    Entry("qwen3", ("4b",), "Qwen/Qwen3-4B", "qwen3", False, _QWEN3_4B, "apache-2.0"),
    Entry(
        "qwen3",
        ("4b-instruct", "4b-instruct-2507"),
        "Qwen/Qwen3-4B-Instruct-2507",
        "qwen3_nothink",
        False,
        _QWEN3_4B,
        "apache-2.0",
    ),
    Entry(
        "qwen3",
        ("4b-thinking", "4b-thinking-2507"),
        "Qwen/Qwen3-4B-Thinking-2507",
        "qwen3",
        False,
        _QWEN3_4B,
        "apache-2.0",
    ),
    Entry("qwen3", ("8b",), "Qwen/Qwen3-8B", "qwen3", False, _QWEN3_8B, "apache-2.0"),
    Entry("qwen3", ("14b",), "Qwen/Qwen3-14B", "qwen3", False, _QWEN3_14B, "apache-2.0"),
    Entry("qwen3", ("32b",), "Qwen/Qwen3-32B", "qwen3", False, _QWEN3_32B, "apache-2.0"),
    Entry("llama3", ("8b",), "meta-llama/Meta-Llama-3-8B-Instruct", "llama3", True, _LLAMA3_8B, "llama3"),
    Entry("llama3.1", ("8b",), "meta-llama/Llama-3.1-8B-Instruct", "llama3", True, _LLAMA3_8B, "llama3.1"),
    Entry("llama3.1", ("70b",), "meta-llama/Llama-3.1-70B-Instruct", "llama3", True, _LLAMA3_70B, "llama3.1"),
    Entry("llama3.2", ("1b",), "meta-llama/Llama-3.2-1B-Instruct", "llama3", True, _LLAMA32_1B, "llama3.2"),
    Entry("llama3.2", ("3b",), "meta-llama/Llama-3.2-3B-Instruct", "llama3", True, _LLAMA32_3B, "llama3.2"),
    Entry("llama3.3", ("70b",), "meta-llama/Llama-3.3-70B-Instruct", "llama3", True, _LLAMA3_70B, "llama3.3"),
    Entry(
        "mistral",
        ("7b", "v0.3", "7b-instruct-v0.3"),
        "mistralai/Mistral-7B-Instruct-v0.3",
        "mistral",
        False,
        _MISTRAL_7B,
        "apache-2.0",
    ),
    Entry(
        "mistral-nemo", ("12b",), "mistralai/Mistral-Nemo-Instruct-2407", "ministral", False, _NEMO_12B, "apache-2.0"
    ),
    Entry(
        "mistral-small",
        ("24b", "24b-instruct-2501"),
        "mistralai/Mistral-Small-24B-Instruct-2501",
        "mistral_small",
        False,
        _MISTRAL_SMALL,
        "apache-2.0",
    ),
    Entry("gemma2", ("2b",), "google/gemma-2-2b-it", "gemma2", True, _GEMMA2_2B, "gemma"),
    Entry("gemma2", ("9b",), "google/gemma-2-9b-it", "gemma2", True, _GEMMA2_9B, "gemma"),
    Entry("gemma2", ("27b",), "google/gemma-2-27b-it", "gemma2", True, _GEMMA2_27B, "gemma"),
    Entry("gemma3", ("270m",), "google/gemma-3-270m-it", "gemma2", True, _GEMMA3_270M, "gemma"),
    Entry("gemma3", ("1b",), "google/gemma-3-1b-it", "gemma2", True, _GEMMA3_1B, "gemma"),
    Entry("gemma3", ("4b",), "google/gemma-3-4b-it", "gemma3", True, _GEMMA3_4B, "gemma", True),
    Entry("gemma3", ("12b",), "google/gemma-3-12b-it", "gemma3", True, _GEMMA3_12B, "gemma", True),
    Entry("gemma3", ("27b",), "google/gemma-3-27b-it", "gemma3", True, _GEMMA3_27B, "gemma", True),
    Entry("phi3.5", ("3.8b", "3.8b-mini"), "microsoft/Phi-3.5-mini-instruct", "phi", False, _PHI35_MINI, "mit"),
    Entry("phi4", ("14b",), "microsoft/phi-4", "phi4", False, _PHI4, "mit"),
    Entry("phi4-mini", ("3.8b",), "microsoft/Phi-4-mini-instruct", "phi4_mini", False, _PHI4_MINI, "mit"),
    Entry(
        "deepseek-r1",
        ("1.5b", "1.5b-qwen-distill"),
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
        "deepseekr1",
        False,
        _R1_QWEN_15B,
        "mit",
    ),
    Entry(
        "deepseek-r1",
        ("7b", "7b-qwen-distill"),
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
        "deepseekr1",
        False,
        _QWEN25_7B,
        "mit",
    ),
    Entry(
        "deepseek-r1",
        ("8b", "8b-0528-qwen3"),
        "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B",
        "deepseekr1",
        False,
        _QWEN3_8B,
        "mit",
    ),
    Entry(
        "deepseek-r1",
        ("8b-llama-distill",),
        "deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
        "deepseekr1",
        False,
        _LLAMA3_8B,
        "mit",
    ),
    Entry(
        "deepseek-r1",
        ("14b", "14b-qwen-distill"),
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B",
        "deepseekr1",
        False,
        _QWEN25_14B,
        "mit",
    ),
    Entry(
        "deepseek-r1",
        ("32b", "32b-qwen-distill"),
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B",
        "deepseekr1",
        False,
        _QWEN25_32B,
        "mit",
    ),
    Entry(
        "deepseek-r1",
        ("70b", "70b-llama-distill"),
        "deepseek-ai/DeepSeek-R1-Distill-Llama-70B",
        "deepseekr1",
        False,
        _LLAMA3_70B,
        "mit",
    ),
    Entry("smollm2", ("135m",), "HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2", False, _SMOLLM2_135M, "apache-2.0"),
    Entry("smollm2", ("360m",), "HuggingFaceTB/SmolLM2-360M-Instruct", "smollm2", False, _SMOLLM2_360M, "apache-2.0"),
    Entry("smollm2", ("1.7b",), "HuggingFaceTB/SmolLM2-1.7B-Instruct", "smollm2", False, _SMOLLM2_17B, "apache-2.0"),
    Entry("tinyllama", ("1.1b",), "TinyLlama/TinyLlama-1.1B-Chat-v1.0", "zephyr", False, _TINYLLAMA, "apache-2.0"),
    Entry("qwen3", ("30b", "30b-a3b"), "Qwen/Qwen3-30B-A3B", "qwen3", False, _QWEN3_30B, "apache-2.0"),
    Entry(
        "qwen3",
        ("30b-instruct", "30b-a3b-instruct-2507"),
        "Qwen/Qwen3-30B-A3B-Instruct-2507",
        "qwen3_nothink",
        False,
        _QWEN3_30B,
        "apache-2.0",
    ),
    Entry("qwen3", ("235b", "235b-a22b"), "Qwen/Qwen3-235B-A22B", "qwen3", False, _QWEN3_235B, "apache-2.0"),
    Entry(
        "qwen3.5", ("0.8b",), "Qwen/Qwen3.5-0.8B", "qwen3_5", False, None, "apache-2.0", True, architecture="qwen3_5"
    ),
    Entry("qwen3.5", ("2b",), "Qwen/Qwen3.5-2B", "qwen3_5", False, None, "apache-2.0", True, architecture="qwen3_5"),
    Entry("qwen3.5", ("4b",), "Qwen/Qwen3.5-4B", "qwen3_5", False, None, "apache-2.0", True, architecture="qwen3_5"),
    Entry("qwen3.5", ("9b",), "Qwen/Qwen3.5-9B", "qwen3_5", False, None, "apache-2.0", True, architecture="qwen3_5"),
    Entry("qwen3.5", ("27b",), "Qwen/Qwen3.5-27B", "qwen3_5", False, None, "apache-2.0", True, architecture="qwen3_5"),
    Entry(
        "qwen3.5",
        ("35b", "35b-a3b"),
        "Qwen/Qwen3.5-35B-A3B",
        "qwen3_5",
        False,
        None,
        "apache-2.0",
        True,
        architecture="qwen3_5_moe",
    ),
    Entry(
        "qwen3.5",
        ("122b", "122b-a10b"),
        "Qwen/Qwen3.5-122B-A10B",
        "qwen3_5",
        False,
        None,
        "apache-2.0",
        True,
        architecture="qwen3_5_moe",
    ),
    Entry("qwen3.6", ("27b",), "Qwen/Qwen3.6-27B", "qwen3_6", False, None, "apache-2.0", True, architecture="qwen3_5"),
    Entry(
        "qwen3.6",
        ("35b", "35b-a3b"),
        "Qwen/Qwen3.6-35B-A3B",
        "qwen3_6",
        False,
        None,
        "apache-2.0",
        True,
        architecture="qwen3_5_moe",
    ),
    Entry(
        "qwen3-vl",
        ("2b-instruct",),
        "Qwen/Qwen3-VL-2B-Instruct",
        "qwen3_vl_nothink",
        False,
        None,
        "apache-2.0",
        True,
        architecture="qwen3_vl",
    ),
    Entry(
        "qwen3-vl",
        ("4b-instruct",),
        "Qwen/Qwen3-VL-4B-Instruct",
        "qwen3_vl_nothink",
        False,
        None,
        "apache-2.0",
        True,
        architecture="qwen3_vl",
    ),
    Entry(
        "qwen3-vl",
        ("8b-instruct",),
        "Qwen/Qwen3-VL-8B-Instruct",
        "qwen3_vl_nothink",
        False,
        None,
        "apache-2.0",
        True,
        architecture="qwen3_vl",
    ),
    Entry(
        "qwen3-vl",
        ("32b-instruct",),
        "Qwen/Qwen3-VL-32B-Instruct",
        "qwen3_vl_nothink",
        False,
        None,
        "apache-2.0",
        True,
        architecture="qwen3_vl",
    ),
    Entry(
        "qwen2.5vl",
        ("3b",),
        "Qwen/Qwen2.5-VL-3B-Instruct",
        "qwen2_vl",
        False,
        None,
        "qwen-research",
        True,
        architecture="qwen2_5_vl",
    ),
    Entry(
        "qwen2.5vl",
        ("7b",),
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "qwen2_vl",
        False,
        None,
        "apache-2.0",
        True,
        architecture="qwen2_5_vl",
    ),
    Entry(
        "qwen2.5vl",
        ("32b",),
        "Qwen/Qwen2.5-VL-32B-Instruct",
        "qwen2_vl",
        False,
        None,
        "apache-2.0",
        True,
        architecture="qwen2_5_vl",
    ),
    Entry(
        "qwen2.5vl",
        ("72b",),
        "Qwen/Qwen2.5-VL-72B-Instruct",
        "qwen2_vl",
        False,
        None,
        "qwen",
        True,
        architecture="qwen2_5_vl",
    ),
    Entry("gpt-oss", ("20b",), "openai/gpt-oss-20b", "gpt_oss", False, _GPT_OSS_20B, "apache-2.0"),
    Entry("gpt-oss", ("120b",), "openai/gpt-oss-120b", "gpt_oss", False, _GPT_OSS_120B, "apache-2.0"),
    Entry(
        "gemma4", ("e2b",), "google/gemma-4-E2B-it", "gemma4n", False, None, "apache-2.0", True, architecture="gemma4"
    ),
    Entry(
        "gemma4", ("e4b",), "google/gemma-4-E4B-it", "gemma4n", False, None, "apache-2.0", True, architecture="gemma4"
    ),
    Entry(
        "gemma4",
        ("26b", "26b-a4b"),
        "google/gemma-4-26B-A4B-it",
        "gemma4",
        False,
        None,
        "apache-2.0",
        True,
        architecture="gemma4",
    ),
    Entry(
        "gemma4", ("31b",), "google/gemma-4-31B-it", "gemma4", False, None, "apache-2.0", True, architecture="gemma4"
    ),
    Entry(
        "ministral-3",
        ("3b",),
        "mistralai/Ministral-3-3B-Instruct-2512",
        "ministral3",
        False,
        None,
        "apache-2.0",
        True,
        architecture="mistral3",
    ),
    Entry(
        "ministral-3",
        ("8b",),
        "mistralai/Ministral-3-8B-Instruct-2512",
        "ministral3",
        False,
        None,
        "apache-2.0",
        True,
        architecture="mistral3",
    ),
    Entry(
        "ministral-3",
        ("14b",),
        "mistralai/Ministral-3-14B-Instruct-2512",
        "ministral3",
        False,
        None,
        "apache-2.0",
        True,
        architecture="mistral3",
    ),
    Entry(
        "granite4",
        ("350m",),
        "ibm-granite/granite-4.0-350m",
        "granite4",
        False,
        None,
        "apache-2.0",
        architecture="granitemoehybrid",
    ),
    Entry(
        "granite4",
        ("1b",),
        "ibm-granite/granite-4.0-1b",
        "granite4",
        False,
        None,
        "apache-2.0",
        architecture="granitemoehybrid",
    ),
    Entry(
        "granite4",
        ("micro",),
        "ibm-granite/granite-4.0-micro",
        "granite4",
        False,
        None,
        "apache-2.0",
        architecture="granitemoehybrid",
    ),
    Entry(
        "granite4",
        ("micro-h",),
        "ibm-granite/granite-4.0-h-micro",
        "granite4",
        False,
        None,
        "apache-2.0",
        architecture="granitemoehybrid",
    ),
    Entry(
        "granite4",
        ("tiny-h",),
        "ibm-granite/granite-4.0-h-tiny",
        "granite4",
        False,
        None,
        "apache-2.0",
        architecture="granitemoehybrid",
    ),
    Entry(
        "granite4",
        ("small-h",),
        "ibm-granite/granite-4.0-h-small",
        "granite4",
        False,
        None,
        "apache-2.0",
        architecture="granitemoehybrid",
    ),
    Entry("", (), "zai-org/GLM-4-9B-0414", "glm4", False, None, "mit", architecture="glm4"),
    Entry("", (), "zai-org/GLM-4-32B-0414", "glm4", False, None, "mit", architecture="glm4"),
    Entry("", (), "zai-org/GLM-4.5-Air", "glm4_moe", False, None, "mit", architecture="glm4_moe"),
    Entry("", (), "zai-org/GLM-4.6V-Flash", "glm4_5v", False, None, "mit", True, architecture="glm46v"),
    Entry(
        "glm-4.7-flash",
        ("latest",),
        "zai-org/GLM-4.7-Flash",
        "glm4_7",
        False,
        None,
        "mit",
        architecture="glm4_moe_lite",
    ),
    Entry("", (), "LiquidAI/LFM2.5-1.2B-Instruct", "lfm2", False, None, "lfm1.0", architecture="lfm2"),
    Entry("", (), "LiquidAI/LFM2.5-VL-1.6B", "lfm2_vl", False, None, "lfm1.0", True, architecture="lfm2_vl"),
)

#: Tag that a bare name (or ``:latest``) refers to in Ollama's library. A family without one needs a tag.
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
    "glm-4.7-flash": "latest",
}
