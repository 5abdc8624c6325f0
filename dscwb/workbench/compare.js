// Two scenarios side by side: one that was pinned, and the one that the controls hold now.

// What is shown of a scenario: its words and numbers by their names.
function facts({ study, state, row, rate, best }, fields) {
  const parts = study.partsAt(row, best, rate), { unit } = study;
  const end = (to) => (to > 0 && to < Infinity ? formatRate(to) : "any rate");
  const [low, high] = study.rangeOf(row, rate);
  const numbers = {
    "best split": study.candidates[best].shown,
    [unit === "J" ? "device energy" : "latency"]: formatCost(study.costAt(row, best, rate), unit),
    device: formatSeconds(parts.head),
    transfer: formatSeconds(parts.transfer + parts.link),
    server: formatSeconds(parts.tail),
    "best from": end(low),
    "best up to": end(high),
  };
  const words = [...fields.values()].map((field) => [field.label, valueWords(field, state[field.name]) || NONE]);
  return { words: Object.fromEntries(words), numbers };
}

// The table of two scenarios: the fields in which they differ, then what follows.
function fillComparison(table, desk, ctx, letGo) {
  const { other, fields } = desk, now = { ...ctx, study: desk.study };
  table.replaceChildren();
  const [was, is] = [other, now].map((one) => facts(one, fields));
  const caption = element("caption", table, { textContent: "Pinned scenario and this one " });
  const free = element("button", caption, { type: "button", textContent: "Unpin scenario" });
  free.addEventListener("click", letGo);
  const line = (label, ...cells) => {
    const row = element("tr", table);
    element("th", row, { textContent: label, scope: "row" });
    for (const words of cells) element("td", row, { textContent: words });
  };
  const head = element("tr", table);
  for (const words of ["of the scenario", "pinned", "now", "difference"]) {
    element("th", head, { textContent: words, scope: "col" });
  }
  for (const [label, words] of Object.entries(is.words)) {
    if (words !== was.words[label]) line(label, was.words[label], words, "");
  }
  const costs = [other, now].map(({ study, row, rate, best }) => study.costAt(row, best, rate));
  const same = other.study.unit === now.study.unit && costs[0] > 0;
  const change = same ? (costs[1] - costs[0]) / costs[0] : NaN;
  const signed = `${change > 0 ? "+" : change < 0 ? "−" : ""}${formatPercent(Math.abs(change))}`;
  Object.entries(is.numbers).forEach(([name, words], k) => {
    line(name, was.numbers[name] ?? "", words, k === 1 && same ? signed : "");
  });
}
