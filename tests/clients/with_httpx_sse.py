"""httpx-sse: URL-OF-EVENTS -> the steps of the frames and the end, as JSON."""

import json
import sys

import httpx
from httpx_sse import connect_sse

steps = []
with httpx.Client() as client, connect_sse(client, "GET", sys.argv[1]) as source:
    for event in source.iter_sse():
        if event.event == "frame":
            steps.append(int(event.id))
        elif event.event == "end":
            print(json.dumps({"steps": steps, "end": event.json()}))
            break
