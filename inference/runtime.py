"""TensorFlow as serving wants it: `from inference.runtime import tf`."""

import os

# Read by TensorFlow when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors only
# oneDNN keeps buffers for every size of picture it has met: 200 MB more after 40 photos, and growing. Without
# it detection takes half as long again, and the whole service stays below 400 MB.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import tensorflow as tf  # noqa: E402

__all__ = ["tf"]
