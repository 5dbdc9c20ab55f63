// Light or dark: as the system has it until the reader chooses.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => { try { return localStorage.getItem("segloss-theme"); } catch { return null; } };
  const apply = () => {
    root.dataset.theme = stored() || (system.matches ? "dark" : "light");
    const button = document.getElementById("theme");
    if (button) button.setAttribute("aria-pressed", String(root.dataset.theme === "dark"));
  };
  apply();
  system.addEventListener("change", apply);
  addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme").addEventListener("click", () => {
      const theme = root.dataset.theme === "dark" ? "light" : "dark";
      try { localStorage.setItem("segloss-theme", theme); } catch { /* a page from a file may have no storage */ }
      root.dataset.theme = theme;
      document.getElementById("theme").setAttribute("aria-pressed", String(theme === "dark"));
    });
  });
})();
