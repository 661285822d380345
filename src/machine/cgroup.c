/* SPDX-License-Identifier: MIT */
#include "machine/cgroup.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

/* Is `word` one of the comma separated words of text[0..length)? */
static bool has_word(const char *text, size_t length, const char *word)
{
	const size_t size = strlen(word);

	while (length >= size) {
		const char *comma = memchr(text, ',', length);
		const size_t part = comma ? (size_t)(comma - text) : length;

		if (part == size && memcmp(text, word, size) == 0)
			return true;
		if (!comma)
			return false;
		text = comma + 1;
		length -= part + 1;
	}
	return false;
}

static bool copy_path(const char *text, size_t length, char path[PATH_MAX])
{
	if (length == 0 || length >= PATH_MAX || text[0] != '/')
		return false;
	memcpy(path, text, length);
	path[length] = '\0';
	return true;
}

/* "ID:CONTROLLERS:PATH" with the first two colons found; the path may have more. */
static enum kt_cgroup cgroup_line(const char *line, size_t length, const char *controller, const char **path)
{
	const char *const end = line + length;
	const char *const first = memchr(line, ':', length);
	const char *second;

	if (!first)
		return KT_CGROUP_NONE;
	second = memchr(first + 1, ':', (size_t)(end - first - 1));
	if (!second)
		return KT_CGROUP_NONE;
	*path = second + 1;
	if (first - line == 1 && line[0] == '0' && second == first + 1)
		return KT_CGROUP_V2;
	return has_word(first + 1, (size_t)(second - first - 1), controller) ? KT_CGROUP_V1 : KT_CGROUP_NONE;
}

enum kt_cgroup kt_cgroup_path(const char *text, const char *controller, char path[PATH_MAX])
{
	enum kt_cgroup found = KT_CGROUP_NONE;

	while (*text && found != KT_CGROUP_V1) {
		const size_t length = strcspn(text, "\n");
		const char *start = NULL;
		const enum kt_cgroup kind = cgroup_line(text, length, controller, &start);

		if (kind != KT_CGROUP_NONE && copy_path(start, (size_t)(text + length - start), path))
			found = kind;
		text += length + (text[length] == '\n');
	}
	return found;
}

bool kt_cgroup_cpuset_path(const char *text, char path[PATH_MAX])
{
	return copy_path(text, strcspn(text, "\n"), path);
}

/* The next field; *line is moved behind it. Fields are separated by one space, and none is empty. */
static bool next_field(const char **line, const char **field, size_t *length)
{
	*field = *line;
	*length = strcspn(*line, " ");
	*line += *length;
	if (**line == ' ')
		++*line;
	return *length > 0;
}

static bool octal(const char *text)
{
	return text[0] >= '0' && text[0] <= '3' && text[1] >= '0' && text[1] <= '7' && text[2] >= '0' && text[2] <= '7';
}

/* The kernel writes space, tab, newline, backslash and '#' as three octal digits. */
static bool unescape(const char *field, size_t length, char path[PATH_MAX])
{
	size_t out = 0;

	for (size_t in = 0; in < length; in++) {
		char c = field[in];

		if (c == '\\' && length - in > 3 && octal(field + in + 1)) {
			c = (char)((field[in + 1] - '0') * 64 + (field[in + 2] - '0') * 8 + (field[in + 3] - '0'));
			in += 3;
			if (c == '\0')
				return false;
		}
		if (out == PATH_MAX - 1)
			return false;
		path[out++] = c;
	}
	path[out] = '\0';
	return path[0] == '/';
}

static bool is_word(const char *field, size_t length, const char *word)
{
	return length == strlen(word) && memcmp(field, word, length) == 0;
}

static enum kt_cgroup mount_kind(const char *type, size_t length, const char *options, const char *controller)
{
	const size_t all = strcspn(options, " ");

	if (is_word(type, length, "cgroup2"))
		return KT_CGROUP_V2;
	if (is_word(type, length, "cpuset") && strcmp(controller, "cpuset") == 0)
		return KT_CGROUP_OLD;
	if (!is_word(type, length, "cgroup") || !has_word(options, all, controller))
		return KT_CGROUP_NONE;
	return has_word(options, all, "noprefix") ? KT_CGROUP_OLD : KT_CGROUP_V1;
}

static bool set_point(const char *field, size_t length, struct kt_cgroup_mount *mount)
{
	if (!unescape(field, length, mount->point))
		return false;
	if (strcmp(mount->point, "/") == 0)
		mount->point[0] = '\0';
	return true;
}

/* "36 35 98:0 ROOT POINT options [optional fields] - TYPE source SUPEROPTIONS" */
bool kt_cgroup_mountinfo(const char *line, const char *controller, struct kt_cgroup_mount *mount)
{
	const char *root, *point, *type, *skipped, *rest;
	size_t root_length, point_length, type_length, length;

	for (int i = 0; i < 3; i++) {
		if (!next_field(&line, &skipped, &length))
			return false;
	}
	if (!next_field(&line, &root, &root_length) || !next_field(&line, &point, &point_length))
		return false;
	rest = strstr(line, " - "); /* behind the mount's options, in which no blank can be */
	if (!rest)
		return false;
	rest += 3;
	if (!next_field(&rest, &type, &type_length) || !next_field(&rest, &skipped, &length))
		return false;
	mount->kind = mount_kind(type, type_length, rest, controller);
	return mount->kind != KT_CGROUP_NONE && unescape(root, root_length, mount->root) &&
	       set_point(point, point_length, mount);
}

/* "source POINT TYPE OPTIONS 0 0" */
bool kt_cgroup_mounts(const char *line, const char *controller, struct kt_cgroup_mount *mount)
{
	const char *skipped, *point, *type;
	size_t length, point_length, type_length;

	if (!next_field(&line, &skipped, &length) || !next_field(&line, &point, &point_length) ||
	    !next_field(&line, &type, &type_length))
		return false;
	mount->kind = mount_kind(type, type_length, line, controller);
	strcpy(mount->root, "/");
	return mount->kind != KT_CGROUP_NONE && set_point(point, point_length, mount);
}

/* Does the path have a ".." among its parts? */
static bool climbs(const char *path)
{
	for (const char *part = path; (part = strstr(part, "..")); part += 2) {
		if ((part == path || part[-1] == '/') && (part[2] == '/' || part[2] == '\0'))
			return true;
	}
	return false;
}

const char *kt_cgroup_below(const char *root, const char *path)
{
	const size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);

	if (strncmp(root, path, length) != 0 || (path[length] != '/' && path[length] != '\0'))
		return NULL;
	path += length;
	if (climbs(path))
		return NULL;
	return strcmp(path, "/") == 0 ? "" : path;
}

bool kt_cgroup_outside(const char *path)
{
	return strncmp(path, "/..", 3) == 0 && (path[3] == '/' || path[3] == '\0');
}

/* ---- how much time ---------------------------------------------------------------------------------------------- */

/* A decimal number of microseconds, behind blanks; *text is moved behind it. */
static bool microseconds(const char **text, uint64_t *ret)
{
	const char *at = *text + strspn(*text, " ");
	uint64_t value = 0;

	if (*at < '0' || *at > '9')
		return false;
	for (; *at >= '0' && *at <= '9'; at++) {
		const uint64_t digit = (uint64_t)(*at - '0');

		if (value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*text = at;
	*ret = value;
	return true;
}

static bool at_end(const char *text)
{
	return text[0] == '\0' || (text[0] == '\n' && text[1] == '\0');
}

/* Rounded up: with fewer threads some of the time that is granted could not be used. */
static int cpus_worth(uint64_t quota, uint64_t period, unsigned int *ret)
{
	uint64_t cpus;

	if (quota == 0 || period == 0)
		return -EINVAL;
	cpus = quota / period + (quota % period != 0);
	*ret = cpus < UINT_MAX ? (unsigned int)cpus : UINT_MAX;
	return 0;
}

int kt_cgroup_max(const char *text, unsigned int *ret_cpus)
{
	const bool unlimited = strncmp(text, "max", 3) == 0;
	uint64_t quota = 1, period;

	if (unlimited)
		text += 3;
	else if (!microseconds(&text, &quota))
		return -EINVAL;
	if (*text != ' ' || !microseconds(&text, &period) || !at_end(text))
		return -EINVAL;
	if (!unlimited)
		return cpus_worth(quota, period, ret_cpus);
	*ret_cpus = 0;
	return 0;
}

int kt_cgroup_cfs(const char *quota_text, const char *period_text, unsigned int *ret_cpus)
{
	uint64_t quota, period;

	if (quota_text[0] == '-' && quota_text[1] == '1' && at_end(quota_text + 2)) {
		*ret_cpus = 0;
		return 0;
	}
	if (!microseconds(&quota_text, &quota) || !at_end(quota_text) || !microseconds(&period_text, &period) ||
	    !at_end(period_text))
		return -EINVAL;
	return cpus_worth(quota, period, ret_cpus);
}
