/* SPDX-License-Identifier: MIT */
#include "machine/quota.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "machine/cgroup.h"
#include "machine/file.h"

/* Where our cpu controller was found. Guarded by the scan lock. */
static struct {
	enum kt_cgroup wanted; /* by /proc/self/cgroup */
	char path[PATH_MAX];   /* our cgroup, as the kernel names it; "" unknown */
	bool found;
	size_t top;         /* dir[0..top) is the mount point */
	char dir[PATH_MAX]; /* our directory, below the configured root */
} place;

/* Scratch, too big for a stack of PTHREAD_STACK_MIN. Guarded by the scan lock. */
static struct kt_cgroup_mount mount;
static char path_now[PATH_MAX];

/* Take this mount if it shows more of the way up to the root than the best one so far. */
static bool consider(char *line, void *arg)
{
	size_t *best_root = arg;
	const char *below;

	if (!kt_cgroup_mountinfo(line, "cpu", &mount) || mount.kind != place.wanted)
		return true;
	below = kt_cgroup_below(mount.root, place.path);
	if (!below || strlen(mount.root) >= *best_root || strlen(mount.point) + strlen(below) >= sizeof(place.dir))
		return true;
	*best_root = strlen(mount.root);
	place.top = strlen(mount.point);
	strcpy(place.dir, mount.point);
	strcat(place.dir, below);
	place.found = true;
	return true;
}

/* Of what cannot be seen nothing is known: 0 then, too. */
static int locate(char *text, size_t size)
{
	enum kt_cgroup wanted;
	size_t best_root = SIZE_MAX;
	const ssize_t length = kt_file_read(text, size, "/proc/self/cgroup");
	int error;

	if (length < 0)
		return kt_file_settled((int)length) ? 0 : (int)length;
	wanted = kt_cgroup_path(text, "cpu", path_now);
	if (wanted == KT_CGROUP_NONE) {
		kt_quota_forget();
		return 0;
	}
	if (place.found && wanted == place.wanted && strcmp(path_now, place.path) == 0 &&
	    kt_file_exists("%s", place.dir))
		return 0;
	place.wanted = wanted;
	place.found = false;
	strcpy(place.path, path_now);
	error = kt_file_lines(text, size, consider, &best_root, "/proc/self/mountinfo");
	return kt_file_settled(error) ? 0 : error;
}

/* What one level grants; 0 also if it does not say. */
static int read_level(size_t length, char *text, size_t size, unsigned int *ret_cpus)
{
	const bool v2 = place.wanted == KT_CGROUP_V2;
	const size_t half = size / 2;
	ssize_t got = kt_file_read(text, half, v2 ? "%.*s/cpu.max" : "%.*s/cpu.cfs_quota_us", (int)length, place.dir);

	*ret_cpus = 0;
	if (got >= 0 && !v2)
		got = kt_file_read(text + half, half, "%.*s/cpu.cfs_period_us", (int)length, place.dir);
	if (got < 0)
		return kt_file_settled((int)got) ? 0 : (int)got;
	if ((v2 ? kt_cgroup_max(text, ret_cpus) : kt_cgroup_cfs(text, text + half, ret_cpus)) != 0)
		*ret_cpus = 0;
	return 0;
}

int kt_quota_read(char *text, size_t size, unsigned int *ret_cpus)
{
	unsigned int least = 0;
	size_t length;
	int error = locate(text, size);

	if (error)
		return error;
	length = place.found ? strlen(place.dir) : 0;
	while (place.found) {
		unsigned int cpus;

		error = read_level(length, text, size, &cpus);
		if (error)
			return error;
		if (cpus && (!least || cpus < least))
			least = cpus;
		if (length <= place.top)
			break;
		while (length > place.top && place.dir[--length] != '/')
			continue;
	}
	*ret_cpus = least;
	return 0;
}

void kt_quota_forget(void)
{
	place.found = false;
	place.wanted = KT_CGROUP_NONE;
	place.path[0] = '\0';
}
