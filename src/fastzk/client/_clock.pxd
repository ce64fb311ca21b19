"""The clock of the client's compiled code: time.monotonic()'s."""

from fastzk.transport._linux cimport CLOCK_MONOTONIC, clock_gettime, timespec


cdef inline double monotonic_s() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <double>time.tv_sec + <double>time.tv_nsec * 1e-9
