// The entries of the table: values, spreads, differences, columns.
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
  for (const point of trained) {
    if (!point.values[metric]) continue;
    const value = Number(format(point.values[metric][0], metric));
    const known = found.get(key(point));
    if (known === undefined || (direction === "higher" ? value > known : value < known)) found.set(key(point), value);
  }
  return new Set(trained.filter((point) => point.values[metric] && Number(format(point.values[metric][0], metric)) === found.get(key(point))));
}

function columns(now) {
  const seeds = Math.max(...points.map((point) => point.seeds.length));
  const shared = (name, point) => point.control && ["labels", "model"].includes(name);
  const axis = (name, heading) => unique(trained.map((point) => point[name])).length > 1
    ? [{ heading, text: (point) => (shared(name, point) ? "all" : text(name, point[name])) }] : [];
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
    { heading: "Seeds", number: (point) => (point.control ? undefined : point.seeds.filter((seed) => seed.status === "done").length),
      node: (point) => element("span", {}, point.control ? "control" : `${point.seeds.filter((seed) => seed.status === "done").length} of ${Math.max(seeds, point.seeds.length)}`) },
  ];
}
