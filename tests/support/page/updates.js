/* What a page keeps of an engine, from one second to another: an update a second, another strategy each hour. */
async ([from, to]) => {
  const { Model } = await import("/page/model.js");
  window.aged ??= new Model();
  for (let second = from; second < to; second += 1) {
    const now_ns = String(1790000000000000000n + BigInt(second) * 1000000000n);
    const row = { lag_s: second, p99_ns: second, delivered_per_s: second, accounts: { "paper/USDT": { equity: "1" } } };
    const strategies = { [`hour-${Math.floor(second / 3600)}`]: row, [`hour-${Math.floor(second / 3600) - 1}`]: null };
    const log = [{ n: second, ts_ns: now_ns, level: "INFO", logger: "x", strategy: "", message: `line ${second}` }];
    const instruments = { "ETHUSDT.BINANCE": { mid: second, spread: 1, quotes_per_s: second } };
    const update = { clock: { now_ns, engine_ns: now_ns }, sections: { rates: { ticks_per_s: second }, strategies, instruments }, entries: { log } };
    window.aged.take(update, 1790000000000 + second * 1000);
  }
  const lengths = [...window.aged.series.values()].map((points) => points.length);
  return { series: lengths.length, longest: Math.max(...lengths), entries: window.aged.tail("log").length };
}
