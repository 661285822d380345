/* SPDX-License-Identifier: MIT */
/*
 * The parsers of /proc/self/cgroup, /proc/self/cpuset, the mount tables and cpu.max, over the same text; and the way from any
 * mount root found in it to any path found in it, which must not climb.
 */
#include <string.h>

#include "fuzz.h"
#include "machine/cgroup.h"

static char path[PATH_MAX];

static void check_below(const char *root)
{
	const char *below = kt_cgroup_below(root, path);

	if (!below)
		return;
	FUZZ_CHECK(below[0] == '\0' || below[0] == '/');
	FUZZ_CHECK(!strstr(below, "/../"));
	FUZZ_CHECK(strlen(below) < 3 || strcmp(below + strlen(below) - 3, "/..") != 0);
}

/* No limit is 0, and a limit is not. */
static void check_quota(const char *text)
{
	unsigned int cpus = 77;

	if (kt_cgroup_max(text, &cpus) == 0)
		FUZZ_CHECK((cpus == 0) == (strncmp(text, "max", 3) == 0));
	else
		FUZZ_CHECK(cpus == 77);
	cpus = 77;
	if (kt_cgroup_cfs(text, "100000", &cpus) == 0)
		FUZZ_CHECK((cpus == 0) == (text[0] == '-'));
	else
		FUZZ_CHECK(cpus == 77);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kt_cgroup_mount mount;
	char *text = malloc(size + 1);

	FUZZ_CHECK(text);
	memcpy(text, data, size);
	text[size] = '\0';
	strcpy(path, "/");
	if (kt_cgroup_path(text, "cpuset", path) == KT_CGROUP_NONE)
		FUZZ_CHECK(strcmp(path, "/") == 0);
	FUZZ_CHECK(path[0] == '/' && strlen(path) < PATH_MAX);
	kt_cgroup_outside(path);
	for (char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		char *single = strndup(line, strcspn(line, "\n")); /* of this size exactly */

		FUZZ_CHECK(single);
		if (kt_cgroup_mountinfo(single, "cpuset", &mount)) {
			FUZZ_CHECK(mount.kind != KT_CGROUP_NONE);
			FUZZ_CHECK(mount.root[0] == '/');
			FUZZ_CHECK(mount.point[0] == '/' || mount.point[0] == '\0');
			check_below(mount.root);
		}
		if (kt_cgroup_mounts(single, "cpuset", &mount))
			check_below(mount.root);
		if (kt_cgroup_cpuset_path(single, path))
			check_below("/");
		check_quota(single);
		free(single);
	}
	free(text);
	return 0;
}
