/*
 * session: the token of this browser tab, and the look that its reader chose.
 *
 * Guarantees: the token is in memory and in the tab's session storage only; it ends with the tab or with `forget`.
 * Does not: put it in an address, a cookie or a log.
 */

const TOKEN = "headrace.token";
const LOOK = "headrace.look";
export const LOOKS = ["auto", "light", "dark"];

export const token = () => sessionStorage.getItem(TOKEN);
export const keep = (own) => sessionStorage.setItem(TOKEN, own);
export const forget = () => sessionStorage.removeItem(TOKEN);

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
