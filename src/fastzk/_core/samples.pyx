"""The samples of the tree's digest; see samples.pxd."""

from fastzk._core.layout cimport mix64


cdef uint64_t CHAIN_SEED = <uint64_t>0xd6e8feb86659fd93


cdef void samples_take(samples_t *samples, uint64_t index, uint64_t digest_low, uint64_t digest_high) noexcept nogil:
    cdef sample_t *sample = &samples.ring[index // SAMPLE_EVERY % SAMPLES_KEPT]
    samples.chain = mix64(samples.chain ^ digest_low ^ CHAIN_SEED, digest_high ^ index)
    samples.newest = index
    sample.index = index
    sample.digest_low = digest_low
    sample.digest_high = digest_high
    sample.chain = samples.chain


cdef const sample_t *samples_find(const samples_t *samples, uint64_t index) noexcept nogil:
    cdef const sample_t *sample = &samples.ring[index // SAMPLE_EVERY % SAMPLES_KEPT]
    return sample if sample.index == index and index else NULL
