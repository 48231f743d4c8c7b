"""The resident memory of another process, seen from outside. Knows no model and imports no torch."""

import contextlib
import threading
from pathlib import Path
from typing import Self

from featherlight.errors import missing_extra
from featherlight.measurement.footprint import status_bytes


class Watch:
    """The most main memory that a process holds at once from `start` to `stop`, in bytes.

    Linux keeps that peak itself (VmHWM, which /proc/PID/clear_refs starts anew); elsewhere psutil samples.
    """

    def __init__(self, pid: int):
        self.status = Path(f"/proc/{pid}/status")
        self.pid, self.before, self.peak = pid, 0, 0
        self.over = threading.Event()
        self.sampler: threading.Thread | None = None

    def start(self) -> Self:
        """Note what the process holds now."""
        with contextlib.suppress(OSError):  # a system that keeps no peak anew keeps the one since the process began
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        self.before = self.peak = self.now()
        if not self.status.exists():
            self.sampler = threading.Thread(target=self.sample, daemon=True)
            self.sampler.start()
        return self

    def stop(self) -> Self:
        """Note the peak; the process must be there still."""
        if self.sampler is not None:
            self.over.set()
            self.sampler.join()
        else:
            self.peak = status_bytes(self.status, "VmHWM")
        return self

    def now(self) -> int:
        """What the process holds at this moment."""
        if self.status.exists():
            return status_bytes(self.status, "VmRSS")
        try:
            import psutil
        except ModuleNotFoundError:
            raise missing_extra("psutil", "train") from None
        return int(psutil.Process(self.pid).memory_info().rss)

    def sample(self) -> None:
        """Follow the peak where the system keeps none: a look every 5 milliseconds."""
        while not self.over.wait(0.005):
            self.peak = max(self.peak, self.now())
