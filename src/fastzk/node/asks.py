"""Questions between the processes of a node: a worker that is asked a four-letter word asks the others what they know.

    worker 0                                     worker 1, worker 2 ... engine
      | {"ask": 7, "from": "worker0", "what": "connections"}       one datagram
      |------------------------------------------------>|
      | {"answer": 7, "from": "worker1"} + memfd        |          one datagram that carries a descriptor
      |<------------------------------------------------|

Each process has a Unix datagram socket DATA/run/ask-NAME; the directory is the owner's only.  An answer is JSON in a memory file
whose descriptor is sent: it has no size limit, and nobody waits for anybody to read.
Rules: nothing here may be relied on.  A question to a process that is not there, or an answer that cannot leave, is lost, and
who asked must stop waiting.  The engine's links are not used for this: there, what is lost ends a process, and a list of ten
thousand connections would stand before the commits.
Names of sockets go through the directory's descriptor, which all processes of a node have inherited: paths may be long."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from dataclasses import dataclass
from typing import Any

DATAGRAM_BYTES_MAX = 4096
# Datagrams taken in one go.
TAKEN_MAX = 64
ANSWER_BYTES_MAX = 256 << 20

logger = logging.getLogger("fastzk.asks")


@dataclass(frozen=True, slots=True)
class Question:
    """What another process wants to know, or to have done."""

    number: int
    sender: str
    what: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What another process has said to a question of ours."""

    number: int
    sender: str
    payload: Any


class Asks:
    """One process's end.  Raises OSError when its socket cannot be made."""

    def __init__(self, directory_fd: int, name: str) -> None:
        self.name = name
        self._directory = f"/proc/self/fd/{directory_fd}"
        self._last_number = 0
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(name))  # of the process that had this place before
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(self._path(name))

    def fileno(self) -> int:
        """What to poll for input."""
        return self._socket.fileno()

    def ask(self, names: list[str], what: str) -> tuple[int, list[str]]:
        """Asks several processes one thing: the question's number, and those who could be asked."""
        self._last_number += 1
        message = json.dumps({"ask": self._last_number, "from": self.name, "what": what}).encode()
        asked = []
        for name in names:
            try:
                self._socket.sendto(message, self._path(name))
            except OSError as error:  # it is not there, or has not read its questions
                logger.debug("%s cannot be asked: %s", name, error)
                continue
            asked.append(name)
        return self._last_number, asked

    def answer(self, question: Question, payload: Any) -> None:
        """Answers a question; it does not matter whether it arrives."""
        message = json.dumps({"answer": question.number, "from": self.name}).encode()
        fd = os.memfd_create("fastzk-answer", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(fd), "wb") as file:
                file.write(json.dumps(payload).encode())
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fd.to_bytes(4, "little"))]
            self._socket.sendmsg([message], rights, 0, self._path(question.sender))
        except OSError as error:
            logger.debug("%s cannot be answered: %s", question.sender, error)
        finally:
            os.close(fd)

    def take(self) -> list[Question | Answer]:
        """What has arrived.  What makes no sense is dropped."""
        taken: list[Question | Answer] = []
        for _ in range(TAKEN_MAX):
            try:
                data, fds, _, _ = socket.recv_fds(self._socket, DATAGRAM_BYTES_MAX, 1)
            except BlockingIOError:
                break
            try:
                taken.append(_understood(data, fds))
            except (ValueError, KeyError, TypeError, OSError) as error:
                logger.warning("%s: a message of another process makes no sense: %s", self.name, error)
            finally:
                for fd in fds:
                    os.close(fd)
        return taken

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def _path(self, name: str) -> str:
        return f"{self._directory}/ask-{name}"


def _understood(data: bytes, fds: list[int]) -> Question | Answer:
    head = json.loads(data)
    if "ask" in head:
        return Question(int(head["ask"]), str(head["from"]), str(head["what"]))
    size = os.fstat(fds[0]).st_size if fds else 0
    if not 0 < size <= ANSWER_BYTES_MAX:
        raise ValueError(f"an answer of {size} bytes")
    return Answer(int(head["answer"]), str(head["from"]), json.loads(os.pread(fds[0], size, 0)))
