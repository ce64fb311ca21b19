/* Loads, stores and fences between the arena's writer and its readers.
 *
 * Rule: a reader that checks a value and then uses it takes it by peek*(), once.  A plain load may be repeated by the
 * compiler, and the writer may change the value between the check and the use: then the check was for nothing. */
#ifndef FASTZK_ATOMICS_H
#define FASTZK_ATOMICS_H

#include <stdint.h>

static inline uint16_t peek16(const uint16_t *at) { return __atomic_load_n(at, __ATOMIC_RELAXED); }
static inline uint32_t peek32(const uint32_t *at) { return __atomic_load_n(at, __ATOMIC_RELAXED); }
static inline uint64_t peek64(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_RELAXED); }

/* Nothing that follows is read before this load. */
static inline uint64_t peek64_acquire(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }

/* Nothing that precedes is written after this store. */
static inline void poke64_release(uint64_t *at, uint64_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }
static inline void poke64(uint64_t *at, uint64_t value) { __atomic_store_n(at, value, __ATOMIC_RELAXED); }

static inline void fence_acquire(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }
static inline void fence_release(void) { __atomic_thread_fence(__ATOMIC_RELEASE); }

/* A pointer in a table that one thread fills and another reads: what it points to is complete before it is seen. */
static inline char *peek_pointer(char *const *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
static inline void poke_pointer(char **at, char *value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }

/* A count of owners; the one that makes it 0 comes after all that the others did. */
static inline void owners_add(uint32_t *owners) { __atomic_add_fetch(owners, 1, __ATOMIC_RELAXED); }
static inline uint32_t owners_drop(uint32_t *owners) { return __atomic_sub_fetch(owners, 1, __ATOMIC_ACQ_REL); }

/* One turn of a wait. */
static inline void spin_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* Asks for a cache line ahead of its use; any address is harmless. */
static inline void prefetch(const void *at) { __builtin_prefetch(at, 0, 3); }

/* The number of the highest bit that is set; value is not 0. */
static inline uint32_t highest_bit(uint64_t value) { return 63u - (uint32_t)__builtin_clzll(value); }

#endif
