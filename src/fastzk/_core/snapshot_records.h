/* The records of a snapshot's chunks, as they stand in the file: docs/internals/snapshot-format.md.
 *
 * Rules: packed, little-endian, no refs; each begins with its kind; copied in and out, never looked at in place. */
#ifndef FASTZK_SNAPSHOT_RECORDS_H
#define FASTZK_SNAPSHOT_RECORDS_H

#include "layout.h"

/* The order of these is the order of the records, but that a vector stands anywhere before its first use. */
enum { RECORD_VECTOR = 1, RECORD_SESSION = 2, RECORD_ZNODE = 3, RECORD_EPHEMERALS = 4 };

/* An ACL or the identities of a session.  Numbered 0, 1, 2... as they come; 0 is world:anyone, all permissions. */
typedef struct __attribute__((packed)) {
    uint8_t kind;
    uint8_t zero;
    uint16_t zero2;
    uint32_t size; /* the jute vector follows */
} vector_record_t;

enum { SESSION_HAS_IDENTITIES = 1, SESSION_HAS_RESULTS = 2 };

/* A session, oldest first. */
typedef struct __attribute__((packed)) {
    uint8_t kind;
    uint8_t flags;          /* SESSION_HAS_* */
    uint16_t kept_count;    /* result_record_t that follow, in the order of their places in the ring */
    uint32_t timeout_ms;
    uint64_t session_id;
    uint64_t attach_zxid;
    uint64_t attach_nonce;
    uint64_t last_serial;
    uint8_t password[16];
    uint32_t ephemeral_count;
    uint32_t identities;    /* number of their vector, 0 without */
    uint64_t results_count; /* results ever kept: where the ring goes on */
} session_record_t;

typedef struct __attribute__((packed)) {
    int32_t cxid;
    int32_t err;
    uint32_t body_size; /* the body follows */
} result_record_t;

/* Which parts follow a znode's record, in this order; without one its fields are what the second column says. */
enum {
    ZNODE_CHANGED = 1, /* changed_part_t; else as created, version 0 */
    ZNODE_PARENT = 2,  /* parent_part_t; else pzxid as created, no children, cversion 0 */
    ZNODE_OWNED = 4,   /* uint64 ephemeral_owner as stored; else 0 */
    ZNODE_GUARDED = 8, /* int32 aversion; else 0 */
};

/* A znode, after its parent and that one's earlier children with all that is below them. */
typedef struct __attribute__((packed)) {
    uint8_t kind;
    uint8_t flags;      /* ZNODE_* */
    uint16_t name_size; /* of the last element of the path, which follows the parts; 0 for the root */
    uint32_t acl;       /* number of its vector */
    uint32_t data_size; /* of the data, which follow the name; or NULL_DATA */
    uint64_t czxid;
    int64_t ctime_ms;
} znode_record_t;

typedef struct __attribute__((packed)) {
    uint64_t mzxid;
    int64_t mtime_ms;
    int32_t version;
} changed_part_t;

typedef struct __attribute__((packed)) {
    uint64_t pzxid;
    int32_t cversion; /* as stored */
    uint32_t child_count;
} parent_part_t;

/* A piece of the lists of ephemerals: those of the first session, newest first, then those of the second... */
typedef struct __attribute__((packed)) {
    uint8_t kind;
    uint8_t zero;
    uint16_t zero2;
    uint32_t count; /* uint32 numbers follow: 0 is the first ephemeral among the znode records, 1 the second... */
} ephemerals_record_t;

_Static_assert(sizeof(vector_record_t) == 8, "vector_record_t");
_Static_assert(sizeof(session_record_t) == 72, "session_record_t");
_Static_assert(sizeof(result_record_t) == 12, "result_record_t");
_Static_assert(sizeof(znode_record_t) == 28, "znode_record_t");
_Static_assert(sizeof(changed_part_t) == 20, "changed_part_t");
_Static_assert(sizeof(parent_part_t) == 16, "parent_part_t");
_Static_assert(sizeof(ephemerals_record_t) == 8, "ephemerals_record_t");

#endif
