// Sorting and filtering of every table; see docs/report.md for what a user sees.
{
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const search = document.getElementById("search");

  // Numbers where a cell has them in data-sort, else text; what is empty comes last in both directions.
  function compare(column, direction) {
    const read = (row) => {
      const cell = row.cells[column];
      return cell.dataset.sort === undefined ? cell.textContent.trim() : cell.dataset.sort && Number(cell.dataset.sort);
    };
    return (one, other) => {
      const [a, b] = [read(one), read(other)];
      if (a === "" || b === "") return (a === "") - (b === "");
      return direction * (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b));
    };
  }

  function sortable(table) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    for (const button of table.querySelectorAll("thead button")) {
      const head = button.closest("th");
      // a number is wanted largest first, a text from a to z; the third click gives the paper's order back
      const order = head.classList.contains("number") ? ["descending", "ascending"] : ["ascending", "descending"];
      button.addEventListener("click", () => {
        const next = [...order, "none"][order.indexOf(head.ariaSort) + 1];
        for (const other of table.querySelectorAll("th[aria-sort]")) other.ariaSort = "none";
        head.ariaSort = next;
        table.toggleAttribute("data-sorted", next !== "none");
        const sign = next === "ascending" ? 1 : -1;
        body.append(...(next === "none" ? original : [...original].sort(compare(Number(button.dataset.column), sign))));
      });
    }
  }

  // A row is shown if its selects allow it and each word is in it or in what its table is called.
  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let hits = 0;
    for (const block of document.querySelectorAll(".block")) {
      const name = block.dataset.block.toLowerCase();
      const rows = block.querySelectorAll("tbody > tr");
      const selects = [...block.querySelectorAll("select[data-filter]")].filter((select) => select.value);
      let shown = 0;
      for (const row of rows) {
        row.searched ??= row.textContent.toLowerCase();
        const found = words.every((word) => name.includes(word) || row.searched.includes(word));
        row.hidden = !found || selects.some((select) => row.dataset[select.dataset.filter] !== select.value);
        shown += !row.hidden;
      }
      if (!rows.length) shown = Number(words.every((word) => name.includes(word)));
      block.hidden = words.length > 0 && shown === 0;
      hits += shown;
    }
    document.getElementById("found").textContent = words.length ? `${hits} found` : "";
  }

  document.querySelectorAll("table.sortable").forEach(sortable);
  search.addEventListener("input", filter);
  document.addEventListener("change", (event) => event.target.matches("select[data-filter]") && filter());
  // A link must not lead to something hidden.
  window.addEventListener("hashchange", () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target?.closest("[hidden]")) return;
    search.value = "";
    target.closest(".block")?.querySelectorAll("select[data-filter]").forEach((select) => { select.value = ""; });
    filter();
    target.scrollIntoView();
  });
}
