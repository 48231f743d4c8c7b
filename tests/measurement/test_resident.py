import subprocess
import sys

from featherlight.measurement.resident import Watch

CHILD = """
print("ready", flush=True); input()
held = bytearray(b"x") * 60_000_000
del held
print("done", flush=True); input()
"""


def test_a_peak_that_is_over_is_seen_from_outside():
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        watch = Watch(child.pid).start()
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()
        watch.stop()
        assert 59e6 < watch.peak - watch.before < 70e6
        assert watch.now() < watch.peak - 50e6
        child.stdin.close()


def test_a_system_without_proc_is_sampled(tmp_path):
    with subprocess.Popen([sys.executable, "-c", CHILD.replace("del held", "import time; time.sleep(0.3)")],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:  # fmt: skip
        child.stdout.readline()
        watch = Watch(child.pid)
        watch.status = tmp_path / "none"
        watch.start()
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()
        watch.stop()
        assert 59e6 < watch.peak - watch.before < 70e6
        child.stdin.close()
