/*
 * letters: the dead letters: frames that were refused, calls and events that failed for good, and their redrive.
 *
 * Guarantees: a letter is shown with all that it holds, as text.
 * Does not: redrive a frame or a call: only an event can be given to the bus again.
 */

import { h } from "../dom.js";
import { count, milliseconds, moment } from "../format.js";
import { crumbs, empty, panel, tablePanel } from "../parts.js";

const EVERY_MS = 3_000;
const PATH = "/v1/dead-letters?limit=200";

export function lettersView(app) {
  const { value, error } = app.fetched.get(PATH, EVERY_MS);
  const rows = error ? [] : (value?.items ?? []);
  const columns = [
    { title: "Letter", value: (own) => own.id, cell: (own) => h("a", { class: "name", href: `#/letter/${own.id}` }, count(own.id)) },
    { title: "Kind", value: (own) => own.kind, cell: (own) => h("span", { class: "tag" }, own.kind) },
    { title: "Where", value: (own) => own.handler || own.source },
    { title: "Why", className: "wrap", value: (own) => own.reason },
    { title: "Instrument", value: (own) => own.instrument },
    { title: "At", value: (own) => timeOf(own), cell: (own) => app.engineTime(timeOf(own)) },
    { title: "", className: "acts", cell: (own) => redrive(app, own) },
  ];
  const total = app.model.engine.dead_letters;
  const none = error ? error.message : value ? "Nothing has failed for good." : "…";
  return h("div", { class: "grid" }, tablePanel("Dead letters", { id: "letters", span: 12, aside: `${count(total)} since the run began`, columns, rows, keyOf: (own) => own.id, onSort: app.redraw, empty: none }));
}

const timeOf = (own) => own.at_ns ?? own.ts_ns;

function redrive(app, own) {
  if (own.kind !== "event") return null;
  return app.commands.button("Redrive", "redrive", { letter_id: own.id }, { isNow: true });
}

const TEXTS = ["traceback", "frame", "event"];

export function letterView(app, id) {
  const { value, error } = app.fetched.get(`/v1/dead-letters/${encodeURIComponent(id)}`);
  const place = crumbs(`Letter ${id}`, { from: ["Dead letters", "#/letters"], acts: value ? redrive(app, value) : null }, value ? h("span", { class: "tag" }, value.kind) : null);
  if (!value) return [place, empty(error ? error.message : "…")];
  const facts = Object.entries(value).filter(([name, own]) => !TEXTS.includes(name) && own !== null && own !== "" && name !== "id");
  return [
    place,
    h(
      "div",
      { class: "grid" },
      panel("Facts", { span: 12, flush: true }, h("div", { class: "rows" }, facts.map(([name, own]) => h("div", { class: "row pair", key: name }, h("div", { class: "soft" }, name.replaceAll("_", " ")), h("div", null, shown(name, own)))))),
      TEXTS.filter((name) => value[name]).map((name) => panel(name[0].toUpperCase() + name.slice(1), { span: 12, flush: true }, h("pre", { class: "box", tabindex: "0" }, typeof value[name] === "string" ? value[name] : JSON.stringify(value[name], null, 2)))),
    ),
  ];
}

function shown(name, own) {
  if (name.endsWith("_ns")) return moment(milliseconds(own));
  return typeof own === "object" ? JSON.stringify(own) : String(own);
}
