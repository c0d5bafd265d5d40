// openapi-fetch with the types that openapi-typescript made as `schema`: URL LAW STATE.npy -> findings as JSON.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

const [url, law, path] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url });

// @ts-expect-error: steps is required
const incomplete: components["schemas"]["JobSpec"] = { law, grid: [16, 16] };

async function main() {
  const upload = await client.POST("/v1/states", {
    body: readFileSync(path) as unknown as string, // openapi-typescript knows no type for bytes
    bodySerializer: (body) => body,
    headers: { "Content-Type": "application/octet-stream" },
  });
  const state = upload.data!;
  const spec: components["schemas"]["JobSpec"] = {
    law,
    grid: [16, 16],
    steps: 20,
    record: [{ field: "phase", every: 10 }],
    initial: { kind: "upload", id: state.id },
  };
  let job = (await client.POST("/v1/jobs", { body: spec })).data!;
  const of = { path: { id: job.id } };
  while (job.state === "queued" || job.state === "running") {
    job = (await client.GET("/v1/jobs/{id}", { params: { ...of, query: { wait: 30 } } })).data!;
  }
  const fields = (await client.GET("/v1/jobs/{id}/frames", { params: of })).data!;
  const frames = await client.GET("/v1/jobs/{id}/frames/{field}", {
    params: { path: { ...of.path, field: "phase" }, query: { format: "npy" } },
    parseAs: "arrayBuffer",
  });
  const refused = (await client.POST("/v1/jobs", { body: { ...spec, steps: 0 } })).error!;
  const found = {
    job: job.id,
    state: job.state,
    uploaded: state.id,
    fields: fields.items.map((field) => field.name),
    frames: createHash("sha256").update(Buffer.from(frames.data!)).digest("hex"),
    refused: typeof refused === "string" ? refused : refused.errors?.map((error) => error.pointer),
  };
  console.log(JSON.stringify(found));
}

main();
