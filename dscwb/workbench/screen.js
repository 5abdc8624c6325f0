// The screen: layout, the answer, views that light up together, and what a hand does to them.

const VIEWS = [bestSplitMap, gainMap, costCurves, partBars, modelGraph, inferenceTimeline];
const SETTLED_MS = 500; // a hand that rests so long wants to hear the answer
const LOST = "The kernel behind this workbench is gone or was started anew. All that is here goes on; "
  + "other profiles need the kernel: run the cell again.";

class Workbench {
  constructor(model, parent) {
    this.root = element("div", parent, { className: "dscwb" });
    this.lit = null;
    this.build();
    this.desk = new Desk(model, {
      changed: () => this.schedule(),
      refused: (names, words) => this.controls?.refuse(names, words),
    });
    if (!this.desk.page) this.offerPage();
    this.controls = new Controls(this.desk, this.main, this.more);
    this.draws = 0;
    this.listen();
    this.schedule();
    this.root.dscwb = this; // for those who want the numbers behind the picture
  }

  build() {
    const { root } = this;
    const say = (tag, parent, className, more = {}) => element(tag, parent, { className, ...more });
    this.lost = say("div", root, "lost", { hidden: true });
    this.lost.setAttribute("role", "status");
    const answer = say("div", root, "answer");
    const says = say("p", answer, "says");
    this.first = element("strong", says);
    this.rest = element("span", says);
    this.about = Object.fromEntries(["measured", "modelled", "cautions"].map(
      (name) => [name, say("p", answer, `about ${name}`)]));
    this.spoken = say("div", root, "spoken");
    this.spoken.setAttribute("role", "status");
    const desk = say("div", root, "desk"), form = say("form", desk, "controls");
    form.setAttribute("aria-label", "Scenario");
    form.addEventListener("submit", (event) => event.preventDefault());
    this.main = say("div", form, "main");
    this.actions = say("div", form, "actions");
    const fold = say("details", form, "fold");
    element("summary", fold, { textContent: "More of the scenario" });
    this.more = say("div", fold, "more");
    const views = say("div", desk, "views");
    this.boxes = VIEWS.map((view) => new ViewBox(views, view));
    this.comparison = say("table", root, "comparison", { hidden: true });
    this.caption = say("p", root, "caption");
    this.files = say("div", root, "files");
    this.told = say("p", root, "message"); // by the kernel
    this.told.setAttribute("role", "status");
    this.checking = say("div", root, "checking"); // its place is kept: nothing jumps
    this.share = say("span", this.checking, "share");
    this.button(this.checking, "Stop", "Leave it", () => this.desk.model.send("stop"));
    this.buildShare(say("details", root, "fold share"));
    this.tip = say("div", root, "tip", { hidden: true });
    this.tip.setAttribute("role", "tooltip");
    this.buttons = Object.fromEntries([
      ["Undo", "Back to the state before", () => this.desk.undo()],
      ["Redo", "Forth again", () => this.desk.redo()],
      ["Reset", "Back to the start", () => this.desk.reset()],
      ["Pin", "Pin scenario: hold it, to compare another one with it",
        () => this.desk.hold({ compared: this.desk.state })],
    ].map(([words, title, action]) => [words, this.button(this.actions, words, title, action)]));
    this.buttons.Pin.ariaLabel = "Pin scenario";
    element("span", this.files, { textContent: "Download:" });
    const picture = (of) => async () => of(sheetOf(this.desk, this.ctx, VIEWS));
    for (const [kind, title, make, type] of [
      ["PNG", "All views as a picture", picture(pngOf), "image/png"],
      ["SVG", "All views as a drawing", picture(svgOf), "image/svg+xml"],
      ["CSV", "The best split of every state as a table", async () => csvOf(this.desk), "text/csv"],
    ]) {
      this.button(this.files, kind, `${title}, to download`, async () =>
        download(fileName(this.desk.state.model, kind.toLowerCase()), [await make()], type));
    }
  }

  // The kernel writes the living page, the browser puts it where downloads go.
  offerPage() {
    const { desk: { model } } = this;
    let wished = false; // by this view, not by another one of the same widget
    this.pageButton = this.button(this.files, "Page", "All of this as one HTML file that needs no kernel, to download", () => {
      wished = true;
      model.send("page");
    });
    this.heardPage = (content, buffers) => {
      if (content !== "page") return;
      if (wished) download(fileName(this.desk.state.model, "html"), buffers, "text/html");
      wished = false;
    };
    model.on("msg:custom", this.heardPage);
  }

  // The state as a line of text, to copy and to go back to.
  buildShare(fold) {
    element("summary", fold, { textContent: "Share: this text brings a colleague to the same picture" });
    this.text = element("textarea", fold, { rows: 4, ariaLabel: "State as text", spellcheck: false });
    this.button(fold, "Copy", "Copy the text", async () => {
      await navigator.clipboard.writeText(this.text.value);
      this.say("Copied.");
    });
    this.button(fold, "Load", "Go to the state in the text", () => {
      try {
        this.desk.change(stateOf(this.text.value, this.desk));
        this.say("");
      } catch (error) {
        this.say(error.message, true);
      }
    });
    this.message = element("p", fold, { className: "message" });
  }

  say(words, wrong = false) {
    this.message.setAttribute("role", wrong ? "alert" : "status");
    this.message.textContent = words;
  }

  button(parent, textContent, title, action) {
    const made = element("button", parent, { type: "button", textContent, title });
    made.addEventListener("click", action);
    return made;
  }

  // --- what is shown -----------------------------------------------------------------------------

  get ctx() {
    const { desk, lit } = this, { study, state, row, rate, best, baseline, confidence, other } = desk;
    const held = desk.model.get("pinned"), pinned = study.candidates.findIndex(({ name }) => name === held);
    return { study, state, row, rate, best, baseline, confidence, other, theme: this.theme,
      lit: lit < study.candidates.length ? lit : null, pinned: pinned < 0 ? null : pinned };
  }

  schedule() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.paint();
    });
  }

  paint() {
    const { desk, root } = this;
    if (!desk.state || !root.clientWidth) return; // a hidden tab, whose observer calls again
    this.theme = themeOf(root);
    const { ctx } = this;
    paintBoxes(this.boxes, ctx);
    this.controls.show();
    this.sayAnswer(ctx);
    const { model } = desk;
    this.buttons.Undo.disabled = !model.get("past").length;
    this.buttons.Redo.disabled = !model.get("future").length;
    if (this.pageButton) this.pageButton.disabled = desk.alone; // the kernel writes it
    setText(this.told, model.get("message") ?? "");
    const share = model.get("checking") ?? -1;
    this.checking.classList.toggle("idle", share < 0);
    setText(this.share, share < 0 ? "" : `How sure is every state? ${formatPercent(share)} done`);
    this.lost.hidden = !desk.alone || desk.page;
    setText(this.lost, this.lost.hidden ? "" : LOST);
    this.comparison.hidden = !desk.other;
    if (desk.other && (this.compared !== desk.other || this.painted !== desk.state)) {
      fillComparison(this.comparison, desk, ctx, () => desk.hold({ compared: {} }));
    }
    this.compared = desk.other;
    setText(this.caption, this.captionWords());
    if (this.painted !== desk.state) this.text.value = stateText(desk); // a text half typed stays
    this.painted = desk.state;
    root.setAttribute("aria-busy", !!desk.wish);
    this.draws += 1;
    root.dataset.draws = this.draws;
    root.dataset.at = `${desk.state.batch_size} ${desk.rate}`;
  }

  captionWords() {
    const { model, device, server } = stamp(this.desk);
    return `${model}. Device: ${device}. Server: ${server}.`;
  }

  // Put the answer into words; gives its first sentence.
  answer({ study, state, confidence }) {
    const sure = sureOf(confidence, state.batch_size, state.data_rate_bps);
    const { what, ...about } = answerWords(study, state, sure);
    const first = what.indexOf(". ") + 1 || what.length;
    setText(this.first, what.slice(0, first));
    setText(this.rest, what.slice(first));
    for (const [name, line] of Object.entries(this.about)) setText(line, about[name]);
    return what;
  }

  sayAnswer(ctx) {
    const says = this.answer(ctx);
    if (this.unsaid === says) return;
    this.unsaid = says;
    this.speak(says);
    for (const { canvas, title } of this.boxes) {
      canvas.setAttribute("aria-label", `${title.textContent}. ${says}`);
    }
  }

  // --- the hand ----------------------------------------------------------------------------------

  listen() {
    this.gone = new AbortController(); // takes every listener below with it
    const { signal } = this.gone, schedule = () => this.schedule();
    this.sizes = new ResizeObserver(schedule);
    this.sizes.observe(this.root);
    for (const { canvas } of this.boxes) this.sizes.observe(canvas);
    window.addEventListener("resize", schedule, { signal }); // also another screen
    window.addEventListener("keydown", keepKeys, { signal, capture: true });
    this.themes = new MutationObserver(schedule);
    this.themes.observe(document.body, { attributes: true });
    // A theme's style sheet may arrive after its name.
    document.addEventListener("load", schedule, { capture: true, signal });
    for (const box of this.boxes) this.listenTo(box);
  }

  listenTo(box) {
    const { canvas, key, view } = box;
    const on = (target, name, handler) => target.addEventListener(name, handler);
    on(canvas, "pointermove", (event) => {
      if (!view.steers || !(event.buttons & 1)) return this.hover(box, event);
      this.tip.hidden = true; // a hand that drags looks at the state, not at what lies under it
      this.light(null);
      return this.steer(box, event);
    });
    on(canvas, "pointerleave", () => {
      this.tip.hidden = true;
      this.light(null);
    });
    on(canvas, "pointerdown", (event) => {
      const place = event.button === 0 && box.placeOf(this.ctx, event);
      if (!place) return;
      if (view.steers) {
        canvas.setPointerCapture(event.pointerId);
        this.steer(box, event);
      } else this.pin(place.split);
    });
    if (view.keyed) on(canvas, "keydown", (event) => this.key(view, event));
    if (view.picks) {
      on(canvas, "keydown", (event) => this.pick(view, event));
      on(canvas, "blur", () => this.light(null));
    }
    const splitOf = ({ target }) => target.closest("[data-split]")?.dataset.split;
    for (const name of ["pointerover", "focusin"]) {
      on(key, name, (event) => this.light(splitOf(event) ?? null));
    }
    for (const name of ["pointerleave", "focusout"]) on(key, name, () => this.light(null));
    on(key, "click", (event) => splitOf(event) && this.pin(Number(splitOf(event))));
  }

  light(split) {
    const lit = split === null || split === undefined ? null : Number(split);
    if (lit === this.lit) return;
    this.lit = lit;
    this.schedule();
  }

  pin(split) {
    if (split === null || split === undefined) return;
    const { name } = this.desk.study.candidates[split], { model } = this.desk;
    this.desk.hold({ pinned: model.get("pinned") === name ? "" : name });
  }

  moveTo(row, rate) {
    const { study } = this.desk;
    this.desk.change({ batch_size: study.batchSizes[row], data_rate_bps: Number(rate.toPrecision(3)) });
  }

  steer(box, event) {
    const { canvas, panel: { plot } } = box, edge = canvas.getBoundingClientRect();
    const within = (value, low, high) => Math.min(high, Math.max(low, value));
    const place = box.view.at(this.ctx, plot,
      within(event.clientX - edge.left, plot.x, plot.right ?? plot.x + plot.w),
      within(event.clientY - edge.top, plot.y, plot.y + plot.h));
    this.moveTo(place.row, place.rate);
  }

  key(view, event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const wish = view.keyed(this.ctx, event.key);
    if (!wish) return;
    event.preventDefault();
    if ("pin" in wish) this.pin(wish.pin);
    else this.moveTo(wish.row, wish.rate);
  }

  // From split to split; what is lit is spoken.
  pick(view, { key, altKey, ctrlKey, metaKey }) {
    const step = { ArrowRight: 1, ArrowLeft: -1, Enter: 0 }[key], { ctx } = this;
    if (step === undefined || altKey || ctrlKey || metaKey) return;
    const split = (ctx.lit ?? ctx.best) + step;
    if (!ctx.study.candidates[split]) return;
    if (step) this.speak([view.tip(ctx, { ...ctx, split })].flat().join(". "));
    else this.pin(split);
    this.light(split);
  }

  // Said once, when the hand rests.
  speak(words) {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => setText(this.spoken, words), SETTLED_MS);
  }

  hover(box, event) {
    const { ctx } = this, place = box.placeOf(ctx, event);
    this.light(place?.split ?? null);
    this.tip.hidden = !place;
    if (!place) return;
    this.tip.textContent = [box.view.tip(ctx, place)].flat().join("\n");
    placeTip(this.tip, this.root, event);
  }

  destroy() {
    this.gone.abort();
    if (this.heardPage) this.desk.model.off("msg:custom", this.heardPage);
    this.desk.close();
    this.sizes.disconnect();
    this.themes.disconnect();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.settling);
    this.root.remove();
  }
}

// JupyterLab takes keys of a focused list, slider or map for itself. Decided key by key, before it
// looks: Ctrl+S is its own.
function keepKeys({ target, altKey, ctrlKey, metaKey }) {
  if (!target.closest?.(".dscwb")) return;
  if (altKey || ctrlKey || metaKey) delete target.dataset.lmSuppressShortcuts;
  else target.dataset.lmSuppressShortcuts = "";
}

// The living page: `source` holds what the widget's traits hold.
export function mount(el, source) { return new Workbench(new Sheet(source), el); }

export default {
  render({ model, el }) {
    const made = new Workbench(model, el);
    return () => made.destroy();
  },
};
