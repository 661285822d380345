/* SPDX-License-Identifier: MIT */
/*
 * psum: the checksum of a large file, by ranges: the sum of (position + 1) * byte, modulo 2^64. A range's part does not
 * depend on the others', so they can be added in any order, and the result is exact.
 *
 * usage: psum [--threads N] FILE...
 *
 * A progress bar is drawn if standard error is a terminal. Exit status 1: the first error of a file is reported.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <kthread/kthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEAST ((size_t)1 << 20)
#define BUFFER ((size_t)64 << 10)

struct file {
	int fd;
	atomic_uint_fast64_t sum;
};

static uint64_t sum_of(const unsigned char *bytes, size_t count, uint64_t position)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += bytes[i] * (position + i + 1);
	return sum;
}

/* Positions in the file are what ktask hands out: no address is behind them. */
static int sum_range(void *start, void *end, void *arg)
{
	struct file *file = arg;
	unsigned char buffer[BUFFER];
	uint64_t sum = 0;

	for (uint64_t at = (uintptr_t)start; at < (uintptr_t)end;) {
		const uint64_t left = (uintptr_t)end - at;
		const ssize_t got = pread(file->fd, buffer, left < BUFFER ? left : BUFFER, (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -ENODATA; /* it has become shorter meanwhile */
		sum += sum_of(buffer, (size_t)got, at);
		at += (uint64_t)got;
	}
	atomic_fetch_add_explicit(&file->sum, sum, memory_order_relaxed); /* ktask_run() orders it before its return */
	return 0;
}

static void draw(size_t done, size_t total, void *arg)
{
	const int width = 40, full = (int)((double)done / (double)total * width);
	int *drawn = arg;

	if (full == *drawn)
		return;
	*drawn = full;
	fprintf(stderr, "\r[%-*.*s] %3d %%", width, full, "########################################",
	        (int)((double)done / (double)total * 100));
	if (done == total)
		fprintf(stderr, "\r%*s\r", width + 10, "");
}

static int sum_file(const char *name, size_t threads)
{
	struct file file = {.fd = open(name, O_RDONLY | O_CLOEXEC)};
	DEFINE_KTASK_CTL(ctl, sum_range, &file, LEAST);
	struct stat about;
	int drawn = -1, error = 0;

	if (file.fd < 0 || fstat(file.fd, &about) != 0)
		error = -errno;
	else if (!S_ISREG(about.st_mode) || (uintmax_t)about.st_size > SIZE_MAX)
		error = -EINVAL;
	ktask_ctl_set_max_threads(&ctl, threads);
	if (isatty(STDERR_FILENO))
		ktask_ctl_set_progress(&ctl, draw, &drawn);
	if (!error)
		error = ktask_run(NULL, (size_t)about.st_size, &ctl);
	if (file.fd >= 0)
		close(file.fd);
	if (error)
		fprintf(stderr, "%spsum: %s: %s\n", drawn >= 0 ? "\n" : "", name, strerror(-error));
	else
		printf("%016" PRIx64 "  %s\n", (uint64_t)atomic_load(&file.sum), name);
	return error;
}

int main(int argc, char **argv)
{
	size_t threads = 0;
	int first = 1, failed = 0;

	if (argc > 2 && strcmp(argv[1], "--threads") == 0) {
		threads = (size_t)strtoul(argv[2], NULL, 10);
		first = 3;
	}
	if (first >= argc) {
		fprintf(stderr, "usage: psum [--threads N] FILE...\n");
		return 2;
	}
	for (int i = first; i < argc; i++)
		failed |= sum_file(argv[i], threads) != 0;
	return failed;
}
