// Values as they are typed into the form of a new universe: one value, or several, which make a sweep.

const NUMBER = String.raw`-?\d+(?:\.\d+)?(?:e[+-]?\d+)?`;
const RANGE = new RegExp(String.raw`^(log\s+)?(${NUMBER})\s*(?:\.\.|…)\s*(${NUMBER})(?:\s*[x×*]\s*(\d+))?$`, "i");

/**
 * Reads a text: "0.01" → {value}; "0.01, 0.02" → {axis: [0.01, 0.02]}; "0..0.1 x 5" → {axis: {linspace: [0, 0.1, 5]}};
 * "log 0.001..0.1 x 5" → {axis: {logspace}}; "0..7" of whole numbers → each of them, seeds as {start, count}.
 * Raises SyntaxError for anything else.
 */
export function readValues(text, { name = "value", whole = false } = {}) {
  const trimmed = text.trim();
  const range = RANGE.exec(trimmed);
  if (range) {
    const [, log, from, to, count] = range;
    if (count) return { axis: { [log ? "logspace" : "linspace"]: [Number(from), Number(to), Number(count)] } };
    const [a, b] = [Number(from), Number(to)];
    if (log || !Number.isInteger(a) || !Number.isInteger(b) || b < a) throw new SyntaxError(`${name}: “${trimmed}” needs a number of values: ${trimmed} x 5`);
    if (name === "seed") return { axis: { start: a, count: b - a + 1 } };
    if (b - a > 9999) throw new SyntaxError(`${name}: “${trimmed}” are ${b - a + 1} values`);
    return { axis: Array.from({ length: b - a + 1 }, (_, i) => a + i) };
  }
  const parts = trimmed.split(",").map((part) => part.trim()).filter(Boolean);
  if (!parts.length) throw new SyntaxError(`${name}: a number is needed`);
  const values = parts.map((part) => readNumber(part, name, whole));
  return values.length === 1 ? { value: values[0] } : { axis: values };
}

/** Reads a number; one that JavaScript would round stays text "#123", as `api.post` sends it. */
export function readNumber(text, name = "value", whole = false) {
  if (!new RegExp(`^${NUMBER}$`, "i").test(text)) throw new SyntaxError(`${name}: “${text}” is no number`);
  const value = Number(text);
  if (whole && !Number.isInteger(value)) throw new SyntaxError(`${name}: “${text}” is no whole number`);
  return /^-?\d+$/.test(text) && !Number.isSafeInteger(value) ? `#${text}` : value;
}

/** Reads a gamma: as `readValues`, or a schedule "0.01, 500: 0.05", which is one value. */
export function readGammas(text) {
  if (!text.includes(":")) return readValues(text, { name: "gamma" });
  const points = text.split(",").map((part, i) => {
    const [at, value] = part.includes(":") ? part.split(":") : ["0", part];
    if (!part.includes(":") && i) throw new SyntaxError(`gamma: “${part.trim()}” needs its step, as in “500: 0.05”`);
    return [readNumber(at.trim(), "gamma", true), readNumber(value.trim(), "gamma")];
  });
  return { value: points };
}

/** Returns how many members an axis has. */
export const lengthOf = (axis) => (Array.isArray(axis) ? axis.length : axis.count ?? (axis.linspace || axis.logspace)[2]);

/** Writes a value or an axis as `readValues` reads it. */
export function writeValues(value) {
  if (Array.isArray(value)) return value.map((one) => String(one).replace(/^#/, "")).join(", ");
  if (value && typeof value === "object") {
    if ("count" in value) return `${value.start ?? 0}..${(value.start ?? 0) + value.count - 1}`;
    const [a, b, n] = value.linspace || value.logspace;
    return `${value.logspace ? "log " : ""}${a}..${b} x ${n}`;
  }
  return String(value ?? "").replace(/^#(?=-?\d{16,20}$)/, "");
}
