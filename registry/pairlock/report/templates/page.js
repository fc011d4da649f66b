"use strict";
// Search, filters, and boxes that show what they are linked to. Without it the page lists everything.
(() => {
  const filter = document.getElementById("filter");
  const form = filter.querySelector("form");
  const text = document.getElementById("text");
  const severity = document.getElementById("severity");
  const stage = document.getElementById("stage");
  const shown = document.getElementById("shown");
  const rows = [...document.querySelectorAll("[data-severity]")];
  const nodes = [...document.querySelectorAll(".node")];
  const models = [...document.querySelectorAll(".model")];

  const words = () => text.value.toLowerCase().split(/\s+/).filter(Boolean);
  const holds = (element, wanted) => {
    const there = element.dataset.search.toLowerCase();
    return wanted.every((word) => there.includes(word));
  };
  const has = (value, wanted) => !wanted || (value || "").split(" ").includes(wanted);

  const apply = () => {
    const wanted = words();
    let count = 0;
    for (const row of rows) {
      const fits = holds(row, wanted) && has(row.dataset.severity, severity.value) && has(row.dataset.stage, stage.value);
      row.hidden = !fits;
      count += fits;
    }
    const open = new Set(rows.filter((row) => !row.hidden && row.id).map((row) => `#${row.id}`));
    const any = wanted.length || severity.value || stage.value;
    for (const node of nodes) {
      const target = decodeURIComponent(node.getAttribute("href"));
      node.classList.toggle("dim", Boolean(any) && !open.has(target) && !(wanted.length && holds(node, wanted)));
    }
    for (const model of models) {
      model.hidden = Boolean(any) && !model.querySelector("details[data-severity]:not([hidden])");
    }
    shown.textContent = any ? `${count} of ${rows.length} shown` : "";
  };

  const reveal = (hash) => {
    let id;
    try { id = decodeURIComponent(hash.slice(1)); } catch { return; }
    const target = id && document.getElementById(id);
    if (!target) return;
    if (target.hidden) { form.reset(); apply(); }
    if (target.tagName === "DETAILS") {
      target.open = true;
      target.querySelector("summary").focus({ preventScroll: true });
    }
    target.scrollIntoView({ block: "start" });
  };

  const mark = (node, on) => {
    for (const id of node.dataset.near.split(" ").filter(Boolean)) {
      document.getElementById(id).classList.toggle("near", on);
    }
  };

  for (const node of nodes) {
    for (const [start, end] of [["mouseenter", "mouseleave"], ["focus", "blur"]]) {
      node.addEventListener(start, () => mark(node, true));
      node.addEventListener(end, () => mark(node, false));
    }
  }
  // MLflow shows the page in a frame in which no link leads anywhere; and a second click on the same one leads there again
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    if (link) setTimeout(() => reveal(link.getAttribute("href")));
  });
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  addEventListener("hashchange", () => reveal(location.hash));
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      text.focus();
    }
  });
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll(".model > details, #outline")) details.open = true;
  });
  filter.hidden = false;
  reveal(location.hash);
})();
