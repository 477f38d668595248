/*
 * report: a finished run or backtest, from the document that `--json` of run, replay and backtest prints.
 *
 * Guarantees: the file is read by the browser and goes nowhere; what the document does not have is not shown.
 * Does not: compute figures; the document has them.
 */

import { lines } from "../chart.js";
import { h } from "../dom.js";
import { UNKNOWN, amount, count, duration, milliseconds, moment, percent, price, sign, signed } from "../format.js";
import { sum, tint } from "../money.js";
import { empty, law, panel, state, tablePanel } from "../parts.js";

const BYTES_MAX = 256 * 1024 * 1024;
const SHARES = new Set(["total_return", "cagr", "volatility", "max_drawdown", "hit_rate", "exposure", "benchmark_return"]);

// The document that is shown, its file's name, and why there is none; it stays while the page is open.
let shown = null;
let name = "";
let problem = "";

async function read(file, redraw) {
  [shown, name, problem] = [null, file.name, ""];
  try {
    if (file.size > BYTES_MAX) throw new Error(`it has ${count(file.size)} bytes, more than ${count(BYTES_MAX)}`);
    const found = JSON.parse(exact(await file.text()));
    if (typeof found?.strategies !== "object" && typeof found?.statistics !== "object") throw new Error("it is no report: give the document that --json prints");
    shown = found;
  } catch (error) {
    problem = `${file.name} cannot be shown: ${error.message}`;
  }
  redraw();
}

/** A document whose integers beyond 2^53, which are times in ns, are texts, as the control API has them. */
const exact = (text) => text.replace(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g, (own) => (/^-?\d{16,}$/.test(own) ? `"${own}"` : own));

export function reportView(app) {
  // That of the backtest which this page is of, once it has ended.
  if (!shown && app.model.engine.kind === "backtest" && app.model.engine.state === "ended") shown = app.fetched.get("/v1/report").value;
  const pick = (event) => event.target.files[0] && read(event.target.files[0], app.redraw);
  const input = h("label", { class: "button small pick" }, "Open a report", h("input", { type: "file", accept: "application/json,.json", class: "unseen", onchange: pick }));
  const hint = "The document that headrace run, replay or backtest print with --json. It is read in this browser, and sent nowhere.";
  if (!shown) return h("div", { class: "grid" }, panel("Reports", { span: 12, aside: input }, h("p", { class: "soft" }, hint), problem ? h("p", { class: "refused", role: "alert" }, problem) : null));
  const title = Object.keys(shown.settings?.strategies ?? shown.strategies ?? {}).join(", ") || shown.name;
  return [
    h("div", { class: "crumbs", key: "crumbs" }, h("h1", null, title), shown.mode ? h("span", { class: "tag info" }, shown.mode) : null, shown.stopped ? h("span", { class: "tag warn" }, "stopped early") : null, h("span", { class: "soft" }, name), h("div", { class: "acts" }, input)),
    h("div", { class: "grid" }, headline(), profit(), statistics(), ...strategies(app), ...rows(app), settings()),
  ];
}

function headline() {
  const tiles = [
    ["Equity at the end", amount(shown.equity_end, 2), shown.currency],
    ["Total return", percent(shown.statistics?.total_return, 2), `market ${percent(shown.statistics?.benchmark_return, 2)}`],
    ["Fees", amount(shown.fees, 2), shown.currency],
    ["Span", duration(shown.span_ns), `from ${moment(milliseconds(shown.first_ns)).slice(0, 16)}`],
  ].filter(([, value]) => value !== UNKNOWN);
  return h("section", { class: "tiles four span-12", key: "head", "aria-label": "Figures" }, tiles.map(([title, value, note]) => h("div", { class: "tile", key: title }, h("h3", null, title), h("div", { class: "value" }, value), h("p", null, note))));
}

/** What the round trips earned, one after the other. */
function profit() {
  const trips = (shown.trades ?? []).filter((own) => !own.is_open && own.currency === shown.currency);
  if (!trips.length) return null;
  let total = "0";
  const points = [...trips].sort((one, other) => Number(one.exit_ts) - Number(other.exit_ts)).map((own) => [milliseconds(own.exit_ts), Number((total = sum(total, String(own.net_pnl))))]);
  const [from, to] = [points[0][0], points.at(-1)[0]];
  return panel("Profit of round trips", { span: 12, aside: h("b", { class: tint(total) }, signed(total, 2), ` ${shown.currency}`) }, h(lines, { class: "tall", data: { from: Math.min(from, to - 1), to, label: "Profit of round trips", format: (value) => signed(value.toFixed(2)), series: [{ name: "net", tone: "a", points, area: true, step: true }] } }));
}

function statistics() {
  const own = Object.entries(shown.statistics ?? {});
  if (!own.length) return null;
  return panel("Statistics", { span: 12 }, h("dl", { class: "terms first" }, own.map(([term, value]) => h("div", { key: term }, h("dt", null, term.replaceAll("_", " ").replace(/ ns$/, ", time")), h("dd", null, figure(term, value))))));
}

function figure(term, value) {
  if (value === null || value === undefined) return UNKNOWN;
  if (term.endsWith("_ns")) return duration(value);
  if (SHARES.has(term)) return percent(Number(value), 2);
  return Number.isInteger(value) ? count(value) : price(Number(Number(value).toPrecision(5)));
}

function strategies(app) {
  const own = Object.values(shown.strategies ?? {});
  if (!own.some((row) => Number(row.published))) return [];
  const columns = [
    { title: "Strategy", value: (row) => row.name },
    { title: "Ended", value: (row) => row.stopped_from || row.state, cell: (row) => state(row.stopped_from || row.state, row.stopped_from === "running" ? "ran to the end" : row.stopped_from || row.state) },
    { title: "", cell: (row) => law(row) },
    ...["delivered", "filtered", "missed", "conflated", "skipped", "faults"].map((term) => ({ title: term[0].toUpperCase() + term.slice(1), className: "number", value: (row) => row[term] })),
    { title: "Fills", className: "number", value: (row) => row.orders?.fills },
  ];
  return [tablePanel("Strategies", { id: "report-strategies", span: 12, columns, rows: own, keyOf: (row) => row.name, onSort: app.redraw })];
}

/** The lists of the document, with the columns that it has. */
function rows(app) {
  return [["trades", "Round trips"], ["orders", "Orders"], ["fills", "Fills"], ["positions", "Positions"]].flatMap(([key, title]) => {
    const own = (Array.isArray(shown[key]) ? shown[key] : []).map((row, index) => ({ ...row, index }));
    if (!own.length) return [];
    // What no row has is no column.
    const names = Object.keys(own[0]).filter((field) => field !== "index" && own.some((row) => !isVoid(field, row[field])));
    const columns = names.map((field) => ({ title: titleOf(field), className: own.every((row) => isNumber(field, row[field])) ? "number" : "", value: (row) => row[field], cell: (row) => cell(field, row[field]) }));
    return [tablePanel(title, { id: `report-${key}`, span: 12, aside: count(own.length), columns, rows: own, keyOf: (row) => row.index, onSort: app.redraw, limit: 200 })];
  });
}

const isTime = (field) => /(^|_)ts$/.test(field);
const isVoid = (field, value) => value === null || value === undefined || value === "" || value === false || (isTime(field) && Number(value) === 0);
const isNumber = (field, value) => !isTime(field) && field !== "side" && typeof value !== "boolean" && (isVoid(field, value) || !Number.isNaN(Number(value)));
const titleOf = (field) => (field === "ts" ? "at" : field.replaceAll("_", " ").replace(/ (ts|ns)$/, ""));

function cell(field, value) {
  if (isVoid(field, value)) return UNKNOWN;
  if (isTime(field)) return moment(milliseconds(value)).slice(0, 19);
  if (field.endsWith("_ns")) return duration(value);
  if (field === "side") return h("span", { class: value > 0 ? "text-buy" : "text-sell" }, value > 0 ? "buy" : "sell");
  if (value === true) return "yes";
  if (field.endsWith("pnl")) return h("span", { class: sign(value) ? tint(String(value)) : "" }, signed(String(value), 4));
  return typeof value === "number" && !Number.isInteger(value) ? price(Number(value.toPrecision(5))) : isNumber(field, value) ? amount(String(value)) : String(value);
}

function settings() {
  const own = { settings: shown.settings, versions: shown.versions, notes: shown.notes, input_hash: shown.input_hash, audit_hash: shown.audit_hash };
  return panel("Settings and hashes", { span: 12, flush: true }, shown.settings || shown.input_hash ? h("pre", { class: "box", tabindex: "0" }, JSON.stringify(own, null, 2)) : empty("None."));
}
