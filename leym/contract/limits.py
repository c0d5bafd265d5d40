"""Bounds of jobs, sweeps, requests and answers, and the patterns of names."""

from __future__ import annotations

from leym.contract.catalog import FIELDS

LAW_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(@[0-9a-f]{8,64})?$"
JOB_ID = r"^[0-9a-hjkmnp-tv-z]{26}$"  # Crockford's base 32


class LIMITS:
    """Bounds that protect the memory of workers and the store; none is a property of the physics."""

    side = (4, 1024)  # cells along one edge of the grid
    steps = 10_000_000
    seed = 2**63 - 1
    gamma = 10.0
    gamma_points = 1000  # of a schedule
    interventions = 1000  # of one job
    charge = 64  # windings of a vortex
    channels = 1024  # of a cell
    strength = 10.0
    part = 100.0  # largest real or imaginary part of a start state that is drawn
    recordings = len(FIELDS)
    frames = 1_000_000  # recorded frames of one field
    kept_states = 1_000  # of one job, by keep_states; each is named in its row
    stored_bytes = 64 * 2**30  # uncompressed bytes of all recordings of one job
    tags = 32
    name = 200  # characters
    sweep_jobs = 1_000_000
    sweep_shapes = 10_000  # groups of members of a sweep that may share a block
    table_rows = 10_000  # of a sweep's table in one answer
    stop_rules = 8  # of a sweep
    sweep_bytes = 1024 * 2**30  # uncompressed bytes of all recordings of a sweep
    upload_bytes = 256 * 2**20
    law_bytes = 512 * 2**20  # of one law or checkpoint, as a file
    training_bytes = 2 * 2**30  # states of the pool of a training
    body_bytes = 1 * 2**20
    answer_bytes = 1 * 2**30  # uncompressed frames or numbers in one answer; a larger selection is read in parts
    view_bytes = 128 * 2**20  # uncompressed frames of one step that a view is computed from, in a few times that memory
    answer_pixels = 32 * 2**20  # of one picture or animation
    video_pixels = 128 * 2**20  # of all frames of one mp4, which is encoded frame by frame
    grid_cells = 400  # frames of a grid of stills
