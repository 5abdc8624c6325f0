// A pen for HTML canvas: lines, boxes, words and patterns in the colours of the page's theme.

const TEXT_PX = 12, BOLD = "600";
const BLACK = "rgb(0, 0, 0)", WHITE = "rgb(255, 255, 255)";
const ON_PAPER = { // the theme of whatever is printed or saved, and of a page without JupyterLab
  font: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
  text: "rgb(33, 33, 33)", quiet: "rgb(97, 97, 97)", grid: "rgb(224, 224, 224)", paper: WHITE,
};

function themeOf(element) {
  const style = getComputedStyle(element);
  const read = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise;
  return {
    font: read("--jp-ui-font-family", ON_PAPER.font),
    text: read("--jp-ui-font-color1", ON_PAPER.text),
    quiet: read("--jp-ui-font-color2", ON_PAPER.quiet),
    grid: read("--jp-border-color2", ON_PAPER.grid),
    paper: read("--jp-layout-color0", ON_PAPER.paper),
  };
}

// --- contrast, as WCAG 2 defines it --------------------------------------------------------------

const brightnesses = new Map();

// Relative luminance of "rgb(…)" or "#rrggbb", from 0 for black to 1 for white.
function luminance(colour) {
  let found = brightnesses.get(colour);
  if (found === undefined) {
    const hex = colour.match(/^#(..)(..)(..)/)?.slice(1).map((two) => parseInt(two, 16));
    const [red, green, blue] = (hex ?? colour.match(/[\d.]+/g).map(Number)).map((channel) =>
      (channel <= 10 ? channel / 3294.6 : ((channel / 255 + 0.055) / 1.055) ** 2.4));
    found = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    brightnesses.set(colour, found);
  }
  return found;
}

function contrast(one, other) {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

// Black or white, whichever is seen better on the worse of these colours.
function inkOn(...colours) {
  const worst = (ink) => Math.min(...colours.map((colour) => contrast(ink, colour)));
  return worst(BLACK) >= worst(WHITE) ? BLACK : WHITE;
}

// --- the pen -------------------------------------------------------------------------------------

const MANY = 5000; // texts whose widths are remembered, since measuring takes longer than drawing
const widths = new Map(), tiles = new Map();

const touch = (one, other) => one.left < other.right && other.left < one.right
  && one.top < other.foot && other.top < one.foot;

// Draws on one canvas of `width` by `height` pixels of the page; x, y, w, h is the plot within its
// axes. `words` remembers where every text stands, for those who ask whether two of them touch.
class Pen {
  constructor(brush, frame, theme) {
    Object.assign(this, frame, { brush, theme, words: [], patterns: {} });
  }

  get right() { return this.x + this.w; }
  get foot() { return this.y + this.h; }

  snap = (value) => Math.round(value * this.dpr) / this.dpr; // to a whole pixel of the screen

  clear() {
    this.brush.setTransform(this.dpr, 0, 0, this.dpr, 0, 0);
    this.brush.clearRect(0, 0, this.width, this.height);
    return this;
  }

  fontOf(weight) { return `${weight} ${TEXT_PX}px ${this.theme.font}`; }

  widthOf(words, weight = "") {
    const font = this.fontOf(weight), key = `${font} ${words}`;
    if (widths.size > MANY) widths.clear();
    if (!widths.has(key)) {
      this.brush.font = font;
      widths.set(key, this.brush.measureText(words).width);
    }
    return widths.get(key);
  }

  // The words where they fit; else their end, from the front of a word or of a part of a name.
  fitted(words, width, weight = "") {
    let kept = words;
    while (kept.length > 3 && this.widthOf(kept, weight) > width) {
      const end = kept.replace(/^…/, "").slice(1);
      kept = `…${end.slice(end.search(/[. ]/) + 1)}`;
    }
    return this.widthOf(kept, weight) <= width ? kept : "";
  }

  // A halo in this colour keeps words readable on lines and patterns; `shy` ones touch no others.
  text(words, x, y, options = {}) {
    const { align = "center", colour = this.theme.text, weight = "", halo, shy } = options;
    if (!words) return;
    const wide = this.widthOf(words, weight), font = this.fontOf(weight), { brush } = this;
    const left = x - wide * { left: 0, center: 0.5, right: 1 }[align], half = TEXT_PX / 2;
    const place = { words, left, right: left + wide, top: y - half, foot: y + half };
    if (shy && this.words.some((other) => touch(place, other))) return;
    Object.assign(brush, { font, fillStyle: colour, textAlign: align, textBaseline: "middle" });
    if (halo) {
      Object.assign(brush, { strokeStyle: halo, lineWidth: 3, lineJoin: "round" });
      brush.strokeText(words, x, y);
    }
    brush.fillText(words, x, y);
    this.words.push(place);
  }

  // As near to x as the canvas's edges allow.
  textWithin(words, x, y, options = {}) {
    const half = this.widthOf(words, options.weight) / 2;
    this.text(words, Math.min(this.width - half, Math.max(half, x)), y, options);
  }

  line(points, colour, width = 1, dash = []) { this.lines([points], colour, width, dash); }

  // Many lines of one look at once, which is much faster than one by one.
  lines(lines, colour, width = 1, dash = []) {
    this.trace(lines);
    this.brush.setLineDash(dash);
    Object.assign(this.brush, { strokeStyle: colour, lineWidth: width, lineJoin: "round" });
    this.brush.stroke();
    this.brush.setLineDash([]);
  }

  trace(lines) {
    this.brush.beginPath();
    for (const points of lines) {
      points.forEach(([x, y], k) => (k ? this.brush.lineTo(x, y) : this.brush.moveTo(x, y)));
    }
  }

  // Lines that are seen on every colour: white in black, the white dashed for what is pinned.
  rim(lines, pinned = false) {
    this.lines(lines, BLACK, 4.5);
    this.lines(lines, WHITE, 2, pinned ? [6, 4] : []);
  }

  across(y, colour, width, dash) { this.line([[this.x, y], [this.right, y]], colour, width, dash); }
  down(x, colour, width, dash) { this.line([[x, this.y], [x, this.foot]], colour, width, dash); }

  box(x, y, w, h, colour) {
    this.brush.fillStyle = colour;
    this.brush.fillRect(x, y, w, h);
  }

  border(x, y, w, h, colour, width = 1) {
    this.line([[x, y], [x + w, y], [x + w, y + h], [x, y + h], [x, y]], colour, width);
  }

  frame() { this.border(this.x + 0.5, this.y + 0.5, this.w - 1, this.h - 1, this.theme.quiet); }

  shape(points, fill, rim, width = 1) {
    this.trace([points]);
    this.brush.closePath();
    this.paint(fill, rim, width);
  }

  circle(x, y, radius, fill, rim, width = 1) {
    this.brush.beginPath();
    this.brush.arc(x, y, radius, 0, 2 * Math.PI);
    this.paint(fill, rim, width);
  }

  diamond(x, y, half, fill, rim, width = 1) {
    this.shape([[x, y - half], [x + half, y], [x, y + half], [x - half, y]], fill, rim, width);
  }

  paint(fill, rim, width) {
    Object.assign(this.brush, { fillStyle: fill, strokeStyle: rim, lineWidth: width });
    if (fill) this.brush.fill();
    if (rim) this.brush.stroke();
  }

  inside(draw) { this.within(this.x, this.y, this.w, this.h, draw); }

  within(x, y, w, h, draw) {
    this.brush.save();
    this.brush.beginPath();
    this.brush.rect(x, y, w, h);
    this.brush.clip();
    draw();
    this.brush.restore();
  }

  faint(alpha, draw) {
    this.brush.globalAlpha = alpha;
    draw();
    this.brush.globalAlpha = 1;
  }

  // --- patterns, of one colour or of two side by side ------------------------------------------

  hatch(colours, step = 7) {
    return this.tiled(`hatch ${colours} ${step}`, step, (brush, side, k) => {
      for (let y = 0; y < side; y += 1) {
        brush.fillRect((side - y + k * 1.4 * this.dpr) % side, y, this.dpr, 1);
      }
    }, colours);
  }

  dots(colours, step = 5) {
    return this.tiled(`dots ${colours} ${step}`, step, (brush, side, k) => {
      brush.fillRect(k * side / 2, k * side / 2, this.dpr, this.dpr);
    }, colours);
  }

  tiled(name, step, draw, colours) {
    if (this.patterns[name]) return this.patterns[name];
    const key = `${name} ${this.dpr}`, tile = tiles.get(key) ?? document.createElement("canvas");
    if (!tiles.has(key)) {
      const side = tile.width = tile.height = Math.round(step * this.dpr);
      const brush = tile.getContext("2d");
      colours.forEach((fillStyle, k) => draw(Object.assign(brush, { fillStyle }), side, k));
      tiles.set(key, tile);
    }
    const pattern = this.patterns[name] = this.brush.createPattern(tile, "repeat");
    pattern.setTransform(new DOMMatrix([1 / this.dpr, 0, 0, 1 / this.dpr, 0, 0]));
    return pattern;
  }
}
