/* SPDX-License-Identifier: MIT */
/*
 * The numbers: rates between two dumps, and what Prometheus reads.
 */
#include <ctype.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "dumps.h"
#include "kthreadctl/prometheus.h"
#include "kthreadctl/rates.h"

static const char *const dumps[] = {"cpus-2.json", "cpus-8.json", "cpus-64.json", "cpus-256.json"};
#define DUMPS (sizeof(dumps) / sizeof(*dumps))

/* ---- rates ------------------------------------------------------------------------------------------------------ */

static struct ctl_thread *thread_called(struct ctl_dump *dump, const char *name)
{
	for (size_t i = 0; i < dump->n_threads; i++) {
		if (strcmp(dump->threads[i].name, name) == 0)
			return &dump->threads[i];
	}
	fail_msg("no thread %s", name);
	return NULL;
}

static const struct rate *rate_called(const struct rate *list, const struct ctl_dump *dump, const char *name)
{
	for (size_t i = 0; i < dump->n_threads; i++) {
		if (strcmp(list[i].thread->name, name) == 0)
			return &list[i];
	}
	fail_msg("no rate of %s", name);
	return NULL;
}

static void rates__between_two_dumps(void **state)
{
	struct ctl_dump *before = dump_load("cpus-8.json"), *now = dump_load("cpus-8.json");
	const struct rate *rate;
	struct rate *list;

	now->time_ns += 2000000000;
	thread_called(now, "poll/3")->wakes += 20;
	thread_called(now, "node worker/1")->works_run += 7;
	thread_called(now, "poll/4")->wakes -= 1;       /* counted anew: another thread */
	thread_called(now, "poll/0")->tid = 99999;      /* a new one */
	thread_called(now, "poll/1")->name = "other/1"; /* another one with a tid that was given up */
	list = rates(before, now);
	assert_non_null(list);

	assert_true(list[0].thread->broken && list[1].thread->broken && !list[2].thread->broken);
	assert_string_equal(list[2].thread->name, "poll/3");
	assert_string_equal(list[3].thread->name, "node worker/1");
	assert_string_equal(list[4].thread->name, "compact"); /* the idle ones by name */
	assert_float_equal(list[2].wakes, 10, 0.001);
	assert_float_equal(list[3].works, 3.5, 0.001);
	rate = rate_called(list, now, "poll/2");
	assert_float_equal(rate->wakes, 0, 0);
	assert_true(rate->works < 0); /* it is no worker */
	assert_true(rate_called(list, now, "poll/4")->wakes < 0);
	assert_true(rate_called(list, now, "poll/0")->wakes < 0);
	assert_true(rate_called(list, now, "other/1")->wakes < 0);
	free(list);
	model_free(before);
	model_free(now);
}

static void rates__of_another_process_or_no_time(void **state)
{
	struct ctl_dump *before = dump_load("cpus-8.json"), *now = dump_load("cpus-8.json");

	for (int i = 0; i < 3; i++) {
		struct rate *list = rates(i == 0 ? NULL : before, now); /* the same time_ns in the second turn */

		assert_non_null(list);
		assert_true(list[0].wakes < 0);
		free(list);
		if (i == 1) {
			now->pid++;
			now->time_ns += 1000000000;
		}
	}
	model_free(before);
	model_free(now);
}

static void rates_print__fits_the_window(void **state)
{
	static const size_t heights[] = {0, 1, 4, 5, 10, 1000};

	for (size_t d = 0; d < DUMPS; d++) {
		struct ctl_dump *dump = dump_load(dumps[d]);

		for (size_t i = 0; i < sizeof(heights) / sizeof(*heights); i++) {
			const struct table_style style = {.width = 40, .utf8 = true, .eol = "\n"};
			size_t size, lines = 0, column = 0;
			char *text;
			FILE *out = open_memstream(&text, &size);

			assert_true(rates_print(NULL, dump, &style, heights[i], out));
			fclose(out);
			for (const char *c = text; *c; c++) {
				lines += *c == '\n';
				column = *c == '\n' ? 0 : column + ((*c & 0xc0) != 0x80);
				assert_true(column <= 40);
			}
			if (heights[i] >= 4)
				assert_true(lines <= heights[i]);
			if (heights[i] == 0 || heights[i] >= dump->n_threads + 3)
				assert_int_equal(lines, dump->n_threads + 3);
			else
				assert_non_null(strstr(text, "\nand "));
			free(text);
		}
		model_free(dump);
	}
}

static void rates_print_json__is_a_line_of_json(void **state)
{
	struct ctl_dump *before = dump_load("cpus-8.json"), *now = dump_load("cpus-8.json");
	json_t *root, *first;
	size_t size;
	char *text;
	FILE *out = open_memstream(&text, &size);

	now->time_ns += 1000000000;
	thread_called(now, "tx")->wakes += 5;
	assert_true(rates_print_json(before, now, out));
	fclose(out);
	assert_ptr_equal(strchr(text, '\n'), text + size - 1);
	root = json_loads(text, 0, NULL);
	assert_int_equal(json_array_size(json_object_get(root, "threads")), now->n_threads);
	first = json_array_get(json_object_get(root, "threads"), 0);
	assert_string_equal(json_string_value(json_object_get(first, "name")), "tx");
	assert_float_equal(json_number_value(json_object_get(first, "wakes_per_s")), 5, 0.001);
	assert_true(json_is_null(json_object_get(first, "works_per_s")));
	json_decref(root);
	free(text);
	model_free(before);
	model_free(now);
}

/* ---- Prometheus ------------------------------------------------------------------------------------------------- */

static char *page_of(const struct ctl_dump *dump, bool json)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	prometheus_print(dump, json, out);
	fclose(out);
	return text;
}

static size_t take_name(const char *text)
{
	size_t length = 0;

	while (isalnum((unsigned char)text[length]) || text[length] == '_')
		length++;
	assert_true(length > 0 && !isdigit((unsigned char)*text));
	return length;
}

/* {key="value",...}: returns what follows. */
static const char *take_labels(const char *text)
{
	do {
		text++;
		text += take_name(text);
		assert_int_equal(strncmp(text, "=\"", 2), 0);
		for (text += 2; *text != '"'; text++) {
			assert_true(*text && *text != '\n');
			if (*text == '\\') {
				text++;
				assert_true(*text == '\\' || *text == '"' || *text == 'n');
			}
		}
		text++;
	} while (*text == ',');
	assert_int_equal(*text, '}');
	return text + 1;
}

/* The grammar of the exposition format, and what is asked beyond it: HELP, TYPE, then all samples of that name. */
static void check_page(const char *page)
{
	char *copy = strdup(page), *rest = copy, *line;
	char name[128] = "", type[32] = "";
	char *samples[8192];
	size_t count = 0;

	assert_int_equal(page[strlen(page) - 1], '\n');
	while ((line = strsep(&rest, "\n")) && rest) {
		const char *value;
		char *end;

		if (strncmp(line, "# HELP ", 7) == 0) {
			const size_t length = take_name(line + 7);

			snprintf(name, sizeof(name), "%.*s", (int)length, line + 7);
			assert_true(strlen(line) > 8 + length);
			type[0] = '\0';
			continue;
		}
		if (strncmp(line, "# TYPE ", 7) == 0) {
			const size_t length = take_name(line + 7);

			assert_int_equal(length, strlen(name));
			assert_memory_equal(line + 7, name, length);
			snprintf(type, sizeof(type), "%s", line + 7 + length + 1);
			assert_true(strcmp(type, "gauge") == 0 || strcmp(type, "counter") == 0);
			if (strcmp(type, "counter") == 0)
				assert_string_equal(name + strlen(name) - 6, "_total");
			continue;
		}
		assert_true(*type);
		assert_int_equal(take_name(line), strlen(name));
		assert_memory_equal(line, name, strlen(name));
		value = line + strlen(name);
		if (*value == '{')
			value = take_labels(value);
		assert_int_equal(*value, ' ');
		strtod(value + 1, &end);
		assert_true(end > value + 1 && !*end);
		line[value - line] = '\0';
		for (size_t i = 0; i < count; i++)
			assert_string_not_equal(samples[i], line);
		assert_true(count < sizeof(samples) / sizeof(*samples));
		samples[count++] = line;
	}
	free(copy);
}

/* The value as a label of the text has it. */
static void put_label(FILE *out, const char *key, const char *value)
{
	fprintf(out, "%s=\"", key);
	for (; *value; value++)
		fprintf(out, *value == '\n' ? "\\n" : strchr("\\\"", *value) ? "\\%c" : "%c", *value);
	fputc('"', out);
}

static void put_sample(FILE *out, const char *name, const json_t *sample)
{
	const json_t *labels = json_object_get(sample, "labels");
	const char *key;
	json_t *value;
	int count = 0;

	assert_int_equal(json_object_size(sample), 2);
	assert_true(json_is_object(labels));
	fputs(name, out);
	json_object_foreach((json_t *)labels, key, value)
	{
		fputc(count++ ? ',' : '{', out);
		put_label(out, key, json_string_value(value));
	}
	fprintf(out, "%s %s\n", count ? "}" : "", json_string_value(json_object_get(sample, "value")));
}

/* The page as JSON says the same: written again as text it is the same. */
static void check_json(const struct ctl_dump *dump, const char *page)
{
	char *json = page_of(dump, true), *text;
	json_t *families = json_loads(json, JSON_REJECT_DUPLICATES, NULL);
	size_t size, i, j;
	FILE *out = open_memstream(&text, &size);
	json_t *family, *sample;

	assert_true(json_is_array(families));
	json_array_foreach(families, i, family)
	{
		const char *name = json_string_value(json_object_get(family, "name"));
		const char *type = json_string_value(json_object_get(family, "type"));

		assert_int_equal(json_object_size(family), 4);
		assert_true(strcmp(type, "GAUGE") == 0 || strcmp(type, "COUNTER") == 0);
		fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, json_string_value(json_object_get(family, "help")),
		        name, *type == 'G' ? "gauge" : "counter");
		json_array_foreach(json_object_get(family, "metrics"), j, sample) put_sample(out, name, sample);
	}
	fclose(out);
	assert_string_equal(text, page);
	free(text);
	free(json);
	json_decref(families);
}

static void prometheus_print__of_every_recorded_machine(void **state)
{
	for (size_t i = 0; i < DUMPS; i++) {
		struct ctl_dump *dump = dump_load(dumps[i]);
		char *page = page_of(dump, false);

		check_page(page);
		check_json(dump, page);
		free(page);
		model_free(dump);
	}
}

static void prometheus_print__values(void **state)
{
	static const char *const lines[] = {
	    "kthread_info{process=\"steady\",pid=\"815\",library=\"0.1.0\",simulate=\"false\"} 1",
	    "kthread_view_generation 9",
	    "kthread_view_confined 1",
	    "kthread_view_quota_cpus 6",
	    "kthread_view_cpus{set=\"online\"} 7",
	    "kthread_threads 22",
	    "kthread_threads_broken 2",
	    "kthread_thread_broken{class=\"rx\",index=\"1\",tid=\"826\"} 1",
	    "kthread_thread_broken{class=\"rx\",index=\"0\",tid=\"825\"} 0",
	    "kthread_thread_wakes_total{class=\"poll\",index=\"5\",tid=\"822\"} 60189",
	    "kthread_thread_broken_seconds_total{class=\"tx\",index=\"\",tid=\"827\"} 1.500000000",
	    "kthread_thread_refusals_total{class=\"tx\",index=\"\",tid=\"827\",errno=\"EINVAL\"} 2",
	    ("kthread_thread_info{class=\"a \\\"b\\\" \\\\ \\nc\",index=\"\",tid=\"816\",kind=\"internal\",state=\"waiting\","
	     "wish=\"none\"} 1"),
	};
	struct ctl_dump *dump = dump_load("cpus-8.json");
	struct ctl_refusal refusal = {"EINVAL", 2};
	char *page;

	thread_called(dump, "tx")->broken_ns = 1500000000;
	thread_called(dump, "tx")->refusals = &refusal;
	thread_called(dump, "tx")->n_refusals = 1;
	dump->threads[0].class = "a \"b\" \\ \nc";
	page = page_of(dump, false);
	check_page(page);
	check_json(dump, page);
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		char *line;

		assert_true(asprintf(&line, "\n%s\n", lines[i]) > 0);
		if (!strstr(page, line))
			fail_msg("not there: %s", lines[i]);
		free(line);
	}
	free(page);
	model_free(dump);
}

/* Two threads of one name must not make the page invalid. */
static void prometheus_print__threads_of_one_name(void **state)
{
	struct ctl_dump *dump = dump_load("cpus-2.json");
	char *page;

	dump->threads[0].class = dump->threads[1].class;
	dump->threads[0].index = dump->threads[1].index;
	page = page_of(dump, false);
	check_page(page);
	free(page);
	model_free(dump);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rates__between_two_dumps),
	    cmocka_unit_test(rates__of_another_process_or_no_time),
	    cmocka_unit_test(rates_print__fits_the_window),
	    cmocka_unit_test(rates_print_json__is_a_line_of_json),
	    cmocka_unit_test(prometheus_print__of_every_recorded_machine),
	    cmocka_unit_test(prometheus_print__values),
	    cmocka_unit_test(prometheus_print__threads_of_one_name),
	};

	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
