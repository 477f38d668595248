/* Whether what has the focus can be seen to have it: a ring of 2 px around it, or around what stands for it. */
() => {
  const own = document.activeElement;
  const holder = own.matches(".unseen") ? own.parentElement : own;
  const style = getComputedStyle(holder);
  const box = holder.getBoundingClientRect();
  const name = own.getAttribute("aria-label") ?? own.innerText ?? "";
  return {
    id: `${own.tagName} ${own.getAttribute("href") ?? ""} ${name.slice(0, 60)} ${[...document.querySelectorAll("*")].indexOf(own)}`,
    isBody: own === document.body,
    hasRing: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
    isOnScreen: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight,
    isNamed: name.trim() !== "" || own.labels?.length > 0 || own.matches("[tabindex]"),
  };
}
