/* What of the page has less contrast than is wanted of text, large text and shapes, by WCAG; and how much was looked at. */
(wanted) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const rgba = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = "#000";
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };
  const over = (top, below) => top.slice(0, 3).map((own, index) => own * top[3] + below[index] * (1 - top[3]));
  const grounds = (element) => {
    const stack = [];
    for (let own = element; own; own = own.parentElement) stack.unshift(own);
    return stack.reduce((below, own) => over(rgba(getComputedStyle(own).backgroundColor), below), [255, 255, 255]);
  };
  const opacity = (element) => {
    let all = 1;
    for (let own = element; own; own = own.parentElement) all *= Number(getComputedStyle(own).opacity);
    return all;
  };
  const light = (rgb) => {
    const [red, green, blue] = rgb.map((own) => own / 255).map((own) => (own <= 0.04045 ? own / 12.92 : ((own + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const seen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && element.getClientRects().length > 0;
  const color = (element, name) => {
    const below = grounds(element.parentElement ?? element);
    const own = rgba(getComputedStyle(element)[name]);
    return over([own[0], own[1], own[2], own[3] * opacity(element)], name === "color" ? grounds(element) : below);
  };
  const found = [];
  const note = (kind, element, ratio, what) => found.push({ kind, ratio, what: `${what} in ${element.tagName.toLowerCase()}.${element.getAttribute("class") ?? ""}` });
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !seen(element) || element.closest(":disabled, noscript, option, svg")) continue;
    const style = getComputedStyle(element);
    const px = parseFloat(style.fontSize);
    const isLarge = px >= 24 || (px >= 18.66 && Number(style.fontWeight) >= 700);
    note(isLarge ? "large" : "text", element, contrast(color(element, "color"), grounds(element)), JSON.stringify(node.data.trim().slice(0, 40)));
  }
  for (const text of document.querySelectorAll("svg text")) {
    if (text.textContent && seen(text)) note("text", text, contrast(color(text, "fill"), grounds(text.closest("div"))), JSON.stringify(text.textContent));
  }
  for (const line of document.querySelectorAll(".chart .paths path")) if (line.getAttribute("d")) note("shape", line, contrast(color(line, "stroke"), grounds(line.closest("div"))), "a line");
  for (const dot of document.querySelectorAll(".dot")) {
    const name = parseFloat(getComputedStyle(dot).borderTopWidth) > 0 ? "borderTopColor" : "backgroundColor";
    const ground = grounds(dot.parentElement);
    if (seen(dot)) note("shape", dot, contrast(over(rgba(getComputedStyle(dot)[name]), ground), ground), "a dot");
  }
  for (const field of document.querySelectorAll("input:not(.unseen), select, textarea")) if (seen(field)) note("shape", field, contrast(color(field, "borderTopColor"), grounds(field.parentElement)), "the edge of a field");
  return { found: found.filter((own) => own.ratio < wanted[own.kind]), seen: found.length };
}
