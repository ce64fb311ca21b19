"""layout.h and bytes.h as Cython sees them.  The meaning of each field stands there."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "layout.h" nogil:
    ctypedef uint32_t ref_t

    enum:
        FZ_DEBUG
        GRANULE
        PAGE
        SIZE_CLASSES
        OP_EPOCH
        OP_CREATE_SESSION
        OP_CLOSE_SESSION
        OP_ATTACH_SESSION
        OP_IDENTIFY
        OP_CONFIG
        OP_MEMBERS
        OP_REJOIN
        OP_RECONFIGURED
        OP_REAP
        ITEM_RESULT
        ITEM_CHANGE
        ITEM_SESSION
        ITEM_READ
        LINK_HELLO
        LINK_WELCOME
        LINK_WRITES
        LINK_TOUCH
        LINK_READ
        LINK_STATUS
        LINK_COMMIT
        ROLE_LOOKING
        ROLE_FOLLOWER
        ROLE_LEADER
        ROLE_STANDALONE
        BLOCK_ENTRIES
        BLOCK_MEMBERS
        ROLE_OBSERVER
    uint64_t ARENA_MAGIC
    uint32_t ARENA_VERSION
    uint32_t NULL_DATA
    uint32_t BLOCK_MAGIC

    void FZ_ASSERT(bint condition)
    size_t padded8(size_t size)

    ctypedef struct arena_header_t:
        uint64_t magic
        uint32_t version
        uint32_t header_size
        uint64_t capacity
        uint64_t index_offset
        uint64_t index_capacity
        uint64_t session_offset
        uint64_t session_buckets
        uint64_t heap_offset
        uint64_t sequence
        uint64_t applied_zxid
        uint64_t used
        uint64_t index_level
        uint64_t index_split
        uint64_t applied_index
        ref_t root
        ref_t acl_open
        uint64_t applied_time_ms
        uint64_t znode_count
        uint64_t ephemeral_count
        uint64_t session_count
        uint64_t data_bytes
        uint64_t digest_low
        uint64_t digest_high
        uint64_t acl_count
        uint64_t quota_count
        uint64_t reapable_count
        ref_t free_blocks[96]
        ref_t acl_buckets[256]
        ref_t first_session

    ctypedef struct znode_t:
        uint64_t czxid
        uint64_t mzxid
        uint64_t pzxid
        int64_t ctime_ms
        int64_t mtime_ms
        uint64_t ephemeral_owner
        uint32_t path_hash
        int32_t version
        int32_t cversion
        int32_t aversion
        ref_t hash_next
        ref_t parent
        uint32_t sibling
        ref_t acl
        ref_t data
        uint32_t data_size
        ref_t children
        uint32_t child_count
        ref_t ephemeral_next
        ref_t ephemeral_previous
        uint16_t path_size
        uint16_t name_offset
        char path[0]

    ctypedef struct child_list_t:
        uint32_t capacity
        ref_t child[0]

    ctypedef struct acl_t:
        ref_t next
        uint32_t references
        uint32_t hash
        uint32_t size
        char vector[0]

    ctypedef struct session_t:
        uint64_t session_id
        uint64_t attach_zxid
        uint64_t attach_nonce
        uint64_t last_serial
        uint8_t password[16]
        uint32_t timeout_ms
        ref_t hash_next
        ref_t next
        ref_t previous
        ref_t first_ephemeral
        uint32_t ephemeral_count
        ref_t identities
        ref_t results

    uint32_t RESULTS_MAX

    ctypedef struct result_t:
        int32_t cxid
        int32_t err
        ref_t body
        uint32_t body_size

    ctypedef struct results_t:
        uint64_t count
        result_t results[128]

    ctypedef struct entry_t:
        uint32_t size
        uint32_t body_size
        int32_t op
        int32_t cxid
        uint64_t session_id
        uint64_t attach_zxid
        uint64_t serial
        uint16_t node_id
        uint16_t worker
        uint32_t connection
        char body[0]

    ctypedef struct block_t:
        uint32_t magic
        uint32_t size
        uint64_t checksum
        uint64_t first_index
        uint64_t first_zxid
        int64_t time_ms
        uint64_t previous
        uint32_t count
        uint32_t kind
        uint64_t spare
        char entries[0]

    ctypedef struct item_t:
        uint32_t size
        uint16_t kind
        uint16_t event
        uint64_t zxid
        uint64_t session_id
        uint64_t attach_zxid
        uint64_t serial
        uint32_t connection
        int32_t xid
        int32_t err
        uint32_t body_size
        char body[0]

    ctypedef struct link_t:
        uint16_t kind
        uint16_t worker
        uint32_t count
        uint64_t incarnation
        uint64_t sequence
        uint64_t zxid
        uint64_t round

    ctypedef struct status_t:
        uint64_t epoch
        uint32_t leader_id
        uint16_t role
        uint16_t is_serving


cdef extern from "bytes.h" nogil:
    ctypedef struct buffer_t:
        char *data
        size_t start
        size_t size
        size_t capacity

    uint32_t load_be32(const char *at)
    uint64_t load_be64(const char *at)
    void store_be32(char *at, uint32_t value)
    void store_be64(char *at, uint64_t value)
    size_t buffer_live(const buffer_t *b)
    char *buffer_begin(buffer_t *b)
    char *buffer_room(buffer_t *b, size_t more)
    void buffer_append(buffer_t *b, const void *at, size_t size)
    void buffer_be32(buffer_t *b, uint32_t value)
    void buffer_be64(buffer_t *b, uint64_t value)
    void buffer_consume(buffer_t *b, size_t size)
    void buffer_clear(buffer_t *b)
    void buffer_free(buffer_t *b)
    uint64_t hash_bytes(const char *at, size_t size, uint64_t seed)
    uint64_t mix64(uint64_t a, uint64_t b)
