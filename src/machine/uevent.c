/* SPDX-License-Identifier: MIT */
#include "machine/uevent.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define CPU_PATH "/devices/system/cpu/cpu"

/* -1: not the path of a CPU. */
static int path_cpu(const char *path)
{
	const size_t prefix = sizeof(CPU_PATH) - 1;
	int cpu = 0;

	if (strncmp(path, CPU_PATH, prefix) != 0 || path[prefix] == '\0')
		return -1;
	for (path += prefix; *path; path++) {
		if (*path < '0' || *path > '9' || cpu > (INT_MAX - 9) / 10)
			return -1;
		cpu = cpu * 10 + (*path - '0');
	}
	return cpu;
}

/* "ACTION@PATH" with a word of small letters in front: the path, or NULL. */
static const char *header_path(const char *header)
{
	const size_t action = strspn(header, "abcdefghijklmnopqrstuvwxyz");

	return action > 0 && header[action] == '@' ? header + action + 1 : NULL;
}

int kt_uevent_cpu(const char *message, size_t length)
{
	const char *const end = message + length;
	bool subsystem = false;
	const char *path;

	if (length == 0 || end[-1] != '\0')
		return -1;
	path = header_path(message);
	if (!path)
		return -1;
	for (const char *pair = message + strlen(message) + 1; pair < end; pair += strlen(pair) + 1) {
		if (strncmp(pair, "DEVPATH=", 8) == 0 && strcmp(pair + 8, path) != 0)
			return -1;
		if (strncmp(pair, "SUBSYSTEM=", 10) == 0) {
			if (strcmp(pair + 10, "cpu") != 0)
				return -1;
			subsystem = true;
		}
	}
	return subsystem ? path_cpu(path) : -1;
}
