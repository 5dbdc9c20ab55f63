// What the reader has chosen.
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
    const names = unique((axis === "family" ? points : trained).map((point) => point[axis]));
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
