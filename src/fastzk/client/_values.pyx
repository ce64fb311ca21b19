"""What the most usual calls need between the user's words and the wire: paths seen to be plain, bodies, values.

Rule: nothing here runs the interpreter (_call.pxd says why).  What is not usual is left to values.py and records.py, which are
the twins, too: tests/property/test_client_flow.py compares."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from fastzk._core.layout cimport store_be32
from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memcpy

from fastzk.errors import NoNodeError
from fastzk.limits import PATH_BYTES_MAX

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    bint PyUnicode_IS_ASCII(object text) noexcept

cdef Py_ssize_t PATH_MAX = PATH_BYTES_MAX // 3
cdef object _NoNodeError = NoNodeError


def is_plain(path):
    """A path that is valid as it is, and needs no second look."""
    cdef Py_ssize_t size, index
    cdef const char *at
    cdef char before = 0
    if type(path) is not str or not PyUnicode_IS_ASCII(path):
        return False
    at = PyUnicode_AsUTF8AndSize(path, &size)
    if size < 2 or size > PATH_MAX or at[0] != c"/" or at[size - 1] == c"/":
        return False
    for index in range(size):
        if at[index] < 0x20 or at[index] == 0x7F:
            return False
        if before == c"/" and (at[index] == c"/" or at[index] == c"."):
            return False  # of names that begin with a dot most are good, and few
        before = at[index]
    return True


def path_flag(str chroot not None, str path not None, bint flag):
    """The body of a request of a path, below a chroot ("": none), and a bool."""
    cdef Py_ssize_t chroot_size, size
    cdef const char *above = PyUnicode_AsUTF8AndSize(chroot, &chroot_size)
    cdef const char *text = PyUnicode_AsUTF8AndSize(path, &size)
    cdef bytes body
    cdef char *at
    if chroot_size and size == 1:
        size = 0  # the chroot itself
    body = PyBytes_FromStringAndSize(NULL, chroot_size + size + 5)
    at = PyBytes_AS_STRING(body)
    store_be32(at, <uint32_t>(chroot_size + size))
    memcpy(at + 4, above, chroot_size)
    memcpy(at + 4 + chroot_size, text, size)
    at[4 + chroot_size + size] = flag
    return body


def path_data_version(str path not None, bytes data, int32_t version):
    """The body of a request of a path, a buffer that may be None, and an int."""
    cdef Py_ssize_t size
    cdef Py_ssize_t data_size = PyBytes_GET_SIZE(data) if data is not None else 0
    cdef const char *text = PyUnicode_AsUTF8AndSize(path, &size)
    cdef bytes body = PyBytes_FromStringAndSize(NULL, size + data_size + 12)
    cdef char *at = PyBytes_AS_STRING(body)
    store_be32(at, <uint32_t>size)
    memcpy(at + 4, text, size)
    at += 4 + size
    store_be32(at, <uint32_t>data_size if data is not None else <uint32_t>-1)
    if data_size:
        memcpy(at + 4, PyBytes_AS_STRING(data), data_size)
    store_be32(at + 4 + data_size, <uint32_t>version)
    return body


# ---- from replies to values

def value_of(reply, error):
    """The reply as it is."""
    if error is not None:
        raise error
    return reply


def none_if_missing(reply, error):
    """The reply as it is, None when there is no such znode."""
    if error is not None:
        if isinstance(error, _NoNodeError):
            return None
        raise error
    return reply


def data_and_stat(reply, error):
    """Data, empty if it is null, and Stat."""
    if error is not None:
        raise error
    return reply if reply[0] is not None else (b"", reply[1])


def true_of(reply, error):
    """True."""
    if error is not None:
        raise error
    return True


def children_of(reply, error):
    """The names as a list."""
    if error is not None:
        raise error
    return list(reply)


def children_and_stat(reply, error):
    """The names as a list, and Stat."""
    if error is not None:
        raise error
    return list(reply[0]), reply[1]
