/*
 * parts: what all views are put together from: panels, states, tables, the loss law as a bar.
 *
 * Guarantees: a state has a shape and a word beside its colour; every table can be sorted by keyboard and taken as CSV,
 *   with the exact values, not the rounded ones that it shows: there is none outside of `tablePanel`.
 * Does not: know what an engine is.
 */

import { h } from "./dom.js";
import { UNKNOWN, count, percent } from "./format.js";

/** How good a state is: for its dot and its colour. */
const GRADES = {
  running: "good", read: "good", up: "good", live: "good", ok: "good", accepted: "good", filled: "good", executed: "good", LIVE: "good", UP: "good",
  simulated: "good", processing: "info", sent: "warn", skipped: "off", paused: "warn", stale: "warn", quiet: "warn", syncing: "warn", stopping: "warn", starting: "info", pending: "warn", rejected: "warn", SYNCING: "warn", STALE: "bad",
  SILENT: "info", noop: "info", partially_filled: "info", triggered: "info", "no-data": "warn", ended: "off", past: "off", stopped: "off", created: "off", canceled: "off", expired: "off", silenced: "off",
  quarantined: "bad", failed: "bad", down: "bad", DOWN: "bad", halted: "bad", firing: "bad", lost: "bad", dead: "bad", unknown: "warn",
};

export const grade = (state) => GRADES[state] ?? "info";

/** Of a stream of a venue, the worst first. */
export const STREAM_STATES = ["DOWN", "STALE", "SILENT", "UP"];

export function state(name, text = name) {
  return h("span", { class: "state" }, h("i", { class: `dot ${grade(name)}` }), String(text).replaceAll("_", " "));
}

/** Whether an amount is of paper or of live money, which are never one figure. */
export const moneyTag = (money, text = money) => h("span", { class: `tag ${money === "live" ? "real" : ""}` }, text);

export function panel(title, { aside, span = 12, className = "", flush = false, id } = {}, ...body) {
  return h(
    "section",
    { class: `panel span-${span} ${className}`, key: id ?? title, "aria-label": title },
    h("header", null, h("h2", null, title), aside ? h("div", { class: "aside" }, aside) : null),
    h("div", { class: flush ? "flush" : "body" }, body),
  );
}

/** Where a detail stands, its name, what is said of it, and what can be done with it. from : title and address of its list. */
export function crumbs(name, { from: [title, hash] = ["Overview", "#/"], acts = null } = {}, ...rest) {
  return h("div", { class: "crumbs", key: "crumbs" }, h("a", { href: hash, class: "soft" }, title), h("span", { class: "soft" }, "/"), h("h1", null, name), rest, h("div", { class: "acts" }, acts));
}

export const empty = (text) => h("p", { class: "empty" }, text);

export function choices(label, options, chosen, choose) {
  return h(
    "div",
    { class: "choices", role: "group", "aria-label": label },
    options.map(([value, text]) =>
      h("button", { type: "button", key: value, "aria-pressed": String(value === chosen), onclick: () => choose(value) }, text),
    ),
  );
}

const ICONS = {
  pause: ["solid", "M4 3h3v10H4zM9 3h3v10H9z"],
  resume: ["solid", "M5 3v10l8-5z"],
  restart: ["", "M13 8a5 5 0 1 1-1.6-3.7M13 2.5v2.6h-2.6"],
  stop: ["solid", "M4 4h8v8H4z"],
  close: ["", "M4 4l8 8M12 4l-8 8"],
  down: ["", "M8 3v7M5 7.5L8 10.5 11 7.5M3.5 13h9"],
  light: ["", "M8 5.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6M8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M12.6 3.4l-.7.7M4.1 11.9l-.7.7"],
  dark: ["", "M13 9.6A5.3 5.3 0 0 1 6.4 3 5.3 5.3 0 1 0 13 9.6z"],
  auto: ["", "M8 2.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11M8 2.5v11M8 6l4.6-1M8 10l4.6 1"],
  leave: ["", "M9.5 3H3.5v10h6M7 8h7M11.5 5.5L14 8l-2.5 2.5"],
  good: ["", "M3.5 8.5l3 3 6-7"],
  warn: ["", "M8 3.5v5.5M8 12.2v.1"],
  bad: ["", "M4.5 4.5l7 7M11.5 4.5l-7 7"],
  off: ["", "M4 8h8"],
};

export function icon(name) {
  const [className, d] = ICONS[name];
  return h("svg", { viewBox: "0 0 16 16", class: className, "aria-hidden": "true" }, h("path", { d }));
}

export function iconButton(name, label, onclick, options = {}) {
  return h("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick, ...options }, icon(name));
}

export function mark() {
  return h(
    "svg",
    { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": "2", "stroke-linecap": "round", "aria-hidden": "true" },
    h("path", { d: "M2.5 8c3.2 0 3.2-2.6 6.4-2.6S12.1 8 15.3 8s3.1-2.6 6.2-2.6" }),
    h("path", { d: "M2.5 13.3c3.2 0 3.2-2.6 6.4-2.6s3.2 2.6 6.4 2.6 3.1-2.6 6.2-2.6", opacity: "0.65" }),
    h("path", { d: "M2.5 18.6c3.2 0 3.2-2.6 6.4-2.6s3.2 2.6 6.4 2.6 3.1-2.6 6.2-2.6", opacity: "0.35" }),
  );
}

/* Tables */

// table -> { column, isDown }: how a reader has sorted it, for as long as the page is open
const sorted = new Map();

/**
 * A table. columns : { title, cell, value, className }; `value` sorts and is what the CSV has, `cell` is what is shown.
 * limit : rows shown; the CSV has all of them.
 */
function table({ id, label, columns, rows, keyOf, limit = 500, onSort, empty: none = "Nothing here." }) {
  if (!rows.length) return empty(none);
  const order = sorted.get(id);
  const shown = order ? arranged(rows, columns[order.column], order.isDown) : rows;
  const sortBy = (index) => {
    const isDown = order?.column === index ? !order.isDown : columns[index].className?.includes("number") ?? false;
    sorted.set(id, { column: index, isDown });
    onSort?.();
  };
  return [
    h(
      "div",
      { class: `scroll ${rows.length > 14 ? "tall" : ""}`, tabindex: rows.length > 14 ? "0" : null, role: "region", "aria-label": label },
      h(
        "table",
        null,
        h("thead", null, h("tr", null, columns.map((column, index) => head(column, index, order, sortBy)))),
        h(
          "tbody",
          null,
          shown.slice(0, limit).map((row) =>
            h("tr", { key: keyOf(row) }, columns.map((column) => h("td", { class: classOf(column, row) }, column.cell ? column.cell(row) : text(column.value(row))))),
          ),
        ),
      ),
    ),
    rows.length > limit ? h("p", { class: "more" }, `${count(limit)} of ${count(rows.length)} rows are shown; the CSV has all of them.`) : null,
  ];
}

const text = (value) => (value === null || value === undefined || value === "" ? UNKNOWN : typeof value === "number" ? count(value) : value);

function classOf(column, row) {
  const own = column.className ?? "";
  return column.value && own.includes("number") && column.value(row) === 0 ? `${own} zero` : own;
}

function head(column, index, order, sortBy) {
  const direction = order?.column === index ? (order.isDown ? "descending" : "ascending") : null;
  const title = column.value && column.title ? h("button", { type: "button", onclick: () => sortBy(index) }, column.title) : column.title;
  return h("th", { class: column.className, scope: "col", "aria-sort": direction, title: column.hint }, title);
}

function arranged(rows, column, isDown) {
  const by = isDown ? -1 : 1;
  return [...rows].sort((one, other) => by * compared(column.value(one), column.value(other)));
}

function compared(one, other) {
  const [isOne, isOther] = [one, other].map((value) => value === null || value === undefined || value === "");
  if (isOne || isOther) return Number(isOther) - Number(isOne);
  const [first, second] = [Number(one), Number(other)];
  if (!Number.isNaN(first) && !Number.isNaN(second)) return first - second;
  return String(one).localeCompare(String(other), "en", { numeric: true });
}

/** A panel with a table and its CSV. file : the CSV's name. lead : what stands before it; the rest as of a panel and a table. */
export function tablePanel(title, { file = title, span, lead = null, aside = null, ...own }, ...below) {
  return panel(title, { span, flush: true, aside: [aside, csvButton(file, own.columns, own.rows)] }, lead ? h("div", { class: "lead" }, lead) : null, table({ label: title, ...own }), below);
}

/** Offer the rows as a file. A text that a spreadsheet would take for a formula gets an apostrophe before it. */
export function csvButton(name, columns, rows) {
  return iconButton("down", `${name} as CSV`, () => {
    const own = columns.filter((column) => column.title && column.value);
    const lines = [own.map((column) => column.title), ...rows.map((row) => own.map((column) => column.value(row) ?? ""))];
    const body = lines.map((line) => line.map(quoted).join(",")).join("\r\n");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`${body}\r\n`], { type: "text/csv" }));
    link.download = `${name.toLowerCase().replace(/[^a-z0-9]+/g, "-")}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

export function quoted(value) {
  let own = String(value);
  const isNumber = typeof value === "number" || /^-?\d+(\.\d+)?$/.test(own);
  if (!isNumber && /^[=+\-@\t\r]/.test(own)) own = `'${own}`;
  return /[",\r\n]/.test(own) ? `"${own.replaceAll('"', '""')}"` : own;
}

/* The loss law */

const TERMS = ["delivered", "filtered", "conflated", "skipped", "missed", "pending"];

/** published == delivered + filtered + missed + conflated + skipped + pending, as lengths. */
export function law(own, { tall = false } = {}) {
  const counts = TERMS.map((term) => [term, Number(own[term])]);
  const total = counts.reduce((sum, [, value]) => sum + value, 0);
  const says = counts.map(([term, value]) => `${term} ${count(value)}`).join(", ");
  return h(
    "div",
    { class: `law ${tall ? "tall" : ""}`, role: "img", "aria-label": `of ${count(own.published)} published: ${says}`, title: says },
    counts.filter(([, value]) => value > 0).map(([term, value]) => h("i", { key: term, class: term, style: { width: `${(100 * value) / total}%` } })),
  );
}

export function lawTerms(own) {
  return [
    law(own, { tall: true }),
    h(
      "dl",
      { class: "terms thirds" },
      TERMS.map((term) =>
        h("div", { key: term }, h("dt", null, h("i", { class: term }), term), h("dd", { title: share(own[term], own.published) }, count(own[term]))),
      ),
    ),
  ];
}

/** What was published, and whether the terms add up to it. */
export function lawSum(own) {
  const holds = TERMS.reduce((sum, term) => sum + BigInt(own[term]), 0n) === BigInt(own.published);
  return h("span", { class: holds ? "" : "text-bad" }, `${count(own.published)} published, ${holds ? "all accounted for" : "WHICH DOES NOT ADD UP"}`);
}

const share = (part, whole) => (Number(whole) ? percent(Number(part) / Number(whole), 2) : "");

export function meter(value, capacity) {
  const used = Number(capacity) ? Math.min(1, Number(value) / Number(capacity)) : 0;
  const level = used > 0.8 ? "bad" : used > 0.5 ? "warn" : "";
  return h("div", { class: "meter", role: "img", "aria-label": `${percent(used)} used` }, h("i", { class: level, style: { width: `${(used * 100).toFixed(1)}%` } }));
}
