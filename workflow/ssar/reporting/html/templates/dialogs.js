// What is behind a cell, a run or a figure, in a dialog. Esc closes each of them, as the browser does it.
{
  const sheet = document.getElementById("sheet");
  const zoom = document.getElementById("zoom");
  const absent = () => make("span", { className: "absent" }, "not run");

  for (const dialog of [sheet, zoom]) {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
    });
  }

  function open(title, ...content) {
    document.getElementById("sheet-title").textContent = title;
    document.getElementById("sheet-body").replaceChildren(...content);
    if (!sheet.open) sheet.showModal();
    sheet.scrollTop = 0;
  }

  const link = (run) => make("a", { href: `#run-${run}` }, run);

  function curvesOf(runs) {
    const index = charts.variantOf(runs);
    if (index < 0) return [];
    const button = make("button", { type: "button" }, "Show the learning curves");
    button.addEventListener("click", () => { sheet.close(); charts.show(index); });
    return [make("p", {}, button)];
  }

  function showCell(cell) {
    const lines = cell.runs.map((run, seed) => {
      const value = cell.by_run?.[seed];
      const text = typeof value === "number" ? (Number.isInteger(value) ? value : value.toFixed(2)) : value ?? absent();
      return make("tr", {}, make("td", {}, link(run)), ...(cell.by_run ? [make("td", { className: "number" }, text)] : []));
    });
    const head = make("tr", {}, make("th", {}, "Run"), ...(cell.by_run ? [make("th", { className: "number" }, "Value")] : []));
    const published = cell.published ? [make("p", {}, `Published: ${cell.published.replace(/^\((.*)\)/, "$1")}`)] : [];
    open(cell.title, make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines)), ...published, ...curvesOf(cell.runs));
  }

  async function showRun(row) {
    const run = row.id.slice("run-".length);
    const sections = JSON.parse(await unpack(`details:${run}`)).map(([title, content], index) =>
      make("details", { open: index === 0 }, make("summary", {}, title), make("pre", { tabIndex: 0 }, content)));
    const uses = make("ul", {}, ...JSON.parse(row.dataset.uses).map((use) => make("li", {}, use)));
    const needs = Object.entries(JSON.parse(row.dataset.upstream)).map(([role, other]) => make("li", {}, `${role}: `, link(other)));
    open(run,
      make("p", {}, "Status: ", make("b", {}, row.dataset.status)),
      make("h3", {}, "Wanted by"), uses,
      ...(needs.length ? [make("h3", {}, "Starts or learns from"), make("ul", {}, ...needs)] : []),
      ...curvesOf([run]), ...sections);
  }

  function runOf(hash) {
    return hash.startsWith("#run-") ? document.getElementById(decodeURIComponent(hash.slice(1))) : null;
  }

  async function zoomTo(button) {
    const id = button.dataset.zoom;
    const small = button.querySelector("img");
    const full = document.getElementById(`full:${id}`);
    const image = zoom.querySelector("img");
    image.alt = small.alt;
    image.src = full ? `data:image/png;base64,${full.textContent}` : small.src;
    document.getElementById("zoom-title").textContent = small.alt;
    actual(false);
    zoom.showModal();
  }

  function actual(on) {
    zoom.dataset.size = on ? "actual" : "fit";
    document.getElementById("zoom-size").ariaPressed = String(on);
  }

  document.getElementById("zoom-size").addEventListener("click", () => actual(zoom.dataset.size !== "actual"));
  document.addEventListener("click", (event) => {
    const picture = event.target.closest("[data-zoom]");
    if (picture) zoomTo(picture);
    const cell = event.target.closest("[data-cell]");
    if (cell) {
      event.preventDefault();
      showCell(JSON.parse(cell.dataset.cell));
      return;
    }
    const anchor = event.target.closest("a");
    const row = anchor && runOf(anchor.getAttribute("href"));
    if (!row) return;
    event.preventDefault();
    if (location.hash !== anchor.hash) history.pushState(null, "", anchor.hash);
    showRun(row);
  });
  const follow = () => { const row = runOf(location.hash); if (row) showRun(row); };
  window.addEventListener("hashchange", follow);
  window.addEventListener("load", follow);
}
