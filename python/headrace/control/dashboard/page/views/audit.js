/*
 * audit: what happened, newest first: commands with their actors, states, halts, and the log; with a search over them.
 *
 * Guarantees: what was sent to this page is searched at once, and what the engine's audit file has beside it.
 */

import { h } from "../dom.js";
import { describe } from "../events.js";
import { clock, count, milliseconds } from "../format.js";
import { csvButton, empty, panel, table } from "../parts.js";

const ROWS = 300;
const LOG_LINES = 300;
const GRADES = { ERROR: "text-bad", CRITICAL: "text-bad", WARNING: "text-warn" };

// What is searched for; it stays while the page is open.
let wanted = "";

export function auditView(app) {
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  const has = (text) => words.every((word) => text.toLowerCase().includes(word));
  const rows = app.model
    .tail("audit")
    .map((entry) => ({ ...entry, ...describe(entry) }))
    .filter((own) => has([own.type, own.what, own.why, own.who].join(" ")))
    .reverse();
  const columns = [
    { title: "At", value: (own) => own.ts_ns, cell: (own) => app.eventTime(own, 3) },
    { title: "What", value: (own) => own.what, cell: (own) => h("span", { class: "state" }, h("i", { class: `dot ${own.level}` }), own.what) },
    { title: "Why", className: "wrap", value: (own) => own.why },
    { title: "Who", value: (own) => own.who },
  ];
  const search = (event) => {
    wanted = event.target.value;
    app.redraw();
  };
  const lines = app.model.tail("log").filter((own) => has(`${own.level} ${own.logger} ${own.message}`)).slice(-LOG_LINES).reverse();
  return h(
    "div",
    { class: "grid" },
    panel(
      "Audit",
      { span: 12, flush: true, aside: [h("input", { type: "search", class: "search", placeholder: "Search audit and log", "aria-label": "Search audit and log", value: wanted, oninput: search }), count(rows.length), csvButton("Audit", columns, rows)] },
      table({ id: "audit", label: "Audit", columns, rows, keyOf: (own) => own.n, onSort: app.redraw, limit: ROWS, empty: words.length ? "Nothing matches." : "Nothing has happened yet." }),
      app.model.lost.audit ? h("p", { class: "more" }, `${count(app.model.lost.audit)} older entries were not sent to this page: the audit file has them.`) : null,
    ),
    panel("Log", { span: 12, flush: true }, lines.length ? h("ol", { class: "log tall", tabindex: "0", "aria-label": "Log" }, lines.map((own) => h("li", { key: own.n }, h("span", { class: "lead" }, clock(milliseconds(own.ts_ns))), h("span", { class: GRADES[own.level] ?? "lead" }, own.level.toLowerCase()), h("span", null, own.message)))) : empty("No line matches.")),
  );
}
