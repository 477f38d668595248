/*
 * engines: all engines that this page shows, side by side: how each is, and what each account of each earns.
 *
 * Guarantees: no amount is added to another one: not of two engines, nor of two currencies, nor paper to live; an engine
 *   without a token asks for one here, and what is shown of it is nothing.
 * Does not: decide which engines there are: `engines` of [control.http] does, and each of them allows this page.
 */

import { h } from "../dom.js";
import { UNKNOWN, amount, compact, count, duration, signed } from "../format.js";
import { netOf, tint } from "../money.js";
import { moneyTag, panel, state, tablePanel } from "../parts.js";
import { verdict } from "../verdict.js";

/** How many of the engines are not well, or have not signed in. */
export const unwell = (app) => [...app.page.apps.values()].filter((own) => ["bad", "warn"].includes(verdict(own.model).level)).length;

export function enginesView({ page, redraw }) {
  const apps = [...page.apps.values()];
  const locked = page.others.filter((origin) => !page.apps.has(origin));
  return h(
    "div",
    { class: "grid" },
    apps.map((own) => card(page, own)),
    locked.map((origin) => signIn(page, origin)),
    accounts(apps, redraw),
  );
}

function card(page, own) {
  const { engine, rates, isWorker } = own.model;
  const { level, title } = verdict(own.model);
  const facts = isWorker
    ? [["waiting", count(rates.pending)], ["processing", count(rates.processing)], ["oldest", duration(rates.age_s === undefined ? null : rates.age_s * 1e9)]]
    : [["ticks/s", compact(rates.ticks_per_s)], ["lag", duration(rates.lag_s === undefined ? null : rates.lag_s * 1e9)], ["open orders", count(engine.open_orders)], ["strategies", count(engine.strategies)]];
  return panel(
    engine.name ?? own.origin,
    { span: "4 wide", id: own.origin, aside: [engine.mode ? h("span", { class: "tag info" }, engine.mode) : null, engine.money && engine.money !== "none" ? moneyTag(engine.money, `${engine.money} money`) : null] },
    h("p", { class: "verdict-line" }, state({ off: "ended", warn: "paused" }[level] ?? (level === "bad" ? "failed" : "ok"), title)),
    h("p", { class: "small" }, own.origin.replace(/^https?:\/\//, "")),
    h("dl", { class: "terms" }, facts.map(([term, value]) => h("div", { key: term }, h("dt", null, term), h("dd", null, value)))),
    h(
      "div",
      { class: "filters", key: "acts" },
      h("button", { type: "button", class: "small", "aria-label": `Show ${engine.name}`, onclick: () => page.show(own.origin) }, "Show"),
      engine.halted ? null : own.commands.button("Halt", "halt", {}, { "aria-label": `Halt ${engine.name}`, class: "small danger", onclick: () => halt(page, own) }),
      own === page.home ? null : h("button", { type: "button", class: "small", onclick: () => page.signOut(own.origin) }, "Sign out"),
    ),
  );
}

/** The form of a halt stands in the frame of its own engine. */
function halt(page, own) {
  page.show(own.origin);
  own.commands.open("halt");
}

function signIn(page, origin) {
  const wrong = page.wrong.get(origin);
  const enter = (event) => {
    event.preventDefault();
    page.signIn(origin, event.target.elements.token.value.trim());
  };
  return panel(
    origin.replace(/^https?:\/\//, ""),
    { span: "4 wide", id: origin },
    h(
      "form",
      { onsubmit: enter, class: "stack" },
      h("label", { class: "stack" }, h("span", null, "Token of this engine"), h("input", { name: "token", type: "password", required: true, autocomplete: "off", spellcheck: "false" })),
      wrong ? h("p", { class: "refused", role: "alert" }, wrong) : null,
      h("div", null, h("button", { type: "submit", class: "main" }, "Sign in")),
    ),
  );
}

function accounts(apps, redraw) {
  const rows = apps.flatMap((app) => app.model.rows("accounts").map((own) => ({ ...own, engine: app.model.engine.name, id: `${app.origin} ${own.key}` })));
  const columns = [
    { title: "Engine", value: (own) => own.engine },
    { title: "Money", value: (own) => own.money, cell: (own) => moneyTag(own.money, `${own.money} money`) },
    { title: "Currency", value: (own) => own.currency },
    { title: "Net profit", className: "number", value: netOf, cell: (own) => h("span", { class: tint(netOf(own)) }, signed(netOf(own), 2) ?? UNKNOWN) },
    { title: "Fees", className: "number", value: (own) => own.fees, cell: (own) => amount(own.fees, 2) },
    { title: "Equity", className: "number", value: (own) => own.equity, cell: (own) => amount(own.equity, 2) },
  ];
  return tablePanel("Accounts", { id: "engine-accounts", span: 12, file: "Accounts of all engines", columns, rows, keyOf: (own) => own.id, onSort: redraw, empty: "No engine has an account." });
}
