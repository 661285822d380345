/* SPDX-License-Identifier: MIT */
#include "inspect/head.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void kt_process_name(char name[KT_PROCESS_NAME])
{
	const int fd = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
	const ssize_t size = fd < 0 ? 0 : read(fd, name, KT_PROCESS_NAME - 1);

	if (fd >= 0)
		close(fd);
	name[size > 0 ? size : 0] = '\0';
	name[strcspn(name, "\n")] = '\0';
}

void kt_head_put_process(struct kt_json *json)
{
	char name[KT_PROCESS_NAME];

	kt_process_name(name);
	kt_json_number(json, "pid", (uint64_t)getpid());
	kt_json_string(json, "process", name);
}

void kt_head_put_time(struct kt_json *json, const struct timespec *time)
{
	char text[64];
	struct tm tm;

	gmtime_r(&time->tv_sec, &tm);
	snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1,
	         tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(time->tv_nsec / 1000000));
	kt_json_string(json, "time", text);
}
