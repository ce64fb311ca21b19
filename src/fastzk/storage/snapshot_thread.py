"""The thread that writes a snapshot beside a node's work.

    thread = SnapshotThread(job); thread.start()
    each turn: if thread.is_done: thread.release(), look at thread.error, thread.join()

Rule: after each step it rests as long as the step took, so it takes at most half of a core and of the disk.
Rule: it ends no process: what went wrong is in `error`, and the next snapshot is another chance."""

import threading
import time

from fastzk.storage.snapshots import SnapshotJob


class SnapshotThread:
    """Runs a job's steps."""

    def __init__(self, job: SnapshotJob) -> None:
        self.job = job
        # Why the snapshot was given up; of use when is_done.
        self.error: Exception | None = None
        self._is_stopped = threading.Event()
        self._is_done = threading.Event()
        self._is_released = threading.Event()
        self._thread = threading.Thread(target=self._run, name="snapshot", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_done(self) -> bool:
        """The steps are over: written, or given up.  The arena may be unpinned."""
        return self._is_done.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until is_done; False when the time was over before."""
        return self._is_done.wait(timeout_s)

    def release(self) -> None:
        """The arena's writer calls this once it sees is_done: unpins the arena; the thread frees the copies, and ends."""
        assert self.is_done, "the arena is unpinned when the steps are over, not before"
        self.job.unpin()
        self._is_released.set()

    def stop(self) -> None:
        """Asks for the snapshot to be given up; is_done comes soon after."""
        self._is_stopped.set()

    def join(self) -> None:
        """Waits for the thread to end; only after release()."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._is_stopped.is_set():
                begin = time.monotonic()
                if not self.job.step():
                    break
                self._is_stopped.wait(time.monotonic() - begin)
            else:
                self.job.abort()
        except Exception as error:  # whoever waits for the snapshot is told
            self.error = error
        finally:
            self._is_done.set()
        self._is_released.wait()
        self.job.free()
