// The data of the page, and elements made of it: text from records enters the document as text nodes only.
const data = JSON.parse(document.getElementById("data").textContent);
const { points, metrics, titles, comparisons } = data;
const byName = new Map(metrics.map((metric) => [metric.name, metric]));
// The table is shown while the rest, the details of the cells and the charts' library, is still read.
const isRead = () => document.readyState !== "loading";
const $ = (id) => document.getElementById(id);
const AXES = ["dataset", "model", "labels", "family"];

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
// Controls depend on the data set alone: they belong to every model and label scenario, and nothing is compared with them.
const trained = points.filter((point) => !point.control);
const title = (point) => (point.control ? titles.loss[point.loss] : `${titles.loss[point.loss]}, ${titles.labels[point.labels]}`);
const path = (point) => [point.dataset, point.model, point.schedule, point.labels, point.loss].join("/");
const link = (point) => `#${encodeURI(path(point))}`;
const arrow = (metric) => ({ higher: " ↑", lower: " ↓" })[byName.get(metric)?.direction] ?? "";
const unit = (metric) => ({ percent: "%", nats: "nats", 1: "" })[byName.get(metric)?.unit] ?? "";
