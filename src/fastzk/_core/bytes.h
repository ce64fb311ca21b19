/* Bytes: big-endian loads and stores, a growable buffer, hashing.  No Python. */
#ifndef FASTZK_BYTES_H
#define FASTZK_BYTES_H

#include "layout.h"

static inline uint32_t load_be32(const char *at) {
    uint32_t v;
    memcpy(&v, at, 4);
    return __builtin_bswap32(v);
}

static inline uint64_t load_be64(const char *at) {
    uint64_t v;
    memcpy(&v, at, 8);
    return __builtin_bswap64(v);
}

static inline void store_be32(char *at, uint32_t v) {
    v = __builtin_bswap32(v);
    memcpy(at, &v, 4);
}

static inline void store_be64(char *at, uint64_t v) {
    v = __builtin_bswap64(v);
    memcpy(at, &v, 8);
}

/* Bytes [start, size) of data are live.  All zero is a valid, empty buffer. */
typedef struct {
    char *data;
    size_t start;
    size_t size;
    size_t capacity;
} buffer_t;

static inline size_t buffer_live(const buffer_t *b) { return b->size - b->start; }
static inline char *buffer_begin(buffer_t *b) { return b->data + b->start; }

/* Room for `more` bytes at the end; returns where they go.  Out of memory ends the process.
 * Live bytes move to the front only when at least as many have been consumed: a long queue that is filled and drained a
 * little at a time would otherwise be moved as a whole for each little. */
static inline char *buffer_room(buffer_t *b, size_t more) {
    if (__builtin_expect(b->size + more > b->capacity, 0)) {
        if (b->start && b->start >= b->size - b->start) {
            memmove(b->data, b->data + b->start, b->size - b->start);
            b->size -= b->start;
            b->start = 0;
        }
        if (b->size + more > b->capacity) {
            size_t capacity = b->capacity ? b->capacity : 256;
            while (capacity < b->size + more) capacity *= 2;
            b->data = (char *)realloc(b->data, capacity);
            FZ_ASSERT(b->data != NULL);
            b->capacity = capacity;
        }
    }
    return b->data + b->size;
}

static inline void buffer_append(buffer_t *b, const void *from, size_t size) {
    if (size) {
        memcpy(buffer_room(b, size), from, size);
        b->size += size;
    }
}

static inline void buffer_be32(buffer_t *b, uint32_t v) {
    store_be32(buffer_room(b, 4), v);
    b->size += 4;
}

static inline void buffer_be64(buffer_t *b, uint64_t v) {
    store_be64(buffer_room(b, 8), v);
    b->size += 8;
}

/* Drops `size` live bytes from the front. */
static inline void buffer_consume(buffer_t *b, size_t size) {
    FZ_ASSERT(size <= b->size - b->start);
    b->start += size;
    if (b->start == b->size) b->start = b->size = 0;
}

static inline void buffer_clear(buffer_t *b) { b->start = b->size = 0; }

/* Gives the memory back. */
static inline void buffer_free(buffer_t *b) {
    free(b->data);
    memset(b, 0, sizeof *b);
}

static inline uint64_t mix64(uint64_t a, uint64_t b) {
    __uint128_t m = (__uint128_t)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* A 64-bit hash of bytes under a seed, for tables and the digest.  The digest stands in snapshots, so another hash means
 * another version of their format; checksums are xxh3's. */
static inline uint64_t hash_bytes(const char *at, size_t size, uint64_t seed) {
    const uint64_t k0 = 0xa0761d6478bd642full, k1 = 0xe7037ed1a0b428dbull, k2 = 0x8ebc6af09c88c6e3ull;
    uint64_t a, b, h = seed ^ mix64(seed ^ k0, (uint64_t)size ^ k1);
    while (size > 16) {
        memcpy(&a, at, 8);
        memcpy(&b, at + 8, 8);
        h = mix64(a ^ k1, b ^ h);
        at += 16;
        size -= 16;
    }
    if (size >= 8) {
        memcpy(&a, at, 8);
        memcpy(&b, at + size - 8, 8);
    } else if (size >= 4) {
        uint32_t x, y;
        memcpy(&x, at, 4);
        memcpy(&y, at + size - 4, 4);
        a = x;
        b = y;
    } else if (size) {
        a = ((uint64_t)(uint8_t)at[0] << 16) | ((uint64_t)(uint8_t)at[size >> 1] << 8) | (uint8_t)at[size - 1];
        b = 0;
    } else {
        a = b = 0;
    }
    return mix64(a ^ k2 ^ (uint64_t)size, b ^ h ^ k0);
}

#endif
