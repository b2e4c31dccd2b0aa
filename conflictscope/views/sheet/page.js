
"use strict";
// Everything that is shown goes through textContent: the texts are other people's, and models'.
const element = (id) => document.getElementById(id);
const { sheet, items } = JSON.parse(element("sheet").textContent);
const kept = `conflictscope-sheet-${sheet}`;
const keys = { 1: "1", 2: "2", t: "tie", n: "neither", r: "refused", u: "unresolved" };
const words = { 1: "action 1", 2: "action 2", tie: "both equally", neither: "neither", refused: "refused", unresolved: "unresolved" };
const choices = document.querySelectorAll("[data-answer]");

// labels, comments: by item id. at: the item on the screen; items.length is the end.
let progress = { labels: {}, comments: {}, at: 0, name: "" };
const undone = []; // what undo goes back to: [item, label before]

function load() {
  try {
    progress = { ...progress, ...JSON.parse(localStorage.getItem(kept)) };
  } catch {
    element("unkept").hidden = false;
  }
  progress.at = Math.min(Math.max(Math.trunc(progress.at) || 0, 0), items.length);
}

function keep() {
  try {
    localStorage.setItem(kept, JSON.stringify(progress));
  } catch {
    element("unkept").hidden = false;
  }
}

const labelled = () => items.filter((item) => Object.hasOwn(words, progress.labels[item.id] ?? "")).length;

function show(focus = true) {
  const ended = progress.at === items.length;
  element("item").hidden = ended;
  element("end").hidden = !ended;
  element("done").max = items.length;
  element("done").value = labelled();
  element("count").textContent = `${labelled()} of ${items.length}`;
  element("back").disabled = progress.at === 0;
  element("next").disabled = element("finish").disabled = ended;
  element("undo").disabled = undone.length === 0;
  if (ended) showEnd(); else showItem(items[progress.at]);
  if (focus) {
    window.scrollTo(0, 0);
    element(ended ? "ended" : "place").focus({ preventScroll: true });
  }
}

function showItem(item) {
  const label = progress.labels[item.id];
  element("place").textContent = `Item ${progress.at + 1} of ${items.length}` + (label ? `: ${words[label]}` : "");
  for (const name of ["description", "action_1", "action_2"]) element(name).textContent = item[name];
  element("transcript").replaceChildren(...item.transcript.map(bubble));
  element("comment").value = progress.comments[item.id] ?? "";
  for (const button of choices) button.setAttribute("aria-pressed", String(button.dataset.answer === label));
}

function bubble(message) {
  const made = document.createElement("li");
  const speaker = document.createElement("span");
  const text = document.createElement("p");
  made.className = message.from;
  speaker.className = "speaker";
  speaker.textContent = { assistant: "Assistant", tool: "Tool" }[message.from] ?? "Person";
  text.className = "text";
  text.dir = "auto";
  text.textContent = message.text;
  made.append(speaker, text);
  return made;
}

function showEnd() {
  const left = items.length - labelled();
  element("ended").textContent = left ? `${left} of ${items.length} items have no label yet` : "Every item has a label";
  element("open").hidden = left === 0;
  element("name").value = progress.name;
}

function go(at) {
  progress.at = Math.min(Math.max(at, 0), items.length);
  keep();
  show();
}

function answer(label) {
  if (progress.at === items.length) return;
  const { id } = items[progress.at];
  undone.push([progress.at, progress.labels[id]]);
  progress.labels[id] = label;
  element("said").textContent = `Item ${progress.at + 1}: ${words[label]}`;
  go(progress.at + 1);
}

function undo() {
  if (undone.length === 0) return;
  const [at, before] = undone.pop();
  if (before === undefined) delete progress.labels[items[at].id]; else progress.labels[items[at].id] = before;
  element("said").textContent = `Item ${at + 1}: undone`;
  go(at);
}

// A cell that begins like a formula is kept from being one, as in the sheet that came with this page.
const cell = (text) => `"${(/^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;

function rows() {
  return items
    .filter((item) => Object.hasOwn(words, progress.labels[item.id] ?? ""))
    .map((item) => ({ item: item.id, label: progress.labels[item.id], comment: progress.comments[item.id] ?? "" }));
}

function asCsv() {
  const table = [["annotator", "item", "label", "comment"], ...rows().map((row) => [progress.name, row.item, row.label, row.comment])];
  return "\ufeff" + table.map((row) => row.map(cell).join(",") + "\r\n").join("");
}

const asJson = () => JSON.stringify({ annotator: progress.name, labels: rows() }, null, 1);

function save(text, type, ending) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = `${progress.name.replace(/[^\p{L}\p{N}_-]+/gu, "-") || "labels"}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  element("said").textContent = "Saved";
}

for (const button of choices) button.addEventListener("click", () => answer(button.dataset.answer));
element("back").addEventListener("click", () => go(progress.at - 1));
element("next").addEventListener("click", () => go(progress.at + 1));
element("finish").addEventListener("click", () => go(items.length));
element("undo").addEventListener("click", undo);
element("open").addEventListener("click", () => go(items.findIndex((item) => !progress.labels[item.id])));
element("csv").addEventListener("click", () => save(asCsv(), "text/csv", "csv"));
element("json").addEventListener("click", () => save(asJson(), "application/json", "json"));
element("comment").addEventListener("input", (event) => {
  progress.comments[items[progress.at].id] = event.target.value;
  keep();
});
element("name").addEventListener("input", (event) => {
  progress.name = event.target.value.trim();
  keep();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input, textarea")) return;
  const key = event.key.toLowerCase();
  if (event.repeat && !key.startsWith("arrow")) return; // a key that is held down answers one item
  if (Object.hasOwn(keys, key)) answer(keys[key]);
  else if (key === "arrowleft") go(progress.at - 1);
  else if (key === "arrowright") go(progress.at + 1);
  else if (key === "z") undo();
  else return;
  event.preventDefault();
});
load();
show(false);
