"use strict";
const { charts, browsed } = JSON.parse(document.getElementById("data").textContent);

for (const place of document.querySelectorAll("[data-chart]")) {
  const chart = charts[place.dataset.chart];
  Plotly.newPlot(place, chart.data, chart.layout, { responsive: true, displaylogo: false });
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function choice(options, chosen) {
  const select = element("select");
  for (const [value, text] of options) select.append(new Option(text, value, false, value === chosen));
  return select;
}

function browser() {
  const chosen = [];
  const find = (id) => document.getElementById(id);
  const category = find("category");
  const differ = find("differ");
  let at = 0;

  const cells = () => [...new Set(chosen.map((select) => Number(select.value)).filter((cell) => cell >= 0))];

  function found() {
    const shown = cells();
    return browsed.questions.filter((question) => {
      if (category.value && question.category !== category.value) return false;
      const judged = shown.map((cell) => question.given[cell]).filter(Boolean).map((given) => given.judged);
      return !differ.checked || new Set(judged).size > 1;
    });
  }

  function medium(item) {
    if (item.why) return element("p", "missing", item.why);
    const made = element({ image: "img", audio: "audio" }[item.kind] || "video");
    made.src = item.src;
    if (made.tagName !== "IMG") made.controls = true;
    if (made.tagName === "VIDEO") Object.assign(made, { muted: true, autoplay: true, loop: true, playsInline: true });
    return made;
  }

  function answer(question, cell) {
    const given = question.given[cell];
    if (!given) {
      const made = element("div");
      made.append(element("strong", "", browsed.cells[cell]), element("div", "missing", "not asked"));
      return made;
    }
    const graded = typeof given.value === "boolean" ? (given.value ? "right" : "wrong") : "";
    const made = element("div", graded);
    made.append(element("strong", "", browsed.cells[cell]));
    made.append(element("div", "text", given.text || "(nothing)"));
    const parsed = given.parsed === null ? "unparsed" : given.parsed === given.text.trim() ? "" : "read as " + given.parsed;
    made.append(element("div", "missing", [graded || "worth " + given.value, parsed].filter(Boolean).join(", ")));
    return made;
  }

  function show() {
    const questions = found();
    at = Math.max(0, Math.min(at, questions.length - 1));
    find("place").textContent = questions.length ? `${at + 1} of ${questions.length}` : "none";
    find("question").replaceChildren();
    if (!questions.length) return;
    const question = questions[at];
    const media = element("div", "media");
    media.append(...question.media.map(medium));
    const asked = element("div", "asked");
    asked.append(element("p", "id", [question.id, question.category].filter(Boolean).join(" · ")));
    asked.append(element("p", "text", question.question));
    if (question.options.length) asked.append(element("p", "", "options: " + question.options.join(" / ")));
    asked.append(element("p", "", "right: " + question.answers.join(" / ")));
    const given = element("div", "given");
    given.append(...cells().map((cell) => answer(question, cell)));
    asked.append(given);
    find("question").append(media, asked);
  }

  function again() {
    at = 0;
    show();
  }

  function step(by) {
    at += by;
    show();
  }

  const options = browsed.cells.map((label, cell) => [cell, `${label} (seed ${browsed.seeds[cell]})`]);
  for (let number = 0; number < Math.min(4, browsed.cells.length); number += 1) {
    const select = choice([[-1, "–"], ...options], number);
    select.addEventListener("change", again);
    chosen.push(select);
    find("cells").append(select);
  }
  const categories = [...new Set(browsed.questions.map((question) => question.category).filter(Boolean))];
  for (const [value, text] of [["", "all"], ...categories.map((name) => [name, name])]) {
    category.append(new Option(text, value));
  }
  category.addEventListener("change", again);
  differ.addEventListener("change", again);
  find("previous").addEventListener("click", () => step(-1));
  find("next").addEventListener("click", () => step(1));
  show();
}

if (document.getElementById("question")) browser();
