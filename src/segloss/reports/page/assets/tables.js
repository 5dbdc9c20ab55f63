// The table of results and that of the cells without one.
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
  const createdRow = (node, row) => node.classList.toggle("control", row.control === true);
  return new DataTable(table, {
    data: rows, columns: definitions, createdRow, order: [], autoWidth: false, deferRender: true, language,
    paging: rows.length > 100, pageLength: 100, layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: rows.length > 100 ? "paging" : null },
    ...settings,
  });
}

let results = null;
const passes = (point, filters) => AXES.every((axis) => !filters[axis] || point[axis] === filters[axis] || (point.control && ["labels", "model"].includes(axis)));
const words = (point) => [title(point), point.dataset, point.family, point.loss, ...(point.control ? [] : [point.model, point.labels])].join(" ").toLowerCase();
const matches = (point, now) => passes(point, now.filters) && now.search.toLowerCase().split(/\s+/).every((word) => words(point).includes(word));

const pointsLeft = () => results.rows({ search: "applied" }).data().toArray();

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
    const key = point && (point.control ? "control" : [point.dataset, point.model, point.labels].join("/"));
    row.classList.toggle("group-start", results.order().length === 0 && last !== null && key !== last);
    last = key;
  }
}

function filterTable() {
  results.draw();
  $("count").textContent = `${pointsLeft().length} of ${points.length} rows`;
  if (isRead()) drawCharts();
}

const drawCharts = () => drawScatters(pointsLeft().filter((point) => !point.control), state());

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
  $("legend").textContent = `Mean over seeds; the best mean of each data set, model and label scenario is bold. ${spread}${compared}${trained.length < points.length ? ` ${data.controls}` : ""} Each number leads to its cells.`;
}

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
  for (const id of ["absent", "to-absent"]) $(id).hidden = false;
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
