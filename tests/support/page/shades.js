/* The colours of the theme by name: red, green, blue. */
() => {
  const canvas = document.createElement("canvas").getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const names = ["ground", "panel", "raised", "hover", "accent-soft", "good-soft", "warn-soft", "bad-soft", "ink", "soft", "good", "warn", "bad", "accent", "buy", "sell", "field", ..."abcdef".split("").map((own) => `tone-${own}`)];
  return Object.fromEntries(names.map((name) => {
    canvas.fillStyle = style.getPropertyValue(`--${name}`).trim();
    return [name, [1, 3, 5].map((at) => parseInt(canvas.fillStyle.slice(at, at + 2), 16))];
  }));
}
