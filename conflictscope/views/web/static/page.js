// What happens on a page. Data becomes text by textContent alone, and charts by Vega, which evaluates no text as code.
"use strict";

const main = document.getElementById("main");
const banner = document.getElementById("connection");
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

// -- theme ------------------------------------------------------------------------------------------------------------

const themeButton = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const theme = () => document.documentElement.dataset.theme ?? (system.matches ? "dark" : "light");
const other = () => (theme() === "dark" ? "light" : "dark");

function nameTheme() {
  themeButton.textContent = other() === "dark" ? "Dark" : "Light";
  themeButton.hidden = false;
}
themeButton.addEventListener("click", () => {
  document.documentElement.dataset.theme = other();
  localStorage.setItem("theme", theme());
  nameTheme();
  drawAll();
});
system.addEventListener("change", () => { nameTheme(); drawAll(); });
nameTheme();

// -- charts -----------------------------------------------------------------------------------------------------------

let themes = {};
const specs = new Map(); // by id: form and spec
const rows = new Map(); // by id
const views = new Map(); // by id: of Vega, or a promise of one
const tip = document.getElementById("tip");

function tooltip(_, event, __, value) {
  tip.hidden = !value;
  if (!value) return;
  const told = typeof value === "object" ? Object.entries(value) : [["", value]];
  tip.replaceChildren(...told.map(([key, own]) => {
    const line = document.createElement("div");
    line.textContent = key ? `${key}: ${own}` : String(own);
    return line;
  }));
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)}px`;
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) draw(entry.target.dataset.chart);
}, { rootMargin: "200px" });

const figure = (id) => document.querySelector(`[data-chart="${CSS.escape(id)}"]`);

/** Put a chart on the page, or its new rows into it. */
async function draw(id) {
  const own = figure(id), chart = specs.get(id);
  if (!own || !chart || views.get(id) === null) return;
  if (!own.offsetParent) return; // in a part that is folded
  fillNumbers(own, id);
  const view = views.get(id);
  if (view && view.form === chart.form) {
    view.data("rows", rows.get(id).map((row) => ({ ...row })));
    await view.runAsync();
    return;
  }
  view?.finalize();
  views.set(id, null); // until it is there
  const spec = structuredClone({ ...chart.spec, data: { name: "rows", values: rows.get(id) } });
  const plot = own.querySelector(".plot");
  if (typeof spec.width === "number") {
    spec.width = Math.max(Number(own.dataset.least), plot.clientWidth);
    spec.autosize = { type: "fit-x", contains: "padding" };
  }
  const { view: made } = await vegaEmbed(plot, spec, {
    mode: "vega-lite", renderer: "canvas", actions: false, ast: true, defaultStyle: false, tooltip, logLevel: 1, // errors alone
    config: themes[theme()],
  });
  plot.setAttribute("role", "img"); // Vega gives it another one
  made.form = chart.form;
  views.set(id, made);
  if (specs.get(id)?.form !== chart.form) draw(id);
}

function drawAll() {
  for (const view of views.values()) view?.finalize();
  views.clear();
  for (const own of $$("[data-chart]")) { seen.unobserve(own); seen.observe(own); }
  return drawRest();
}

/** What is in sight is drawn first, as `seen` tells; then, one by one, what is not. */
async function drawRest() {
  for (const id of [...specs.keys()]) {
    await new Promise((done) => setTimeout(done));
    if (!views.has(id)) await draw(id);
  }
}

async function loadCharts() {
  const answer = await fetch(main.dataset.charts);
  if (!answer.ok) return;
  const found = await answer.json();
  themes = found.themes;
  for (const [id, chart] of Object.entries(found.charts)) {
    specs.set(id, chart);
    rows.set(id, chart.spec.data.values);
  }
  for (const id of specs.keys()) if (!(id in found.charts)) specs.delete(id);
}

/** The fields that a chart tells where one points at it: what a table of its numbers is made of. */
function fields(part, found = []) {
  if (Array.isArray(part)) part.forEach((own) => fields(own, found));
  else if (part && typeof part === "object") {
    for (const own of [part.tooltip ?? []].flat()) {
      if (own.field && !found.some(({ field }) => field === own.field)) found.push({ field: own.field, title: own.title ?? own.field });
    }
    for (const [key, own] of Object.entries(part)) if (key !== "data") fields(own, found);
  }
  return found;
}

const MOST_ROWS = 500;
function fillNumbers(own, id) {
  const box = own.querySelector("details.numbers");
  if (!box.open) return;
  let columns = fields(specs.get(id).spec);
  const all = rows.get(id), shown = all.slice(-MOST_ROWS);
  if (!columns.length) columns = Object.keys(shown[0] ?? {}).map((field) => ({ field, title: field }));
  const told = (own) => (own === null || own === undefined ? "" : typeof own === "number" ? String(+own.toPrecision(4)) : String(own));
  box.querySelector("thead").replaceChildren(line("th", columns.map(({ title }) => title)));
  box.querySelector("tbody").replaceChildren(...shown.map((row) => line("td", columns.map(({ field }) => told(row[field])))));
}

function line(kind, cells) {
  const row = document.createElement("tr");
  for (const content of cells) {
    const cell = row.appendChild(document.createElement(kind));
    if (typeof content === "string") cell.textContent = content;
    else {
      const link = cell.appendChild(document.createElement("a"));
      link.textContent = content.text;
      link.setAttribute("href", content.href);
    }
  }
  return row;
}

// A figure in a part that was folded, and a table of numbers, are made when they are opened.
document.addEventListener("toggle", (event) => {
  for (const own of [event.target.closest("[data-chart]"), ...$$("[data-chart]", event.target)]) {
    if (own) draw(own.dataset.chart);
  }
}, true);

let resized;
let width = innerWidth;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => { if (width !== innerWidth) { width = innerWidth; drawAll(); } }, 200);
});

async function watchCharts() {
  if (!main.dataset.charts) return;
  await loadCharts();
  drawAll();
}

// -- a run that goes on -----------------------------------------------------------------------------------------------

const SPOKEN_EVERY_MS = 30_000;
let spokenAt = performance.now();

/** The page of now in the place of this one's: its places are others than they were. */
async function renew() {
  const answer = await fetch(location.href);
  if (!answer.ok) return false;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html"); // escaped by the server; it runs no script
  const now = document.getElementById("live"), then = page.getElementById("live");
  if (now.innerHTML !== then.innerHTML && !(main.dataset.refresh && now.contains(document.activeElement))) now.replaceWith(then);
  return true;
}

const EVERY_MS = 950; // nobody reads faster, and the sweep may need the machine itself
let news = null; // what came while the page was busy, in one
let busy = false;
async function take(event) {
  const { texts, meters, tables, charts, ...whole } = JSON.parse(event.data);
  const kinds = Object.entries({ texts, meters, tables, charts }).map(([kind, own]) => [kind, { ...news?.[kind], ...own }]);
  news = { ...whole, ...Object.fromEntries(kinds) };
  if (busy) return;
  busy = true;
  try {
    while (news) {
      const now = news, began = performance.now();
      news = null;
      await show(now);
      await new Promise((done) => setTimeout(done, began + EVERY_MS - performance.now()));
    }
  } finally {
    busy = false;
  }
}

async function show({ layout, texts, meters, tables, charts, running }) {
  const live = document.getElementById("live");
  if (live.dataset.layout !== layout) {
    await renew();
    await watchCharts();
    return;
  }
  for (const [id, text] of Object.entries(texts)) for (const own of $$(`[data-text="${CSS.escape(id)}"]`)) own.textContent = text;
  for (const [id, [value, max]] of Object.entries(meters)) {
    for (const own of $$(`[data-meter="${CSS.escape(id)}"]`)) { own.max = max; own.value = value; }
  }
  for (const [id, content] of Object.entries(tables)) {
    for (const body of $$(`tbody[data-table="${CSS.escape(id)}"]`)) {
      const numbers = $$("thead th", body.parentElement).map((own) => own.className);
      body.replaceChildren(...content.map((cells) => line("td", cells)));
      for (const row of body.rows) [...row.cells].forEach((cell, place) => { cell.className = numbers[place] ?? ""; });
    }
  }
  const state = document.querySelector("h1 .state");
  state.classList.toggle("running", running);
  for (const own of ["finished", "failed"]) state.classList.toggle(own, state.textContent === own);
  if (performance.now() - spokenAt > SPOKEN_EVERY_MS) {
    spokenAt = performance.now();
    const [done, left] = ["done", "left"].map((id) => document.querySelector(`[data-text="${id}"]`).textContent);
    document.getElementById("spoken").textContent = `${done} episodes, ${left} left`;
  }
  for (const [id, chart] of Object.entries(charts)) rows.set(id, chart.rows);
  if (Object.entries(charts).some(([id, chart]) => specs.get(id)?.form !== chart.form)) await loadCharts();
  for (const id of Object.keys(charts)) {
    const own = figure(id)?.getBoundingClientRect();
    // What is out of sight is drawn when it comes into sight, which `seen` tells.
    if (own && own.bottom > -200 && own.top < innerHeight + 200) await draw(id);
  }
}

const RETRY_MS = 2_000;
const SILENCE_MS = 15_000; // the server says something every 5 s
let source, silence, retry;

function connect() {
  clearTimeout(retry);
  source?.close();
  source = new EventSource(main.dataset.events);
  source.addEventListener("state", (event) => {
    heard();
    take(event);
  });
  source.addEventListener("ping", heard);
  source.onerror = lost;
  listen();
}

function heard() {
  banner.hidden = true;
  listen();
}

function listen() {
  clearTimeout(silence);
  silence = setTimeout(lost, SILENCE_MS);
}

async function lost() {
  if (document.hidden) return;
  say("The connection is lost. Reconnecting…");
  source.close();
  clearTimeout(silence);
  clearTimeout(retry);
  retry = setTimeout(connect, RETRY_MS);
  const answer = await fetch(location.href, { method: "HEAD" }).catch(() => null);
  if (answer?.status === 401) say("The server wants a new address: open the one that it printed. Reconnecting…");
  if (answer?.status === 404) say("The run is gone. Looking for it again…");
  if (answer?.status === 503) say("Too many runs are being watched at once: close some of their pages. Reconnecting…");
}

function say(text) {
  if (banner.textContent !== text) banner.textContent = text;
  banner.hidden = false;
}

// Browsers open few connections to one host: a page that nobody sees holds none.
function visibility() {
  if (document.hidden) {
    source?.close();
    clearTimeout(silence);
    clearTimeout(retry);
  } else connect();
}

async function refresh(every) {
  if (!document.hidden) {
    const fine = await renew().catch(() => false);
    if (fine) banner.hidden = true;
    else say("The connection is lost. Reconnecting…");
  }
  setTimeout(refresh, every, every);
}

if (main.dataset.events) {
  watchCharts().finally(() => {
    document.addEventListener("visibilitychange", visibility);
    if (!document.hidden) connect();
  });
} else watchCharts();
if (main.dataset.refresh) setTimeout(refresh, 1000 * main.dataset.refresh, 1000 * main.dataset.refresh);
