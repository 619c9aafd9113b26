import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SAFE = {"name": "redis", "version": "7.0.0", "vulns": []}
FLAW = {"id": "PYSEC-2099-1", "fix_versions": ["2.1", "3.0"]}
FLAWED = {"name": "limits", "version": "2.0", "vulns": [FLAW]}
UNKNOWN = {"name": "pebble", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("packages", "status", "words"),
    [
        ([SAFE, UNKNOWN], 0, "1 of 2 packages checked, 0 known"),
        ([SAFE, FLAWED], 1, "limits 2.0: PYSEC-2099-1, mended in 2.1, 3.0\n2 of 2 packages checked, 1 known"),
        ([UNKNOWN], 0, "Nothing was checked"),
        (None, 0, "Nothing was checked"),
    ],
)
def test_what_the_audit_says(packages, status, words):
    given = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    command = [sys.executable, ROOT / "bin" / "audit"]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(words)
    assert (done.returncode, done.stderr) == (status, "")
