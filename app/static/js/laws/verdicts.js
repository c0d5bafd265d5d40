// Verdicts on a law in fewer bits, in words.

import { html, nothing } from "../dom.js";

const WORDS = { pass: "keeps its statistics", fail: "changes its statistics", inconclusive: "undecided" };

/** A short mark per verdict. */
export const chips = (verdicts) => (verdicts || []).map(({ precision, verdict }) =>
  html`<span class="chip ${verdict}" title="In ${precision} the law ${WORDS[verdict]}, compared with fp32">${precision} ${verdict === "inconclusive" ? "undecided" : verdict}</span>`);

const percent = (value) => (Number.isFinite(value) ? `${(100 * value).toFixed(1)} %` : "–");

/** A table of all verdicts with their power. */
export function verdictTable(law, verdicts) {
  if (!verdicts.length) return html`<p class="quiet">No precision of this law has been judged. <code>leym fidelity submit ${law.name} --precision nf4</code> asks for a verdict.</p>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Verdicts"><table><thead><tr><th scope="col">Precision</th><th scope="col">Verdict</th>
      <th scope="col" class="number" title="Probability that every deciding metric passes if there is no effect">Power</th>
      <th scope="col" class="number">Universes</th><th scope="col">Regime in fp32</th><th scope="col">Largest effect</th><th scope="col">Report</th></tr></thead>
    <tbody>${verdicts.map((one) => {
      const metrics = Object.entries(one.metrics).filter(([, metric]) => metric.deciding && Number.isFinite(metric.effect));
      const [name, worst] = metrics.sort((a, b) => Math.abs(b[1].effect) - Math.abs(a[1].effect))[0] || [];
      return html`<tr><td><b>${one.precision}</b></td><td><span class="chip ${one.verdict}">${one.verdict === "inconclusive" ? "undecided" : one.verdict}</span>
          ${one.reasons.length ? html`<details><summary class="small quiet">${one.reasons.length === 1 ? "why" : `${one.reasons.length} reasons`}</summary><ul class="small">${one.reasons.map((reason) => html`<li>${reason}</li>`)}</ul></details>` : nothing}</td>
        <td class="number">${Number.isFinite(one.power) ? one.power.toFixed(2) : "–"}${one.members_needed && one.power < 0.8 ? html`<br><span class="small quiet">0.8 takes ${one.members_needed}</span>` : nothing}</td>
        <td class="number">${one.members}</td><td>${one.regime || "–"}</td>
        <td>${name ? html`${name} ${percent(worst.effect)} <span class="quiet small">[${percent(worst.low)}, ${percent(worst.high)}]</span>` : "–"}</td>
        <td><a href="v1/laws/${law.ref}/fidelity/${one.precision}?format=html" target="_blank" rel="noopener">all numbers</a></td></tr>`;
    })}</tbody></table></div>`;
}
