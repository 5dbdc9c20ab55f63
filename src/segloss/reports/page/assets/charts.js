// Charts by Vega-Embed. Their colours are the page's variables, so that they follow the theme and the printer.
const [ink, muted, line, accent] = ["text", "muted", "line", "focus"].map((name) => `var(--${name})`);
const sizes = { labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500 };
const config = {
  background: "transparent", font: getComputedStyle(document.body).fontFamily, view: { stroke: line },
  axis: { ...sizes, labelColor: muted, titleColor: ink, gridColor: line, domainColor: muted, tickColor: muted, gridOpacity: 0.6 },
  legend: { ...sizes, labelColor: ink, titleColor: muted, symbolSize: 90, symbolOpacity: 1, symbolBaseFillColor: ink, symbolBaseStrokeColor: ink },
  rect: { color: accent }, line: { color: accent }, point: { color: accent },
};
const copy = (value) => JSON.parse(JSON.stringify(value));

async function draw(host, specification, datasets, description, onClick) {
  const result = await vegaEmbed(host, { ...copy(specification), description, datasets: { ...specification.datasets, ...datasets } }, { actions: false, renderer: "svg", config, ast: true });
  if (onClick) result.view.addEventListener("click", (_, item) => item?.datum && onClick(item.datum));
  // The chart is one picture with a description; its marks have no names of their own.
  const svg = host.querySelector("svg");
  for (const name of ["role", "aria-label", "aria-roledescription"]) host.removeAttribute(name);
  svg?.setAttribute("role", "img");
  svg?.setAttribute("aria-label", description);
  for (const mark of svg?.querySelectorAll("[role], [aria-label], [aria-roledescription]") ?? [])
    for (const name of ["role", "aria-label", "aria-roledescription", "aria-hidden"]) mark.removeAttribute(name);
}
function drawScatters(left, now) {
  const measured = left.filter((point) => point.values[now.first] && point.values[now.second]);
  const groups = new Map();
  for (const point of measured) {
    const key = [point.dataset, point.model].join(", ");
    groups.set(key, [...(groups.get(key) ?? []), point]);
  }
  const most = 12;
  const both = metrics.length ? `${byName.get(now.first).heading} and ${byName.get(now.second).heading}` : "";
  $("scatter-note").textContent = measured.length
    ? `${both} of the rows shown above; bars are ${now.spread === "interval" ? "95 % intervals" : "± standard deviations"}. The numbers are those of the table; a click on a point opens its cells.${groups.size > most ? ` The first ${most} of ${groups.size} pairs of data set and model.` : ""}`
    : "No row that is shown has both metrics.";
  const host = $("scatters");
  host.classList.toggle("single", groups.size < 2);
  host.replaceChildren();
  const losses = unique(measured.map((point) => point.loss));
  const colour = losses.length <= 7 ? (point) => titles.loss[point.loss] : (point) => point.family;
  const domain = unique((losses.length <= 7 ? points.filter((point) => losses.includes(point.loss)) : trained).map(colour));
  for (const [key, group] of [...groups].slice(0, most)) {
    const rows = group.map((point) => {
      const [x, y] = [now.first, now.second].map((metric) => ({ value: point.values[metric][0], ...spreadOf(point, metric, now.spread), name: metric }));
      const words = ({ value, text, name }) => `${format(value, name)} ${text}`.trim();
      return { x: x.value, x_low: x.low, x_high: x.high, x_text: words(x), y: y.value, y_low: y.low, y_high: y.high, y_text: words(y),
        colour: colour(point), shape: titles.labels[point.labels], title: title(point), path: path(point) };
    });
    const specification = copy(data.charts.scatter);
    const axis = (metric) => `${byName.get(metric).heading}${unit(metric) ? ` (${unit(metric)})` : ""}${arrow(metric)}`;
    for (const layer of specification.layer) {
      for (const [channel, metric] of [["x", now.first], ["y", now.second]]) layer.encoding[channel].title = axis(metric);
      layer.encoding.color.scale.domain = domain;
      layer.encoding.color.title = losses.length <= 7 ? "Loss" : "Family";
      for (const entry of layer.encoding.tooltip ?? []) {
        if (entry.field === "x_text") entry.title = byName.get(now.first).heading;
        if (entry.field === "y_text") entry.title = byName.get(now.second).heading;
      }
    }
    if (innerWidth < 700) specification.config = { legend: { orient: "bottom", columns: 2 } };
    const chart = element("div", { class: "chart" });
    host.append(element("figure", {}, groups.size > 1 ? element("figcaption", {}, key) : null, chart));
    draw(chart, specification, { points: rows }, `Scatter chart of ${both}, ${key}: ${rows.length === 1 ? "one point" : `${rows.length} points`}, listed in the table of results.`, (datum) => {
      if (datum.path) location.hash = encodeURI(datum.path);
    });
  }
}
