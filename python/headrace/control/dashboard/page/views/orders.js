/*
 * orders: what is open, what is held, and the story of one order from its cause to its last fill.
 *
 * Guarantees: amounts are shown with their currency, and paper or live; no two of them are added.
 * Does not: decide what an order may do; the engine's gates do.
 */

import { h } from "../dom.js";
import { causeOf, describe } from "../events.js";
import { UNKNOWN, amount, count, milliseconds, orderName, sign, signed } from "../format.js";
import { tint } from "../money.js";
import { crumbs, empty, moneyTag, panel, state, tablePanel } from "../parts.js";

const leaving = (title, columns) => columns.filter((own) => own.title !== title);
const side = (own) => h("span", { class: own.side === "buy" ? "text-buy" : "text-sell" }, own.side);
const link = (kind, name, text = name) => h("a", { href: `#/${kind}/${encodeURIComponent(name)}` }, text);

const orderLink = (id, strategy) => h("a", { href: `#/order/${encodeURIComponent(id)}`, title: id }, orderName(id, strategy));

export function positionTable(app, { span = 12, keep = () => true, without = null } = {}) {
  const rows = app.model.rows("positions").filter((own) => keep(own) && (sign(own.quantity) || sign(own.realized_pnl)));
  const columns = leaving(without, [
    { title: "Position", value: (own) => own.instrument, cell: (own) => link("market", own.instrument) },
    { title: "Strategy", value: (own) => own.strategy, cell: (own) => link("strategy", own.strategy) },
    { title: "Quantity", className: "number", value: (own) => own.quantity, cell: (own) => (sign(own.quantity) ? h("span", { class: tint(own.quantity) }, signed(own.quantity)) : h("span", { class: "soft" }, "flat")) },
    { title: "Average", className: "number", value: (own) => own.average_price, cell: (own) => (sign(own.quantity) ? amount(own.average_price, 2) : UNKNOWN) },
    { title: "Realized", className: "number", value: (own) => own.realized_pnl, cell: (own) => signed(own.realized_pnl, 2) },
    { title: "Unrealized", className: "number", value: (own) => own.unrealized_pnl, cell: (own) => h("span", { class: tint(own.unrealized_pnl) }, signed(own.unrealized_pnl, 2)) },
    { title: "Net", className: "number", value: (own) => own.net_pnl, cell: (own) => h("span", { class: tint(own.net_pnl) }, signed(own.net_pnl, 2)) },
    { title: "", value: (own) => `${own.currency} ${own.money}`, cell: (own) => [h("span", { class: "soft" }, `${own.currency} `), moneyTag(own.money)] },
  ]);
  return tablePanel("Positions", { id: "positions", span, columns, rows, keyOf: (own) => own.key, onSort: app.redraw, empty: "Flat: nothing is held." });
}

export function orderTable(app, { span = 12, keep = () => true, without = null } = {}) {
  const rows = app.model.rows("orders").filter(keep);
  const columns = leaving(without, [
    { title: "Order", value: (own) => own.key, cell: (own) => orderLink(own.key, own.strategy) },
    { title: "Strategy", value: (own) => own.strategy, cell: (own) => link("strategy", own.strategy) },
    { title: "Instrument", value: (own) => own.instrument, cell: (own) => link("market", own.instrument) },
    { title: "Side", value: (own) => `${own.side} ${own.order_type}`, cell: (own) => [side(own), ` ${own.order_type}`] },
    { title: "Price", className: "number", value: (own) => own.price, cell: (own) => amount(own.price) },
    { title: "Filled", className: "number", value: (own) => own.filled, cell: (own) => [amount(own.filled), h("span", { class: "soft" }, ` / ${amount(own.quantity)}`)] },
    { title: "State", value: (own) => own.state, cell: (own) => state(own.state) },
    { title: "Since", value: (own) => milliseconds(own.requested_ns), cell: (own) => app.engineTime(own.requested_ns) },
    { title: "", className: "acts", cell: (own) => app.commands.iconButton("close", `Cancel ${own.key}`, "cancel", { order_id: own.key }, { isNow: true }) },
  ]);
  return tablePanel("Open orders", { id: "orders", span, columns, rows, keyOf: (own) => own.key, onSort: app.redraw, empty: "No order is open." });
}

const FILL_ROWS = 100;

export function fillTable(app, { span = 12, keep = () => true, without = null } = {}) {
  const rows = app.model.tail("fills").filter(keep).reverse();
  const columns = leaving(without, [
    { title: "Fill", value: (own) => own.ts_ns, cell: (own) => app.eventTime(own) },
    { title: "Order", value: (own) => own.order_id, cell: (own) => orderLink(own.order_id, own.strategy) },
    { title: "Strategy", value: (own) => own.strategy, cell: (own) => link("strategy", own.strategy) },
    { title: "Instrument", value: (own) => own.instrument, cell: (own) => link("market", own.instrument) },
    { title: "Side", value: (own) => (own.side > 0 ? "buy" : "sell"), cell: (own) => side({ side: own.side > 0 ? "buy" : "sell" }) },
    { title: "Quantity", className: "number", value: (own) => own.quantity, cell: (own) => amount(own.quantity) },
    { title: "Price", className: "number", value: (own) => own.price, cell: (own) => amount(own.price) },
    { title: "Fee", className: "number", value: (own) => own.fee, cell: (own) => amount(own.fee, 4) },
    { title: "", value: (own) => own.liquidity, cell: (own) => h("span", { class: "tag" }, own.liquidity) },
  ]);
  return tablePanel("Fills", { id: "fills", span, columns, rows, keyOf: (own) => own.n, onSort: app.redraw, limit: FILL_ROWS, empty: "Nothing was filled yet." });
}

/** Fills as marks of a price chart. */
export function fillMarks(app, keep) {
  return app.model
    .tail("fills")
    .filter(keep)
    .map((own) => ({ at: app.model.wallOf(own), value: Number(own.price), side: own.side, text: `${own.side > 0 ? "bought" : "sold"} ${amount(own.quantity)} at ${amount(own.price)}` }))
    .filter((mark) => mark.at !== null);
}

export const ordersView = (app) =>
  h(
    "div",
    { class: "grid" },
    h("div", { class: "span-12 filters", key: "acts" }, app.commands.button("Cancel all", "cancel-all"), app.commands.button("Flatten", "flatten")),
    accounts(app),
    positionTable(app),
    orderTable(app),
    fillTable(app, { span: "7 wide" }),
    gates(app),
  );

function accounts(app) {
  const rows = app.model.rows("accounts");
  const columns = [
    { title: "Account", value: (own) => own.currency },
    { title: "", value: (own) => own.money, cell: (own) => moneyTag(own.money, `${own.money} money`) },
    ...["deposit", "realized_pnl", "unrealized_pnl", "fees", "equity"].map((name) => ({
      title: (name[0].toUpperCase() + name.slice(1)).replace("_pnl", ""),
      className: "number",
      value: (own) => own[name],
      cell: (own) => h("span", { class: name.endsWith("pnl") ? tint(own[name]) : "" }, amount(own[name], 2)),
    })),
  ];
  return tablePanel("Accounts", { id: "accounts", span: 12, columns, rows, keyOf: (own) => own.key, onSort: app.redraw, empty: "No account: this engine has no broker." });
}

export function gates(app) {
  const rows = app.model.rows("gates");
  const columns = [
    { title: "Gate", value: (own) => own.key },
    { title: "Passed", className: "number", value: (own) => own.passed },
    { title: "Refused", className: "number", value: (own) => own.refused, cell: (own) => h("span", { class: own.refused ? "text-bad" : "" }, count(own.refused)) },
  ];
  return tablePanel("Risk gates", { id: "gates", span: "5 wide", columns, rows, keyOf: (own) => own.key, onSort: app.redraw, empty: "No gate has judged an order yet." });
}

/** One order: its story from the ticks that it was decided on to its last fill. */
export function orderView(app, name) {
  const own = app.model.row("orders", name);
  const events = [...app.model.tail("orders"), ...app.model.tail("fills")].filter((entry) => entry.order_id === name).sort((one, other) => (BigInt(one.ts_ns) < BigInt(other.ts_ns) ? -1 : BigInt(one.ts_ns) > BigInt(other.ts_ns) ? 1 : order(one) - order(other)));
  const distinct = events.filter((entry, index) => events.findIndex((other) => other.type === entry.type && other.execution_id === entry.execution_id) === index);
  const first = distinct.find((entry) => entry.type === "OrderRequested");
  const cancel = own ? app.commands.button("Cancel", "cancel", { order_id: name }, { isNow: true }) : null;
  const facts = own ?? first ?? distinct[0];
  return [
    crumbs(name, { from: ["Orders", "#/orders"], acts: cancel }, own ? state(own.state) : null, facts ? [link("strategy", facts.strategy), link("market", facts.instrument)] : null),
    h("div", { class: "grid" }, panel("Story", { span: 12 }, distinct.length ? h("ol", { class: "story" }, first && causeOf(first) ? step(app, first, { level: "info", what: "the ticks that it was decided on", why: causeOf(first) }, "cause") : null, distinct.map((entry) => step(app, entry, describe(entry)))) : empty("Its events are older than what this page was sent; the audit has them."))),
  ];
}

const ORDER = ["OrderRequested", "OrderAccepted", "OrderRejected", "OrderAmendRequested", "OrderAmended", "OrderAmendRejected", "OrderTriggered", "OrderPartiallyFilled", "OrderFilled", "OrderCanceled", "OrderExpired"];
const order = (entry) => ORDER.indexOf(entry.type);

function step(app, entry, { level, what, why }, key = `${entry.type} ${entry.n}`) {
  return h("li", { key }, h("time", null, app.eventTime(entry, 3)), h("i", { class: `dot ${level}` }), h("div", null, h("b", null, what), why ? h("span", { class: "soft" }, ` ${why}`) : null));
}
