/* SPDX-License-Identifier: MIT */
/*
 * The parsers of /proc/self/cgroup, /proc/self/cpuset and the mount tables, over the same text; and the way from any
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kt_cgroup_mount mount;
	char *text = malloc(size + 1);

	FUZZ_CHECK(text);
	memcpy(text, data, size);
	text[size] = '\0';
	strcpy(path, "/");
	if (kt_cgroup_path(text, path) == KT_CGROUP_NONE)
		FUZZ_CHECK(strcmp(path, "/") == 0);
	FUZZ_CHECK(path[0] == '/' && strlen(path) < PATH_MAX);
	kt_cgroup_outside(path);
	for (char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		char *single = strndup(line, strcspn(line, "\n")); /* of this size exactly */

		FUZZ_CHECK(single);
		if (kt_cgroup_mountinfo(single, &mount)) {
			FUZZ_CHECK(mount.kind != KT_CGROUP_NONE);
			FUZZ_CHECK(mount.root[0] == '/');
			FUZZ_CHECK(mount.point[0] == '/' || mount.point[0] == '\0');
			check_below(mount.root);
		}
		if (kt_cgroup_mounts(single, &mount))
			check_below(mount.root);
		if (kt_cgroup_cpuset_path(single, path))
			check_below("/");
		free(single);
	}
	free(text);
	return 0;
}
