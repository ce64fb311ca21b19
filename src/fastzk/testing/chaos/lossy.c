/* The lossy disk: preloaded into a node it notes how to undo what was not synced, and breaks what it is told to break.

   Environment: FASTZK_LOSSY_DATA      files below this directory are watched (but not DATA/run and DATA/lock)
                FASTZK_LOSSY_JOURNAL   a directory on the same file system, for the notes
                FASTZK_LOSSY_CONTROL   a file that holds control_t, written by the harness at any time

   Rules: before a file or directory is changed, the journal says how to take it back; SIGKILL cannot come between, since
   the page cache keeps what was written.  A sync that succeeded is noted after it.  After a kill the harness (lossy.py)
   undoes what no sync covers: all of it, or any part, as a power failure does.  One lock: a change and its note are one
   step to every thread.  A failed sync makes what it was to sync lost for good, whatever later syncs say.

   How it works: open() marks descriptors of watched files; close() forgets them.  A record names the inode whose sync
   makes the change last: the file's for its bytes, the directory's for names.  Removed and replaced files wait in the
   journal's directory.  What all is synced is forgotten once the journal has grown.  Errors of the shim itself abort. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { FDS = 65536, DIRTY_MAX = 256, JOURNAL_KEPT = 1 << 18, PARTS = 1024 };
enum { WRITE = 1, SIZE, CREATE, REMOVE, RENAME, SYNC, FAILED };
enum { MAGIC = 0x59534c46 };

/* lossy.py has the same layout. */
typedef struct {
    volatile int64_t clock_offset_ns;  /* added to CLOCK_REALTIME */
    volatile int64_t is_lying;         /* a sync answers 0 and makes nothing last: the planted defect */
    volatile int64_t sync_countdown;   /* 1: the next sync fails; 0: none does */
    volatile int64_t write_countdown;  /* the same for writes */
    volatile int64_t failure;          /* with this errno; 0 for a write: it is cut short */
    volatile int64_t sync_delay_us;    /* a slow disk */
    volatile int64_t syncs, writes, failures; /* counted here, for the harness to see that it works */
} control_t;

typedef struct {
    uint32_t magic, kind;
    uint64_t time_ns, inode;
    uint64_t offset, size;      /* what is written; SIZE: size is the new one */
    uint64_t old_size;          /* of the file */
    uint32_t path_size, shadow_size; /* these follow, then the old bytes */
    uint64_t old_bytes;
} record_t;

static control_t nothing, *control = &nothing;
static char data[PATH_MAX], above[PATH_MAX], journal[PATH_MAX], journal_path[PATH_MAX], parent_path[PATH_MAX];
static size_t data_size;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int journal_fd = -1;
static uint64_t shadows, shadows_gone;
static ino_t watched[FDS];
static struct { uint64_t inode, last_ns; int is_failed; } dirty[DIRTY_MAX + 1];
static int dirty_count;

static int (*real_clock_gettime)(clockid_t, struct timespec *);

static void die(const char *what) {
    dprintf(2, "lossy shim: %s: %s\n", what, strerror(errno));
    abort();
}

/* ---- the kernel, past our own functions */

static int k_open(int dir, const char *path, int flags, mode_t mode) { return syscall(SYS_openat, dir, path, flags, mode); }
static int k_close(int fd) { return syscall(SYS_close, fd); }
static int k_truncate(int fd, uint64_t size) { return syscall(SYS_ftruncate, fd, size); }
static int k_rename(const char *from, const char *to) { return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0); }
static int k_link(const char *from, const char *to) { return syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0); }

static uint64_t now_ns(void) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- which files */

static int is_watched_path(const char *path) {
    if (!strcmp(path, above)) return 1; /* whose sync makes the name of the data directory last */
    if (!data_size || strncmp(path, data, data_size) || (path[data_size] && path[data_size] != '/')) return 0;
    const char *rest = path + data_size;
    return strcmp(rest, "/lock") && strcmp(rest, "/run") && strncmp(rest, "/run/", 5);
}

/* The absolute path; 0 when it is not watched. */
static int resolve(int dir, const char *path, char *into) {
    if (!data_size) return 0;
    if (path[0] == '/') {
        if (strlen(path) >= PATH_MAX) return 0;
        strcpy(into, path);
        return is_watched_path(into);
    }
    char link[64], at[PATH_MAX];
    if (dir == AT_FDCWD) strcpy(link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
    ssize_t size = readlink(link, at, sizeof at - 1);
    if (size < 0) return 0;
    at[size] = 0;
    if ((size_t)snprintf(into, PATH_MAX, "%s/%s", at, path) >= PATH_MAX) return 0;
    return is_watched_path(into);
}

static int is_watched(int fd, struct stat *stat_) {
    return fd >= 0 && fd < FDS && watched[fd] && fstat(fd, stat_) == 0 && stat_->st_ino == watched[fd];
}

static uint64_t parent_inode(const char *path) {
    char parent[PATH_MAX];
    struct stat found;
    strcpy(parent, path);
    char *slash = strrchr(parent, '/');
    if (slash == parent) slash++;
    *slash = 0;
    if (stat(parent, &found) < 0) die(parent);
    return found.st_ino;
}

/* ---- the journal; all of it under the lock */

static void touch(uint64_t inode, uint64_t ns, int is_failed) {
    int i = 0;
    while (i < dirty_count && dirty[i].inode != inode) i++;
    if (i == DIRTY_MAX) return; /* too many: the journal is never cut again, and stays right */
    if (i == dirty_count) dirty[dirty_count++].is_failed = 0;
    dirty[i].inode = inode;
    dirty[i].last_ns = ns;
    dirty[i].is_failed |= is_failed;
}

static void note(record_t *record, const char *path, const char *shadow, const void *old) {
    if (journal_fd < 0) {
        snprintf(journal_path, sizeof journal_path, "%.*s/%d.%llx.journal", PATH_MAX - 64, journal, getpid(), (long long)now_ns());
        journal_fd = k_open(AT_FDCWD, journal_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (journal_fd < 0) die(journal_path);
    }
    record->magic = MAGIC;
    if (!record->time_ns) record->time_ns = now_ns();
    record->path_size = strlen(path);
    record->shadow_size = strlen(shadow);
    struct iovec parts[] = {{record, sizeof *record}, {(void *)path, record->path_size}, {(void *)shadow, record->shadow_size},
                            {(void *)old, record->old_bytes}};
    size_t size = sizeof *record + record->path_size + record->shadow_size + record->old_bytes;
    ssize_t written = syscall(SYS_writev, journal_fd, parts, 4);
    if (written != (ssize_t)size) die("the journal cannot be written");
    if (record->kind != SYNC) touch(record->inode, record->time_ns, record->kind == FAILED);
}

static void shadow_name(char *into, uint64_t number) {
    snprintf(into, PATH_MAX, "%.*s/%d.%llu.shadow", PATH_MAX - 64, journal, getpid(), (long long)number);
}

/* All that was noted up to then lasts. */
static void settle(uint64_t inode, uint64_t ns) {
    record_t record = {.kind = SYNC, .inode = inode, .time_ns = ns};
    struct stat found;
    char shadow[PATH_MAX];
    note(&record, "", "", NULL);
    for (int i = 0; i < dirty_count; i++)
        if (dirty[i].inode == inode && dirty[i].last_ns <= ns && !dirty[i].is_failed) dirty[i--] = dirty[--dirty_count];
    if (dirty_count || fstat(journal_fd, &found) < 0 || found.st_size < JOURNAL_KEPT) return;
    if (parent_path[0] && stat(parent_path, &found) == 0 && found.st_size) return; /* our syncs may count for its records */
    for (; shadows_gone < shadows; shadows_gone++) {
        shadow_name(shadow, shadows_gone);
        syscall(SYS_unlinkat, AT_FDCWD, shadow, 0);
    }
    if (k_truncate(journal_fd, 0) < 0) die("the journal cannot be cut");
}

/* Notes that bytes from offset on change, which the file has now. */
static void note_bytes(int kind, int fd, const struct stat *found, uint64_t offset, uint64_t size) {
    record_t record = {.kind = kind, .inode = found->st_ino, .offset = offset, .size = size, .old_size = found->st_size};
    uint64_t end = kind == SIZE ? record.old_size : offset + size;
    void *old = NULL;
    if (end > record.old_size) end = record.old_size;
    if (end > offset) {
        record.old_bytes = end - offset;
        old = malloc(record.old_bytes);
        char name[64];
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd); /* the descriptor itself may not be readable */
        int readable = k_open(AT_FDCWD, name, O_RDONLY | O_CLOEXEC, 0);
        if (!old || readable < 0 || pread(readable, old, record.old_bytes, offset) != (ssize_t)record.old_bytes) die("no old bytes");
        k_close(readable);
    }
    note(&record, "", "", old);
    free(old);
}

static void note_name(int kind, const char *path, const char *shadow) {
    record_t record = {.kind = kind, .inode = parent_inode(kind == RENAME ? shadow : path)};
    note(&record, path, shadow, NULL);
}

/* ---- failures that were asked for */

static int is_due(volatile int64_t *countdown) {
    int64_t left = *countdown;
    if (left <= 0) return 0;
    *countdown = left - 1;
    if (left == 1) control->failures++;
    return left == 1;
}

static ssize_t write_parts(int fd, const struct iovec *parts, int count, int64_t offset) {
    struct stat found;
    if (!is_watched(fd, &found))
        return offset < 0 ? syscall(SYS_writev, fd, parts, count) : syscall(SYS_pwritev, fd, parts, count, offset, 0);
    pthread_mutex_lock(&lock);
    fstat(fd, &found);
    uint64_t size = 0, at = offset;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    if (offset < 0) at = fcntl(fd, F_GETFL) & O_APPEND ? (uint64_t)found.st_size : (uint64_t)lseek(fd, 0, SEEK_CUR);
    note_bytes(WRITE, fd, &found, at, size);
    control->writes++;
    ssize_t done;
    struct iovec half = {parts[0].iov_base, parts[0].iov_len / 2};
    if (is_due(&control->write_countdown)) {
        if (control->failure) {
            pthread_mutex_unlock(&lock);
            errno = control->failure;
            return -1;
        }
        parts = &half;
        count = 1;
    }
    done = offset < 0 ? syscall(SYS_writev, fd, parts, count) : syscall(SYS_pwritev, fd, parts, count, offset, 0);
    int code = errno;
    pthread_mutex_unlock(&lock);
    errno = code;
    return done;
}

static int sync_file(int fd, int call) {
    struct stat found;
    if (!is_watched(fd, &found)) return syscall(call, fd);
    if (control->sync_delay_us) usleep(control->sync_delay_us);
    if (control->is_lying) return 0;
    pthread_mutex_lock(&lock);
    control->syncs++;
    uint64_t ns = now_ns();
    int fails = is_due(&control->sync_countdown);
    if (fails) {
        record_t record = {.kind = FAILED, .inode = found.st_ino};
        note(&record, "", "", NULL);
    }
    pthread_mutex_unlock(&lock);
    if (fails) {
        errno = control->failure ? control->failure : EIO;
        return -1;
    }
    int status = syscall(call, fd);
    int code = errno;
    if (status == 0) {
        pthread_mutex_lock(&lock);
        settle(found.st_ino, ns);
        pthread_mutex_unlock(&lock);
    }
    errno = code;
    return status;
}

static int cut_file(int fd, uint64_t size) {
    struct stat found;
    if (!is_watched(fd, &found)) return k_truncate(fd, size);
    pthread_mutex_lock(&lock);
    fstat(fd, &found);
    note_bytes(SIZE, fd, &found, size, size);
    int status = k_truncate(fd, size), code = errno;
    pthread_mutex_unlock(&lock);
    errno = code;
    return status;
}

/* ---- what the node calls instead of libc */

ssize_t write(int fd, const void *from, size_t size) {
    struct iovec part = {(void *)from, size};
    return write_parts(fd, &part, 1, -1);
}
ssize_t writev(int fd, const struct iovec *parts, int count) { return write_parts(fd, parts, count, -1); }
ssize_t pwrite64(int fd, const void *from, size_t size, off64_t offset) {
    struct iovec part = {(void *)from, size};
    return write_parts(fd, &part, 1, offset);
}
ssize_t pwrite(int fd, const void *from, size_t size, off_t offset) { return pwrite64(fd, from, size, offset); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) { return write_parts(fd, parts, count, offset); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return write_parts(fd, parts, count, offset); }
int fsync(int fd) { return sync_file(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_file(fd, SYS_fdatasync); }
int ftruncate64(int fd, off64_t size) { return cut_file(fd, size); }
int ftruncate(int fd, off_t size) { return cut_file(fd, size); }

int fallocate(int fd, int mode, off_t offset, off_t size) {
    struct stat found;
    if (is_watched(fd, &found)) {
        pthread_mutex_lock(&lock);
        note_bytes(WRITE, fd, &found, offset, size);
        pthread_mutex_unlock(&lock);
    }
    return syscall(SYS_fallocate, fd, mode, offset, size);
}
int fallocate64(int fd, int mode, off64_t offset, off64_t size) { return fallocate(fd, mode, offset, size); }
int posix_fallocate(int fd, off_t offset, off_t size) { return fallocate(fd, 0, offset, size) ? errno : 0; }
int posix_fallocate64(int fd, off64_t offset, off64_t size) { return posix_fallocate(fd, offset, size); }

static int open_file(int dir, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    struct stat found;
    if (!resolve(dir, path, whole)) {
        int fd = k_open(dir, path, flags, mode);
        if (fd >= 0 && fd < FDS) watched[fd] = 0;
        return fd;
    }
    pthread_mutex_lock(&lock);
    if (flags & O_CREAT && lstat(whole, &found) < 0) note_name(CREATE, whole, "");
    int fd = k_open(dir, path, flags & ~O_TRUNC, mode), code = errno;
    if (fd >= FDS) die("too many descriptors");
    if (fd >= 0) watched[fd] = fstat(fd, &found) == 0 ? found.st_ino : 0;
    pthread_mutex_unlock(&lock);
    if (fd >= 0 && flags & O_TRUNC && found.st_size) cut_file(fd, 0);
    errno = code;
    return fd;
}

#define WITH_MODE(name, prototype, last, dir)                          \
    int name prototype {                                               \
        mode_t mode = 0;                                               \
        if (last & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) {           \
            va_list more;                                              \
            va_start(more, last);                                      \
            mode = va_arg(more, mode_t);                               \
            va_end(more);                                              \
        }                                                              \
        return open_file(dir, path, last, mode);                       \
    }
WITH_MODE(open, (const char *path, int flags, ...), flags, AT_FDCWD)
WITH_MODE(open64, (const char *path, int flags, ...), flags, AT_FDCWD)
WITH_MODE(openat, (int dir, const char *path, int flags, ...), flags, dir)
WITH_MODE(openat64, (int dir, const char *path, int flags, ...), flags, dir)
int __open_2(const char *path, int flags) { return open_file(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_file(AT_FDCWD, path, flags, 0); }
int __openat_2(int dir, const char *path, int flags) { return open_file(dir, path, flags, 0); }
int __openat64_2(int dir, const char *path, int flags) { return open_file(dir, path, flags, 0); }
int creat(const char *path, mode_t mode) { return open_file(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int fd) {
    if (fd >= 0 && fd < FDS) watched[fd] = 0;
    return k_close(fd);
}

int mkdirat(int dir, const char *path, mode_t mode) {
    char whole[PATH_MAX];
    struct stat found;
    if (!resolve(dir, path, whole) || lstat(whole, &found) == 0) return syscall(SYS_mkdirat, dir, path, mode);
    pthread_mutex_lock(&lock);
    note_name(CREATE, whole, "");
    int status = syscall(SYS_mkdirat, dir, path, mode), code = errno;
    pthread_mutex_unlock(&lock);
    errno = code;
    return status;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int unlinkat(int dir, const char *path, int flags) {
    char whole[PATH_MAX], shadow[PATH_MAX];
    struct stat found;
    if (!resolve(dir, path, whole) || lstat(whole, &found) < 0 || S_ISDIR(found.st_mode) != !!(flags & AT_REMOVEDIR))
        return syscall(SYS_unlinkat, dir, path, flags);
    pthread_mutex_lock(&lock);
    shadow_name(shadow, shadows++);
    note_name(REMOVE, whole, shadow);
    int status = k_rename(whole, shadow), code = errno;
    pthread_mutex_unlock(&lock);
    errno = code;
    return status;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int remove(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char old[PATH_MAX], new[PATH_MAX], shadow[PATH_MAX];
    struct stat found;
    if (!resolve(to_dir, to, new)) return syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    if (!resolve(from_dir, from, old) || flags) die("a rename that the shim does not know");
    pthread_mutex_lock(&lock);
    if (lstat(new, &found) == 0) { /* the one that is replaced can be had back: as if it were removed first */
        shadow_name(shadow, shadows++);
        note_name(REMOVE, new, shadow);
        if (k_link(new, shadow) < 0) die(shadow);
    }
    note_name(RENAME, old, new);
    int status = k_rename(old, new), code = errno;
    pthread_mutex_unlock(&lock);
    errno = code;
    return status;
}
int renameat(int from_dir, const char *from, int to_dir, const char *to) { return renameat2(from_dir, from, to_dir, to, 0); }
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

/* ---- the clock on the wall */

int clock_gettime(clockid_t clock, struct timespec *into) {
    int status = real_clock_gettime ? real_clock_gettime(clock, into) : (int)syscall(SYS_clock_gettime, clock, into);
    int64_t offset = control->clock_offset_ns;
    if (status == 0 && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t ns = into->tv_nsec + offset % 1000000000;
        into->tv_sec += offset / 1000000000 + (ns >= 1000000000) - (ns < 0);
        into->tv_nsec = ns + (ns < 0) * 1000000000 - (ns >= 1000000000) * 1000000000;
    }
    return status;
}
int gettimeofday(struct timeval *restrict into, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    into->tv_sec = now.tv_sec;
    into->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}

/* ---- the beginning */

static void before_fork(void) { pthread_mutex_lock(&lock); }
static void in_parent(void) { pthread_mutex_unlock(&lock); }
static void in_child(void) {
    if (journal_fd >= 0) k_close(journal_fd);
    strcpy(parent_path, journal_path);
    journal_fd = -1;
    shadows = shadows_gone = 0;
    dirty_count = 0;
    pthread_mutex_unlock(&lock);
}

static const char *given(const char *name) {
    const char *value = getenv(name);
    if (!value || strlen(value) >= PATH_MAX - 64) die(name);
    return value;
}

__attribute__((constructor)) static void begin(void) {
    real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    strcpy(data, given("FASTZK_LOSSY_DATA"));
    strcpy(journal, given("FASTZK_LOSSY_JOURNAL"));
    int fd = k_open(AT_FDCWD, given("FASTZK_LOSSY_CONTROL"), O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) die("FASTZK_LOSSY_CONTROL");
    control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (control == MAP_FAILED) die("FASTZK_LOSSY_CONTROL");
    k_close(fd);
    pthread_atfork(before_fork, in_parent, in_child);
    strcpy(above, data);
    *strrchr(above, '/') = 0;
    data_size = strlen(data);
}
