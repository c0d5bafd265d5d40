"""A client that openapi-python-client generated as `leym_attrs`: URL LAW STATE.npy -> what it found, as JSON."""

import io
import json
import sys
from hashlib import sha256

from leym_attrs import Client
from leym_attrs.api.events import stream_events
from leym_attrs.api.jobs import get_job, submit_job
from leym_attrs.api.results import get_frames, list_fields
from leym_attrs.api.states import upload_state
from leym_attrs.models import GetFramesFormat, JobBodyState, JobSpec, Recording, RecordingField, Upload
from leym_attrs.types import File

url, law, path = sys.argv[1:]
client = Client(base_url=url)
with open(path, "rb") as file:
    state = upload_state.sync(client=client, body=File(payload=io.BytesIO(file.read())))
spec = JobSpec(law=law, grid=[16, 16], steps=20, record=[Recording(field=RecordingField.PHASE, every=10)])
spec.initial = Upload(kind="upload", id=state.id)
job = submit_job.sync(client=client, body=spec)
while job.state in (JobBodyState.QUEUED, JobBodyState.RUNNING):
    job = get_job.sync(job.id, client=client, wait=30)
fields = list_fields.sync(job.id, client=client)
frames = get_frames.sync(job.id, "phase", client=client, format_=GetFramesFormat.NPY)
events = stream_events.sync(job.id, client=client)
spec.steps = 0
refused = submit_job.sync(client=client, body=spec)
found = {
    "job": job.id,
    "state": job.state.value,
    "uploaded": state.id,
    "fields": [field.name for field in fields.items],
    "frames": sha256(frames.payload.read()).hexdigest(),
    "events": events,
    "refused": [error.pointer for error in refused.errors],
}
print(json.dumps(found))
