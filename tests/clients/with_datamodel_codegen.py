"""requests with models that datamodel-code-generator made as `leym_models`: URL LAW STATE.npy -> findings as JSON."""

import json
import sys
from hashlib import sha256

import requests
from leym_models import FieldList, JobBody, JobSpec, ProblemBody, Recording, State, StateBody, Upload

url, law, path = sys.argv[1:]
with open(path, "rb") as file:
    answer = requests.post(f"{url}/v1/states", data=file, headers={"Content-Type": "application/octet-stream"})
state = StateBody.model_validate_json(answer.text)
spec = JobSpec(law=law, grid=[16, 16], steps=20, record=[Recording(field="phase", every=10)])
spec.initial = Upload(kind="upload", id=state.id)
sent = spec.model_dump(mode="json", exclude_unset=True)  # what is left out is the service's to decide
job = JobBody.model_validate_json(requests.post(f"{url}/v1/jobs", json=sent).text)
while job.state in (State.queued, State.running):
    job = JobBody.model_validate_json(requests.get(f"{url}/v1/jobs/{job.id}", {"wait": 30}).text)
fields = FieldList.model_validate_json(requests.get(f"{url}/v1/jobs/{job.id}/frames").text)
frames = requests.get(f"{url}/v1/jobs/{job.id}/frames/phase", {"format": "npy"}).content
refused = ProblemBody.model_validate_json(requests.post(f"{url}/v1/jobs", json=sent | {"steps": 0}).text)
found = {
    "job": job.id,
    "state": job.state.value,
    "uploaded": state.id,
    "fields": [field.name for field in fields.items],
    "frames": sha256(frames).hexdigest(),
    "refused": [error.pointer for error in refused.errors],
}
print(json.dumps(found))
