from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest

from conflictscope.errors import InputError
from conflictscope.library import find, load_value_set
from conflictscope.outcome import Group, Mode, Outcome, Verdict
from conflictscope.tables import DilemmaColumns, GoldLabel, GoldTable, ImportedDilemmas, OutcomeTable, read_dilemmas
from conflictscope.values import Value, ValueSet
from tests.shared_data import shared

HEADER = "target,scenario_id,value_a,value_b,verdict"
WIDE = f"{HEADER},mode,steering,strength,shown_first,judge,repeat"


def table(folder: Path, *lines: str, name: str = "o.csv") -> Path:
    """A CSV of these lines; gzipped where the name says so."""
    path = folder / name
    data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def complaint(path: Path) -> str:
    """Why a table of outcomes cannot be read, without its folder."""
    with pytest.raises(InputError) as caught:
        list(OutcomeTable(path).outcomes())
    return str(caught.value).replace(f"{path.parent}/", "")


# -- outcomes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "byte order mark"])
def test_outcomes_are_read_plain_or_gzipped(tmp_path: Path, name: str, mark: str) -> None:
    """The order of the file is kept, a byte order mark is no part of a name, and what is not told is None."""
    path = table(tmp_path, f"{mark}{HEADER}", "m,s2,x,y,a", " m , s1 ,y,x,refused", name=name)
    group = Group("m", Mode.MULTIPLE_CHOICE)
    assert list(OutcomeTable(path).outcomes()) == [
        Outcome(group, "s2", 1, "x", "y", Verdict.A),
        Outcome(group, "s1", 1, "y", "x", Verdict.REFUSED),
    ]


def test_every_column_is_read(tmp_path: Path) -> None:
    """Mode, steering, strength, the action shown first, the judge and the repeat each find their place."""
    path = table(tmp_path, WIDE, "m,s,x,y,tie,open_ended,kind first,7,b,j,3")
    group = Group("m", Mode.OPEN_ENDED, "kind first")
    assert list(OutcomeTable(path).outcomes()) == [Outcome(group, "s", 3, "x", "y", Verdict.TIE, 7, "b", "j")]


def test_repeats_are_what_the_table_says(tmp_path: Path) -> None:
    """Repeats that are counted from 0 stay apart from those counted from 1."""
    path = table(tmp_path, f"{HEADER},repeat", "m,s,x,y,a,0", "m,s,x,y,b,1")
    assert [(o.repeat, o.verdict) for o in OutcomeTable(path).outcomes()] == [(0, Verdict.A), (1, Verdict.B)]


def test_columns_and_verdicts_of_others_are_translated(tmp_path: Path) -> None:
    """Their column names and words become ours, and a constant stands for a column in every row."""
    path = table(tmp_path, "model,item,first,second,winner", "m,s,x,y,left", "m,t,x,y,b")
    theirs = {"target": "model", "scenario_id": "item", "value_a": "first", "value_b": "second", "verdict": "winner"}
    outcomes = OutcomeTable(path, theirs, {"left": Verdict.A}, {"steering": "none", "mode": "open_ended"}).outcomes()
    assert [(o.group, o.scenario_id, o.verdict) for o in outcomes] == [
        (Group("m", Mode.OPEN_ENDED, "none"), "s", Verdict.A),
        (Group("m", Mode.OPEN_ENDED, "none"), "t", Verdict.B),
    ]


def test_a_constant_can_stand_for_a_column_that_is_missing(tmp_path: Path) -> None:
    """A table about one model needs no column for it."""
    path = table(tmp_path, "scenario_id,value_a,value_b,verdict", "s,x,y,a")
    (outcome,) = OutcomeTable(path, constants={"target": "m"}).outcomes()
    assert outcome.group.target == "m"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("m,s,x,y,win,,,,,,", "verdict: expected one of a, b, tie, neither, unresolved, refused, target_failed"),
        ("m,s,x,y,A,,,,,,", "verdict: expected one of a, b, tie"),
        ("m,s,x,y,a,,,9,,,", "strength: expected a whole number 1..7, got '9'"),
        ("m,s,x,y,a,,,0,,,", "strength: expected a whole number 1..7, got '0'"),
        ("m,s,x,y,a,,,4.5,,,", "strength: expected a whole number 1..7, got '4.5'"),
        ("m,s,x,x,a,,,,,,", "value_b: expected another value than value_a, got 'x'"),
        ("m,s,,y,a,,,,,,", "value_a: expected a text, got ''"),
        ("m, ,x,y,a,,,,,,", "scenario_id: expected a text, got ''"),
        ("m,s,x,y,a,,,,x,,", "shown_first: expected a or b, got 'x'"),
        ("m,s,x,y,a,chat,,,,,", "mode: expected one of open_ended, multiple_choice, action_rating, got 'chat'"),
        ("m,s,x,y,a,,,,,,-1", "repeat: expected a whole number"),
        (f"m,s,x,y,a,,,,,,{'9' * 5000}", "repeat: expected a whole number"),
        ("m,s,x,y,a", "expected 11 columns, got 5"),
        ("m,s,x,y,a,,,,,,,,z", "expected 11 columns, got 13"),
        ("m,s1,y,x,b,,,,,,1", "same target, mode, steering, behavior, scenario_id and repeat as line 2"),
    ],
    ids=lambda text: text[:40],
)
def test_a_bad_row_is_told_with_its_line(tmp_path: Path, row: str, told: str) -> None:
    """The reading stops at a row that is no outcome: file, line, what was expected and what came."""
    path = table(tmp_path, WIDE, "m,s1,x,y,a,,,,,,", "", row, "m,s4,x,y,a,,,,,,")
    assert complaint(path).startswith(f"o.csv:4: {told}")


@pytest.mark.parametrize("row", ['m,"s', 'm,"s"t,x,y,a', f"m,{'s' * 200_000},x,y,a"], ids=["open", "early", "huge"])
def test_what_is_no_csv_is_told_with_its_line(tmp_path: Path, row: str) -> None:
    """A quote that never closes, one that closes too early, and a cell of 200,000 characters are no CSV."""
    assert complaint(table(tmp_path, HEADER, "m,s1,x,y,a", row)).startswith("o.csv:3: not valid CSV: ")


def test_rows_with_line_breaks_do_not_shift_the_lines(tmp_path: Path) -> None:
    """A row is told by the line on which it ends in the file, not by its number."""
    path = table(tmp_path, f"{HEADER},judge", 'm,s1,x,y,a,"j\n1"', "m,s,x,y,win,j")
    assert complaint(path).startswith("o.csv:4: verdict")


@pytest.mark.parametrize("missing", HEADER.split(","))
def test_a_missing_column_is_told_with_the_way_out(tmp_path: Path, missing: str) -> None:
    """The column, those that are there, and the two options that can name it."""
    present = ",".join(name for name in HEADER.split(",") if name != missing)
    told = complaint(table(tmp_path, present, "1,2,3,4"))
    assert told.startswith(f"o.csv:1: needs the column {missing!r}; it has {present.replace(',', ', ')}. ")
    assert f"--column {missing}=" in told
    assert f"--constant {missing}=" in told


def test_a_mapping_of_what_is_not_there_is_refused(tmp_path: Path) -> None:
    """A column of theirs that the table lacks, and one of ours that does not exist, are named beside the known ones."""
    path = table(tmp_path, HEADER, "m,s,x,y,a")
    with pytest.raises(InputError, match=r"o\.csv:1: no column 'model' \(for target\); it has target, scenario_id"):
        OutcomeTable(path, columns={"target": "model"})
    for wrong in ({"columns": {"targte": "target"}}, {"constants": {"targte": "m"}}):
        with pytest.raises(InputError, match=r"o\.csv: no such column of ours: 'targte'; known: target, scenario_id"):
            OutcomeTable(path, **wrong)


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """Of two columns of one name neither is preferred in silence."""
    assert complaint(table(tmp_path, f"{HEADER},verdict", "m,s,x,y,a,b")).startswith("o.csv:1: ")


@pytest.mark.parametrize(
    ("lines", "told"), [([], "is empty"), ([HEADER], "holds no row"), ([HEADER, ""], "holds no row")]
)
def test_a_table_without_rows_is_told(tmp_path: Path, lines: list[str], told: str) -> None:
    """Nothing at all, or a header alone, is no table of outcomes."""
    assert complaint(table(tmp_path, *lines)).startswith(f"o.csv: {told}")


@pytest.mark.parametrize("rows", [1, 5000], ids=["at once", "far down"])
def test_text_that_is_not_utf_8_is_told(tmp_path: Path, rows: int) -> None:
    """Latin-1 is found out wherever it stands, and never read as something else."""
    path = table(tmp_path, HEADER, *(f"m,s{number},x,y,a" for number in range(rows)))
    path.write_bytes(path.read_bytes() + b"m,caf\xe9,x,y,a\n")
    assert complaint(path).startswith("o.csv: not UTF-8 text")


@pytest.mark.parametrize("damage", ["cut", "bent", "plain"])
def test_a_broken_gzip_is_told(tmp_path: Path, damage: str) -> None:
    """A file that was cut short, was damaged inside, or is no gzip at all is bad input, never a shorter table."""
    path = table(tmp_path, HEADER, *(f"m,s{number},x,y,a" for number in range(100)), name="o.csv.gz")
    whole = path.read_bytes()
    path.write_bytes(
        {"cut": whole[:-12], "bent": whole[:30] + b"\xff" * 20 + whole[50:], "plain": HEADER.encode()}[damage]
    )
    assert complaint(path).startswith("o.csv.gz: cannot be read: ")


@pytest.mark.parametrize("name", ["absent.csv", "absent.csv.gz", "."])
def test_a_table_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    """A missing file and a folder are bad input."""
    with pytest.raises(InputError, match=r"no such file|not a regular file"):
        OutcomeTable(tmp_path / name)


def test_recorded_choices_of_14_models_are_read() -> None:
    """15,631 real forced choices, none lost and none invented."""
    path = shared("litmus_values") / "stated_outcomes.csv.gz"
    theirs = {"target": "model", "scenario_id": "seq", "value_a": "value_1", "value_b": "value_2", "verdict": "winner"}
    outcomes = list(OutcomeTable(path, theirs, {"value_1": Verdict.A, "value_2": Verdict.B}).outcomes())
    assert len(outcomes) == 15_631
    assert Counter(outcome.group.target for outcome in outcomes)["qwen/qwen3-32b"] == 122
    assert len({outcome.group for outcome in outcomes}) == 14
    assert {outcome.verdict for outcome in outcomes} == {Verdict.A, Verdict.B}


# -- gold labels -------------------------------------------------------------------------------------------------------


def test_gold_labels_are_read_with_what_they_tell_of_the_episode(tmp_path: Path) -> None:
    """A cell that is empty, or whose column is missing, may be anything; no steering is what an empty steering cell says."""
    path = table(
        tmp_path, "target,scenario_id,verdict,mode,steering,repeat,note", "m,s,tie,open_ended,,0,!", "m,t,a,,up,,"
    )
    assert list(GoldTable(path).labels()) == [
        GoldLabel(2, "m", "s", Mode.OPEN_ENDED, "", None, 0, Verdict.TIE),
        GoldLabel(3, "m", "t", None, "up", None, None, Verdict.A),
    ]
    path = table(tmp_path, "verdict,target,scenario_id", "b,m,s")
    assert list(GoldTable(path).labels()) == [GoldLabel(2, "m", "s", None, None, None, None, Verdict.B)]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["target,scenario_id"], "o.csv: holds no row"),
        (["target,scenario_id", "m,s"], "o.csv:1: needs the column 'verdict'; it has target, scenario_id"),
        (["target,scenario_id,verdict", "m,s,neither"], "o.csv:2: verdict: expected one of a, b, tie, got 'neither'"),
        (["target,scenario_id,verdict", "m,s,a", "m,,a"], "o.csv:3: scenario_id: expected a text, got ''"),
        (
            ["target,scenario_id,verdict,mode", "m,s,a,talk"],
            "o.csv:2: mode: expected one of open_ended, multiple_choice",
        ),
        (["target,scenario_id,verdict,repeat", "m,s,a,one"], "o.csv:2: repeat: expected a whole number 0..1000000000"),
    ],
    ids=lambda text: str(text)[-20:],
)
def test_a_bad_gold_label_is_told_with_its_line(tmp_path: Path, lines: list[str], told: str) -> None:
    """File, line, column, what was expected and what came."""
    path = table(tmp_path, *lines)
    with pytest.raises(InputError) as caught:
        list(GoldTable(path).labels())
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(told)


# -- dilemmas ----------------------------------------------------------------------------------------------------------

COLUMNS = DilemmaColumns("id", "text", "left", "right", "serves_left", "serves_right")
DILEMMAS = "id,text,left,right,serves_left,serves_right"
XYZ = ValueSet(name="xyz", values=tuple(Value(name=name, definition="What it says.") for name in ("x", "y", "z")))


def dilemmas(
    folder: Path, *rows: str, all_pairs: bool = False, value_set: ValueSet | None = None, separator: str = "|"
) -> ImportedDilemmas:
    path = table(folder, DILEMMAS, *rows, name="d.csv")
    return read_dilemmas(path, COLUMNS, all_pairs=all_pairs, value_set=value_set, separator=separator)


def test_a_row_with_one_value_a_side_is_one_scenario(tmp_path: Path) -> None:
    """Text, actions and values are taken over, and the scenario tells its file and row."""
    imported = dilemmas(tmp_path, "7,A case.,Go.,Stay., x ,y")
    (scenario,) = imported.scenarios
    assert (scenario.id, scenario.value_a, scenario.value_b) == ("7", "x", "y")
    assert (scenario.description, scenario.action_a, scenario.action_b) == ("A case.", "Go.", "Stay.")
    assert (scenario.origin.kind, scenario.origin.source, scenario.origin.situation) == ("imported", "d.csv", "7")
    assert (imported.rows, imported.left_out) == (1, {})


def test_rows_without_one_clear_pair_are_left_out_by_reason(tmp_path: Path) -> None:
    """Several values on a side, none, or the same on both: each is counted under why it was left out."""
    imported = dilemmas(
        tmp_path,
        "1,t,Go.,Stay.,x|z,y",
        "2,t,Go.,Stay.,x,y",
        "3,t,Go.,Stay.,,y",
        "4,t,Go.,Stay.,x,",
        "5,t,Go.,Stay.,x,x",
    )
    assert [scenario.id for scenario in imported.scenarios] == ["2"]
    assert imported.left_out == {"more than one pair of values": 1, "no conflicting pair of values": 3}
    assert imported.rows == 1


def test_all_pairs_of_a_row_share_its_situation(tmp_path: Path) -> None:
    """With all_pairs a row yields each pair of values, told apart by their ids and bound by their situation."""
    imported = dilemmas(tmp_path, "1,t,Go.,Stay.,x|z,y", "2,t,Go.,Stay.,x,y", all_pairs=True)
    assert [(s.value_a, s.value_b, s.origin.situation) for s in imported.scenarios] == [
        ("x", "y", "1"), ("z", "y", "1"), ("x", "y", "2"),
    ]  # fmt: skip
    assert len({s.id for s in imported.scenarios}) == 3
    assert (imported.rows, imported.left_out) == (2, {})


def test_values_of_several_words_can_be_paired(tmp_path: Path) -> None:
    """A value's name may hold blanks; the ids made of it may not."""
    imported = dilemmas(tmp_path, "1,t,Go.,Stay.,Equal Treatment|Truth,Freedom", all_pairs=True)
    assert [s.pair for s in imported.scenarios] == [("Equal Treatment", "Freedom"), ("Freedom", "Truth")]


@pytest.mark.parametrize(
    "sides", ["x|x,y", "x|z|w,z|v|u", "x|x-y,y-z|z"], ids=["twice", "on both sides", "alike when joined"]
)
def test_no_two_scenarios_of_a_table_have_one_id(tmp_path: Path, sides: str) -> None:
    """Whatever values a row names, and however often, the ids that are made of them differ."""
    imported = dilemmas(tmp_path, f"1,t,Go.,Stay.,{sides}", all_pairs=True)
    ids = [scenario.id for scenario in imported.scenarios]
    assert len(set(ids)) == len(ids)


def test_a_value_named_twice_on_a_side_is_one_value(tmp_path: Path) -> None:
    """`x|x` against `y` is one clear pair."""
    assert [s.pair for s in dilemmas(tmp_path, "1,t,Go.,Stay.,x|x,y").scenarios] == [("x", "y")]


def test_another_separator_can_be_named(tmp_path: Path) -> None:
    """Values may be separated by what the table's owner chose."""
    assert len(dilemmas(tmp_path, "1,t,Go.,Stay.,x;z,y", all_pairs=True, separator=";").scenarios) == 2


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("2,t,Go.,Stay.,x,w", "'w' is not in the value set 'xyz'"),
        ("1,t,Go.,Stay.,x,y", "id: '1' is used twice, first on line 2"),
        ("2,t,Go., Go. ,x,y", "action_a and action_b must differ"),
        ("2,,Go.,Stay.,x,y", "description: "),
        ("2 b,t,Go.,Stay.,x,y", "id: "),
    ],
)
def test_a_row_that_is_no_dilemma_is_refused_with_its_line(tmp_path: Path, row: str, told: str) -> None:
    """What is wrong with one row is told, counted, and no harm to the rows around it."""
    imported = dilemmas(tmp_path, "1,t,Go.,Stay.,x,y", row, "3,t,Go.,Stay.,y,x", value_set=XYZ)
    assert [scenario.id for scenario in imported.scenarios] == ["1", "3"]
    (refused,) = imported.refused
    assert refused.line == 3
    assert refused.reason.startswith(told)
    assert (imported.rows, sum(imported.left_out.values())) == (2, 1)


def test_a_table_that_is_broken_as_a_whole_is_no_table(tmp_path: Path) -> None:
    """Where the columns shift, nothing after can be trusted: the import stops there."""
    with pytest.raises(InputError, match=r"d\.csv:3: expected 6 columns, got 5"):
        dilemmas(tmp_path, "1,t,Go.,Stay.,x,y", "2,t,Go.,Stay.,x")


CHOICES = DilemmaColumns("id", "text", choices="choices", value_a="x", value_b="y")


def with_choices(folder: Path, *cells: str) -> ImportedDilemmas:
    """A table whose actions stand in a JSON column."""
    quoted = [cell.replace('"', '""') for cell in cells]
    path = table(folder, "id,text,choices", *(f'{n},t,"{cell}"' for n, cell in enumerate(quoted)), name="d.csv")
    return read_dilemmas(path, CHOICES)


def test_actions_can_stand_in_one_json_column_and_values_in_none(tmp_path: Path) -> None:
    """Of each action its description is taken, else its text, else its label; the values are the same in every row."""
    imported = with_choices(
        tmp_path,
        '["Go.", "Stay."]',
        '[{"id": "g", "label": "Go", "description": "Go at once."}, {"label": "Stay", "description": " "}]',
    )
    assert [(s.action_a, s.action_b) for s in imported.scenarios] == [("Go.", "Stay."), ("Go at once.", "Stay")]
    assert {(s.value_a, s.value_b) for s in imported.scenarios} == {("x", "y")}


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ('["Go.", "Stay.", "Wait."]', "choices: expected two actions, got 3"),
        ('["Go."]', "choices: expected two actions, got 1"),
        ("[]", "choices: expected two actions, got 0"),
        ('["Go.", "Stay."', "choices: expected a JSON list of two actions, got no valid JSON"),
        ("[" * 5000, "choices: expected a JSON list of two actions, got no valid JSON"),
        ('{"a": "Go."}', "choices: expected a JSON list of two actions, got dict"),
        ('["Go.", 5]', "choices: expected texts, or objects with a description, text or label"),
        ('["Go.", {"tool_name": "stay"}]', "choices: expected texts, or objects with a description, text or label"),
        ('["Go.", "Go."]', "action_a and action_b must differ, they are the same text"),
    ],
    ids=lambda text: text[:20],
)
def test_a_row_without_two_actions_is_refused(tmp_path: Path, cell: str, told: str) -> None:
    """Three actions are no dilemma of ours, and neither is what is no list of texts."""
    imported = with_choices(tmp_path, '["Go.", "Stay."]', cell)
    assert [(row.line, row.reason) for row in imported.refused] == [(3, told)]
    assert len(imported.scenarios) == 1


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"value_a": "x", "value_b": "y"}, "two actions"),
        ({"value_a": "x", "value_b": "y", "action_a": "left"}, "two actions"),
        ({"value_a": "x", "value_b": "y", "action_a": "left", "choices": "c"}, "two actions"),
        ({"value_a": "x", "choices": "c"}, "--values-b"),
        ({"value_a": "x", "values_a": "l", "value_b": "y", "choices": "c"}, "--values-a"),
    ],
    ids=str,
)
def test_a_dilemma_takes_two_actions_and_a_value_for_each(named: dict[str, str], told: str) -> None:
    """Neither less than that nor two sources of one thing: the options that are meant are named."""
    with pytest.raises(InputError, match=told):
        DilemmaColumns("id", "text", **named)


def test_a_table_without_a_named_column_is_told(tmp_path: Path) -> None:
    """The column is named beside those that are there."""
    with pytest.raises(InputError, match=r"d\.csv:1: no column 'left'; it has id, text"):
        read_dilemmas(table(tmp_path, "id,text", "1,t", name="d.csv"), COLUMNS)


def test_a_table_that_yields_nothing_says_why(tmp_path: Path) -> None:
    """Where every row has more than one pair, the message says so, and how to take them."""
    with pytest.raises(InputError) as caught:
        dilemmas(tmp_path, "1,t,Go.,Stay.,x|z,y")
    assert "more than one pair of values" in str(caught.value)


@pytest.mark.parametrize(("all_pairs", "scenarios", "situations"), [(False, 42, 42), (True, 876, 253)])
def test_moralchoice_becomes_scenarios(all_pairs: bool, scenarios: int, situations: int) -> None:
    """Of 680 real dilemmas 42 set one rule against one, and 253 set any rules against each other."""
    columns = DilemmaColumns(
        "scenario_id",
        "context",
        "action1",
        "action2",
        "rules_respected_only_by_action1",
        "rules_respected_only_by_action2",
    )
    path = shared("moralchoice") / "scenarios_high_ambiguity.csv"
    common_morality = load_value_set(find("values", "common-morality", Path.cwd()))
    imported = read_dilemmas(path, columns, all_pairs=all_pairs, value_set=common_morality)
    assert len(imported.scenarios) == len({scenario.id for scenario in imported.scenarios}) == scenarios
    assert len({scenario.origin.situation for scenario in imported.scenarios}) == imported.rows == situations
    assert imported.rows + sum(imported.left_out.values()) == 680


def test_a_value_that_both_actions_serve_is_in_no_conflict(tmp_path: Path) -> None:
    """What stands on both sides is left out; what is left decides."""
    imported = dilemmas(tmp_path, "1,t,Go.,Stay.,x|y,y|z", "2,t,Go.,Stay.,x,x")
    assert [scenario.pair for scenario in imported.scenarios] == [("x", "z")]
    assert imported.left_out == {"no conflicting pair of values": 1}


def test_a_misspelt_value_is_told_also_in_a_row_with_several_pairs(tmp_path: Path) -> None:
    """Values are checked before pairs are counted."""
    imported = dilemmas(tmp_path, "1,t,Go.,Stay.,x|w,y", "2,t,Go.,Stay.,x,y", value_set=XYZ)
    assert imported.left_out == {"'w' is not in the value set 'xyz'": 1}


def test_all_733_dilemmas_about_ai_risk_are_taken() -> None:
    """A set without value labels, with one value a side for all rows."""
    columns = DilemmaColumns("row", "dilemma", "action_1", "action_2", value_a="first", value_b="second")
    imported = read_dilemmas(shared("airisk_two_action") / "dilemmas.csv.gz", columns)
    assert (len(imported.scenarios), imported.left_out) == (733, {})


def test_of_20_agentic_dilemmas_the_5_with_two_choices_are_taken() -> None:
    """Fifteen rows are refused, each with its line, for the number of their choices."""
    columns = DilemmaColumns("dilemma_id", "situation", choices="choices_json", value_a="first", value_b="second")
    imported = read_dilemmas(shared("when_agents_act") / "dilemmas.csv", columns)
    assert len(imported.scenarios) == 5
    assert imported.left_out == {
        "choices_json: expected two actions, got 3": 14,
        "choices_json: expected two actions, got 4": 1,
    }
    assert imported.refused[0].line == 4  # the line on which the first row, which has line breaks, ends


def test_dailydilemmas_are_taken_where_both_actions_are_known() -> None:
    """Of 107 rows 7 record both actions, with the side of each; texts without actions are no dilemmas."""
    columns = DilemmaColumns(
        "dilemma_idx",
        "dilemma_text",
        "action_prompt_for_supporting",
        "action_prompt_for_opposing",
        "winner_prompt_for_supporting",
        "winner_prompt_for_opposing",
    )
    imported = read_dilemmas(shared("dailydilemmas") / "steering_outcomes.csv", columns)
    assert len(imported.scenarios) == 7
    assert {scenario.pair for scenario in imported.scenarios} == {("opposing", "supporting")}
    assert imported.left_out == {"no conflicting pair of values": 100}
    texts = DilemmaColumns("idx", "dilemma_situation", "to_do", "not_to_do", value_a="x", value_b="y")
    with pytest.raises(InputError, match="no column 'to_do'; it has idx, basic_situation, dilemma_situation"):
        read_dilemmas(shared("dailydilemmas") / "dilemma_texts.csv.gz", texts)


def test_control_characters_do_not_get_into_names(tmp_path: Path) -> None:
    """A NUL byte in an id is bad input."""
    assert "scenario_id: expected no control characters" in complaint(table(tmp_path, HEADER, "m,s\x001,x,y,a"))
