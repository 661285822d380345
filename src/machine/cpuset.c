/* SPDX-License-Identifier: MIT */
#include "machine/cpuset.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "machine/cgroup.h"
#include "machine/cpulist.h"
#include "machine/cpumask.h"
#include "machine/file.h"

#define NOWHERE SIZE_MAX

/* Where our cpuset was found. Guarded by the scan lock. */
static struct {
	enum kt_cgroup wanted; /* by /proc/self/cgroup; NONE: it does not say, any mount will do */
	char path[PATH_MAX];   /* our cgroup, as the kernel names it; "" unknown */
	enum kt_cgroup kind;   /* NONE: nothing is visible */
	int error;             /* or cannot be seen now, as our path or the mount table could not be read */
	bool real_root;        /* the mount point is the hierarchy's root, as far as the mount table knows */
	size_t top;            /* dir[0..top) is the mount point */
	char dir[PATH_MAX];    /* our directory, below the configured root */
} place;

/* What is read at each look. Guarded by the scan lock. */
static struct {
	struct kt_file cgroup;    /* /proc/self/cgroup */
	struct kt_file effective; /* the list of our cpuset */
	bool effective_is_cpus;   /* v1 before 3.17 has no file of its own for it */
	size_t effective_at;      /* which was in dir[0..effective_at) when last looked for; or NOWHERE */
} kept = {.cgroup = {.fd = -1}, .effective = {.fd = -1}, .effective_at = NOWHERE};

/* Scratch of locate(), too big for a stack of PTHREAD_STACK_MIN. Guarded by the scan lock. */
static struct kt_cgroup_mount mount;
static char path_now[PATH_MAX];

/* ---- finding it ------------------------------------------------------------------------------------------------ */

/* *ret_error: why path_now is empty, if that is for the next look to find out. */
static enum kt_cgroup read_path(char *text, size_t size, int *ret_error)
{
	enum kt_cgroup wanted = KT_CGROUP_NONE;
	ssize_t length = kt_file_read_kept(&kept.cgroup, text, size, "/proc/self/cgroup");

	path_now[0] = '\0';
	*ret_error = length < 0 && !kt_file_settled((int)length) ? (int)length : 0;
	if (length > 0)
		wanted = kt_cgroup_path(text, "cpuset", path_now);
	if (wanted != KT_CGROUP_NONE)
		return wanted;
	/* Kernels that had cpusets before they had cgroups; and recorded trees. */
	length = kt_file_read(text, size, "/proc/self/cpuset");
	if (length < 0 && !kt_file_settled((int)length))
		*ret_error = (int)length;
	if (length > 0)
		kt_cgroup_cpuset_path(text, path_now);
	return wanted;
}

static bool is_wanted(enum kt_cgroup kind)
{
	switch (place.wanted) {
	case KT_CGROUP_NONE:
		/* The controller is in one hierarchy; if a v1 one shows it, it is not in v2. */
		return place.kind == KT_CGROUP_NONE || place.kind == KT_CGROUP_V2 || kind != KT_CGROUP_V2;
	case KT_CGROUP_V2:
		return kind == KT_CGROUP_V2;
	default:
		return kind != KT_CGROUP_V2;
	}
}

/* Take this mount if it shows more of the way up to the root than the best one so far. */
static void consider(size_t *best_root)
{
	const char *below = kt_cgroup_below(mount.root, place.path);
	const bool better_kind = place.kind == KT_CGROUP_V2 && mount.kind != KT_CGROUP_V2;
	size_t top, length;

	if (!below || !is_wanted(mount.kind))
		return;
	if (place.kind != KT_CGROUP_NONE && !better_kind && strlen(mount.root) >= *best_root)
		return;
	top = strlen(mount.point);
	length = strlen(below);
	if (top + length >= sizeof(place.dir))
		return;
	memcpy(place.dir, mount.point, top);
	memcpy(place.dir + top, below, length + 1);
	place.top = top;
	place.kind = mount.kind;
	place.real_root = strcmp(mount.root, "/") == 0;
	*best_root = strlen(mount.root);
}

static bool mountinfo_line(char *line, void *arg)
{
	if (kt_cgroup_mountinfo(line, "cpuset", &mount))
		consider(arg);
	return true;
}

static bool mounts_line(char *line, void *arg)
{
	if (kt_cgroup_mounts(line, "cpuset", &mount))
		consider(arg);
	return true;
}

static bool seen(void)
{
	return place.kind != KT_CGROUP_NONE && kt_file_exists("%s", place.dir);
}

/* The first of the tables that is there. */
static int scan_mounts(char *text, size_t size)
{
	size_t best_root = 0;
	int error = kt_file_lines(text, size, mountinfo_line, &best_root, "/proc/self/mountinfo");

	if (error == -ENOENT)
		error = kt_file_lines(text, size, mounts_line, &best_root, "/proc/self/mounts");
	if (error == -ENOENT)
		error = kt_file_lines(text, size, mounts_line, &best_root, "/proc/mounts");
	return error == -ENOENT ? 0 : error;
}

static bool is_known(enum kt_cgroup wanted)
{
	return wanted == place.wanted && strcmp(path_now, place.path) == 0;
}

static void remember_effective(size_t length)
{
	if (length != kept.effective_at)
		kt_file_close(&kept.effective);
	kept.effective_at = length;
}

void kt_cpuset_locate(char *text, size_t size)
{
	int error;
	const enum kt_cgroup wanted = read_path(text, size, &error);

	if (!path_now[0] && !place.path[0])
		place.error = error;
	/* Unreadable (out of descriptors, say): we are more likely where we were than nowhere. */
	if (!path_now[0] || (is_known(wanted) && seen()))
		return;
	remember_effective(NOWHERE); /* of the former directory */
	place.wanted = wanted;
	place.kind = KT_CGROUP_NONE;
	strcpy(place.path, path_now);
	place.error = scan_mounts(text, size);
	if (place.error)
		place.kind = KT_CGROUP_NONE;
}

void kt_cpuset_forget(void)
{
	place.wanted = KT_CGROUP_NONE;
	place.kind = KT_CGROUP_NONE;
	place.path[0] = '\0';
	place.error = 0;
	remember_effective(NOWHERE);
	kt_file_close(&kept.cgroup);
}

/* ---- reading it ------------------------------------------------------------------------------------------------ */

static const char *cpus_file(void)
{
	return place.kind == KT_CGROUP_OLD ? "cpus" : "cpuset.cpus";
}

static const char *effective_file(void)
{
	switch (place.kind) {
	case KT_CGROUP_V2:
		return "cpuset.cpus.effective";
	case KT_CGROUP_V1:
		return "cpuset.effective_cpus";
	default:
		return "effective_cpus";
	}
}

/* The list in a text of that length, or the error of its reading. */
static int parse_cpus(ssize_t length, const char *text, size_t setsize, cpu_set_t *set)
{
	if (length < 0)
		return length == -ENOTDIR || length == -ENODEV ? -ENOENT : (int)length;
	return kt_cpulist_read(text, setsize * CHAR_BIT, setsize, set);
}

/* A list file in the directory that is the first `length` bytes of ours. */
static int read_cpus(size_t length, const char *name, size_t setsize, cpu_set_t *set, char *text, size_t size)
{
	return parse_cpus(kt_file_read(text, size, "%.*s/%s", (int)length, place.dir, name), text, setsize, set);
}

/* The effective one there. */
static int read_effective_at(size_t length, const struct kt_cpuset_sets *sets, char *text, size_t size)
{
	int error;

	if (length != kept.effective_at)
		error = read_cpus(length, effective_file(), sets->setsize, sets->effective, text, size);
	else
		error = parse_cpus(
		    kt_file_read_kept(&kept.effective, text, size, "%.*s/%s", (int)length, place.dir, effective_file()),
		    text, sets->setsize, sets->effective);
	/* v1 before 3.17 does not tell them apart. */
	kept.effective_is_cpus = error == -ENOENT && place.kind != KT_CGROUP_V2;
	if (kept.effective_is_cpus)
		error = read_cpus(length, cpus_file(), sets->setsize, sets->effective, text, size);
	return error;
}

/* From our directory up: the length of the next one; false above the mount point. */
static bool level_up(size_t *length)
{
	if (*length <= place.top)
		return false;
	while (*length > place.top && place.dir[*length - 1] != '/')
		--*length;
	if (*length > place.top)
		--*length;
	return true;
}

/* From the mount point down: the length of the next directory; false below ours. */
static bool level_down(size_t *length)
{
	if (place.dir[*length] == '\0')
		return false;
	++*length;
	*length += strcspn(place.dir + *length, "/");
	return true;
}

/*
 * Only the root of a v1 hierarchy has a release agent. Where we see the root of our cgroup namespace only, the mount
 * table says "/" as well, and this tells them apart. A recorded tree without `tasks` does not say; it is believed.
 */
static bool v1_root(void)
{
	return place.real_root && (kt_file_exists("%.*s/release_agent", (int)place.top, place.dir) ||
	                           !kt_file_exists("%.*s/tasks", (int)place.top, place.dir));
}

/*
 * Ours, or the nearest ancestor's. A garbled file is passed over: the ancestor's is a bound that holds. The length of
 * the directory that has our cpuset, or NOWHERE.
 */
static size_t read_effective(const struct kt_cpuset_sets *sets, struct kt_cpuset_news *news, char *text, size_t size)
{
	size_t length = strlen(place.dir), ours = NOWHERE;

	do {
		const int error = read_effective_at(length, sets, text, size);

		if (error == -ENOENT)
			continue;
		if (ours == NOWHERE)
			ours = length;
		if (!error) {
			news->visible = true;
			break;
		}
		if (!news->effective_error)
			news->effective_error = error;
	} while (level_up(&length));
	return ours;
}

struct lists {
	bool any; /* of the configured lists are there */
	bool top; /* the mount point's own is */
};

static struct lists read_granted(const struct kt_cpuset_sets *sets, struct kt_cpuset_news *news, char *text,
                                 size_t size)
{
	size_t length = place.top;
	struct lists lists = {false, false};

	kt_cpus_copy(sets->setsize, sets->granted, sets->possible);
	/* v1's root lists the CPUs that are online: it follows the machine and grants everything. */
	if (place.kind != KT_CGROUP_V2 && v1_root() && !level_down(&length))
		return lists;
	do {
		const int error = read_cpus(length, cpus_file(), sets->setsize, sets->work, text, size);

		if (error == -ENOENT)
			continue;
		lists.any = true;
		if (length == place.top)
			lists.top = true;
		if (error && !news->granted_error)
			news->granted_error = error;
		if (!error && kt_cpus_intersect(sets->setsize, sets->granted, sets->work))
			kt_cpus_and(sets->setsize, sets->granted, sets->granted, sets->work);
	} while (level_down(&length));
	return lists;
}

/* No cpuset file is visible: the kernel still says whether ours is the root one, unless a namespace hides it. */
static void read_confined_unseen(struct kt_cpuset_news *news, char *text, size_t size)
{
	const ssize_t length = kt_file_read(text, size, "/proc/self/cpuset");

	if (length < 0 && !kt_file_settled((int)length) && !news->granted_error)
		news->granted_error = (int)length;
	news->confined =
	    kt_cgroup_outside(place.path) || (length > 0 && text[0] == '/' && text[1] != '\n' && text[1] != '\0');
}

static bool confined_by(size_t ours, bool top_has_list)
{
	if (ours > place.top || !place.real_root)
		return true;
	/* v2's root has no list of its own; the root of a namespace has. */
	return place.kind == KT_CGROUP_V2 ? top_has_list : !v1_root();
}

/* Only the root has the file, and only v2's. Garbled, it changes nothing. */
static void read_partitions(const struct kt_cpuset_sets *sets, char *text, size_t size)
{
	int error = -ENOENT;

	if (place.kind == KT_CGROUP_V2)
		error = read_cpus(place.top, "cpuset.cpus.isolated", sets->setsize, sets->work, text, size);
	if (error == -ENOENT)
		kt_cpus_zero(sets->setsize, sets->partitions);
	else if (!error)
		kt_cpus_and(sets->setsize, sets->partitions, sets->possible, sets->work);
}

void kt_cpuset_read(const struct kt_cpuset_sets *sets, char *text, size_t size, struct kt_cpuset_news *news)
{
	struct lists lists;
	size_t ours;

	*news = (struct kt_cpuset_news){.visible = false};
	if (place.kind == KT_CGROUP_NONE) {
		kt_cpus_copy(sets->setsize, sets->granted, sets->possible);
		news->effective_error = place.error;
		news->granted_error = place.error;
		if (!place.error)
			kt_cpus_zero(sets->setsize, sets->partitions);
		read_confined_unseen(news, text, size);
		return;
	}
	lists = read_granted(sets, news, text, size);
	ours = read_effective(sets, news, text, size);
	remember_effective(ours);
	if (news->visible || news->effective_error)
		news->confined = confined_by(ours, lists.top);
	else
		read_confined_unseen(news, text, size);
	/* Recorded trees may have nothing but the result. */
	if (news->visible && news->confined && !lists.any)
		kt_cpus_copy(sets->setsize, sets->granted, sets->effective);
	read_partitions(sets, text, size);
}

bool kt_cpuset_read_effective(const struct kt_cpuset_sets *sets, char *text, size_t size)
{
	struct kt_cpuset_news news = {.visible = false};
	int error;
	const enum kt_cgroup wanted = read_path(text, size, &error);

	if (!path_now[0] || !is_known(wanted) || place.kind == KT_CGROUP_NONE || kept.effective_at == NOWHERE)
		return false;
	return read_effective(sets, &news, text, size) == kept.effective_at && !news.effective_error;
}

void kt_cpuset_source(char effective[PATH_MAX], char partitions[PATH_MAX])
{
	effective[0] = '\0';
	partitions[0] = '\0';
	if (place.kind == KT_CGROUP_NONE)
		return;
	if (kept.effective_at != NOWHERE)
		snprintf(effective, PATH_MAX, "%.*s/%s", (int)kept.effective_at, place.dir,
		         kept.effective_is_cpus ? cpus_file() : effective_file());
	if (place.kind == KT_CGROUP_V2)
		snprintf(partitions, PATH_MAX, "%.*s/cpuset.cpus.isolated", (int)place.top, place.dir);
}

void kt_cpuset_each_file(bool (*fn)(const char *path, void *arg), void *arg)
{
	static char path[PATH_MAX]; /* guarded by the scan lock */
	size_t length = strlen(place.dir);

	if (place.kind == KT_CGROUP_NONE)
		return;
	do {
		if (kt_path(path, "%.*s/%s", (int)length, place.dir, cpus_file()) == 0 && !fn(path, arg))
			return;
	} while (level_up(&length));
}
