// Pairs of profiles by their key, put together from models and machines, each of which the kernel
// sends once. See `pair` in pair.py.

const MOST_BYTES = 32e6; // of times that the kernel has sent
const TIMES = ["head_ns", "tail_ns"];

const bytesOf = (machine) => TIMES.reduce((sum, name) => sum + (machine[name]?.byteLength ?? 0), 0);

class Pairs extends Map {
  constructor(pairs) {
    super();
    Object.assign(this, { models: {}, machines: new Map(), asked: new Set() }); // still to come
    for (const [key, data] of Object.entries(pairs)) this.add(key, data);
  }

  // Names of models and machines that need not be sent.
  get held() { return [...Object.keys(this.models), ...this.machines.keys()]; }

  // Each is put together when it is first asked for: a page may hold a thousand.
  get(key) {
    const held = super.get(key);
    if (!held) return undefined;
    this.delete(key);
    this.set(key, held); // behind all those that were used before
    const [edge, server] = held.machines.map((name) => this.machines.get(name));
    held.pair ??= new Pair({ models: this.models, edge, server });
    return held.pair;
  }

  // Of a machine that is held a message says the name alone, of an array its place in `buffers`.
  add(key, { models, edge, server }, buffers) {
    for (const [name, model] of Object.entries(models)) this.models[name] ??= model;
    const machines = [edge, server].map((one) => {
      if (!one?.model) return one;
      for (const name of TIMES) one[name] = buffers?.[one[name]] ?? one[name];
      const id = one.id ?? one; // a page's have none
      if (!this.machines.has(id)) this.machines.set(id, one);
      return id;
    });
    // One that was forgotten meanwhile is missing: whoever needs the pair asks again.
    const whole = machines.every((name) => name === null || this.machines.has(name));
    if (whole && !this.has(key)) this.set(key, { machines });
  }

  // Forget what was used longest ago, and never the pair in use, where more is held than is good.
  trim(used) {
    this.get(used);
    const bytes = () => [...this.machines.values()].reduce((sum, one) => sum + bytesOf(one), 0);
    while (bytes() > MOST_BYTES && this.size > 2) {
      const [oldest] = this.keys();
      this.delete(oldest);
      const needed = new Set([...this.values()].flatMap(({ machines }) => machines));
      for (const name of this.machines.keys()) if (!needed.has(name)) this.machines.delete(name);
    }
  }
}
