/*
 * events: what an event of the bus says, in words: for the audit, the story of an order, and the list of fills.
 *
 * Guarantees: every event has a line, also one of a type that this page does not know.
 */

import { amount, count } from "./format.js";
import { grade } from "./parts.js";

const STATE_GRADES = { running: "good", quarantined: "bad", failed: "bad", paused: "warn", stopped: "off" };
const CONTROL_GRADES = { HALTED: "bad", REARMED: "good", ENGINE_READY: "good", FEED_ENDED: "warn", STOPPING: "warn" };

const side = (own) => (own > 0 ? "buy" : "sell");
const because = (reason) => (reason ? `: ${reason}` : "");

const WORDS = {
  Audit: (own) => ({ level: grade(own.outcome), what: `${own.action} ${shortTarget(own.target)}`.trim(), why: [own.outcome, own.reason].filter(Boolean).join(": "), who: own.actor }),
  Control: (own) => ({ level: CONTROL_GRADES[own.name] ?? "info", what: own.name.replaceAll("_", " ").toLowerCase(), why: facts(own.detail) }),
  StrategyStateChanged: (own) => ({ level: STATE_GRADES[own.after] ?? "info", what: `${own.strategy} is ${own.after}`, why: [`it was ${own.before}`, own.reason].filter(Boolean).join("; ") }),
  Status: (own) => ({ level: grade(own.state), what: `${own.subject} is ${own.state}`, why: own.reason }),
  Gap: (own) => ({ level: "bad", what: `lane ${own.lane} dropped ${count(own.missed)} events`, why: `numbers ${count(own.first)} to ${count(own.last)}` }),
  OrderRequested: (own) => ({ level: own.verdict === "refused" ? "bad" : "info", what: `${side(own.side)} ${amount(own.quantity)} ${own.order_type}${own.price === null ? "" : ` at ${amount(own.price)}`}`, why: `requested, ${own.verdict === "passed" ? "passed all gates" : (own.verdict ?? "not judged")}` }),
  OrderTriggered: (own) => ({ level: "info", what: `triggered at ${amount(own.price)}`, why: "" }),
  OrderAmendRequested: (own) => ({ level: own.verdict === "refused" ? "bad" : "info", what: `amend to ${terms(own)}`, why: `requested, ${own.verdict === "passed" ? "passed all gates" : (own.verdict ?? "not judged")}` }),
  OrderAmended: (own) => ({ level: "info", what: `amended to ${terms(own)}`, why: `${amount(own.left)} left${because(own.reason)}` }),
  OrderAmendRejected: (own) => ({ level: "bad", what: `amend rejected by ${own.gate}`, why: `observed ${own.observed}, allowed ${own.threshold}${because(own.reason)}` }),
  OrderAccepted: (own) => ({ level: "info", what: "accepted by the broker", why: own.broker_order_id && `as ${own.broker_order_id}` }),
  OrderRejected: (own) => ({ level: "bad", what: `rejected by ${own.gate}`, why: `observed ${own.observed}, allowed ${own.threshold}${because(own.reason)}` }),
  OrderCanceled: (own) => ({ level: "off", what: "canceled", why: `${amount(own.left)} not filled${because(own.reason)}` }),
  OrderExpired: (own) => ({ level: "off", what: "expired", why: `${amount(own.left)} not filled` }),
  OrderPartiallyFilled: (own) => ({ level: "info", what: filled(own), why: `${amount(own.left)} left, fee ${amount(own.fee)}, ${own.liquidity}` }),
  OrderFilled: (own) => ({ level: "good", what: filled(own), why: `complete, fee ${amount(own.fee)}, ${own.liquidity}` }),
};

const terms = (own) => [amount(own.quantity), own.price && `at ${amount(own.price)}`, own.trigger_price && `trigger ${amount(own.trigger_price)}`, own.trail && `trail ${amount(own.trail)}`].filter(Boolean).join(", ");
const filled = (own) => `${own.side > 0 ? "bought" : "sold"} ${amount(own.quantity)} at ${amount(own.price)}`;

/** What an event says: a grade, what it is, why, and who. */
export function describe(entry) {
  return WORDS[entry.type]?.(entry) ?? { level: "info", what: entry.type ?? "event", why: facts(entry) };
}

function facts(detail) {
  return Object.entries(detail ?? {})
    .map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`)
    .join(", ");
}

/** "strategy:Momentum" is Momentum; "engine" says nothing more than the action does. */
const shortTarget = (target) => (target === "engine" || target === "kill_switch" ? "" : (target ?? "").replace(/^(strategy|order|letter|instrument|route):/, ""));

/** The ticks that something was decided on, in words; empty without any. */
export function causeOf(entry) {
  const own = entry.cause ?? entry.quote;
  if (!own) return "";
  const { first, last } = own;
  return `${own.instrument ?? "every instrument"} ${own.kind} ${first === last ? `seq ${count(first)}` : `seq ${count(first)} to ${count(last)}`}`;
}

