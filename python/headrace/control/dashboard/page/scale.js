/*
 * scale: what a chart has room for: the ticks of its axes, the points in its window, and no more of them than columns.
 *
 * Guarantees: each column of pixels keeps the lowest and the highest of its points, whatever their number, so a spike of
 *   one second is seen in a day; where a value is unknown the line breaks.
 * Does not: draw; `chart` does.
 */

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
const TIME_STEPS = [
  1_000, 2_000, 5_000, 10_000, 15_000, 30_000, MINUTE, 2 * MINUTE, 3 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE,
  30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR, 48 * HOUR, 168 * HOUR,
];

/** Values between two others in steps of 1, 2, 2.5 or 5 times a power of ten, or of whole minutes; about `wanted`. */
export function valueTicks(low, high, wanted, isTime = false) {
  const rough = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  const isLong = isTime && rough > 10e9;
  const steps = isLong ? TIME_STEPS.map((ms) => ms * 1e6) : [1, 2, 2.5, 5, 10].map((factor) => factor * power);
  const step = steps.find((own) => own >= rough * 0.999) ?? rough;
  const ticks = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) ticks.push(Number((at * step).toPrecision(12)));
  return ticks;
}

export function timeTicks(from, to, wanted) {
  const step = TIME_STEPS.find((own) => (to - from) / own <= wanted) ?? TIME_STEPS.at(-1);
  const ticks = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) ticks.push(at);
  return { step, ticks };
}

/**
 * The points of a line with at most four for each column of pixels: its first, lowest, highest and last.
 * null is kept once, where a line breaks.
 */
export function thinned(points, from, to, width) {
  const columnOf = (at) => Math.floor(((at - from) / (to - from)) * width);
  const kept = [];
  let column = null;
  let held = null;
  const flush = () => {
    if (!held) return;
    const distinct = [...new Set([held.first, held.low, held.high, held.last])];
    kept.push(...distinct.sort((one, other) => one[0] - other[0]));
    held = null;
  };
  for (const point of points) {
    if (point[1] === null || Number.isNaN(point[1])) {
      flush();
      if (kept.length && kept.at(-1)[1] !== null) kept.push([point[0], null]);
      column = null;
      continue;
    }
    const own = columnOf(point[0]);
    if (own !== column || !held) {
      flush();
      column = own;
      held = { first: point, low: point, high: point, last: point };
    } else {
      if (point[1] < held.low[1]) held.low = point;
      if (point[1] > held.high[1]) held.high = point;
      held.last = point;
    }
  }
  flush();
  return kept;
}

/** The part of sorted points that a view shows, with one more on each side so that lines run to its edges. */
export function within(points, from, to) {
  let first = bisect(points, from);
  let last = bisect(points, to);
  first = Math.max(0, first - 1);
  last = Math.min(points.length, last + 1);
  return first === 0 && last === points.length ? points : points.slice(first, last);
}

/** How many points come before `at`. */
export function bisect(points, at) {
  let [low, high] = [0, points.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function range(series, marks, isFromZero) {
  let [low, high] = [Infinity, -Infinity];
  for (const [, value] of [...series.flatMap((own) => own.shown), ...marks.map((mark) => [0, mark.value])]) {
    if (value === null || Number.isNaN(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return null;
  if (isFromZero) [low, high] = [Math.min(0, low), Math.max(0, high)];
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  return [isFromZero && low === 0 ? 0 : low - room, isFromZero && high === 0 && low < 0 ? 0 : high + room];
}
