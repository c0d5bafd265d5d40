// Words for numbers.

const compact = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" });
const grouped = new Intl.NumberFormat("en");

/** Returns a number for people: few digits and a unit prefix ("1.2M"). */
export const short = (value) => (Number.isFinite(value) ? compact.format(value) : "–");

/** Returns an integer with separators. */
export const whole = (value) => (Number.isFinite(value) ? grouped.format(value) : "–");

/** Returns a value of an observable or a cell with four digits. */
export function digits(value) {
  if (!Number.isFinite(value)) return value === null || value === undefined ? "–" : String(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

/** Returns a duration in words: "40 s", "3 min", "2.5 h". */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 100) return `${Number(seconds.toPrecision(2))} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  return `${Number((seconds / 3600).toPrecision(2))} h`;
}

/** Returns a size in words: "3.1 MB". */
export function bytes(count) {
  if (!Number.isFinite(count)) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let i = 0;
  for (; count >= 1000 && i < units.length - 1; i++) count /= 1000;
  return `${i ? Number(count.toPrecision(3)) : count} ${units[i]}`;
}
