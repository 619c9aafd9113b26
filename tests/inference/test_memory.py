import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what is limited")

# In a process of its own, which has no memory left over from other tests to allocate from.
START = """
import numpy as np
from inference import memory

def allocate(megabytes):
    try:
        np.ones(megabytes * 2**20, np.uint8)
    except MemoryError:
        print("refused")
    else:
        print("granted")
"""

FOR_A_WHILE = """
with memory.at_most(50 * 2**20):
    allocate(20)
    allocate(80)
allocate(80)
"""

FOR_LIFE = """
memory.limit(100 * 2**20)
with memory.at_most(300 * 2**20):  # no way around it
    allocate(150)
allocate(150)
allocate(50)
"""


@pytest.mark.parametrize(
    ("steps", "results"),
    [(FOR_A_WHILE, ["granted", "refused", "granted"]), (FOR_LIFE, ["refused", "refused", "granted"])],
    ids=["for a while", "for life"],
)
def test_beyond_the_bound_allocations_fail(steps, results):
    command = [sys.executable, "-c", START + steps]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (results, "")
