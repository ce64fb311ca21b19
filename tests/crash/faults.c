/* Makes calls that store something fail: the world's failure, as the kernel reports it.

   LD_PRELOAD this with FASTZK_FAULT naming a file.  While that file exists it says, in one line,
       <call> <part of the path> <errno> <skip>        fdatasync /log/ 5 0
   what is to fail: write, fdatasync, fsync, ftruncate or rename of a file whose path contains the part; errno 0 makes a
   write short; the first `skip` such calls of each process still succeed.  After it failed once, it fails for good. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static __thread int is_inside;
static long seen;

/* -1: let it pass; else the errno, 0 for a short write. */
static int judge_path(const char *call, const char *path)
{
    const char *from = getenv("FASTZK_FAULT");
    char line[512] = "", wanted[32], part[400];
    int code = 0, skip = 0, fd;
    if (from == NULL || is_inside)
        return -1;
    is_inside = 1;
    fd = open(from, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, line, sizeof line - 1) < 0)
            line[0] = 0;
        close(fd);
    }
    is_inside = 0;
    if (fd < 0 || sscanf(line, "%31s %399s %d %d", wanted, part, &code, &skip) != 4)
        return -1;
    if (strcmp(call, wanted) != 0 || strstr(path, part) == NULL)
        return -1;
    return __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST) > skip ? code : -1;
}

static int judge(const char *call, int fd)
{
    char link[64], path[4200];
    ssize_t size;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return -1;
    path[size] = 0;
    return judge_path(call, path);
}

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

#define WITH_FD(name, arguments, values)                                        \
    int name arguments                                                          \
    {                                                                           \
        int code = judge(#name, fd);                                            \
        if (code > 0) {                                                         \
            errno = code;                                                       \
            return -1;                                                          \
        }                                                                       \
        return NEXT(int (*) arguments, #name) values;                           \
    }

WITH_FD(fdatasync, (int fd), (fd))
WITH_FD(fsync, (int fd), (fd))
WITH_FD(ftruncate, (int fd, off_t size), (fd, size))
WITH_FD(ftruncate64, (int fd, off64_t size), (fd, size))

int rename(const char *old, const char *new)
{
    int code = judge_path("rename", new);
    if (code > 0) {
        errno = code;
        return -1;
    }
    return NEXT(int (*)(const char *, const char *), "rename")(old, new);
}

static ssize_t write_at(int fd, const void *data, size_t size, off64_t offset)
{
    int code = judge("write", fd);
    if (code > 0) {
        errno = code;
        return -1;
    }
    if (code == 0)
        size /= 2;
    return NEXT(ssize_t (*)(int, const void *, size_t, off64_t), "pwrite64")(fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return write_at(fd, data, size, offset); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) { return write_at(fd, data, size, offset); }

static ssize_t writev_at(int fd, const struct iovec *parts, int count, off64_t offset)
{
    int code = judge("write", fd);
    if (code > 0) {
        errno = code;
        return -1;
    }
    if (code == 0)
        count = 1; /* the mark without its blocks */
    return NEXT(ssize_t (*)(int, const struct iovec *, int, off64_t), "pwritev64")(fd, parts, count, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return writev_at(fd, parts, count, offset); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) { return writev_at(fd, parts, count, offset); }
