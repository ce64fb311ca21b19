"""Every limit, with its reason.

Rule: nothing grows without one of these (a queue, a buffer, a batch, a loop)."""

# ---- the wire

FRAME_BYTES_MAX = 0xFFFFF  # one request: ZooKeeper's jute.maxbuffer; a larger one closes the connection
REPLY_BYTES_MAX = 64 << 20  # one reply, to our client: a listing of a million children fits; more is damage, not data
PATH_BYTES_MAX = 0xFFFF  # a znode keeps the size of its path in 16 bits

# ---- the client

SEND_BYTES_MAX = 1 << 20  # of requests in one message: larger messages gain nothing and delay the first request in them
SEND_REQUESTS_MAX = 4096  # in one message: bounds how long the client's thread encodes before it listens again
PENDING_REQUESTS_MAX = 1 << 17  # queued or unanswered of one client; a caller beyond it waits for room
READ_TRIES_MAX = 5  # a read that was lost with so many connections may be what breaks them: it fails
BACKOFF_FIRST_S = 0.05  # pause after every host was tried in vain; doubles...
BACKOFF_MAX_S = 2.0  # ... up to this: a restarted ensemble is found again soon, and not stormed
CONNECT_S_MIN = 0.5  # for one host, however short the session's timeout: a far handshake takes so long
FAREWELL_MS = 200  # a connection's last message may need so long to leave
