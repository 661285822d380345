/* SPDX-License-Identifier: MIT */
/* The map: what it looks like on small and large machines, and that it stays within its bounds on any. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dumps.h"
#include "kthreadctl/map.h"
#include "kthreadctl/text.h"
#include "svg_check.h"

/* Caller frees. */
static char *text_map(const struct ctl_dump *d, struct map_options options)
{
	size_t size;
	char *text;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	assert_int_equal(map_text(d, &options, f), 0);
	assert_int_equal(fclose(f), 0);
	return text;
}

static char *svg_map(const struct ctl_dump *d, bool every)
{
	size_t size;
	char *text;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	assert_int_equal(map_svg(d, every, f), 0);
	assert_int_equal(fclose(f), 0);
	return text;
}

static void golden(const char *dump, const char *file, struct map_options options)
{
	struct ctl_dump *d = dump_load(dump);
	char *is = text_map(d, options), *expected;
	size_t length;

	expected = dump_text(file, &length);
	if (strcmp(is, expected) != 0)
		fail_msg("%s is now\n%s", file, is);
	free(expected);
	free(is);
	model_free(d);
}

static void two_cpus(void **state)
{
	golden("cpus-2.json", "map-2.txt", (struct map_options){.width = 80, .utf8 = true});
}

static void eight_cpus(void **state)
{
	golden("cpus-8.json", "map-8.txt", (struct map_options){.width = 100, .utf8 = true});
	golden("cpus-8.json", "map-8-narrow.txt", (struct map_options){.width = 50});
}

static void sixty_four_cpus(void **state)
{
	golden("cpus-64.json", "map-64.txt", (struct map_options){.width = 132});
	golden("cpus-64.json", "map-64-narrow.txt", (struct map_options){.width = 80});
}

/* The columns of a line, SGR sequences taken away; each sequence must be whole and end where its line ends. */
static size_t line_columns(const char *line, size_t length)
{
	char plain[4096], *to = plain;
	bool on = false;

	assert_true(length < sizeof(plain));
	for (const char *p = line; p < line + length; p++) {
		if (*p == '\033') {
			assert_int_equal(p[1], '[');
			on = strncmp(p, "\033[0m", 4) != 0;
			p = strchr(p, 'm');
			assert_non_null(p);
		} else {
			*to++ = *p;
		}
	}
	*to = '\0';
	assert_false(on);
	return text_columns(plain);
}

static void no_line_is_wider(void **state)
{
	static const char *const dumps[] = {"cpus-2.json", "cpus-8.json", "cpus-64.json", "cpus-256.json"};

	for (size_t i = 0; i < sizeof(dumps) / sizeof(dumps[0]); i++) {
		struct ctl_dump *d = dump_load(dumps[i]);

		for (unsigned int width = 1; width <= 320; width += 1 + width / 8) {
			for (unsigned int kind = 0; kind < 8; kind++) {
				struct map_options options = {width, kind & 1, kind & 2, kind & 4};
				char *map = text_map(d, options);

				for (const char *line = map; *line;) {
					const char *end = strchr(line, '\n');

					assert_non_null(end);
					assert_true(line_columns(line, (size_t)(end - line)) <=
					            (width < 40 ? 40 : width));
					line = end + 1;
				}
				if (!options.colour)
					assert_null(strchr(map, '\033'));
				for (const char *c = map; !options.utf8 && *c; c++)
					assert_true((unsigned char)*c < 0x80);
				free(map);
			}
		}
		model_free(d);
	}
}

static size_t lines_with(const char *text, const char *word)
{
	size_t count = 0;

	for (const char *at = text; (at = strstr(at, word)); at += strlen(word))
		count++;
	return count;
}

static void colours_say_what_is_broken(void **state)
{
	struct ctl_dump *d = dump_load("cpus-8.json");
	char *map = text_map(d, (struct map_options){.width = 100, .colour = true});

	assert_non_null(strstr(map, "\033[0;1;31m*rx/1"));
	assert_non_null(strstr(map, "\033[0;1;31m*tx"));
	assert_null(strstr(map, "31mrx/0"));
	free(map);
	model_free(d);
}

/* A row for each when asked, else one for those placed alike; no thread is lost either way. */
static void rows_for_all(void **state)
{
	struct ctl_dump *d = dump_load("cpus-64.json");
	char *few = text_map(d, (struct map_options){.width = 132}),
	     *all = text_map(d, (struct map_options){.width = 132, .every = true});

	assert_int_equal(lines_with(few, "poll/"), 2);
	assert_int_equal(lines_with(all, "\npoll/"), 64);
	assert_int_equal(lines_with(all, "\nworker/"), 12);
	free(few);
	free(all);
	model_free(d);
}

/* A name is foreign: it must not reach the terminal as it is, nor break the SVG. */
static void hostile_names(void **state)
{
	static const char name[] = "\"name\":\"log\"",
			  hostile[] = "\"name\":\"\\u001b[2J<&>\\\"]]>\\u202e\\u4e16\\u754c\\uffff\\n\\u009b\"";
	char error[200];
	struct ctl_dump *d;
	size_t length;
	char *text = dump_text("cpus-2.json", &length), *at = strstr(text, name), *changed, *map;

	assert_non_null(at);
	assert_true(asprintf(&changed, "%.*s%s%s", (int)(at - text), text, hostile, at + strlen(name)) > 0);
	if (model_parse(changed, strlen(changed), &d, error, sizeof(error)))
		fail_msg("%s", error);
	map = text_map(d, (struct map_options){.width = 120, .utf8 = true});
	assert_null(strchr(map, '\033'));
	assert_null(strstr(map, "\xe2\x80\xae"));
	assert_null(strstr(map, "\xc2\x9b"));
	assert_non_null(strstr(map, "?[2J<&>"));
	free(map);
	map = svg_map(d, false);
	svg_check(map);
	assert_non_null(strstr(map, "[2J&lt;&amp;&gt;&quot;"));
	free(map);
	model_free(d);
	free(changed);
	free(text);
}

static void svg_of_samples(void **state)
{
	static const char *const dumps[] = {"cpus-2.json", "cpus-8.json", "cpus-64.json", "cpus-256.json"};

	for (size_t i = 0; i < sizeof(dumps) / sizeof(dumps[0]); i++) {
		struct ctl_dump *d = dump_load(dumps[i]);

		for (int every = 0; every < 2; every++) {
			char *svg = svg_map(d, every);
			const struct svg_facts facts = svg_check(svg);

			assert_true(facts.width >= 400 && facts.width < 2200);
			assert_true(facts.texts > 10);
			assert_non_null(strstr(svg, d->process));
			assert_non_null(strstr(svg, "2026-11-21T20:00:00.123Z"));
			assert_non_null(strstr(svg, i == 0 ? "pid 4711" : "pid "));
			assert_non_null(strstr(svg, "ran here last"));
			free(svg);
		}
		model_free(d);
	}
}

static void svg_says_all(void **state)
{
	struct ctl_dump *d = dump_load("cpus-8.json");
	char *svg = svg_map(d, false);

	assert_int_equal(lines_with(svg, ">broken 45.0s"), 2);
	assert_int_equal(lines_with(svg, "class=\"off\""), 2);      /* CPU 5, the legend */
	assert_int_equal(lines_with(svg, "class=\"unusable\""), 2); /* CPU 6, the legend */
	assert_int_equal(lines_with(svg, "class=\"told\""), 5);     /* four runs of libfoo's, the legend */
	assert_int_equal(lines_with(svg, ">node "), 4 + 4 + 4);     /* bands, wishes, names of threads */
	free(svg);
	model_free(d);
}

static void huge_is_bounded(void **state)
{
	struct ctl_dump *d = dump_made(4096, 10000);
	char *map = text_map(d, (struct map_options){.width = 80}), *svg;
	struct svg_facts facts;

	assert_non_null(strstr(map, "w99/"));
	free(map);
	svg = svg_map(d, true);
	facts = svg_check(svg);
	assert_true(facts.width < 2200 && facts.height < 10000);
	assert_true(strlen(svg) < 2000000);
	assert_non_null(strstr(svg, "9600 more threads, in 9600 rows, are left out."));
	free(svg);
	model_free(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(two_cpus),
	    cmocka_unit_test(eight_cpus),
	    cmocka_unit_test(sixty_four_cpus),
	    cmocka_unit_test(no_line_is_wider),
	    cmocka_unit_test(colours_say_what_is_broken),
	    cmocka_unit_test(rows_for_all),
	    cmocka_unit_test(hostile_names),
	    cmocka_unit_test(svg_of_samples),
	    cmocka_unit_test(svg_says_all),
	    cmocka_unit_test(huge_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
