"""The charts of the page as Vega-Lite specifications without data; the page fills in the data of what is opened."""

from typing import Any

# Okabe and Ito's colours in an order whose neighbours also differ in lightness; yellow and black are left out, since
# each is invisible on one of the two backgrounds.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")


def specifications() -> dict[str, dict[str, Any]]:
    """The page's charts by name: scatter, curve, reliability."""
    return {"scatter": scatter(), "curve": curve(), "reliability": reliability()}


def scatter() -> dict[str, Any]:
    """One metric against another with an interval of each: fields x, x_low, x_high, y, y_low, y_high, colour, shape."""
    import altair as alt

    x, y = (
        alt.X("x:Q", scale=alt.Scale(zero=False, nice=True, padding=12), title="x"),
        alt.Y("y:Q", scale=alt.Scale(zero=False, nice=True, padding=12), title="y"),
    )
    colour = alt.Color("colour:N", sort=None, scale=alt.Scale(range=list(COLOURS)), title="Loss")
    shape = alt.Shape("shape:N", sort=None, scale=alt.Scale(range=list(SHAPES)), title="Labels")
    base = alt.Chart(alt.NamedData("points"))
    bars = [
        base.mark_rule(opacity=0.45).encode(x=alt.X("x_low:Q"), x2="x_high:Q", y=y, color=colour),
        base.mark_rule(opacity=0.45).encode(x=x, y=alt.Y("y_low:Q"), y2="y_high:Q", color=colour),
    ]
    points = base.mark_point(filled=True, size=110, opacity=1, cursor="pointer").encode(
        x=x, y=y, color=colour, shape=shape, tooltip=[alt.Tooltip("title:N", title="Cell"), "x_text:N", "y_text:N"]
    )
    layers = alt.layer(*bars, points)
    return plain(layers.properties(width="container", height=360))


def curve() -> dict[str, Any]:
    """A measurement over iterations, thin lines for seeds and a thick one for their mean: iteration, value, seed."""
    import altair as alt

    base = alt.Chart(alt.NamedData("rows")).encode(x=alt.X("iteration:Q", title="iteration"))
    seeds = base.mark_line(strokeWidth=1, opacity=0.55).encode(
        y=alt.Y("value:Q", scale=alt.Scale(zero=False), title="value"),
        strokeDash=alt.StrokeDash("seed:N", title="Seed"),
        tooltip=["seed:N", "iteration:Q", "value:Q"],
    )
    mean = base.mark_line(strokeWidth=2.5).encode(y="mean(value):Q")
    return plain(alt.layer(seeds, mean).properties(width="container", height=220))


def reliability() -> dict[str, Any]:
    """Accuracy over confidence by bin and the histogram below: low, high, confidence, accuracy, share, all percent."""
    import altair as alt

    percent = alt.Scale(domain=[0, 100], nice=False)
    base = alt.Chart(alt.NamedData("bins"))
    across = alt.X("low:Q", scale=percent, title="confidence (%)")
    hidden = alt.X("low:Q", scale=percent, title=None, axis=alt.Axis(labels=False))
    tooltip = [alt.Tooltip(f"{name}:Q", format=".2f") for name in ("low", "high", "confidence", "accuracy", "share")]
    diagonal = (
        alt.Chart(alt.InlineData([{"low": 0, "accuracy": 0}, {"low": 100, "accuracy": 100}]))
        .mark_line(strokeDash=[4, 4], strokeWidth=1.5, color="#7F7F7F")
        .encode(x=hidden, y=alt.Y("accuracy:Q", scale=percent))
    )
    bars = base.mark_rect(opacity=0.3).encode(
        x=hidden,
        x2="high:Q",
        y=alt.Y("accuracy:Q", scale=percent, title="accuracy (%)"),
        y2=alt.datum(0),
        tooltip=tooltip,
    )
    line = base.mark_line(point=alt.OverlayMarkDef(filled=True, size=45)).encode(
        x=alt.X("confidence:Q"), y="accuracy:Q", tooltip=tooltip
    )
    shares = alt.Y("share:Q", scale=percent, title="pixels (%)", axis=alt.Axis(tickCount=3))
    histogram = base.mark_rect().encode(x=across, x2="high:Q", y=shares, y2=alt.datum(0), tooltip=tooltip)
    above = alt.layer(bars, diagonal, line).properties(width=280, height=260)
    return plain(alt.vconcat(above, histogram.properties(width=280, height=70), spacing=8))


def plain(chart: Any) -> dict[str, Any]:
    """A chart as plain data, without the default configuration: the page sets the one of its theme."""
    specification = chart.to_dict()
    specification.pop("config", None)
    return specification
