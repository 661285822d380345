/* SPDX-License-Identifier: MIT */
/*
 * Watching the files through which our cpuset is configured. The kernel tells inotify of writes to them (by anybody),
 * while nothing tells of a change of the effective list.
 */
#include <errno.h>
#include <limits.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/library.h"
#include "machine/cpuset.h"
#include "machine/events.h"
#include "machine/file.h"
#include "machine/scan.h"

/* Levels of cgroups that are watched, ours first. What is above is left to the poll. */
#define WATCHES 64

/* The rest for a recorded machine, whose files may be replaced or go. */
#define EVENTS (IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF)

/* Guarded by the scan lock. There is one watch at a time: the monitor's. */
static struct {
	int wd[WATCHES];
	int count;
} watched;

struct renewal {
	int fd;
	int wd[WATCHES];
	int count;
	int error; /* the first one */
};

int kt_cpuset_watch_open(void)
{
	const int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	if (fd < 0)
		return -errno;
	kt_scan_lock();
	watched.count = 0;
	kt_scan_unlock();
	return fd;
}

static bool has(const int *wd, int count, int wanted)
{
	for (int i = 0; i < count; i++) {
		if (wd[i] == wanted)
			return true;
	}
	return false;
}

/* A file that is watched already gives the same descriptor again. */
static bool watch_file(const char *path, void *arg)
{
	struct renewal *renewal = arg;
	const int wd = inotify_add_watch(renewal->fd, path, EVENTS);

	if (wd >= 0)
		renewal->wd[renewal->count++] = wd;
	else if (errno != ENOENT && errno != ENOTDIR && !renewal->error)
		renewal->error = -errno;
	return renewal->count < WATCHES;
}

/*
 * What was written between the look that led here and the new watch has made no event. So make one: a watch that is
 * removed leaves IN_IGNORED behind, for which the monitor looks once more.
 */
static void ask_for_another_look(int fd)
{
	const int wd = inotify_add_watch(fd, "/", IN_DELETE_SELF);

	if (wd >= 0)
		inotify_rm_watch(fd, wd);
}

int kt_cpuset_watch_renew(int fd)
{
	struct renewal renewal = {.fd = fd};
	bool new_ones = false;

	kt_scan_lock();
	kt_cpuset_each_file(watch_file, &renewal);
	/* No uevent will ever tell of a recorded machine, but somebody may edit it. */
	if (kt_config()->root[0] && renewal.count < WATCHES) {
		char path[PATH_MAX];

		if (kt_path(path, "/sys/devices/system/cpu/online") == 0)
			watch_file(path, &renewal);
	}
	for (int i = 0; i < renewal.count; i++)
		new_ones = new_ones || !has(watched.wd, watched.count, renewal.wd[i]);
	for (int i = 0; i < watched.count; i++) {
		if (!has(renewal.wd, renewal.count, watched.wd[i]))
			inotify_rm_watch(fd, watched.wd[i]); /* fails if its file went: then it is gone already */
	}
	for (int i = 0; i < renewal.count; i++)
		watched.wd[i] = renewal.wd[i];
	watched.count = renewal.count;
	if (new_ones)
		ask_for_another_look(fd);
	kt_scan_unlock();
	return renewal.error;
}

bool kt_cpuset_watch_drain(int fd)
{
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool any = false;
	ssize_t got;

	while ((got = read(fd, events, sizeof(events))) > 0 || (got < 0 && errno == EINTR))
		any = any || got > 0;
	return any;
}
