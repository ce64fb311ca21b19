"""The four-letter words that list things: cons, stat's clients, dump, wchs, wchc and wchp, in ZooKeeper 3.9's texts.

Rule: values in, text out.  What one worker knows is a part, a plain dict (it comes from another process as JSON); a text is made
of the parts of all workers.  Sessions and paths stand in the order in which they came."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from fastzk.defs import OpCode

Part = Mapping[str, Any]

# What ZooKeeper calls a connection's last operation.
_OPERATIONS = {
    0: "SESS",
    OpCode.CREATE: "CREA",
    OpCode.CREATE2: "CREA",
    OpCode.CREATE_CONTAINER: "CREA",
    OpCode.CREATE_TTL: "CREA",
    OpCode.DELETE: "DELE",
    OpCode.EXISTS: "EXIS",
    OpCode.GET_DATA: "GETD",
    OpCode.SET_DATA: "SETD",
    OpCode.GET_ACL: "GETA",
    OpCode.SET_ACL: "SETA",
    OpCode.GET_CHILDREN: "GETC",
    OpCode.GET_CHILDREN2: "GETC",
    OpCode.SYNC: "SYNC",
    OpCode.PING: "PING",
    OpCode.MULTI: "MULT",
    OpCode.MULTI_READ: "MLTR",
    OpCode.RECONFIG: "RECO",
    OpCode.CHECK_WATCHES: "CHKW",
    OpCode.REMOVE_WATCHES: "REMW",
    OpCode.SET_WATCHES: "SETW",
    OpCode.SET_WATCHES2: "STW2",
    OpCode.ADD_WATCH: "ADDW",
    OpCode.GET_EPHEMERALS: "GETE",
    OpCode.GET_ALL_CHILDREN_NUMBER: "GETACN",
    OpCode.WHO_AM_I: "HOMI",
    OpCode.CLOSE_SESSION: "CLOS",
}


def cons_text(connections: Sequence[Part]) -> str:
    """`cons`: a line for each connection."""
    return "".join(f" {_brief(each)}{_details(each)})\n" for each in connections) + "\n"


def clients_text(connections: Sequence[Part]) -> str:
    """The part of `stat` between `Clients:` and the statistics."""
    return "".join(f" {_brief(each)})\n" for each in connections)


def dump_text(sessions: Part, connections: Sequence[Part]) -> str:
    """`dump`: sessions with the time they expire at (which only a leader knows), their ephemerals, connections.

    `sessions` is the engine's part: `expiring` {deadline in wall-clock ms: [ids]} or None, `sessions` [[id, timeout_ms,
    [ephemerals]]]."""
    lines = ["SessionTracker dump:"]
    known = sessions["sessions"]
    if sessions["expiring"] is None:
        lines.append(f"Global Sessions({len(known)}):")
        lines += [f"{_hex(session_id)}\t{timeout_ms}ms" for session_id, timeout_ms, _ in known]
    else:
        lines.append(f"Session Sets ({len(sessions['expiring'])})/({len(known)}):")
        for deadline_ms, ids in sorted(sessions["expiring"].items(), key=lambda item: int(item[0])):
            lines.append(f"{len(ids)} expire at {_date(int(deadline_ms))}:")
            lines += [f"\t{_hex(session_id)}" for session_id in ids]
    owners = [(session_id, paths) for session_id, _, paths in known if paths]
    lines += ["ephemeral nodes dump:", f"Sessions with Ephemerals ({len(owners)}):"]
    for session_id, paths in owners:
        lines += [f"{_hex(session_id)}:", *(f"\t{path}" for path in paths)]
    lines += ["Connections dump:", *_connection_sets(connections)]
    return "\n".join(lines) + "\n"


def watches_summary(watches: Sequence[Part]) -> str:
    """`wchs`.  Each of `watches` is one connection's: `session_id`, `paths`."""
    paths = {path for each in watches for path in each["paths"]}
    total = sum(len(each["paths"]) for each in watches)
    return f"{len(watches)} connections watching {len(paths)} paths\nTotal watches:{total}\n"


def watches_by_connection(watches: Sequence[Part]) -> str:
    """`wchc`."""
    return "".join(f"{_hex(each['session_id'])}\n" + "".join(f"\t{path}\n" for path in each["paths"]) for each in watches) + "\n"


def watches_by_path(watches: Sequence[Part]) -> str:
    """`wchp`."""
    sessions: dict[str, list[int]] = {}
    for each in watches:
        for path in each["paths"]:
            sessions.setdefault(path, []).append(each["session_id"])
    return "".join(f"{path}\n" + "".join(f"\t{_hex(each)}\n" for each in ids) for path, ids in sessions.items()) + "\n"


def missing_text(names: Sequence[str]) -> str:
    """What follows a text to which somebody has not contributed; fastzk's own."""
    return f"({', '.join(names)} did not answer: what they know is missing)\n" if names else ""


def _brief(connection: Part) -> str:
    address = connection["address"]
    where = f"[{address}]" if ":" in address else address
    interest = 0 if connection["is_paused"] else 1
    return (
        f"/{where}:{connection['port']}[{interest}](queued={connection['queued']},"
        f"recved={connection['received']},sent={connection['sent']}"
    )


def _details(connection: Part) -> str:
    if not connection["session_id"]:
        return ""
    details = {
        "sid": _hex(connection["session_id"]),
        "lop": _OPERATIONS.get(connection["last_op"], "NA"),
        "est": connection["established_ms"],
        "to": connection["timeout_ms"],
        "lcxid": _hex(connection["last_xid"]),
        "lzxid": _hex(connection["zxid"]),
        "lresp": connection["heard_ms"],
        "llat": 0,  # latencies are measured for the node, not for each of its connections
        "minlat": 0,
        "avglat": 0,
        "maxlat": 0,
    }
    return "".join(f",{key}={value}" for key, value in details.items())


def _connection_sets(connections: Sequence[Part]) -> list[str]:
    """Connections by the second in which they would be cut for silence, as ZooKeeper's expiry queue prints itself."""
    sets: dict[int, list[Part]] = {}
    for each in connections:
        sets.setdefault(each["ends_ms"] // 1000, []).append(each)
    lines = [f"Connections Sets ({len(sets)})/({len(connections)}):"]
    for second, members in sorted(sets.items()):
        lines.append(f"{len(members)} expire at {_date(1000 * second)}:")
        lines += [f"\tip: /{each['address']}:{each['port']} sessionId: {_hex(each['session_id'])}" for each in members]
    return lines


def _hex(number: int) -> str:
    return f"{number & 0xFFFFFFFFFFFFFFFF:#x}"


def _date(wall_ms: int) -> str:
    """As Java prints a Date where the machine's clock shows UTC."""
    return time.strftime("%a %b %d %H:%M:%S UTC %Y", time.gmtime(wall_ms / 1000))
