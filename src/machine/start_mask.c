/* SPDX-License-Identifier: MIT */
#include "machine/start_mask.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/library.h"
#include "machine/cpulist.h"
#include "machine/file.h"

#define FIELD "Cpus_allowed_list:"

/*
 * From /proc, not by sched_getaffinity(): that one leaves out CPUs that are offline now, and a taskset may name them.
 * Kept as text; the constructor runs in programs that never use the library, and shall cost them next to nothing.
 */
static char recorded[KT_START_LIST];

/* The lines before it may be of any length (Groups:), so it is looked for piece by piece; the end of a piece is kept, as
 * the name may be cut there. */
int kt_status_cpus(int fd, char *list, size_t size)
{
	size_t length = 0;
	ssize_t got;

	while ((got = read(fd, list + length, size - 1 - length)) != 0) {
		char *field, *end;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		length += (size_t)got;
		list[length] = '\0';
		field = strstr(list, "\n" FIELD);
		if (field) {
			end = strchr(field + 1, '\n');
			if (end) {
				*end = '\0';
				field += sizeof("\n" FIELD) - 1;
				memmove(list, field, (size_t)(end - field) + 1);
				return 0;
			}
		} else if (length > sizeof(FIELD)) {
			field = list + length - sizeof(FIELD);
		} else {
			continue;
		}
		length -= (size_t)(field - list);
		memmove(list, field, length);
		if (length == size - 1)
			return -EIO;
	}
	return -EIO;
}

/*
 * Before main(), so before anybody can have pinned a thread; later it would be our own pin that we took for the limit.
 * If the library came in by dlopen(), this is the main thread's mask of that moment: there is none better to be had.
 */
__attribute__((constructor)) static void record_start_mask(void)
{
	const int saved = errno;
	const int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (kt_status_cpus(fd, recorded, sizeof(recorded)) != 0)
			recorded[0] = '\0';
		close(fd);
	}
	errno = saved;
}

static bool status_line(char *line, void *arg)
{
	char **list = arg;

	if (strncmp(line, FIELD, sizeof(FIELD) - 1) != 0)
		return true;
	*list = line + sizeof(FIELD) - 1;
	return false;
}

int kt_start_mask(char *text, size_t size, size_t setsize, cpu_set_t *set)
{
	char *list = recorded;

	if (kt_config()->root[0]) {
		list = NULL;
		if (kt_file_lines(text, size, status_line, &list, "/proc/self/status") != 0)
			return -ENOENT;
	}
	if (!list || !list[0])
		return -ENOENT;
	return kt_cpulist_read(list, setsize * CHAR_BIT, setsize, set);
}
