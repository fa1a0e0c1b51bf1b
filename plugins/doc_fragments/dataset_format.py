# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The input format of a dataset. Written by ``tests/option_docs.py`` from the core's rules of the formats."""

from __future__ import annotations


class ModuleDocFragment:
    """Input format of the rows."""

    DOCUMENTATION = r"""
options:
  format:
    description:
      - Input format of the rows.
      - V(alpaca) has C(instruction) and C(output), and optionally C(input), C(system), and C(history) as a list of
        pairs of question and answer.
      - V(sharegpt) has C(conversations), a list of turns with C(from) (V(human), V(gpt), V(system), V(observation),
        V(function_call)) and C(value), and optionally C(system) and C(tools).
      - V(openai) has C(messages), a list of turns with C(role) (V(user), V(assistant), V(system), V(tool)), C(content)
        and C(tool_calls), and optionally C(tools).
      - V(text) has only C(text), for pretraining (O(ia_homelab.llamafactory.train#module:stage=pt)).
      - V(auto) detects the format from the first row.
      - A row for C(dpo) and C(rm) has two answers, C(chosen) and C(rejected). They are texts in V(alpaca). In formats
        with turns each is one turn, and the turns before them end with the question.
      - A row for C(kto) also has C(kto_tag), which is true for a desired answer and false for an undesired one.
      - All rows of a dataset are of the same kind as the first row.
    type: str
    choices: [auto, alpaca, sharegpt, openai, text]
    default: auto
"""
