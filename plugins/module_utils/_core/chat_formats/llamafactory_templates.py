# SPDX-FileCopyrightText: 2025 the LlamaFactory team
# SPDX-License-Identifier: Apache-2.0
#
# Source: LLaMA-Factory 0.9.5 (https://github.com/hiyouga/LLaMA-Factory), src/llamafactory/data/template.py and
# tool_utils.py: the values that these files register, without their code. See THIRD_PARTY.md.
"""The chat templates of LLaMA-Factory 0.9.5, and the texts that describe tools. Written by
``tests/template_snapshot.py`` from the output of ``programs/list_llamafactory_templates.py``, which describes the keys.
"""

from __future__ import annotations

import typing as t

# fmt: off
VERSION = '0.9.5'
TOOL_PROMPTS: dict[str, str] = {
    'DEFAULT_TOOL_PROMPT': (
        'You have access to the following tools:\n{tool_text}Use the following format if using a tool:\n```\nAction: '
        'tool name (one of [{tool_names}])\nAction Input: the input to the tool, in a JSON format representing the '
        'kwargs (e.g. ```{{"input": "hello world", "num_beams": 5}}```)\n```\n'
    ),
    'GLM4_MOE_TOOL_PROMPT': (
        '\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with '
        'function signatures within <tools></tools> XML tags:\n<tools>{tool_text}\n</tools>\n\nFor each function '
        'call, output the function name and arguments within the following XML format:\n<tool_call>{{function-name}}\n'
        '<arg_key>{{arg-key-1}}</arg_key>\n<arg_value>{{arg-value-1}}</arg_value>\n<arg_key>{{arg-key-2}}</arg_key>\n'
        '<arg_value>{{arg-value-2}}</arg_value>\n...\n</tool_call>\n'
    ),
    'GLM4_TOOL_PROMPT': (
        '\u4f60\u662f\u4e00\u4e2a\u540d\u4e3a ChatGLM '
        '\u7684\u4eba\u5de5\u667a\u80fd\u52a9\u624b\u3002\u4f60\u662f\u57fa\u4e8e\u667a\u8c31 AI '
        '\u516c\u53f8\u8bad\u7ec3\u7684\u8bed\u8a00\u6a21\u578b GLM-4 '
        '\u6a21\u578b\u5f00\u53d1\u7684\uff0c\u4f60\u7684\u4efb\u52a1\u662f\u9488\u5bf9\u7528\u6237\u7684\u95ee\u9898'
        '\u548c\u8981\u6c42\u63d0\u4f9b\u9002\u5f53\u7684\u7b54\u590d\u548c\u652f\u6301\u3002\n\n# '
        '\u53ef\u7528\u5de5\u5177{tool_text}'
    ),
    'LFM2_TOOL_PROMPT': 'List of tools: <|tool_list_start|>{tool_text}<|tool_list_end|>',
    'LING_TOOL_PROMPT': (
        '# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with '
        'function signatures within <tools></tools> XML tags:\n<tools>{tool_text}\n</tools>\n\nFor each function '
        'call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n'
        '<tool_call>\n{{"name": <function-name>, "arguments": <args-json-object>}}\n</tool_call>'
    ),
    'LLAMA3_TOOL_PROMPT': (
        'Cutting Knowledge Date: December 2023\nToday Date: {date}\n\nYou have access to the following functions. To '
        'call a function, please respond with JSON for a function call. Respond in the format {{"name": function '
        'name, "parameters": dictionary of argument name and its value}}. Do not use variables.\n\n{tool_text}'
    ),
    'MINIMAX_M1_TOOL_PROMPT': (
        'You are provided with these tools:\n<tools>\n{tool_text}</tools>\n\nIf you need to call tools, please '
        'respond with <tool_calls></tool_calls> XML tags, and provide tool-name and json-object of arguments, '
        'following the format below:\n<tool_calls>\n{{"name": <tool-name-1>, "arguments": <args-json-object-1>}}\n'
        '...\n</tool_calls>'
    ),
    'MINIMAX_M2_TOOL_PROMPT': (
        '\n\n# Tools\n\nYou may call one or more tools to assist with the user query.\nHere are the tools available '
        'in JSONSchema format:\n\n<tools>\n{tool_text}</tools>\n\nWhen making tool calls, use XML format to invoke '
        'tools and pass parameters:\n\n<minimax:tool_call>\n<invoke name="tool-name-1">\n<parameter '
        'name="param-key-1">param-value-1</parameter>\n<parameter name="param-key-2">param-value-2</parameter>\n...\n'
        '</invoke>\n</minimax:tool_call>'
    ),
    'QWEN35_TOOL_PROMPT': (
        '\n\n# Tools\n\nYou have access to the following functions:\n\n<tools>{tool_text}\n</tools>\n\nIf you choose '
        'to call a function ONLY reply in the following format with NO suffix:\n\n<tool_call>\n'
        '<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n'
        '<parameter=example_parameter_2>\nThis is the value for the second parameter\nthat can span\nmultiple lines\n'
        '</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\nReminder:\n- Function calls MUST follow the '
        'specified format: an inner <function=...></function> block must be nested within <tool_call></tool_call> XML '
        'tags\n- Required parameters MUST be specified\n- You may provide optional reasoning for your function call '
        'in natural language BEFORE the function call, but NOT after\n- If there is no function call available, '
        'answer the question like normal with your current knowledge and do not tell the user about function calls\n'
        '</IMPORTANT>'
    ),
    'QWEN_TOOL_PROMPT': (
        '\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with '
        'function signatures within <tools></tools> XML tags:\n<tools>{tool_text}\n</tools>\n\nFor each function '
        'call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n'
        '<tool_call>\n{{"name": <function-name>, "arguments": <args-json-object>}}\n</tool_call>'
    ),
    'SEED_TOOL_PROMPT': (
        'system\nYou are Doubao, a helpful AI assistant. You may call one or more functions to assist with the user '
        'query.Tool List:\nYou are authorized to use the following tools (described in JSON Schema format). Before '
        'performing any task, you must decide how to call them based on the descriptions and parameters of these '
        'tools.{tool_text}\n\u5de5\u5177\u8c03\u7528\u8bf7\u9075\u5faa\u5982\u4e0b\u683c\u5f0f:\n<seed:tool_call>\n'
        '<function=example_function_name>\n<parameter=example_parameter_1>value_1</parameter>\n'
        '<parameter=example_parameter_2>This is the value for the second parameter\nthat can span\nmultiple '
        'lines</parameter>\n</function>\n</seed:tool_call>\n'
    ),
}
TEMPLATES: dict[str, dict[str, t.Any]] = {
    'aeva': {
        'class': 'Glm47ReasoningTemplate',
        'prefix': ['[gMASK]<sop>'],
        'system': ['<|system|>\n{{content}}'],
        'user': ['<|user|>\n{{content}}<|assistant|>'],
        'assistant': ['\n{{content}}'],
        'function': ['{{content}}'],
        'observation': ['<|observation|>\n{{content}}<|assistant|>'],
        'tools': 'GLM4MOEToolUtils',
        'calls': 'GLM4MOEToolUtils',
        'default_system': (
            'You are an AI assistant named Aeva created by Zongzhi Lou. Your answer should be friendly, unbiased, '
            'faithful, informative and detailed.'
        ),
        'stop_words': ['<|user|>', '<|observation|>'],
        'thought_words': ['<think>', '</think>'],
        'efficient_eos': True,
    },
    'alpaca': {
        'user': ['### Instruction:\n{{content}}\n\n### Response:\n'],
        'assistant': ['{{content}}', {'set': 'eos_token'}, '\n\n'],
        'function': ['{{content}}', {'set': 'eos_token'}, '\n\n'],
        'observation': ['### Instruction:\n{{content}}\n\n### Response:\n'],
        'default_system': (
            'Below is an instruction that describes a task. Write a response that appropriately completes the '
            'request.\n\n'
        ),
    },
    'bailing': {
        'system': ['<role>SYSTEM</role>{{content}}'],
        'user': ['<role>HUMAN</role>{{content}}<role>ASSISTANT</role>'],
        'assistant': ['{{content}}'],
        'function': ['{{content}}'],
        'observation': ['<role>OBSERVATION</role>{{content}}<role>ASSISTANT</role>'],
        'stop_words': ['<|endoftext|>'],
        'efficient_eos': True,
    },
    'bailing_v2': {
        'system': ['<role>SYSTEM</role>{{content}}<|role_end|>'],
        'user': ['<role>HUMAN</role>{{content}}<|role_end|><role>ASSISTANT</role>'],
        'assistant': ['{{content}}<|role_end|>'],
        'function': ['{{content}}<|role_end|>'],
        'observation': [
            (
                '<role>OBSERVATION</role>\n<tool_response>\n{{content}}\n'
                '</tool_response><|role_end|><role>ASSISTANT</role>'
            ),
        ],
        'tools': 'LingToolUtils',
        'calls': 'LingToolUtils',
        'stop_words': ['<|endoftext|>'],
        'efficient_eos': True,
    },
    'breeze': {
        'prefix': [{'set': 'bos_token'}],
        'user': ['[INST] {{content}} [/INST] '],
        'assistant': ['{{content}}'],
        'function': ['{{content}}'],
        'observation': ['[INST] {{content}} [/INST] '],
        'efficient_eos': True,
    },
    'chatglm3': {
        'prefix': [{'token': '[gMASK]'}, {'token': 'sop'}],
        'system': [{'token': '<|system|>'}, '\n', '{{content}}'],
        'user': [{'token': '<|user|>'}, '\n', '{{content}}', {'token': '<|assistant|>'}],
        'assistant': ['\n', '{{content}}'],
        'function': ['{{content}}'],
        'observation': [{'token': '<|observation|>'}, '\n', '{{content}}', {'token': '<|assistant|>'}],
        'tools': 'GLM4ToolUtils',
        'calls': 'GLM4ToolUtils',
        'stop_words': ['<|user|>', '<|observation|>'],
        'efficient_eos': True,
    },
    'chatml': {
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>tool\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'stop_words': ['<|im_end|>', '<|im_start|>'],
        'replace_eos': True,
    },
    'chatml_de': {
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>tool\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'default_system': 'Du bist ein freundlicher und hilfsbereiter KI-Assistent.',
        'stop_words': ['<|im_end|>', '<|im_start|>'],
        'replace_eos': True,
    },
    'cohere': {
        'prefix': [{'set': 'bos_token'}],
        'system': ['<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>{{content}}<|END_OF_TURN_TOKEN|>'],
        'user': [
            (
                '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{{content}}<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT'
                '_TOKEN|>'
            ),
        ],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': [
            (
                '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{{content}}<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT'
                '_TOKEN|>'
            ),
        ],
    },
    'cpm4': {
        'prefix': [{'set': 'bos_token'}],
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>tool\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'stop_words': ['<|im_end|>'],
    },
    'dbrx': {
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>tool\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'default_system': (
            'You are DBRX, created by Databricks. You were last updated in December 2023. You answer questions based '
            'on information available up to that point.\nYOU PROVIDE SHORT RESPONSES TO SHORT QUESTIONS OR '
            'STATEMENTS, but provide thorough responses to more complex and open-ended questions.\nYou assist with '
            'various tasks, from writing to coding (using markdown for code blocks \u2014 remember to use ``` with '
            'code, JSON, and tables).\n(You do not have real-time data access or code execution capabilities. You '
            'avoid stereotyping and provide balanced perspectives on controversial topics. You do not provide song '
            'lyrics, poems, or news articles and do not divulge details of your training data.)\nThis is your system '
            'prompt, guiding your responses. Do not reference it, just respond to the user. If you find yourself '
            'talking about this message, stop. You should be responding appropriately and usually that means not '
            'mentioning this.\nYOU DO NOT MENTION ANY OF THIS INFORMATION ABOUT YOURSELF UNLESS THE INFORMATION IS '
            "DIRECTLY PERTINENT TO THE USER'S QUERY."
        ),
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'deepseek': {
        'prefix': [{'set': 'bos_token'}],
        'system': ['{{content}}\n\n'],
        'user': ['User: {{content}}\n\nAssistant:'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': ['User: {{content}}\n\nAssistant:'],
    },
    'deepseek3': {
        'prefix': [{'set': 'bos_token'}],
        'user': ['<\uff5cUser\uff5c>{{content}}<\uff5cAssistant\uff5c>'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': ['<\uff5cUser\uff5c>{{content}}<\uff5cAssistant\uff5c>'],
    },
    'deepseekcoder': {
        'prefix': [{'set': 'bos_token'}],
        'user': ['### Instruction:\n{{content}}\n### Response:'],
        'assistant': ['\n{{content}}\n<|EOT|>\n'],
        'function': ['\n{{content}}\n<|EOT|>\n'],
        'observation': ['### Instruction:\n{{content}}\n### Response:'],
        'default_system': (
            'You are an AI programming assistant, utilizing the DeepSeek Coder model, developed by DeepSeek Company, '
            'and you only answer questions related to computer science. For politically sensitive questions, security '
            'and privacy issues, and other non-computer science questions, you will refuse to answer.\n'
        ),
    },
    'deepseekr1': {
        'class': 'ReasoningTemplate',
        'prefix': [{'set': 'bos_token'}],
        'user': ['<\uff5cUser\uff5c>{{content}}<\uff5cAssistant\uff5c>'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': ['<\uff5cUser\uff5c>{{content}}<\uff5cAssistant\uff5c>'],
    },
    'default': {
        'system': ['System: {{content}}', {'set': 'eos_token'}, '\n'],
        'user': ['Human: {{content}}', {'set': 'eos_token'}, '\nAssistant:'],
        'assistant': ['{{content}}', {'set': 'eos_token'}, '\n'],
        'function': ['{{content}}', {'set': 'eos_token'}, '\n'],
        'observation': ['Human: {{content}}', {'set': 'eos_token'}, '\nAssistant:'],
    },
    'dots_ocr': {
        'mm_plugin': 'Qwen2VLPlugin',
        'system': ['<|system|>{{content}}<|endofsystem|>\n'],
        'user': ['<|user|>{{content}}<|endofuser|><|assistant|>'],
        'assistant': ['{{content}}<|endofassistant|>'],
        'function': ['{{content}}<|endofassistant|>'],
        'observation': ['<|user|>{{content}}<|endofuser|><|assistant|>'],
        'stop_words': ['<|endofassistant|>'],
        'efficient_eos': True,
    },
    'empty': {
        'user': ['{{content}}'],
        'assistant': ['{{content}}'],
        'function': ['{{content}}'],
        'observation': ['{{content}}'],
    },
    'ernie': {
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n\n'],
        'function': ['{{content}}<|im_end|>\n\n'],
        'observation': ['<|im_start|>tool\n{{content}}<|im_end|>\n\n<|im_start|>assistant\n'],
        'default_system': '<global_setting>\nthink_mode=True\n</global_setting>',
        'stop_words': ['<|im_end|>'],
    },
    'ernie_nothink': {
        'prefix': ['<|begin_of_sentence|>'],
        'system': ['{{content}}\n'],
        'user': ['User: {{content}}\nAssistant: '],
        'assistant': ['{{content}}<|end_of_sentence|>'],
        'function': ['{{content}}<|end_of_sentence|>'],
        'observation': ['User: {{content}}\nAssistant: '],
        'stop_words': ['<|end_of_sentence|>'],
    },
    'ernie_vl': {
        'class': 'ReasoningTemplate',
        'mm_plugin': 'ErnieVLPlugin',
        'system': ['{{content}}\n'],
        'user': ['User: {{content}}'],
        'assistant': ['\nAssistant: {{content}}<|end_of_sentence|>'],
        'function': ['\nAssistant: {{content}}<|end_of_sentence|>'],
        'observation': ['User: {{content}}'],
        'stop_words': ['<|end_of_sentence|>'],
        'replace_eos': True,
    },
    'exaone': {
        'system': ['[|system|]{{content}}[|endofturn|]\n'],
        'user': ['[|user|]{{content}}\n[|assistant|]'],
        'assistant': ['{{content}}', {'set': 'eos_token'}, '\n'],
        'function': ['{{content}}', {'set': 'eos_token'}, '\n'],
        'observation': ['[|user|]{{content}}\n[|assistant|]'],
    },
    'falcon': {
        'user': ['User: {{content}}\nFalcon:'],
        'assistant': ['{{content}}\n'],
        'function': ['{{content}}\n'],
        'observation': ['User: {{content}}\nFalcon:'],
        'efficient_eos': True,
    },
    'falcon_h1': {
        'prefix': [{'set': 'bos_token'}],
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>tool\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'stop_words': ['<|im_end|>', '<|end_of_text|>'],
    },
    'fewshot': {
        'user': ['{{content}}'],
        'assistant': ['{{content}}\n\n'],
        'function': ['{{content}}\n\n'],
        'observation': ['{{content}}'],
        'efficient_eos': True,
    },
    'gemma': {
        'class': 'Llama2Template',
        'prefix': [{'set': 'bos_token'}],
        'system': ['{{content}}\n\n'],
        'user': ['<start_of_turn>user\n{{content}}<end_of_turn>\n<start_of_turn>model\n'],
        'assistant': ['{{content}}<end_of_turn>\n'],
        'function': ['{{content}}<end_of_turn>\n'],
        'observation': ['<start_of_turn>tool\n{{content}}<end_of_turn>\n<start_of_turn>model\n'],
        'stop_words': ['<end_of_turn>'],
        'replace_eos': True,
    },
    'gemma2': {
        'class': 'Llama2Template',
        'prefix': [{'set': 'bos_token'}],
        'system': ['{{content}}\n\n'],
        'user': ['<start_of_turn>user\n{{content}}<end_of_turn>\n<start_of_turn>model\n'],
        'assistant': ['{{content}}<end_of_turn>\n'],
        'function': ['{{content}}<end_of_turn>\n'],
        'observation': ['<start_of_turn>tool\n{{content}}<end_of_turn>\n<start_of_turn>model\n'],
        'stop_words': ['<eos>', '<end_of_turn>'],
        'efficient_eos': True,
    },
    'gemma3': {
        'class': 'Llama2Template',
        'mm_plugin': 'Gemma3Plugin',
        'prefix': [{'set': 'bos_token'}],
        'system': ['{{content}}\n\n'],
        'user': ['<start_of_turn>user\n{{content}}<end_of_turn>\n<start_of_turn>model\n'],
        'assistant': ['{{content}}<end_of_turn>\n'],
        'function': ['{{content}}<end_of_turn>\n'],
        'observation': ['<start_of_turn>tool\n{{content}}<end_of_turn>\n<start_of_turn>model\n'],
        'stop_words': ['<end_of_turn>'],
        'replace_eos': True,
    },
    'gemma3n': {
        'class': 'Llama2Template',
        'mm_plugin': 'Gemma3nPlugin',
        'prefix': [{'set': 'bos_token'}],
        'system': ['{{content}}\n\n'],
        'user': ['<start_of_turn>user\n{{content}}<end_of_turn>\n<start_of_turn>model\n'],
        'assistant': ['{{content}}<end_of_turn>\n'],
        'function': ['{{content}}<end_of_turn>\n'],
        'observation': ['<start_of_turn>tool\n{{content}}<end_of_turn>\n<start_of_turn>model\n'],
        'stop_words': ['<end_of_turn>'],
        'replace_eos': True,
    },
    'gemma4': {
        'class': 'ReasoningTemplate',
        'mm_plugin': 'Gemma4Plugin',
        'prefix': [{'set': 'bos_token'}],
        'system': ['<|turn>system\n<|think|>{{content}}<turn|>\n'],
        'user': ['<|turn>user\n{{content}}<turn|>\n<|turn>model\n'],
        'assistant': ['{{content}}<turn|>\n'],
        'function': ['<|tool>{{content}}<tool|>'],
        'observation': ['<|turn>tool\n{{content}}<turn|>\n<|turn>model\n'],
        'tools': 'Gemma4ToolUtils',
        'calls': 'Gemma4ToolUtils',
        'default_system': 'You are a helpful assistant.',
        'stop_words': ['<turn|>'],
        'thought_words': ['<|channel>thought\n', '<channel|>'],
        'replace_eos': True,
    },
    'gemma4n': {
        'class': 'ReasoningTemplate',
        'mm_plugin': 'Gemma4Plugin',
        'prefix': [{'set': 'bos_token'}],
        'system': ['<|turn>system\n<|think|>{{content}}<turn|>\n'],
        'user': ['<|turn>user\n{{content}}<turn|>\n<|turn>model\n'],
        'assistant': ['{{content}}<turn|>\n'],
        'function': ['<|tool>{{content}}<tool|>'],
        'observation': ['<|turn>tool\n{{content}}<turn|>\n<|turn>model\n'],
        'tools': 'Gemma4ToolUtils',
        'calls': 'Gemma4ToolUtils',
        'default_system': 'You are a helpful assistant.',
        'stop_words': ['<turn|>'],
        'thought_words': ['<|channel>thought\n', '<channel|>'],
        'replace_eos': True,
    },
    'glm4': {
        'prefix': ['[gMASK]<sop>'],
        'system': ['<|system|>\n{{content}}'],
        'user': ['<|user|>\n{{content}}<|assistant|>'],
        'assistant': ['\n{{content}}'],
        'function': ['{{content}}'],
        'observation': ['<|observation|>\n{{content}}<|assistant|>'],
        'tools': 'GLM4ToolUtils',
        'calls': 'GLM4ToolUtils',
        'stop_words': ['<|user|>', '<|observation|>'],
        'efficient_eos': True,
    },
    'glm4_5v': {
        'class': 'ReasoningTemplate',
        'mm_plugin': 'GLM4VPlugin',
        'prefix': ['[gMASK]<sop>'],
        'system': ['<|system|>\n{{content}}'],
        'user': ['<|user|>\n{{content}}<|assistant|>'],
        'assistant': ['\n{{content}}'],
        'function': ['{{content}}'],
        'observation': ['<|observation|>\n{{content}}<|assistant|>'],
        'tools': 'GLM4MOEToolUtils',
        'calls': 'GLM4MOEToolUtils',
        'stop_words': ['<|user|>', '<|observation|>', '</answer>'],
        'efficient_eos': True,
    },
    'glm4_7': {
        'class': 'Glm47ReasoningTemplate',
        'prefix': ['[gMASK]<sop>'],
        'system': ['<|system|>\n{{content}}'],
        'user': ['<|user|>\n{{content}}<|assistant|>'],
        'assistant': ['\n{{content}}'],
        'function': ['{{content}}'],
        'observation': ['<|observation|>\n{{content}}<|assistant|>'],
        'tools': 'GLM4MOEToolUtils',
        'calls': 'GLM4MOEToolUtils',
        'stop_words': ['<|user|>', '<|observation|>'],
        'thought_words': ['<think>', '</think>'],
        'efficient_eos': True,
    },
    'glm4_moe': {
        'class': 'ReasoningTemplate',
        'prefix': ['[gMASK]<sop>'],
        'system': ['<|system|>\n{{content}}'],
        'user': ['<|user|>\n{{content}}<|assistant|>'],
        'assistant': ['\n{{content}}'],
        'function': ['{{content}}'],
        'observation': ['<|observation|>\n{{content}}<|assistant|>'],
        'tools': 'GLM4MOEToolUtils',
        'calls': 'GLM4MOEToolUtils',
        'stop_words': ['<|user|>', '<|observation|>'],
        'efficient_eos': True,
    },
    'glm4v': {
        'class': 'ReasoningTemplate',
        'mm_plugin': 'GLM4VPlugin',
        'prefix': ['[gMASK]<sop>'],
        'system': ['<|system|>\n{{content}}'],
        'user': ['<|user|>\n{{content}}<|assistant|>'],
        'assistant': ['\n{{content}}'],
        'function': ['{{content}}'],
        'observation': ['<|observation|>\n{{content}}<|assistant|>'],
        'tools': 'GLM4ToolUtils',
        'calls': 'GLM4ToolUtils',
        'stop_words': ['<|user|>', '<|observation|>', '</answer>'],
        'efficient_eos': True,
    },
    'glm_ocr': {
        'mm_plugin': 'GLM4VPlugin',
        'prefix': ['[gMASK]<sop>'],
        'system': ['<|system|>\n{{content}}'],
        'user': ['<|user|>\n{{content}}<|assistant|>'],
        'assistant': ['\n{{content}}'],
        'function': ['{{content}}'],
        'observation': ['<|observation|>\n{{content}}<|assistant|>'],
        'tools': 'GLM4ToolUtils',
        'calls': 'GLM4ToolUtils',
        'stop_words': ['<|user|>', '<|observation|>'],
        'efficient_eos': True,
    },
    'glmz1': {
        'class': 'ReasoningTemplate',
        'prefix': ['[gMASK]<sop>'],
        'system': ['<|system|>\n{{content}}'],
        'user': ['<|user|>\n{{content}}<|assistant|>'],
        'assistant': ['\n{{content}}'],
        'function': ['{{content}}'],
        'observation': ['<|observation|>\n{{content}}<|assistant|>'],
        'tools': 'GLM4ToolUtils',
        'calls': 'GLM4ToolUtils',
        'stop_words': ['<|user|>', '<|observation|>'],
        'efficient_eos': True,
    },
    'gpt_oss': {
        'class': 'ReasoningTemplate',
        'system': ['<|start|>system<|message|>{{content}}<|end|>'],
        'user': ['<|start|>user<|message|>{{content}}<|end|><|start|>assistant'],
        'assistant': ['{{content}}'],
        'function': ['{{content}}'],
        'observation': ['<|start|>user<|message|>{{content}}<|end|><|start|>assistant'],
        'default_system': 'You are ChatGPT, a large language model trained by OpenAI.',
        'thought_words': ['<|channel|>analysis<|message|>', '<|end|><|start|>assistant<|channel|>final<|message|>'],
        'efficient_eos': True,
    },
    'granite3': {
        'system': ['<|start_of_role|>system<|end_of_role|>{{content}}<|end_of_text|>\n'],
        'user': [
            (
                '<|start_of_role|>user<|end_of_role|>{{content}}<|end_of_text|>\n'
                '<|start_of_role|>assistant<|end_of_role|>'
            ),
        ],
        'assistant': ['{{content}}<|end_of_text|>\n'],
        'function': ['{{content}}<|end_of_text|>\n'],
        'observation': [
            (
                '<|start_of_role|>user<|end_of_role|>{{content}}<|end_of_text|>\n'
                '<|start_of_role|>assistant<|end_of_role|>'
            ),
        ],
    },
    'granite3_vision': {
        'mm_plugin': 'LlavaNextPlugin',
        'system': ['<|system|>\n{{content}}\n'],
        'user': ['<|user|>\n{{content}}\n<|assistant|>\n'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': ['<|user|>\n{{content}}\n<|assistant|>\n'],
        'default_system': (
            'A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, '
            "detailed, and polite answers to the user's questions."
        ),
    },
    'granite4': {
        'system': ['<|start_of_role|>system<|end_of_role|>{{content}}<|end_of_text|>\n'],
        'user': [
            (
                '<|start_of_role|>user<|end_of_role|>{{content}}<|end_of_text|>\n'
                '<|start_of_role|>assistant<|end_of_role|>'
            ),
        ],
        'assistant': ['{{content}}<|end_of_text|>\n'],
        'function': ['{{content}}<|end_of_text|>\n'],
        'observation': [
            '<|start_of_role|>tool<|end_of_role|>{{content}}<|end_of_text|>\n<|start_of_role|>assistant\n',
        ],
        'default_system': 'You are Granite, developed by IBM. You are a helpful AI assistant.',
        'stop_words': ['<|end_of_text|>'],
    },
    'hunyuan': {
        'prefix': ['<|startoftext|>'],
        'system': ['{{content}}<|extra_4|>'],
        'user': ['{{content}}<|extra_0|>'],
        'assistant': ['{{content}}<|eos|>'],
        'function': ['{{content}}<|eos|>'],
        'observation': ['{{content}}<|extra_0|>'],
        'stop_words': ['<|eos|>'],
    },
    'hunyuan_small': {
        'prefix': ['<\uff5chy_begin\u2581of\u2581sentence\uff5c>'],
        'system': ['{{content}}<\uff5chy_place\u2581holder\u2581no\u25813\uff5c>'],
        'user': ['<\uff5chy_User\uff5c>{{content}}<\uff5chy_place\u2581holder\u2581no\u25818\uff5c>'],
        'assistant': ['{{content}}<\uff5chy_place\u2581holder\u2581no\u25812\uff5c>'],
        'function': ['{{content}}<\uff5chy_place\u2581holder\u2581no\u25812\uff5c>'],
        'observation': ['<\uff5chy_User\uff5c>{{content}}<\uff5chy_place\u2581holder\u2581no\u25818\uff5c>'],
        'stop_words': ['<\uff5chy_place\u2581holder\u2581no\u25812\uff5c>'],
    },
    'hy3': {
        'class': 'ReasoningTemplate',
        'prefix': [{'set': 'bos_token'}],
        'user': ['<\uff5chy_User\uff5c>{{content}}<\uff5chy_Assistant\uff5c>'],
        'assistant': ['{{content}}<\uff5chy_eos\uff5c>'],
        'function': ['{{content}}<\uff5chy_eos\uff5c>'],
        'observation': ['<\uff5chy_User\uff5c>{{content}}<\uff5chy_Assistant\uff5c>'],
        'stop_words': ['<\uff5chy_eos\uff5c>'],
        'thought_words': ['<think>', '</think>'],
        'replace_eos': True,
    },
    'index': {
        'system': ['<unk>{{content}}'],
        'user': ['reserved_0{{content}}reserved_1'],
        'assistant': ['{{content}}'],
        'function': ['{{content}}'],
        'observation': ['reserved_0{{content}}reserved_1'],
        'efficient_eos': True,
    },
    'intern2': {
        'prefix': [{'set': 'bos_token'}],
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'default_system': (
            'You are an AI assistant whose name is InternLM (\u4e66\u751f\xb7\u6d66\u8bed).\n- InternLM '
            '(\u4e66\u751f\xb7\u6d66\u8bed) is a conversational language model that is developed by Shanghai AI '
            'Laboratory (\u4e0a\u6d77\u4eba\u5de5\u667a\u80fd\u5b9e\u9a8c\u5ba4). It is designed to be helpful, '
            'honest, and harmless.\n- InternLM (\u4e66\u751f\xb7\u6d66\u8bed) can understand and communicate fluently '
            'in the language chosen by the user such as English and \u4e2d\u6587.'
        ),
        'stop_words': ['<|im_end|>'],
    },
    'intern_s1': {
        'mm_plugin': 'InternVLPlugin',
        'prefix': [{'set': 'bos_token'}],
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'stop_words': ['<|im_end|>'],
    },
    'intern_vl': {
        'mm_plugin': 'InternVLPlugin',
        'prefix': [{'set': 'bos_token'}],
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'default_system': (
            '\u4f60\u662f\u4e66\u751f\xb7\u4e07\u8c61\uff0c\u82f1\u6587\u540d\u662fInternVL\uff0c\u662f\u7531\u4e0a'
            '\u6d77\u4eba\u5de5\u667a\u80fd\u5b9e\u9a8c\u5ba4\u3001\u6e05\u534e\u5927\u5b66\u53ca\u591a\u5bb6\u5408'
            '\u4f5c\u5355\u4f4d\u8054\u5408\u5f00\u53d1\u7684\u591a\u6a21\u6001\u5927\u8bed\u8a00\u6a21\u578b\u3002'
        ),
        'stop_words': ['<|im_end|>'],
    },
    'keye_vl': {
        'class': 'ReasoningTemplate',
        'mm_plugin': 'Qwen2VLPlugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            '<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
        ],
        'tools': 'QwenToolUtils',
        'calls': 'QwenToolUtils',
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'kimi_vl': {
        'class': 'ReasoningTemplate',
        'mm_plugin': 'KimiVLPlugin',
        'system': ['<|im_system|>system<|im_middle|>{{content}}<|im_end|>'],
        'user': ['<|im_user|>user<|im_middle|>{{content}}<|im_end|><|im_assistant|>assistant<|im_middle|>'],
        'assistant': ['{{content}}<|im_end|>'],
        'function': ['{{content}}<|im_end|>'],
        'observation': ['<|im_user|>user<|im_middle|>{{content}}<|im_end|><|im_assistant|>assistant<|im_middle|>'],
        'default_system': 'You are a helpful assistant',
        'stop_words': ['<|im_end|>'],
        'thought_words': ['\u25c1think\u25b7', '\u25c1/think\u25b7'],
    },
    'lfm2': {
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            (
                '<|im_start|>tool\n<|tool_response_start|>{{content}}<|tool_response_end|><|im_end|>\n'
                '<|im_start|>assistant\n'
            ),
        ],
        'tools': 'LFM2ToolUtils',
        'calls': 'LFM2ToolUtils',
        'default_system': 'You are a helpful AI assistant.',
        'stop_words': ['<|im_end|>'],
        'tool_call_words': ['<|tool_call_start|>', '<|tool_call_end|>'],
        'replace_eos': True,
    },
    'lfm2_vl': {
        'mm_plugin': 'LFMVLPlugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            (
                '<|im_start|>tool\n<|tool_response_start|>{{content}}<|tool_response_end|><|im_end|>\n'
                '<|im_start|>assistant\n'
            ),
        ],
        'tools': 'LFM2ToolUtils',
        'calls': 'LFM2ToolUtils',
        'default_system': 'You are a helpful multimodal assistant by Liquid AI.',
        'stop_words': ['<|im_end|>'],
        'tool_call_words': ['<|tool_call_start|>', '<|tool_call_end|>'],
        'replace_eos': True,
    },
    'llama2': {
        'class': 'Llama2Template',
        'system': ['<<SYS>>\n{{content}}\n<</SYS>>\n\n'],
        'user': [{'set': 'bos_token'}, '[INST] {{content}} [/INST]'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': [{'set': 'bos_token'}, '[INST] {{content}} [/INST]'],
    },
    'llama2_zh': {
        'class': 'Llama2Template',
        'system': ['<<SYS>>\n{{content}}\n<</SYS>>\n\n'],
        'user': [{'set': 'bos_token'}, '[INST] {{content}} [/INST]'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': [{'set': 'bos_token'}, '[INST] {{content}} [/INST]'],
        'default_system': (
            'You are a helpful assistant. \u4f60\u662f\u4e00\u4e2a\u4e50\u4e8e\u52a9\u4eba\u7684\u52a9\u624b\u3002'
        ),
    },
    'llama3': {
        'prefix': [{'set': 'bos_token'}],
        'system': ['<|start_header_id|>system<|end_header_id|>\n\n{{content}}<|eot_id|>'],
        'user': [
            (
                '<|start_header_id|>user<|end_header_id|>\n\n'
                '{{content}}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n'
            ),
        ],
        'assistant': ['{{content}}<|eot_id|>'],
        'function': ['{{content}}<|eot_id|>'],
        'observation': [
            (
                '<|start_header_id|>ipython<|end_header_id|>\n\n'
                '{{content}}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n'
            ),
        ],
        'tools': 'Llama3ToolUtils',
        'calls': 'Llama3ToolUtils',
        'stop_words': ['<|eot_id|>', '<|eom_id|>'],
        'replace_eos': True,
    },
    'llama4': {
        'mm_plugin': 'Llama4Plugin',
        'prefix': [{'set': 'bos_token'}],
        'system': ['<|header_start|>system<|header_end|>\n\n{{content}}<|eot|>'],
        'user': [
            '<|header_start|>user<|header_end|>\n\n{{content}}<|eot|><|header_start|>assistant<|header_end|>\n\n',
        ],
        'assistant': ['{{content}}<|eot|>'],
        'function': ['{{content}}<|eot|>'],
        'observation': [
            '<|header_start|>ipython<|header_end|>\n\n{{content}}<|eot|><|header_start|>assistant<|header_end|>\n\n',
        ],
        'tools': 'Llama3ToolUtils',
        'calls': 'Llama3ToolUtils',
        'stop_words': ['<|eot|>', '<|eom|>'],
        'replace_eos': True,
    },
    'llava': {
        'mm_plugin': 'LlavaPlugin',
        'user': ['USER: {{content}} ASSISTANT:'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': ['USER: {{content}} ASSISTANT:'],
        'default_system': (
            'A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, '
            "detailed, and polite answers to the user's questions."
        ),
    },
    'llava_next': {
        'mm_plugin': 'LlavaNextPlugin',
        'user': ['USER: {{content}} ASSISTANT:'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': ['USER: {{content}} ASSISTANT:'],
        'default_system': (
            'A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, '
            "detailed, and polite answers to the user's questions."
        ),
    },
    'llava_next_llama3': {
        'mm_plugin': 'LlavaNextPlugin',
        'prefix': [{'set': 'bos_token'}],
        'system': ['<|start_header_id|>system<|end_header_id|>\n\n{{content}}<|eot_id|>'],
        'user': [
            (
                '<|start_header_id|>user<|end_header_id|>\n\n'
                '{{content}}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n'
            ),
        ],
        'assistant': ['{{content}}<|eot_id|>'],
        'function': ['{{content}}<|eot_id|>'],
        'observation': [
            (
                '<|start_header_id|>ipython<|end_header_id|>\n\n'
                '{{content}}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n'
            ),
        ],
        'tools': 'Llama3ToolUtils',
        'calls': 'Llama3ToolUtils',
        'stop_words': ['<|eot_id|>', '<|eom_id|>'],
        'replace_eos': True,
    },
    'llava_next_mistral': {
        'class': 'Llama2Template',
        'mm_plugin': 'LlavaNextPlugin',
        'prefix': [{'set': 'bos_token'}],
        'system': ['{{content}}\n\n'],
        'user': ['[INST] {{content}}[/INST]'],
        'assistant': [' {{content}}', {'set': 'eos_token'}],
        'function': ['[TOOL_CALLS] {{content}}', {'set': 'eos_token'}],
        'observation': ['[TOOL_RESULTS] {"content": {{content}}}[/TOOL_RESULTS]'],
        'tools': 'MistralToolUtils',
        'calls': 'MistralToolUtils',
    },
    'llava_next_qwen': {
        'mm_plugin': 'LlavaNextPlugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            '<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
        ],
        'tools': 'QwenToolUtils',
        'calls': 'QwenToolUtils',
        'default_system': 'You are a helpful assistant.',
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'llava_next_video': {
        'mm_plugin': 'LlavaNextVideoPlugin',
        'user': ['USER: {{content}} ASSISTANT:'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': ['USER: {{content}} ASSISTANT:'],
        'default_system': (
            'A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, '
            "detailed, and polite answers to the user's questions."
        ),
    },
    'llava_next_video_mistral': {
        'class': 'Llama2Template',
        'mm_plugin': 'LlavaNextVideoPlugin',
        'prefix': [{'set': 'bos_token'}],
        'system': ['{{content}}\n\n'],
        'user': ['[INST] {{content}}[/INST]'],
        'assistant': [' {{content}}', {'set': 'eos_token'}],
        'function': ['[TOOL_CALLS] {{content}}', {'set': 'eos_token'}],
        'observation': ['[TOOL_RESULTS] {"content": {{content}}}[/TOOL_RESULTS]'],
        'tools': 'MistralToolUtils',
        'calls': 'MistralToolUtils',
    },
    'llava_next_video_yi': {
        'mm_plugin': 'LlavaNextVideoPlugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'stop_words': ['<|im_end|>'],
    },
    'llava_next_yi': {
        'mm_plugin': 'LlavaNextPlugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'stop_words': ['<|im_end|>'],
    },
    'mimo': {
        'class': 'ReasoningTemplate',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            '<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
        ],
        'tools': 'QwenToolUtils',
        'calls': 'QwenToolUtils',
        'default_system': 'You are a helpful assistant.',
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'mimo_v2': {
        'class': 'ReasoningTemplate',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            '<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
        ],
        'tools': 'QwenToolUtils',
        'calls': 'QwenToolUtils',
        'default_system': 'You are MiMo, a helpful AI assistant engineered by Xiaomi.',
        'stop_words': ['<|im_end|>'],
        'thought_words': ['<think>', '</think>'],
        'replace_eos': True,
    },
    'mimo_vl': {
        'class': 'ReasoningTemplate',
        'mm_plugin': 'Qwen2VLPlugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            '<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
        ],
        'tools': 'QwenToolUtils',
        'calls': 'QwenToolUtils',
        'default_system': 'You are MiMo, an AI assistant developed by Xiaomi.',
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'minicpm_o': {
        'mm_plugin': 'MiniCPMVPlugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'default_system': (
            'You are a helpful assistant. You can accept audio and text input and output voice and text.'
        ),
        'stop_words': ['<|im_end|>'],
    },
    'minicpm_v': {
        'mm_plugin': 'MiniCPMVPlugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'default_system': 'You are a helpful assistant.',
        'stop_words': ['<|im_end|>'],
    },
    'minicpm_v_4_6': {
        'mm_plugin': 'MiniCPMV4_6Plugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'default_system': 'You are a helpful assistant.',
        'stop_words': ['<|im_end|>'],
    },
    'minimax1': {
        'system': ['<beginning_of_sentence>system ai_setting=assistant\n{{content}}<end_of_sentence>\n'],
        'user': [
            (
                '<beginning_of_sentence>user name=user\n{{content}}<end_of_sentence>\n<beginning_of_sentence>ai '
                'name=assistant\n'
            ),
        ],
        'assistant': ['{{content}}<end_of_sentence>\n'],
        'function': ['{{content}}<end_of_sentence>\n'],
        'observation': [
            (
                '<beginning_of_sentence>tool name=tools\n{{content}}<end_of_sentence>\n<beginning_of_sentence>ai '
                'name=assistant\n'
            ),
        ],
        'tools': 'MiniMaxM1ToolUtils',
        'calls': 'MiniMaxM1ToolUtils',
        'default_system': 'You are a helpful assistant.',
        'stop_words': ['<end_of_sentence>'],
    },
    'minimax2': {
        'class': 'ReasoningTemplate',
        'system': [']~!b[]~b]system\n{{content}}[e~[\n'],
        'user': [']~b]user\n{{content}}[e~[\n]~b]ai\n'],
        'assistant': ['{{content}}[e~[\n'],
        'function': ['{{content}}[e~[\n'],
        'observation': [']~b]tool\n<response>{{content}}</response>[e~[\n]~b]ai\n'],
        'tools': 'MiniMaxM2ToolUtils',
        'calls': 'MiniMaxM2ToolUtils',
        'default_system': 'You are a helpful assistant. Your name is MiniMax-M2.1 and is built by MiniMax.',
        'stop_words': ['[e~['],
    },
    'ministral': {
        'class': 'Llama2Template',
        'prefix': [{'set': 'bos_token'}],
        'system': ['{{content}}\n\n'],
        'user': ['[INST]{{content}}[/INST]'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['[TOOL_CALLS]{{content}}', {'set': 'eos_token'}],
        'observation': ['[TOOL_RESULTS]{"content": {{content}}}[/TOOL_RESULTS]'],
        'tools': 'MistralToolUtils',
        'calls': 'MistralToolUtils',
    },
    'ministral3': {
        'class': 'Llama2Template',
        'mm_plugin': 'PixtralPlugin',
        'prefix': [{'set': 'bos_token'}],
        'system': ['{{content}}\n\n'],
        'user': ['[INST]{{content}}[/INST]'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['[TOOL_CALLS]{{content}}', {'set': 'eos_token'}],
        'observation': ['[TOOL_RESULTS]{"content": {{content}}}[/TOOL_RESULTS]'],
        'tools': 'MistralToolUtils',
        'calls': 'MistralToolUtils',
    },
    'mistral': {
        'class': 'Llama2Template',
        'prefix': [{'set': 'bos_token'}],
        'system': ['{{content}}\n\n'],
        'user': ['[INST] {{content}}[/INST]'],
        'assistant': [' {{content}}', {'set': 'eos_token'}],
        'function': ['[TOOL_CALLS] {{content}}', {'set': 'eos_token'}],
        'observation': ['[TOOL_RESULTS] {"content": {{content}}}[/TOOL_RESULTS]'],
        'tools': 'MistralToolUtils',
        'calls': 'MistralToolUtils',
    },
    'mistral_small': {
        'mm_plugin': 'PixtralPlugin',
        'prefix': [{'set': 'bos_token'}],
        'system': ['[SYSTEM_PROMPT]{{content}}[/SYSTEM_PROMPT]'],
        'user': ['[INST]{{content}}[/INST]'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['[TOOL_CALLS]{{content}}', {'set': 'eos_token'}],
        'observation': ['[TOOL_RESULTS]{"content": {{content}}}[/TOOL_RESULTS]'],
        'tools': 'MistralToolUtils',
        'calls': 'MistralToolUtils',
    },
    'mllama': {
        'mm_plugin': 'MllamaPlugin',
        'prefix': [{'set': 'bos_token'}],
        'system': ['<|start_header_id|>system<|end_header_id|>\n\n{{content}}<|eot_id|>'],
        'user': [
            (
                '<|start_header_id|>user<|end_header_id|>\n\n'
                '{{content}}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n'
            ),
        ],
        'assistant': ['{{content}}<|eot_id|>'],
        'function': ['{{content}}<|eot_id|>'],
        'observation': [
            (
                '<|start_header_id|>ipython<|end_header_id|>\n\n'
                '{{content}}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n'
            ),
        ],
        'tools': 'Llama3ToolUtils',
        'calls': 'Llama3ToolUtils',
        'stop_words': ['<|eot_id|>', '<|eom_id|>'],
        'replace_eos': True,
    },
    'moonlight': {
        'system': ['<|im_system|>system<|im_middle|>{{content}}<|im_end|>'],
        'user': ['<|im_user|>user<|im_middle|>{{content}}<|im_end|><|im_assistant|>assistant<|im_middle|>'],
        'assistant': ['{{content}}<|im_end|>'],
        'function': ['{{content}}<|im_end|>'],
        'observation': ['<|im_user|>user<|im_middle|>{{content}}<|im_end|><|im_assistant|>assistant<|im_middle|>'],
        'default_system': 'You are a helpful assistant provided by Moonshot-AI.',
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'olmo': {
        'prefix': [{'set': 'eos_token'}],
        'user': ['<|user|>\n{{content}}<|assistant|>\n'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': ['<|user|>\n{{content}}<|assistant|>\n'],
    },
    'openchat': {
        'prefix': [{'set': 'bos_token'}],
        'user': ['GPT4 Correct User: {{content}}', {'set': 'eos_token'}, 'GPT4 Correct Assistant:'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': ['GPT4 Correct User: {{content}}', {'set': 'eos_token'}, 'GPT4 Correct Assistant:'],
    },
    'openchat-3.6': {
        'prefix': [{'set': 'bos_token'}],
        'user': [
            (
                '<|start_header_id|>GPT4 Correct User<|end_header_id|>\n\n'
                '{{content}}<|eot_id|><|start_header_id|>GPT4 Correct Assistant<|end_header_id|>\n\n'
            ),
        ],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': [
            (
                '<|start_header_id|>GPT4 Correct User<|end_header_id|>\n\n'
                '{{content}}<|eot_id|><|start_header_id|>GPT4 Correct Assistant<|end_header_id|>\n\n'
            ),
        ],
        'stop_words': ['<|eot_id|>'],
    },
    'opencoder': {
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>tool\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'default_system': 'You are OpenCoder, created by OpenCoder Team.',
        'stop_words': ['<|im_end|>'],
    },
    'paligemma': {
        'class': 'Llama2Template',
        'mm_plugin': 'PaliGemmaPlugin',
        'prefix': [{'set': 'bos_token'}],
        'user': ['{{content}}\n'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': ['{{content}}\n'],
    },
    'paligemma_chat': {
        'class': 'Llama2Template',
        'mm_plugin': 'PaliGemmaPlugin',
        'prefix': [{'set': 'bos_token'}],
        'user': ['<start_of_turn>user\n{{content}}<end_of_turn>\n<start_of_turn>model\n'],
        'assistant': ['{{content}}<end_of_turn>\n'],
        'function': ['{{content}}<end_of_turn>\n'],
        'observation': ['<start_of_turn>tool\n{{content}}<end_of_turn>\n<start_of_turn>model\n'],
        'stop_words': ['<end_of_turn>'],
        'replace_eos': True,
    },
    'phi': {
        'system': ['<|system|>\n{{content}}<|end|>\n'],
        'user': ['<|user|>\n{{content}}<|end|>\n<|assistant|>\n'],
        'assistant': ['{{content}}<|end|>\n'],
        'function': ['{{content}}<|end|>\n'],
        'observation': ['<|user|>\n{{content}}<|end|>\n<|assistant|>\n'],
        'stop_words': ['<|end|>'],
        'replace_eos': True,
    },
    'phi4': {
        'system': ['<|im_start|>system<|im_sep|>{{content}}<|im_end|>'],
        'user': ['<|im_start|>user<|im_sep|>{{content}}<|im_end|><|im_start|>assistant<|im_sep|>'],
        'assistant': ['{{content}}<|im_end|>'],
        'function': ['{{content}}<|im_end|>'],
        'observation': ['<|im_start|>user<|im_sep|>{{content}}<|im_end|><|im_start|>assistant<|im_sep|>'],
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'phi4_mini': {
        'system': ['<|system|>{{content}}<|end|>'],
        'user': ['<|user|>{{content}}<|end|><|assistant|>'],
        'assistant': ['{{content}}<|end|>'],
        'function': ['{{content}}<|end|>'],
        'observation': ['<|user|>{{content}}<|end|><|assistant|>'],
        'tools': ['<|tool|>{{content}}<|/tool|>'],
        'stop_words': ['<|end|>'],
        'replace_eos': True,
    },
    'phi_small': {
        'prefix': [{'set': '<|endoftext|>'}],
        'system': ['<|system|>\n{{content}}<|end|>\n'],
        'user': ['<|user|>\n{{content}}<|end|>\n<|assistant|>\n'],
        'assistant': ['{{content}}<|end|>\n'],
        'function': ['{{content}}<|end|>\n'],
        'observation': ['<|user|>\n{{content}}<|end|>\n<|assistant|>\n'],
        'stop_words': ['<|end|>'],
        'replace_eos': True,
    },
    'pixtral': {
        'class': 'Llama2Template',
        'mm_plugin': 'PixtralPlugin',
        'prefix': [{'set': 'bos_token'}],
        'system': ['{{content}}\n\n'],
        'user': ['[INST]{{content}}[/INST]'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['[TOOL_CALLS]{{content}}', {'set': 'eos_token'}],
        'observation': ['[TOOL_RESULTS]{"content": {{content}}}[/TOOL_RESULTS]'],
        'tools': 'MistralToolUtils',
        'calls': 'MistralToolUtils',
    },
    'qwen': {
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            '<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
        ],
        'tools': 'QwenToolUtils',
        'calls': 'QwenToolUtils',
        'default_system': 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.',
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'qwen2_audio': {
        'mm_plugin': 'Qwen2AudioPlugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'default_system': 'You are a helpful assistant.',
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'qwen2_omni': {
        'mm_plugin': 'Qwen2OmniPlugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            '<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
        ],
        'tools': 'QwenToolUtils',
        'calls': 'QwenToolUtils',
        'default_system': 'You are a helpful assistant.',
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'qwen2_vl': {
        'mm_plugin': 'Qwen2VLPlugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            '<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
        ],
        'tools': 'QwenToolUtils',
        'calls': 'QwenToolUtils',
        'default_system': 'You are a helpful assistant.',
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'qwen3': {
        'class': 'ReasoningTemplate',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            '<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
        ],
        'tools': 'QwenToolUtils',
        'calls': 'QwenToolUtils',
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'qwen3_5': {
        'class': 'ReasoningTemplate',
        'mm_plugin': 'Qwen3VLPlugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            '<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
        ],
        'tools': 'Qwen35ToolUtils',
        'calls': 'Qwen35ToolUtils',
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'qwen3_5_nothink': {
        'mm_plugin': 'Qwen3VLPlugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            '<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
        ],
        'tools': 'Qwen35ToolUtils',
        'calls': 'Qwen35ToolUtils',
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'qwen3_6': {
        'class': 'ReasoningTemplate',
        'mm_plugin': 'Qwen3VLPlugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            '<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
        ],
        'tools': 'Qwen35ToolUtils',
        'calls': 'Qwen35ToolUtils',
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'qwen3_nothink': {
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            '<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
        ],
        'tools': 'QwenToolUtils',
        'calls': 'QwenToolUtils',
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'qwen3_omni': {
        'class': 'ReasoningTemplate',
        'mm_plugin': 'Qwen2OmniPlugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            '<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
        ],
        'tools': 'QwenToolUtils',
        'calls': 'QwenToolUtils',
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'qwen3_omni_nothink': {
        'mm_plugin': 'Qwen2OmniPlugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            '<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
        ],
        'tools': 'QwenToolUtils',
        'calls': 'QwenToolUtils',
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'qwen3_vl': {
        'class': 'ReasoningTemplate',
        'mm_plugin': 'Qwen3VLPlugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            '<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
        ],
        'tools': 'QwenToolUtils',
        'calls': 'QwenToolUtils',
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'qwen3_vl_nothink': {
        'mm_plugin': 'Qwen3VLPlugin',
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': [
            '<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
        ],
        'tools': 'QwenToolUtils',
        'calls': 'QwenToolUtils',
        'stop_words': ['<|im_end|>'],
        'replace_eos': True,
    },
    'sailor': {
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>question\n{{content}}<|im_end|>\n<|im_start|>answer\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>question\n{{content}}<|im_end|>\n<|im_start|>answer\n'],
        'default_system': (
            'You are an AI assistant named Sailor created by Sea AI Lab. Your answer should be friendly, unbiased, '
            'faithful, informative and detailed.'
        ),
        'stop_words': ['<|im_end|>'],
    },
    'seed_coder': {
        'system': [{'set': 'bos_token'}, 'system\n{{content}}', {'set': 'eos_token'}],
        'user': [{'set': 'bos_token'}, 'user\n{{content}}', {'set': 'eos_token'}, {'set': 'bos_token'}, 'assistant\n'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': [
            {'set': 'bos_token'},
            'user\n{{content}}',
            {'set': 'eos_token'},
            {'set': 'bos_token'},
            'assistant\n',
        ],
        'default_system': (
            'You are an AI programming assistant, utilizing the Seed-Coder model, developed by ByteDance Seed, and '
            'you only answer questions related to computer science. For politically sensitive questions, security and '
            'privacy issues, and other non-computer science questions, you will refuse to answer.\n\n'
        ),
    },
    'seed_oss': {
        'class': 'ReasoningTemplate',
        'system': [{'set': 'bos_token'}, 'system\n{{content}}', {'set': 'eos_token'}],
        'user': [{'set': 'bos_token'}, 'user\n{{content}}', {'set': 'eos_token'}, {'set': 'bos_token'}, 'assistant\n'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': [{'set': 'bos_token'}, '\n{{content}}', {'set': 'eos_token'}],
        'observation': [
            {'set': 'bos_token'},
            'user\n{{content}}',
            {'set': 'eos_token'},
            {'set': 'bos_token'},
            'assistant\n',
        ],
        'tools': 'SeedToolUtils',
        'calls': 'SeedToolUtils',
        'thought_words': ['<seed:think>', '</seed:think>'],
    },
    'smollm': {
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'stop_words': ['<|im_end|>'],
    },
    'smollm2': {
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'default_system': 'You are a helpful AI assistant named SmolLM, trained by Hugging Face.',
        'stop_words': ['<|im_end|>'],
    },
    'solar': {
        'system': ['### System:\n{{content}}\n\n'],
        'user': ['### User:\n{{content}}\n\n### Assistant:\n'],
        'assistant': ['{{content}}'],
        'function': ['{{content}}'],
        'observation': ['### User:\n{{content}}\n\n### Assistant:\n'],
        'efficient_eos': True,
    },
    'starchat': {
        'system': ['<|system|>\n{{content}}<|end|>\n'],
        'user': ['<|user|>\n{{content}}<|end|>\n<|assistant|>'],
        'assistant': ['{{content}}<|end|>\n'],
        'function': ['{{content}}<|end|>\n'],
        'observation': ['<|user|>\n{{content}}<|end|>\n<|assistant|>'],
        'stop_words': ['<|end|>'],
    },
    'telechat2': {
        'system': ['<_system>{{content}}'],
        'user': ['<_user>{{content}}<_bot>'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': ['<_user>{{content}}<_bot>'],
        'default_system': (
            '\u4f60\u662f\u4e2d\u56fd\u7535\u4fe1\u661f\u8fb0\u8bed\u4e49\u5927\u6a21\u578b\uff0c\u82f1\u6587\u540d'
            '\u662fTeleChat\uff0c\u4f60\u662f\u7531\u4e2d\u7535\u4fe1\u4eba\u5de5\u667a\u80fd\u79d1\u6280\u6709\u9650'
            '\u516c\u53f8\u548c\u4e2d\u56fd\u7535\u4fe1\u4eba\u5de5\u667a\u80fd\u7814\u7a76\u9662\uff08TeleAI\uff09'
            '\u7814\u53d1\u7684\u4eba\u5de5\u667a\u80fd\u52a9\u624b\u3002'
        ),
    },
    'vicuna': {
        'user': ['USER: {{content}} ASSISTANT:'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': ['USER: {{content}} ASSISTANT:'],
        'default_system': (
            'A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, '
            "detailed, and polite answers to the user's questions."
        ),
    },
    'video_llava': {
        'mm_plugin': 'VideoLlavaPlugin',
        'user': ['USER: {{content}} ASSISTANT:'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': ['USER: {{content}} ASSISTANT:'],
        'default_system': (
            'A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, '
            "detailed, and polite answers to the user's questions."
        ),
    },
    'xuanyuan': {
        'user': ['Human: {{content}} Assistant:'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': ['Human: {{content}} Assistant:'],
        'default_system': (
            '\u4ee5\u4e0b\u662f\u7528\u6237\u548c\u4eba\u5de5\u667a\u80fd\u52a9\u624b\u4e4b\u95f4\u7684\u5bf9\u8bdd'
            '\u3002\u7528\u6237\u4ee5Human\u5f00\u5934\uff0c\u4eba\u5de5\u667a\u80fd\u52a9\u624b\u4ee5Assistant\u5f00'
            '\u5934\uff0c\u4f1a\u5bf9\u4eba\u7c7b\u63d0\u51fa\u7684\u95ee\u9898\u7ed9\u51fa\u6709\u5e2e\u52a9\u3001'
            '\u9ad8\u8d28\u91cf\u3001\u8be6\u7ec6\u548c\u793c\u8c8c\u7684\u56de\u7b54\uff0c\u5e76\u4e14\u603b\u662f'
            '\u62d2\u7edd\u53c2\u4e0e\u4e0e\u4e0d\u9053\u5fb7\u3001\u4e0d\u5b89\u5168\u3001\u6709\u4e89\u8bae\u3001'
            '\u653f\u6cbb\u654f\u611f\u7b49\u76f8\u5173\u7684\u8bdd\u9898\u3001\u95ee\u9898\u548c\u6307\u793a\u3002\n'
        ),
    },
    'yi': {
        'system': ['<|im_start|>system\n{{content}}<|im_end|>\n'],
        'user': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'assistant': ['{{content}}<|im_end|>\n'],
        'function': ['{{content}}<|im_end|>\n'],
        'observation': ['<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n'],
        'stop_words': ['<|im_end|>'],
    },
    'yi_vl': {
        'mm_plugin': 'LlavaPlugin',
        'user': ['### Human: {{content}}\n### Assistant:'],
        'assistant': ['{{content}}\n'],
        'function': ['{{content}}\n'],
        'observation': ['### Human: {{content}}\n### Assistant:'],
        'default_system': (
            'This is a chat between an inquisitive human and an AI assistant. Assume the role of the AI assistant. '
            "Read all the images carefully, and respond to the human's questions with informative, helpful, detailed "
            'and polite answers. '
            '\u8fd9\u662f\u4e00\u4e2a\u597d\u5947\u7684\u4eba\u7c7b\u548c\u4e00\u4e2a\u4eba\u5de5\u667a\u80fd\u52a9'
            '\u624b\u4e4b\u95f4\u7684\u5bf9\u8bdd\u3002\u5047\u8bbe\u4f60\u626e\u6f14\u8fd9\u4e2aAI\u52a9\u624b\u7684'
            '\u89d2\u8272\u3002\u4ed4\u7ec6\u9605\u8bfb\u6240\u6709\u7684\u56fe\u50cf\uff0c\u5e76\u5bf9\u4eba\u7c7b'
            '\u7684\u95ee\u9898\u505a\u51fa\u4fe1\u606f\u4e30\u5bcc\u3001\u6709\u5e2e\u52a9\u3001\u8be6\u7ec6\u7684'
            '\u548c\u793c\u8c8c\u7684\u56de\u7b54\u3002\n\n'
        ),
        'stop_words': ['###'],
        'efficient_eos': True,
    },
    'youtu': {
        'class': 'ReasoningTemplate',
        'prefix': [{'set': 'bos_token'}],
        'user': ['<|User|>{{content}}<|Assistant|>'],
        'assistant': ['{{content}}<|end_of_text|>'],
        'function': ['{{content}}'],
        'observation': ['<tool_response>\n{{content}}\n</tool_response><|Assistant|>'],
        'stop_words': ['<|end_of_text|>'],
        'replace_eos': True,
    },
    'youtu_vl': {
        'mm_plugin': 'YoutuVLPlugin',
        'system': ['<|begin_of_text|>system\n{{content}}<|end_of_text|>\n'],
        'user': ['<|begin_of_text|>user\n{{content}}<|end_of_text|>\n<|begin_of_text|>assistant\n'],
        'assistant': ['{{content}}<|end_of_text|>\n'],
        'function': ['{{content}}<|end_of_text|>\n'],
        'observation': ['<|begin_of_text|>user\n{{content}}<|end_of_text|>\n<|begin_of_text|>assistant\n'],
        'default_system': 'You are a helpful assistant.',
        'stop_words': ['<|end_of_text|>'],
    },
    'yuan': {
        'user': ['{{content}}', {'token': '<sep>'}],
        'assistant': ['{{content}}<eod>\n'],
        'function': ['{{content}}<eod>\n'],
        'observation': ['{{content}}', {'token': '<sep>'}],
        'stop_words': ['<eod>'],
    },
    'zephyr': {
        'system': ['<|system|>\n{{content}}', {'set': 'eos_token'}],
        'user': ['<|user|>\n{{content}}', {'set': 'eos_token'}, '<|assistant|>\n'],
        'assistant': ['{{content}}', {'set': 'eos_token'}],
        'function': ['{{content}}', {'set': 'eos_token'}],
        'observation': ['<|user|>\n{{content}}', {'set': 'eos_token'}, '<|assistant|>\n'],
        'default_system': 'You are Zephyr, a helpful assistant.',
    },
}
