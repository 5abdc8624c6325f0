// All arithmetic of the workbench: from a pair of profiles and a state to every number shown. Nothing
// here knows the page. cost.py, envelope.py, study.py, decision.py and sureness.py are the
// reference, down to the order of additions: at a switching rate the last bit decides.

const BITS_PER_BYTE = 8;
const ROUNDING = 1e-12; // as in envelope.py
const GRID_RATES = 241; // as many as DATA_RATES_BPS
const UNKNOWN_FACTOR = 2, FAR = 100; // as in sureness.py
const FULL_OFFLOADING = "full offloading", NO_OFFLOADING = "no offloading";
const BEST_STATIC = "best static", MINIMAX_STATIC = "minimax-regret static";
const ARRAYS = ["head", "tail", "link", "bits", "seconds", "intercept", "slope"];

export class Study {
  // Of a pair in one state, from the lowest data rate to the highest, in bit/s.
  constructor(pair, state, [low, high]) {
    const { batchSizes } = pair;
    Object.assign(this, { pair, state, low, high, batchSizes });
    this.unit = state.objective === "energy" ? "J" : "s";
    this.edge = pair.edge;
    this.server = pair.server ?? pair.edge.faster(state.server_speedup);
    this.interpolated = pair.measured.map((known) => !known);
    if (!batchSizes.length) {
      throw new Error("No batch size is covered by both profiles; profile a common one.");
    }
    const cuts = pair.common(state), own = cuts.map(([cut]) => cut);
    this.width = cuts.length;
    this.candidates = cuts.map(([cut, , name]) => pair.candidate(cut, name));
    this.checkInput();
    this.fill(own, cuts.map(([, cut]) => cut));
    const first = this.of("slope", 0); // sorted here, nearly sorted in every row
    this.order = own.map((_, split) => split).sort((i, j) => first[i] - first[j]);
    this.envelopes = batchSizes.map((_, row) => this.envelope(row, this.of("intercept", row)));
    this.known = new Map(); // what was asked before
  }

  // The lines of all candidates: seconds and bits, and what the objective counts of them. NaN where
  // a cut was not measured, or where its head does not fit into the memory.
  fill(own, other) {
    const { pair: { model }, state, width, candidates, batchSizes } = this;
    for (const name of ARRAYS) this[name] = new Float64Array(batchSizes.length * width);
    this.wait = new Float64Array(batchSizes.length);
    const energy = this.unit === "J", overhead = state.overhead_bytes * BITS_PER_BYTE;
    const payload = this.payload(own);
    batchSizes.forEach((size, row) => {
      const heads = this.edge.seconds("head", size, own);
      const tails = this.server.seconds("tail", size, other);
      const copies = this.copies(size, own, other), tooLarge = this.tooLarge(size, own);
      const back = model.resultBytes(size) * BITS_PER_BYTE / (state.downlink_bps || Infinity);
      const wait = (size - 1) / (2 * (state.arrival_rate_hz || Infinity)), sent = payload(size);
      this.wait[row] = wait;
      for (let split = 0, k = row * width; split < width; split++, k++) {
        const stays = candidates[split].isOutput;
        const head = tooLarge(split) ? NaN : heads[split] * state.device_slowdown;
        const tail = tails[split] * state.server_load;
        const link = (stays ? 0 : state.round_trip_s + back) + copies[split];
        const bits = sent[split] + (stays ? 0 : overhead), seconds = wait + head + link + tail;
        this.head[k] = head;
        this.tail[k] = tail;
        this.link[k] = link;
        this.bits[k] = bits;
        this.seconds[k] = seconds;
        this.intercept[k] = energy ? state.compute_w * head + state.wait_w * (link + tail) : seconds;
        this.slope[k] = energy ? state.send_w * bits : bits;
      }
    });
  }

  // A function from batch size to the bits of every candidate's payload.
  payload(own) {
    const { pair: { model }, state, candidates } = this;
    const bits = (size) => own.map((cut, k) => {
      const { isInput, isOutput } = candidates[k];
      const encoding = isInput ? state.input_encoding : state.feature_encoding;
      return isOutput ? 0 : model.payload(cut, encoding, size) * BITS_PER_BYTE;
    });
    if (!own.every((cut) => model.linear(cut))) return bits;
    const one = Float64Array.from(bits(1)), more = bits(2).map((two, k) => two - one[k]);
    return (size) => one.map((value, k) => value + more[k] * (size - 1));
  }

  // Seconds in which payloads leave the device's accelerator and enter the server's.
  copies(size, own, other) {
    const sums = new Float64Array(own.length);
    const add = (machine, cuts, direction) => machine.copied(direction, size, cuts)
      .forEach((seconds, k) => { sums[k] += seconds; });
    if (this.edge.copies) add(this.edge, own, "to_host_ns");
    if (this.server.copies) add(this.server, other, "to_device_ns");
    return sums;
  }

  // A function that tells which candidates' heads do not fit into the device's memory.
  tooLarge(size, own) {
    const cap = this.state.memory_cap_bytes || Infinity;
    if (cap === Infinity) return () => false;
    const memory = this.pair.model.headMemory(size), needed = own.map((cut) => memory[cut]);
    const least = Math.min(...needed);
    if (least > cap) {
      throw new Error(`memory_cap_bytes is ${formatBytes(cap)}, but at batch size ${size} every `
        + `candidate's head needs ${formatBytes(least)} or more; raise the cap or allow full `
        + "offloading.");
    }
    return (split) => needed[split] > cap;
  }

  checkInput() {
    const { model } = this.pair, { input_encoding: wire } = this.state;
    const better = model.fitting(wire);
    if (!this.candidates[0].isInput || better === wire) return;
    const names = model.sent.map((one) => one.join(": ")).join(", ");
    throw new Error(`The input encoding ${wire} cannot hold the input of ${quoted(model.name)} `
      + `(${names}). Give the input encoding ${quoted(better)} to count what the model takes`
      + `${better === "int64" ? "; int32, int16 or uint16 where every value fits into them" : ""}.`);
  }

  row(batchSize) {
    const found = this.batchSizes.indexOf(batchSize);
    if (found >= 0) return found;
    throw new Error(`Batch size ${batchSize} is not on this grid: [${this.batchSizes.join(", ")}].`);
  }

  index(row, split) { return row * this.width + split; }

  of(array, row) { return this[array].subarray(row * this.width, (row + 1) * this.width); }

  envelope(row, intercept) { return lowerEnvelope(intercept, this.of("slope", row), this.order); }

  // --- at one point: row of a batch size, data rate in bit/s; 0 is a link that is down -------------

  // The objective's cost, seconds or joules.
  costAt(row, split, rate) {
    const k = this.index(row, split);
    // Sending may cost no energy and yet never end.
    return lineAt(this.intercept[k], rate === 0 ? this.bits[k] : this.slope[k], rate);
  }

  latencyAt(row, split, rate) {
    const k = this.index(row, split);
    return lineAt(this.seconds[k], this.bits[k], rate);
  }

  partsAt(row, split, rate) {
    const k = this.index(row, split), [wait, head] = [this.wait[row], this.head[k]];
    const transfer = lineAt(0, this.bits[k], rate);
    return { wait, head, transfer, link: this.link[k], tail: this.tail[k] };
  }

  bestAt(row, rate) {
    if (rate > 0) return this.envelopes[row].splits[this.piece(row, rate)];
    const a = this.of("intercept", row), bits = this.of("bits", row); // then the fewest bits
    const fewest = bits[lowest(bits.map((value, k) => (isNaN(a[k]) ? NaN : value)))];
    return lowest(a.map((value, k) => (bits[k] === fewest ? value : NaN)));
  }

  // Which piece of the envelope: at a switching rate that of the fewer bits, below it.
  piece(row, rate) {
    const { rates } = this.envelopes[row];
    let k = 0;
    while (k < rates.length && rates[k] < rate) k += 1;
    return k;
  }

  // From where, not included, to where, included, the best split stays the best.
  rangeOf(row, rate) {
    const { splits, rates } = this.envelopes[row], k = this.piece(row, rate);
    return [rates[k - 1] ?? 0, this.bestAt(row, rate) === splits[k] ? rates[k] ?? Infinity : rate];
  }

  // The split that would be chosen if the best one were not there (-1: none), and what it costs more.
  secondAt(row, rate) {
    const best = this.bestAt(row, rate), cost = this.costAt(row, best, rate);
    let split = -1, least = Infinity;
    for (let k = 0; k < this.width; k++) {
      const other = k === best ? NaN : this.costAt(row, k, rate);
      if (other < least) [split, least] = [k, other];
    }
    return { split, margin: isFinite(cost) ? least - cost : 0 };
  }

  gainAt(row, rate, split = this.baseline()) {
    return gainOver(this.costAt(row, this.bestAt(row, rate), rate), this.costAt(row, split, rate));
  }

  regretAt(row, rate, split = this.baseline()) {
    const best = this.costAt(row, this.bestAt(row, rate), rate);
    return best === Infinity ? 0 : Math.max(0, this.costAt(row, split, rate) - best);
  }

  // --- over all of the grid -------------------------------------------------------------------------

  asked(key, answer) {
    if (!this.known.has(key)) this.known.set(key, answer());
    return this.known.get(key);
  }

  // Data rates that a mean is over, equally spaced on a logarithmic axis.
  get rates() {
    const { low, high } = this, last = GRID_RATES - 1;
    return this.asked("rates", () => Float64Array.from({ length: GRID_RATES },
      (_, k) => (k === last ? high : low * (high / low) ** (k / last))));
  }

  // Candidates that are best somewhere, from input to output.
  get chosen() {
    const found = this.envelopes.flatMap((_, row) => {
      const { splits } = this.envelopes[row];
      return splits.slice(this.piece(row, this.low), this.piece(row, this.high) + 1);
    });
    return [...new Set(found)].sort((i, j) => i - j);
  }

  // The candidate that a baseline stands for.
  baseline(name = this.state.baseline) {
    return this.asked(`baseline ${name}`, () => {
      const wanted = identified(name), { rates, low, high } = this;
      if (wanted === BEST_STATIC) {
        const slowness = rates.reduce((sum, rate) => sum + 1 / rate, 0) / rates.length;
        const mean = (row, split) => this.costAt(row, split, 1 / slowness);
        return this.leastOf(mean, (one, other) => one + other);
      }
      if (wanted === MINIMAX_STATIC) { // regret is convex in 1/rate: most at one of the ends
        return this.leastOf((row, split) => Math.max(
          this.regretAt(row, low, split), this.regretAt(row, high, split)), Math.max);
      }
      const found = this.candidates.findIndex((one) => one.name === wanted);
      if (found >= 0) return found;
      const names = this.candidates.map((one) => one.name).join(", ");
      throw new Error(`${quoted(wanted)} is not a candidate here; choose '${BEST_STATIC}', `
        + `'${MINIMAX_STATIC}' or one of ${names}.`);
    });
  }

  // The first split whose scores of all batch sizes are least together; NaN: not possible.
  leastOf(score, together) {
    const found = lowest(this.candidates.map(
      (_, split) => this.batchSizes.map((_, row) => score(row, split))
        .reduce((one, other) => together(one, other))));
    if (found < 0) throw new Error("No split has a time in every state; choose fewer batch sizes.");
    return found;
  }

  // Share of the grid in which a split is best, neither no nor full offloading.
  get usefulness() {
    const splits = this.candidates.map(({ isInput, isOutput }) => !isInput && !isOutput);
    return this.asked("usefulness", () => {
      let found = 0;
      this.batchSizes.forEach((_, row) => this.rates.forEach((rate) => {
        found += splits[this.bestAt(row, rate)];
      }));
      return found / (this.batchSizes.length * this.rates.length);
    });
  }

  // Mean gain of the best split over a fixed one; NaN where that is not possible everywhere.
  meanGain(split = this.baseline()) {
    return this.asked(`mean gain ${split}`, () => {
      let sum = 0;
      this.batchSizes.forEach((_, row) => this.rates.forEach((rate) => {
        sum += this.gainAt(row, rate, split);
      }));
      return sum / (this.batchSizes.length * this.rates.length);
    });
  }

  // --- if a modelled or an assumed machine is off: as sureness.py ------------------------------------

  // How far the times of a machine may be off that were not measured on it.
  get errors() {
    return [["device", this.edge], ["server", this.server]]
      .filter(([, { origin }]) => origin === "modelled" || origin === "assumed")
      .map(([machine, { origin, time_error: error }]) => {
        const known = origin === "modelled" && error !== null;
        return { machine, origin, known, factor: known ? 1 + error : UNKNOWN_FACTOR };
      });
  }

  // Every corner of the range of both machines' times: factors, and what every split costs more.
  corners(row) {
    return this.asked(`corners ${row}`, () => {
      const { state } = this, [head, tail] = [this.of("head", row), this.of("tail", row)];
      const [device, server] = this.unit === "J" ? [state.compute_w, state.wait_w] : [1, 1];
      const ends = { device: [1], server: [1] };
      for (const { machine, factor } of this.errors) ends[machine] = [factor, 1 / factor];
      return ends.device.flatMap((f) => ends.server.map((g) => ({
        off: [f, g],
        rise: head.map((time, k) => (f - 1) * device * time + (g - 1) * server * tail[k]),
      })));
    });
  }

  // Envelopes of a row in every corner.
  cornerEnvelopes(row) {
    return this.asked(`envelopes ${row}`, () => this.corners(row).map(({ rise }) => {
      const intercept = this.of("intercept", row).map((cost, k) => cost + rise[k]);
      return this.envelope(row, intercept);
    }));
  }

  // Whether the best split stays the best wherever these times may lie.
  robust(row, rate) {
    if (!this.errors.length || rate === 0) return true;
    const best = this.bestAt(row, rate);
    return this.cornerEnvelopes(row).every(({ splits, rates }) => {
      const above = rates.findIndex((change) => change >= rate);
      return splits.at(above) === best; // -1 is the last piece
    });
  }

  // Ranges of data rates in which it does not: from where, not included, to where, included.
  fragile(row) {
    if (!this.errors.length) return [];
    const { low, high } = this, found = [];
    const changes = [this.envelopes[row], ...this.cornerEnvelopes(row)].flatMap(({ rates }) => rates);
    const inner = changes.filter((rate) => rate > low && rate < high).sort((a, b) => a - b);
    [...inner, high].forEach((to, k) => {
      const from = inner[k - 1] ?? low;
      if (from === to || this.robust(row, to)) return;
      if (found.at(-1)?.[1] === from) found.at(-1)[1] = to;
      else found.push([from, to]);
    });
    return found;
  }

  // Where another split takes over if the times are off, nearest first.
  flips(row, rate) {
    if (!this.errors.length || rate === 0) return [];
    const best = this.bestAt(row, rate), found = [];
    const costs = this.candidates.map((_, k) => this.costAt(row, k, rate));
    for (const { off, rise } of this.corners(row)) {
      const reached = costs.map((cost, k) => {
        const nears = rise[best] - rise[k];
        return nears > 0 ? (cost - costs[best]) / nears : Infinity;
      });
      const other = lowest(reached), way = reached[other];
      const [device, server] = off.map((corner) => 1 + way * (corner - 1));
      if (way <= 1 || [device, server].every((factor) => 1 / FAR < factor && factor < FAR)) {
        found.push({ way, device, server, split: other, inside: way <= 1 });
      }
    }
    return found.sort((one, other) => one.way - other.way);
  }
}

function lineAt(a, s, rate) { return s === 0 ? a : a + s / rate; }

// Place of the least value, the first of several; -1 if there is none but NaN.
function lowest(values) {
  return values.reduce((found, value, k) => (isNaN(value) || value >= values[found] ? found : k), -1);
}


// As cost.gain: zero where both are equal, 1 over a baseline that never ends.
function gainOver(cost, baseline) {
  if (baseline === Infinity) return cost === Infinity ? 0 : 1;
  return baseline === cost ? 0 : (baseline - cost) / baseline;
}

// A baseline or a split's name, however it is spelt, as study.identified.
function identified(name) {
  const spelt = [NO_OFFLOADING, FULL_OFFLOADING, BEST_STATIC, MINIMAX_STATIC]
    .find((one) => one.replace(/[ -]/g, "_") === name);
  return spelt ?? name.replace(/^after /, "");
}

// As envelope.lower_envelope: which lines are lowest at which rates; `order` is by slope, nearly.
function lowerEnvelope(a, s, order) {
  const before = (i, j) => s[i] - s[j] || a[i] - a[j] || i - j;
  const kept = order.filter((k) => !isNaN(a[k]));
  if (!kept.length) throw new Error("No split has a time; measure or import at least one.");
  if (kept.some((k) => a[k] === Infinity) || s.some((slope) => !(slope >= 0 && slope < Infinity))) {
    throw new Error("Intercepts must be finite, slopes finite and not negative.");
  }
  if (kept.some((k, i) => i > 0 && before(kept[i - 1], k) > 0)) kept.sort(before);
  const splits = [], rates = [];
  let least = Infinity;
  for (const k of kept) {
    // Only a line cheaper than all lines of fewer or equal bits can ever win.
    const wins = !splits.length || a[k] < least * (1 - ROUNDING);
    least = Math.min(least, a[k]);
    if (!wins) continue;
    while (splits.length) { // drop those that lie above the meeting point of their neighbours
      const other = splits.at(-1), rise = s[k] - s[other];
      const rate = rise > ROUNDING * s[k] ? rise / (a[other] - a[k]) : 0;
      if (rate > (rates.at(-1) ?? 0)) {
        rates.push(rate);
        break;
      }
      splits.pop();
      rates.pop();
    }
    splits.push(k);
  }
  return { splits, rates };
}
