"""The frame store: recorded frames and observables of jobs, as objects that a manifest names.

    writer, layout, shards, manifest    writing frames, and how they are cut into objects
    reader                              reading committed frames and observables as arrays
    zarr_gateway, zarr_metadata         the Zarr v3 hierarchy of a job
    pictures, animations                frames as PNG, GIF and WebP
    checkpoint, states                  states to resume or start from
    garbage, inspection                 objects that nobody needs, and objects that are missing or damaged
    stores                              object stores: files, S3

A frame becomes visible to readers when the job table commits a manifest that names its object
(`leym.jobs.progress.Progress.commit`). `manifest.visible_frames` says how many frames of each array that are.
"""
