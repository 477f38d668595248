/*
 * dom: a page as a function of its state. `h` describes an element, `render` makes the document be so.
 *
 *   h("button", { class: "plain", onclick: act }, "Pause")
 *   h(island, { key: "lag", data })        an island draws its own inside: mount(element, props) -> { update, close }
 *   h("dialog", { onmount: (own) => own.showModal() })      called once, when the element is in the document
 *
 * Guarantees: what did not change is not touched, so the focus, a selection and what is being typed stay; text is
 *   never read as markup; a removed island is closed once; where the element with the focus goes, or is switched off, the
 *   focus goes to the nearest one that is left, and stays on the screen. Styles go through the CSSOM, which the page's
 *   policy allows.
 * Does not: schedule; `main` calls it at most once for each frame of the screen.
 */

const SVG = "http://www.w3.org/2000/svg";
const AS_PROPERTY = new Set(["value", "checked", "disabled", "open", "selected"]);
const NONE = Object.freeze({});

// element or text -> the description that it shows
const shown = new WeakMap();
// element -> the running island inside
const islands = new WeakMap();

export function h(tag, properties, ...children) {
  const flat = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  return { tag, properties: properties ?? NONE, children: flat, key: properties?.key };
}

/** Make the children of `host` be what `views` describes. */
export function render(host, ...views) {
  const flat = views.flat(Infinity).filter((view) => view !== null && view !== undefined && view !== false);
  const way = wayTo(document.activeElement, host);
  const isSeen = way.length > 0 && isOnScreen(way[0]);
  patchChildren(host, flat, host.namespaceURI === SVG);
  if (way.length) keepFocus(way, isSeen);
}

/** An element and what is around it, the nearest first, up to a host; empty where the host does not contain it. */
function wayTo(element, host) {
  const way = [];
  for (let own = element; own !== host; own = own.parentNode) {
    if (!own) return [];
    way.push(own);
    if (own === element) continue;
    for (let next = own.nextElementSibling; next; next = next.nextElementSibling) way.push(next);
    for (let before = own.previousElementSibling; before; before = before.previousElementSibling) way.push(before);
  }
  return way;
}

const FOCUSABLE = "button:not(:disabled), a[href], input:not(:disabled), select:not(:disabled), textarea:not(:disabled), [tabindex='0']";

function isOnScreen(element) {
  const box = element.getBoundingClientRect();
  return box.bottom > 0 && box.top < innerHeight;
}

/** A focus that was on the screen stays there; a reader who has scrolled away from it is not moved. */
function keepFocus([element, ...around], isSeen) {
  const isLeft = element.isConnected && !element.disabled;
  // An element that changes its place among the others loses the focus on the way.
  if (isLeft && document.activeElement !== document.body) return;
  const next = isLeft ? element : around.find((own) => own.isConnected && own.querySelector(FOCUSABLE))?.querySelector(FOCUSABLE);
  next?.focus({ preventScroll: !isSeen });
}

function patchChildren(host, views, isSvg) {
  const keyed = new Map();
  for (const node of host.childNodes) {
    const key = shown.get(node)?.key;
    if (key !== undefined) keyed.set(key, node);
  }
  const isGone = goneFrom(keyed, views);
  let next = host.firstChild;
  for (const view of views) {
    let node = view.key === undefined ? unkeyed(next) : keyed.get(view.key);
    if (node && !fits(node, view)) node = undefined;
    // What goes is taken out where it stands: what comes behind it needs no new place.
    while (node && next !== node && isGone(next)) next = remove(next);
    if (node) {
      if (node === next) next = next.nextSibling;
      else host.insertBefore(node, next);
      update(node, view, isSvg);
    } else {
      host.insertBefore(create(view, isSvg), next);
    }
  }
  while (next) next = remove(next);
}

/** Whether a node has a key that no view has any more. */
function goneFrom(keyed, views) {
  if (keyed.size === 0) return () => false;
  const wanted = new Set(views.map((view) => view.key));
  return (node) => {
    const key = shown.get(node)?.key;
    return key !== undefined && !wanted.has(key);
  };
}

/** Take a node out of the document; return the one behind it. */
function remove(node) {
  const following = node.nextSibling;
  discard(node);
  node.remove();
  return following;
}

/** The node that a view without a key may take over: the next one, unless that one has a key. */
function unkeyed(node) {
  return node && shown.get(node)?.key === undefined ? node : undefined;
}

function fits(node, view) {
  const old = shown.get(node);
  if (typeof view !== "object") return node.nodeType === Node.TEXT_NODE;
  return old !== undefined && old.tag === view.tag && old.key === view.key;
}

function create(view, isSvg) {
  if (typeof view !== "object") return document.createTextNode(String(view));
  const island = typeof view.tag === "object" ? view.tag : null;
  const name = island ? (island.tag ?? "div") : view.tag;
  const inSvg = isSvg || name === "svg";
  const element = inSvg ? document.createElementNS(SVG, name) : document.createElement(name);
  setAll(element, NONE, view.properties);
  shown.set(element, view);
  if (island) islands.set(element, island.mount(element, view.properties));
  else patchChildren(element, view.children, inSvg);
  // A select takes its value only when it has its options.
  if (name === "select" && "value" in view.properties) element.value = view.properties.value;
  if (view.properties.onmount) queueMicrotask(() => view.properties.onmount(element));
  return element;
}

function update(node, view, isSvg) {
  if (typeof view !== "object") {
    const text = String(view);
    if (node.data !== text) node.data = text;
    return;
  }
  const old = shown.get(node);
  if (old === view) return;
  setAll(node, old.properties, view.properties);
  shown.set(node, view);
  const island = islands.get(node);
  if (island) island.update(view.properties);
  else patchChildren(node, view.children, isSvg || view.tag === "svg");
}

function setAll(element, old, next) {
  for (const name of Object.keys(old)) if (!(name in next)) set(element, name, undefined, old[name]);
  for (const [name, value] of Object.entries(next)) if (old[name] !== value || name === "value") set(element, name, value, old[name]);
}

function set(element, name, value, old) {
  if (name === "key" || name === "data" || name === "onmount") return;
  if (name.startsWith("on")) {
    element[name] = value ?? null;
  } else if (name === "style") {
    for (const rule of Object.keys(old ?? NONE)) if (!(rule in (value ?? NONE))) element.style.removeProperty(rule);
    for (const [rule, own] of Object.entries(value ?? NONE)) element.style.setProperty(rule, own);
  } else if (AS_PROPERTY.has(name) && name in element) {
    // What a user types is newer than what was drawn before it.
    if (name === "value" && value === undefined) return;
    if (element[name] !== value) element[name] = value ?? false;
  } else if (value === undefined || value === null || value === false) {
    element.removeAttribute(name);
  } else {
    element.setAttribute(name, value === true ? "" : String(value));
  }
}

/** Close the islands of a node that leaves the document. */
function discard(node) {
  islands.get(node)?.close?.();
  islands.delete(node);
  for (const child of node.childNodes) discard(child);
}
