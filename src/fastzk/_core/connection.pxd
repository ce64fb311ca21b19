"""One client connection: its state, and the order of what it is sent.

What leaves is sorted by zxid, events before replies of the same zxid (Z5, Z6).  An answer at a zxid that all handled
commit batches have reached goes to `output`; one that is ahead of them waits in `held`, in segments:

    uint64 zxid | uint64 size | size bytes of frames            (zxids rise from segment to segment)

Handling a batch moves the segments below each item's zxid out before the item."""

from fastzk._core.addresses cimport address_t
from fastzk._core.layout cimport buffer_t
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef enum:
    CONNECTION_FREE = 0
    CONNECTION_NEW = 1          # nothing heard yet but perhaps part of a ConnectRequest or four letters
    CONNECTION_WAITING = 2      # its create or attach is in the log
    CONNECTION_OPEN = 3
    CONNECTION_CLOSING = 4      # send what is in `output`, then close; nothing more is taken

    WIRE_TCP = 0
    WIRE_NATIVE = 1
    WIRE_GATE = 2               # TCP through the node's own gate, which has not said yet for whom it speaks

    # Whose answer to its first frame a connection waits for.
    WAITS_NOT = 0
    WAITS_ENGINE = 1            # a read that was handed over
    WAITS_JUDGE = 2             # credentials, which the worker's Python judges

    # In which list of connections to be looked at again one is.
    AGAIN_NONE = 0
    AGAIN_READY = 1             # what it waited for is there
    AGAIN_STARVED = 2           # waits for room among the unanswered writes, or for random bytes


ctypedef struct connection_t:
    uint8_t state
    uint8_t wire
    uint8_t is_dirty            # in the dirty list: has output to send, or must be closed, or its pause changed
    uint8_t is_paused           # the transport should not read from it: it has enough to do
    uint8_t waits_for           # WAITS_*
    uint8_t was_heard           # since the last take_touched()
    uint8_t is_remembered       # the results of its session are wanted; when it is open: all are remembered
    uint8_t has_read_only       # its ConnectRequest had the byte readOnly, so the response has it too
    uint8_t is_ending           # takes no more requests; closes when all it asked is answered and on its way
    uint8_t is_full             # stopped because too much output waits; sent() goes on
    uint8_t is_held_listed
    uint8_t again               # AGAIN_*
    uint8_t is_gated            # came through the node's own gate (TLS)
    uint8_t is_local            # its session is known to this worker only
    uint8_t is_upgrading        # ... and its create is in the log now
    uint8_t is_read_only        # its session lives while the node has no leader; reads and watches only
    uint16_t port               # of the peer, 0 = not known
    uint32_t word               # a four-letter word was asked: its four bytes; the worker writes the answer and closes
    uint32_t timeout_ms
    int32_t last_op             # of its requests, and the number of the last that was not below 0; for people
    int32_t last_xid
    buffer_t input              # bytes that wait: part of a frame, or frames behind a wait
    buffer_t output             # frames that may leave now
    buffer_t held               # segments: uint64 zxid, uint64 size, bytes
    buffer_t identities         # jute vector of Id: who the connection is; the reads' caller
    buffer_t credential         # int xid, uint32 size, the identities to be, body of the reply: while its OP_IDENTIFY is in the log
    address_t *address          # counted; NULL = not known
    uint64_t held_zxid          # of the last segment
    uint64_t held_last          # size of the last segment with its head
    uint64_t session_id
    uint64_t attach_zxid
    uint64_t nonce              # serial of its create or attach
    uint64_t sent_serial        # of the last write passed on
    uint64_t answered_serial    # of the last write answered; equal to sent_serial when none is pending
    uint64_t heard_ms           # when it last said something
    uint64_t since_ms           # when it was opened; once CLOSING, when that began
    uint64_t read_serial        # of the read that was handed over last
    uint64_t identify_serial    # of that OP_IDENTIFY, 0 = none
    uint64_t life               # which connection of this worker it is: 1, 2, 3...
    uint64_t timed_serial       # the write whose latency is being measured, 0 = none
    uint64_t timed_ms           # when it was passed on
    uint64_t received           # requests
    uint64_t replied            # replies and events
    # Lists, by slot; -1 is the end.
    int32_t next_dirty
    int32_t next_held
    int32_t next_again
    int32_t next_of_session     # same bucket of the session table; of a free slot the next free one
    char password[16]           # of a local session: it must come into the log with its create


# Appends a frame that may leave when the batches up to `zxid` are handled; `handled` says how far they are.
cdef void connection_answer(connection_t *c, uint64_t handled, int32_t xid, uint64_t zxid, int32_t err, const char *body,
                            size_t size) noexcept nogil
# The same with another zxid in its header than the one that says when it may leave.
cdef void connection_put(connection_t *c, uint64_t handled, int32_t xid, uint64_t zxid, uint64_t shown_zxid, int32_t err,
                         const char *body, size_t size) noexcept nogil
# Appends an event to what may leave now; what is held at or above its zxid stays behind it.
cdef void connection_event(connection_t *c, uint64_t zxid, const char *body, size_t size) noexcept nogil
# Moves what is held up to `zxid`, included, to the output.
cdef void connection_release(connection_t *c, uint64_t zxid) noexcept nogil
# A ConnectResponse into the output; password NULL refuses: all zeros.  Its readOnly is c.is_read_only.
cdef void connection_greet(connection_t *c, const char *password) noexcept nogil
# Gives the memory of empty buffers above `kept` bytes back.
cdef void connection_shrink(connection_t *c, size_t kept) noexcept nogil
# Bytes that wait to be sent.
cdef size_t connection_backlog(const connection_t *c) noexcept nogil
