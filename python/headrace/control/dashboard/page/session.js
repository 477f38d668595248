/*
 * session: the tokens of this browser tab, one for each engine that it shows, and the look that its reader chose.
 *
 * Guarantees: a token is in memory and in the tab's session storage only; it ends with the tab or with `forget`.
 * Does not: put it in an address, a cookie or a log.
 */

const TOKENS = "headrace.tokens";
const SHOWN = "headrace.shown";
const LOOK = "headrace.look";
export const LOOKS = ["auto", "light", "dark"];

/** Origin of an engine -> its token. */
export const tokens = () => JSON.parse(sessionStorage.getItem(TOKENS) ?? "{}");

export const keep = (origin, token) => set({ ...tokens(), [origin]: token });

export function forget(origin) {
  const { [origin]: gone, ...others } = tokens();
  set(others);
}

function set(own) {
  if (Object.keys(own).length) sessionStorage.setItem(TOKENS, JSON.stringify(own));
  else sessionStorage.clear();
}

/** The engine that the views show, of several. */
export const shown = () => sessionStorage.getItem(SHOWN) ?? location.origin;
export const show = (origin) => sessionStorage.setItem(SHOWN, origin);

const dark = matchMedia("(prefers-color-scheme: dark)");

export const look = () => localStorage.getItem(LOOK) ?? "auto";

export function setLook(own) {
  localStorage.setItem(LOOK, own);
  applyLook();
}

export function applyLook() {
  const own = look();
  document.documentElement.dataset.theme = own === "auto" ? (dark.matches ? "dark" : "light") : own;
}

dark.addEventListener("change", applyLook);
