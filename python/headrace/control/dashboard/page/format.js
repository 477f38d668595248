/*
 * format: numbers, amounts, times and durations as text, the same everywhere on the page.
 *
 * Guarantees: an amount arrives as decimal text and is rounded as text, half away from zero, never as a float; an
 *   unknown value is an en dash, never 0; times are UTC.
 * Does not: translate: figures look the same for everybody who compares them.
 */

export const UNKNOWN = "–";
const MINUS = "−";
const NARROW = "\u202f";

const isUnknown = (value) => value === null || value === undefined || value === "" || Number.isNaN(value);

/** 1234567 -> 1,234,567. Takes integers above 2^53 as text. */
export function count(value) {
  if (isUnknown(value)) return UNKNOWN;
  const text = typeof value === "number" ? String(Math.round(value)) : String(value);
  return grouped(text.replace(/^-/, MINUS));
}

function grouped(digits) {
  return digits.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** 1234567 -> 1.23 M: four characters and a unit, for axes and tiles. */
export function compact(value) {
  if (isUnknown(value)) return UNKNOWN;
  const size = Math.abs(Number(value));
  if (size < 10_000) return plain(Number(value), size < 10 && size % 1 ? 2 : size < 100 && size % 1 ? 1 : 0);
  const step = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([unit]) => size >= unit);
  const scaled = Number(value) / step[0];
  return `${plain(scaled, Math.abs(scaled) < 10 ? 2 : Math.abs(scaled) < 100 ? 1 : 0)}${NARROW}${step[1]}`;
}

function plain(value, places) {
  const text = Math.abs(value).toFixed(places);
  const [whole, part] = text.split(".");
  return (value < 0 && Number(text) !== 0 ? MINUS : "") + grouped(whole) + (part ? `.${part}` : "");
}

/** Nanoseconds as the unit that shows three figures: 48.1 µs. */
export function duration(ns) {
  if (isUnknown(ns)) return UNKNOWN;
  const size = Math.abs(Number(ns));
  if (size === 0) return "0";
  const sign = Number(ns) < 0 ? MINUS : "";
  if (size >= 60e9) return sign + long(size / 1e9);
  const [unit, name] = size >= 1e9 ? [1e9, "s"] : size >= 1e6 ? [1e6, "ms"] : size >= 1e3 ? [1e3, "µs"] : [1, "ns"];
  const scaled = size / unit;
  return `${sign}${plain(scaled, unit === 1 ? 0 : scaled < 10 ? 2 : scaled < 100 ? 1 : 0)}${NARROW}${name}`;
}

function long(seconds) {
  const whole = Math.floor(seconds);
  const [days, hours, minutes] = [Math.floor(whole / 86_400), Math.floor(whole / 3_600) % 24, Math.floor(whole / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
  return whole % 60 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
}

/** Text or number of nanoseconds since 1970 -> milliseconds, NaN where there is none. */
export function milliseconds(ns) {
  if (isUnknown(ns)) return NaN;
  return typeof ns === "number" ? ns / 1e6 : Number(BigInt(ns) / 1000n) / 1000;
}

/** 12:03:11 of a time in milliseconds; `places` of a second, at most 3. */
export function clock(ms, places = 0) {
  if (isUnknown(ms)) return UNKNOWN;
  const text = new Date(ms).toISOString();
  return text.slice(11, places ? 20 + places : 19);
}

/** 2026-11-30 12:03:11.123 UTC. */
export function moment(ms) {
  return isUnknown(ms) ? UNKNOWN : `${new Date(ms).toISOString().slice(0, 23).replace("T", " ")} UTC`;
}

/** The time of a time, with the day where that is not the day of `now`. */
export function shortMoment(ms, now) {
  if (isUnknown(ms)) return UNKNOWN;
  const day = new Date(ms).toISOString().slice(0, 10);
  return day === new Date(now).toISOString().slice(0, 10) ? clock(ms) : `${day.slice(5)} ${clock(ms)}`;
}

/** Decimal text as an amount: `places` after the point where they are given, grouped thousands. */
export function amount(text, places) {
  if (isUnknown(text)) return UNKNOWN;
  const [, sign, whole, part] = parts(String(text)) ?? [];
  if (whole === undefined) return String(text);
  const rounded = places === undefined ? [whole, part] : round(whole, part, places);
  const isZero = /^0*$/.test(rounded[0] + rounded[1]);
  return (sign && !isZero ? MINUS : "") + grouped(rounded[0]) + (rounded[1] ? `.${rounded[1]}` : "");
}

/** The same with a plus sign where it is above zero. */
export function signed(text, places) {
  const shown = amount(text, places);
  return shown === UNKNOWN || shown.startsWith(MINUS) || /^[0.,]+$/.test(shown) ? shown : `+${shown}`;
}

/** -1, 0 or 1, by the whole text; 0 for unknown. */
export function sign(text) {
  if (isUnknown(text)) return 0;
  const found = parts(String(text));
  if (!found || /^0*$/.test(found[2] + found[3])) return 0;
  return found[1] ? -1 : 1;
}

/** Plain digits of a decimal: 1E-7 and 1.5E+3 are written out. */
function parts(text) {
  const found = /^([-−]?)(\d+)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/.exec(text);
  if (!found) return null;
  let [, sign, whole, part = "", power] = found;
  const shift = Number(power ?? 0);
  if (Math.abs(shift) > 400) return null;
  if (shift > 0) {
    const moved = part.padEnd(shift, "0");
    [whole, part] = [whole + moved.slice(0, shift), moved.slice(shift)];
  } else if (shift < 0) {
    const moved = whole.padStart(1 - shift, "0");
    [whole, part] = [moved.slice(0, shift), moved.slice(shift) + part];
  }
  return [text, sign, whole.replace(/^0+(?=\d)/, ""), part];
}

function round(whole, part, places) {
  const digits = whole + part.padEnd(places + 1, "0").slice(0, places + 1);
  const isUp = digits.at(-1) >= "5";
  const kept = BigInt(digits.slice(0, -1) || "0") + (isUp ? 1n : 0n);
  const text = String(kept).padStart(places + 1, "0");
  return [text.slice(0, text.length - places) || "0", places ? text.slice(-places) : ""];
}

/** 0.1234 -> 12.3 %. */
export function percent(share, places = 1) {
  return isUnknown(share) ? UNKNOWN : `${plain(share * 100, places)}${NARROW}%`;
}

/** A share of a price, in hundredths of a percent: two digits behind the point, and below one two that say something. */
export function basisPoints(value) {
  if (isUnknown(value)) return UNKNOWN;
  return `${value === 0 ? "0" : Math.abs(value) < 1 ? decimalText(Number(value.toPrecision(2))) : value.toFixed(2)}${NARROW}bp`;
}

/** A price as it was sent, without the zeros that a float's text may end with. */
export function price(value) {
  if (isUnknown(value)) return UNKNOWN;
  return amount(typeof value === "number" ? decimalText(value) : value);
}

/** A price with as many decimals as the longest of those that it stands beside: 2680.6 beside 2680.59 is 2,680.60. */
export function priceBeside(value, ...others) {
  if (isUnknown(value)) return UNKNOWN;
  const places = [value, ...others].filter((own) => !isUnknown(own)).map((own) => (decimalText(Number(own)).split(".")[1] ?? "").length);
  return amount(decimalText(Number(value)), Math.max(...places));
}

/** A price on an axis, with as many decimals as the step between two of them has. */
export function axisPrice(value, step) {
  const digits = decimalText(Number(step.toPrecision(6))).split(".")[1] ?? "";
  return amount(value.toFixed(Math.min(12, digits.length)));
}

function decimalText(value) {
  const text = String(value);
  return text.includes("e") ? value.toFixed(12).replace(/0+$/, "").replace(/\.$/, "") : text;
}

/** "1 strategy", "2 strategies". */
export function counted(number, noun, plural = `${noun}s`) {
  return `${count(number)} ${number === 1 ? noun : plural}`;
}

/** The number of an order within its strategy, where its id is made of run, strategy and number; its id otherwise. */
export function orderName(id, strategy) {
  const [, number] = new RegExp(`-${strategy.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}-(\\d+)$`).exec(id) ?? [];
  return number ? `#${number}` : id;
}
