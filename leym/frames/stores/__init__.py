"""Object stores: `base` is the interface, `files` and `s3` implement it, `open` chooses by URL."""
