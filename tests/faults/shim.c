/* Calls of the C library that fail on demand, for files below one folder: preloaded into the commands under test.

   All processes share the control block, a file that the test writes: which call of which kind fails, and with
   what. A call that fails does nothing, but close, which closes the file and then complains, as on NFS. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN, READ, WRITE, CHANGE, CLOSE, LOOK, LIST };

struct control {
    int32_t kind;  /* of the calls that fail */
    int32_t nth;   /* the first that fails, from 1; 0 for none */
    int32_t last;  /* the last that fails */
    int32_t error;
    _Atomic int32_t failed;
    _Atomic int32_t counts[7]; /* calls of each kind */
    char call[32]; /* the first that failed, and its file */
    char file[PATH_MAX];
    char folder[PATH_MAX];
};

static struct control *control;
static char names[1024][512]; /* paths of open files below the folder */

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTS_CONTROL");
    int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int fd = path ? real_open(path, O_RDWR) : -1;
    if (fd < 0) return;
    void *block = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (block != MAP_FAILED) control = block;
    ((int (*)(int))dlsym(RTLD_NEXT, "close"))(fd);
}

static int below(const char *path, char *full) {
    if (!control || !path || !control->folder[0]) return 0;
    if (path[0] == '/') {
        snprintf(full, PATH_MAX, "%s", path);
    } else {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here)) return 0;
        snprintf(full, PATH_MAX, "%.2000s/%.2000s", here, path);
    }
    size_t length = strlen(control->folder);
    return !strncmp(full, control->folder, length) && (full[length] == '/' || !full[length]);
}

static int fails(int kind, const char *call, const char *path) {
    int number = 1 + atomic_fetch_add(&control->counts[kind], 1);
    if (control->kind != kind || !control->nth || number < control->nth || number > control->last) return 0;
    if (!atomic_fetch_add(&control->failed, 1)) {
        snprintf(control->call, sizeof control->call, "%s", call);
        snprintf(control->file, sizeof control->file, "%s", path);
    }
    errno = control->error;
    return 1;
}

static int path_fails(int kind, const char *call, const char *path) {
    char full[PATH_MAX];
    return below(path, full) && fails(kind, call, full);
}

static int file_fails(int kind, const char *call, int fd) {
    return control && fd >= 0 && fd < 1024 && names[fd][0] && fails(kind, call, names[fd]);
}

static int remember(int fd, const char *path) {
    char full[PATH_MAX];
    if (fd >= 0 && fd < 1024) {
        if (below(path, full)) snprintf(names[fd], sizeof names[fd], "%.511s", full);
        else names[fd][0] = 0;
    }
    return fd;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define OPENER(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; va_start(rest, flags); mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; va_end(rest); \
        if (path_fails(OPEN, "open", path)) return -1; \
        return remember(real(path, flags, mode), path); \
    }
OPENER(open)
OPENER(open64)

#define OPENER_AT(name) \
    int name(int at, const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; va_start(rest, flags); mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; va_end(rest); \
        if (at == AT_FDCWD && path_fails(OPEN, "open", path)) return -1; \
        int fd = real(at, path, flags, mode); \
        return at == AT_FDCWD ? remember(fd, path) : fd; \
    }
OPENER_AT(openat)
OPENER_AT(openat64)

#define FOPENER(name) \
    FILE *name(const char *path, const char *mode) { \
        REAL(name); \
        if (path_fails(OPEN, "open", path)) return NULL; \
        FILE *file = real(path, mode); \
        if (file) remember(fileno(file), path); \
        return file; \
    }
FOPENER(fopen)
FOPENER(fopen64)

#define ON_FILE(kind, type, name, parameters, arguments) \
    type name parameters { REAL(name); return file_fails(kind, #name, fd) ? -1 : real arguments; }
ON_FILE(READ, ssize_t, read, (int fd, void *to, size_t size), (fd, to, size))
ON_FILE(READ, ssize_t, pread, (int fd, void *to, size_t size, off_t at), (fd, to, size, at))
ON_FILE(READ, ssize_t, pread64, (int fd, void *to, size_t size, off64_t at), (fd, to, size, at))
ON_FILE(READ, ssize_t, readv, (int fd, const struct iovec *to, int count), (fd, to, count))
ON_FILE(WRITE, ssize_t, write, (int fd, const void *from, size_t size), (fd, from, size))
ON_FILE(WRITE, ssize_t, pwrite, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
ON_FILE(WRITE, ssize_t, pwrite64, (int fd, const void *from, size_t size, off64_t at), (fd, from, size, at))
ON_FILE(WRITE, ssize_t, writev, (int fd, const struct iovec *from, int count), (fd, from, count))
ON_FILE(WRITE, int, ftruncate, (int fd, off_t size), (fd, size))
ON_FILE(WRITE, int, ftruncate64, (int fd, off64_t size), (fd, size))
ON_FILE(WRITE, int, fsync, (int fd), (fd))
ON_FILE(WRITE, int, fdatasync, (int fd), (fd))
ON_FILE(LOOK, int, fstat, (int fd, struct stat *about), (fd, about))
ON_FILE(LOOK, int, fstat64, (int fd, struct stat64 *about), (fd, about))

int posix_fallocate(int fd, off_t at, off_t size) {
    REAL(posix_fallocate);
    return file_fails(WRITE, "posix_fallocate", fd) ? errno : real(fd, at, size);
}

int posix_fallocate64(int fd, off64_t at, off64_t size) {
    REAL(posix_fallocate64);
    return file_fails(WRITE, "posix_fallocate", fd) ? errno : real(fd, at, size);
}

void *mmap(void *place, size_t size, int protection, int flags, int fd, off_t at) {
    REAL(mmap);
    return file_fails(READ, "mmap", fd) ? MAP_FAILED : real(place, size, protection, flags, fd, at);
}

void *mmap64(void *place, size_t size, int protection, int flags, int fd, off64_t at) {
    REAL(mmap64);
    return file_fails(READ, "mmap", fd) ? MAP_FAILED : real(place, size, protection, flags, fd, at);
}

int close(int fd) {
    REAL(close);
    int bad = file_fails(CLOSE, "close", fd), error = errno;
    if (fd >= 0 && fd < 1024) names[fd][0] = 0;
    int result = real(fd);
    if (bad) errno = error;
    return bad ? -1 : result;
}

int fclose(FILE *file) {
    REAL(fclose);
    int fd = fileno(file), bad = file_fails(CLOSE, "close", fd), error = errno;
    if (fd >= 0 && fd < 1024) names[fd][0] = 0;
    int result = real(file);
    if (bad) errno = error;
    return bad ? EOF : result;
}

#define ON_PATH(kind, name, parameters, arguments) \
    int name parameters { REAL(name); return path_fails(kind, #name, path) ? -1 : real arguments; }
ON_PATH(CHANGE, rename, (const char *path, const char *to), (path, to))
ON_PATH(CHANGE, renameat, (int at, const char *path, int to_at, const char *to), (at, path, to_at, to))
ON_PATH(CHANGE, link, (const char *path, const char *to), (path, to))
ON_PATH(CHANGE, linkat, (int at, const char *path, int to_at, const char *to, int flags), (at, path, to_at, to, flags))
ON_PATH(CHANGE, unlink, (const char *path), (path))
ON_PATH(CHANGE, unlinkat, (int at, const char *path, int flags), (at, path, flags))
ON_PATH(CHANGE, mkdir, (const char *path, mode_t mode), (path, mode))
ON_PATH(CHANGE, rmdir, (const char *path), (path))
ON_PATH(CHANGE, utimensat, (int at, const char *path, const struct timespec times[2], int flags), (at, path, times, flags))
ON_PATH(LOOK, stat, (const char *path, struct stat *about), (path, about))
ON_PATH(LOOK, stat64, (const char *path, struct stat64 *about), (path, about))
ON_PATH(LOOK, lstat, (const char *path, struct stat *about), (path, about))
ON_PATH(LOOK, lstat64, (const char *path, struct stat64 *about), (path, about))
ON_PATH(LOOK, fstatat, (int at, const char *path, struct stat *about, int flags), (at, path, about, flags))
ON_PATH(LOOK, access, (const char *path, int mode), (path, mode))

DIR *opendir(const char *path) {
    REAL(opendir);
    return path_fails(LIST, "opendir", path) ? NULL : real(path);
}
