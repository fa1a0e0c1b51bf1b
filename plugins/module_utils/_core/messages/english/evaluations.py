# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``evaluations``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "evaluations.place": "the evaluation",
    "evaluations.place_option": "the option {option} of the evaluation",
    "evaluations.no_dictionary": Text(
        "{place:capital} must be a dictionary, not {value!r}.", "For example: evaluation: {{held_out: 0.2}}"
    ),
    "evaluations.held_out_and_rows": Text(
        "held_out and rows exclude each other.",
        "held_out asks rows of the dataset that is trained on, which the training does not read; rows asks another "
        "dataset.",
    ),
    "evaluations.no_share": Text(
        "{place:capital} must be a share above 0 and at most {largest:g}, not {value!r}.", "Write 0.2 for 20 %."
    ),
    "evaluations.no_dataset": Text(
        "{place:capital} must be the name of a dataset, not {value!r}.", "Declare it in finetune_datasets, by its name."
    ),
    "evaluations.no_guard": Text(
        "{place:capital} must be general or the name of a dataset, not {value!r}.",
        "general is the set of questions that ships.",
    ),
    "evaluations.no_list": Text(
        "{place:capital} must be a list of {choices:join|, | and }, not {value!r}.", "For example: against: [served]"
    ),
    "evaluations.no_choice": "{place:capital} must be one of {choices:join|, | and }, not {value!r}.",
    "evaluations.asks_nothing": Text(
        "The evaluation asks nothing.", "Give held_out, rows or guard, or declare a gate beside it."
    ),
    "evaluations.required_without_rows": Text(
        "{place:capital}: {name} is required, and no rows are asked, which measure it.",
        "Give held_out or rows, or remove {name}.",
    ),
    "evaluations.required_without_guard": Text(
        "{place:capital}: {name} is required, and no guard is asked.", "Declare guard: general, or remove {name}."
    ),
    "evaluations.required_without_gate": Text(
        "{place:capital}: {name} is required, and there is no gate.",
        "Declare a gate beside the evaluation, or remove {name}.",
    ),
    "evaluations.required_not_compared": Text(
        "{name} is required, and against of the evaluation does not name {models:join|, | or }.",
        "Add it to against, or remove {name}.",
    ),
    "evaluations.judge_without_rows": Text(
        "{place:capital} has no effect: a judge reads answers to rows, and none are asked.",
        "Give held_out or rows, or remove judge.",
    ),
    "evaluations.judge_without_models": Text(
        "{place:capital} has no effect: against is empty, so there are no other answers to compare with.",
        "Name {models:join|, | or } in against, or remove judge.",
    ),
    "evaluations.not_compared": "{model} is not compared with: {problem}",
    "evaluations.takes_too_long": Text(
        "{answers} of {total} answers took more than {seconds:g} seconds.",
        "Apply again: the answers are kept, and the rest is asked. To ask less, lower held_out or use a smaller "
        "dataset.",
    ),
    "evaluations.unmet_calls_equal": "calls {calls} and not {expected}",
    "evaluations.unmet_structure": "is JSON of another structure: {place}: {reason}",
    "evaluations.no_answer": "The answer to the question {item} has no text.",
    "evaluations.require_invalid": Text(
        "{place:capital} must be a dictionary, not {value!r}.", "For example: require: {{calls: 0.8}}"
    ),
    "evaluations.requirement_unknown": Text(
        "{place:capital} has an unknown key {key!r}. {suggestion}", "The keys are {names}."
    ),
    "evaluations.share_invalid": Text(
        "{place:capital}: {name} must be a share above 0 and at most 1, not {value!r}.", "Write 0.8 for 80 %."
    ),
    "evaluations.text_invalid": Text(
        "{place:capital}: text must be above 1 and at most 100, not {value!r}.", "It is chrF, which goes from 0 to 100."
    ),
    "evaluations.drop_invalid": Text(
        "{place:capital}: guard_drop_at_most must be a share from 0 to below 1, not {value!r}.",
        "Write 0.1 if the share may be lower by a tenth.",
    ),
    "evaluations.failures_invalid": (
        "{place:capital}: allowed_failures must be a whole number, at least 0, not {value!r}."
    ),
    "evaluations.confidence_unknown": Text(
        "{place:capital}: confidence must be one of {degrees}, not {value!r}.", "0.95 is usual."
    ),
    "evaluations.confidence_without_effect": Text(
        "{place:capital}: confidence has no effect: nothing that it applies to is required.",
        "Require a measure, not_worse_than_served or guard_drop_at_most, or remove it.",
    ),
    "evaluations.requirement_without_questions": Text(
        "{name} is required, and no question measures it.",
        "Remove the requirement, or add questions whose answers are measured by it.",
    ),
    "evaluations.requirement_unattainable": Text(
        "{name}: {wanted:g} with a confidence of {confidence:g} cannot be met: with all {asked} "
        "{asked:answer|answers} right, the lower bound is {reached:.2f}.",
        "At least {needed} questions are needed; or require less, or leave confidence out.",
    ),
    "evaluations.requirement_unprovable": Text(
        "{name}: {wanted:g} with a confidence of {confidence:g} cannot be met: no number of questions proves that all "
        "answers are right, and there are {asked}.",
        "Require less than 1, or leave confidence out.",
    ),
    "evaluations.chrf_in_container": (
        "Texts are compared for equality only: chrF needs the converter's environment on the host, and the tools "
        "run in containers ({image})."
    ),
    "evaluations.chrf_not_installed": (
        "Texts are compared for equality only: the converter's environment {path!r} has no sacrebleu, which "
        "computes chrF."
    ),
    "evaluations.chrf_required": Text(
        "text is required and cannot be measured. {reason}",
        "Run the role llamafactory, which installs it on the host, or require same instead.",
    ),
    "evaluations.lines_for_pairs": "{lines} lines for {pairs} pairs",
    "evaluations.chrf_failed": Text(
        "chrF cannot be computed with {python}: {reason}.",
        "Run the role llamafactory again; it installs sacrebleu in the converter's environment.",
    ),
    "evaluations.few_questions": (
        "{name}: with {asked} {asked:question|questions}, a measured share of {met}/{asked} may truly be anything from "
        "{low:.2f} to {high:.2f} ({confidence} % confidence)."
    ),
    "evaluations.judge_invalid": Text(
        "{place:capital} must be a dictionary with the name of a model in Ollama, not {value!r}.",
        'For example: judge: {{model: "qwen3:14b"}}',
    ),
    "evaluations.judge_key_unknown": Text(
        "{place:capital} has an unknown key {key!r}. {suggestion}", "The keys are {names}."
    ),
    "evaluations.rubric_invalid": Text(
        "{place:capital}: rubric must be a text, not {value!r}.", "Say what makes an answer better, or leave it out."
    ),
    "evaluations.judge_missing": Text(
        "The judge {model} is not in Ollama at {url}.", "Run 'ollama pull {model}', or declare another judge."
    ),
    "evaluations.judge_unread": (
        "The judge {judge} gave no verdict on {count} of {asked} pairs of {model} and {against}: its answer was not "
        "the JSON that was asked for. These pairs count for neither."
    ),
    "evaluations.judge_disagrees": (
        "The judge {judge} contradicted itself on {count} of {asked} pairs of {model} and {against}: its verdict "
        "depended on the order of the answers. These pairs count for neither."
    ),
    "evaluations.judge_prefers_first": (
        "The judge {judge} chose the answer that stood first in {share} % of its verdicts on {model} and {against}, "
        "where one half is expected."
    ),
    "evaluations.judge_prefers_second": (
        "The judge {judge} chose the answer that stood second in {share} % of its verdicts on {model} and {against}, "
        "where one half is expected."
    ),
    "evaluations.judge_prefers_longer": (
        "The judge {judge} chose the longer answer in {share} % of its verdicts on {model} and {against}: length "
        "may have decided, and not quality."
    ),
    "evaluations.no_difference": (
        "{model} and {against} agree on all {asked} {asked:question|questions} measured by {name}; even so, their "
        "answers may differ to up to {share:.0%} of all questions ({confidence} % confidence)."
    ),
    "evaluations.quantization_cost": "{model} has {size:.0f} % of the size of {against}: {differences}.",
    "evaluations.likelihood": (
        "{model}: perplexity {perplexity:.4g}, {perplexity_ratio:.4f} ± {perplexity_ratio_error:.4f} times that of "
        "f16; divergence {divergence:.4f} ± {divergence_error:.4f}; the likeliest token is that of f16 in "
        "{same_top:.1f} %."
    ),
    "evaluations.likelihood_of_half": "{model}: perplexity {perplexity:.4g}.",
    "evaluations.answers_missing": "{model} has not answered {count} {count:question|questions}.",
    "evaluations.lacks_measure": "{model}: {name} was not measured, and {wanted:g} is required.",
    "evaluations.lacks_value": "{model}: {name} is {value:.3g} and must be at least {wanted:g}.",
    "evaluations.lacks_bound": (
        "{model}: {name} is {value:.3g}, and its lower bound {bound:.3g} must be at least {wanted:g}."
    ),
    "evaluations.lacks_served": "{model}: {name} is lower by {value:.3g} than that of the model served now.",
    "evaluations.lacks_guard": (
        "{model}: the share of guard questions is lower by {value:.3g}, and {wanted:g} is allowed."
    ),
    "evaluations.lacks_guard_bound": (
        "{model}: the share of guard questions is lower by {value:.3g}, perhaps by {bound:.3g}, and "
        "{wanted:g} is allowed."
    ),
    "evaluations.lacks_gate": (
        "{model}: {value} {value:answer|answers} to the gate {value:is|are} not as expected, and {wanted} "
        "{wanted:is|are} allowed."
    ),
    "evaluations.lacks_regression": (
        "{model}: {value} {value:question|questions} of the gate {value:was|were} answered as expected by the model "
        "served now, and {value:is|are} not any more."
    ),
    "evaluations.line": "{parts}",
    "evaluations.line_unmet": "{parts}; not met: {names}",
    "evaluations.met": "{measure} {met}/{asked}",
    "evaluations.value": "{measure} {value:.1f}",
    "evaluations.versus": "vs {against} {differences}",
    "evaluations.difference": "{difference:+.1f} ± {margin:.1f}",
    "evaluations.difference_of": "{measure} {difference:+.1f} ± {margin:.1f}",
    "evaluations.nothing_measured": "nothing was measured",
    "evaluations.better": "better",
    "evaluations.worse": "worse",
    "evaluations.undecided": "undecided",
    "evaluations.share": "{met}/{asked} = {percent:.1f} % ({low:.1f} to {high:.1f})",
    "evaluations.mean": "{value:.1f} ({low:.1f} to {high:.1f}, {asked} {asked:answer|answers})",
    "evaluations.bound": " (bound {bound})",
    "evaluations.requirement_met": "{model}: {name} is {value}{bound}, and at least {wanted} is required.",
    "evaluations.not_worse": (
        "{model}: {name} differs by {value}{bound} from that of the model served now: it is not worse."
    ),
    "evaluations.guard_kept": (
        "{model}: the share of guard questions differs by {value}{bound}, and may be lower by {wanted}."
    ),
    "evaluations.no_regression": "{model}: no question of the gate fails that the model served now passes.",
    "evaluations.nothing_to_compare": "{model}: {name} is met: there is nothing to compare with.",
    "evaluations.judged": (
        "{judge} preferred {model} to {against} in {wins} of {asked} {asked:question|questions}, and {against} in "
        "{losses}; {ties} {ties:tie|ties}. It contradicted itself in {disagreements}."
    ),
    "evaluations.judge_habits": (
        "Of its verdicts, {judge} gave {position:.0f} % to the answer that it read first and {longer:.0f} % to the "
        "longer one."
    ),
}
