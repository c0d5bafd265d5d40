// The jobs that a universe continues: their frames are the beginning of its timeline, and forks there are forks of them.

import { get } from "../api.js";
import { keptStates } from "./steering.js";

/** Returns the jobs that a job continues, the nearest first: nodes of its lineage, up to one whose results are gone. */
export async function earlier(job) {
  if (!job.parent) return [];
  const { items } = await get(`v1/jobs/${job.id}/lineage`);
  const nodes = new Map(items.map((node) => [node.id, node]));
  const found = [];
  for (let node = nodes.get(job.parent); node?.readable; node = nodes.get(node.parent)) found.push(node);
  return found;
}

/**
 * Returns {job, states} of the job that has computed a step: the job itself, or one of those that it continues, which
 * then has the last step of the job, so that a fork ends where the job does.
 */
export async function ownerOf(job, states, ancestors, step) {
  let later = job, owner = null;
  for (const node of ancestors) {
    if (step >= later.from_step) break;
    later = owner = node;
  }
  if (!owner) return { job, states };
  const [found, kept] = await Promise.all([get(`v1/jobs/${owner.id}`), keptStates(owner.id)]);
  return { job: { ...found, steps: job.steps }, states: kept }; // it goes on for as long as the one that is shown
}
