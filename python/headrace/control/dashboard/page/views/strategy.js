/*
 * strategy: one strategy: what became of its ticks, how fast it is, what it earned, its orders, fills and log.
 *
 * Guarantees: the terms of the loss law are shown with their sum, and whether it is what was published.
 * Does not: know its code.
 */

import { lines } from "../chart.js";
import { h } from "../dom.js";
import { clock, compact, count, duration, milliseconds, signed } from "../format.js";
import { choices, empty, lawSum, lawTerms, panel, state } from "../parts.js";
import { RANGES } from "../model.js";
import { fillTable, orderTable, positionTable } from "./orders.js";
import { netOf, tint } from "../money.js";

const LOG_LINES = 200;

export function strategyView(app, name) {
  const own = app.model.row("strategies", name);
  if (!own) return [crumbs(name, []), empty(`This engine has no strategy called ${name}.`)];
  const isIts = (row) => row.strategy === name;
  return [
    crumbs(name, acts(app, own), state(own.state), own.reason ? h("span", { class: "soft" }, own.reason) : null),
    h(
      "div",
      { class: "grid" },
      panel("Ticks", { span: "7 wide", className: "stretch", aside: lawSum(own) }, lawTerms(own)),
      panel("Handlers and orders", { span: "5 wide" }, figures(own)),
      equity(app, own),
      pace(app, own),
      positionTable(app, { span: "6 wide", keep: isIts, without: "Strategy" }),
      orderTable(app, { span: "6 wide", keep: isIts, without: "Strategy" }),
      fillTable(app, { span: "6 wide", keep: isIts, without: "Strategy" }),
      h("div", { class: "span-6 wide stack", key: "stack" }, settings(app, own), logTail(app, name)),
    ),
  ];
}

export function crumbs(name, buttons, ...rest) {
  return h("div", { class: "crumbs", key: "crumbs" }, h("a", { href: "#/", class: "soft" }, "Overview"), h("span", { class: "soft" }, "/"), h("h1", null, name), rest, h("div", { class: "acts" }, buttons));
}

function acts(app, own) {
  const open = (verb, fields = { strategy: own.key }) => () => app.commands.open(verb, fields);
  const isHeld = ["paused", "quarantined"].includes(own.state);
  const button = (text, act, options = {}) => h("button", { type: "button", class: "small", key: text, onclick: act, ...options }, text);
  return [
    isHeld ? button("Resume", () => app.commands.submit("resume", { strategy: own.key })) : button("Pause", () => app.commands.submit("pause", { strategy: own.key }), { disabled: own.state !== "running" }),
    button("Restart", open("restart")),
    button("Stop", open("stop"), { disabled: ["stopped", "failed", "created"].includes(own.state) }),
    button("Subscription", open("set-subscription")),
    button("Cancel all", open("cancel-all")),
    button("Flatten", open("flatten")),
  ];
}

function figures(own) {
  const { orders } = own;
  const rows = [
    ["calls", count(own.calls)],
    ["faults", count(own.faults), Number(own.faults) ? "text-bad" : ""],
    ["lag", own.lag_s ? duration(own.lag_s * 1e9) : "0"],
    ["p50", duration(own.p50_ns)],
    ["p99", duration(own.p99_ns)],
    ["longest", duration(own.max_ns)],
    ["submitted", count(orders.submitted)],
    ["filled", count(orders.filled)],
    ["canceled", count(orders.canceled)],
    ["rejected", count(orders.rejected), orders.rejected ? "text-bad" : ""],
    ["expired", count(orders.expired)],
    ["open", orders.unknown ? `${count(orders.open)}, ${count(orders.unknown)} unknown` : count(orders.open)],
  ];
  const refused = Object.entries(own.refusals ?? {});
  return [
    h("dl", { class: "terms first" }, rows.map(([term, value, className]) => h("div", { key: term }, h("dt", null, term), h("dd", { class: className }, value)))),
    refused.length ? h("p", { class: "small" }, "refused by gates: ", refused.map(([gate, times]) => `${gate} ${count(times)}`).join(", ")) : null,
  ];
}

function equity(app, own) {
  const accounts = Object.entries(own.accounts ?? {});
  const tones = ["a", "b", "c", "d"];
  const series = accounts.map(([key], index) => ({ name: key, tone: tones[index % 4], points: app.model.points(`strategies/${own.key}/${key}/equity`, app.history), area: accounts.length === 1 }));
  const now = accounts.map(([key, account]) => h("span", { key }, h("b", { class: tint(netOf(account)) }, signed(netOf(account), 2)), ` ${account.currency} `, h("span", { class: `tag ${account.money === "live" ? "real" : ""}` }, account.money)));
  const range = choices("Range", RANGES.map(([name]) => [name, name]), app.range, app.setRange);
  if (!accounts.length) return panel("Net profit", { span: "6 wide", aside: range }, empty("It has not traded."));
  // Amounts of two currencies share no axis.
  return panel("Net profit", { span: "6 wide", aside: [now, range] }, series.map((each) => h(lines, { key: each.name, class: accounts.length > 1 ? "short" : "", data: { ...app.chartWindow(), label: `Net profit, ${each.name}`, series: [each], format: (value) => signed(value.toFixed(2)) } })));
}

function pace(app, own) {
  const points = (name) => app.model.points(`strategies/${own.key}/${name}`, app.history);
  const lag = points("lag_s").map(([at, value]) => [at, value === null ? null : value * 1e9]);
  return panel(
    "Pace",
    { span: "6 wide", aside: h("div", { class: "legend" }, h("span", { class: "tone-a" }, "deliveries per second"), h("span", { class: "tone-b" }, "lag")) },
    h(lines, { class: "half", data: { ...app.chartWindow(), label: "Deliveries per second", format: compact, series: [{ name: "per second", tone: "a", points: points("delivered_per_s"), area: true }] } }),
    h(lines, { class: "half", data: { ...app.chartWindow(), label: "Lag", format: duration, series: [{ name: "lag", tone: "b", points: lag, area: true }] } }),
  );
}

/** What the configuration says of a strategy; one that was made in code has none. */
function settings(app, own) {
  const { value, error } = app.fetched.get("/v1/config", 60_000);
  const config = value?.config ?? value;
  const found = (config?.strategies ?? []).find((row) => (row.name ?? row.use?.split(":").at(-1)) === own.key);
  const body = found ? h("pre", { class: "box", tabindex: "0" }, JSON.stringify(found, null, 2)) : empty(error ? error.message : value ? "It was made in code: the configuration does not have it." : "…");
  return panel("Parameters", { flush: true }, body);
}

function logTail(app, name) {
  const own = app.model.tail("log").filter((line) => line.strategy === name || line.message.includes(name)).slice(-LOG_LINES);
  const grades = { ERROR: "text-bad", CRITICAL: "text-bad", WARNING: "text-warn" };
  const rows = own.map((line) => h("li", { key: line.n }, h("span", { class: "lead" }, clock(milliseconds(line.ts_ns))), h("span", { class: grades[line.level] ?? "lead" }, line.level.toLowerCase()), h("span", null, line.message)));
  return panel("Log", { span: 12, flush: true }, own.length ? h("ol", { class: "log", tabindex: "0", role: "log", "aria-label": `Log of ${name}` }, rows) : empty("No line of it was logged yet."));
}

