/* SPDX-License-Identifier: MIT */
#include "inspect/json.h"

#include <inttypes.h>
#include <string.h>

#include "base/escape.h"

void kt_json_line(struct kt_json *json)
{
	json->line = true;
}

static void add_string(struct kt_text *text, const char *value, size_t length)
{
	const char *const end = value + length;
	char piece[256];

	kt_text_add(text, "\"", 1);
	while (value < end) {
		const size_t written = kt_escape_json(piece, sizeof(piece), value, (size_t)(end - value), &value);

		kt_text_add(text, piece, written);
	}
	kt_text_add(text, "\"", 1);
}

/* All that stands before a value. */
static void begin(struct kt_json *json, const char *key)
{
	if (json->comma)
		kt_text_add(&json->text, ",", 1);
	if (json->line)
		kt_text_add(&json->text, "\n", 1);
	json->line = false;
	json->comma = true;
	if (!key)
		return;
	add_string(&json->text, key, strlen(key));
	kt_text_add(&json->text, ":", 1);
}

void kt_json_open(struct kt_json *json, const char *key, char bracket)
{
	begin(json, key);
	kt_text_add(&json->text, &bracket, 1);
	json->comma = false;
}

void kt_json_close(struct kt_json *json, char bracket)
{
	if (json->line)
		kt_text_add(&json->text, "\n", 1);
	json->line = false;
	kt_text_add(&json->text, &bracket, 1);
	json->comma = true;
}

void kt_json_null(struct kt_json *json, const char *key)
{
	begin(json, key);
	kt_text_add(&json->text, "null", 4);
}

void kt_json_bool(struct kt_json *json, const char *key, bool value)
{
	begin(json, key);
	kt_text_print(&json->text, "%s", value ? "true" : "false");
}

void kt_json_number(struct kt_json *json, const char *key, uint64_t value)
{
	begin(json, key);
	kt_text_print(&json->text, "%" PRIu64, value);
}

void kt_json_string_of(struct kt_json *json, const char *key, const char *value, size_t length)
{
	begin(json, key);
	add_string(&json->text, value, length);
}

void kt_json_string(struct kt_json *json, const char *key, const char *value)
{
	if (value)
		kt_json_string_of(json, key, value, strlen(value));
	else
		kt_json_null(json, key);
}

void kt_json_cpus(struct kt_json *json, const char *key, size_t setsize, const cpu_set_t *set)
{
	if (!set) {
		kt_json_null(json, key);
		return;
	}
	begin(json, key);
	kt_text_add(&json->text, "\"", 1);
	kt_text_cpus(&json->text, setsize, set);
	kt_text_add(&json->text, "\"", 1);
}
