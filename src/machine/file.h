/* SPDX-License-Identifier: MIT */
/*
 * The kernel's small text files, all of them below the configured root. The one place of the room that opens
 * files. All functions: any thread while the library starts or is up; none of them allocates.
 */
#ifndef KT_MACHINE_FILE_H
#define KT_MACHINE_FILE_H

#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The root and the formatted path behind it. ERRORS: -ENAMETOOLONG (path is cut). */
int kt_path(char path[PATH_MAX], const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * The whole file into buf, with a NUL behind it. Its length, or
 * ERRORS: -EFBIG it does not fit; -EBADMSG there is a NUL byte in it; -errno of open(2) and read(2). buf is scribbled
 *         on then. A FIFO or the like does not block: it reads as empty.
 * ASSUMPTIONS: size > 1.
 */
ssize_t kt_file_read(char *buf, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same for a file of the application's: the path as it is. */
ssize_t kt_file_read_path(char *buf, size_t size, const char *path);

/*
 * A file of the kernel's that is read time and again. It is kept open: without the way to it a read costs a seventh. fd -1:
 * not open.
 */
struct kt_file {
	int fd;
};

/*
 * kt_file_read() of a file that is the same one as long as it can be read, as with sysfs, proc and cgroups: opened at need,
 * and anew when it cannot be read any more (a cgroup that went, and may have come back). The caller closes it before he
 * reads another path with it. Below a configured root, where files are replaced, nothing is kept.
 */
ssize_t kt_file_read_kept(struct kt_file *file, char *buf, size_t size, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void kt_file_close(struct kt_file *file);

/*
 * Call fn for each line of a file of any length, newline cut off, until it returns false. A line that does not fit into
 * buf, or has a NUL byte in it, is left out. 0, or -errno of open(2) or read(2).
 * ASSUMPTIONS: size > 1; fn does not use buf otherwise.
 */
int kt_file_lines(char *buf, size_t size, bool (*fn)(char *line, void *arg), void *arg, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Write to a file that exists. 0, or -errno of open(2) or write(2). */
int kt_file_write(const char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool kt_file_exists(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* True if an error of kt_file_read(), or of a parser, means "there, but not to be believed", not "not there". */
bool kt_file_garbled(int error);
/* True if an error is an answer, as the next try would tell the same: the file is not there, not ours to read (a sandbox
 * grants some of them), or not to be believed. Any other, out of descriptors say, is for the next look. */
bool kt_file_settled(int error);

#endif
