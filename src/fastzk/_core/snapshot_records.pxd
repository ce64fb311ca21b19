"""snapshot_records.h as Cython sees it.  The meaning of each field stands there."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "snapshot_records.h" nogil:
    enum:
        RECORD_VECTOR
        RECORD_SESSION
        RECORD_ZNODE
        RECORD_EPHEMERALS
        SESSION_HAS_IDENTITIES
        SESSION_HAS_RESULTS
        ZNODE_CHANGED
        ZNODE_PARENT
        ZNODE_OWNED
        ZNODE_GUARDED

    ctypedef struct vector_record_t:
        uint8_t kind
        uint8_t zero
        uint16_t zero2
        uint32_t size

    ctypedef struct session_record_t:
        uint8_t kind
        uint8_t flags
        uint16_t kept_count
        uint32_t timeout_ms
        uint64_t session_id
        uint64_t attach_zxid
        uint64_t attach_nonce
        uint64_t last_serial
        uint8_t password[16]
        uint32_t ephemeral_count
        uint32_t identities
        uint64_t results_count

    ctypedef struct result_record_t:
        int32_t cxid
        int32_t err
        uint32_t body_size

    ctypedef struct znode_record_t:
        uint8_t kind
        uint8_t flags
        uint16_t name_size
        uint32_t acl
        uint32_t data_size
        uint64_t czxid
        int64_t ctime_ms

    ctypedef struct changed_part_t:
        uint64_t mzxid
        int64_t mtime_ms
        int32_t version

    ctypedef struct parent_part_t:
        uint64_t pzxid
        int32_t cversion
        uint32_t child_count

    ctypedef struct ephemerals_record_t:
        uint8_t kind
        uint8_t zero
        uint16_t zero2
        uint32_t count
