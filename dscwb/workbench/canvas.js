// The widget: five linked views of one study, when they are painted, and what a hand does to them.

const AXIS_PX = 50, TOP_PX = 6; // ticks and titles below and above a plot
const SIDES_PX = [60, 20]; // ticks at the left, half a label of the axis of rates at the right
const KEY_STEP = 0.02; // of the exponent of ten, as the slider of data rates
const LOST = "The kernel behind this picture is gone or was started anew; run the cell again.";
// What keys do to a focused map: steps of the rate, rows.
const STEPS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1],
  PageUp: [10, 0], PageDown: [-10, 0], Home: [-Infinity, 0], End: [Infinity, 0] };
const AIM_MS = 1000; // so long a wish that Python has not answered counts as the state

// --- the five views ------------------------------------------------------------------------------

const swatch = (colour) => `background: ${colour}`;
const HATCHED = `background: repeating-linear-gradient(-45deg, ${IMPOSSIBLE} 0 1px, transparent 1px 4px)`;
const HATCHED_TWICE = "background: repeating-linear-gradient(-45deg, #000 0 1px, #fff 1px 2px, "
  + "rgba(140, 140, 140, 0.5) 2px 5px)";
const DOTTED = "background: radial-gradient(circle, #000 0 0.8px, rgba(140, 140, 140, 0.5) 1px) "
  + "0 0 / 4px 4px";

function doubtKey({ doubt }) {
  const undecided = doubt.length ? [[HATCHED_TWICE, "undecided"]] : [];
  return doubt.includes(FRAGILE) ? [...undecided, [DOTTED, "only if the model is right"]] : undecided;
}

function partsKey(study, { row }) {
  const parts = Object.values(study.parts).map(([colour, label]) => [swatch(colour), label]);
  const missing = study.rows[row].missing ? [[HATCHED, "not possible"]] : [];
  return [...parts, ["", "▲ longer than shown"], ...missing];
}

const here = (study, { row }) => `batch size ${study.rows[row].label}`;
const rowWords = (study, { row, rate }) => tipWords(study, row, rate);
const placeAt = (count, x) => Math.min(count - 1, Math.floor(x * count));

// Of each view: what `still` draws once for a study and what `turns` names, what `mark` draws over
// it, its heading and key, what a tip says, and whether a hand may point into it.
const VIEWS = {
  splits: {
    upper: true, drag: true, sides: [60, 140], still: drawSplitMap, turns: ({ best }) => best,
    mark: markState,
    heading: (study) => study.split_heading,
    key: (study) => [["", "disc: this state"], ...doubtKey(study)],
    tip: rowWords,
  },
  gains: {
    upper: true, drag: true, sides: [20, 68], still: drawGainMap, mark: markState,
    heading: (study) => study.gain_heading,
    key: (study) => (study.rows.every((_, row) => study.gains(row)) ? []
      : [[HATCHED, `${study.gain_over} is not possible`]]),
    tip: rowWords,
  },
  curves: {
    drag: true, still: drawCurves, turns: ({ row }) => row, mark: markCurve,
    heading: (study, state) => [`${study.cost} over data rate`,
      `${here(study, state)}: ${study.candidates[state.best].shown} is best`],
    key: () => [["", "bold: best split"], ["", "thin: other candidates"],
      ["", "dotted: switching rate"], ["", "dashed: this state"]],
    tip: rowWords,
  },
  bars: {
    still: () => {}, mark: drawBars,
    heading: (study, state) => ["Latency of every split", `${here(study, state)}, `
      + `${state.rate_words}: ${study.candidates[state.best].shown} is best`],
    key: partsKey,
    tip: (study, { row }, { x }, { rate }) =>
      tipWords(study, row, rate, placeAt(study.candidates.length, x)),
  },
  places: {
    still: drawPlaces, mark: markPlace,
    heading: (study) => study.ratio_heading,
    key: () => [["", "◆ compressive"], ["", "● natural, c < 1"], ["", "○ c ≥ 1"],
      ["", "ring: best split"]],
    tip: (study, _, { x }) => study.places[placeAt(study.places.length, x)].words,
  },
};

function element(tag, className, parent) {
  const made = document.createElement(tag);
  made.className = className;
  parent.append(made);
  return made;
}

// One canvas with its headings. What only a new study, size or theme changes is drawn once aside.
class Panel {
  constructor(parent, name) {
    Object.assign(this, { sides: SIDES_PX, ...VIEWS[name] });
    const section = element("section", "", parent);
    this.titleLine = element("h4", "", section);
    this.subLine = element("div", "sub", section);
    this.keyLine = element("div", "key", section);
    this.canvas = element("canvas", name, section);
    this.canvas.setAttribute("role", "img");
    if (this.drag) this.canvas.dataset.drag = "";
    if (this.upper) this.canvas.tabIndex = 0;
    this.kept = document.createElement("canvas");
  }

  size(dpr) {
    const [x, right] = this.sides, { clientWidth, clientHeight } = this.canvas;
    const h = clientHeight - TOP_PX - AXIS_PX;
    this.plot = { x, y: TOP_PX, w: clientWidth - x - right, h, dpr };
    for (const one of [this.canvas, this.kept]) {
      one.width = Math.round(clientWidth * dpr);
      one.height = Math.round(clientHeight * dpr);
    }
    this.keptFor = null;
  }

  paint(study, state, theme) {
    const still = `${theme.text} ${theme.paper} ${this.turns?.(state)}`;
    if (this.keptFor !== still) this.still(new Pen(this.kept, this.plot, theme), study, state);
    else if (this.marked === state) return;
    this.keptFor = still;
    this.marked = state;
    const pen = new Pen(this.canvas, this.plot, theme);
    pen.ctx.drawImage(this.kept, 0, 0, this.canvas.clientWidth, this.canvas.clientHeight);
    if (state.rate >= study.low && state.rate <= study.high) this.mark(pen, study, state);
    this.say(study, state);
  }

  say(study, state) {
    const [title, sub] = this.heading(study, state);
    this.titleLine.textContent = this.titleLine.title = title;
    this.subLine.textContent = this.subLine.title = sub;
    const entries = this.key(study, state), says = JSON.stringify(entries);
    this.canvas.setAttribute("aria-label", `${title}: ${sub}. ${state.answer}`);
    if (this.keyLine.dataset.says === says) return;
    this.keyLine.dataset.says = says;
    this.keyLine.replaceChildren();
    for (const [css, words] of entries) {
      const item = element("span", "", this.keyLine);
      if (css) element("i", "", item).style.cssText = css;
      item.append(words);
    }
  }

  placeOf(event) {
    const box = this.canvas.getBoundingClientRect(), { plot } = this;
    const x = (event.clientX - box.left - plot.x) / plot.w;
    const y = (event.clientY - box.top - plot.y) / plot.h;
    return { x, y, inside: x >= 0 && x <= 1 && y >= 0 && y <= 1 };
  }
}

// --- the widget ----------------------------------------------------------------------------------

class View {
  constructor(model, parent) {
    this.model = model;
    this.root = element("div", "dscwb-canvas", parent);
    this.lost = element("div", "lost", this.root);
    this.lost.setAttribute("role", "status");
    this.lost.textContent = LOST;
    this.lost.hidden = true;
    const upper = element("div", "row", this.root), lower = element("div", "row low", this.root);
    this.panels = Object.keys(VIEWS)
      .map((name) => new Panel(VIEWS[name].upper ? upper : lower, name));
    this.caption = element("div", "caption", this.root);
    this.tip = element("div", "tip", this.root);
    this.tip.hidden = true;
    this.draws = 0;
    this.listen();
    this.read();
  }

  listen() {
    this.gone = new AbortController(); // takes every listener below with it
    const { signal } = this.gone, schedule = () => this.schedule();
    // After the widget is made, a change of its comm says one thing only: its kernel has gone.
    this.heard = {
      change: () => this.read(),
      "comm_live_update": () => { this.lost.hidden = false; },
    };
    for (const [name, handler] of Object.entries(this.heard)) this.model.on(name, handler);
    this.sizes = new ResizeObserver(schedule);
    this.sizes.observe(this.root);
    window.addEventListener("resize", schedule, { signal }); // also another screen
    this.themes = new MutationObserver(schedule);
    this.themes.observe(document.body, { attributes: true });
    // A theme's style sheet may arrive after its name.
    document.addEventListener("load", schedule, { capture: true, signal });
    for (const panel of this.panels) this.listenTo(panel, signal);
    this.root.dscwb = this; // for those who want the numbers behind the picture
  }

  listenTo(panel, signal) {
    const on = (name, handler) => panel.canvas.addEventListener(name, handler, { signal });
    on("pointermove", (event) => {
      if (panel.drag && event.buttons & 1) this.point(panel, event);
      this.hover(panel, event);
    });
    on("pointerleave", () => { this.tip.hidden = true; });
    on("pointerdown", (event) => {
      if (!panel.drag || event.button !== 0 || !panel.placeOf(event).inside) return;
      panel.canvas.setPointerCapture(event.pointerId);
      this.point(panel, event);
    });
    if (panel.upper) on("keydown", (event) => this.key(event));
  }

  destroy() {
    this.gone.abort();
    for (const [name, handler] of Object.entries(this.heard)) this.model.off(name, handler);
    this.sizes.disconnect();
    this.themes.disconnect();
    cancelAnimationFrame(this.frame);
    this.root.remove();
  }

  // What Python sends.
  read() {
    const scene = this.model.get("scene"), at = this.model.get("at");
    if (!scene?.rows) return; // nothing shown yet
    if (scene !== this.scene) {
      this.scene = scene;
      this.study = new Study(this.model);
      this.caption.textContent = scene.caption;
      for (const panel of this.panels) panel.keptFor = null;
    }
    if (at !== this.at) this.lost.hidden = true;
    this.at = at;
    const row = this.study.rowOf(at.batch_size), rate = at.data_rate_bps;
    if (row < 0) return; // of a study that comes in a moment
    this.state = { ...at, row, rate, best: this.study.bestAt(row, rate) };
    const { aim } = this; // Python may round what it was asked for
    if (aim && aim.row === row && Math.abs(aim.rate / rate - 1) < 0.01) this.aim = null;
    this.schedule();
  }

  schedule() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.paint();
    });
  }

  paint() {
    const width = this.root.clientWidth, dpr = window.devicePixelRatio || 1;
    if (!width || !this.state) return; // a hidden tab, whose observer calls again
    if (width !== this.width || dpr !== this.dpr) this.panels.forEach((panel) => panel.size(dpr));
    Object.assign(this, { width, dpr });
    const theme = themeOf(this.root);
    for (const panel of this.panels) panel.paint(this.study, this.state, theme);
    this.draws += 1;
    this.root.dataset.draws = this.draws;
    this.root.dataset.at = `${this.state.batch_size} ${this.state.rate}`;
  }

  // --- the hand ----------------------------------------------------------------------------------

  stateAt(panel, { x, y }) {
    const last = this.study.rows.length - 1;
    const row = !panel.upper ? this.state.row
      : Math.min(last, Math.max(0, Math.floor((1 - y) * (last + 1))));
    return { row, rate: this.study.rateAt(x) };
  }

  point(panel, event) { this.wish(this.stateAt(panel, panel.placeOf(event))); }

  // Ask Python for a state. The widget manager keeps one message in flight and sends the last one.
  wish({ row, rate }) {
    const serial = (this.model.get("clicked").serial ?? 0) + 1;
    this.aim = { row, rate, until: performance.now() + AIM_MS };
    this.model.set("clicked", {
      batch_size: this.study.rows[row].batch_size, data_rate_bps: rate, serial,
    });
    this.model.save_changes();
  }

  key(event) {
    const step = STEPS[event.key];
    if (!step || !this.study || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const { study } = this, last = study.rows.length - 1;
    const from = this.aim && performance.now() < this.aim.until ? this.aim : this.state;
    const row = Math.min(last, Math.max(0, from.row + step[1]));
    const rate = Math.min(study.high, Math.max(study.low, from.rate * 10 ** (KEY_STEP * step[0])));
    this.wish({ row, rate });
  }

  hover(panel, event) {
    const place = panel.placeOf(event);
    this.tip.hidden = !place.inside || !this.study;
    if (this.tip.hidden) return;
    const under = this.stateAt(panel, place);
    this.tip.textContent = panel.tip(this.study, under, place, this.state);
    const box = this.root.getBoundingClientRect(), tip = this.tip.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    const left = x + 14 + tip.width > box.width ? x - 14 - tip.width : x + 14;
    this.tip.style.left = `${Math.max(0, left)}px`;
    this.tip.style.top = `${Math.max(0, Math.min(y + 14, box.height - tip.height))}px`;
  }
}

export default {
  render({ model, el }) {
    const view = new View(model, el);
    return () => view.destroy();
  },
};
