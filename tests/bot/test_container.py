"""The service as the container runs it: no rights, and nothing to write to but /tmp and shared memory."""

import os
import shutil
import subprocess
import sys

import httpx
import pytest

from tests.conftest import PROCFILE, ROOT, STARTED, Service, free_port, stop_service
from tests.pictures import encode

# What `docker run --read-only --tmpfs /tmp --cap-drop ALL` does, in a mount namespace.
READ_ONLY = """
mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /dev/shm || exit 99
for place in / "$(stat -c %m .)"; do mount -o remount,bind,ro "$place" || exit 99; done
touch written 2>/dev/null && exit 98
exec setpriv --bounding-set -all --inh-caps -all --no-new-privs "$@"
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root may make a mount namespace")
@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_a_read_only_file_system_will_do(tmp_path, astronaut):
    port, log = free_port(), tmp_path / "log"
    command = ["unshare", "--mount", "bash", "-c", READ_ONLY, "bash", sys.executable, "-m", *PROCFILE]
    environment = {"PATH": os.environ["PATH"], "PORT": str(port), "PYTHONDONTWRITEBYTECODE": "1"}
    tried = subprocess.run([*command[:6], "true"], cwd=ROOT, stderr=subprocess.DEVNULL).returncode
    assert tried != 98, "the checkout can be written to"
    if tried:
        pytest.skip("this machine allows no mount namespace")
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=stream)
    service = Service(f"http://127.0.0.1:{port}", process, log)
    STARTED.append(service)
    service.wait_until(lambda health: health["models_ready"])
    answer = httpx.post(f"{service.url}/analyze", content=encode(astronaut), timeout=30)
    assert len(answer.json()["faces"]) == 1
    assert stop_service(service) == 0
    assert "Read-only" not in log.read_text()
