/* SPDX-License-Identifier: MIT */
#include "machine/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/library.h"

static int build_path(char path[PATH_MAX], const char *format, va_list args)
{
	const int prefix = snprintf(path, PATH_MAX, "%s", kt_config()->root);
	int length;

	if (prefix < 0 || prefix >= PATH_MAX)
		return -ENAMETOOLONG;
	length = vsnprintf(path + prefix, (size_t)(PATH_MAX - prefix), format, args);
	return length < 0 || length >= PATH_MAX - prefix ? -ENAMETOOLONG : 0;
}

int kt_path(char path[PATH_MAX], const char *format, ...)
{
	va_list args;
	int error;

	va_start(args, format);
	error = build_path(path, format, args);
	va_end(args);
	return error;
}

static int open_path(int flags, const char *path)
{
	int fd;

	do {
		fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	} while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

static int open_below_root(int flags, const char *format, va_list args)
{
	char path[PATH_MAX];
	const int error = build_path(path, format, args);

	return error ? error : open_path(flags, path);
}

static ssize_t read_some(int fd, char *buf, size_t size)
{
	ssize_t got;

	do {
		got = read(fd, buf, size);
	} while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

/* What has been read of a whole file: length bytes, of as many as fit. */
static ssize_t as_text(char *buf, size_t length, size_t size)
{
	if (length == size)
		return -EFBIG;
	buf[length] = '\0';
	return memchr(buf, '\0', length) ? -EBADMSG : (ssize_t)length;
}

/* Closes it. fd < 0 is an error, and handed on. */
static ssize_t read_whole(int fd, char *buf, size_t size)
{
	size_t length = 0;
	ssize_t got = 0;

	if (fd < 0)
		return fd;
	while (length < size) {
		got = read_some(fd, buf + length, size - length);
		if (got <= 0)
			break;
		length += (size_t)got;
	}
	close(fd);
	return got < 0 ? got : as_text(buf, length, size);
}

ssize_t kt_file_read(char *buf, size_t size, const char *format, ...)
{
	va_list args;
	int fd;

	va_start(args, format);
	fd = open_below_root(O_RDONLY, format, args);
	va_end(args);
	return read_whole(fd, buf, size);
}

/* From its beginning, for which the kernel makes its text anew; *ret_length bytes. */
static int reread(int fd, char *buf, size_t size, size_t *ret_length)
{
	ssize_t got;

	*ret_length = 0;
	do {
		got = pread(fd, buf + *ret_length, size - *ret_length, (off_t)*ret_length);
		if (got > 0)
			*ret_length += (size_t)got;
	} while ((got > 0 && *ret_length < size) || (got < 0 && errno == EINTR));
	return got < 0 ? -errno : 0;
}

ssize_t kt_file_read_kept(struct kt_file *file, char *buf, size_t size, const char *format, ...)
{
	size_t length;
	va_list args;
	int fd;

	if (file->fd >= 0 && reread(file->fd, buf, size, &length) == 0)
		return as_text(buf, length, size);
	kt_file_close(file);
	va_start(args, format);
	fd = open_below_root(O_RDONLY, format, args);
	va_end(args);
	if (fd < 0 || kt_config()->root[0] || reread(fd, buf, size, &length) != 0) /* a sandbox may know read(2) only */
		return read_whole(fd, buf, size);
	file->fd = fd;
	return as_text(buf, length, size);
}

void kt_file_close(struct kt_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
}

ssize_t kt_file_read_path(char *buf, size_t size, const char *path)
{
	return read_whole(open_path(O_RDONLY, path), buf, size);
}

/* Hand out the whole lines of buf[0..length); what is left is moved to the front. The rest's length; -1: fn is done. */
static ssize_t hand_out(char *buf, size_t length, bool (*fn)(char *line, void *arg), void *arg, bool *skipping)
{
	char *line = buf, *end;

	while ((end = memchr(line, '\n', length - (size_t)(line - buf)))) {
		const bool whole = !*skipping && !memchr(line, '\0', (size_t)(end - line));

		*end = '\0';
		*skipping = false;
		if (whole && !fn(line, arg))
			return -1;
		line = end + 1;
	}
	length -= (size_t)(line - buf);
	memmove(buf, line, length);
	return (ssize_t)length;
}

int kt_file_lines(char *buf, size_t size, bool (*fn)(char *line, void *arg), void *arg, const char *format, ...)
{
	bool skipping = false; /* the rest of a line that was too long */
	ssize_t left = 0, got;
	va_list args;
	int fd;

	va_start(args, format);
	fd = open_below_root(O_RDONLY, format, args);
	va_end(args);
	if (fd < 0)
		return fd;
	while ((got = read_some(fd, buf + left, size - 1 - (size_t)left)) > 0) {
		left = hand_out(buf, (size_t)(left + got), fn, arg, &skipping);
		if (left < 0)
			break;
		if ((size_t)left == size - 1) {
			skipping = true;
			left = 0;
		}
	}
	close(fd);
	if (got == 0 && left > 0) { /* no newline at the end of the file */
		buf[left] = '\n';
		hand_out(buf, (size_t)left + 1, fn, arg, &skipping);
	}
	return got < 0 ? (int)got : 0;
}

int kt_file_write(const char *text, const char *format, ...)
{
	const size_t length = strlen(text);
	ssize_t written;
	va_list args;
	int error = 0;
	int fd;

	va_start(args, format);
	fd = open_below_root(O_WRONLY, format, args);
	va_end(args);
	if (fd < 0)
		return fd;
	do {
		written = write(fd, text, length);
	} while (written < 0 && errno == EINTR);
	if (written != (ssize_t)length)
		error = written < 0 ? -errno : -EIO;
	close(fd);
	return error;
}

bool kt_file_exists(const char *format, ...)
{
	char path[PATH_MAX];
	struct stat about;
	va_list args;
	int error;

	va_start(args, format);
	error = build_path(path, format, args);
	va_end(args);
	return !error && stat(path, &about) == 0; /* not access(2): that asks for the real user */
}

bool kt_file_settled(int error)
{
	return error == -ENOENT || error == -ENOTDIR || error == -EACCES || error == -EPERM || kt_file_garbled(error);
}

bool kt_file_garbled(int error)
{
	return error == -EFBIG || error == -EBADMSG || error == -EINVAL || error == -ERANGE || error == -EOVERFLOW;
}
