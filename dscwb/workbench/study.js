// A study in the browser: what Python sent, and T = a + s/r at the rate under the hand.
// study.js, drawing.js and canvas.js are one module; the browser gets them joined in this order.

const LINES = ["head", "tail", "link", "bits", "intercept", "slope"]; // as in picture.py
const UNDECIDED = 1, FRAGILE = 2;

// --- numbers for people, as in units.py ----------------------------------------------------------

const PREFIXES = { G: 1e9, M: 1e6, k: 1e3, "": 1, m: 1e-3, µ: 1e-6, n: 1e-9 };

function prefixed(value, unit, names) {
  if (!value || !isFinite(value)) return `${value} ${unit}`;
  const name = names.find((one) => Math.abs(value) >= PREFIXES[one] * 0.9995) ?? names.at(-1);
  const scaled = value / PREFIXES[name];
  const digits = Math.abs(scaled) < 1000 ? Number(scaled.toPrecision(3)) : Math.round(scaled);
  return `${digits} ${name}${unit}`;
}

const cost = (value, unit) => prefixed(value, unit, ["", "m", "µ", "n"]);
const large = (value, unit) => prefixed(value, unit, ["G", "M", "k", ""]);

function percent(share) {
  const size = Math.abs(share);
  if (size > 0 && size < 0.0005) return share > 0 ? "<0.1 %" : ">-0.1 %";
  if (size >= 0.995 && size < 1) return `${(Math.sign(share) * Math.min(99.9, 100 * size)).toFixed(1)} %`;
  return `${(100 * share).toFixed(size > 0 && size < 0.0995 ? 1 : 0)} %`;
}

// --- the study -----------------------------------------------------------------------------------

function numbers(view, Kind) {
  // A copy: the buffer of a message need not begin where an array may.
  return new Kind(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

const line = (a, s, rate) => a + s / rate;

class Study {
  constructor(model) {
    Object.assign(this, model.get("scene"));
    this.probability = numbers(model.get("probability"), Float32Array);
    this.doubt = numbers(model.get("doubt"), Uint8Array);
    const lines = numbers(model.get("lines"), Float32Array);
    const size = this.rows.length * this.candidates.length;
    LINES.forEach((name, k) => { this[name] = lines.subarray(k * size, (k + 1) * size); });
    this.low = this.rates.low;
    this.high = this.rates.high;
  }

  rowOf(batchSize) { return this.rows.findIndex((row) => row.batch_size === batchSize); }

  share(rate) { return Math.log(rate / this.low) / Math.log(this.high / this.low); }

  rateAt(share) {
    return this.low * (this.high / this.low) ** Math.min(1, Math.max(0, share));
  }

  bestAt(row, rate) {
    const { splits, rates_bps: changes } = this.rows[row];
    let k = 0; // at a switching rate the split of fewer bits, below it, is best
    while (k < changes.length && changes[k] < rate) k += 1;
    return splits[k];
  }

  index(row, split) { return row * this.candidates.length + split; }

  costAt(row, split, rate) {
    const k = this.index(row, split);
    return line(this.intercept[k], this.slope[k], rate);
  }

  partsAt(row, split, rate) {
    const k = this.index(row, split);
    return {
      wait: this.rows[row].wait_s, head: this.head[k], transfer: line(0, this.bits[k], rate),
      link: this.link[k], tail: this.tail[k],
    };
  }

  latencyAt(row, split, rate) {
    return Object.values(this.partsAt(row, split, rate)).reduce((sum, part) => sum + part);
  }

  // The split that would be chosen if the best one were not there, and what it costs more.
  runnerUp(row, rate) {
    const best = this.bestAt(row, rate);
    let second = -1, least = Infinity;
    this.candidates.forEach((_, split) => {
      const price = this.costAt(row, split, rate);
      if (split !== best && price < least) { second = split; least = price; }
    });
    return { second, margin: Math.max(0, least - this.costAt(row, best, rate)) };
  }

  gainAt(row, rate) {
    const fixed = this.costAt(row, this.baseline, rate);
    return (fixed - this.costAt(row, this.bestAt(row, rate), rate)) / fixed;
  }

  // Whether the baseline is possible at a batch size.
  gains(row) { return !isNaN(this.gainAt(row, this.low)); }

  doubtAt(row, rate) {
    const edges = this.doubt_edges_bps;
    if (!edges.length) return null;
    let cell = 0;
    while (cell < edges.length - 2 && edges[cell + 1] < rate) cell += 1;
    const k = row * (edges.length - 1) + cell;
    return { probability: this.probability[k], mark: this.doubt[k] };
  }
}

// --- words of the tips ---------------------------------------------------------------------------

const PART_WORDS = { wait: "waiting", head: "device", transfer: "transfer", tail: "server" };

function tipWords(study, row, rate, split = study.bestAt(row, rate)) {
  const { unit, rows, candidates, origins } = study, best = study.bestAt(row, rate);
  const price = study.costAt(row, split, rate), parts = study.partsAt(row, split, rate);
  const words = [
    `Batch size ${rows[row].label}, ${large(rate, "bit/s")} (${large(rate / 8, "B/s")})`,
    candidates[split].shown];
  if (isNaN(price)) {
    return [...words, "not possible: no times, or no room on the device"].join("\n");
  }
  parts.transfer += parts.link; // as in the sentence above the picture
  const terms = Object.entries(PART_WORDS).filter(([name]) => parts[name] > 0)
    .map(([name, part]) => `${part} ${cost(parts[name], "s")}`);
  const sent = study.bits[study.index(row, split)] / 8;
  words.push(`${cost(study.latencyAt(row, split, rate), "s")} = ${terms.join(" + ")}`,
    `${sent ? `payload ${large(sent, "B")}` : "nothing is sent"}; device runs ${candidates[split].runs}`);
  if (unit === "J") words.push(`device energy ${cost(price, unit)}`);
  if (split === best) words.push(...bestWords(study, row, rate));
  else words.push(`${cost(price - study.costAt(row, best, rate), unit)} more than the best`);
  const between = rows[row].measured ? "" : "interpolated between measured batch sizes; ";
  return [...words, `Times: ${between}${origins}`].join("\n");
}

function bestWords(study, row, rate) {
  const { second, margin } = study.runnerUp(row, rate), gain = study.gainAt(row, rate);
  const doubt = study.doubtAt(row, rate), words = [
    isNaN(gain) ? `${study.gain_over} is not possible here`
      : `${percent(gain)} gain over ${study.gain_over}`];
  if (second >= 0) {
    const { shown } = study.candidates[second];
    words.push(`${cost(margin, study.unit)} before ${shown}, the second best`);
  }
  if (doubt) {
    words.push(`best in ${percent(doubt.probability)} of the replicates`
      + ["", ": undecided", ", but another split is best if the model is off"][doubt.mark]);
  }
  return words;
}
