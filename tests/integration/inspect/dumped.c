/* SPDX-License-Identifier: MIT */
#include "dumped.h"

char *dump(enum kthread_format format)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	CHECK(out);
	CHECK(kthread_dump(out, format) == 0);
	CHECK(fclose(out) == 0);
	CHECK(strlen(text) == size);
	return text;
}

/* ---- the shape -------------------------------------------------------------------------------------------------- */

struct field {
	const char *key;
	const char *type; /* s string, n number, b bool, c cpulist, o object, a array; with '?': or null */
};

static bool is_cpulist(const char *list)
{
	cpu_set_t *set = calloc(1, 8192);
	const int error = kthread_cpulist_parse(list, 8192, set);
	char *back = malloc(1 << 20);

	CHECK(kthread_cpulist_format(8192, set, back, 1 << 20) >= 0);
	CHECK(error || strcmp(back, list) == 0); /* in its shortest form */
	free(set);
	free(back);
	return !error;
}

static bool has_type(json_t *value, const char *type)
{
	if (json_is_null(value))
		return type[1] == '?';
	switch (type[0]) {
	case 's':
		return json_is_string(value);
	case 'n':
		return json_is_integer(value) && json_integer_value(value) >= 0;
	case 'b':
		return json_is_boolean(value);
	case 'c':
		return json_is_string(value) && is_cpulist(json_string_value(value));
	case 'o':
		return json_is_object(value);
	default:
		return json_is_array(value);
	}
}

static void check(json_t *object, const struct field *fields)
{
	size_t count = 0;

	CHECK(json_is_object(object));
	for (; fields[count].key; count++) {
		json_t *value = json_object_get(object, fields[count].key);

		if (!value || !has_type(value, fields[count].type)) {
			fprintf(stderr, "\"%s\" is not there, or not a %s\n", fields[count].key, fields[count].type);
			abort();
		}
	}
	CHECK(json_object_size(object) == count);
}

static const struct field head[] = {
    {"format", "s"},  {"version", "n"}, {"library", "s"},  {"pid", "n"},   {"process", "s"},
    {"time_ns", "n"}, {"time", "s"},    {"simulate", "b"}, {"root", "s?"}, {"view", "o"},
    {"nodes", "a"},   {"caches", "a"},  {"threads", "a"},  {"steps", "a"}, {NULL, NULL},
};
static const struct field view[] = {
    {"generation", "n"},   {"confined", "b"}, {"quota", "n?"},   {"possible", "c"}, {"present", "c"},
    {"online", "c"},       {"allowed", "c"},  {"offlined", "c"}, {"usable", "c"},   {"isolated", "c"},
    {"housekeeping", "c"}, {"sources", "o"},  {NULL, NULL},
};
static const struct field sources[] = {
    {"possible", "s?"}, {"present", "s?"},    {"online", "s?"},      {"allowed", "s?"}, {"start_mask", "b"},
    {"isolated", "s?"}, {"partitions", "s?"}, {"housekeeping", "s"}, {NULL, NULL},
};
static const struct field node[] = {{"node", "n"}, {"cpus", "c"}, {NULL, NULL}};
static const struct field cache[] = {{"level", "n"}, {"cpus", "c"}, {NULL, NULL}};
static const struct field thread[] = {
    {"name", "s"},   {"class", "s"},     {"index", "n?"},           {"tid", "n"},     {"kind", "s"},
    {"state", "s"},  {"wish", "o"},      {"effective", "c"},        {"actual", "c?"}, {"cpu", "n?"},
    {"broken", "b"}, {"broken_ns", "n"}, {"broken_since_ns", "n?"}, {"last", "o?"},   {"counters", "o"},
    {NULL, NULL},
};
static const struct field wish[] = {{"kind", "s"}, {"cpus", "c?"}, {"node", "n?"}, {NULL, NULL}};
static const struct field last[] = {
    {"time_ns", "n"}, {"reason", "s"}, {"from", "c?"}, {"to", "c?"}, {"errno", "s?"}, {NULL, NULL},
};
static const struct field counters[] = {
    {"wakes", "n"},      {"parks", "n"},          {"freezes", "n"},       {"reaffines", "n"}, {"refusals", "o"},
    {"works_run", "n?"}, {"longest_queue", "n?"}, {"ktask_chunks", "n?"}, {NULL, NULL},
};
static const struct field step[] = {
    {"step", "n"},      {"name", "s"}, {"section", "s"},  {"multi", "b"},
    {"instances", "n"}, {"up", "c"},   {"failures", "n"}, {NULL, NULL},
};

static bool is_one_of(const char *word, const char *const *words)
{
	while (*words && strcmp(word, *words) != 0)
		words++;
	return *words;
}

static void check_thread(json_t *of)
{
	static const char *const kinds[] = {"kthread", "adopted", "internal", NULL};
	static const char *const states[] = {"created", "running", "waiting", "parked", "stopping",
	                                     "exited",  "adopted", "frozen",  NULL};
	static const char *const wishes[] = {"none", "node", "preferred", "bound", "per-cpu", NULL};
	static const char *const reasons[] = {"start", "wish", "cpus", "housekeeping", "lost", NULL};
	const char *key;
	json_t *count;

	check(of, thread);
	check(member(of, "wish"), wish);
	check(member(of, "counters"), counters);
	CHECK(is_one_of(text_of(of, "kind"), kinds));
	CHECK(is_one_of(text_of(of, "state"), states));
	CHECK(is_one_of(text_of(of, "wish.kind"), wishes));
	CHECK(number_of(of, "tid") > 0);
	CHECK(text_of(of, "effective")[0]);
	CHECK(json_is_true(member(of, "broken")) != is_null(of, "broken_since_ns"));
	json_object_foreach(member(of, "counters.refusals"), key, count) CHECK(key[0] && json_integer_value(count) > 0);
	if (is_null(of, "last"))
		return;
	check(member(of, "last"), last);
	CHECK(is_one_of(text_of(of, "last.reason"), reasons));
}

json_t *dump_read(const char *text)
{
	json_error_t error;
	json_t *whole = json_loads(text, JSON_REJECT_DUPLICATES, &error);
	json_t *of;
	size_t i;

	if (!whole) {
		fprintf(stderr, "%s, line %d:\n%s\n", error.text, error.line, text);
		abort();
	}
	check(whole, head);
	CHECK(strcmp(text_of(whole, "format"), "kthread-dump") == 0);
	CHECK(number_of(whole, "version") == 1);
	check(member(whole, "view"), view);
	check(member(whole, "view.sources"), sources);
	json_array_foreach(member(whole, "nodes"), i, of) check(of, node);
	json_array_foreach(member(whole, "caches"), i, of) check(of, cache);
	json_array_foreach(member(whole, "threads"), i, of) check_thread(of);
	json_array_foreach(member(whole, "steps"), i, of) check(of, step);
	return whole;
}

json_t *dumped(void)
{
	char *text = dump(KTHREAD_JSON);
	json_t *whole = dump_read(text);

	free(text);
	return whole;
}

/* ---- members ---------------------------------------------------------------------------------------------------- */

json_t *member(json_t *of, const char *path)
{
	char key[64];

	while (of && path) {
		const size_t length = strcspn(path, ".");

		snprintf(key, sizeof(key), "%.*s", (int)length, path);
		of = json_object_get(of, key);
		path = path[length] ? path + length + 1 : NULL;
	}
	CHECK(of);
	return of;
}

const char *text_of(json_t *of, const char *path)
{
	json_t *value = member(of, path);

	CHECK(json_is_null(value) || json_is_string(value));
	return json_string_value(value);
}

json_int_t number_of(json_t *of, const char *path)
{
	json_t *value = member(of, path);

	CHECK(json_is_integer(value));
	return json_integer_value(value);
}

bool is_null(json_t *of, const char *path)
{
	return json_is_null(member(of, path));
}

static json_t *named(json_t *array, const char *name)
{
	json_t *found = NULL;
	json_t *of;
	size_t i;

	json_array_foreach(array, i, of)
	{
		if (strcmp(text_of(of, "name"), name) == 0) {
			CHECK(!found);
			found = of;
		}
	}
	return found;
}

json_t *thread_named(json_t *dump, const char *name)
{
	return named(member(dump, "threads"), name);
}

json_t *step_named(json_t *dump, const char *name)
{
	return named(member(dump, "steps"), name);
}
