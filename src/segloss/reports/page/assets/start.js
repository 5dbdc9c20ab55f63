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
addEventListener("DOMContentLoaded", () => setTimeout(() => {
  if (metrics.length) drawCharts();
  route();
}));
