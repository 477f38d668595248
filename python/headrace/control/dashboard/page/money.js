/*
 * money: sums of amounts, exactly: decimal texts in, decimal text out, by integers.
 *
 * Does not: add two currencies, or paper to live; callers hold one account.
 */

import { sign } from "./format.js";

/** Realized and unrealized profit less fees; null where a mark is missing. */
export function netOf({ realized_pnl, unrealized_pnl, fees }) {
  if (unrealized_pnl === null || unrealized_pnl === undefined) return null;
  return sum(realized_pnl, unrealized_pnl, fees.startsWith("-") ? fees.slice(1) : `-${fees}`);
}

export function sum(...texts) {
  const places = Math.max(...texts.map((text) => (text.split(".")[1] ?? "").length));
  const total = texts.reduce((whole, text) => whole + units(text, places), 0n);
  const digits = String(total < 0n ? -total : total).padStart(places + 1, "0");
  return `${total < 0n ? "-" : ""}${digits.slice(0, digits.length - places)}${places ? `.${digits.slice(-places)}` : ""}`;
}

function units(text, places) {
  const [whole, part = ""] = text.replace("-", "").split(".");
  const own = BigInt(whole + part.padEnd(places, "0"));
  return text.startsWith("-") ? -own : own;
}

/** The class of an amount that is a gain or a loss. */
export const tint = (text) => ({ "-1": "text-sell", 0: "", 1: "text-buy" })[sign(text)];
