/* SPDX-License-Identifier: MIT */
/*
 * What the kernel says about a thread of this process. Always the real /proc: these are real threads, also when the
 * machine is a recorded one.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine/cpulist.h"
#include "machine/start_mask.h"
#include "placement/placement.h"

#define STAT_MAX 4096 /* 52 numbers and a name */

/* -ESRCH is said of a thread only; without a /proc nothing is known of it. */
static int open_task_file(pid_t tid, const char *name)
{
	char path[64];
	int error;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", (int)tid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	error = errno;
	if (error == ENOENT && tgkill(getpid(), tid, 0) != 0 && errno == ESRCH)
		error = ESRCH;
	return -error;
}

int kt_actual_mask(pid_t tid, size_t setsize, cpu_set_t *set)
{
	const size_t size = KT_START_LIST + setsize * CHAR_BIT * 3; /* every other CPU of 65536: six bytes each */
	char *list = malloc(size);
	int cancel_state;
	int error;
	int fd;

	if (!list)
		return -ENOMEM;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	fd = open_task_file(tid, "status");
	error = fd < 0 ? fd : kt_status_cpus(fd, list, size);
	if (fd >= 0)
		close(fd);
	pthread_setcancelstate(cancel_state, NULL);
	if (!error && kt_cpulist_read(list, setsize * CHAR_BIT, setsize, set) != 0)
		error = -EIO;
	free(list);
	return error;
}

/* The whole file, NUL-terminated. 0 or -errno. */
static int read_stat(pid_t tid, char text[STAT_MAX])
{
	size_t have = 0;
	ssize_t got = 0;
	int cancel_state;
	int error = 0;
	int fd;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	fd = open_task_file(tid, "stat");
	if (fd < 0)
		error = fd;
	while (!error && have < STAT_MAX - 1 && (got = read(fd, text + have, STAT_MAX - 1 - have)) != 0) {
		if (got > 0)
			have += (size_t)got;
		else if (errno != EINTR)
			error = -errno;
	}
	if (fd >= 0)
		close(fd);
	pthread_setcancelstate(cancel_state, NULL);
	text[have] = '\0';
	return error;
}

static int stat_field(pid_t tid, int wanted, uint64_t *ret)
{
	char text[STAT_MAX];
	const char *field;
	int error = read_stat(tid, text);
	char *end;

	if (error)
		return error;
	error = -EIO;
	field = strrchr(text, ')'); /* comm, field 2, may hold anything */
	for (int number = 3; field && number <= wanted; number++) {
		field = strchr(field + 1, ' ');
		if (field && number == wanted) {
			*ret = strtoull(field, &end, 10);
			error = end > field ? 0 : -EIO;
		}
	}
	return error;
}

int kt_thread_start_time(pid_t tid, uint64_t *ret)
{
	return stat_field(tid, 22, ret);
}

int kt_thread_last_cpu(pid_t tid, uint64_t *ret)
{
	return stat_field(tid, 39, ret);
}
