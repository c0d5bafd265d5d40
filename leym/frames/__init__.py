"""The frame store: what a job recorded, as whole objects that a manifest names, read as Zarr v3, arrays or pictures."""
