"""Every limit, with its reason.

Rule: nothing grows without one of these (a queue, a buffer, a batch, a loop)."""

# ---- the wire

FRAME_BYTES_MAX = 0xFFFFF  # one request: ZooKeeper's jute.maxbuffer; a larger one closes the connection
REPLY_BYTES_MAX = 64 << 20  # one reply, to our client: a listing of a million children fits; more is damage, not data
PATH_BYTES_MAX = 0xFFFF  # a znode keeps the size of its path in 16 bits

# ---- the client

SEND_BYTES_MAX = 1 << 20  # of requests in one message: larger messages gain nothing and delay the first request in them
SEND_REQUESTS_MAX = 4096  # in one message: bounds how long the client's thread encodes before it listens again
PENDING_REQUESTS_MAX = 1 << 20  # queued or unanswered of one client; a caller beyond it waits for room
HANDSHAKE_BYTES_MAX = 1024  # a ConnectResponse is 37 bytes; what is larger does not speak our protocol

# ---- the log

SEGMENT_BYTES_MAX = 64 << 20  # one segment file: rolling is rare, and old ones can be dropped early
REPLAY_BYTES = 4 << 20  # of the log in memory while it is replayed
