/* SPDX-License-Identifier: MIT */
/*
 * An SVG renderer of others, librsvg's, takes the pictures, and makes of them what has the size that they say.
 * KTHREAD_TEST_PICTURES=DIRECTORY keeps the SVG and PNG files there, to look at.
 */
#include <errno.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "dumps.h"
#include "kthreadctl/timeline.h"
#include "svg_check.h"

extern char **environ;
static char directory[4096];
static bool keep;

/* Its exit status; -ENOENT: not installed. */
static int run(const char *const argv[])
{
	pid_t pid;
	int status, error = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)(uintptr_t)argv, environ);

	if (error)
		return -error;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

static unsigned int big_endian(const unsigned char *bytes)
{
	return (unsigned int)bytes[0] << 24 | (unsigned int)bytes[1] << 16 | (unsigned int)bytes[2] << 8 | bytes[3];
}

static void render(const char *name, char *svg)
{
	static const unsigned char signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
	const struct svg_facts facts = svg_check(svg);
	char svg_path[sizeof(directory) + 40], png_path[sizeof(directory) + 40];
	const char *const argv[] = {"rsvg-convert", "-o", png_path, svg_path, NULL};
	unsigned char png[24];
	FILE *f;

	snprintf(svg_path, sizeof(svg_path), "%s/%s.svg", directory, name);
	snprintf(png_path, sizeof(png_path), "%s/%s.png", directory, name);
	f = fopen(svg_path, "w");
	assert_non_null(f);
	fputs(svg, f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(run(argv), 0);
	f = fopen(png_path, "r");
	assert_non_null(f);
	assert_int_equal(fread(png, 1, sizeof(png), f), sizeof(png));
	fclose(f);
	assert_memory_equal(png, signature, sizeof(signature));
	assert_in_range(big_endian(png + 16), (unsigned int)facts.width, (unsigned int)facts.width + 1);
	assert_in_range(big_endian(png + 20), (unsigned int)facts.height, (unsigned int)facts.height + 1);
	if (!keep) {
		unlink(svg_path);
		unlink(png_path);
	}
	free(svg);
}

static void render_map(const char *name, struct ctl_dump *d)
{
	size_t size;
	char *svg;
	FILE *f = open_memstream(&svg, &size);

	assert_non_null(f);
	assert_int_equal(map_svg(d, false, f), 0);
	assert_int_equal(fclose(f), 0);
	render(name, svg);
	model_free(d);
}

static void maps(void **state)
{
	render_map("map-2", dump_load("cpus-2.json"));
	render_map("map-8", dump_load("cpus-8.json"));
	render_map("map-64", dump_load("cpus-64.json"));
	render_map("map-256", dump_load("cpus-256.json"));
	render_map("map-4096", dump_made(4096, 300));
}

static void add(const struct ctl_event *event, void *timeline)
{
	assert_int_equal(timeline_add(timeline, event), 0);
}

static void render_timeline(const char *name, struct ctl_dump *d, const char *events)
{
	struct timeline *t;
	size_t size;
	char *svg;
	FILE *f = open_memstream(&svg, &size);

	assert_non_null(f);
	assert_int_equal(timeline_begin(d, &t), 0);
	if (events)
		dump_events(events, add, t);
	assert_int_equal(timeline_svg(t, d->time_ns + 10 * INT64_C(1000000000), f), 0);
	assert_int_equal(fclose(f), 0);
	timeline_free(t);
	render(name, svg);
	model_free(d);
}

static void timelines(void **state)
{
	render_timeline("timeline-8", dump_load("cpus-8.json"), "events-8.jsonl");
	render_timeline("timeline-64", dump_load("cpus-64.json"), NULL);
}

int main(void)
{
	static const char *const version[] = {"rsvg-convert", "--version", NULL};
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(maps),
	    cmocka_unit_test(timelines),
	};
	const char *kept = getenv("KTHREAD_TEST_PICTURES");
	int failed;

	if (run(version) != 0) {
		puts("rsvg-convert (Debian: librsvg2-bin) is not there");
		return 77;
	}
	keep = kept && *kept;
	snprintf(directory, sizeof(directory), "%s", keep ? kept : "/tmp/kthread-pictures-XXXXXX");
	if (!keep && !mkdtemp(directory))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	if (!keep)
		rmdir(directory);
	return failed;
}
