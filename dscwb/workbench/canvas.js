// Five linked views of one study: their place, when they are painted, and what a hand does to them.
// The file begins where drawing.js ends: the browser gets both as one module.

const MAP_PX = 300, LOW_PX = 220; // heights of the plots: fixed, a page must not jump
const AXIS_PX = 50, TOP_PX = 6, LEFT_PX = 54; // ticks and titles below, above and left of them
const END_PX = 20; // half of a label at the end of an axis of rates
const PERCENT_BAR_PX = 68;
const NARROWEST = 560; // below, the view scrolls sideways
const KEY_PX = 720; // all that can stand in the key of the breakdown, in one line
const WIDE = 1000; // pixels; from here on three views stand in the lower row
const KEY_STEP = 0.02; // of the exponent of ten, as the slider of data rates
const LOST = "The kernel behind this picture is gone or was started anew; run the cell again.";
const AIM_MS = 1000; // so long a wish that Python has not answered counts as the state

const STYLE = `
.dscwb-canvas { position: relative; font: 13px var(--jp-ui-font-family, system-ui, sans-serif);
  color: var(--jp-ui-font-color1, #222); box-sizing: border-box; padding: 2px;
  overflow-x: auto; overflow-y: hidden; }
.dscwb-canvas .row { display: grid; column-gap: 16px; margin-bottom: 6px; }
.dscwb-canvas section { min-width: 0; }
.dscwb-canvas h4 { font: 600 14px/20px var(--jp-ui-font-family, system-ui, sans-serif); margin: 0; }
.dscwb-canvas h4, .dscwb-canvas .sub { white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; }
.dscwb-canvas .sub { font-size: 12px; line-height: 17px; height: 17px;
  color: var(--jp-ui-font-color2, #555); }
.dscwb-canvas .key { font-size: 11px; line-height: 16px; min-height: 16px;
  color: var(--jp-ui-font-color2, #555); }
.dscwb-canvas .low .key { height: var(--key-height); overflow: hidden; }
.dscwb-canvas .key span { display: inline-block; margin-right: 10px; white-space: nowrap; }
.dscwb-canvas .key i { display: inline-block; width: 10px; height: 10px; margin-right: 4px;
  vertical-align: -1px; }
.dscwb-canvas canvas { display: block; width: 100%; border-radius: 2px; }
.dscwb-canvas canvas[data-drag] { cursor: crosshair; touch-action: pan-y; }
.dscwb-canvas canvas:focus-visible { outline: 2px solid var(--jp-brand-color1, #1976d2); }
.dscwb-canvas .caption { font-size: 11px; line-height: 15px; user-select: text; cursor: text;
  color: var(--jp-ui-font-color2, #555); max-width: 130ch; }
.dscwb-canvas .tip { position: absolute; z-index: 10; pointer-events: none; max-width: 340px;
  width: max-content; padding: 5px 8px; font-size: 12px; line-height: 16px; white-space: pre-line;
  background: var(--jp-layout-color1, #fff); border: 1px solid var(--jp-border-color0, #888);
  border-radius: 3px; box-shadow: 0 1px 4px rgba(0, 0, 0, 0.35); }
.dscwb-canvas .tip::first-line { font-weight: 600; }
.dscwb-canvas .lost { margin: 4px 0; padding: 5px 8px; border-radius: 3px;
  border: 1px solid var(--jp-error-color1, #b00020); color: var(--jp-error-color1, #b00020); }
`;

// --- the view ------------------------------------------------------------------------------------

function element(tag, className, parent) {
  const made = document.createElement(tag);
  made.className = className;
  parent.append(made);
  return made;
}

// One canvas with its headings. What only a new study, size or theme changes is drawn once aside.
class Panel {
  constructor(parent, name, { plotPx, axisPx, drag = false, focus = false }) {
    this.name = name;
    this.drag = drag;
    this.section = element("section", "", parent);
    this.title = element("h4", "", this.section);
    this.sub = element("div", "sub", this.section);
    this.key = element("div", "key", this.section);
    this.canvas = element("canvas", name, this.section);
    this.canvas.setAttribute("role", "img");
    if (drag) this.canvas.dataset.drag = "";
    if (focus) this.canvas.tabIndex = 0;
    this.height = TOP_PX + plotPx + axisPx;
    this.plotPx = plotPx;
    this.canvas.style.height = `${this.height}px`;
    this.kept = document.createElement("canvas");
    this.keptFor = null;
  }

  size(width, leftPx, rightPx, dpr) {
    this.width = Math.round(width);
    this.plot = { x: leftPx, y: TOP_PX, w: this.width - leftPx - rightPx, h: this.plotPx };
    for (const one of [this.canvas, this.kept]) {
      one.width = Math.round(this.width * dpr);
      one.height = Math.round(this.height * dpr);
    }
    this.dpr = dpr;
    this.keptFor = null;
  }

  pen(canvas) {
    const ctx = canvas.getContext("2d");
    ctx.setTransform(this.dpr, 0, 0, this.dpr, 0, 0);
    ctx.clearRect(0, 0, this.width, this.height);
    return ctx;
  }

  // `still` draws what `mark` leaves alone; `key` says what it depends on, `at` what `mark` does.
  paint(key, still, at, mark) {
    if (this.keptFor === key && this.markedAt === at) return;
    this.markedAt = at;
    if (this.keptFor !== key) {
      still(this.pen(this.kept));
      this.keptFor = key;
    }
    const ctx = this.pen(this.canvas);
    ctx.save();
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.drawImage(this.kept, 0, 0);
    ctx.restore();
    mark(ctx);
  }

  say(title, sub, key, answer) {
    for (const [one, words] of [[this.title, title], [this.sub, sub]]) {
      if (one.textContent === words) continue;
      one.textContent = words;
      one.title = words;
    }
    if (this.key.dataset.says !== JSON.stringify(key)) fillKey(this.key, key);
    this.canvas.setAttribute("aria-label", `${title}: ${sub}. ${answer}`);
  }
}

function fillKey(parent, entries) {
  parent.replaceChildren();
  for (const [css, words] of entries) {
    const item = element("span", "", parent);
    if (css) element("i", "", item).style.cssText = css;
    item.append(words);
  }
  parent.dataset.says = JSON.stringify(entries);
}

const HATCHED = `background: repeating-linear-gradient(-45deg, ${IMPOSSIBLE} 0 1px, transparent 1px 4px)`;
const HATCHED_TWICE = "background: repeating-linear-gradient(-45deg, #000 0 1px, #fff 1px 2px, "
  + "rgba(140, 140, 140, 0.5) 2px 5px)";
const DOTTED = "background: radial-gradient(circle, #000 0 0.8px, rgba(140, 140, 140, 0.5) 1px) "
  + "0 0 / 4px 4px";

class View {
  constructor(model, parent) {
    this.model = model;
    this.root = element("div", "dscwb-canvas", parent);
    element("style", "", this.root).textContent = STYLE;
    this.lost = element("div", "lost", this.root);
    this.lost.setAttribute("role", "status");
    this.lost.textContent = LOST;
    this.lost.hidden = true;
    this.upper = element("div", "row", this.root);
    this.lower = element("div", "row low", this.root);
    this.panels = this.makePanels();
    this.caption = element("div", "caption", this.root);
    this.tip = element("div", "tip", this.root);
    this.tip.hidden = true;
    this.draws = 0;
    this.listen();
    this.read();
  }

  makePanels() {
    const map = { plotPx: MAP_PX, axisPx: AXIS_PX, drag: true, focus: true };
    const low = { plotPx: LOW_PX, axisPx: AXIS_PX };
    return {
      splits: new Panel(this.upper, "splits", map),
      gains: new Panel(this.upper, "gains", map),
      curves: new Panel(this.lower, "curves", { ...low, drag: true }),
      bars: new Panel(this.lower, "bars", low),
      places: new Panel(this.lower, "places", low),
    };
  }

  listen() {
    this.gone = new AbortController(); // takes every listener below with it
    const { signal } = this.gone;
    this.changed = () => this.read();
    this.model.on("change", this.changed);
    // After the widget is made this says one thing only: its kernel has gone.
    this.left = () => { this.lost.hidden = false; };
    this.alive = () => { this.lost.hidden = true; };
    this.model.on("comm_live_update", this.left);
    for (const name of ["change:at", "change:scene"]) this.model.on(name, this.alive);
    this.sizes = new ResizeObserver(() => this.schedule());
    this.sizes.observe(this.root);
    window.addEventListener("resize", () => this.schedule(), { signal }); // also another screen
    this.themes = new MutationObserver(() => { this.theme = null; this.schedule(); });
    this.themes.observe(document.body, { attributes: true,
      attributeFilter: ["class", "style", "data-jp-theme-name", "data-jp-theme-light"] });
    // A theme's style sheet may arrive after its name.
    document.addEventListener("load", ({ target }) => {
      if (target.tagName === "LINK") { this.theme = null; this.schedule(); }
    }, { capture: true, signal });
    window.addEventListener("keydown", (event) => this.keepKey(event), { capture: true, signal });
    for (const panel of Object.values(this.panels)) this.listenTo(panel, signal);
    // For tests and for those who want the numbers behind the picture.
    this.root.dscwb = { at: (batchSize, rate) => this.reading(batchSize, rate) };
  }

  listenTo(panel, signal) {
    const on = (name, handler) => panel.canvas.addEventListener(name, handler, { signal });
    on("pointermove", (event) => {
      if (panel.drag && event.buttons & 1) this.point(panel, event);
      this.hover(panel, event);
    });
    on("pointerleave", () => { this.tip.hidden = true; });
    on("pointerdown", (event) => {
      if (!panel.drag || event.button !== 0) return;
      panel.canvas.setPointerCapture(event.pointerId);
      this.point(panel, event);
    });
    if (panel.canvas.tabIndex === 0) on("keydown", (event) => this.key(event));
  }

  destroy() {
    this.gone.abort();
    this.model.off("change", this.changed);
    this.model.off("comm_live_update", this.left);
    for (const name of ["change:at", "change:scene"]) this.model.off(name, this.alive);
    this.sizes.disconnect();
    this.themes.disconnect();
    cancelAnimationFrame(this.frame);
    this.root.remove();
  }

  // --- what Python sends -------------------------------------------------------------------------

  read() {
    const scene = this.model.get("scene"), at = this.model.get("at");
    if (!scene?.rows) return; // nothing shown yet
    if (scene !== this.scene) {
      this.scene = scene;
      this.study = new Study(this.model);
      this.version = (this.version ?? 0) + 1;
      this.setCaption(scene.words.caption);
    }
    this.state = { row: this.study.rowOf(at.batch_size), rate: at.data_rate_bps, answer: at.answer };
    if (this.aim && this.answered()) this.aim = null;
    this.schedule();
  }

  answered() { // Python may round what it was asked for
    return this.aim.row === this.state.row && Math.abs(this.aim.rate / this.state.rate - 1) < 0.01;
  }

  setCaption(words) {
    if (this.caption.textContent === words) return;
    this.caption.textContent = words;
    // Never lower again at this width: what stands below must not move up and down.
    const { height } = this.caption.getBoundingClientRect();
    this.captionPx = Math.max(this.captionPx ?? 0, height);
    this.caption.style.minHeight = `${this.captionPx}px`;
  }

  reading(batchSize, rate) {
    const { study } = this, row = study.rowOf(batchSize), best = study.bestAt(row, rate);
    const { second, margin } = study.runnerUp(row, rate);
    return {
      best: study.candidates[best].name, parts: study.partsAt(row, best, rate),
      latency: study.latencyAt(row, best, rate), cost: study.costAt(row, best, rate),
      runnerUp: study.candidates[second]?.name ?? "", margin, gain: study.gainAt(row, rate),
      doubt: study.doubtAt(row, rate),
      latencies: study.candidates.map((_, split) => study.latencyAt(row, split, rate)),
    };
  }

  // --- painting ----------------------------------------------------------------------------------

  schedule() {
    if (this.frame || !this.study) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      if (this.layOut()) this.paint();
    });
  }

  // Sizes all panels if the place or the screen has changed; false where there is no place.
  layOut() {
    const width = this.root.clientWidth && Math.max(NARROWEST, this.root.clientWidth);
    const dpr = window.devicePixelRatio || 1;
    if (!width) return false; // a hidden tab; the observer calls again
    if (width === this.width && dpr === this.dpr) return true;
    this.width = width;
    this.dpr = dpr;
    this.captionPx = 0;
    this.caption.style.minHeight = "";
    const wide = width >= WIDE, inner = width - 4, gap = 16;
    const bar = wide ? 152 : 128; // room for names of splits at the first map
    const plot = (inner - gap - LEFT_PX - bar - END_PX - PERCENT_BAR_PX) / 2; // both alike
    const left = LEFT_PX + plot + bar;
    this.upper.style.gridTemplateColumns = `${left}px ${inner - gap - left}px`;
    this.bar = bar;
    const { splits, gains, curves, bars, places } = this.panels;
    splits.size(left, LEFT_PX, bar, dpr);
    gains.size(inner - gap - left, END_PX, PERCENT_BAR_PX, dpr);
    const part = wide ? (inner - 2 * gap) / 3 : (inner - gap) / 2;
    this.lower.style.setProperty("--key-height", `${16 * Math.ceil(KEY_PX / part)}px`);
    this.lower.style.gridTemplateColumns = `repeat(${wide ? 3 : 2}, ${part}px)`;
    places.section.style.gridColumn = wide ? "" : "1 / -1";
    for (const panel of [curves, bars]) panel.size(part, LEFT_PX, END_PX, dpr);
    places.size(wide ? part : inner, LEFT_PX, END_PX, dpr);
    return true;
  }

  paint() {
    this.theme ??= themeOf(this.root);
    const { study, state, theme, version, dpr } = this, { row, rate } = state;
    const { splits, gains, curves, bars, places } = this.panels;
    const shown = row >= 0 && rate >= study.low && rate <= study.high;
    const key = (panel, more = "") => `${version} ${panel.width} ${dpr} ${theme.text} ${more}`;
    const best = row < 0 ? -1 : study.bestAt(row, rate), at = `${row} ${rate}`;
    splits.paint(key(splits, best), (ctx) => {
      drawSplitMap(ctx, theme, splits.plot, study, dpr);
      drawSplitBar(ctx, theme, splits.plot, study, this.bar, best);
    }, at, (ctx) => shown && markState(ctx, splits.plot, study, state));
    gains.paint(key(gains), (ctx) => drawGainMap(ctx, theme, gains.plot, study, dpr), at,
      (ctx) => shown && markState(ctx, gains.plot, study, state));
    if (row >= 0) {
      curves.paint(key(curves, row), (ctx) => drawCurves(ctx, theme, curves.plot, study, row), at,
        (ctx) => shown && markCurve(ctx, theme, curves.plot, study, state));
      bars.paint(key(bars), () => {}, at,
        (ctx) => drawBars(ctx, theme, bars.plot, study, state, dpr));
      places.paint(key(places), (ctx) => drawPlaces(ctx, theme, places.plot, study), best,
        (ctx) => markPlace(ctx, theme, places.plot, study, state));
      this.say(best);
    }
    this.draws += 1;
    this.root.dataset.draws = this.draws;
    this.root.dataset.at = `${study.rows[row]?.batch_size} ${rate}`;
  }

  say(best) {
    const { study, state, panels } = this, { words } = study, { row, rate, answer } = state;
    const name = study.candidates[best].short, here = `batch size ${study.sizeWords(row)}`;
    const swatch = (colour) => `background: ${colour}`;
    const doubt = study.doubt_edges_bps.length ? [[HATCHED_TWICE, "undecided"]] : [];
    if (study.doubt.includes(FRAGILE)) doubt.push([DOTTED, "only if the model is right"]);
    panels.splits.say(...words.split_heading, [["", "disc: this state"], ...doubt], answer);
    const nowhere = study.cells.some(isNaN) ? [[HATCHED, `${words.gain_over} is not possible`]] : [];
    panels.gains.say(...words.gain_heading, nowhere, answer);
    panels.curves.say(`${words.cost} over data rate`, `${here}: ${name} is best`,
      [["", "bold: best split"], ["", "thin: other candidates"], ["", "dotted: switching rate"],
        ["", "dashed: this state"]],
      answer);
    const parts = Object.entries(study.parts)
      .filter(([part]) => study.partsShown.has(part))
      .map(([, [colour, label]]) => [swatch(colour), label]);
    const missing = study.anyMissing[row] ? [[HATCHED, "not possible"]] : [];
    panels.bars.say("Latency of every split",
      `${here}, ${prefixed(rate, "bit/s", 1e9, 1)}: ${name} is best`,
      [...parts, ["", "△ longer than shown"], ...missing], answer);
    panels.places.say(...words.ratio_heading, [["", "◆ compressive"], ["", "● natural, c < 1"],
      ["", "○ c ≥ 1"], ["", "ring: best split"]], answer);
  }

  // --- the hand ----------------------------------------------------------------------------------

  placeIn(panel, event) {
    const box = panel.canvas.getBoundingClientRect(), { plot } = panel;
    const x = (event.clientX - box.left - plot.x) / plot.w;
    const y = (event.clientY - box.top - plot.y) / plot.h;
    return { x, y, inside: x >= 0 && x <= 1 && y >= 0 && y <= 1 };
  }

  stateIn(panel, { x, y }) {
    const { study } = this, last = study.rows.length - 1;
    const row = panel === this.panels.curves ? this.state.row
      : Math.min(last, Math.max(0, Math.floor((1 - y) * study.rows.length)));
    return { row, rate: study.rateAt(x) };
  }

  point(panel, event) {
    const place = this.placeIn(panel, event);
    if (event.type === "pointerdown" && !place.inside) return;
    const { row, rate } = this.stateIn(panel, place);
    this.wish(row, rate);
  }

  // Ask Python for a state. The widget manager keeps one message in flight and sends the last one.
  wish(row, rate) {
    const serial = (this.model.get("clicked").serial ?? 0) + 1;
    this.aim = { row, rate, until: performance.now() + AIM_MS };
    this.model.set("clicked", {
      batch_size: this.study.rows[row].batch_size, data_rate_bps: rate, serial,
    });
    this.model.save_changes();
  }

  wanted({ key, altKey, ctrlKey, metaKey, shiftKey }) {
    if (altKey || ctrlKey || metaKey || shiftKey) return null;
    return { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1],
      PageUp: [10, 0], PageDown: [-10, 0], Home: [-Infinity, 0], End: [Infinity, 0] }[key] ?? null;
  }

  // JupyterLab takes arrow keys for itself, before they come here, unless told not to; of a focused
  // map it is told so for these keys only, and Ctrl+S still saves.
  keepKey(event) {
    if (!(event.target instanceof HTMLCanvasElement) || !this.root.contains(event.target)) return;
    if (this.wanted(event)) event.target.dataset.lmSuppressShortcuts = "";
    else delete event.target.dataset.lmSuppressShortcuts;
  }

  key(event) {
    const step = this.wanted(event);
    if (!step || !this.study) return;
    event.preventDefault();
    const { study } = this, last = study.rows.length - 1;
    const from = this.aim && performance.now() < this.aim.until ? this.aim : this.state;
    const row = Math.min(last, Math.max(0, from.row + step[1]));
    const rate = Math.min(study.high, Math.max(study.low, from.rate * 10 ** (KEY_STEP * step[0])));
    this.wish(row, rate);
  }

  hover(panel, event) {
    const place = this.placeIn(panel, event), words = place.inside && this.study
      && this.wordsAt(panel, place);
    this.tip.hidden = !words;
    if (!words) return;
    this.tip.textContent = words;
    const box = this.root.getBoundingClientRect(), tip = this.tip.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    const left = x + 14 + tip.width > box.width ? x - 14 - tip.width : x + 14;
    this.tip.style.left = `${Math.max(0, left)}px`;
    this.tip.style.top = `${Math.max(0, Math.min(y + 14, box.height - tip.height))}px`;
  }

  wordsAt(panel, place) {
    const { study, state, panels } = this;
    if (panel === panels.bars) {
      const split = Math.min(study.candidates.length - 1,
        Math.floor(place.x * study.candidates.length));
      return candidateWords(study, state.row, split, state.rate);
    }
    if (panel === panels.places) {
      const k = Math.floor(place.x * (study.places.length + 2));
      return placeWords(study, Math.min(k, study.places.length + 1));
    }
    const { row, rate } = this.stateIn(panel, place);
    return stateWords(study, row, rate);
  }
}

export default {
  render({ model, el }) {
    const view = new View(model, el);
    return () => view.destroy();
  },
};
