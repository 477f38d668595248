/*
 * views: which part of the page an address shows. `#/` is the first screen, `#/strategy/NAME` one strategy.
 *
 * Guarantees: every address shows something; an unknown one the first screen. Does not: show what an engine does not
 *   have: a worker of recommendations and a backtest have views of their own, and a view of several engines is there where there are.
 */

import { commandsView } from "./commands.js";
import { alertsView } from "./views/alerts.js";
import { auditView } from "./views/audit.js";
import { backtestView } from "./views/backtest.js";
import { enginesView, unwell } from "./views/engines.js";
import { letterView, lettersView } from "./views/letters.js";
import { marketView, marketsView } from "./views/market.js";
import { orderView, ordersView } from "./views/orders.js";
import { overview } from "./views/overview.js";
import { reportView } from "./views/report.js";
import { routesView } from "./views/routes.js";
import { strategyView } from "./views/strategy.js";
import { executionsView, workerView } from "./views/worker.js";

const badge = (count, level) => (count ? { text: String(count), level } : null);

const COMMANDS = { title: "Commands", hash: "#/commands", draw: commandsView };
const AUDIT = { title: "Audit", hash: "#/audit", draw: auditView };
const ENGINES = { title: "Engines", hash: "#/engines", draw: enginesView, badge: (app) => badge(unwell(app), "bad") };

const MARKETS = { title: "Markets", hash: "#/markets", draw: marketsView };
const ORDERS = { title: "Orders", hash: "#/orders", draw: ordersView, badge: ({ model }) => badge(model.engine.open_orders) };
const REPORTS = { title: "Reports", hash: "#/reports", draw: reportView };

const ENGINE_VIEWS = [
  { title: "Overview", hash: "#/", draw: overview },
  MARKETS,
  ORDERS,
  { title: "Routes", hash: "#/routes", draw: routesView },
  { title: "Dead letters", hash: "#/letters", draw: lettersView, badge: ({ model }) => badge(model.engine.dead_letters, "warn") },
  { title: "Alerts", hash: "#/alerts", draw: alertsView, badge: ({ model }) => badge(model.rows("alerts").filter((own) => own.state === "firing").length, "bad") },
  AUDIT,
  COMMANDS,
  REPORTS,
];

const WORKER_VIEWS = [
  { title: "Overview", hash: "#/", draw: workerView },
  { title: "Executions", hash: "#/executions", draw: executionsView },
  AUDIT,
  COMMANDS,
];

const BACKTEST_VIEWS = [{ title: "Overview", hash: "#/", draw: backtestView }, MARKETS, ORDERS, AUDIT, COMMANDS, REPORTS];

const VIEWS = { worker: WORKER_VIEWS, backtest: BACKTEST_VIEWS };

const DETAILS = {
  strategy: { tab: "#/", draw: strategyView },
  market: { tab: "#/markets", draw: marketView },
  order: { tab: "#/orders", draw: orderView },
  letter: { tab: "#/letters", draw: letterView },
};

/** The views of an engine, or of a worker. */
export function viewsOf(app) {
  const own = VIEWS[app.model.engine.kind] ?? ENGINE_VIEWS;
  return app.page.others.length ? [...own, ENGINES] : own;
}

export function viewOf(app, hash) {
  const views = viewsOf(app);
  const [, kind = "", name = ""] = hash.split("/");
  const detail = app.model.isWorker ? null : DETAILS[kind];
  if (detail && name) {
    const own = decodeURIComponent(name);
    return { key: hash, tab: views.find((tab) => tab.hash === detail.tab), draw: () => detail.draw(app, own) };
  }
  const tab = views.find((own) => own.hash === `#/${kind}`) ?? views[0];
  return { key: tab.hash, tab, draw: tab.draw };
}
