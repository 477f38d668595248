/*
 * letters: the dead letters: frames that were refused, calls and events that failed for good, and their redrive.
 *
 * Guarantees: a letter is shown with all that it holds, as text.
 * Does not: redrive a frame or a call: only an event can be given to the bus again.
 */

import { h } from "../dom.js";
import { count, milliseconds, moment } from "../format.js";
import { csvButton, empty, panel, table } from "../parts.js";

const EVERY_MS = 3_000;
const PATH = "/v1/dead-letters?limit=200";

export function lettersView(app) {
  const { value, error } = app.fetched.get(PATH, EVERY_MS);
  const rows = value?.items ?? [];
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
  return h(
    "div",
    { class: "grid" },
    panel(
      "Dead letters",
      { span: 12, flush: true, aside: [`${count(total)} since the run began`, csvButton("Dead letters", columns, rows)] },
      error ? empty(error.message) : table({ id: "letters", label: "Dead letters", columns, rows, keyOf: (own) => own.id, onSort: app.redraw, empty: value ? "Nothing has failed for good." : "…" }),
    ),
  );
}

const timeOf = (own) => own.at_ns ?? own.ts_ns;

function redrive(app, own) {
  if (own.kind !== "event") return null;
  const give = async () => {
    await app.commands.submit("redrive", { letter_id: own.id });
    app.fetched.again(PATH);
  };
  return h("button", { type: "button", class: "small", onclick: give }, "Redrive");
}

const TEXTS = ["traceback", "frame", "event"];

export function letterView(app, id) {
  const { value, error } = app.fetched.get(`/v1/dead-letters/${encodeURIComponent(id)}`);
  const crumbs = h("div", { class: "crumbs", key: "crumbs" }, h("a", { href: "#/letters", class: "soft" }, "Dead letters"), h("span", { class: "soft" }, "/"), h("h1", null, `Letter ${id}`), value ? h("span", { class: "tag" }, value.kind) : null, h("div", { class: "acts" }, value ? redrive(app, value) : null));
  if (!value) return [crumbs, empty(error ? error.message : "…")];
  const facts = Object.entries(value).filter(([name, own]) => !TEXTS.includes(name) && own !== null && own !== "" && name !== "id");
  return [
    crumbs,
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
