# Copyright: ia_homelab contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""English texts of the package ``datasets``."""

from __future__ import annotations

from ..text import Text, Texts

TEXTS: Texts = {
    "datasets.evaluated_version_gone": Text(
        "The version {fingerprint} of a dataset that is asked is not on this host.", "Apply its dataset again."
    ),
    "datasets.row_finding": "row {row}: {path}: {problem!s}",
    "datasets.info_unreadable": Text("{path} cannot be read: {reason}.", "Check what is there, and its mode."),
    "datasets.info_broken": Text(
        "{path} is broken, it is left as it is: {reason}.",
        "LLaMA-Factory cannot read it either: correct it, or move it away and run again.",
    ),
    "datasets.name_invalid": Text(
        "A dataset cannot be called {name!r}.",
        "A name has up to 100 letters, digits and . _ - and begins with a letter or digit.",
    ),
    "datasets.name_of_file": Text("A dataset cannot be called {name!r}, that is a file.", "Call it {instead!r}."),
    "datasets.of_other_program": Text(
        "The dataset {name!r} was registered in {path} by another program.",
        "Give its file to the module dataset, which checks it, under another name or with force.",
    ),
    "datasets.version_missing": Text(
        "The dataset {name!r} refers to a version that is not there, {version}.",
        "Apply its declaration again.",
    ),
    "datasets.taken_by_other_program": Text(
        "The dataset {name!r} was registered in {path} by another program.",
        "Choose another name, or take it over with force: true.",
    ),
    "datasets.column_unknown": Text(
        "The format {format} has no column {column!r}.",
        "{suggestion} Its columns are {columns}.",
    ),
    "datasets.field_named_twice": Text(
        "The field {field!r} is named twice in columns and ignore_fields.",
        "Name it once.",
    ),
    "datasets.format_unknown": Text("There is no format {format!r}.", "{suggestion} One of {formats}."),
    "datasets.nothing_to_validate_on": Text(
        "validation_share {share:g} of {rows} rows leaves no row to validate on.",
        "{advice}",
    ),
    "datasets.smallest_share": "The smallest share that selects a row is {smallest:.3f}; or add rows, or leave it out.",
    "datasets.too_few_to_validate": (
        "Add rows, or leave it out: no share up to {largest:g}, the largest, selects one of these."
    ),
    "datasets.nothing_to_train_on": Text(
        "validation_share {share:g} of {rows} rows leaves no row to train on.",
        "Add rows, or leave it out.",
    ),
    "datasets.nothing_held_out": Text("held_out {share:g} of {rows} rows holds no row out.", "{advice}"),
    "datasets.all_held_out": Text(
        "held_out {share:g} of {rows} rows leaves no row to train on.",
        "Add rows, or leave it out; a dataset that is not trained on can be asked as well: evaluation, rows.",
    ),
    "datasets.text_not_asked": Text(
        "The rows in {directory} are plain text, which has no question to ask.",
        "Name a dataset with questions and answers.",
    ),
    "datasets.nothing_to_ask": Text(
        "None of the {rows} rows can be asked. {notes!s:join| }",
        "Name a dataset with other questions, or raise held_out.",
    ),
    "datasets.questions_trained": ("{count} {count:row is|rows are} not asked: the question is trained on."),
    "datasets.asked_once": ("{count} {count:row repeats|rows repeat} a question and its answer, which is asked once."),
    "datasets.other_answers": (
        "{count} {count:row has|rows have} another answer to a question that is asked; the first one is the reference."
    ),
    "datasets.questions_contained": (
        "{count} {count:conversation contains|conversations contain} a question that is held out, and "
        "{count:is|are} neither trained on nor asked."
    ),
    "datasets.calls_trained": (
        "{count} {count:call is|calls are} not asked: another row with the same question is trained on."
    ),
    "datasets.not_asked_disliked": ("{count} {count:row is|rows are} not asked: a disliked answer is no reference."),
    "datasets.not_asked_empty": "{count} {count:row is|rows are} not asked: the last answer is empty.",
    "datasets.not_asked_thought": (
        "{count} {count:row is|rows are} not asked: the thought cannot be told from the answer."
    ),
    "datasets.unknown": Text("There is no dataset {name!r} in {directory}.", "{suggestion} There are: {known}."),
    "datasets.none_yet": Text(
        "There is no dataset {name!r} in {directory}.",
        "There is none yet: declare it with the module dataset.",
    ),
    "datasets.at_row_and_line": "row {row} (line {line})",
    "datasets.at_row": "row {row}",
    "datasets.at_line": "line {line}",
    "datasets.at_field": "field {field}",
    "datasets.problem": Text("{place}: {defect}.", "{defect.hint}"),
    "datasets.refused": Text(
        "Dataset {name} is refused, {count}: {problems!s:join| } {more}",
        "What was there before is left as it was.",
    ),
    "datasets.one_problem": "one problem",
    "datasets.at_least": "at least {count} problems",
    "datasets.exactly": "{count} problems",
    "datasets.and_more": "And {count} more.",
    "datasets.and_at_least": "And at least {count} more.",
    "datasets.kind_null": "null",
    "datasets.kind_boolean": "a boolean ({value})",
    "datasets.kind_number": "a number ({value})",
    "datasets.kind_huge_number": "a number (a huge one)",
    "datasets.kind_text": "text ({value})",
    "datasets.kind_list": "a list of {count}",
    "datasets.kind_object": "an object",
    "datasets.kind_other": "a {type}",
    "datasets.defect": Text("{problem}", "{fix}"),
    "datasets.yaml_on_controller": Text(
        "YAML is read on the controller only",
        "Give it as src without remote_src, or as JSON.",
    ),
    "datasets.extension_unknown": Text(
        "a file named *{extension} is not read",
        "Datasets are read from .json, .jsonl and .csv files, and from .yml and .yaml files of the controller.",
    ),
    "datasets.no_extension": Text(
        "the name has no extension",
        "Datasets are read from .json, .jsonl and .csv files, and from .yml and .yaml files of the controller.",
    ),
    "datasets.link_leads_out": Text(
        "it is a link that leads out of its directory, to {target}",
        "Name the file itself.",
    ),
    "datasets.no_such_file": Text("there is no such file", "Check the path and its mode."),
    "datasets.not_found": Text(
        "there is no such file on the controller (searched: {places})",
        "Put it beside the inventory or the playbook, or in the directory files there; or write its absolute path.",
    ),
    "datasets.may_not_be_read": Text("it may not be read by this user", "Check the path and its mode."),
    "datasets.link_to_itself": Text("it is a link to itself", "Check the path and its mode."),
    "datasets.cannot_be_opened_as_file": Text("it is not a regular file", "Check the path and its mode."),
    "datasets.cannot_be_opened": Text("it cannot be opened ({reason})", "Check the path and its mode."),
    "datasets.is_directory": Text("it is a directory", "Name a file (or a list of files)."),
    "datasets.no_regular_file": Text("it is not a regular file", "Name a file (or a list of files)."),
    "datasets.file_empty": Text("it is empty", "Put at least one row in it."),
    "datasets.other_encoding": Text("the file is {encoding}", "Save the file as UTF-8 without a byte order mark."),
    "datasets.no_text_file": Text(
        "the file is UTF-16, UTF-32 or not text at all",
        "Save the file as UTF-8 without a byte order mark.",
    ),
    "datasets.not_utf8": Text(
        "byte {byte} at offset {offset} is not UTF-8 ({reason})",
        "Save the file as UTF-8 without a byte order mark.",
    ),
    "datasets.line_too_long": Text("the line is longer than {limit} bytes", "Write one row a line."),
    "datasets.nul_in_csv": Text("it holds a NUL character", "Correct it."),
    "datasets.csv_row_too_long": Text(
        "the row is longer than {limit} characters; a quote that is never closed may be why",
        "Correct it.",
    ),
    "datasets.no_csv": Text(
        "it is not valid CSV ({reason})",
        'Put a cell with quotes or line breaks in "…", and write " in it as "".',
    ),
    "datasets.cells_differ": Text(
        "it has {cells} cells, and the header has {columns}",
        'Put cells that hold a separator in "…".',
    ),
    "datasets.changed_meanwhile": Text("it was changed while it was read", "Run again when no process writes to it."),
    "datasets.key_given_twice": Text("it is given twice in one object", "Keep one of them."),
    "datasets.no_json_value": Text(
        "{value} is not a value of JSON",
        "Write null if there is no value, and text in quotes.",
    ),
    "datasets.mark_inside": Text(
        "a byte order mark (U+FEFF) stands in front of it, as where two files are joined",
        "Remove it, or save each file as UTF-8 without a byte order mark before they are joined.",
    ),
    "datasets.no_json": Text("it is not valid JSON", "Check quotes, commas and brackets."),
    "datasets.nested_too_deeply": "it is nested too deeply",
    "datasets.no_json_at": "it is not valid JSON ({reason}, {position} characters into the row)",
    "datasets.value_expected": "it is not valid JSON (a value was expected {position} characters into the row)",
    "datasets.no_json_because": "it is not valid JSON ({reason})",
    "datasets.row_too_long": Text("the row is longer than {limit} characters", "Split it."),
    "datasets.more_after_row": Text("something stands after the row: {rest}", "Write one row a line."),
    "datasets.forms_of_json": "A JSON file is a list of rows, [{{…}}, {{…}}], or one complete row per line.",
    "datasets.check_line": "Check quotes, commas and brackets; one complete row per line.",
    "datasets.ends_after_row": Text("the file ends in the list", "Check the end of the row."),
    "datasets.comma_expected": Text(
        "a comma or ] was expected after it, not {character!r}",
        "Check the end of the row.",
    ),
    "datasets.comma_after_last": Text("a comma stands after the last row", "Remove it."),
    "datasets.more_after_list": Text("something stands after the end of the list", "A JSON file is one list of rows."),
    "datasets.row_without_end": Text(
        "the row is longer than {limit} characters, or its end is missing",
        "Check its quotes and brackets, or split it.",
    ),
    "datasets.ends_in_list": "the file ends in the list",
    "datasets.ends_in_row": "the file ends in the row; {problem}",
    "datasets.check_json": "Check quotes, commas and brackets.",
    "datasets.no_row": Text("it holds no row", "Put at least one row in it."),
    "datasets.rendered_too_long": Text("the row is longer than {limit} bytes", "Split it."),
    "datasets.column_twice": Text("the header has it twice", "Give each column a name of its own."),
    "datasets.field_missing": Text("it is missing", "Give every row the field {field!r}."),
    "datasets.preference_field": Text(
        "it belongs to preference data (dpo, rm, kto), and the first row makes this a dataset for {kind}",
        "Keep one kind of rows in a dataset: move these rows to another one, or take the field out of the file.",
    ),
    "datasets.answer_beside_pair": Text(
        "it is the answer of rows for sft, and chosen or rejected in the first row make this a dataset for preference",
        "For dpo and rm, take the field out of the file; for sft, take chosen and rejected out.",
    ),
    "datasets.answer_apart": Text(
        "it is the last turn of the conversation, apart from the others",
        "Append it to the list of the other turns, and set columns to {{messages: …}} with the field of that list.",
    ),
    "datasets.field_is_column": Text("it is what LLaMA-Factory calls {column}", "Set columns to {columns}."),
    "datasets.field_has_other_name": Text("it is missing; here, it is called {name!r}", "Set columns to {columns}."),
    "datasets.label_unclear": Text(
        "it may say whether the answer was liked, but it is neither true nor false",
        "If it does, write true or false (as JSON; a cell of a CSV is always text) and set columns to {columns}; if it "
        "says something else, name it in ignore_fields.",
    ),
    "datasets.rows_in_field": Text(
        "the rows stand in this field of an object, and a file of rows is one list, or one row per line",
        "Write only the list to the file, for example by jq '.[\"{field}\"]' FILE > NEW_FILE.",
    ),
    "datasets.yaml_rows_in_field": Text(
        "the rows stand in this field of an object, and a file of rows is one list",
        "Write only the list to the file, without {field!r} and its indent.",
    ),
    "datasets.history_of_alpaca": Text(
        "only the format alpaca has a history, here it would be lost",
        "Write earlier questions and answers as turns, in front of the others.",
    ),
    "datasets.no_media": Text("pictures, films and sounds are not trained on here", "Leave these rows out."),
    "datasets.field_of_other_format": Text(
        "it does not belong to the format {format}",
        "Set the format, and keep to one in a dataset.",
    ),
    "datasets.set_columns": "Set columns to {columns} if that is what it is.",
    "datasets.field_unknown_suggested": Text(
        "the format {format} has no such field, it would be lost",
        "{suggestion} If not, remove it, or name it in ignore_fields.",
    ),
    "datasets.field_unknown": Text(
        "the format {format} has no such field, it would be lost",
        "Remove it, or name it in ignore_fields.",
    ),
    "datasets.scalar_not_text": Text("it is {kind}, not text", "Put it in quotes."),
    "datasets.not_text": Text("it is {kind}, not text", "Write text."),
    "datasets.turns_not_text": Text(
        "it is {kind}, not text: the turns of a conversation",
        "Write all of the row as turns: the shared ones in messages, and one turn each in chosen and rejected if it "
        "has them.",
    ),
    "datasets.empty": Text("it is empty", "Write it, or leave the row out."),
    "datasets.nul": Text("it holds a NUL character", "Remove it."),
    "datasets.lone_surrogate": Text(
        "it holds half of a surrogate pair ({half}) at character {position}",
        "Write the character itself, or both halves.",
    ),
    "datasets.row_no_object": Text("the row is {kind}, not an object", "Write rows as {{{example}}}."),
    "datasets.history_no_list": Text(
        "it is {kind}, not a list",
        "Write it as a list of pairs, [[question, answer], …].",
    ),
    "datasets.history_is_text": Text(
        "it is {kind}, not a list",
        "Write it as a list of pairs, [[question, answer], …]; a cell of a CSV is always text, so write these rows as "
        "JSON.",
    ),
    "datasets.history_no_pair": Text(
        "it is {kind}, not a pair",
        "Write it as a list of pairs, [[question, answer], …].",
    ),
    "datasets.turns_no_list": Text("it is {kind}, not a list", "Write a list of turns."),
    "datasets.no_turns": Text("it is empty", "Write a question and its answer, or leave the row out."),
    "datasets.turn_no_object": Text("it is {kind}, not an object", "Write turns as {example}."),
    "datasets.role_missing": Text("it is missing", "Say who speaks: {roles}."),
    "datasets.role_unknown": Text("there is no role {role!r}", "{suggestion} The roles are {roles}."),
    "datasets.turn_key_unknown": Text("a turn has no such key, it would be lost", "Remove it from the turn."),
    "datasets.turn_key_suggested": Text(
        "a turn has no such key, it would be lost",
        "{suggestion} If not, remove it from the turn.",
    ),
    "datasets.weight_zero": Text(
        "with the weight 0, this answer must not be trained on, and LLaMA-Factory trains on every answer of a row",
        "End the row before this answer, or leave the row out. If only the last answer is to be trained on, remove the "
        "weights and declare extra: {{mask_history: true}}.",
    ),
    "datasets.weight_invalid": Text("it is {kind}, and a weight is 0 or 1", "Write 1, or remove it from the turn."),
    "datasets.late_system_prompt": Text("a system prompt stands only at the beginning", "Move it to the front."),
    "datasets.two_system_prompts": Text("it differs from the system prompt in {field}", "Keep one of them."),
    "datasets.first_turn": "it is the first",
    "datasets.turn_before": "{role!r} comes before it",
    "datasets.role_out_of_order": Text(
        "it is {role!r}, and {expected:join| or } is expected: {explanation}",
        "Let question and answer take turns.",
    ),
    "datasets.last_turn_no_answer": Text(
        "the last turn is not the assistant's",
        "End with the answer the model must learn, or leave the row out.",
    ),
    "datasets.last_turn_no_question": Text(
        "the last turn is no question",
        "End with what both answers answer; they stand in chosen and rejected.",
    ),
    "datasets.not_writable_as_json": Text("it cannot be written as JSON ({reason})", "Check its values."),
    "datasets.content_missing": Text("it is missing", "Write what is said."),
    "datasets.several_parts": Text(
        "it is a list of {count} parts of text, and how they are joined is not defined",
        "Write one text.",
    ),
    "datasets.part_no_text": Text(
        "it is a part of the type {type!r}, and only text is trained on here",
        "Leave the row out, or write its text alone.",
    ),
    "datasets.part_unknown": Text(
        "it is no part of text",
        'Write the text itself, or [{{"type": "text", "text": …}}].',
    ),
    "datasets.same_answers": Text(
        "it is the same as chosen, so there is nothing to learn",
        "Write two different answers, or leave the row out.",
    ),
    "datasets.tag_no_boolean": Text(
        "it is {kind}, not true or false",
        "Write true or false, without quotes; a cell of a CSV is always text, so write these rows as JSON.",
    ),
    "datasets.answer_no_turn": Text("it is {kind}, not a turn", "Write the one turn as {example}."),
    "datasets.answer_of_turns": Text(
        "it is {kind}, and each answer is one turn",
        "Write the turns that both answers follow in the field of the conversation, and here the one turn: {example}.",
    ),
    "datasets.answer_of_other_role": Text(
        "it is {role!r}, and {expected!r} is expected",
        "Write the one turn as {example}.",
    ),
    "datasets.yaml_not_utf8": Text(
        "byte {byte} at offset {offset} is not UTF-8",
        "Save the file as UTF-8 without a byte order mark.",
    ),
    "datasets.no_yaml": Text("it is not valid YAML ({reason})", "Check its indents and quotes."),
    "datasets.yaml_without_rows": Text("it holds no row", "Write one list of rows, each begun by a dash."),
    "datasets.yaml_no_list": Text("it is not a list of rows", "Write one list of rows, each begun by a dash."),
    "datasets.yaml_date": Text("{value} is a date to YAML, not text", "Put it in quotes."),
    "datasets.yaml_tag": Text("it has the tag {tag}", "Write text, without tags."),
    "datasets.yaml_alias": Text("it is an alias of a list or an object", "Only texts can be referred to."),
    "datasets.yaml_merge": Text(
        "it is a merge key of YAML, and rows are written in full",
        "Write the fields themselves; texts can be referred to by aliases.",
    ),
    "datasets.yaml_key_no_text": Text("the name of a field is text", "Put it in quotes."),
    "datasets.only_dates": Text(
        "every {field} in the {mebibytes} MiB up to here is a date and nothing else",
        "LLaMA-Factory would read timestamps and drop them: write at least one as part of a sentence.",
    ),
    "datasets.row_cut_off": (
        "1 row is probably longer than cutoff_len {cutoff_len} (estimated at {bytes_per_token:g} bytes a token; "
        "the training counts before it starts) and would be cut off, answers first: raise cutoff_len, or shorten "
        "them."
    ),
    "datasets.rows_cut_off": (
        "{count} of {rows} rows are probably longer than cutoff_len {cutoff_len} (estimated at {bytes_per_token:g} "
        "bytes a token; the training counts before it starts) and would be cut off, answers first: raise "
        "cutoff_len, or shorten them."
    ),
    "datasets.contradicting_preferences": (
        "{name}: {count} {count:row|rows} prefer the other of the same two answers{examples}. A model cannot learn "
        "both: keep one, or tell them apart by the question or the system prompt."
    ),
    "datasets.contradicting_tags": (
        "{name}: {count} {count:row|rows} have the other kto_tag for the same answer{examples}. A model cannot "
        "learn both: keep one, or tell them apart by the question or the system prompt."
    ),
    "datasets.contradicting_answers": (
        "{name}: {count} {count:row|rows} answer the same question otherwise than an earlier row{examples}. A "
        "model cannot learn both: keep one, or tell them apart by the question or the system prompt."
    ),
    "datasets.duplicate_texts": (
        "{name}: {count} {count:row|rows} say the same as an earlier one{examples}. They count that much more in "
        "training."
    ),
    "datasets.duplicate_rows": (
        "{name}: {count} {count:row|rows} say the same as an earlier one, word for word{examples}. They count that "
        "much more in training."
    ),
    "datasets.one_kto_tag": (
        "{name}: every kto_tag is the same, so there is little to learn from: add answers of both kinds."
    ),
    "datasets.invisible_answers": (
        "{name}: {count} {count:row has|rows have} an answer of invisible characters only, such as zero-width "
        "spaces{examples}. The model would learn to answer nothing: write the answers, or leave the rows out."
    ),
    "datasets.formatted_texts": (
        "{name}: {count} {count:row has|rows have} a text that is in a chat format already, such as <|im_start|> or "
        "[INST]{examples}. The training adds the chat template to every text: write the texts alone, in fields or "
        "turns of their own."
    ),
    "datasets.unfilled_texts": (
        "{name}: {count} {count:row has|rows have} {{{{…}}}} in a text{examples}. If these are placeholders, fill them "
        "in: the model would learn to write them."
    ),
    "datasets.row_of_file": "{file} row {row}",
    "datasets.row_and_row": "{file} row {row} and row {first_row}",
    "datasets.row_and_row_of": "{file} row {row} and row {first_row} of {first_file}",
    "datasets.examples": " ({examples:join|; })",
    "datasets.examples_and_more": " ({examples:join|; }; and {count} more)",
    "datasets.training_row_invalid": Text(
        "Row {row} of the dataset: {problem!s}", "Correct its tools; the module dataset names the source."
    ),
    # reasons why publishing changes a dataset
    "datasets.rows_new": "the rows are new",
    "datasets.rows_changed": "the rows changed",
    "datasets.rows_exist": "the rows are there",
    "datasets.other_tools": "the tools {names} changed",
    "datasets.version_incomplete": "the version is incomplete",
    "datasets.name_new": "the name is new",
    "datasets.name_exists": "the name is there",
    "datasets.name_of_other_version": "the name refers to something else",
    "datasets.info_entry_changed": "the entry in dataset_info.json was changed",
}
