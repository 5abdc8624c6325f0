// A brush that writes SVG where a canvas would paint: as much of it as the pen asks for.

const XML = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (words) => `${words}`.replace(/[&<>"]/g, (one) => XML[one]);
const short = (number) => `${Math.round(number * 100) / 100}`;
const BASELINE_EM = 0.35; // from the middle of a line of text down to its foot

class SvgBrush {
  constructor(width, height) {
    Object.assign(this, { width, height, out: [], definitions: [], path: "", kept: [] });
    this.ruler = document.createElement("canvas").getContext("2d");
    Object.assign(this, { fillStyle: "#000", strokeStyle: "#000", lineWidth: 1, globalAlpha: 1,
      textAlign: "left", lineJoin: "miter", dash: [] });
  }

  get font() { return this.ruler.font; }
  set font(value) { this.ruler.font = value; }

  measureText(words) { return this.ruler.measureText(words); }
  setLineDash(dash) { this.dash = dash; }

  // --- groups: what is moved, turned or clipped, until it is restored ----------------------------

  save() {
    const { fillStyle, strokeStyle, lineWidth, globalAlpha, font, dash } = this;
    this.kept.push([this.opened ?? 0, { fillStyle, strokeStyle, lineWidth, globalAlpha, font, dash }]);
    this.opened = 0;
  }

  restore() {
    this.out.push("</g>".repeat(this.opened));
    const [opened, look] = this.kept.pop();
    Object.assign(this, look);
    this.opened = opened;
  }

  group(attributes) {
    this.out.push(`<g ${attributes}>`);
    this.opened = (this.opened ?? 0) + 1;
  }

  translate(x, y) { this.group(`transform="translate(${short(x)} ${short(y)})"`); }
  rotate(angle) { this.group(`transform="rotate(${short(angle * 180 / Math.PI)})"`); }

  clip() {
    const id = this.define((name) => `<clipPath id="${name}"><path d="${this.path}"/></clipPath>`);
    this.group(`clip-path="url(#${id})"`);
  }

  define(write) {
    const id = `d${this.definitions.length}`;
    this.definitions.push(write(id));
    return id;
  }

  // --- paths -------------------------------------------------------------------------------------

  beginPath() { this.path = ""; }
  moveTo(x, y) { this.path += `M${short(x)} ${short(y)}`; }
  lineTo(x, y) { this.path += `${this.path ? "L" : "M"}${short(x)} ${short(y)}`; }
  closePath() { this.path += "Z"; }
  rect(x, y, w, h) { this.path += `M${short(x)} ${short(y)}h${short(w)}v${short(h)}h${short(-w)}Z`; }

  arc(x, y, radius, from, to) {
    const at = (angle) => `${short(x + radius * Math.cos(angle))} ${short(y + radius * Math.sin(angle))}`;
    const half = `A${short(radius)} ${short(radius)} 0 0 1 `;
    this.path += `${this.path ? "L" : "M"}${at(from)}${half}${at((from + to) / 2)}${half}${at(to)}`;
  }

  fill() { this.draw(`<path d="${this.path}" fill="${this.fillStyle}"`); }
  stroke() { this.draw(`<path d="${this.path}" fill="none" ${this.stroked()}`); }

  fillRect(x, y, w, h) {
    const [left, top] = [Math.min(x, x + w), Math.min(y, y + h)].map(short);
    this.draw(`<rect x="${left}" y="${top}" width="${short(Math.abs(w))}" `
      + `height="${short(Math.abs(h))}" fill="${this.fillStyle}"`);
  }

  stroked() {
    const dash = this.dash.length ? ` stroke-dasharray="${this.dash.join(" ")}"` : "";
    return `stroke="${this.strokeStyle}" stroke-width="${short(this.lineWidth)}" `
      + `stroke-linejoin="${this.lineJoin}"${dash}`;
  }

  draw(element) {
    this.out.push(`${element}${this.globalAlpha < 1 ? ` opacity="${this.globalAlpha}"` : ""}/>`);
  }

  // --- words, pictures and patterns --------------------------------------------------------------

  fillText(words, x, y) { this.write(words, x, y, `fill="${this.fillStyle}"`); }
  strokeText(words, x, y) { this.write(words, x, y, `fill="none" ${this.stroked()}`); }

  write(words, x, y, look) {
    const [, weight = "", size] = /^(?:(\S+) )?([\d.]+)px/.exec(this.font) ?? [null, "", "12"];
    const family = this.font.slice(this.font.indexOf("px ") + 3);
    const anchor = { left: "start", center: "middle", right: "end" }[this.textAlign];
    this.out.push(`<text x="${short(x)}" y="${short(y + BASELINE_EM * size)}" text-anchor="${anchor}" `
      + `font-family="${escaped(family)}" font-size="${size}" font-weight="${weight || "normal"}" `
      + `${look}>${escaped(words)}</text>`);
  }

  drawImage(image, x, y, w, h) {
    this.out.push(`<image x="${short(x)}" y="${short(y)}" width="${short(w)}" height="${short(h)}" `
      + 'preserveAspectRatio="none" style="image-rendering: pixelated" '
      + `href="${image.toDataURL()}"/>`);
  }

  createPattern(tile) {
    const { width, height } = tile, size = `width="${width}" height="${height}"`;
    let scale = 1;
    const id = this.define((name) => () => `<pattern id="${name}" patternUnits="userSpaceOnUse" ${size} `
      + `patternTransform="scale(${scale})"><image ${size} href="${tile.toDataURL()}"/></pattern>`);
    return { setTransform: ({ a }) => { scale = a; }, toString: () => `url(#${id})` };
  }

  text() {
    const definitions = this.definitions.map((one) => (typeof one === "string" ? one : one()));
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${this.width}" height="${this.height}" `
      + `viewBox="0 0 ${this.width} ${this.height}"><defs>${definitions.join("")}</defs>`
      + `${this.out.join("\n")}</svg>\n`;
  }
}
