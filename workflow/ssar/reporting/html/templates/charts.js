// Learning curves: the library and the curves are inflated when somebody comes near them.
const charts = (() => {
  const { variants, columns, start } = JSON.parse(document.getElementById("data").textContent);
  const section = document.getElementById("curves");
  const chosen = [];
  const cache = new Map();
  let library = null;
  let turns = 0;
  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
  // no button that sends a chart away
  const CONFIG = { responsive: true, displaylogo: false, plotlyServerURL: "", modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };
  const MAIN = { loss: "loss", pseudo: "pseudo_accuracy", speed: "clips_per_second" };

  const variantOf = (runs) => variants.findIndex((variant) => runs.some((run) => variant.runs.some(({ id }) => id === run)));
  const named = (variant) => `${variant.variant} in ${variant.setting}`;

  function load() {
    library ??= unpack("plotly").then((code) => document.head.append(make("script", { textContent: code })));
    return library;
  }

  async function curve(run) {
    if (!cache.has(run)) cache.set(run, JSON.parse(await unpack(`curve:${run}`)));
    return cache.get(run);
  }

  // Which columns of a run a panel shows: all of them for one variant, else the main one.
  function shownColumns(panel, there) {
    if (panel === "other") return there.filter((name) => name === document.getElementById("other").value);
    const names = there.filter((name) => columns[name] === panel);
    if (chosen.length < 2) return names;
    return names.includes(MAIN[panel]) ? [MAIN[panel]] : names.slice(0, 1);
  }

  async function traces(panel) {
    const axis = document.getElementById("axis").value;
    const colours = style("--series").split(",").map((text) => text.trim());
    const found = [];
    for (const [place, index] of chosen.entries()) {
      const variant = variants[index];
      for (const [seed, run] of variant.runs.entries()) {
        const data = await curve(run.id);
        shownColumns(panel, Object.keys(data)).forEach((name, order) => {
          const color = colours[(chosen.length > 1 ? place : order) % colours.length];
          const label = chosen.length > 1 ? `${variant.paper}: ${named(variant)}` : name;
          found.push({
            x: data[axis], y: data[name], name: label, legendgroup: label, showlegend: seed === 0,
            mode: data[name].length > 1 ? "lines" : "markers", marker: { color },
            line: { color, width: 1.8, dash: DASHES[seed % DASHES.length] },
            hovertemplate: `%{y:.4g} at ${axis} %{x}<br>seed ${run.seed}`,
          });
        });
      }
    }
    return found;
  }

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // The legend stands below the chart and makes it higher.
  function layout(panel, entries, width) {
    const [ink, line, paper] = ["--ink", "--line", "--paper"].map(style);
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
    const percent = panel === "accuracy" || panel === "pseudo";
    return {
      font: { family: "system-ui, sans-serif", size: 13, color: ink }, paper_bgcolor: paper, plot_bgcolor: paper,
      height: 300 + 20 * Math.ceil(entries / (width < 500 || chosen.length > 1 ? 1 : 2)),
      margin: { l: 50, r: 12, t: 30, b: 40 }, showlegend: true,
      legend: { orientation: "h", yref: "container", yanchor: "bottom", y: 0, font: { size: 12 } },
      xaxis: { ...axis, title: { text: document.getElementById("axis").value, standoff: 6 } },
      yaxis: { ...axis, rangemode: "tozero", ...(percent ? { tickformat: ".0%" } : {}) },
      hovermode: "closest", hoverlabel: { namelength: -1 },
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    };
  }

  async function draw() {
    const turn = ++turns;
    chips();
    otherColumns(await Promise.all(chosen.flatMap((index) => variants[index].runs.map(({ id }) => curve(id)))));
    await load();
    for (const figure of section.querySelectorAll("[data-panel]")) {
      const target = figure.querySelector(".chart");
      const lines = await traces(figure.dataset.panel);
      if (turn !== turns) return;  // something else has been chosen meanwhile
      target.classList.toggle("empty", !lines.length);
      if (!lines.length) {
        Plotly.purge(target);
        target.textContent = chosen.length ? "nothing of the kind is recorded here" : "no variant chosen";
        continue;
      }
      if (!target.classList.contains("js-plotly-plot")) target.textContent = "";
      const entries = lines.filter((trace) => trace.showlegend).length;
      await Plotly.react(target, lines, layout(figure.dataset.panel, entries, target.clientWidth), CONFIG);
      const ends = lines.map((trace) => `${trace.name} ends at ${trace.y.findLast((value) => value !== null) ?? "nothing"}`);
      target.ariaLabel = `${figure.querySelector("figcaption").firstChild.textContent}: ${ends.join("; ")}`;
    }
    section.dataset.drawn = chosen.join(" ");
  }

  function chips() {
    document.getElementById("chosen").replaceChildren(...chosen.map((index) => {
      const button = make("button", { type: "button", ariaLabel: `Remove ${named(variants[index])}` }, `${variants[index].paper}: ${named(variants[index])} ×`);
      button.addEventListener("click", () => { chosen.splice(chosen.indexOf(index), 1); draw(); });
      return button;
    }));
  }

  function otherColumns(curves) {
    const select = document.getElementById("other");
    const names = [...new Set(curves.flatMap((data) => Object.keys(data)))].filter((name) => columns[name] === "other");
    const kept = names.includes(select.value) ? select.value : names.includes("gradient_norm") ? "gradient_norm" : names[0];
    select.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
    select.value = kept ?? "";
  }

  // One variant alone, or one more beside those that are there.
  function show(index, beside = false) {
    if (!beside) chosen.length = 0;
    if (!chosen.includes(index)) chosen.push(index);
    if (!beside) section.scrollIntoView();
    return draw();
  }

  if (variants.length) {
    const picker = document.getElementById("variant");
    picker.addEventListener("change", () => {
      if (picker.value !== "") show(Number(picker.value), true);
      picker.value = "";
    });
    for (const id of ["axis", "other"]) document.getElementById(id).addEventListener("change", draw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => library && draw());
    const watcher = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watcher.disconnect();
      if (!chosen.length) chosen.push(start);
      draw();
    }, { rootMargin: "400px" });
    watcher.observe(section);
  }
  return { show, variantOf };
})();
