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
