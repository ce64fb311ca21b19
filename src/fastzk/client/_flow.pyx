"""The calls of a session on their way: see _flow.pxd for the rules.

The plain twins are frames.py and records.py; tests/property/test_client_flow.py compares.

    frame of a request   int32 size | int32 xid | int32 operation | fields
    frame of a reply     int32 size | int32 xid | int64 zxid | int32 err | fields, if err is 0"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_SET_ITEM
from fastzk._core.jute cimport jute_bytes, jute_int, jute_left, jute_long, jute_over, jute_t
from fastzk._core.layout cimport load_be32, load_be64, store_be32
from fastzk.client._call cimport AsyncResult, Call
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.string cimport memcpy

from collections import deque

from fastzk import limits
from fastzk.client.call import Answer
from fastzk.data import ZnodeStat
from fastzk.defs import OpCode
from fastzk.errors import EXCEPTIONS, error_for
from fastzk.wire.jute import RecordError
from fastzk.wire.records import decode_reply

cdef extern from "Python.h":
    object PyType_GenericAlloc(type kind, Py_ssize_t count)
    void PyObject_GC_UnTrack(void *it) noexcept
    object PyUnicode_DecodeUTF8(const char *at, Py_ssize_t size, const char *errors)

cdef enum:
    REQUEST_HEAD = 12
    REPLY_HEADER = 16
    XID_MAX = 0x7FFFFFFF

cdef type _ZnodeStat = ZnodeStat
cdef object _Answer = Answer
cdef object _MALFORMED = object()
cdef object _decode_reply = decode_reply
cdef object _error_for = error_for
cdef dict _EXCEPTIONS = EXCEPTIONS
cdef object _RecordError = RecordError

cdef int REPLY_BYTES_MAX = limits.REPLY_BYTES_MAX
cdef int SEND_REQUESTS_MAX = limits.SEND_REQUESTS_MAX
cdef int SEND_BYTES_MAX = limits.SEND_BYTES_MAX
cdef int RESULTS_REMEMBERED_MAX = limits.RESULTS_REMEMBERED_MAX
cdef int PENDING_REQUESTS_MAX = limits.PENDING_REQUESTS_MAX

# Which fields a reply has, of the operations that are decoded here.
cdef enum:
    FORM_OTHER
    FORM_EMPTY
    FORM_STAT
    FORM_DATA_STAT
    FORM_STRING
    FORM_STRING_STAT
    FORM_STRINGS
    FORM_STRINGS_STAT
    FORMS = 128

cdef unsigned char[FORMS] _forms
for _op in range(FORMS):
    _forms[_op] = FORM_OTHER
_forms[OpCode.DELETE] = FORM_EMPTY
_forms[OpCode.EXISTS] = _forms[OpCode.SET_DATA] = _forms[OpCode.SET_ACL] = FORM_STAT
_forms[OpCode.GET_DATA] = FORM_DATA_STAT
_forms[OpCode.CREATE] = _forms[OpCode.SYNC] = FORM_STRING
_forms[OpCode.CREATE2] = FORM_STRING_STAT
_forms[OpCode.GET_CHILDREN] = FORM_STRINGS
_forms[OpCode.GET_CHILDREN2] = FORM_STRINGS_STAT


@cython.final
cdef class Flow:
    """What a Session knows of its calls."""

    def __init__(self, watches not None):
        """watches: the SessionWatches, asked what a removal is to say."""
        self.queue = deque()
        self.pending = deque()
        self.watches = watches

    def take_calls(self, bytes head not None):
        """The next message: head, and the calls that may leave now; None when that is nothing."""
        return self.encode(head, True)

    def take_replies(self, bytes message not None, Py_ssize_t at, list outcomes not None):
        """Takes plain replies that stand in a message from a position on; gives the one behind them."""
        return at + self.take(PyBytes_AS_STRING(message) + at, PyBytes_GET_SIZE(message) - at, outcomes, True)

    def settle_replies(self, bytes message not None):
        """The same, completing results at once; gives the position behind those that were taken."""
        return self.take(PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), None, True)

    cdef bytes encode(self, bytes head, bint is_own):
        cdef list chosen = []
        cdef Call call
        cdef Py_ssize_t size = 0
        cdef int room = min(<int>len(self.queue), SEND_REQUESTS_MAX)
        cdef int logged_max = RESULTS_REMEMBERED_MAX if self.is_remembered else PENDING_REQUESTS_MAX
        while room and size < SEND_BYTES_MAX:
            call = self.queue[0]
            if call.is_logged and self.logged_count >= logged_max:
                break  # it and all behind it, for they are done in order
            if call.removes is not None:
                if not is_own:
                    break
                self.watches.choose_removal(call, self.pending)
            self.logged_count += call.is_logged
            if not call.xid:
                call.xid = self.xid = self.xid + 1 if self.xid < XID_MAX else 1
            call.tries += 1
            self.pending.append(self.queue.popleft())
            chosen.append(call)
            size += PyBytes_GET_SIZE(call.body)
            room -= 1
        if not chosen and not head:
            return None
        return _message(head, chosen, size)

    cdef Py_ssize_t take(self, const char *data, Py_ssize_t size, list outcomes, bint is_own) except -1:
        cdef Py_ssize_t at = 0
        cdef int32_t frame
        self.taken = 0
        while size - at >= 4 + REPLY_HEADER:
            frame = <int32_t>load_be32(data + at)
            if frame < REPLY_HEADER or frame > REPLY_BYTES_MAX or frame > size - at - 4:
                break
            if not self.take_one(data + at + 4, frame, outcomes, is_own):
                break
            at += 4 + frame
            self.taken = at
        return at

    cdef bint take_one(self, const char *data, Py_ssize_t size, list outcomes, bint is_own) except -1:
        cdef Call call
        cdef AsyncResult result = None
        cdef int32_t xid = <int32_t>load_be32(data)
        cdef int64_t zxid = <int64_t>load_be64(data + 4)
        cdef int32_t err = <int32_t>load_be32(data + 12)
        cdef tuple made
        if xid <= 0 or zxid < self.last_zxid or not self.pending:
            return False
        call = self.pending[0]
        if call.xid != xid or not call.is_plain:
            return False
        if outcomes is None:
            result = call.token
        if not is_own and (result.has_followers() or not result.is_quick):
            return False
        value = error = None
        if err:
            kind = _EXCEPTIONS.get(err)
            if kind is not None:
                error = kind(call.path) if call.path else kind()
            elif is_own:
                error = _error_for(err, call.path)
            else:
                return False
        elif not is_own and (call.op >= FORMS or call.op < 0 or _forms[call.op] == FORM_OTHER):
            return False
        else:
            value = decode(call.op, data + REPLY_HEADER, size - REPLY_HEADER)
            if value is _MALFORMED:
                return False
        if result is not None and result.finish is not None:
            made = result.made(value, error)
            value, error = made[0], made[1]
        self.pending.popleft()
        self.logged_count -= call.is_logged
        self.last_zxid = zxid
        if result is None:
            outcomes.append(_Answer(call, value, error, zxid))
        else:
            result.settle(value, error, zxid)
        return True


cdef bytes _message(bytes head, list calls, Py_ssize_t body_bytes):
    cdef Py_ssize_t head_size = PyBytes_GET_SIZE(head)
    cdef bytes message = PyBytes_FromStringAndSize(NULL, head_size + body_bytes + REQUEST_HEAD * len(calls))
    cdef char *at = PyBytes_AS_STRING(message)
    cdef Call call
    cdef Py_ssize_t size
    memcpy(at, PyBytes_AS_STRING(head), head_size)
    at += head_size
    for call in calls:
        size = PyBytes_GET_SIZE(call.body)
        store_be32(at, <uint32_t>(size + REQUEST_HEAD - 4))
        store_be32(at + 4, <uint32_t>call.xid)
        store_be32(at + 8, <uint32_t>call.op)
        memcpy(at + REQUEST_HEAD, PyBytes_AS_STRING(call.body), size)
        at += REQUEST_HEAD + size
    return message


# ---- replies' values

cdef object decode(int op, const char *data, Py_ssize_t size):
    """The value of a reply's fields, as decode_reply() of records.py gives it; _MALFORMED when they are none."""
    cdef jute_t reader = jute_over(data, size)
    cdef int form = _forms[op] if 0 <= op < FORMS else FORM_OTHER
    value = stat = None
    if form == FORM_OTHER:
        try:
            return _decode_reply(op, PyBytes_FromStringAndSize(data, size))
        except _RecordError:
            return _MALFORMED
    if form == FORM_DATA_STAT:
        value = _data(&reader)
    elif form == FORM_STRING or form == FORM_STRING_STAT:
        value = _string(&reader)
    elif form == FORM_STRINGS or form == FORM_STRINGS_STAT:
        value = _strings(&reader)
    if form == FORM_STAT or form == FORM_DATA_STAT or form == FORM_STRING_STAT or form == FORM_STRINGS_STAT:
        stat = _stat(&reader)
    if reader.failed or jute_left(&reader):
        return _MALFORMED
    if form == FORM_STAT:
        return stat
    return value if stat is None else _pair(value, stat)


cdef object _pair(value, stat):
    cdef tuple pair = (value, stat)
    if value is None or type(value) is bytes:
        PyObject_GC_UnTrack(<void *>pair)  # no cycle can go through it: the collector need not look at very many
    return pair


cdef object _data(jute_t *reader):
    cdef int32_t size
    cdef const char *at = jute_bytes(reader, &size)
    return None if at == NULL else PyBytes_FromStringAndSize(at, size)


cdef object _string(jute_t *reader):
    cdef int32_t size
    cdef const char *at = jute_bytes(reader, &size)
    if at == NULL:
        reader.failed = True
        return None
    try:
        return PyUnicode_DecodeUTF8(at, size, NULL)
    except UnicodeDecodeError:
        reader.failed = True
        return None


cdef object _strings(jute_t *reader):
    cdef int32_t count = jute_int(reader)
    cdef list names = []
    if count < -1 or (count > 0 and <size_t>count > jute_left(reader)):
        reader.failed = True
    while count > 0 and not reader.failed:
        names.append(_string(reader))
        count -= 1
    return tuple(names)


cdef object _stat(jute_t *reader):
    cdef object stat
    if reader.failed or jute_left(reader) < 68:
        reader.failed = True
        return None
    stat = PyType_GenericAlloc(_ZnodeStat, 11)
    _put(stat, 0, jute_long(reader))
    _put(stat, 1, jute_long(reader))
    _put(stat, 2, jute_long(reader))
    _put(stat, 3, jute_long(reader))
    _put(stat, 4, jute_int(reader))
    _put(stat, 5, jute_int(reader))
    _put(stat, 6, jute_int(reader))
    _put(stat, 7, jute_long(reader))
    _put(stat, 8, jute_int(reader))
    _put(stat, 9, jute_int(reader))
    _put(stat, 10, jute_long(reader))
    PyObject_GC_UnTrack(<void *>stat)  # as of a pair
    return stat


cdef inline int _put(object stat, Py_ssize_t index, number) except -1:
    Py_INCREF(number)  # which SET_ITEM takes over
    PyTuple_SET_ITEM(stat, index, number)
    return 0
