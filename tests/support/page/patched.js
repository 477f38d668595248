/* Draw rows of links, put the focus on one, draw other rows; which has the focus then, and whether it is on the screen. */
async ([before, focused, after]) => {
  const { h, render } = await import("/page/dom.js");
  window.host ??= document.body.appendChild(document.createElement("section"));
  const rows = (names) => names.map((name) => h("p", { key: name, style: { height: "30px" } }, h("a", { href: "#/", name }, name)));
  render(window.host, ...rows(before));
  window.host.querySelector(`[name="${focused}"]`).focus();
  render(window.host, ...rows(after));
  const own = document.activeElement;
  const box = own.getBoundingClientRect();
  return { name: own.name ?? "", isOnScreen: box.top >= 0 && box.bottom <= innerHeight };
}
