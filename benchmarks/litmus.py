"""How our ranking of recorded choices agrees with the published Elo ranking.

    python -m benchmarks.litmus [FOLDER]       default: ../shared/data/litmus_values

Kendall tau between the TrueSkill order and the published Elo order (condition `stated_forced`), for each model.
"""

from __future__ import annotations

import asyncio
import csv
import sys
import tempfile
from pathlib import Path
from statistics import median

from scipy.stats import kendalltau

from conflictscope import pipeline
from conflictscope.outcome import Verdict
from conflictscope.runfolder import RunFolder
from conflictscope.tables import OutcomeTable

COLUMNS = {"target": "model", "scenario_id": "seq", "value_a": "value_1", "value_b": "value_2", "verdict": "winner"}


def taus(data: Path, runs_dir: Path) -> dict[str, tuple[float, int, int]]:
    """Tau, outcomes and pairs with outcomes, by model."""
    table = OutcomeTable(data / "stated_outcomes.csv.gz", COLUMNS, {"value_1": Verdict.A, "value_2": Verdict.B})
    folder = RunFolder.named("litmus", runs_dir)
    asyncio.run(pipeline.import_outcomes(table, folder))
    elo: dict[tuple[str, str], float] = {}
    with (data / "published_elo.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["condition"] == "stated_forced":
                elo[row["model"], row["value"]] = float(row["elo"])
    found = {}
    for ranking in asyncio.run(pipeline.rank(folder)):
        model = ranking.group.target
        ours = [rating.mu for rating in ranking.ratings.values()]
        tau = kendalltau(ours, [elo[model, value] for value in ranking.ratings]).statistic
        found[model] = (float(tau), ranking.outcomes, len(ranking.pairs))
    return found


def main() -> None:
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "shared" / "data" / "litmus_values"
    if not data.is_dir():
        sys.exit(f"the recorded choices are not there: {data}. Name their folder: python -m benchmarks.litmus FOLDER")
    with tempfile.TemporaryDirectory() as runs_dir:
        found = taus(data, Path(runs_dir))
    for model, (tau, outcomes, pairs) in sorted(found.items(), key=lambda item: -item[1][0]):
        print(f"{tau:.3f}  {model}  ({outcomes:,} outcomes, {pairs} of 120 pairs)")
    whole = [tau for tau, _, pairs in found.values() if pairs == 120]
    print(f"{len(whole)} models with all 120 pairs: median {median(whole):.3f}, lowest {min(whole):.3f}")


if __name__ == "__main__":
    main()
