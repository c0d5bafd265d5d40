// The client that @hey-api/openapi-ts generated as `hey`: URL LAW STATE.npy -> findings as JSON. Follows events.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { client } from "./hey/client.gen";
import { getFrames, getJob, listFields, streamEvents, submitJob, uploadState } from "./hey";

const [url, law, path] = process.argv.slice(2);
client.setConfig({ baseUrl: url });

async function main() {
  const state = (await uploadState({ body: new Blob([readFileSync(path)]), throwOnError: true })).data;
  const body = {
    law,
    grid: [16, 16] as [number, number],
    steps: 20,
    record: [{ field: "phase" as const, every: 10 }],
    initial: { kind: "upload" as const, id: state.id },
  };
  const { id } = (await submitJob({ body, throwOnError: true })).data;
  const { stream } = await streamEvents({ path: { id } });
  for await (const event of stream) {
    const { state } = event as unknown as { state?: string }; // typed as the whole event, and is its data
    if (state === "succeeded") break;
  }
  const job = (await getJob({ path: { id }, throwOnError: true })).data;
  const fields = (await listFields({ path: { id }, throwOnError: true })).data;
  const frames = await getFrames({
    path: { id, field: "phase" },
    query: { format: "npy" },
    parseAs: "arrayBuffer",
    throwOnError: true,
  });
  const refused = (await submitJob({ body: { ...body, steps: 0 } })).error!;
  const found = {
    job: id,
    state: job.state,
    uploaded: state.id,
    fields: fields.items.map((field) => field.name),
    frames: createHash("sha256").update(Buffer.from(frames.data as unknown as ArrayBuffer)).digest("hex"),
    refused: typeof refused === "string" ? refused : refused.errors?.map((error) => error.pointer),
  };
  console.log(JSON.stringify(found));
}

main();
