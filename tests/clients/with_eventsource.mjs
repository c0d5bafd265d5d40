// The EventSource of the WHATWG standard (package eventsource): URL-OF-EVENTS -> steps of the frames and the end, as JSON.
import { EventSource } from "eventsource";

const steps = [];
const source = new EventSource(process.argv[2]);
source.addEventListener("frame", (event) => steps.push(Number(event.lastEventId)));
source.addEventListener("end", (event) => {
  source.close();
  console.log(JSON.stringify({ steps, end: JSON.parse(event.data) }));
});
