"""The page of findings: which points a claim compares, the verdict on it, and what is listed as not run."""

from pathlib import Path

import pytest
import torch
import yaml

from segloss.grid import Configs, load_grid
from segloss.grid.errors import ConfigError
from segloss.metrics import Boundaries, Counts, image_counts, summarize
from segloss.records.verification import RecordError
from segloss.reports.findings import (
    Difference,
    claim_section,
    compared_points,
    differences,
    findings,
    metrics_of,
    partners,
    verdict,
)
from segloss.reports.points import CLAIM_STATISTICS, IMAGE_STATISTICS, PointStatistics, point_of, statistics_of
from segloss.reports.statistics import Comparison

ROOT = Path(__file__).parents[2]
CLAIM = {"statement": "A is better.", "articles": ["1"], "grids": ["g"], "metrics": ["mIoU", "KL"]}


def statistics(right: float, seeds: int = 3) -> PointStatistics:
    """A point whose models give the label that share of the probability, with a soft truth."""
    counts = []
    for seed in range(seeds):
        random = torch.Generator().manual_seed(seed)
        labels = torch.randint(0, 3, (20, 12, 12), generator=torch.Generator().manual_seed(99))
        truth = 0.9 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1) + 0.1 / 3
        hit = torch.rand(labels.shape, generator=random) < right
        predicted = torch.where(hit, labels, (labels + 1) % 3)
        probabilities = 0.8 * torch.nn.functional.one_hot(predicted, 3).movedim(-1, 1) + 0.2 / 3
        entry = Counts(3)
        entry.update(probabilities.float(), labels, truth=truth, names=[f"image{number}" for number in range(20)])
        counts.append(entry)
    return statistics_of([f"cell{seed}" for seed in range(seeds)], [image_counts(entry) for entry in counts])


def point(labels: str, loss: str) -> tuple[str, ...]:
    return ("d", "m", "s", labels, loss)


def test_a_star_stands_for_the_same_name_on_both_sides() -> None:
    names = [("hard", "a"), ("hard", "b"), ("soft", "a"), ("soft", "c")]
    points = dict.fromkeys(point(*name) for name in names)
    assert list(partners(points, ["*/a", "*/b"])) == [(point("hard", "a"), point("hard", "b"))]
    assert list(partners(points, ["soft/*", "hard/*"])) == [(point("soft", "a"), point("hard", "a"))]
    assert list(partners(points, ["soft/c", "hard/b"])) == [(point("soft", "c"), point("hard", "b"))]
    long = ("d", "m", "long", "hard", "a")
    assert list(partners({**points, long: None}, ["s/hard/b", "long/hard/a"])) == [(point("hard", "b"), long)]
    assert list(partners({**points, long: None}, ["hard/a", "hard/b"])) == [(point("hard", "a"), point("hard", "b"))]


def test_a_claim_may_compare_schedules_of_two_grids() -> None:
    long = ("d", "m", "long", "hard", "bad")
    evidence = {"short": {point("hard", "good"): statistics(0.8)}, "long": {long: statistics(0.6)}}
    claim = {**CLAIM, "grids": ["short", "long"], "pairs": [["s/hard/good", "long/hard/bad"]]}
    (row,) = differences(claim, evidence)["mIoU"]
    assert (row.grid, row.outcome) == ("short", "better")
    titles = {"labels": {"hard": "Hard"}, "losses": {"good": "Good", "bad": "Bad"}}
    section = claim_section("half", {**claim, "remark": "Beware."}, {"mIoU": [row]}, titles)
    assert "A is better. (arXiv 1)\n\nBeware.\n\n| Grid |" in section
    assert "| Good, s against Bad, long (Hard) |" in section


def test_a_true_difference_confirms_its_claim_and_refutes_the_opposite() -> None:
    evidence = {"g": {point("hard", "good"): statistics(0.8), point("hard", "bad"): statistics(0.6)}}
    for pair, word in ((["hard/good", "hard/bad"], "confirmed"), (["hard/bad", "hard/good"], "refuted")):
        by_metric = differences({**CLAIM, "pairs": [pair]}, evidence)
        assert {metric: verdict(rows)[0] for metric, rows in by_metric.items()} == {
            "mIoU": f"**{word}**",
            "KL": f"**{word}**",  # lower is better
        }


def test_equal_losses_leave_a_claim_undecided_and_one_seed_untested() -> None:
    same = statistics(0.7)
    claim = {**CLAIM, "pairs": [["hard/a", "hard/b"]]}
    by_metric = differences(claim, {"g": {point("hard", "a"): same, point("hard", "b"): same}})
    assert verdict(by_metric["mIoU"]) == ["**undecided**", "0", "0", "1", "+0.00"]
    single = statistics(0.7, seeds=1)
    by_metric = differences(claim, {"g": {point("hard", "a"): single, point("hard", "b"): same}})
    assert verdict(by_metric["mIoU"])[:4] == ["**one seed**", "0", "0", "0"]


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        ((1, 1, 0, 0), ["**confirmed**", "2", "0", "4", "-1.00 to +0.10"]),
        ((1, 0, 0, 0), ["**partly confirmed**", "1", "0", "4", "-1.00 to +0.10"]),
        ((-1, 0, 0, 0), ["**refuted**", "0", "1", "4", "+0.10 to +1.00"]),
        ((1, -1, 0, 0), ["**mixed**", "1", "1", "4", "-1.00 to +1.00"]),
        ((0, 0, 0, 0), ["**undecided**", "0", "0", "4", "+0.10"]),
    ],
)
def test_the_verdict_counts_significant_differences_by_their_direction(
    signs: tuple[int, ...], expected: list[str]
) -> None:
    rows = [
        Difference("g", point("l", "a"), point("l", "b"), "ECE", Comparison(-sign or 0.1, 0, 0, 0.01, 9, (3, 3)), p)
        for sign in signs
        for p in [0.01 if sign else 0.5]
    ]
    assert verdict(rows) == expected


def test_a_comparison_shows_what_differs_and_in_brackets_what_is_shared() -> None:
    titles = {"labels": {"hard": "Hard", "soft": "Soft"}, "losses": {"a": "A", "b": "B"}}
    first, second, third = point("hard", "a"), point("hard", "b"), point("soft", "a")
    assert compared_points(second, first, titles) == "B against A (Hard)"
    assert compared_points(third, first, titles) == "Soft against Hard (A)"
    assert compared_points(third, second, titles) == "A, Soft against B, Hard"


def test_p_values_are_adjusted_over_all_comparisons_of_a_claim_in_a_metric() -> None:
    evidence = {"g": {point("hard", name): statistics(right) for name, right in (("a", 0.8), ("b", 0.79), ("c", 0.6))}}
    (row, _) = differences({**CLAIM, "pairs": [["hard/a", "hard/c"], ["hard/a", "hard/b"]]}, evidence)["mIoU"]
    assert row.p == pytest.approx(min(1, 2 * row.comparison.p))


@pytest.mark.parametrize("edges", [False, True])
def test_statistics_that_claims_may_name_are_the_metrics_of_the_catalogue(edges: bool) -> None:
    random, classes = torch.Generator().manual_seed(0), 2 if edges else 4
    counts = Counts(classes, boundaries=Boundaries(edge_tolerance=0.15) if edges else None)
    for image in range(5):
        probabilities, truth = (torch.rand(1, classes, 6, 7, generator=random).softmax(1) for _ in range(2))
        kinds = 2 if edges else 3 + image % 2  # some images lack a class
        labels = torch.randint(kinds, (1, 6, 7), generator=random)
        counts.update(probabilities, labels, truth=truth, names=[f"image{image}"])
    entry, metrics = image_counts(counts), summarize(counts)
    assert ("ODS" in metrics) == edges
    for metric in metrics.keys() & CLAIM_STATISTICS.keys():
        kind, function = CLAIM_STATISTICS[metric]
        assert function(getattr(entry, kind).sum(0)) == pytest.approx(metrics[metric], rel=1e-12)
    assert CLAIM_STATISTICS.keys() - metrics.keys() == (set() if edges else {"ODS"})
    for metric, (kind, function) in IMAGE_STATISTICS.items():
        assert function(getattr(entry, kind)).mean() == pytest.approx(metrics[metric], rel=1e-12)


def test_every_claim_compares_points_of_each_of_its_grids() -> None:
    configs = Configs(ROOT)
    for name, claim in configs.claims.items():
        if "shown_in" in claim:
            continue
        assert len(metrics_of(claim)) == len(set(metrics_of(claim))), f"{name} names a metric twice"
        grids = {grid: {point_of(cell) for cell in load_grid(grid, configs).cells} for grid in claim["grids"]}
        points = dict.fromkeys(point for cells in grids.values() for point in cells)
        compared = {tuple(pair): list(partners(points, pair)) for pair in claim["pairs"]}
        assert [pair for pair, rows in compared.items() if not rows] == [], (
            f"{name}: pairs that are in none of its grids"
        )
        shown = {point for rows in compared.values() for row in rows for point in row}
        assert [grid for grid, cells in grids.items() if not cells & shown] == [], f"{name} compares none of them"


def test_what_shows_a_claim_without_comparison_exists() -> None:
    places = [place for claim in Configs(ROOT).claims.values() for place in claim.get("shown_in", ())]
    assert places
    for place in places:
        file, _, test = place.partition("::")
        path, _, anchor = file.partition("#")
        content = (ROOT / path).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in content, place
        headings = [line.lstrip("# ").lower().replace(" ", "-") for line in content.splitlines() if line[:1] == "#"]
        assert not anchor or anchor in headings, place


def test_a_claim_that_neither_compares_nor_is_shown_is_one_sentence(in_workplace: Path) -> None:
    claim = {"statement": "A is better.", "articles": ["1"]}
    Path("configs/claims.yaml").write_text(yaml.safe_dump({"a-claim": claim}))
    with pytest.raises(ConfigError, match=r"claims.yaml: a-claim: ") as error:
        _ = Configs().claims
    assert "\n" not in str(error.value)


def test_an_unknown_name_in_a_claim_is_one_sentence(in_workplace: Path) -> None:
    claim = {**CLAIM, "grids": ["demo"], "pairs": [["hard/cee", "hard/ce"]]}
    Path("configs/claims.yaml").write_text(yaml.safe_dump({"a-claim": claim}))
    with pytest.raises(ConfigError, match=r"a-claim: pairs: unknown loss 'cee' \(did you mean 'ce'"):
        _ = Configs().claims


def test_a_metric_without_a_test_is_one_sentence(in_workplace: Path) -> None:
    claim = {**CLAIM, "metrics": ["mIou"], "grids": ["demo"], "pairs": [["hard/jml", "hard/ce"]]}
    Path("configs/claims.yaml").write_text(yaml.safe_dump({"a-claim": claim}))
    with pytest.raises(ConfigError, match=r"claim a-claim: unknown metric with a test 'mIou' \(did you mean 'mIoU'"):
        findings(Configs(), Path("results"))


def test_without_a_finished_cell_there_are_no_findings(in_workplace: Path) -> None:
    with pytest.raises(RecordError, match="no finished cell"):
        findings(Configs(), Path("results"))
