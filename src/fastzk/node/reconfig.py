"""The leader's way from a client's reconfig to other members; it decides, and others log, send and apply.

    IDLE -> (TRANSFERRING) -> CATCHING -> JOINING -> ENDING -> IDLE          and from CATCHING to CLEARING -> IDLE, when it fails

    TRANSFERRING  the leader itself will be no voter: another is asked to lead, and the request comes again to that one
    CATCHING      the new voters, as learners, get the log; each must hold all that was logged when it came in
    JOINING       old and new voters together: committed when a majority of both has it
    ENDING        the new members alone, the data of /zookeeper/config and the client's answer: one block
    CLEARING      the learners go again, with the client's answer

Theory of operation.  Everything is in the log, so whoever leads next finds how far it got: a joint membership is ended, and its
client answered; learners are sent away, and the request, which its worker sends again, begins anew.

Rules:
  * One change at a time; another request meanwhile is told so, as ZooKeeper does.
  * A request is judged when all that its session wrote before is applied, and is logged only with its answer: what the
    session wrote behind it is behind a hole until then, and comes again in the round that begins afterwards.
  * The next step is proposed when the step before is committed.
  * No clock of its own; called again whenever something may have moved."""

from __future__ import annotations

import logging
import struct
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Protocol

from fastzk import limits
from fastzk._core.blocks import Entry, make_entry
from fastzk.config import Address
from fastzk.errors import ErrorCode
from fastzk.state.members import Asker, Members
from fastzk.state.reconfig import (
    Reconfig,
    ReconfigError,
    decode_reconfig,
    joint,
    new_voters,
    parse_reconfig,
    wanted_members,
    with_learners,
)

OP_CONFIG, OP_RECONFIGURED = -14, -17
# What judge() gives besides error codes: apply.pxd says more.
JUDGED_OVER, JUDGED_KNOWN = 1, 2

logger = logging.getLogger("fastzk.reconfig")


class Ensemble(Protocol):
    """The node that leads, as this file needs it."""

    @property
    def node_id(self) -> int: ...
    @property
    def epoch(self) -> int: ...

    @property
    def members(self) -> Members | None:
        """Those in force: the newest in the log.  None: a node that stands alone for ever."""

    @property
    def is_free(self) -> bool:
        """Whether other members may be proposed: those in force are committed, and so is an entry of this epoch."""

    @property
    def last_index(self) -> int: ...
    @property
    def applied_index(self) -> int: ...

    def matched(self, node_id: int) -> int:
        """Up to where a node's disk is known to hold our log."""

    def counted(self, node_id: int) -> int:
        """The same of a node that is sound and follows now, or is this one; below 0 of any other."""

    def clients(self) -> Mapping[int, Address]:
        """Where nodes say that their clients go."""

    def judge(self, entry: Entry) -> int:
        """Machine.judge_reconfig of its session, attachment, serial and cxid."""

    def propose_members(self, members: Members, entries: Sequence[bytes]) -> bool:
        """Logs [OP_MEMBERS] and these entries as one block of kind 1.  False: not now, and nothing is done."""

    def propose(self, entry: bytes) -> None:
        """Logs an entry with the next batch."""

    def transfer(self, node_id: int) -> None:
        """Lets that node lead, if it can."""

    def ask_again(self, node_id: int) -> bool:
        """Begins a new round on that node: its workers send again what is unanswered.  False: it could not be told now."""


class Phase(Enum):
    """How far the change has come."""

    IDLE = "idle"
    TRANSFERRING = "transferring"
    CATCHING = "catching"
    JOINING = "joining"
    ENDING = "ending"
    CLEARING = "clearing"


class _TooEarly(Exception):  # noqa: N818
    """A new leader has not heard enough of the others yet to judge."""


class ReconfigDriver:
    """One node's; it acts only while the node leads: end() when it no longer does."""

    def __init__(self, ensemble: Ensemble, *, is_enabled: bool) -> None:
        self._ensemble = ensemble
        self._is_enabled = is_enabled
        self._forget()

    def _forget(self) -> None:
        self.phase = Phase.IDLE
        # The epoch that all else belongs to, and when it was first looked at; below 0 before that.
        self._epoch = -1
        self._since_ms = -1
        # Requests that are not judged yet, and the index up to which must be applied first.
        self._waiting: list[tuple[Entry, int]] = []
        # Who waits for the change under way, nobody if its leader did not know; and what was asked for, empty of a change that
        # another leader began.
        self._asker: Asker | None = None
        self._body = b""
        self._wanted: Members | None = None
        # CATCHING: what a new voter must hold; 0 until the learners are logged.  How far they are together, and until when
        # that must be more.
        self._target_index = 0
        self._caught = 0
        self._deadline_ms = 0
        # Nodes that must begin a new round.
        self._to_ask: list[int] = []

    def _enter_epoch(self) -> None:
        if self._ensemble.epoch != self._epoch:
            self._forget()
            self._epoch = self._ensemble.epoch

    def end(self) -> None:
        """The node no longer leads: workers send again what they are not answered."""
        if self._epoch >= 0:
            self._forget()

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing that time could move on."""
        return self.phase is Phase.IDLE and not self._waiting and not self._to_ask

    def take(self, entries: Sequence[Entry], behind_index: int) -> None:
        """Requests that were taken out of a batch, whose rest is in the log up to `behind_index`."""
        self._enter_epoch()
        known = {_asker(entry)[:3] for entry, _ in self._waiting}
        for entry in entries:
            if _asker(entry)[:3] in known or self._is_under_way(entry):
                continue  # sent again, and still being worked on
            if len(self._waiting) == limits.RECONFIGS_WAITING_MAX:
                self._ask_again(entry.node_id)
            else:
                self._waiting.append((entry, behind_index))

    def _is_under_way(self, entry: Entry) -> bool:
        """Whether this is what is being carried out; over another connection of its client it is answered there."""
        asker, again = self._asker, _asker(entry)
        if asker is None or asker[:3] == again[:3]:
            return asker is not None
        if (asker.session_id, asker.cxid, self._body) != (again.session_id, again.cxid, entry.body):
            return False
        if again.attach_zxid > asker.attach_zxid:
            self._asker = again
        return again.attach_zxid != asker.attach_zxid

    def step(self, now_ms: int) -> None:
        """Goes as far as it can; called by a leader whose epoch has begun, each turn, or each tick at least."""
        self._enter_epoch()
        if self._since_ms < 0:
            self._since_ms = now_ms
        self._go(now_ms)
        self._to_ask = [node_id for node_id in self._to_ask if not self._ensemble.ask_again(node_id)]

    def _go(self, now_ms: int) -> None:
        if not self._ensemble.is_free and self.phase is not Phase.CATCHING and self.phase is not Phase.TRANSFERRING:
            return
        if self.phase is Phase.IDLE and not self._adopt():
            return
        while self._advance(now_ms) or self._judge_next(now_ms):
            pass

    # --- requests

    def _judge_next(self, now_ms: int) -> bool:
        """Judges the next request; False when none can be."""
        is_adopted = self.phase is not Phase.IDLE and not self._body
        if not self._waiting or is_adopted or self.phase in (Phase.ENDING, Phase.CLEARING):
            return False
        entry, behind_index = self._waiting[0]
        if self._ensemble.applied_index < behind_index or not self._ensemble.is_free:
            return False
        del self._waiting[0]
        judged = self._ensemble.judge(entry)
        if judged == JUDGED_OVER:
            return True
        try:
            if judged not in (ErrorCode.OK, ErrorCode.NO_AUTH):
                raise ReconfigError(ErrorCode.SYSTEM_ERROR if judged > 0 else ErrorCode(judged), "its session cannot ask")
            request = self._permit(entry, is_allowed=judged == ErrorCode.OK)
            self._begin(entry, request, now_ms)
        except _TooEarly:
            self._waiting.insert(0, (entry, behind_index))
            return False
        except ReconfigError as error:
            logger.info("a reconfig of session %#x is refused (%s): %s", entry.session_id, error.code.name, error)
            self._ensemble.propose(_answer(_asker(entry), error.code))
            self._ask_again(entry.node_id)
        return True

    def _permit(self, entry: Entry, *, is_allowed: bool) -> Reconfig:
        """Judges in ZooKeeper's order, but that who may not is told before anything is looked at that costs more than reading."""
        texts = decode_reconfig(entry.body)
        members = self._ensemble.members
        if not self._is_enabled:
            raise ReconfigError(ErrorCode.RECONFIG_DISABLED, "--no-reconfig")
        if members is None:
            raise ReconfigError(ErrorCode.UNIMPLEMENTED, "this node has no --peers, and so no address for others")
        if self.phase is not Phase.IDLE:
            raise ReconfigError(ErrorCode.RECONFIG_IN_PROGRESS, "another one is under way")
        if texts.version not in (-1, members.version):
            raise ReconfigError(ErrorCode.BAD_VERSION, f"version {texts.version:#x} is meant, and it is {members.version:#x}")
        request = parse_reconfig(texts)
        if not is_allowed:
            raise ReconfigError(ErrorCode.NO_AUTH, "it may not write /zookeeper/config")
        return request

    def _begin(self, entry: Entry, request: Reconfig, now_ms: int) -> None:
        now = self._now()
        wanted = wanted_members(request, now)
        new = new_voters(now, wanted)
        possible = sum(each in new or self._ensemble.counted(each) >= 0 for each in wanted.ids("voter"))
        if not _is_majority(possible, wanted):
            if now_ms - self._since_ms < limits.TRANSFER_MS_MAX:
                raise _TooEarly
            raise ReconfigError(ErrorCode.NEW_CONFIG_NO_QUORUM, "too few of the voters that it leaves are there")
        logger.info("session %#x changes the members: %s", entry.session_id, _summary(wanted))
        self._asker, self._body, self._wanted = _asker(entry), entry.body, wanted
        self._target_index = self._caught = 0
        heir = self._heir(now, wanted)
        if heir:
            self.phase = Phase.TRANSFERRING
            self._deadline_ms = now_ms + limits.TRANSFER_MS_MAX
            self._ensemble.transfer(heir)
        else:
            self._catch(now_ms)

    def _heir(self, now: Members, wanted: Members) -> int:
        """Who is to lead instead of this node, if it will not be a voter: the one that is furthest; 0 for nobody."""
        if self._ensemble.node_id in wanted.ids("voter"):
            return 0
        heirs = [each for each in now.ids("voter") if each in wanted.ids("voter") and self._ensemble.counted(each) >= 0]
        return max(heirs, key=lambda each: (self._ensemble.counted(each), -each), default=0)

    # --- the change under way

    def _adopt(self) -> bool:
        """Takes over what another leader began.  False: that cannot be done now."""
        members = self._ensemble.members
        if members is None or members.is_settled:
            return True
        if members.old_voters:
            self._asker, self._wanted = members.asker, members.settled(members.version + 1)
            self.phase = Phase.JOINING
        elif self._ensemble.propose_members(members.settled(), []):
            self.phase = Phase.CLEARING
        else:
            return False
        logger.info("a change of members that another leader began is %s", "ended" if members.old_voters else "taken back")
        return True

    def _advance(self, now_ms: int) -> bool:
        """Takes the next step of the change under way; False when it cannot be taken yet."""
        is_free = self._ensemble.is_free
        match self.phase:
            case Phase.TRANSFERRING if now_ms >= self._deadline_ms:
                logger.warning("nobody took over from node %d, which will not be a voter: it goes on", self._ensemble.node_id)
                self._catch(now_ms)
                return True
            case Phase.CATCHING:
                return self._advance_catching(now_ms)
            case Phase.JOINING if is_free:
                return self._propose_wanted()
            case Phase.ENDING | Phase.CLEARING if is_free:
                if self._asker is not None:
                    self._ask_again(self._asker.node_id)
                self.phase, self._asker, self._body, self._wanted = Phase.IDLE, None, b"", None
                return True
        return False

    def _catch(self, now_ms: int) -> None:
        self.phase = Phase.CATCHING
        self._deadline_ms = now_ms + limits.CATCH_UP_MS_MAX

    def _advance_catching(self, now_ms: int) -> bool:
        now, wanted = self._now(), self._wanted
        assert wanted is not None, "a change to no members"
        if not self._target_index:
            learning = with_learners(now, wanted)
            if not self._ensemble.is_free or (learning != now and not self._ensemble.propose_members(learning, [])):
                return False
            self._target_index = self._ensemble.last_index
        counted = {each: self._ensemble.counted(each) for each in wanted.ids("voter")}
        new = new_voters(now, wanted)
        is_level = all(counted[each] >= self._target_index for each in new)
        if is_level and _is_majority(sum(each >= 0 for each in counted.values()), wanted):
            return self._ensemble.is_free and self._leave_catching(now, wanted)
        caught = sum(min(self._ensemble.matched(each), self._target_index) for each in new)
        if caught > self._caught:
            self._caught, self._deadline_ms = caught, now_ms + limits.CATCH_UP_MS_MAX
        if now_ms < self._deadline_ms or not self._ensemble.is_free:
            return False
        return self._give_up(now, [each for each in new if counted[each] < self._target_index])

    def _leave_catching(self, now: Members, wanted: Members) -> bool:
        if wanted.ids("voter") == now.ids("voter"):
            return self._propose_wanted()
        if not self._ensemble.propose_members(joint(now, wanted, self._asker), []):
            return False
        self.phase = Phase.JOINING
        return True

    def _give_up(self, now: Members, missing: Sequence[int]) -> bool:
        assert self._asker is not None, "what is given up was asked for"
        answer = _answer(self._asker, ErrorCode.NEW_CONFIG_NO_QUORUM)
        if now.is_settled:
            self._ensemble.propose(answer)
        elif not self._ensemble.propose_members(now.settled(), [answer]):
            return False
        logger.warning("the members stay as they are: nodes %s did not get level", ", ".join(map(str, missing)) or "enough")
        self.phase = Phase.CLEARING
        return True

    def _propose_wanted(self) -> bool:
        assert self._wanted is not None, "a change to no members"
        text = self._wanted.zookeeper_text(self._ensemble.clients())
        entries = [make_entry(OP_CONFIG, text.encode())]
        if self._asker is not None:
            entries.append(_answer(self._asker, ErrorCode.OK))
        if not self._ensemble.propose_members(self._wanted, entries):
            return False
        logger.info("the members are now: %s", _summary(self._wanted))
        self.phase = Phase.ENDING
        return True

    def _now(self) -> Members:
        members = self._ensemble.members
        assert members is not None, "a node that stands alone changes no members"
        return members

    def _ask_again(self, node_id: int) -> None:
        if node_id not in self._to_ask:
            self._to_ask.append(node_id)


def _is_majority(count: int, members: Members) -> bool:
    return count > len(members.ids("voter")) // 2


def _asker(entry: Entry) -> Asker:
    cxid = entry.cxid & 0xFFFFFFFF
    return Asker(entry.session_id, entry.attach_zxid, entry.serial, cxid, entry.node_id, entry.worker, entry.connection)


def _answer(asker: Asker, code: ErrorCode) -> bytes:
    """What stands in the log for the request."""
    return make_entry(
        OP_RECONFIGURED,
        struct.pack(">i", code),
        session_id=asker.session_id,
        attach_zxid=asker.attach_zxid,
        serial=asker.serial,
        node_id=asker.node_id,
        worker=asker.worker,
        connection=asker.connection,
        cxid=asker.cxid - (1 << 32) if asker.cxid >> 31 else asker.cxid,
    )


def _summary(members: Members) -> str:
    observers = members.ids("observer")
    text = "voters " + ", ".join(map(str, members.ids("voter")))
    return text + (", observers " + ", ".join(map(str, observers)) if observers else "")
