"""Every limit of fastzk, with its reason.  Sizes in bytes, times in milliseconds, unless the name says otherwise.

Rule: nothing grows without one of these (a queue, a buffer, a batch, a loop)."""

# What a client may send in one frame, as ZooKeeper's jute.maxbuffer.
FRAME_BYTES_MAX = 0xFFFFF

# A path; ZooKeeper has no limit of its own, and znode_t stores sizes in 16 bits.
PATH_BYTES_MAX = 4096

# Replies that a client has not read; beyond it the client is cut off, so that one cannot eat the node's memory.
OUTPUT_BYTES_MAX = 64 << 20

# Client connections of one worker: each has a slot in a table made at the start, and a file descriptor.
CONNECTIONS_MAX = 65536

# The arena's reservation: what 32-bit refs of 16-byte granules reach.  Untouched pages cost nothing.
ARENA_BYTES = 64 << 30

# One block: large enough that its overhead vanishes, small enough that a lost one is cheap to send again.
BLOCK_BYTES_MAX = 4 << 20

# Blocks the leader has handed to its log thread and not seen synced.  Two: one is being synced while the next waits, so the
# disk never idles; more would only make the blocks smaller.
BLOCKS_IN_FLIGHT_MAX = 2

# Requests a leader holds that are in no block yet; beyond it new ones are dropped and their workers send them again.
PENDING_BYTES_MAX = 256 << 20

# A log segment; a restart reads whole segments, a purge deletes them.
SEGMENT_BYTES_MAX = 64 << 20

# Starts whose damaged files are kept for people (storage/evidence.py): enough to see a pattern, and a disk has an end.
EVIDENCE_KEPT = 3

# Of the log in memory while it is replayed.
REPLAY_BYTES = 4 << 20

# A snapshot is taken after so many entries, or bytes of log, or blocks since the last one: a start replays no more than that
# (a million entries are some two seconds), and small blocks are not read one by one for ever.
SNAPSHOT_ENTRIES = 1_000_000
SNAPSHOT_LOG_BYTES = 256 << 20
SNAPSHOT_BLOCKS = 50_000

# Snapshots kept, with the log behind the oldest: two may be damaged, and nothing is lost.
SNAPSHOTS_KEPT = 3

# A snapshot's chunk is closed when it has so much, half a millisecond of encoding; every node must take the same, since it
# decides the file's bytes.  One record may make it larger: the largest are a znode's data and an ACL of 16 MiB each.
SNAPSHOT_CHUNK_BYTES = 256 << 10
SNAPSHOT_CHUNK_BYTES_MAX = 64 << 20

# What of a snapshot is written before it is synced: a flood of dirty pages would delay the log's sync beside it.
SNAPSHOT_SYNC_BYTES = 4 << 20

# A snapshot's header: the membership as text of some hundred bytes for each node, and what is chained to the digest.
SNAPSHOT_MEMBERSHIP_BYTES_MAX = 1 << 20
SNAPSHOT_CHAIN_BYTES_MAX = 4096

# A piece of a snapshot on its way to a follower.
SNAPSHOT_PIECE_BYTES = 1 << 20

# Messages drained from one socket in one turn, so that no source starves the others.
MESSAGES_PER_TURN_MAX = 256

# A link between nodes asks this often whether the other side is there, and is made anew when there was no answer for so long:
# longer than an election takes, so that no link is given up for what an election mends.  A host that is there connects in less.
LINK_PING_MS = 500
LINK_SILENCE_MS_MAX = 2000
LINK_CONNECT_MS_MAX = 1000

# A message between nodes: an Append of several blocks.
LINK_MESSAGE_BYTES_MAX = 32 << 20

# Ensemble: beyond this a quorum's acknowledgements cost more than they protect.
PEERS_MAX = 15
# Voters and observers: the leader keeps a link to each and sends each the whole log.
MEMBERS_MAX = 64
HOST_BYTES_MAX = 253  # a name, as DNS allows
MEMBERS_BYTES_MAX = 64 << 10  # of all members as text: twice what as many of the longest names need
WORKERS_MAX = 63

# Requests to change the members that wait to be judged; more of them come again.
RECONFIGS_WAITING_MAX = 64

# A new voter that stands still for so long on its way to what was logged when it came in does not become one.
CATCH_UP_MS_MAX = 10_000

# A leader that will not be a voter waits so long for another one to take over: longer than any election.
TRANSFER_MS_MAX = 3_000

# Raft's tick.  A silent leader is replaced after ELECTION_TICKS to twice as many (0.8 to 1.6 s); a killed one at once.
TICK_MS = 50
ELECTION_TICKS = 16
HEARTBEAT_TICKS = 2

# How often a node writes down what is committed and on its disk, beside its vote; also when it ends.  A log that is found to end
# before that was shortened by somebody; what came later cannot be told from what a crash takes.
FLOOR_TICKS = 100

# How long a leader that is told to end waits for another to take over; an election would take longer only if that fails.
HANDOVER_MS_MAX = 1000

# Each node tells all others once a second that its number is taken.
PRESENT_TICKS = 20

# ZooKeeper's tickTime as its sample configuration has it; session timeouts are clamped to [2, 20] times it (config.py).
TICK_TIME_MS = 2000

# The longest session timeout an operator may allow: what ZooKeeper's int of milliseconds holds.
SESSION_TIMEOUT_MS_MAX = 2**31 - 1

# A node without a leader closes its clients after half the smallest session timeout (config.py), but not sooner than this: an
# election takes 0.8 to 1.6 s when the leader fell silent, and is no reason to disconnect anybody.  A worker whose engine stands
# still for as long does the same.
LEADERLESS_MS_MIN = 2000

# Client connections from one address, as ZooKeeper's maxClientCnxns: one client that leaks them must not use up all.
CONNECTIONS_PER_ADDRESS_MAX = 60

# How long a four-letter word waits for what the node's other workers know; then it tells what there is, and what is missing.
WORD_WAIT_MS_MAX = 1000

# How often empty containers are looked for, as in ZooKeeper: one that is filled again at once is rarely removed in between.
CONTAINER_CHECK_MS = 60_000

# How often a worker tells which sessions it has heard of; and how much longer the leader waits than a session's timeout, since
# that news is so old when it comes, and has been on its way: a client that was answered is not expired for it.
TOUCH_MS = 250
TOUCH_GRACE_MS = 500

# The longest stretch between two turns that session time counts.  A process that was stopped for longer did not hear its
# clients, so that time is not held against them.
SESSION_STEP_MS_MAX = 500

# ---- the client

REPLY_BYTES_MAX = 64 << 20  # one reply, to our client: a listing of a million children fits; more is damage, not data

MESSAGE_BYTES_MAX = 2 * REPLY_BYTES_MAX  # what a client takes at once: a node's whole output, and one reply more
SEND_BYTES_MAX = 1 << 20  # of requests in one message: larger messages gain nothing and delay the first request in them
SEND_REQUESTS_MAX = 4096  # in one message: bounds how long the client's thread encodes before it listens again
PENDING_REQUESTS_MAX = 1 << 17  # queued or unanswered of one client; a caller beyond it waits for room
RESULTS_REMEMBERED_MAX = 128  # writes of a client that are unanswered: as many results a server remembers of each session
SET_WATCHES_BYTES_MAX = 128 << 10  # of paths in one request that arms watches again, as with ZooKeeper's clients
READ_TRIES_MAX = 5  # a read that was lost with so many connections may be what breaks them: it fails
BACKOFF_FIRST_S = 0.05  # pause after every host was tried in vain; doubles...
BACKOFF_MAX_S = 2.0  # ... up to this: a restarted ensemble is found again soon, and not stormed
CONNECT_S_MIN = 0.5  # for one host, however short the session's timeout: a far handshake takes so long
FAREWELL_MS = 200  # a connection's last message may need so long to leave
