// Numbers and names for people, as units.py writes them.

// As Python's {value:.{digits}f}, which rounds a half to the even digit.
function fixed(value, digits) {
  if (!isFinite(value)) return general(value);
  if (Math.abs(value) >= 1e21) return `${BigInt(value)}`; // where toFixed turns to exponents
  const scale = 2 ** (digits + 1), whole = value * scale; // exact: only the exponent changes
  if (!Number.isInteger(whole) || whole % 2 === 0) return value.toFixed(digits);
  const below = Math.floor(Math.abs(value) * 10 ** digits); // half way from here to the next
  return (Math.sign(value) * (below + (below % 2)) / 10 ** digits).toFixed(digits);
}

// A number of so many significant digits, a half to the even digit.
function rounded(value, digits) {
  if (!value || !isFinite(value)) return value;
  const places = digits - 1 - Number(value.toExponential(30).split("e")[1]);
  if (places >= 0) return Number(fixed(value, Math.min(places, 100)));
  const unit = 10 ** -places, half = Math.abs(value % unit) * 2 === unit;
  if (!half) return Number(value.toPrecision(digits));
  const below = Math.floor(Math.abs(value) / unit);
  return Math.sign(value) * (below + (below % 2)) * unit;
}

// As Python's {value:g}.
function general(value) {
  if (!isFinite(value)) return isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  const near = rounded(value, 6), size = Math.abs(near);
  if (size === 0 || (size >= 1e-4 && size < 1e6)) return `${near}`;
  const [digits, power] = near.toExponential().split("e");
  return `${digits}e${power[0]}${power.slice(1).padStart(2, "0")}`;
}

const PREFIXES = { T: 1e12, G: 1e9, M: 1e6, k: 1e3, "": 1, m: 1e-3, µ: 1e-6, n: 1e-9 };

// The value in the largest of these prefixes that is not above it, three significant digits.
function prefixed(value, unit, prefixes) {
  if (value === 0 || !isFinite(value)) return `${general(value)} ${unit}`;
  const fits = (one) => Math.abs(value) >= PREFIXES[one] * 0.9995;
  const prefix = prefixes.find(fits) ?? prefixes.at(-1), scaled = value / PREFIXES[prefix];
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(scaled)) + 1e-9));
  const text = fixed(scaled, Math.min(digits, 3));
  return `${text.includes(".") ? text.replace(/\.?0+$/, "") : text} ${prefix}${unit}`;
}

function formatBytes(bytes) { return prefixed(bytes, "B", ["G", "M", "k", ""]); }

function formatSeconds(seconds) { return prefixed(seconds, "s", ["", "m", "µ", "n"]); }

function formatCost(cost, unit) { return `${formatSeconds(cost).slice(0, -1)}${unit}`; }

function formatRate(rate, inBytes = false) {
  const bits = prefixed(rate, "bit/s", ["G", "M", "k", ""]);
  return inBytes ? `${bits} (${prefixed(rate / 8, "B/s", ["G", "M", "k", ""])})` : bits;
}

function formatNumber(value) {
  const near = rounded(value, 3);
  return Math.abs(near) >= 100 ? fixed(near, 0) : fixed(near, 10).replace(/\.?0+$/, "");
}

function formatPercent(share) {
  const size = Math.abs(share);
  if (size > 0 && size < 0.0005) return share > 0 ? "<0.1 %" : ">-0.1 %";
  if (size >= 0.995 && size < 1) {
    return `${fixed(Math.sign(share) * Math.min(size, 0.999) * 100, 1)} %`;
  }
  return `${fixed(share * 100, size > 0 && size < 0.0995 ? 1 : 0)} %`;
}

// As Python's repr of a name.
function quoted(text) {
  return text.includes("'") && !text.includes('"') ? `"${text}"` : `'${text.replace(/'/g, "\\'")}'`;
}

function capital(words) { return words.slice(0, 1).toUpperCase() + words.slice(1); }
