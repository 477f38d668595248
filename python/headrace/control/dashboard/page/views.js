/*
 * views: which part of the page an address shows. `#/` is the first screen, `#/strategy/NAME` one strategy.
 *
 * Guarantees: every address shows something; an unknown one the first screen.
 */

import { commandsView } from "./commands.js";
import { alertsView } from "./views/alerts.js";
import { auditView } from "./views/audit.js";
import { letterView, lettersView } from "./views/letters.js";
import { marketView, marketsView } from "./views/market.js";
import { orderView, ordersView } from "./views/orders.js";
import { overview } from "./views/overview.js";
import { reportView } from "./views/report.js";
import { routesView } from "./views/routes.js";
import { strategyView } from "./views/strategy.js";

const badge = (count, level) => (count ? { text: String(count), level } : null);

export const VIEWS = [
  { title: "Overview", hash: "#/", draw: overview },
  { title: "Markets", hash: "#/markets", draw: marketsView },
  { title: "Orders", hash: "#/orders", draw: ordersView, badge: ({ engine }) => badge(engine.open_orders) },
  { title: "Routes", hash: "#/routes", draw: routesView },
  { title: "Dead letters", hash: "#/letters", draw: lettersView, badge: ({ engine }) => badge(engine.dead_letters, "warn") },
  { title: "Alerts", hash: "#/alerts", draw: alertsView, badge: (model) => badge(model.rows("alerts").filter((own) => own.state === "firing").length, "bad") },
  { title: "Audit", hash: "#/audit", draw: auditView },
  { title: "Commands", hash: "#/commands", draw: commandsView },
  { title: "Reports", hash: "#/reports", draw: reportView },
];

const DETAILS = {
  strategy: { tab: "#/", draw: strategyView },
  market: { tab: "#/markets", draw: marketView },
  order: { tab: "#/orders", draw: orderView },
  letter: { tab: "#/letters", draw: letterView },
};

export function viewOf(hash) {
  const [, kind = "", name = ""] = hash.split("/");
  const detail = DETAILS[kind];
  if (detail && name) {
    const own = decodeURIComponent(name);
    return { key: hash, tab: VIEWS.find((tab) => tab.hash === detail.tab), draw: (app) => detail.draw(app, own) };
  }
  const tab = VIEWS.find((own) => own.hash === `#/${kind}`) ?? VIEWS[0];
  return { key: tab.hash, tab, draw: tab.draw };
}
