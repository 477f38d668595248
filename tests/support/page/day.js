/* Of each series of the history of a day: how many points the page draws from, and from when to when, ms. */
async () => {
  const { Api } = await import("/page/api.js");
  const { loadHistory } = await import("/page/history.js");
  const api = new Api(location.origin, JSON.parse(sessionStorage.getItem("headrace.tokens"))[location.origin]);
  const history = await loadHistory(api, "24h", ["rates/*", "instruments/*"]);
  return Object.fromEntries([...history].map(([name, points]) => [name, [points.length, points.at(-1)[0] - points[0][0]]]));
}
