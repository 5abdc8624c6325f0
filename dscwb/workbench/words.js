// The answer and tips in words: the answer as answer.py says it.

// A candidate in the middle of a sentence.
function asChoice({ isInput, isOutput, shown }) {
  return isInput || isOutput ? shown : `a split ${shown}`;
}

const DECIDED_FROM = 0.95; // as in confidence.py
const ALIKE = 1e-9; // shares below are rounding
const STATIC_WORDS = {
  [BEST_STATIC]: ", the best static choice", [MINIMAX_STATIC]: ", the minimax choice",
};

// What to do in a state of a study, and how sure that is. `sure` is {probability, whose} by the
// measurements, null where that was not checked yet.
export function answerWords(study, state, sure = null) {
  const row = study.row(state.batch_size), rate = state.data_rate_bps;
  const modelled = ifOff(study, row, rate);
  return {
    what: advice(study, row, rate, state.baseline),
    measured: byMeasurements(study, row, rate, sure),
    modelled: modelled && `${capital(modelled)}.`,
    cautions: cautions(study, row).join(" "),
  };
}

function advice(study, row, rate, baseline) {
  const best = study.bestAt(row, rate), cost = study.costAt(row, best, rate);
  const size = study.batchSizes[row], { isInput, isOutput, shown } = study.candidates[best];
  let at = rate ? `At ${formatRate(rate)}` : "While the link is down";
  if (size > 1) at += ` and batch size ${size}${study.interpolated[row] ? " (interpolated)" : ""}`;
  if (cost === Infinity) {
    return `${at} nothing is possible: no offloading is not, and nothing can be sent.`;
  }
  const split = isInput ? "send the input and run all on the server" : `split ${shown}`;
  const energy = study.unit === "J" ? `${formatCost(cost, "J")} of the device's energy, ` : "";
  return `${at} ${isOutput ? "don't split" : split}: ${energy}${spentWords(study, row, rate, best)}`
    + `${compared(study, row, rate, baseline)}. ${whereWords(study, row, rate)}; `
    + `${secondWords(study, row, rate)}.`;
}

// Seconds of a split, and how they add up.
function spentWords(study, row, rate, split) {
  const { wait, head, transfer, link, tail } = study.partsAt(row, split, rate);
  const sending = link + transfer, time = formatSeconds(wait + head + sending + tail);
  const spent = Object.entries({ waiting: wait, device: head, link: sending, server: tail })
    .filter(([, part]) => part).map(([name, part]) => `${name} ${formatSeconds(part)}`);
  if (spent.length === 1 && head) return `${time} on the device`;
  return spent.length ? `${time} (${spent.join(" + ")})` : time;
}

function compared(study, row, rate, baseline) {
  const over = study.baseline(baseline), gain = study.gainAt(row, rate, over);
  if (over === study.bestAt(row, rate)) return "";
  const name = asChoice(study.candidates[over]) + (STATIC_WORDS[identified(baseline)] ?? "");
  if (isNaN(gain)) return `, while ${name} is not possible here`;
  if (gain < ALIKE) return `, no better than ${name}`;
  return `, ${formatPercent(gain)} ${study.unit === "s" ? "faster" : "less"} than ${name}`;
}

// Where the best split stays the best, within the axis of data rates.
function whereWords(study, row, rate) {
  const { low, high, candidates } = study, [from, to] = study.rangeOf(row, rate);
  const below = from > low, above = to < high, [start, end] = [from, to].map((x) => formatRate(x));
  if (candidates[study.bestAt(row, rate)].isOutput && above && !below) {
    const { splits, rates } = study.envelopes[row];
    const then = candidates[splits[rates.filter((change) => change <= to).length]];
    return `${then.isInput ? "Full offloading" : "Splitting"} pays from ${end}`;
  }
  if (below && above) {
    const [number, unit] = start.split(" ");
    return `Best from ${end.endsWith(` ${unit}`) ? number : start} to ${end}`;
  }
  if (below || above) return below ? `Best from ${start} up` : `Best up to ${end}`;
  return `Best at every data rate from ${formatRate(low)} to ${formatRate(high)}`;
}

function secondWords(study, row, rate) {
  const { split } = study.secondAt(row, rate);
  if (split < 0) return "nothing else is possible";
  const cost = study.costAt(row, study.bestAt(row, rate), rate), other = study.costAt(row, split, rate);
  return `next best: ${study.candidates[split].shown}, ${formatCost(other, study.unit)}`
    + moreWords(cost, other);
}

// How much more than the best another one costs.
function moreWords(cost, other) {
  const more = cost ? other / cost - 1 : Infinity;
  if (other === cost || more < ALIKE) return " (no worse)";
  if (more < 0.0005) return " (hardly more)";
  if (more < 2) return ` (+${formatPercent(more)})`;
  return more < Infinity ? ` (${formatNumber(1 + more)} ×)` : "";
}

function byMeasurements(study, row, rate, sure) {
  const doubted = doubt(study, row);
  if (doubted) return `Not sure: ${doubted}.`;
  if (!sure) return "How sure this is by the measurements is not checked yet.";
  if (!sure.whose) {
    if (study.errors.length === 2) return "";
    return "How sure this is, is not known: the times have no spread.";
  }
  const share = `${inPercent(sure.probability)} of the replicates`;
  if (sure.probability >= DECIDED_FROM) return `Sure by ${sure.whose}: best in ${share}.`;
  const { split } = study.secondAt(row, rate);
  const rival = split < 0 ? "" : `, against ${asChoice(study.candidates[split])}`;
  return `Not sure by ${sure.whose}: best in ${share}${rival}.`;
}

function inPercent(probability) {
  const shown = probability >= DECIDED_FROM ? probability : Math.min(probability, DECIDED_FROM - 0.01);
  return shown > 0.995 ? ">99 %" : formatPercent(shown);
}

// --- what the answer rests on, as sureness.py and captions.py say it --------------------------------

// Measured batch sizes of each machine that stand behind a row: [role, machine, place].
function behind(study, row) {
  const size = study.batchSizes[row];
  return [["device", study.edge], ["server", study.server]].flatMap(
    ([role, machine]) => machine.near(size).map(([place]) => [role, machine, place]));
}

// Whose times are biased or unreliable; empty for nobody's.
function doubt(study, row) {
  const found = behind(study, row).find(
    ([, { status }, place]) => ["biased", "unreliable"].includes(status[place]));
  if (!found) return "";
  const [role, { sizes, status }, place] = found;
  return `the ${role}'s times at batch size ${sizes[place]} are ${status[place]}`;
}

function timesWords(factor) { return factor < 1.005 ? "slightly" : `${formatNumber(factor)} ×`; }

function speedWords(factor) {
  return `${timesWords(Math.max(factor, 1 / factor))} ${factor > 1 ? "slower" : "faster"}`;
}

function ifOff(study, row, rate) {
  const { errors } = study, flips = study.flips(row, rate), [nearest] = flips;
  if (!errors.length) return "";
  const labels = errors.map(({ machine, origin, factor, known }) => `${machine} ${origin}, ${known
    ? `nine in ten such times are at most ${timesWords(factor)} off`
    : `error unknown, ${timesWords(factor)} slower and faster were tried`}`).join("; ");
  if (nearest?.inside) {
    const off = ["device", "server"].filter((machine) => nearest[machine] !== 1)
      .map((machine) => `the ${machine} ${speedWords(nearest[machine])}`).join(" and ");
    return `with ${off}, ${asChoice(study.candidates[nearest.split])} would be best (${labels})`;
  }
  let until = "even if both are off at once";
  if (errors.length === 1) {
    const [{ machine }] = errors, ends = flips.map((flip) => speedWords(flip[machine])).join(" or ");
    until = ends ? `until the ${machine} is ${ends}` : `however fast the ${machine} is`;
  }
  return `the answer stays the same ${until} (${labels})`;
}

// What should be known before the numbers of a row are believed, a sentence each.
function cautions(study, row) {
  const { edge, server } = study, found = behind(study, row)
    .filter(([role, { caution }, place]) => caution[place] && (role === "device" || study.pair.server))
    .map(([role, { sizes, caution }, place]) => (
      `The ${role}'s times at batch size ${sizes[place]} are ${caution[place]}.`));
  if (edge.gap_s !== server.gap_s && ![edge.origin, server.origin].includes("imported")) {
    const [own, other] = [edge, server].map(
      ({ gap_s: gap }) => (gap ? `${formatSeconds(gap)} of idling` : "no idle gap"));
    found.push(`The device's times are with ${own} before each pass, the server's with ${other}: what `
      + "has waited is slower; measure both alike (gap_s=, --gap-ms).");
  }
  if (edge.dtype !== server.dtype) {
    found.push(`The head computes in ${edge.dtype}, the tail in ${server.dtype}: features are `
      + "converted, which takes time that is not counted.");
  }
  return found;
}

// How sure one state is, from the confidence of the grid; null where that does not reach.
function sureOf(confidence, batchSize, rate) {
  const row = confidence ? confidence.batch_sizes.indexOf(batchSize) : -1;
  if (row < 0) return null;
  const cells = confidence.edges_bps.length - 1;
  const above = confidence.edges_bps.findIndex((edge, k) => k > 0 && edge >= rate);
  const cell = above < 0 ? cells - 1 : above - 1;
  return { probability: confidence.probability[row * cells + cell], whose: confidence.whose };
}

// --- tips -------------------------------------------------------------------------------------------

// What is known of a split in a state, line by line; `over` is what the gain is against.
function tipWords(study, row, rate, split = study.bestAt(row, rate), { sure, over } = {}) {
  const { candidates, unit, pair, batchSizes, interpolated } = study, k = study.index(row, split);
  const { shown, depth, cut } = candidates[split], best = study.bestAt(row, rate);
  const price = study.costAt(row, split, rate), least = study.costAt(row, best, rate);
  const lines = [`Batch size ${batchSizes[row]}, ${formatRate(rate, true)}`, capital(shown)];
  if (isNaN(price)) return [...lines, "Not possible: no times, or no room on the device"].join("\n");
  const blocks = pair.blocks.length ? `${depth} of ${pair.blocks.length} blocks, ` : "";
  if (unit === "J") lines.push(`${formatCost(price, unit)} of the device's energy`);
  lines.push(spentWords(study, row, rate, split),
    study.bits[k] ? `${formatBytes(study.bits[k] / 8)} sent` : "Nothing is sent",
    `Device runs ${blocks}${cut} of ${pair.layers} layers`);
  if (split === best) {
    const other = over ?? study.baseline(), gain = study.gainAt(row, rate, other);
    const { shown: name } = candidates[other];
    if (other !== best) {
      lines.push(isNaN(gain) ? `${capital(name)} is not possible here`
        : `${formatPercent(gain)} ${unit === "s" ? "faster" : "less"} than ${name}`);
    }
    lines.push(capital(secondWords(study, row, rate)));
    if (sure) lines.push(`Best in ${inPercent(sure.probability)} of the replicates`);
  } else {
    lines.push(`The best: ${candidates[best].shown}, ${formatCost(least, unit)}`);
  }
  const between = interpolated[row] ? ", interpolated between measured batch sizes" : "";
  return [...lines, `Device ${study.edge.origin}, server ${study.server.origin}${between}`].join("\n");
}
