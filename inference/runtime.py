"""TensorFlow, imported once and quietly: `from inference.runtime import tf`."""

import os

# Read by TensorFlow when it is imported: errors only. Its C++ part writes a few lines about the
# processor all the same, before that setting counts, so standard error is closed to it meanwhile.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
_stderr = os.dup(2)
_nowhere = os.open(os.devnull, os.O_WRONLY)
os.dup2(_nowhere, 2)
try:
    import tensorflow as tf
finally:
    os.dup2(_stderr, 2)
    os.close(_stderr)
    os.close(_nowhere)

__all__ = ["tf"]
