"""The articles' claims next to what the grids measured: reports/README.md, from configs/claims.yaml and the records."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segloss.grid import ConfigError, Configs, Grid, load_grid
from segloss.grid.configs import pair_side
from segloss.grid.errors import unknown
from segloss.metrics import METRICS
from segloss.records.verification import RecordError
from segloss.reports.comparisons import LEVEL, format_difference
from segloss.reports.evidence import gather
from segloss.reports.markdown import table, text
from segloss.reports.points import CLAIM_STATISTICS, IMAGE_STATISTICS, STATISTICS, Point, PointStatistics, point_of
from segloss.reports.sentences import enumerate_words
from segloss.reports.statistics import Comparison, compare, holm
from segloss.reports.style import file_name

TESTED = (*STATISTICS, *IMAGE_STATISTICS, *CLAIM_STATISTICS)
INTRODUCTION = """\
# What the grids show

Each claim of an article compares what it holds to be better with its counterpart on the same test images. A comparison
is a difference with its 95 % interval for other images and other seeds, and p adjusted by Holm over all comparisons of
the claim in that metric. A claim is *confirmed* in a metric if at least half of its comparisons are significantly
better (p < .05) and none is worse, *partly confirmed* if fewer are and none is worse, *refuted* if some are worse and
none is better, *mixed* if both occur, and *undecided* if no difference is significant; *not claimed* marks metrics that
its articles make no claim about. The table counts the comparisons that are significantly better or worse and shows the
range of the differences; each claim links to its comparisons. The results hold for these data sets, models and
schedules only. Claims without results and grids with unfinished cells are listed at the end, if there are any.
"""
FIGURES = """\
## Accuracy against calibration

Means over seeds with their 95 % intervals for other images and other seeds; filled before temperature scaling, open
after it.
"""
SHOWN = """\
## Claims shown without a comparison

By tests, which run with every change, or by a table of a report.
"""
CHOICE = """\
## Which loss for which goal

For each data set and label scenario the loss with the best mean over seeds, and all losses from which it does not
differ significantly (Holm over the losses of the column). Losses that are not named are significantly worse.
"""


@dataclass(frozen=True)
class Difference:
    """The better point of a claim minus the other, in one metric.

    Attributes:
        grid: The grid's name.
        better: The point claimed to be better.
        other: The point it is compared with.
        metric: Name of the metric.
        comparison: Difference, interval and p.
        p: p adjusted over the claim's comparisons in that metric; None with one seed.
    """

    grid: str
    better: Point
    other: Point
    metric: str
    comparison: Comparison
    p: float | None = None

    @property
    def outcome(self) -> str:
        """``better``, ``worse`` or ``open``: the sign of a significant difference, by the metric's direction."""
        if self.p is None or self.p >= LEVEL:
            return "open"
        return "better" if (self.comparison.difference > 0) == METRICS[self.metric].higher_is_better else "worse"


def partners(points: Mapping[Point, PointStatistics], pair: Sequence[str]) -> Iterator[tuple[Point, Point]]:
    """The points of a claim's pair, such as ``*/dml`` and ``*/dice``; a star stands for the same name on both sides."""
    wanted, other = map(pair_side, pair)
    for point in points:
        place, names = point[:2], point[2:]
        if any(name not in ("*", given) for name, given in zip(wanted, names, strict=True)):
            continue
        partner = (*place, *(given if name == "*" else name for name, given in zip(other, names, strict=True)))
        if partner in points:
            yield point, partner


def metrics_of(claim: Mapping[str, Any]) -> list[str]:
    """The metrics that a claim is about, and those shown in addition."""
    return [*claim["metrics"], *claim.get("also", ())]


def differences(
    claim: Mapping[str, Any], evidence: Mapping[str, Mapping[Point, PointStatistics]]
) -> dict[str, list[Difference]]:
    """The differences that test a claim, by metric, p adjusted.

    Args:
        claim: Its entry in configs/claims.yaml.
        evidence: The statistics of each grid's points.
    """
    by_metric: dict[str, list[Difference]] = {}
    points = {point: entry for grid in claim["grids"] for point, entry in evidence[grid].items()}
    compared = [
        (grid, better, other)
        for grid in claim["grids"]
        for pair in claim["pairs"]
        for better, other in partners(points, pair)
        if better in evidence[grid]
    ]
    for metric in metrics_of(claim):
        rows = [
            Difference(grid, better, other, metric, compare(first, second))
            for grid, better, other in compared
            if (first := points[better].pseudo_values.get(metric)) is not None
            and (second := points[other].pseudo_values.get(metric)) is not None
        ]
        tested = [row for row in rows if row.comparison.p is not None]
        adjusted = iter(holm([row.comparison.p for row in tested]) if tested else ())
        by_metric[metric] = [row if row.comparison.p is None else replace(row, p=float(next(adjusted))) for row in rows]
    return by_metric


def verdict(rows: Sequence[Difference]) -> list[str]:
    """Confirmed, partly confirmed, refuted, mixed or undecided, and the numbers behind it.

    Returns:
        The word; how many of the tested differences are significantly better, how many worse, how many were tested;
        the range of all differences.
    """
    tested = [row for row in rows if row.p is not None]
    better, worse = (sum(row.outcome == outcome for row in tested) for outcome in ("better", "worse"))
    if not tested:
        word = "one seed"
    elif better and worse:
        word = "mixed"
    elif better:
        word = "confirmed" if 2 * better >= len(tested) else "partly confirmed"
    else:
        word = "refuted" if worse else "undecided"
    values = [row.comparison.difference for row in rows]
    ends = [f"{end:+.{METRICS[rows[0].metric].decimals}f}" for end in (min(values), max(values))]
    return [f"**{word}**", *map(str, (better, worse, len(tested))), " to ".join(dict.fromkeys(ends))]


def format_comparison(row: Difference) -> str:
    """A difference with its interval and p."""
    result = row.comparison
    return format_difference(result.difference, result.low, result.high, row.p, METRICS[row.metric].decimals)


def claim_section(name: str, claim: Mapping[str, Any], measured: Mapping[str, list[Difference]], titles: Any) -> str:
    """A claim and all its comparisons."""
    lines = [
        f"### {name}\n",
        f"{cited_statement(claim)}\n",
        *([f"{text(claim['remark'])}\n"] if "remark" in claim else []),
    ]
    shown = {metric: rows for metric, rows in measured.items() if rows}
    body: dict[tuple[str, Point, Point, tuple[int, int]], dict[str, str]] = {}
    for metric, rows in shown.items():
        for row in rows:
            body.setdefault((row.grid, row.better, row.other, row.comparison.seeds), {})[metric] = format_comparison(
                row
            )
    entries = []
    for (grid, better, other, seeds), cells in body.items():
        compared = compared_points(better, other, titles)
        columns = [cells.get(metric, "–") for metric in shown]
        entries.append([f"[{grid}]({grid}/table.md)", compared, "/".join(map(str, sorted(set(seeds)))), *columns])
    head = ["Grid", "Compared", "Seeds", *(METRICS[metric].title for metric in shown)]
    return "\n".join([*lines, table(head, entries, left=2)]) + "\n"


def shown_row(claim: Mapping[str, Any]) -> list[str]:
    """A claim without a comparison, and what shows it: a test, or a report with a link from reports/README.md."""
    places = []
    for place in claim["shown_in"]:
        report = place.removeprefix("reports/")
        places.append(f"`{place}`" if report == place else f"[{text(report.partition('#')[0])}]({report})")
    return [cited_statement(claim), ", ".join(places)]


def cited_statement(claim: Mapping[str, Any]) -> str:
    """A claim's statement with its articles."""
    return f"{text(claim['statement'])} ({', '.join(f'arXiv {number}' for number in claim['articles'])})"


def compared_points(better: Point, other: Point, titles: Mapping[str, Mapping[str, str]]) -> str:
    """What two points differ in, the first against the second, and in brackets the loss or labels that they share."""
    names = [
        (text(titles["losses"][loss]), text(titles["labels"][labels]), text(schedule))
        for _, _, schedule, labels, loss in (better, other)
    ]
    # The schedule is left out if both points have the same.
    pairs = list(zip(*names, strict=True))[: 2 if better[2] == other[2] else 3]
    sides = (", ".join(pair[side] for pair in pairs if pair[0] != pair[1]) for side in (0, 1))
    shared = ", ".join(first for first, second in pairs if first == second)
    return " against ".join(sides) + (f" ({shared})" if shared else "")


def choices(grid: Grid, points: Mapping[Point, PointStatistics]) -> list[list[str]]:
    """For each data set, model and label scenario of a grid and each metric: the best losses."""
    columns: dict[Point, dict[str, PointStatistics]] = {}
    for point, statistics in points.items():
        columns.setdefault(point[:4], {})[point[4]] = statistics
    rows = []
    for (dataset, _, _, labels), losses in columns.items():
        row = [f"[{grid.name}]({grid.name}/table.md)", text(dataset), text(grid.titles["labels"][labels])]
        for metric in ("mIoU", "ECE"):
            row.append(best_losses(losses, metric, grid.titles["losses"]))
        rows.append(row)
    return rows


def best_losses(losses: Mapping[str, PointStatistics], metric: str, titles: Mapping[str, str]) -> str:
    """The loss with the best mean of a column, and those that do not differ from it significantly."""
    order = sorted(losses, key=lambda name: losses[name].means[metric], reverse=METRICS[metric].higher_is_better)
    best, *others = order
    tests = {name: compare(losses[name].pseudo_values[metric], losses[best].pseudo_values[metric]) for name in others}
    tested = [name for name in others if tests[name].p is not None]
    adjusted = dict(zip(tested, holm([tests[name].p for name in tested]) if tested else (), strict=True))
    near = [text(titles[name]) for name in others if adjusted.get(name, 1.0) >= LEVEL]
    value = f"**{text(titles[best])}** {losses[best].means[metric]:.2f}"
    if not near:
        return value
    return f"{value}; no worse: {enumerate_words(near)}" if len(near) < len(others) else f"{value}; none is worse"


def figures(grid: Grid, points: Mapping[Point, PointStatistics]) -> list[str]:
    """The figures of accuracy against calibration in a grid's report."""
    places = dict.fromkeys(point[:2] for point in points)
    return [
        f"![{text(grid.title)}]({grid.name}/{file_name('calibration', dataset, model)}.png)\n\n*{text(grid.title)}*\n"
        for dataset, model in places
    ]


def findings(configs: Configs, results: Path) -> str:
    """The page of findings in Markdown.

    Args:
        configs: The claims, grids and titles.
        results: Folder of the cells.

    Raises:
        ConfigError: if a claim names a grid that does not exist, or a metric without a test.
        RecordError: if no cell of any claim's grid is done, or a record is damaged.
    """
    claims = {name: claim for name, claim in configs.claims.items() if "pairs" in claim}
    shown = [claim for claim in configs.claims.values() if "pairs" not in claim]
    for name, claim in claims.items():
        for metric in metrics_of(claim):
            if metric not in TESTED:
                raise ConfigError(f"claim {name}: {unknown('metric with a test', metric, TESTED)}")
    grids = {name: load_grid(name, configs) for claim in claims.values() for name in claim["grids"]}
    gathered = {name: gather(grid, results) for name, grid in grids.items()}
    # Not evidence yet: a grid of which only some points are done, such as those that it shares with other grids.
    evidence = {
        name: entry.points if {point_of(cell) for cell in grids[name].cells} <= entry.points.keys() else {}
        for name, entry in gathered.items()
    }
    if not any(evidence.values()):
        raise RecordError(f"{results} has no finished cell of {', '.join(grids)}: run one of these grids first")
    measured = {name: differences(claim, evidence) for name, claim in claims.items()}
    summary, sections, absent = [], [], []
    for name, claim in claims.items():
        if not any(measured[name].values()):
            absent.append(f"- {name}: {text(claim['statement'])} ({', '.join(claim['grids'])})")
            continue
        claimed = f"[{text(claim['statement'])}](#{name})"
        for metric, rows in measured[name].items():
            if rows:
                word, *numbers = verdict(rows)
                word = word if metric in claim["metrics"] else "*not claimed*"
                summary.append([claimed, text(METRICS[metric].title), word, *numbers])
                claimed = ""
        sections.append(claim_section(name, claim, measured[name], configs.titles))
    partial = [
        f"- {name}: {entry.provenance['cells']} of {len(grids[name].cells)} cells"
        for name, entry in gathered.items()
        if entry.provenance["cells"] < len(grids[name].cells)
    ]
    done = [row for name in grids if evidence[name] for row in choices(grids[name], evidence[name])]
    parts = [
        INTRODUCTION,
        table(["Claim", "Metric", "Result", "Better", "Worse", "Compared", "Differences"], summary, left=3) + "\n",
        FIGURES,
        *(figure for name in grids if evidence[name] for figure in figures(grids[name], evidence[name])),
        CHOICE,
        table(["Grid", "Data set", "Labels", "mIoU ↑", "ECE ↓"], done, left=5) + "\n",
        *([SHOWN, table(["Claim", "Shown in"], [shown_row(claim) for claim in shown], left=2) + "\n"] if shown else []),
        "## The comparisons\n",
        *sections,
        *(["## Not run\n"] if absent or partial else []),
        *(["Claims:\n", *absent, ""] if absent else []),
        *(["Grids:\n", *partial, ""] if partial else []),
        "Made by `segloss findings`. Machine, hours and commit of each grid are at the end of its table.\n",
    ]
    return "\n".join(parts)
