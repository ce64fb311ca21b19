/* The structures that processes share: the arena, and the records that move between processes and into the log.
 *
 * Rules: fixed widths, little-endian, offsets and never pointers; one writer per cache line; whoever changes a
 * structure changes its _Static_assert, the format document and, for what is stored, the version.
 *
 * The arena is one memory region.  A ref is an offset in granules of 16 bytes; 0 is none.  The engine is its only
 * writer (Z7); readers map it read-only, take no lock, and check the sequence counter afterwards (arena.pxd). */
#ifndef FASTZK_LAYOUT_H
#define FASTZK_LAYOUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "fastzk's records are little-endian; this machine is not"
#endif

#ifndef FZ_DEBUG
#define FZ_DEBUG 0
#endif

/* For noexcept code, where a Python assert would be printed and ignored.  Stays on in release builds. */
#define FZ_ASSERT(condition)                                                                            \
    do {                                                                                                \
        if (__builtin_expect(!(condition), 0)) {                                                        \
            fprintf(stderr, "fastzk: %s:%d: broken invariant: %s\n", __FILE__, __LINE__, #condition);   \
            fflush(stderr);                                                                             \
            abort();                                                                                    \
        }                                                                                               \
    } while (0)

typedef uint32_t ref_t; /* an offset in the arena, in granules; 0 = none */

#define GRANULE 16u
#define ARENA_MAGIC 0x31616e6572417a46ull /* "FzArena1" */
#define ARENA_VERSION 2u
#define PAGE 4096u
#define SIZE_CLASSES 96u
#define NULL_DATA 0xffffffffu /* data_size of a znode whose data is null, which is not empty data */

/* The first page of the arena.  Everything but the reader's line is the writer's alone. */
typedef struct {
    uint64_t magic;
    uint32_t version;
    uint32_t header_size;
    uint64_t capacity;       /* bytes reserved; never grows, nothing is ever remapped */
    uint64_t index_offset;   /* bytes; the buckets of the path index, ref_t each */
    uint64_t index_capacity; /* buckets reserved, a power of two */
    uint64_t session_offset; /* bytes; the buckets of the session index, ref_t each */
    uint64_t session_buckets;
    uint64_t heap_offset; /* bytes; blocks begin here */

    /* The readers' line: read by every reader, written once per write. */
    uint64_t sequence; /* odd while the writer is inside */
    uint64_t applied_zxid;
    uint64_t used;        /* bytes; high-water mark: no ref at or above it is valid */
    uint64_t index_level; /* linear hashing: 2^level buckets, of which the first index_split are split */
    uint64_t index_split;
    uint64_t applied_index;
    ref_t root;
    ref_t acl_open; /* world:anyone, all permissions */
    uint64_t applied_time_ms;

    /* Counters, for people; consistent with applied_zxid under the sequence. */
    uint64_t znode_count;
    uint64_t ephemeral_count;
    uint64_t session_count;
    uint64_t data_bytes; /* paths and data, as ZooKeeper's approximate data size counts them */
    uint64_t digest_low; /* sum over all znodes of a 128-bit hash of path, Stat and data */
    uint64_t digest_high;
    uint64_t acl_count;
    uint64_t quota_count;    /* znodes named zookeeper_limits below /zookeeper/quota: 0 means that no path has a quota */
    uint64_t reapable_count; /* containers and TTL znodes: 0 means that the reaper has nothing to look for */
    uint64_t spare;

    ref_t free_blocks[SIZE_CLASSES]; /* first free block of each size class */
    ref_t acl_buckets[256];          /* interned ACLs by hash */
    ref_t first_session;             /* all sessions, newest first */
} arena_header_t;

_Static_assert(sizeof(arena_header_t) <= PAGE, "the header is the first page");
_Static_assert(offsetof(arena_header_t, sequence) == 64, "the readers' line starts at 64");
_Static_assert(offsetof(arena_header_t, znode_count) == 128, "the readers' line is one line");

/* One znode.  Its path follows at `path`, path_size bytes, no terminator. */
typedef struct {
    uint64_t czxid;
    uint64_t mzxid;
    uint64_t pzxid;
    int64_t ctime_ms;
    int64_t mtime_ms;
    uint64_t ephemeral_owner; /* as stored; clients see it only of a plain ephemeral */
    uint32_t path_hash;
    int32_t version;
    int32_t cversion; /* children ever created; clients see 2 * cversion - child_count */
    int32_t aversion;
    ref_t hash_next; /* next znode of the same bucket */
    ref_t parent;    /* 0 for the root */
    uint32_t sibling; /* place in the parent's child list */
    ref_t acl;
    ref_t data;
    uint32_t data_size; /* bytes, or NULL_DATA */
    union {
        struct { /* a znode that may have children */
            ref_t children; /* child_list_t, 0 while it never had one */
            uint32_t child_count;
        };
        struct { /* a plain ephemeral: the list of its session */
            ref_t ephemeral_next;
            ref_t ephemeral_previous;
        };
    };
    uint16_t path_size;
    uint16_t name_offset; /* where the last element of the path begins */
    char path[];
} znode_t;

_Static_assert(offsetof(znode_t, path) == 100, "a znode's path follows its fields at 100");

/* A parent's children, in no order; a child's place in it is its `sibling`. */
typedef struct {
    uint32_t capacity;
    ref_t child[];
} child_list_t;

/* One interned ACL: the jute vector of the ACL entries as it goes over the wire. */
typedef struct {
    ref_t next; /* same bucket */
    uint32_t references;
    uint32_t hash;
    uint32_t size;
    char vector[];
} acl_t;

/* One session.  last_serial and attach_zxid make a repeated or reordered write harmless (Z10). */
typedef struct {
    uint64_t session_id;
    uint64_t attach_zxid;  /* the create or attach that made the connection which now speaks for the session */
    uint64_t attach_nonce; /* of that entry, so that a repeated attach is known */
    uint64_t last_serial;  /* number of the last write applied in this attachment */
    uint8_t password[16];
    uint32_t timeout_ms;
    ref_t hash_next;
    ref_t next; /* all sessions */
    ref_t previous;
    ref_t first_ephemeral;
    uint32_t ephemeral_count;
    ref_t identities; /* of the connection that speaks: an interned jute vector of Id, 0 = none */
    ref_t results;    /* results_t, 0 = this session's results are not remembered */
} session_t;

_Static_assert(sizeof(session_t) == 80, "session_t has no holes");

/* The results of a session's last writes, so that a client may ask again on another connection (Z10). */
typedef struct {
    int32_t cxid; /* of the request; a client never gives two writes of a session the same */
    int32_t err;
    ref_t body; /* the reply's body, 0 = none */
    uint32_t body_size;
} result_t;

#define RESULTS_MAX 128u /* as many writes a client may have unanswered */

typedef struct {
    uint64_t count; /* kept so far; the next one goes to results[count % RESULTS_MAX] */
    result_t results[RESULTS_MAX];
} results_t;

/* One request on its way to the engine, to other nodes and in the log; its body follows, then zeros up to size. */
typedef struct {
    uint32_t size;      /* head, body and padding: a multiple of 8 */
    uint32_t body_size; /* bytes of the jute body, without request header */
    int32_t op;         /* ZooKeeper's operation code, or one of OP_* */
    int32_t cxid;       /* the client's xid */
    uint64_t session_id;
    uint64_t attach_zxid; /* the attachment that speaks; 0 for OP_CREATE_SESSION, OP_ATTACH_SESSION, OP_EPOCH; of a read that is
                             handed over: how many bytes at the end of its body are the identities of who asks */
    uint64_t serial; /* 1, 2, 3... within the attachment; for attach its nonce; 0 for what the leader itself proposes */
    uint16_t node_id; /* whose worker answers */
    uint16_t worker;
    uint32_t connection; /* that worker's slot */
    char body[];
} entry_t;

_Static_assert(offsetof(entry_t, body) == 48, "an entry's body begins at 48");

enum {
    OP_EPOCH = 0,             /* the first entry of a leader's epoch; changes nothing; body: 16 random bytes */
    OP_CREATE_SESSION = -10,  /* body: int timeout_ms, 16 bytes of password, then the connection's identities or nothing;
                                 cxid 1: the session's results are to be remembered (results_t), else 0 */
    OP_CLOSE_SESSION = -11,   /* body: none; with serial 0 it is an expiry, and attach_zxid what the leader saw */
    OP_ATTACH_SESSION = -12,  /* body: as of a create */
    OP_IDENTIFY = -13,        /* body: jute vector of Id {string scheme, string id}: who the session's connection is from now on */
    OP_CONFIG = -14,          /* the leader's own, session and serial 0; body: the data of /zookeeper/config */
    OP_MEMBERS = -15,         /* the leader's own, session and serial 0, first in a block of kind 1; body: text of state/members.py;
                                 changes nothing here, but the consensus takes the members from it */
    OP_REJOIN = -16,          /* the leader's own, session and serial 0; body: u16 node id, u64 nonce, little-endian: that node has
                                 all that was committed before, once it applies this; changes nothing here */
    OP_RECONFIGURED = -17,    /* what the leader makes of a client's reconfig, under its session and serial; body: int32 err as jute has
                                 it: 0 when the members were changed; the reconfig itself never stands in the log */
    OP_REAP = 20,             /* the leader's own, session and serial 0; body: jute string path of a container or TTL znode that
                                 is to go if it is still empty and its time has come; else nothing happens and nobody is told */
};

/* A block: one batch of entries, checksummed; the unit of the log, of replication and of apply. */
typedef struct {
    uint32_t magic; /* BLOCK_MAGIC */
    uint32_t size;  /* head and entries, a multiple of 8 */
    uint64_t checksum; /* xxh3-64 of bytes [16, size) */
    uint64_t first_index;
    uint64_t first_zxid; /* epoch << 32 | counter; the entries have consecutive zxids */
    int64_t time_ms;     /* the leader's wall clock, never falling; ctime and mtime come from here */
    uint64_t previous;   /* checksum of the block before it in the log, 0 for the first: binds the position */
    uint32_t count;      /* entries */
    uint32_t kind;       /* BLOCK_* */
    uint64_t spare;      /* 0 */
    char entries[];
} block_t;

#define BLOCK_MAGIC 0x316b6c42u /* "Blk1" */

enum {
    BLOCK_ENTRIES = 0,
    BLOCK_MEMBERS = 1, /* its first entry is OP_MEMBERS: a membership that is in force from here on */
};

_Static_assert(offsetof(block_t, entries) == 64, "a block's entries begin at 64");

/* One item of a commit batch, from the engine to a worker; its body follows, then zeros up to size. */
typedef struct {
    uint32_t size; /* head, body and padding: a multiple of 8 */
    uint16_t kind; /* ITEM_* */
    uint16_t event; /* ITEM_CHANGE: ZooKeeper's event type, 1 to 4; ITEM_RESULT of create or attach: 1 if it is remembered */
    uint64_t zxid;
    uint64_t session_id;  /* RESULT, SESSION */
    uint64_t attach_zxid; /* RESULT: the attachment it answers; SESSION: the session's new one, 0 = it is over */
    uint64_t serial;      /* RESULT: the entry's */
    uint32_t connection;  /* RESULT, READ: the worker's slot; CHANGE: bytes of the path */
    int32_t xid;          /* RESULT, READ: the client's */
    int32_t err;          /* RESULT, READ: ZooKeeper's error code */
    uint32_t body_size;   /* RESULT, READ: the reply's body; CHANGE: the path, then the ACL vector that a watcher needs READ
                             in, or nothing when anyone may read */
    char body[];
} item_t;

_Static_assert(offsetof(item_t, body) == 56, "an item's body begins at 56");

enum {
    ITEM_RESULT = 1,  /* a write of this worker's connection has been applied */
    ITEM_CHANGE = 2,  /* a change that watches may wait for; goes to every worker, before the result of its write */
    ITEM_SESSION = 3, /* a session is over or speaks through another connection; goes to every worker */
    ITEM_READ = 4,    /* the answer to a read that the worker had handed over */
};

/* Head of each message between a worker and its engine, both ways; one ZeroMQ message part = head + payload. */
typedef struct {
    uint16_t kind;   /* LINK_* */
    uint16_t worker; /* the worker's number: unique while the engine lives, never reused after a restart of the worker */
    uint32_t count;  /* WRITES, READ: entries; TOUCH: session ids; else 0 */
    uint64_t incarnation; /* of the sending process, random */
    uint64_t sequence;    /* 1, 2, 3... over all messages of this link and direction: a hole is seen */
    uint64_t zxid;        /* WELCOME: the zxid the worker starts at; COMMIT: handled up to here after this batch */
    uint64_t round;       /* STATUS: the round that begins; WRITES: the round they were sent in */
} link_t;

_Static_assert(sizeof(link_t) == 40, "link_t has no holes");

enum {
    LINK_HELLO = 1,   /* worker: here I am */
    LINK_WELCOME = 2, /* engine: start at zxid */
    LINK_WRITES = 3,  /* worker: entries, in each session's order */
    LINK_TOUCH = 4,   /* worker: u64 ids of the sessions heard of since the last TOUCH */
    LINK_READ = 5,    /* worker: entries whose op is a read that kept losing against the writer */
    LINK_STATUS = 6,  /* engine: status_t */
    LINK_COMMIT = 7,  /* engine: items, in zxid order */
};

/* What a worker must know of the ensemble.  A new round means: writes may have been lost on their way; send every
 * unanswered one again, in order (a repeat is harmless, Z10). */
typedef struct {
    uint64_t epoch;
    uint32_t leader_id; /* 0 = none known */
    uint16_t role;      /* ROLE_* */
    uint16_t is_serving; /* 0: close every client connection and let none in; 2: for clients that only read */
} status_t;

enum { ROLE_LOOKING = 0, ROLE_FOLLOWER = 1, ROLE_LEADER = 2, ROLE_STANDALONE = 3, ROLE_OBSERVER = 4 };

static inline size_t padded8(size_t size) { return (size + 7) & ~(size_t)7; }

#endif
