"""The SDK for asyncio: the methods of the synchronous classes, as coroutines and asynchronous iterators.

`python .ci/async_client.py` writes the modules `client`, `job` and `sweep` from the synchronous classes.
"""
