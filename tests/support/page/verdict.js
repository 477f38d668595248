/* What the page says of a state document: its grade, its sentence, and each finding's grade and fact. */
async (sections) => {
  const { Model } = await import("/page/model.js");
  const { verdict } = await import("/page/verdict.js");
  const model = new Model();
  const now = String(BigInt(Date.now()) * 1_000_000n);
  model.take({ whole: true, clock: { now_ns: now, engine_ns: now }, sections });
  const { level, title, found } = verdict(model);
  return { level, title, found: found.map((own) => [own.level, own.what]) };
}
