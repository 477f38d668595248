/*
 * audit: what happened, newest first: commands with their actors, states, halts, and the log; with one search over them.
 *
 * Guarantees: what was sent to this page is searched as one types; the engine's audit file when one asks for it.
 */

import { AuditSearch } from "../audit_search.js";
import { h } from "../dom.js";
import { describe } from "../events.js";
import { count } from "../format.js";
import { empty, panel, tablePanel } from "../parts.js";
import { logPanel } from "./log.js";

const ROWS = 300;

// What is searched for, and the search of the file; they stay while the page is open.
let wanted = "";
let search = null;

export function auditView(app) {
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  const has = (text) => words.every((word) => text.toLowerCase().includes(word));
  const rows = app.model
    .tail("audit")
    .map((entry) => ({ ...entry, ...describe(entry) }))
    .filter((own) => has([own.type, own.what, own.why, own.who].join(" ")))
    .reverse();
  const type = (event) => {
    wanted = event.target.value;
    search?.stop();
    search = null;
    app.redraw();
  };
  const aside = [h("input", { type: "search", class: "search", placeholder: "Search audit and log", "aria-label": "Search audit and log", value: wanted, oninput: type }), count(rows.length)];
  return h(
    "div",
    { class: "grid" },
    tablePanel(
      "Audit",
      { id: "audit", span: 12, aside, columns: columns(app), rows, keyOf: (own) => own.n, onSort: app.redraw, limit: ROWS, empty: words.length ? "Nothing matches." : "Nothing has happened yet." },
      app.model.lost.audit ? h("p", { class: "more" }, `${count(app.model.lost.audit)} older entries were not sent to this page: the audit file has them.`) : null,
    ),
    words.length ? inFile(app) : null,
    logPanel(app, { keep: (own) => has(`${own.level} ${own.logger} ${own.message}`), none: "No line matches." }),
  );
}

const columns = (app) => [
  { title: "At", value: (own) => own.ts_ns, cell: (own) => app.eventTime(own, 3) },
  { title: "What", value: (own) => own.what, cell: (own) => h("span", { class: "state" }, h("i", { class: `dot ${own.level}` }), own.what) },
  { title: "Why", className: "wrap", value: (own) => own.why },
  { title: "Who", value: (own) => own.who },
];

/** What the file has of the words: asked for by a click, since a file may be long. */
function inFile(app) {
  const title = "In the audit file";
  const start = () => {
    search = new AuditSearch(app.api, wanted, app.redraw);
    search.run();
  };
  if (!search) return panel(title, { span: 12, aside: h("button", { type: "button", class: "small", onclick: start }, "Search the file") }, h("p", { class: "soft" }, "All that the engine has written down, from its beginning: orders and fills as well."));
  if (search.problem) return panel(title, { span: 12 }, empty(search.problem));
  const rows = search.found.map((entry) => ({ ...entry, ...describe(entry) }));
  const aside = `${count(search.total)} found${search.isOver ? "" : "…"}`;
  return tablePanel(title, { id: "audit-file", span: 12, aside, columns: columns(app), rows, keyOf: (own) => own.n, onSort: app.redraw, limit: ROWS, empty: search.isOver ? "Nothing matches." : "…" });
}
