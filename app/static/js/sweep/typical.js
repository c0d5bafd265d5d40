// Members that stand for a whole sweep: one of each group whose observables are alike. The choice is that of the Python client.

const ROUNDS = 20; // of k-means; it has settled long before

const distance = (a, b) => a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0);
const meanOf = (points) => points[0].map((_, i) => points.reduce((sum, point) => sum + point[i], 0) / points.length);
const smallest = (values) => values.reduce((best, value, i) => (value < values[best] ? i : best), 0);
const largest = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);

/**
 * Chooses rows that stand for all: k-means (Lloyd 1982) on values scaled to unit variance, started from points far from
 * each other, and of each group the row nearest to its mean.
 * @param rows one object per member. @param names columns to compare; a row that lacks one is not chosen.
 * @returns positions in `rows`, those of large groups first; none if no row has all values.
 */
export function typical(rows, names, count) {
  const complete = rows.map((_, i) => i).filter((i) => names.every((name) => Number.isFinite(rows[i][name])));
  if (!complete.length || !names.length) return [];
  const values = complete.map((i) => names.map((name) => rows[i][name]));
  const mean = meanOf(values);
  const spread = mean.map((middle, k) => Math.sqrt(values.reduce((sum, row) => sum + (row[k] - middle) ** 2, 0) / values.length) || 1);
  const points = values.map((row) => row.map((value, k) => (value - mean[k]) / spread[k]));
  let centres = farApart(points, Math.min(count, new Set(points.map(String)).size));
  const nearest = (point) => smallest(centres.map((centre) => distance(point, centre)));
  for (let round = 0; round < ROUNDS; round++) {
    const groups = points.map(nearest);
    centres = centres.map((centre, k) => { const own = points.filter((_, i) => groups[i] === k); return own.length ? meanOf(own) : centre; });
  }
  const groups = points.map(nearest);
  const sizes = centres.map((_, k) => groups.filter((group) => group === k).length);
  const order = sizes.map((_, k) => k).filter((k) => sizes[k]).sort((a, b) => sizes[b] - sizes[a]);
  return order.map((k) => complete[smallest(points.map((point, i) => (groups[i] === k ? distance(point, centres[k]) : Infinity)))]);
}

/** Returns points of which each is the farthest from those before it; the first is the nearest to the mean. */
function farApart(points, count) {
  const chosen = [smallest(points.map((point) => distance(point, point.map(() => 0))))];
  let nearest = points.map((point) => distance(point, points[chosen[0]]));
  while (chosen.length < count) {
    const next = largest(nearest);
    chosen.push(next);
    nearest = nearest.map((least, i) => Math.min(least, distance(points[i], points[next])));
  }
  return chosen.map((i) => points[i]);
}
