// One point of the grid with its cells: unpacked when it is first opened.
let unpacked = null;
async function unpack() {
  const bytes = Uint8Array.from(atob($("details").textContent), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

const plainTable = (heading, head, rows, label) => {
  const body = rows.map(([name, ...cells]) => element("tr", {}, element("th", { scope: "row" }, name), ...cells.map((cell) => element("td", { class: "number" }, cell))));
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...head.map((name, place) => element("th", { scope: "col", class: place ? "number" : "" }, name)))), element("tbody", {}, ...body));
  return [element("h3", {}, heading), element("div", { class: "scroll", role: "region", "aria-label": label ?? heading, tabindex: "0" }, table)];
};
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const deviation = (values) => values.length < 2 ? null : Math.sqrt(values.reduce((sum, value) => sum + (value - mean(values)) ** 2, 0) / (values.length - 1));
const around = (values) => !values.length ? "–" : mean(values).toFixed(2) + (values.length > 1 ? ` ± ${deviation(values).toFixed(2)}` : "");

function metricTables(point, cells) {
  const row = (name) => {
    const [all, spread, number] = point.values[name];
    const cellsOf = cells.map((cell) => { const one = cell.values[name]; return one === undefined ? "–" : format(one, name); });
    return [element("span", { title: byName.get(name).meaning }, byName.get(name).heading + arrow(name)), format(all, name) + (spread === null ? "" : ` ± ${format(spread, name)}`), ...cellsOf];
  };
  const head = ["Metric", "Mean ± s.d.", ...cells.map((cell) => `Seed ${cell.seed}`)];
  const names = metrics.map((metric) => metric.name).filter((name) => point.values[name]);
  const main = ["mIoU", "mDice", "mAcc", "aAcc", "ECE", "ECE_scaled", "NLL", "Brier", "KL", "mDice_soft"].filter((name) => names.includes(name));
  const nodes = plainTable("Metrics", head, main.map(row));
  const others = names.filter((name) => !main.includes(name));
  if (others.length) nodes.push(element("details", {}, element("summary", {}, `${others.length} further metrics`), ...plainTable("Further metrics", head, others.map(row)).slice(1)));
  return nodes;
}

function classTable(cells, sources) {
  const { classes, palette } = sources[cells[0].source];
  const score = (of) => (cell, place) => { const [hits, labelled, predicted] = cell.classes.map((row) => row[place]); return of(hits, labelled, predicted); };
  const scores = [
    score((hits, labelled, predicted) => (labelled + predicted ? 100 * hits / (labelled + predicted - hits) : NaN)),
    score((hits, labelled, predicted) => (labelled + predicted ? 200 * hits / (labelled + predicted) : NaN)),
    score((hits, labelled) => (labelled ? 100 * hits / labelled : NaN)),
  ];
  const total = cells[0].classes[1].reduce((sum, pixels) => sum + pixels, 0);
  const rows = classes.map((name, place) => [
    element("span", {}, swatch(palette[place]), name),
    `${(100 * cells[0].classes[1][place] / total).toFixed(2)} %`,
    ...scores.map((of) => around(cells.map((cell) => of(cell, place)).filter((value) => !Number.isNaN(value)))),
  ]);
  return plainTable("Classes", ["Class", "Pixels", "IoU", "Dice", "Accuracy"], rows, "Scores by class");
}
const swatch = (colour) => { const node = element("span", { class: "swatch", "aria-hidden": "true" }); node.style.background = `rgb(${colour.join(",")})`; return node; };

const chartFigure = (caption) => { const chart = element("div", { class: "chart" }); return [element("figure", {}, element("figcaption", {}, caption), chart), chart]; };

function binRows(sums) {
  const total = sums[0].reduce((sum, pixels) => sum + pixels, 0);
  const width = 100 / sums[0].length;
  return sums[0].map((pixels, bin) => ({ low: bin * width, high: (bin + 1) * width, share: 100 * pixels / total,
    ...(pixels ? { accuracy: 100 * sums[1][bin] / pixels, confidence: 100 * sums[2][bin] / pixels } : { accuracy: null, confidence: null }) }));
}

function picturesOf(cell, details) {
  const { classes, palette } = details.sources[cell.source];
  const names = { image: "image", label: "label", prediction: "prediction", confidence: "confidence", error: "errors" };
  const kinds = new Set(cell.pictures.flatMap(({ pictures }) => Object.keys(pictures)));
  const rows = cell.pictures.map(({ name, pictures }) => [
    element("p", { class: "note" }, `Image ${name}`),
    element("div", { class: "pictures" }, ...Object.entries(pictures).map(([kind, number]) => element("figure", {},
      element("figcaption", {}, names[kind]), element("img", { alt: `${names[kind]} of image ${name}, seed ${cell.seed}`, src: `data:image/png;base64,${details.pictures[number]}` })))),
  ]).flat();
  const key = element("ul", { class: "key" }, ...classes.map((name, place) => element("li", {}, swatch(palette[place]), name)), element("li", {}, swatch([255, 255, 255]), "void"),
    kinds.has("error") ? element("li", {}, swatch([213, 94, 0]), "error") : null, kinds.has("confidence") ? element("li", {}, "confidence: white is certain") : null);
  return [element("h3", {}, `Predictions, seed ${cell.seed}`), key, ...rows];
}

function recordOf(point, cell) {
  const { config, ...record } = cell.record;
  const pre = (value) => element("pre", { tabindex: "0" }, typeof value === "string" ? value : JSON.stringify(value, null, 1));
  return [
    element("details", {}, element("summary", {}, `Seed ${cell.seed}: record`), element("p", { class: "note" }, `results/${path(point)}/seed${cell.seed}/record.json`), pre(record)),
    element("details", {}, element("summary", {}, `Seed ${cell.seed}: configuration`), pre(config)),
  ];
}

async function open(point) {
  const place = points.indexOf(point);
  $("cell-path").textContent = path(point);
  $("cell-title").textContent = title(point);
  const body = $("cell-body");
  body.replaceChildren(element("p", { class: "note" }, "Unpacking …"));
  if (!$("cell").open) $("cell").showModal();
  try { unpacked ??= await unpack(); } catch (error) {
    body.replaceChildren(element("p", { class: "notice" }, `This browser cannot unpack the cells: ${error.message}`));
    return;
  }
  const details = unpacked;
  const cells = details.points[place].filter((seed) => seed.record);
  body.replaceChildren();
  const absent = point.seeds.filter((seed) => seed.status !== "done");
  if (absent.length) {
    body.append(element("h3", {}, "Cells without a result"));
    for (const seed of absent) {
      body.append(element("p", {}, element("span", { class: `state ${seed.status}` }, `Seed ${seed.seed} ${seed.status}`), `: ${seed.reason ?? ""}`));
      const left = details.points[place].find((entry) => entry.seed === seed.seed)?.traceback;
      if (left) body.append(element("details", {}, element("summary", {}, `Seed ${seed.seed}: traceback`), element("pre", { tabindex: "0" }, left)));
    }
  }
  if (cells.length) showCells(point, cells, details, body);
  $("cell-title").focus();
}

function showCells(point, cells, details, body) {
  const seeds = cells.length > 1 ? `${cells.length} seeds` : "one seed";
  const left = element("div"), right = element("div");
  body.append(element("div", { class: "columns" }, left, right));
  left.append(...metricTables(point, cells));
  const [reliability, bins] = chartFigure(`Accuracy over confidence, and below the share of pixels by confidence; ${seeds} together`);
  right.append(element("h3", {}, "Reliability"), reliability);
  const rows = binRows(details.bins[points.indexOf(point)]);
  const words = rows.filter((row) => row.share >= 0.005).map((row) => `${row.low.toFixed(0)} to ${row.high.toFixed(0)} %: accuracy ${row.accuracy.toFixed(1)} %, ${row.share.toFixed(1)} % of pixels`);
  draw(bins, data.charts.reliability, { bins: rows }, `Reliability diagram. Confidence ${words.join("; ")}.`);
  const lines = [["train/loss", "Training loss", (cell) => cell.curves["train/loss"]], ["validation", "Validation mIoU", (cell) => cell.validations]];
  const curves = element("div", { class: "columns" });
  for (const [, caption, of] of lines) {
    const data_ = cells.flatMap((cell) => of(cell).map(([iteration, value]) => ({ iteration, value, seed: String(cell.seed) })));
    if (!data_.length) continue;
    const [figure, chart] = chartFigure(`${caption} over iterations, ${seeds}`);
    curves.append(element("div", {}, element("h3", {}, caption), figure));
    const specification = copy(data.charts.curve);
    for (const layer of specification.layer) layer.encoding.y.title = caption.toLowerCase().replace("miou", "mIoU");
    const ends = cells.map((cell) => `seed ${cell.seed} ends at ${of(cell).at(-1)?.[1] ?? "–"}`).join(", ");
    draw(chart, specification, { rows: data_ }, `Line chart of the ${caption.toLowerCase()} over iterations: ${ends}.`);
  }
  body.append(curves, ...classTable(cells, details.sources));
  const pictured = cells.filter((cell) => cell.pictures.length);
  if (pictured.length) {
    const host = element("div");
    if (pictured.length > 1) {
      const select = element("select");
      options(select, pictured.map((cell, number) => [String(number), `seed ${cell.seed}`]));
      select.addEventListener("input", () => host.replaceChildren(...picturesOf(pictured[Number(select.value)], details)));
      body.append(element("form", { class: "controls", style: "margin-top:1.5rem" }, element("label", {}, "Predictions of ", select)));
    }
    host.append(...picturesOf(pictured[0], details));
    body.append(host);
  }
  body.append(element("h3", {}, "Records"), ...cells.flatMap((cell) => recordOf(point, cell)));
}

function route() {
  if (!isRead()) return;
  const wanted = decodeURI(location.hash.slice(1));
  const point = points.find((entry) => path(entry) === wanted);
  if (point) open(point);
  else if ($("cell").open) $("cell").close();
}
$("close").addEventListener("click", () => $("cell").close());
$("cell").addEventListener("click", (event) => { if (event.target === $("cell")) $("cell").close(); });
$("cell").addEventListener("close", () => {
  const wanted = location.hash;
  if (points.some((point) => link(point) === wanted)) history.replaceState(null, "", location.pathname + location.search);
});
addEventListener("hashchange", route);
