// A pair of profiles in the browser, from what pair.py gives: bytes, seconds and names at every cut.
// cuts.py, graph.py, profiles/ and the first half of cost.py are the reference.

const NS = 1e-9;
const AS_SENT = "bytes"; // measured on the wire

// Bytes at a batch size from {power: [bytes]}.
function polynomial(terms, size, length) {
  const found = new Float64Array(length);
  for (const power of Object.keys(terms)) {
    const values = terms[power], growth = size ** power;
    for (let k = 0; k < length; k++) found[k] += values[k] * growth;
  }
  return found;
}

class Model {
  constructor(part) {
    Object.assign(this, part); // names, blocks, kinds, frontiers, …: see pair.py
    this.layers = part.names.length;
    this.elements = part.frontiers.map((row) => this.crossing(row, (_, elements) => elements));
    this.own = {}; // bytes that cross every cut as they are, by the power of the batch size
    for (const power of new Set(part.kinds.map(({ axes }) => axes))) {
      this.own[power] = part.frontiers.map((row) => this.crossing(
        row, ({ axes, own }, elements) => (axes === power ? own * elements : 0)));
    }
    const { auto: [ends, marks] } = part.marks;
    this.lists = {
      op: this.elements.map((_, k) => [k, part.names[k - 1]]),
      block: part.places.map((k, i) => [k, part.place_names[i]]),
    };
    this.lists.op[0][1] = "input";
    this.lists.op[this.layers][1] = "output";
    this.lists.auto = this.lists[this.resolved("auto")];
    const narrow = new Set([0, this.layers, ...ends.filter((_, i) => marks[i] === "c")]);
    this.lists.compressive = this.lists.auto.filter(([k]) => narrow.has(k));
  }

  resolved(granularity) {
    return granularity !== "auto" ? granularity : this.blocks.length ? "block" : "op";
  }

  // The sum over the tensors of a frontier of what `of` says of kind and elements of one sample.
  crossing(row, of) {
    let sum = 0;
    for (let i = 0; i < row.length; i += 2) sum += of(this.kinds[row[i]], row[i + 1]);
    return sum;
  }

  // Bytes of a cut's payload at a batch size, each tensor in this encoding where it can be.
  payload(cut, encoding, size) {
    return this.crossing(this.frontiers[cut], (kind, elements) => {
      const bytes = elements * size ** kind.axes * (written(kind, encoding) ?? kind.own);
      return Number.isInteger(bytes) ? bytes : Number(bytes.toFixed(6)); // a tenth of 3 is 0.3
    });
  }

  // Whether what crosses a cut grows in proportion to the batch size, plus what stays.
  linear(cut) {
    return this.crossing(this.frontiers[cut], ({ axes }) => Number(axes > 1)) === 0;
  }

  // This encoding if it can be applied to anything of the model's input, else the input's own.
  fitting(encoding) {
    const types = this.sent.map(([, dtype]) => dtype);
    const fits = ({ dtype, ...kind }) => types.includes(dtype)
      && (written(kind, encoding) !== null || dtype === AS_SENT);
    return this.kinds.some(fits) ? encoding : this.fits;
  }

  ownBytes(size) { return polynomial(this.own, size, this.layers + 1); }

  resultBytes(size) { return polynomial(this.result, size, 1)[0]; }

  // As cuts.head_memory_bytes.
  headMemory(size) {
    const needed = new Float64Array(this.layers + 1), alive = this.ownBytes(size);
    const made = polynomial(this.made, size, this.layers);
    const held = polynomial(this.held, size, this.layers);
    let running = -Infinity, stays = 0;
    for (let k = 0; k < this.layers; k++) {
      running = Math.max(running, alive[k] + made[k]);
      stays += this.weights[k] + held[k];
      needed[k + 1] = stays + running;
    }
    return needed;
  }

  // The cuts that a state allows: [layers in the head, name].
  allowed({ granularity, min_depth: depth, private_input: hidden }) {
    if (depth > this.blocks.length) {
      throw new Error(`min_depth is ${depth}, but ${quoted(this.name)} has ${this.blocks.length} `
        + "blocks; give fewer.");
    }
    if (!this.lists[granularity]) throw new Error(`Unknown granularity ${quoted(granularity)}.`);
    const first = depth ? this.blocks[depth - 1].end : Number(hidden);
    return this.lists[granularity].filter(([cut]) => cut >= first);
  }

  // Compression ratio and mark of every block's end, or of every cut with `op`, as `bottlenecks`.
  bottlenecks(granularity) {
    const [cuts, marks] = this.marks[granularity === "op" ? "op" : "auto"];
    const blocks = granularity !== "op" && this.blocks.length > 0;
    return cuts.map((cut, i) => ({
      cut, name: blocks ? this.blocks[i].name : this.names[cut - 1], mark: marks[i],
      ratio: this.elements[cut] / this.input_elements,
    }));
  }
}

// Bytes of an element of this kind in an encoding; null where it cannot be written so.
function written(kind, encoding) {
  const jpeg = /^jpeg[ :]([0-9.]+)(?::1)?$/i.exec(encoding);
  if (jpeg && Number(jpeg[1]) >= 1) return kind.image ? 1 / Number(jpeg[1]) : null;
  if (encoding in kind.bytes) return kind.bytes[encoding];
  throw new Error(`Unknown encoding ${quoted(encoding)}; choose one of `
    + `${Object.keys(kind.bytes).join(", ")}, 'jpeg 10:1' for an image, or give `
    + "units.Encoding(name, bytes_per_element).");
}

class Machine {
  constructor(part, model) {
    const { known, head_ns: head, tail_ns: tail, ...words } = part;
    Object.assign(this, words, { model, sizes: part.batch_sizes, width: model.layers + 1 });
    this.head = this.spread(floats(head), known);
    this.tail = tail ? this.spread(floats(tail), known) : this.head.slice();
    if (tail) return;
    for (let from = 0; from < this.tail.length; from += this.width) { // what is left of the whole
      const whole = this.head[from + model.layers];
      for (let k = from; k < from + this.width; k++) this.tail[k] = whole - this.head[k];
    }
  }

  // Times of known cuts, among NaN for the others.
  spread(times, known) {
    if (!known) return times;
    const all = new Float64Array(this.sizes.length * this.width).fill(NaN);
    times.forEach((time, i) => {
      all[Math.floor(i / known.length) * this.width + known[i % known.length]] = time;
    });
    return all;
  }

  // This machine, so many times as fast: an assumption.
  faster(speedup) {
    if (!(isFinite(speedup) && speedup > 0)) {
      throw new Error(`speedup is ${speedup}; give a finite number above zero.`);
    }
    const scale = this.time_scale / speedup, words = general(1 / scale);
    const label = this.imagined.join(words);
    return Object.assign(Object.create(this), {
      origin: "assumed", name: "imagined machine", label, time_scale: scale,
    });
  }

  // Measured batch sizes that stand behind one: [place, weight], itself or those next to it.
  near(size) {
    const above = this.sizes.findIndex((one) => one >= size);
    if (this.sizes[above] === size) return [[above, 1]];
    const low = this.sizes[above - 1], share = (size - low) / (this.sizes[above] - low);
    return [[above - 1, 1 - share], [above, share]];
  }

  // Seconds of a half at these cuts, between measured batch sizes where it must be.
  seconds(half, size, cuts) {
    const times = this[half], factor = NS * this.time_scale, found = new Float64Array(cuts.length);
    for (const [row, share] of this.near(size)) {
      const from = row * this.width;
      for (let k = 0; k < cuts.length; k++) found[k] += share * (times[from + cuts[k]] * factor);
    }
    return found;
  }

  // Seconds in which the payloads of these cuts are copied; NaN beyond the measured sizes.
  copied(direction, size, cuts) {
    const { sizes_bytes: x, [direction]: y } = this.copies, payload = this.model.ownBytes(size);
    payload[this.model.layers] = 0;
    if (direction === "to_host_ns") payload[0] = 0; // the host has the input already
    return cuts.map((cut) => {
      const bytes = payload[cut];
      if (bytes === 0) return 0;
      if (!(bytes >= x[0] && bytes <= x.at(-1))) return NaN;
      let j = 0;
      while (x[j + 1] <= bytes) j += 1;
      const slope = x[j] === bytes ? 0 : (y[j + 1] - y[j]) / (x[j + 1] - x[j]);
      return (slope * (bytes - x[j]) + y[j]) * NS * this.time_scale;
    });
  }
}

// A copy as numbers: the buffer of a message need not begin where an array may.
function floats(bytes) {
  if (bytes instanceof Float64Array) return bytes;
  const { buffer = bytes, byteOffset: start = 0, byteLength: length } = bytes;
  return new Float64Array(buffer.slice(start, start + length));
}

const madeOf = new WeakMap(); // models and machines by what is sent of them: pairs share them

function once(part, make) {
  if (!madeOf.has(part)) madeOf.set(part, make());
  return madeOf.get(part);
}

export class Pair {
  constructor({ models, edge, server }) {
    const machine = (part) => once(part, () =>
      new Machine(part, once(models[part.model], () => new Model(models[part.model]))));
    this.edge = machine(edge);
    this.server = server ? machine(server) : null; // null: assumed
    this.model = this.edge.model;
    this.blocks = this.model.blocks;
    this.layers = this.model.layers;
    const other = (this.server ?? this.edge).sizes, own = this.edge.sizes;
    const low = Math.max(own[0] ?? 1, other[0] ?? 1);
    const high = Math.min(own.at(-1) ?? 0, other.at(-1) ?? 0);
    this.batchSizes = Array.from({ length: Math.max(0, high + 1 - low) }, (_, k) => low + k);
    this.measured = this.batchSizes.map((size) => own.includes(size) && other.includes(size));
    let depth = 0; // blocks on the device
    this.cuts = this.model.elements.map((elements, cut) => {
      while (this.blocks[depth]?.end <= cut) depth += 1;
      const colour = `#${this.model.colours.slice(6 * cut, 6 * cut + 6)}`;
      return { cut, elements, ratio: elements / this.model.input_elements, colour, depth };
    });
  }

  // An input encoding if it can hold anything of the input, else the input's own.
  fitting(encoding) { return this.model.fitting(encoding); }

  // A cut as a candidate: where it lies and what it is called.
  candidate(cut, name) {
    const isInput = cut === 0, isOutput = cut === this.layers;
    const end = isInput ? FULL_OFFLOADING : isOutput ? NO_OFFLOADING : "";
    const names = { name: end || name, shown: end || `after ${name}` };
    return { ...this.cuts[cut], ...names, isInput, isOutput };
  }

  // The cuts that both captures have, [cut of the edge's, cut of the server's, name].
  common(state) {
    const models = [this.model, (this.server ?? this.edge).model];
    let [here, there] = models.map((model) => model.allowed(state));
    if (models[0] === models[1]) return here.map(([cut, name]) => [cut, cut, name]);
    if (this.model.resolved(state.granularity) !== "op") {
      // The older of two files may lack the narrow places.
      const names = [here, there].map((cuts) => new Set(cuts.map(([, name]) => name)));
      [here, there] = [here, there].map(
        (cuts) => cuts.filter(([, name]) => names.every((all) => all.has(name))));
    }
    if (here.map(([, name]) => name).join("\n") !== there.map(([, name]) => name).join("\n")) {
      throw new Error("The two captures list different layers (other versions of torch, other "
        + "element types?); use granularity='block' or capture both with one version.");
    }
    return here.map(([cut, name], k) => {
      const [own, other] = [models[0].elements[cut], models[1].elements[there[k][0]]];
      if (own !== other) {
        throw new Error(`After ${quoted(name)} ${own.toLocaleString("en")} elements leave the `
          + `edge's head, but the server's tail takes ${other.toLocaleString("en")}; profile the `
          + "same model on both.");
      }
      return [cut, there[k][0], name];
    });
  }
}
