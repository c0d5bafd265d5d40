"""One network per file: the learned function f of a law's step.

Every file opens with the same parts in the same order: the equation with its shapes, a table of facts, and the source.

    x     float [B, 2d, H, W]   the state of B universes: d real parts, then d imaginary parts of every cell
    y     float [B, 2d, H, W]   f(x); `Manifest.form` says how it becomes the update (see `leym.physics.step`)
    d, c  `d_state` and `hidden_channels` of the manifest; c is called h in the per-cell networks

"Reach" in the tables is the distance at which one cell influences another within one step. "Global" means that a norm
averages over the whole grid. Attribute names such as `inc` or `net` are those of existing checkpoints: renaming one
breaks every stored law. `blocks.py` holds the layers that networks share, `per_cell.py` the weights that fused kernels
read.

To add an architecture NAME:

1. Write `leym/laws/networks/name.py` with its network. `leym.laws` lists what the service asks of it.
2. Add one `Architecture` to `leym/laws/architectures.py`.
3. To import checkpoints of it, add its shapes to `leym/laws/importing/expected_shapes.py`.

A package of its own needs no change here: see `leym.laws`.
"""
