"""The frame store: recorded frames and observables of jobs, as objects that a manifest names.

    writer, array_writer, open_shard    writing frames of a job, or of all members of a block
    layout, shards, manifest            how they are cut into objects, encoded and named
    reader, chunks, last                reading committed frames, observables and last states as arrays
    zarr_gateway, zarr_metadata         the Zarr v3 hierarchy of a job
    sweep_zarr, sweep_layout,
    sweep_reader                        the labelled array of a sweep as a Zarr v3 hierarchy
    pictures, animations                frames as PNG, GIF and WebP
    checkpoint, states                  states to resume or start from
    garbage, inspection                 objects that nobody needs, and objects that are missing or damaged
    stores                              object stores: files, S3

A *row* is one row of the job table: a job of its own, or a block with many members of a sweep.

A frame becomes visible to readers when the job table commits a manifest that names its object
(`leym.jobs.progress.Progress.commit`). `manifest.visible_frames` says how many frames of each array that are.
"""
