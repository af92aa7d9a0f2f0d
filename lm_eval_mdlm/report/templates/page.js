"use strict";
// Everything of models and documents enters the page as text nodes, never as HTML.
const make = (name, attributes = {}, ...children) => {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children);
  return made;
};

const copyButton = (text) => {
  const button = make("button", { type: "button", textContent: "Copy" });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
    } catch {  // pages opened as files have no clipboard in some browsers
      const area = make("textarea", { value: text() });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
};

const asMarkdown = (table) => {
  const rows = [...table.rows].map((row) => [...row.cells].map((cell) => cell.innerText.replace(/\s+/g, " ").replace(/\|/g, "\\|")));
  rows.splice(1, 0, rows[0].map(() => "---"));
  return rows.map((row) => `| ${row.join(" | ")} |`).join("\n");
};

for (const pre of document.querySelectorAll("#commands pre")) pre.after(copyButton(() => pre.textContent));
for (const titled of document.querySelectorAll(".titled")) {
  const button = copyButton(() => asMarkdown(titled.querySelector("table")));
  button.title = "Copy as Markdown";
  titled.querySelector("h4").append(" ", button);
}

const PER_PAGE = 50;
const data = JSON.parse(document.getElementById("samples-data").textContent);
const text = (number) => data.texts[number];

// A panel shows one run's row of a problem, or nothing.
const panels = [
  (row) => make("pre", { textContent: text(row[3]) }),
  (row) => (row[5] == null ? null : replay(data.replays[row[5]])),
];
const isRecorded = (row) => Boolean(row) && row[5] != null;

const half = (name, row) => {
  const own = make("div", {}, make("h3", { textContent: name }));
  if (!row) {
    own.append("not run on this problem");
    return own;
  }
  const passes = row[1] === null ? "" : `, ${row[1]} passes`;
  const reading = row[2] === row[3] ? "" : `, read: ${text(row[2])}`;
  own.append(make("p", { className: "remark", textContent: `score ${row[0]}${passes}${reading}` }));
  own.append(...panels.map((panel) => panel(row)).filter(Boolean));
  return own;
};

const LISTS = {
  "all": () => true,
  "only A right": (a, b) => a && b && a[0] > b[0],
  "only B right": (a, b) => a && b && a[0] < b[0],
  "both wrong": (a, b) => a && b && a[0] <= 0 && b[0] <= 0,
  "same score, other reading": (a, b) => a && b && a[0] === b[0] && a[2] !== b[2],
  ...(data.replays.length ? { "with a replay": (a, b) => isRecorded(a) || isRecorded(b) } : {}),
};

const browser = (root) => {
  const state = { board: 0, a: 0, b: 0, list: "all", search: "", page: 0 };
  const controls = make("div", { className: "controls" });
  const count = make("p", { className: "remark" });
  const list = make("div");
  const turn = make("div", { className: "controls" });
  root.append(controls, count, list, turn);

  const choice = (label, options, key) => {
    const select = make("select", {}, ...options.map(([value, name]) => make("option", { value, textContent: name, selected: value === state[key] })));
    select.addEventListener("change", () => {
      state[key] = key === "list" ? select.value : Number(select.value);
      state.page = 0;
      if (key === "board") start();
      else draw();
    });
    return make("label", {}, label, select);
  };

  const start = () => {
    const board = data.boards[state.board];
    [state.a, state.b] = board.first;
    if (state.a === state.b) state.b = state.a ? 0 : Math.min(1, board.runs.length - 1);
    const runs = board.runs.map((name, place) => [place, name]);
    const search = make("input", { type: "search", value: state.search });
    search.addEventListener("input", () => { state.search = search.value; state.page = 0; draw(); });
    controls.replaceChildren(
      choice("task", data.boards.map((one, place) => [place, one.name]), "board"),
      choice("A", runs, "a"),
      choice("B", runs, "b"),
      choice("list", Object.keys(LISTS).map((name) => [name, name]), "list"),
      make("label", {}, "search", search),
    );
    draw();
  };

  const sample = (problem, board) => {
    const [a, b] = [problem.rows[state.a], problem.rows[state.b]];
    const mark = (row) => (row ? `${row[0]}` : "–");
    const item = make("details", { className: "sample" }, make("summary", {},
      make("span", { textContent: `Problem ${problem.number}` }),
      make("span", { textContent: `A ${mark(a)}` }),
      make("span", { textContent: `B ${mark(b)}` }),
      ...([a, b].some(isRecorded) ? [make("span", { className: "muted", textContent: "▶ replay" })] : []),
      make("span", { className: "muted", textContent: `target ${text(problem.target).slice(0, 80)}` })));
    item.addEventListener("toggle", () => {
      if (item.children.length > 1) return;
      const questions = [...new Set([a, b].filter(Boolean).map((row) => row[4]))];
      item.append(...questions.map((number) => make("pre", { textContent: text(number) })));
      item.append(make("p", { className: "remark", textContent: `target: ${text(problem.target)}` }));
      const shown = state.a === state.b ? [[board.runs[state.a], a]] : [[`A: ${board.runs[state.a]}`, a], [`B: ${board.runs[state.b]}`, b]];
      item.append(make("div", { className: "pair" }, ...shown.map(([name, row]) => half(name, row))));
    });
    return item;
  };

  const matches = (problem, wanted) => {
    const rows = [problem.rows[state.a], problem.rows[state.b]];
    if (!LISTS[state.list](...rows)) return false;
    if (!wanted) return true;
    return rows.some((row) => row && [2, 3, 4].some((part) => text(row[part]).toLowerCase().includes(wanted)));
  };

  const draw = () => {
    const board = data.boards[state.board];
    const wanted = state.search.toLowerCase();
    const sign = board.higher ? 1 : -1;
    const found = board.problems.filter((problem) => matches(
      sign > 0 ? problem : { rows: problem.rows.map((row) => row && [-row[0], ...row.slice(1)]) }, wanted));
    const first = state.page * PER_PAGE;
    const left = board.left_out ? ` ${board.left_out} problems more are left out to keep the page small: --max_mb.` : "";
    const replayed = board.replayed ? ` The decoding of ${board.replayed} can be replayed (--replays allows more rows).` : "";
    const unfound = board.unfound ? ` The recordings of ${board.unfound} runs are not where the runs wrote them, nor beside their results.` : "";
    count.textContent = `${found.length} of ${board.problems.length} problems.${left}${replayed}${unfound}`;
    list.replaceChildren(...found.slice(first, first + PER_PAGE).map((problem) => sample(problem, board)));
    const step = (name, by, possible) => {
      const button = make("button", { type: "button", textContent: name, disabled: !possible });
      button.addEventListener("click", () => { state.page += by; draw(); });
      return button;
    };
    turn.replaceChildren(step("Back", -1, state.page > 0), step("Further", 1, first + PER_PAGE < found.length));
  };

  if (data.boards.length) start();
  else root.append("No run kept its samples (--log_samples).");
};

browser(document.getElementById("browser"));
