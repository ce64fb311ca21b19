"""Samples of the tree's digest, by which nodes compare themselves: one at each index that is a multiple of SAMPLE_EVERY.

    samples_t.ring     the last SAMPLES_KEPT of them: index, digest, chain
    chain              a hash over all samples so far, so that one comparison speaks for all that came before

Rule: they depend on nothing but the entries applied, so equal nodes have equal samples.  A node that begins with a snapshot takes
the chain over from it."""

from libc.stdint cimport uint64_t


cdef enum:
    SAMPLE_EVERY = 128          # entries; as often as ZooKeeper logs its digest
    SAMPLES_KEPT = 1024


ctypedef struct sample_t:
    uint64_t index              # 0 = there is none here
    uint64_t digest_low
    uint64_t digest_high
    uint64_t chain


ctypedef struct samples_t:
    uint64_t chain              # as of the newest sample
    uint64_t newest             # its index, 0 = there was none yet
    sample_t ring[SAMPLES_KEPT]


# To be called after each entry, with its index.
cdef inline void samples_look(samples_t *samples, uint64_t index, uint64_t digest_low, uint64_t digest_high) noexcept nogil:
    if index % SAMPLE_EVERY == 0:
        samples_take(samples, index, digest_low, digest_high)


cdef void samples_take(samples_t *samples, uint64_t index, uint64_t digest_low, uint64_t digest_high) noexcept nogil
# The sample of an index, or NULL.
cdef const sample_t *samples_find(const samples_t *samples, uint64_t index) noexcept nogil
