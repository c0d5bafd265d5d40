"""Imports training checkpoints as laws: untrusted files are read as data, identified, checked and written as bundles.

safe_zip.py         bounds a zip archive before anything in it is unpacked
safe_pickle.py      reads a pickle without running it
torch_file.py       reads a file of torch.save with both
experiment.py       finds the checkpoint and the config of an experiment folder
expected_shapes.py  lists the tensors of every architecture
identify.py         derives architecture, sizes and form from keys, config and hints
checks.py           checks a bundle's shapes and values
convert.py          does all of this for one checkpoint: `import_law`
"""
