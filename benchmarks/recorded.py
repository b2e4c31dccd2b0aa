"""What we make of recorded real data, against what was published of it.

    python -m benchmarks.recorded [FOLDER]       default: ../shared/data

Prints a table; about a minute. Exit code 1 where some figure was not reached. Bounds on tau were set after a first run, a little
below what it gave: they guard against change, and are no forecast that came true. A figure of "-" has nothing to be held against.
"""

from __future__ import annotations

import asyncio
import csv
import json
import re
import sys
import tempfile
import time
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import numpy as np
from scipy.special import ndtr
from scipy.stats import kendalltau

from benchmarks.rankings.row import Row
from conflictscope import pipeline
from conflictscope.agents import read_letter
from conflictscope.outcome import Judgement, Verdict, settle
from conflictscope.ranking import fit_bradley_terry, fit_posterior
from conflictscope.ranking.agreement import cohen_kappa, flip_rate, order_bias, retest_agreement
from conflictscope.rating import FloatArray, Ranking
from conflictscope.runfolder import RunFolder
from conflictscope.tables import OutcomeTable, read_rows

_Fit = TypeVar("_Fit")
_NEARLY_ML = (
    1e-6  # the least alpha that keeps perfect records of the bootstrap finite: the prior moves nothing that is shown
)


def bt_reference(folder: Path) -> Iterator[Row]:
    """Strengths of Bradley-Terry as textbooks and choix have them."""
    games = _rows(folder / "baseball1987.csv")
    published = {
        row["team"]: float(row["log_ability_vs_baltimore"]) for row in _rows(folder / "baseball1987_published.csv")
    }
    teams = list(published)
    wins = np.zeros((len(teams), len(teams)))
    for game in games:
        home, away = teams.index(game["home_team"]), teams.index(game["away_team"])
        wins[home, away] += int(game["home_wins"])
        wins[away, home] += int(game["away_wins"])
    strength = fit_bradley_terry(wins, alpha=_NEARLY_ML, bootstraps=2).strength
    off = float(np.abs(strength - strength[teams.index("Baltimore")] - list(published.values())).max())
    yield Row("bt_reference: baseball 1987, log abilities", "within .005", f"within {off:.4f}", off <= 0.005)
    for number in (1, 2):
        case = json.loads((folder / f"choix_pairwise_{number}.json").read_text())
        wins = np.zeros((case["n_items"], case["n_items"]))
        np.add.at(wins, tuple(np.array(case["data"]).T), 1)
        strength = fit_bradley_terry(wins, alpha=_NEARLY_ML, bootstraps=2).strength
        off = float(np.abs(strength - case["ml_est"]).max())
        yield Row(f"bt_reference: choix, case {number}", "within .0001", f"within {off:.6f}", off <= 1e-4)


def dailydilemmas(folder: Path) -> Iterator[Row]:
    """Win rates of the values that support a principle: imported, a principle as a target, a condition as a steering."""
    principles = _rows(folder / "principles.csv")
    for condition in ("baseline", "prompt_for_supporting", "prompt_for_opposing"):
        rankings = _imported(
            OutcomeTable(
                folder / "steering_outcomes.csv",
                columns={"target": "principle_no", "scenario_id": "dilemma_idx", "verdict": f"winner_{condition}"},
                verdicts={"supporting": Verdict.A, "opposing": Verdict.B},
                constants={"value_a": "supporting", "value_b": "opposing", "steering": condition},
            )
        )
        exact = 0
        for principle in principles:
            (pair,) = rankings[principle["principle_no"]].pairs  # in alphabetical order
            assert pair.value_b == "supporting"
            assert pair.rated == int(principle["n_dilemmas"])
            exact += pair.wins_b / pair.rated == float(principle[f"published_win_rate_{condition}"])
        found = f"{exact} of {len(principles)}"
        yield Row(f"dailydilemmas: win rates, {condition}", "10 of 10 exact", found, exact == len(principles) == 10)


def litmus_values(folder: Path) -> Iterator[Row]:
    """Orders of 16 values for 15 models, asked in two ways, against the published Elo orders."""
    elo: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in _rows(folder / "published_elo.csv"):
        elo[row["condition"], row["model"]][row["value"]] = float(row["elo"])
    columns = {"target": "model", "value_a": "value_1", "value_b": "value_2"}
    forced = OutcomeTable(
        folder / "stated_outcomes.csv.gz",
        columns={**columns, "scenario_id": "seq", "verdict": "winner"},
        verdicts={"value_1": Verdict.A, "value_2": Verdict.B},
    )
    yield from _against_elo("stated_forced", _imported(forced), elo, least=0.9)
    with tempfile.TemporaryDirectory() as scratch:
        replies = Path(scratch) / "controlled.csv"
        _with_question(folder / "controlled_replies.csv.gz", replies)
        controlled = OutcomeTable(
            replies,
            columns={**columns, "scenario_id": "question", "verdict": "category"},
            verdicts={
                "v1": Verdict.A,
                "v2": Verdict.B,
                "equal": Verdict.TIE,
                "depends": Verdict.NEITHER,
                "ambiguous": Verdict.UNRESOLVED,
            },
        )
        yield from _against_elo("stated_controlled", _imported(controlled), elo, least=0.8)
    yield from letters_read(folder)


_CATEGORY = {"A": "v1", "B": "v2", "C": "equal", "D": "depends"}


def letters_read(folder: Path) -> Iterator[Row]:
    """Our reader of letters beside the source's categories.

    Those are found by words: `v1` wherever a reply begins with "A", be it the article, or says "option A"; `v1` or `v2` wherever
    only one of the values is named, whatever is said of it; `equal` wherever "equal", "same" or "both" occurs (also in the
    name of the value Equal Treatment). What a reply really says is known where it opens with an option, word for word; in a part
    of these the source's category is something else, which bounds how often any reader that reads them right can agree with
    it. Source: parse_choice_from_text in run_stated_preferences_controlled.py of PranavMahajan25/LitmusValues.
    """
    templates = json.loads((folder / "controlled_prompt_templates.json").read_text())
    kinds: Counter[str] = Counter()
    known: Counter[str] = Counter()
    for row in _rows(folder / "controlled_replies.csv.gz"):
        if row["category"] == "ambiguous":
            continue
        letter = read_letter(row["reply"], "".join(_CATEGORY))
        opens = _opens_with(row, templates[row["template_idx"]])
        if opens:
            known["replies"] += 1
            known["read"] += letter == opens
            known["source"] += row["category"] == _CATEGORY[opens]
        kinds[_kind(letter, row)] += 1
    total, unread = kinds.total(), kinds.pop("not read")
    name = "litmus_values: letters read"
    sides, same = kinds["the same value"] + kinds["the other value"], kinds["the same value"]
    reached = f"{same / sides:.1%} of {sides:,}"
    yield Row(f"{name}, the same value where both name one of the two", ">= 97 %", reached, same >= 0.97 * sides)
    share, sourced = known["read"] / known["replies"], known["source"] / known["replies"]
    reached = f"{share:.1%} of {known['replies']:,} (the source {sourced:.1%})"
    yield Row(f"{name}, in replies that open with an option word for word", ">= 97 %", reached, share >= 0.97)
    read = total - unread
    agreed = kinds.pop("the same value") + kinds.pop("the same abstention")
    yield Row(f"{name}, the source's category", "-", f"{agreed / read:.1%} of {read:,} that are read", True)
    most = total - known["replies"] + known["source"]
    reached = f"{most / total:.1%} of {total:,}"
    yield Row(
        f"{name}, the source's category, at the most where all that open with an option are read right",
        "-",
        reached,
        True,
    )
    for kind, count in sorted(kinds.items(), key=lambda item: -item[1]):
        yield Row(f"{name}, {kind}", "-", f"{count:,}", True)
    yield Row(f"{name}, no one clear letter", "-", f"{unread:,} of {total:,}", True)


def _kind(letter: str | None, row: dict[str, str]) -> str:
    """What the letter that we read is beside the source's category."""
    if letter is None:
        return "not read"
    ours, theirs = _CATEGORY[letter], row["category"]
    if ours == theirs:
        return "the same value" if ours in ("v1", "v2") else "the same abstention"
    if {ours, theirs} == {"v1", "v2"}:
        return "the other value"
    because = {
        "v1": "for only this value is named",
        "v2": "for only this value is named",
        "equal": "for a value is called Equal Treatment"
        if "Equal Treatment" in (row["value_1"], row["value_2"])
        else 'for "equal", "same" or "both" occurs',
        "depends": 'for "depends" or the like occurs',
    }[theirs]
    return f"{letter} is {'a value' if theirs in ('v1', 'v2') else theirs} to the source, {because}"


def _opens_with(row: dict[str, str], template: str) -> str | None:
    """The letter of the option whose words a reply opens with, markup aside."""
    said = " ".join(row["reply"].replace("*", "").split())
    options = template.format_map(row).splitlines()[-len(_CATEGORY) :]
    return next((option[0] for option in options if said.startswith(option)), None)


def _against_elo(
    condition: str, rankings: dict[str, Ranking], elo: dict[tuple[str, str], dict[str, float]], least: float
) -> Iterator[Row]:
    """A row a model: Kendall's tau of our order with the published one, or why we have no order. (The published Elo of
    `stated_controlled` leaves out ties, which we count.)"""
    few = {
        "stated_forced": {"qwen/qwen3-32b"},
        "stated_controlled": {"qwen/qwen3-8b", "qwen/qwen3-32b", "meta-llama/llama-4-maverick"},
    }[condition]
    taus = []
    for model, ranking in rankings.items():
        check = f"litmus_values: {condition}, {model} ({ranking.outcomes:,} outcomes)"
        if ranking.unresolved and model in few:
            yield Row(check, "unresolved", ranking.unresolved, True)
            continue
        published = elo[condition, model]
        mu = [ranking.ratings[value].mu for value in published]
        tau = float(kendalltau(mu, list(published.values())).statistic)
        taus.append(tau)
        reached = f"{tau:.3f}" + (f" ({ranking.unresolved})" if ranking.unresolved else "")
        yield Row(check, f"tau >= {least:.2f}", reached, model not in few and tau >= least)
    reached = f"{np.median(taus):.3f} of {len(taus)} models"
    yield Row(f"litmus_values: {condition}, median", "tau >= .93", reached, float(np.median(taus)) >= 0.93)


def _with_question(table: Path, target: Path) -> None:
    """The table with a column that names the question asked."""
    rows = _rows(table)
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], "question"])
        writer.writeheader()
        for row in rows:
            writer.writerow({**row, "question": f"{row['value_1']}, {row['value_2']}, {row['template_idx']}"})


def pandalm_judges(folder: Path) -> Iterator[Row]:
    """Three people on 999 pairs of answers: agreement of each two, and the verdicts of the three as a panel."""
    rows = _rows(folder / "labels.csv")
    people = ["annotator1", "annotator2", "annotator3"]
    for (first, second), published in zip(combinations(people, 2), (0.85, 0.88, 0.86), strict=True):
        kappa = cohen_kappa(*([row[who] for row in rows] for who in (first, second)))
        reached = f"{kappa.value:.4f} ({kappa.low:.3f} to {kappa.high:.3f})"
        yield Row(
            f"pandalm_judges: kappa of {first} and {second}",
            f"{published}",
            reached,
            round(kappa.value, 2) == published,
        )
    named = {"1": Verdict.A, "2": Verdict.B, "0": Verdict.TIE}
    panel = [settle([Judgement(who, "a", named[row[who]], True, None, "") for who in people]) for row in rows]
    counts = Counter(won[0].value if won else "none" for won in panel)
    words = "a {a}, b {b}, tie {tie}, none {none}".format
    found = words(**{state: counts[state] for state in ("a", "b", "tie", "none")})
    as_published = words(a=422, b=472, tie=105, none=0)
    yield Row("pandalm_judges: verdicts of the three as a panel", as_published, found, found == as_published)
    model = sum(won is not None and won[0] is named[row["pandalm_7b"]] for won, row in zip(panel, rows, strict=True))
    yield Row("pandalm_judges: the model agrees with the panel", "66.77%", f"{model / len(rows):.2%}", model == 667)


# How a judge names an output, and how it ends: LLMBar asks for "Output (a)" or "Output (b)", after reasons or without.
_OUTPUT = re.compile(r"output \(([ab])\)", re.IGNORECASE)
_BETTER = re.compile(r"output \(([ab])\)(?: is (?:the )?better)", re.IGNORECASE)


def read_output(reply: str) -> str | None:
    """`a` or `b`: the only output that a reply names, else the last that it calls better, else the last that it names."""
    named, better = (pattern.findall(reply) for pattern in (_OUTPUT, _BETTER))
    return (better or named)[-1].lower() if named else None


def llmbar_judges(folder: Path) -> Iterator[Row]:
    """How often each judge changes its verdict with the order, and its kappa between orders, set by set and prompt by prompt."""
    yield from _llmbar_correct(folder)
    yield from _llmbar_replies(folder)
    published = _rows(folder / "published_statistics.csv")
    verdicts: dict[tuple[str, ...], tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for row in _rows(folder / "verdicts.csv.gz"):
        original, swapped = verdicts[row["subset"], row["evaluator"], row["strategy"]]
        original.append(row["verdict_original_order"])
        swapped.append(row["verdict_swapped_order"])
    all_of: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    changed: Counter[str] = Counter()
    equal: Counter[str] = Counter()
    tables: Counter[str] = Counter()
    for row in published:
        judge, number = row["evaluator"], int(row["n"])
        original, swapped = verdicts[row["subset"], judge, row["strategy"]]
        kappa = cohen_kappa(*([verdict == "1" for verdict in order] for order in (original, swapped)))
        flips = flip_rate(original, swapped)
        tables[judge] += 1
        changed[judge] += number - int(row["same_verdict"])
        equal[judge] += (
            flips.items == number
            and round(flips.value * number) == number - int(row["same_verdict"])
            and abs(kappa.value - float(row["kappa_between_orders"])) < 1e-9
        )
        all_of[judge][0].extend(original)
        all_of[judge][1].extend(swapped)
    for judge, (original, swapped) in all_of.items():
        flips, kappa = flip_rate(original, swapped), cohen_kappa(original, swapped)
        yield Row(
            f"llmbar_judges: {judge}, changes of mind and kappa in {tables[judge]} tables",
            f"all equal; {changed[judge]:,} changes of {flips.items:,}",
            f"{equal[judge]} equal; {flips.value:.1%} ({flips.low:.1%} to {flips.high:.1%}), "
            f"kappa {kappa.value:.2f} ({kappa.low:.2f} to {kappa.high:.2f})",
            equal[judge] == tables[judge] and round(flips.value * flips.items) == changed[judge],
        )


def _llmbar_correct(folder: Path) -> Iterator[Row]:
    """Verdicts that are right, in each order and in both, and the share of verdicts that both orders agree on that are wrong."""
    counts: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for row in _rows(folder / "verdicts.csv.gz"):
        table = counts[row["subset"], row["evaluator"], row["strategy"]]
        original, swapped, label = row["verdict_original_order"], row["verdict_swapped_order"], row["label"]
        table["correct_original"] += original == label
        table["correct_swapped"] += swapped == label
        table["correct_both"] += original == swapped == label
    published = _rows(folder / "published_statistics.csv")
    equal = sum(
        counts[row["subset"], row["evaluator"], row["strategy"]][name] == int(row[name])
        for row in published
        for name in ("correct_original", "correct_swapped", "correct_both")
    )
    expected = 3 * len(published)
    yield Row(
        "llmbar_judges: counts of correct verdicts", f"{expected} equal", f"{equal} equal", equal == expected == 609
    )


def _llmbar_replies(folder: Path) -> Iterator[Row]:
    """Raw replies of four judges read anew: at most as many without a reading as the source has.

    In 64 of the 74 replies that are read otherwise, PaLM2 begins "Output (b) is better." and the source puts that down for (a).
    """
    unparsed, same, read = 0, 0, 0
    for row in _rows(folder / "raw_replies.csv.gz"):
        letter = read_output(row["reply"])
        winner = "none" if letter is None else "12"[(letter == "b") != (row["swapped"] == "True")]
        unparsed += winner == "none"
        if row["parsed_winner"] != "none":
            read += 1
            same += winner == row["parsed_winner"]
    yield Row("llmbar_judges: raw replies without a reading", "at most 15 of 4,480", f"{unparsed}", unparsed <= 15)
    yield Row(
        "llmbar_judges: raw replies read as the source reads them",
        "98 %",
        f"{same:,} of {read:,}",
        same >= 0.98 * read,
    )


def litmus_repeats(folder: Path) -> Iterator[Row]:
    """One model asked 1,200 questions ten times each: does it answer as before, and does it name the value named first?"""
    answers: dict[tuple[str, ...], list[str]] = defaultdict(list)
    named_first: dict[tuple[str, ...], list[bool]] = defaultdict(list)
    for row in _rows(folder / "stated_repeats.csv.gz"):
        item = row["value_1"], row["value_2"], row["question_num"]
        answers[*item, row["order"]].append(row["outcome"])
        named_first[item].append((row["outcome"] == "value_1") == (row["order"] == "order1"))
    most = [Counter(repeats).most_common(1)[0][1] for repeats in answers.values()]
    found = (len(most), sum(count >= 9 for count in most), sum(count == 10 for count in most))
    words = "{0:,} questions, {1:,} with 9 of 10 answers alike, {2:,} with all".format
    expected = (1200, 1151, 1118)
    yield Row("litmus_repeats: repeats", words(*expected), words(*found), found == expected)
    for what, agreement in (
        ("two answers to one question are the same", retest_agreement(list(answers.values()))),
        ("answers name the value named first", order_bias(list(named_first.values()))),
        ("the other order turns the majority", flip_rate(*_majorities(answers, list(named_first)))),
    ):
        reached = f"{agreement.value:.3f} ({agreement.low:.3f} to {agreement.high:.3f})"
        yield Row(f"litmus_repeats: share in which {what}", "-", reached, True)


def _majorities(answers: dict[tuple[str, ...], list[str]], items: list[tuple[str, ...]]) -> tuple[list[str], list[str]]:
    """What each item was mostly answered, in each order."""
    original, swapped = (
        [Counter(answers[*item, order]).most_common(1)[0][0] for item in items] for order in ("order1", "order2")
    )
    return original, swapped


def football_results(folder: Path, bootstraps: int = 1000) -> Iterator[Row]:
    """385 teams in four countries: what the fits cost, and whether they know that no scale joins the countries."""
    rows = _rows(folder / "matches.csv.gz")
    teams = sorted({(row["country"], row[side]) for row in rows for side in ("home", "away")})
    place = {team: number for number, team in enumerate(teams)}
    wins, ties = np.zeros((len(teams), len(teams))), np.zeros((len(teams), len(teams)))
    for row in rows:
        home, away = place[row["country"], row["home"]], place[row["country"], row["away"]]
        match row["result"]:
            case "H":
                wins[home, away] += 1
            case "A":
                wins[away, home] += 1
            case "D":
                ties[home, away] += 1
                ties[away, home] += 1
    name = "football_results"
    matches = int(wins.sum() + ties.sum() / 2)
    read = f"{matches:,} of {len(teams)} teams"
    yield Row(f"{name}: matches", "135,831 of 385 teams", read, (matches, len(teams)) == (135_831, 385))
    post, cost = _costing(lambda: fit_posterior(wins, ties))
    yield Row(f"{name}: posterior", "-", cost, True)
    fit, cost = _costing(lambda: fit_bradley_terry(wins, ties, bootstraps=bootstraps))
    yield Row(f"{name}: Bradley-Terry, {bootstraps:,} bootstraps", "-", cost, True)

    countries = [{teams[k][0] for k in np.flatnonzero(post.component == label)} for label in set(post.component)]
    apart = all(len(of_one) == 1 for of_one in countries) and np.array_equal(post.component, fit.component)
    yield Row(f"{name}: components", "4, one a country", str(len(countries)), apart and len(countries) == 4)
    taus = [
        kendalltau(post.mu[members], fit.strength[members]).statistic
        for members in (post.component == label for label in range(len(countries)))
    ]
    reached = f"{min(taus):.3f} at the lowest"
    yield Row(f"{name}: posterior and Bradley-Terry, by country", "tau >= .95", reached, min(taus) >= 0.95)
    share, foretold = float(ties.sum() / 2 / matches), _drawn_share(post.mu, post.margin, wins + wins.T + ties)
    yield Row(f"{name}: draws", f"{share:.3f} of matches", f"{foretold:.3f} foretold", abs(foretold - share) < 0.005)


def _drawn_share(mu: FloatArray, margin: float, met: FloatArray) -> float:
    """Which share of the matches that were played the means and the margin expect to be drawn."""
    d = mu[:, None] - mu[None, :]
    return float(np.average(ndtr(margin - d) - ndtr(-margin - d), weights=met))


def _costing(work: Callable[[], _Fit]) -> tuple[_Fit, str]:
    """What it yields, and what it took: seconds, and the memory of arrays at the peak."""
    tracemalloc.start()
    started = time.perf_counter()
    fit = work()
    taken = time.perf_counter() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return fit, f"{taken:.1f} s, {peak / 1e6:.0f} MB"


def _rows(path: Path) -> list[dict[str, str]]:
    return [row for _, row in read_rows(path)]


def _imported(table: OutcomeTable) -> dict[str, Ranking]:
    """The rankings of a run made of recorded outcomes, by target."""
    with tempfile.TemporaryDirectory() as runs_dir:
        folder = RunFolder.named("recorded", Path(runs_dir))
        asyncio.run(pipeline.import_outcomes(table, folder))
        return {ranking.group.target: ranking for ranking in asyncio.run(pipeline.rank(folder))}


PARTS = (bt_reference, dailydilemmas, litmus_values, pandalm_judges, llmbar_judges, litmus_repeats, football_results)


def main() -> int:
    """Exit code 1 where some figure was not reached."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "shared" / "data"
    if not data.is_dir():
        sys.exit(f"the recorded data is not there: {data}. Name its folder: python -m benchmarks.recorded FOLDER")
    missed = 0
    print("| check | figure | reached | |\n| --- | --- | --- | --- |")
    for part in PARTS:
        for row in part(data / part.__name__):
            missed += not row.holds
            print(f"| {row.check} | {row.bound} | {row.reached} | {'' if row.holds else 'MISSED'} |", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
