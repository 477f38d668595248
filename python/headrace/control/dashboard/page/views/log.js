/*
 * log: lines of the engine's log, newest first.
 *
 * Guarantees: a line is shown as it was logged; the CSV has the name of its logger, too.
 */

import { h } from "../dom.js";
import { clock, milliseconds, moment } from "../format.js";
import { csvButton, empty, panel } from "../parts.js";

const LINES_MAX = 300;
const GRADES = { ERROR: "text-bad", CRITICAL: "text-bad", WARNING: "text-warn" };
const COLUMNS = [
  { title: "At", value: (own) => moment(milliseconds(own.ts_ns)) },
  { title: "Level", value: (own) => own.level },
  { title: "Logger", value: (own) => own.logger },
  { title: "Message", value: (own) => own.message },
];

/** The lines that `keep` keeps. label : of the list, for a reader who does not see it. none : said where there is none. */
export function logPanel(app, { keep, label = "Log", none }) {
  const lines = app.model.tail("log").filter(keep).slice(-LINES_MAX).reverse();
  const line = (own) => h("li", { key: own.n }, h("span", { class: "lead" }, clock(milliseconds(own.ts_ns))), h("span", { class: GRADES[own.level] ?? "lead" }, own.level.toLowerCase()), h("span", null, own.message));
  return panel("Log", { span: 12, flush: true, aside: csvButton(label, COLUMNS, lines) }, lines.length ? h("ol", { class: "log", tabindex: "0", role: "log", "aria-label": label }, lines.map(line)) : empty(none));
}
