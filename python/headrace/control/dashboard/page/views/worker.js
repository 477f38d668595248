/*
 * worker: the workers of recommendations of one process: what waits, what they did with it, and the controls.
 *
 * Guarantees: an execution says whether it was simulated or real, and no two amounts are added; each control is a command,
 *   which stands on record with its actor and reason.
 * Does not: show more than the newest rows: the API's lists have all of them.
 */

import { lines, spark } from "../chart.js";
import { h } from "../dom.js";
import { UNKNOWN, amount, compact, count, duration, milliseconds } from "../format.js";
import { RANGES } from "../model.js";
import { choices, moneyTag, panel, state, tablePanel } from "../parts.js";
import { gates } from "./orders.js";
import { verdictPart } from "./overview.js";

const seconds = (value) => duration(value === null || value === undefined ? null : value * 1e9);

export function workerView(app) {
  const { engine, rates } = app.model;
  const facts = [["runs", count(engine.runs)], ["last run took", seconds(engine.last_run_s)], ["processed", count(engine.processed)], ["commands", count(app.commands.entries.length)]];
  const summary = `${count(rates.pending)} wait, ${count(rates.processing)} are being processed, ${count(rates.sent)} are sent and not confirmed`;
  return [
    verdictPart(app, summary, facts),
    tiles(app),
    h("div", { class: "grid" }, backlog(app), pauses(app), recommendations(app), runs(app), gates(app)),
  ];
}

function tiles(app) {
  const { engine, rates } = app.model;
  const { from, to } = app.chartWindow();
  const small = (name, tone) => h(spark, { data: { from, to, points: app.points(`rates/${name}`), tone } });
  const tile = (title, value, note, chart = null) => h("div", { class: "tile", key: title }, h("h3", null, title), h("div", { class: "value" }, value), h("p", { title: note }, note), chart);
  return h(
    "section",
    { class: "tiles", "aria-label": "Figures" },
    tile("Waiting", count(rates.pending), rates.pending ? `the oldest for ${seconds(rates.age_s)}` : "nothing waits", small("pending", "a")),
    tile("Processing", count(rates.processing), "claimed by a worker", small("processing", "b")),
    tile("Sent", count(rates.sent), "real orders without an outcome yet", small("sent", "d")),
    tile("Executed", count(engine.simulated + engine.executed), `${count(engine.simulated)} simulated, ${count(engine.executed)} real`, small("processed_per_s", "c")),
    tile("Skipped", count(engine.skipped), "expired, canceled, or refused by a gate"),
    tile("Failed", h("span", { class: engine.failed ? "text-bad" : "" }, count(engine.failed)), `${count(engine.reaped)} leases were over, ${count(engine.stale)} late finishes refused`),
  );
}

function backlog(app) {
  const range = choices("Range", RANGES.map(([own]) => [own, own]), app.range, app.setRange);
  const legend = h("div", { class: "legend" }, h("span", { class: "tone-a" }, "waiting"), h("span", { class: "tone-b" }, "processing"));
  const series = [
    { name: "waiting", tone: "a", points: app.points("rates/pending"), area: true, step: true },
    { name: "processing", tone: "b", points: app.points("rates/processing"), step: true },
  ];
  return panel("Backlog", { span: "8 wide", aside: [legend, range] }, h(lines, { data: { ...app.chartWindow(), label: "Backlog", format: compact, series } }));
}

const AT = (title, name) => (app) => ({ title, value: (own) => milliseconds(own[name]), cell: (own) => app.engineTime(own[name]) });

function pauses(app) {
  const rows = app.model.rows("pauses");
  const columns = [
    { title: "Paused", value: (own) => own.key, cell: (own) => h("span", { class: "name" }, own.key) },
    { title: "By", value: (own) => own.actor },
    { title: "Why", className: "wrap", value: (own) => own.reason },
    { title: "Until", value: (own) => milliseconds(own.until_ns), cell: (own) => (own.until_ns ? app.engineTime(own.until_ns) : "resumed") },
    { title: "", className: "acts", cell: (own) => app.commands.button("Resume", "resume-claims", { scope: own.scope, ...(own.target ? { name: own.target } : {}) }) },
  ];
  const aside = app.commands.button("Pause claims", "pause-claims");
  return tablePanel("Pauses", { id: "pauses", span: "4 wide", aside, columns, rows, keyOf: (own) => own.key, onSort: app.redraw, empty: "Nothing is paused." });
}

function recommendations(app) {
  const rows = app.model.rows("recommendations").sort((one, other) => other.id - one.id);
  const columns = [
    { title: "Recommendation", value: (own) => own.id, cell: (own) => h("span", { class: "name" }, `#${own.id}`) },
    { title: "Ticker", value: (own) => own.ticker },
    { title: "Action", value: (own) => own.action, cell: (own) => own.action.replaceAll("_", " ").toLowerCase() },
    { title: "Confidence", className: "number", value: (own) => own.confidence, cell: (own) => amount(own.confidence, 2) },
    { title: "State", value: (own) => own.status, cell: (own) => state(own.status.toLowerCase()) },
    { title: "Attempts", className: "number", value: (own) => own.attempts },
    { title: "Priority", className: "number", value: (own) => own.priority },
    { title: "Why", className: "wrap", value: (own) => own.failure_reason, cell: (own) => own.failure_reason ?? UNKNOWN },
    AT("Created", "created_ns")(app),
    AT("Ended", "processed_ns")(app),
    { title: "", className: "acts", cell: (own) => controls(app, own) },
  ];
  return tablePanel("Recommendations", { id: "recommendations", span: 12, columns, rows, keyOf: (own) => own.key, onSort: app.redraw, limit: 100, empty: "The database has no recommendation." });
}

/** What may be done with a recommendation in its state. */
function controls(app, own) {
  const only = { recommendation_id: own.id };
  const button = (text, verb, fields) => app.commands.button(text, verb, { ...only, ...fields }, { "aria-label": `${text} recommendation ${own.id}` });
  if (own.status === "PENDING") return [button("Edit", "edit-recommendation", { values: JSON.stringify({ priority: own.priority }) }), " ", button("Cancel", "cancel-recommendation")];
  return own.status === "FAILED" ? button("Requeue", "requeue-recommendation") : null;
}

function runs(app) {
  const rows = app.model.rows("runs").sort((one, other) => milliseconds(other.started_ns) - milliseconds(one.started_ns));
  const columns = [
    AT("Run", "started_ns")(app),
    { title: "Took", className: "number", value: (own) => took(own), cell: (own) => duration(took(own)) },
    ...["pulled", "processed", "simulated", "skipped", "failed"].map((name) => ({ title: name[0].toUpperCase() + name.slice(1), className: "number", value: (own) => own[name] })),
  ];
  return tablePanel("Runs", { id: "runs", span: "7 wide", columns, rows, keyOf: (own) => own.key, onSort: app.redraw, empty: "No run has begun yet." });
}

const took = (own) => (own.finished_ns ? Number(BigInt(own.finished_ns) - BigInt(own.started_ns)) : null);

export function executionsView(app) {
  const rows = app.model.rows("executions").sort((one, other) => milliseconds(other.executed_ns) - milliseconds(one.executed_ns));
  const money = (own) => (own.execution_mode === "SIMULATED" ? "paper" : "live");
  const number = (title, name) => ({ title, className: "number", value: (own) => own[name], cell: (own) => amount(own[name], 2) });
  const columns = [
    { title: "Execution of", value: (own) => own.recommendation_id, cell: (own) => h("span", { class: "name" }, `#${own.recommendation_id}`) },
    { title: "Money", value: money, cell: (own) => moneyTag(money(own), `${money(own)} money`) },
    { title: "Ticker", value: (own) => own.ticker },
    { title: "Action", value: (own) => own.action, cell: (own) => own.action.replaceAll("_", " ").toLowerCase() },
    { ...number("Quantity", "qty"), cell: (own) => amount(own.qty) },
    number("Entry", "entry_price"),
    number("Stop", "stop_loss_price"),
    number("Target", "take_profit_price"),
    number("Notional", "notional"),
    AT("At", "executed_ns")(app),
  ];
  return h("div", { class: "grid" }, tablePanel("Executions", { id: "executions", span: 12, columns, rows, keyOf: (own) => own.key, onSort: app.redraw, empty: "Nothing was executed yet." }));
}
