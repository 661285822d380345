/* SPDX-License-Identifier: MIT */
/*
 * What the kernel says about a thread of this process. Always the real /proc: these are real threads, also when the
 * machine is a recorded one.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine/cpulist.h"
#include "placement/placement.h"

#define TASK_FILE_MAX 16384 /* status of a 4096-CPU machine: the mask in hex and as a list, and some 2 KiB */

/* The whole file, NUL-terminated; to be freed. NULL and errno. */
static char *read_task_file(pid_t tid, const char *name)
{
	char *text = malloc(TASK_FILE_MAX);
	size_t have = 0;
	ssize_t got = 0;
	int cancel_state;
	char path[64];
	int fd;

	if (!text)
		return NULL;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", (int)tid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		while (have < TASK_FILE_MAX - 1 &&
		       ((got = read(fd, text + have, TASK_FILE_MAX - 1 - have)) > 0 || (got < 0 && errno == EINTR)))
			have += got > 0 ? (size_t)got : 0;
		close(fd);
	}
	pthread_setcancelstate(cancel_state, NULL);
	if (fd < 0 || got < 0) {
		free(text);
		errno = errno == ENOENT ? ESRCH : errno;
		return NULL;
	}
	text[have] = '\0';
	return text;
}

int kt_actual_mask(pid_t tid, size_t setsize, cpu_set_t *set)
{
	static const char field[] = "\nCpus_allowed_list:";
	char *text = read_task_file(tid, "status");
	const char *list;
	int error = -EIO;

	if (!text)
		return -errno;
	list = strstr(text, field);
	if (list)
		error = kt_cpulist_read(list + sizeof(field) - 1, setsize * CHAR_BIT, setsize, set);
	free(text);
	return error;
}

int kt_thread_start_time(pid_t tid, uint64_t *ret)
{
	char *text = read_task_file(tid, "stat");
	const char *field;
	int error = -EIO;
	char *end;

	if (!text)
		return -errno;
	field = strrchr(text, ')'); /* comm, field 2, may hold anything */
	for (int number = 3; field && number <= 22; number++) {
		field = strchr(field + 1, ' ');
		if (field && number == 22) {
			*ret = strtoull(field, &end, 10);
			error = end > field ? 0 : -EIO;
		}
	}
	free(text);
	return error;
}
