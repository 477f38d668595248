/*
 * history: the figures of the last 15 minutes to 24 hours, as the engine kept them.
 *
 * Guarantees: a series has at most 900 slots of three points, whatever its span: the server thins them.
 */

import { milliseconds } from "./format.js";

const HOLE_SLOTS = 4;

/**
 * Return series name -> [[ms, value], …], null where nothing was sampled, as a Map; its `firstMs` is when the first figure
 * is of. Raises Refusal. names : "rates/*" is all of them.
 */
export async function loadHistory(api, span, names) {
  const asked = names.map((name) => `series=${encodeURIComponent(name)}`).join("&");
  const { first_ns, step_ns, series } = await api.get(`/v1/history?span=${span}&${asked}`);
  const [first, step] = [milliseconds(first_ns), milliseconds(step_ns)];
  const found = new Map(Object.entries(series).map(([name, slots]) => [name, pointsOf(slots, first, step)]));
  return Object.assign(found, { firstMs: first });
}

/** A slot is its lowest and its highest value, then its last one: a spike stays a spike, and a slope a slope. */
function pointsOf({ low, high, last }, first, step) {
  const points = [];
  let before = null;
  let empty = 0;
  last.forEach((value, index) => {
    const at = first + index * step;
    // A busy engine samples a little later than once a second: a slot without a sample is no hole yet.
    empty = value === null ? empty + 1 : 0;
    if (empty && empty < HOLE_SLOTS) return;
    if (value !== null && low[index] !== high[index]) {
      const [near, far] = before !== null && before > value ? [high[index], low[index]] : [low[index], high[index]];
      points.push([at + step * 0.25, near], [at + step * 0.5, far]);
    }
    points.push([at + step * 0.75, value]);
    before = value ?? before;
  });
  return points;
}
