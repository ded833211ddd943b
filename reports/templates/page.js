"use strict";

const root = document.documentElement;

const themes = document.querySelector("[data-themes]");
if (themes) {
  themes.hidden = false;
  themes.addEventListener("change", (event) => {
    root.dataset.theme = event.target.value;
  });
}

// A chart whose labels were placed for certain widths takes the widest that fits beside its axis.
function settle(spec, layouts, room) {
  const layout = layouts.find((found) => found.width + 60 <= room) || layouts[layouts.length - 1];
  spec.width = layout.width;
  spec.data.values.forEach((row, number) => {
    const place = layout.places[number];
    row.say = place !== null;
    [row.lx, row.ly, row.ex, row.ey] = place || [null, null, null, null];
  });
}

function mount(plot) {
  const block = document.getElementById(`${plot.id}-spec`);
  const spec = JSON.parse(block.textContent);
  const layouts = spec.usermeta ? spec.usermeta.layouts : null;
  if (layouts) settle(spec, layouts, plot.clientWidth);
  else spec.width = "container";
  if (plot.clientWidth < 420) spec.config.legend.columns = 2;
  const live = document.createElement("div");
  live.className = "live";
  plot.append(live);
  const options = { actions: false, ast: true, renderer: "svg", tooltip: { theme: "report", disableDefaultStyle: true } };
  window.vegaEmbed(live, spec, options).then(() => {
    plot.classList.add("mounted");
  }).catch((error) => {
    live.remove();
    console.error(error);
  });
}

if (window.vegaEmbed) {
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        watcher.unobserve(entry.target);
        mount(entry.target);
      }
    }
  }, { rootMargin: "300px" });
  for (const plot of document.querySelectorAll(".plot")) watcher.observe(plot);
}

const folds = () => document.querySelectorAll("details:not([open])");
window.addEventListener("beforeprint", () => {
  for (const fold of folds()) {
    fold.dataset.printed = "";
    fold.open = true;
  }
});
window.addEventListener("afterprint", () => {
  for (const fold of document.querySelectorAll("details[data-printed]")) {
    fold.open = false;
    delete fold.dataset.printed;
  }
});

// Tables of layers: sorted by their columns and filtered by words; what was not measured comes last. Beyond the first
// few hundred rows they are shown when asked for: thousands at once are slow to lay out.
const figure = (cell) => {
  const found = parseFloat(cell.textContent.replaceAll(",", ""));
  return Number.isNaN(found) ? null : found;
};

function layered(layers) {
  const table = layers.querySelector("table");
  const [body, rest] = table.tBodies;
  const heads = [...table.tHead.rows[0].cells];
  const status = layers.querySelector("[role=status]");
  const whole = layers.querySelector("button");
  let rows = [...body.rows, ...rest.rows];
  const texts = new Map(rows.map((row) => [row, `${row.cells[1].textContent} ${row.cells[1].title} ${row.cells[2].textContent}`.toLowerCase()]));
  let few = body.rows.length;
  let asked = [];
  const show = () => {
    const found = rows.filter((row) => asked.every((word) => texts.get(row).includes(word)));
    const kept = new Set(found.slice(0, few));
    body.replaceChildren(...kept);
    rest.replaceChildren(...rows.filter((row) => !kept.has(row)));
    whole.hidden = kept.size === found.length;
    const counted = found.length.toLocaleString("en");
    status.textContent = asked.length ? `${counted} of ${rows.length.toLocaleString("en")} layers` : "";
    whole.textContent = `Show all ${counted}`;
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    const words = !head.classList.contains("num");
    button.addEventListener("click", () => {
      const first = words || column === 0 ? "ascending" : "descending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      const sign = order === "ascending" ? 1 : -1;
      const compare = words
        ? (one, two) => sign * one.key.localeCompare(two.key)
        : (one, two) => (one.key === null) - (two.key === null) || sign * (one.key - two.key);
      const keyed = rows.map((row) => ({ row, key: words ? row.cells[column].textContent : figure(row.cells[column]) }));
      rows = keyed.sort(compare).map((found) => found.row);
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order);
      show();
    });
  });
  layers.querySelector("[data-filter]").hidden = false;
  layers.querySelector("input").addEventListener("input", (event) => {
    asked = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    show();
  });
  whole.addEventListener("click", () => {
    few = rows.length;
    show();
  });
  show();
}

for (const layers of document.querySelectorAll("[data-layers]")) layered(layers);

// Milliseconds as the page writes them: the rounding error stays under about half a percent.
function spoken(value) {
  if (value === null) return "\u2013";
  if (value < 0) return `\u2212${spoken(-value)}`;
  const digits = value > 0 ? Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(value / 2)))) : 0;
  const [whole, part] = value.toFixed(digits).split(".");
  return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (part ? `.${part}` : "");
}

function row(change) {
  const found = document.createElement("tr");
  const more = (change.ms >= 0 ? "+" : "") + spoken(change.ms);
  [change.label, spoken(change.one), spoken(change.other), more].forEach((text, place) => {
    const cell = document.createElement(place ? "td" : "th");
    if (place) cell.className = "num";
    else cell.scope = "row";
    if (place === 3) cell.classList.add(change.ms > 0 ? "more" : "less");
    cell.textContent = text;
    found.append(cell);
  });
  return found;
}

function pairs(section) {
  const data = JSON.parse(document.getElementById(`${section.dataset.pairing}-pairs`).textContent);
  const [one, other] = section.querySelectorAll("select");
  const shown = 100;
  section.querySelector("[data-filter]").hidden = false;
  const compare = () => {
    const [a, b] = [Number(one.value), Number(other.value)];
    const changes = data.labels
      .map((label, place) => ({ label, one: data.ms[place][a], other: data.ms[place][b] }))
      .map((found) => ({ ...found, ms: (found.other ?? 0) - (found.one ?? 0) }))
      .filter((found) => found.ms !== 0)
      .sort((first, second) => Math.abs(second.ms) - Math.abs(first.ms));
    section.querySelector("tbody").replaceChildren(...changes.slice(0, shown).map(row));
    section.querySelector("[data-name=one]").textContent = data.columns[a];
    section.querySelector("[data-name=other]").textContent = data.columns[b];
    const more = data.medians[b] - data.medians[a];
    section.querySelector("[role=status]").textContent = `${data.columns[a]} takes ${spoken(data.medians[a])} ms, ${data.columns[b]} ${spoken(data.medians[b])} ms: ${spoken(Math.abs(more))} ms ${more >= 0 ? "more" : "less"}.`;
    const left = changes.length - shown;
    section.querySelector("[data-left]").textContent = left > 0 ? `${left.toLocaleString("en")} layers with smaller differences are left out.` : "";
  };
  one.addEventListener("change", compare);
  other.addEventListener("change", compare);
}

for (const section of document.querySelectorAll("[data-pairing]")) pairs(section);
