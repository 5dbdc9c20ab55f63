"use strict";
// Fills the page from its data. Text from records enters the document as text nodes only, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { points, metrics, titles, comparisons } = data;
  const byName = new Map(metrics.map((metric) => [metric.name, metric]));
  const $ = (id) => document.getElementById(id);
  const AXES = ["dataset", "model", "labels", "family"];

  // ---- elements ---------------------------------------------------------------------------------------------------
  const element = (tag, properties = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name === "class") node.className = value;
      else if (name in node && name !== "style") node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };
  const options = (select, entries, chosen) => {
    select.replaceChildren(...entries.map(([value, text]) => element("option", { value }, text)));
    if (chosen !== undefined) select.value = chosen;
  };
  const unique = (values) => [...new Set(values)];
  const format = (number, metric) => number.toFixed(byName.get(metric)?.decimals ?? 2);
  const signed = (number, metric) => (number < 0 ? "−" : "+") + Math.abs(number).toFixed(byName.get(metric)?.decimals ?? 2);
  const title = (point) => `${titles.loss[point.loss]}, ${titles.labels[point.labels]}`;
  const path = (point) => [point.dataset, point.model, point.schedule, point.labels, point.loss].join("/");
  const link = (point) => `#${encodeURI(path(point))}`;
  const arrow = (metric) => ({ higher: " ↑", lower: " ↓" })[byName.get(metric)?.direction] ?? "";
  const unit = (metric) => ({ percent: "%", nats: "nats", 1: "" })[byName.get(metric)?.unit] ?? "";

  // ---- state ------------------------------------------------------------------------------------------------------
  const first = byName.has("mIoU") ? "mIoU" : metrics[0]?.name;
  const second = byName.has("ECE") ? "ECE" : metrics[1]?.name ?? first;
  const state = () => ({
    first: $("metric-first").value, second: $("metric-second").value, spread: $("spread").value,
    baseline: $("baseline").value, search: $("search").value,
    filters: Object.fromEntries(AXES.map((axis) => [axis, $(`filter-${axis}`).value])),
  });
  const text = (axis, name) => titles[axis]?.[name] ?? name;

  function fillControls() {
    for (const axis of AXES) {
      const names = unique(points.map((point) => point[axis]));
      options($(`filter-${axis}`), [["", "all"], ...names.map((name) => [name, text(axis, name)])]);
      document.querySelector(`[data-axis="${axis}"]`).hidden = names.length < 2;
    }
    const named = metrics.map((metric) => [metric.name, metric.heading]);
    options($("metric-first"), named, first);
    options($("metric-second"), named, second);
    const lists = { loss: "loss", labels: "label scenario" };
    const groups = Object.entries(lists).flatMap(([axis, kind]) => {
      const names = unique(points.map((point) => point[axis])).filter((name) => name in comparisons[axis]);
      if (names.length < 2) return [];
      const group = element("optgroup", { label: `each ${kind} with` });
      group.append(...names.map((name) => element("option", { value: `${axis}:${name}` }, text(axis, name))));
      return [group];
    });
    $("baseline").replaceChildren(element("option", { value: "" }, "nothing"), ...groups);
    const option = $("baseline").querySelector("optgroup option");
    if (option) $("baseline").value = option.value;
  }

  // ---- the entries of the table -------------------------------------------------------------------------------------
  const STATES = ["failed", "blocked", "stopped", "stale", "running", "waiting", "missing", "skipped"];
  const worst = (point) => STATES.find((name) => point.seeds.some((seed) => seed.status === name)) ?? "missing";

  function spreadOf(point, metric, kind) {
    const value = point.values[metric];
    if (!value) return null;
    if (kind === "interval" && point.intervals[metric]) {
      const [low, high] = point.intervals[metric];
      return { low, high, text: `[${format(low, metric)}, ${format(high, metric)}]` };
    }
    if (value[1] === null) return { low: value[0], high: value[0], text: "" };
    return { low: value[0] - value[1], high: value[0] + value[1], text: `± ${format(value[1], metric)}` };
  }

  function difference(point, metric, baseline) {
    if (!baseline || point.compared === null) return null;
    const [axis, ...rest] = baseline.split(":");
    const list = comparisons[axis]?.[rest.join(":")]?.[metric];
    const entry = list?.[point.compared];
    if (!entry) return null;
    const [value, half, p] = entry;
    const direction = byName.get(metric).direction;
    const sure = p !== null && p < 0.05;
    const better = (value > 0) === (direction === "higher");
    return { value, half, p, word: sure && value !== 0 ? (better ? "better" : "worse") : "" };
  }

  function valueNode(point, metric, { spread }) {
    const value = point.values[metric];
    const anchor = element("a", { href: link(point) });
    if (!value) {
      const status = point.seeds.some((seed) => seed.status === "done") ? "not measured" : worst(point);
      anchor.append(element("span", { class: `state ${status}` }, status));
    } else anchor.append(format(value[0], metric));
    const around = spreadOf(point, metric, spread);
    const node = element("span", {}, anchor);
    if (around?.text) node.append(" ", element("span", { class: "spread" }, around.text));
    return node;
  }

  function differenceNode(point, metric, { baseline, spread }) {
    const found = difference(point, metric, baseline);
    if (!found) return element("span", { class: "p" }, "–");
    const { value, half, p, word } = found;
    const mark = { better: "▲ ", worse: "▼ " }[word] ?? "";
    const node = element("span", {}, element("span", { class: word }, mark + signed(value, metric)));
    if (word) node.append(element("span", { class: "hidden" }, ` significantly ${word}`));
    if (spread === "interval" && half !== null)
      node.append(" ", element("span", { class: "spread" }, `[${signed(value - half, metric)}, ${signed(value + half, metric)}]`));
    node.append(element("span", { class: "p" }, p === null ? " one seed" : p < 0.001 ? " p < .001" : p > 0.9994 ? " p 1" : ` p ${p.toFixed(3).replace(/^0/, "")}`));
    return node;
  }

  function best(metric) {
    // The best mean of each data set, model and label scenario, at the digits shown.
    const found = new Map();
    const direction = byName.get(metric)?.direction;
    if (!direction) return new Set();
    const key = (point) => [point.dataset, point.model, point.schedule, point.labels].join("/");
    for (const point of points) {
      if (!point.values[metric]) continue;
      const value = Number(format(point.values[metric][0], metric));
      const known = found.get(key(point));
      if (known === undefined || (direction === "higher" ? value > known : value < known)) found.set(key(point), value);
    }
    return new Set(points.filter((point) => point.values[metric] && Number(format(point.values[metric][0], metric)) === found.get(key(point))));
  }

  function columns(now) {
    const seeds = Math.max(...points.map((point) => point.seeds.length));
    const axis = (name, heading) => unique(points.map((point) => point[name])).length > 1
      ? [{ heading, text: (point) => text(name, point[name]) }] : [];
    const measured = (metric) => {
      const top = best(metric);
      const found = [{
        heading: byName.get(metric).heading + arrow(metric), number: (point) => point.values[metric]?.[0],
        node: (point) => valueNode(point, metric, now), class: (point) => (top.has(point) ? "best" : ""),
      }];
      if (now.baseline && comparisons[now.baseline.split(":")[0]] && ["mIoU", "ECE"].includes(metric)) {
        const name = text(now.baseline.split(":")[0], now.baseline.split(":").slice(1).join(":"));
        found.push({
          heading: `minus ${name}`, number: (point) => difference(point, metric, now.baseline)?.value,
          node: (point) => differenceNode(point, metric, now), class: () => "difference",
        });
      }
      if (points.some((point) => point.published[metric])) {
        found.push({
          heading: "Published", number: (point) => point.published[metric]?.[0],
          node: (point) => point.published[metric]
            ? element("span", { title: point.published[metric][1] }, format(point.published[metric][0], metric)) : element("span", { class: "p" }, "–"),
        }, {
          heading: "minus published",
          number: (point) => point.published[metric] && point.values[metric] ? point.values[metric][0] - point.published[metric][0] : undefined,
          node: (point) => element("span", {}, point.published[metric] && point.values[metric]
            ? signed(point.values[metric][0] - point.published[metric][0], metric) : "–"),
        });
      }
      return found;
    };
    return [
      { heading: "Loss", text: (point) => titles.loss[point.loss], row: true },
      ...axis("labels", "Labels"), ...axis("dataset", "Data set"), ...axis("model", "Model"), ...axis("family", "Family").map((column) => ({ ...column, group: "family" })),
      ...measured(now.first), ...(now.second !== now.first ? measured(now.second) : []),
      { heading: "Seeds", number: (point) => point.seeds.filter((seed) => seed.status === "done").length,
        node: (point) => element("span", {}, `${point.seeds.filter((seed) => seed.status === "done").length} of ${Math.max(seeds, point.seeds.length)}`) },
    ];
  }

  // ---- the table ----------------------------------------------------------------------------------------------------
  const language = { emptyTable: "Nothing to show.", zeroRecords: "No row matches; clear a filter.", info: "", infoEmpty: "", infoFiltered: "" };

  function makeTable(table, rows, shown, settings = {}) {
    const head = element("tr", {}, ...shown.map((column) => element("th", { scope: "col", class: column.number ? "number" : column.group ?? "" }, column.heading)));
    table.replaceChildren(element("thead", {}, head));
    const definitions = shown.map((column) => ({
      data: null,
      type: column.number ? "num" : "string",
      className: column.number ? "number" : column.group ?? "",
      cellType: column.row ? "th" : "td",
      render: (_, kind, row) => {
        if (kind === "display") return column.node ? column.node(row) : element("span", {}, column.text(row));
        if (kind === "filter") return ""; // DataTables decodes such text as markup; the search below needs none
        return column.number ? column.number(row) ?? null : column.text(row);
      },
      createdCell: (cell, _, row) => {
        if (column.row) cell.setAttribute("scope", "row");
        const extra = column.class?.(row);
        if (extra) cell.classList.add(extra);
      },
    }));
    return new DataTable(table, {
      data: rows, columns: definitions, order: [], autoWidth: false, deferRender: true, language,
      paging: rows.length > 100, pageLength: 100, layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: rows.length > 100 ? "paging" : null },
      ...settings,
    });
  }

  let results = null;
  const passes = (point, filters) => AXES.every((axis) => !filters[axis] || point[axis] === filters[axis]);
  const words = (point) => [titles.loss[point.loss], titles.labels[point.labels], point.dataset, point.model, point.family, point.loss, point.labels].join(" ").toLowerCase();
  const matches = (point, now) => passes(point, now.filters) && now.search.toLowerCase().split(/\s+/).every((word) => words(point).includes(word));

  function layTable() {
    const now = state();
    const order = results?.order() ?? [];
    const wide = results?.columns().count();
    results?.destroy();
    const shown = columns(now);
    results = makeTable($("table"), points, shown, { order: wide === shown.length ? order : [] });
    results.on("draw", markGroups);
    results.search.fixed("controls", (_, point) => matches(point, state()));
    filterTable();
    describe(now);
  }

  function markGroups() {
    // A line between label scenarios, data sets and models, as long as the rows are in the grid's order.
    let last = null;
    for (const row of $("table").tBodies[0].rows) {
      const point = results.row(row).data();
      const key = point && [point.dataset, point.model, point.labels].join("/");
      row.classList.toggle("group-start", results.order().length === 0 && last !== null && key !== last);
      last = key;
    }
  }

  function filterTable() {
    results.draw();
    const left = results.rows({ search: "applied" }).data().toArray();
    $("count").textContent = `${left.length} of ${points.length} rows`;
    drawScatters(left, state());
  }

  function describe(now) {
    const about = (metric) => {
      const { heading, meaning, direction } = byName.get(metric);
      return `${heading}${unit(metric) ? ` (${unit(metric)})` : ""}: ${meaning || "as in the records"}${direction ? `; ${direction} is better` : ""}.`;
    };
    $("meaning").textContent = unique([now.first, now.second]).filter((metric) => byName.has(metric)).map(about).join(" ");
    const spread = now.spread === "interval"
      ? "In brackets the 95 % interval for other images and other seeds, of mIoU and ECE; for the other metrics ± the sample standard deviation over seeds."
      : "± is the sample standard deviation over seeds.";
    const compared = now.baseline
      ? " Differences are on the same images, bias-corrected by the jackknife; p is for other images and other seeds, adjusted by Holm over all comparisons of a metric with this baseline. ▲ is significantly better and ▼ significantly worse (p < .05)."
      : "";
    $("legend").textContent = `Mean over seeds; the best mean of each data set, model and label scenario is bold. ${spread}${compared} Each number leads to its cells.`;
  }

  // ---- charts -------------------------------------------------------------------------------------------------------
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const config = () => {
    const [ink, muted, line] = [css("--text"), css("--muted"), css("--line")];
    return {
      background: "transparent", font: getComputedStyle(document.body).fontFamily, view: { stroke: line },
      axis: { labelColor: muted, titleColor: ink, gridColor: line, domainColor: muted, tickColor: muted, labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500, gridOpacity: 0.6 },
      legend: { labelColor: ink, titleColor: muted, labelFontSize: 12, titleFontSize: 12, titleFontWeight: 500, symbolSize: 90, symbolOpacity: 1, symbolBaseFillColor: ink, symbolBaseStrokeColor: ink },
      rect: { color: css("--focus") }, line: { color: css("--focus") }, point: { color: css("--focus") },
    };
  };
  const copy = (value) => JSON.parse(JSON.stringify(value));
  const drawn = new Map();

  async function draw(host, specification, datasets, description, onClick) {
    drawn.set(host, [specification, datasets, description, onClick]);
    host.replaceChildren();
    const result = await vegaEmbed(host, { ...copy(specification), description, datasets: { ...specification.datasets, ...datasets } }, { actions: false, renderer: "svg", config: config(), ast: true });
    if (onClick) result.view.addEventListener("click", (_, item) => item?.datum && onClick(item.datum));
    // The chart is one picture with a description; its marks have no names of their own.
    const svg = host.querySelector("svg");
    for (const name of ["role", "aria-label", "aria-roledescription"]) host.removeAttribute(name);
    svg?.setAttribute("role", "img");
    svg?.setAttribute("aria-label", description);
    for (const mark of svg?.querySelectorAll("[role], [aria-label], [aria-roledescription]") ?? [])
      for (const name of ["role", "aria-label", "aria-roledescription", "aria-hidden"]) mark.removeAttribute(name);
  }
  document.addEventListener("themechange", () => {
    for (const [host, call] of [...drawn]) {
      if (host.isConnected) draw(host, ...call);
      else drawn.delete(host);
    }
  });

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
    const domain = unique((losses.length <= 7 ? points.filter((point) => losses.includes(point.loss)) : points).map(colour));
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

  // ---- cells without a result ---------------------------------------------------------------------------------------
  function layAbsent() {
    const groups = new Map();
    points.forEach((point, place) => {
      for (const seed of point.seeds.filter((entry) => entry.status !== "done")) {
        const key = JSON.stringify([place, seed.status, seed.reason]);
        if (!groups.has(key)) groups.set(key, { point, status: seed.status, reason: seed.reason ?? "", seeds: [] });
        groups.get(key).seeds.push(seed.seed);
      }
    });
    const rows = [...groups.values()];
    if (!rows.length) return;
    $("absent").hidden = false;
    const shown = [
      { heading: "Cell", row: true, text: (row) => path(row.point), node: (row) => element("a", { href: link(row.point) }, `${title(row.point)}`) },
      { heading: "State", text: (row) => row.status, node: (row) => element("span", { class: `state ${row.status}` }, row.status) },
      { heading: "Data set", text: (row) => row.point.dataset }, { heading: "Model", text: (row) => row.point.model },
      { heading: "Seeds", text: (row) => row.seeds.join(", ") }, { heading: "Reason", text: (row) => row.reason },
    ];
    const table = makeTable($("absent-table"), rows, shown);
    options($("filter-state"), [["", "all"], ...STATES.filter((name) => rows.some((row) => row.status === name)).map((name) => [name, name])]);
    table.search.fixed("controls", (_, row) => {
      const all = [path(row.point), title(row.point), row.status, row.reason].join(" ").toLowerCase();
      return (!$("filter-state").value || row.status === $("filter-state").value)
        && $("search-absent").value.toLowerCase().split(/\s+/).every((word) => all.includes(word));
    });
    for (const id of ["filter-state", "search-absent"]) $(id).addEventListener("input", () => table.draw());
  }

  // ---- one point of the grid with its cells -------------------------------------------------------------------------
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

  // ---- start --------------------------------------------------------------------------------------------------------
  document.querySelectorAll("form").forEach((form) => form.addEventListener("submit", (event) => event.preventDefault()));
  fillControls();
  if (metrics.length) {
    layTable();
    for (const id of ["metric-first", "metric-second", "spread", "baseline"]) $(id).addEventListener("input", layTable);
    for (const id of [...AXES.map((axis) => `filter-${axis}`), "search"]) $(id).addEventListener("input", filterTable);
  } else {
    $("controls").hidden = true;
    $("results-scroll").hidden = true;
    $("scatter").hidden = true;
    $("count").textContent = "Nothing is trained yet.";
  }
  layAbsent();
  route();
})();
