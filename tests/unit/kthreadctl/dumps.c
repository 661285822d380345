/* SPDX-License-Identifier: MIT */
#include "dumps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "machine/cpumask.h"

char *dump_text(const char *name, size_t *ret_length)
{
	char path[4096];
	char *text = NULL;
	size_t size = 0, length;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", DUMPS, name);
	file = fopen(path, "r");
	if (!file)
		fail_msg("%s cannot be opened", path);
	length = (size_t)getdelim(&text, &size, '\0', file);
	assert_true(length > 0 && !ferror(file));
	fclose(file);
	*ret_length = length;
	return text;
}

struct ctl_dump *dump_load(const char *name)
{
	struct ctl_dump *dump;
	char error[200];
	size_t length;
	char *text = dump_text(name, &length);

	if (model_parse(text, length, &dump, error, sizeof(error)))
		fail_msg("%s: %s", name, error);
	free(text);
	return dump;
}

void dump_events(const char *name, void (*fn)(const struct ctl_event *, void *arg), void *arg)
{
	size_t length;
	char *text = dump_text(name, &length), *rest = text, *line;

	while ((line = strsep(&rest, "\n")) && *line) {
		struct ctl_event *event;
		char error[200];

		if (model_parse_event(line, strlen(line), &event, error, sizeof(error)))
			fail_msg("%s: %s", line, error);
		fn(event, arg);
		model_event_free(event);
	}
	free(text);
}

char *dump_make(unsigned int cpus, unsigned int threads, size_t *ret_length)
{
	char *text;
	FILE *f = open_memstream(&text, ret_length);

	assert_non_null(f);
	fprintf(
	    f,
	    "{\"format\":\"kthread-dump\",\"version\":1,\"library\":\"0.1.0\",\"pid\":7,\"process\":\"huge\","
	    "\"time_ns\":5000000000,\"time\":\"2026-11-21T20:00:00.123Z\",\"simulate\":true,\"view\":{\"generation\":1,"
	    "\"confined\":false,\"quota\":null,\"offlined\":\"\",\"isolated\":\"\"");
	for (int i = 0; i < CTL_SETS; i++) {
		if (i != CTL_OFFLINED && i != CTL_ISOLATED)
			fprintf(f, ",\"%s\":\"0-%u\"", model_set_name((enum ctl_set)i), cpus - 1);
	}
	fprintf(f, "},\"nodes\":[");
	for (unsigned int cpu = 0; cpu < cpus; cpu += 64)
		fprintf(f, "%s{\"node\":%u,\"cpus\":\"%u-%u\"}", cpu ? "," : "", cpu / 64, cpu,
		        cpu + 63 < cpus ? cpu + 63 : cpus - 1);
	fprintf(f, "],\"caches\":[],\"steps\":[],\"threads\":[");
	for (unsigned int i = 0; i < threads; i++)
		fprintf(
		    f,
		    "%s\n{\"name\":\"w%u/%u\",\"class\":\"w%u\",\"index\":%u,\"tid\":%u,\"kind\":\"kthread\","
		    "\"state\":\"%s\",\"wish\":{\"kind\":\"bound\",\"cpus\":\"%u\",\"node\":null},\"effective\":\"%u\","
		    "\"actual\":null,\"cpu\":null,\"broken\":%s,\"broken_since_ns\":null,\"broken_ns\":0,\"last\":null,"
		    "\"counters\":{\"wakes\":1,\"parks\":0,\"freezes\":0,\"reaffines\":0,\"refusals\":{},"
		    "\"works_run\":null,\"longest_queue\":null,\"ktask_chunks\":null}}",
		    i ? "," : "", i / 100, i % 100, i / 100, i % 100, 100 + i, i % 3 ? "waiting" : "running", i % cpus,
		    i % 16 ? i % cpus : 0, i % 16 || i % cpus == 0 ? "false" : "true");
	fprintf(f, "]}\n");
	assert_int_equal(fclose(f), 0);
	return text;
}

struct ctl_dump *dump_made(unsigned int cpus, unsigned int threads)
{
	struct ctl_dump *dump;
	char error[200];
	size_t length;
	char *text = dump_make(cpus, threads, &length);

	if (model_parse(text, length, &dump, error, sizeof(error)))
		fail_msg("%s", error);
	free(text);
	return dump;
}

bool dump_set_is(const struct ctl_dump *d, const cpu_set_t *set, const char *list)
{
	cpu_set_t *expected = calloc(1, d->setsize);
	bool same;

	assert_non_null(expected);
	assert_int_equal(model_cpus(d, list, expected), 0);
	same = set && kt_cpus_equal(d->setsize, set, expected);
	free(expected);
	return same;
}
