"""A client that openapi-generator (`-g python`) generated as `leym_java`: URL LAW STATE.npy -> findings as JSON."""

import json
import sys
from hashlib import sha256

from leym_java import ApiClient, Configuration, Initial, JobSpec, ProblemBody, Recording, Upload
from leym_java.api import EventsApi, JobsApi, ResultsApi, StatesApi
from leym_java.exceptions import ApiException

url, law, path = sys.argv[1:]
with ApiClient(Configuration(host=url)) as client:
    jobs, results = JobsApi(client), ResultsApi(client)
    with open(path, "rb") as file:
        state = StatesApi(client).upload_state(file.read())
    spec = JobSpec(law=law, grid=[16, 16], steps=20, record=[Recording(field="phase", every=10)])
    spec.initial = Initial(Upload(kind="upload", id=state.id))
    job = jobs.submit_job(spec)
    while job.state in ("queued", "running"):
        job = jobs.get_job(job.id, wait=30)
    fields = results.list_fields(job.id)
    frames = results.get_frames(job.id, "phase", format="npy")
    events = EventsApi(client).stream_events(job.id).actual_instance
    try:
        jobs.submit_job(JobSpec.model_construct(law=law, grid=[16, 16], steps=0))
        pointers = []
    except ApiException as error:
        pointers = [broken.pointer for broken in ProblemBody.from_json(error.body).errors]
found = {
    "job": job.id,
    "state": job.state,
    "uploaded": state.id,
    "fields": [field.name for field in fields.items],
    "frames": sha256(frames).hexdigest(),
    "events": events,
    "refused": pointers,
}
print(json.dumps(found))
