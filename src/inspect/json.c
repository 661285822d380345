/* SPDX-License-Identifier: MIT */
#include "inspect/json.h"

#include <inttypes.h>
#include <string.h>

void kt_json_line(struct kt_json *json)
{
	json->line = true;
}

/* How many bytes at the beginning of these are a character of UTF-8; 0 = none (RFC 3629, 4.). */
static size_t character(const unsigned char *at, size_t length)
{
	const unsigned char first = at[0];
	const size_t bytes = first < 0x80   ? 1
	                     : first < 0xc2 ? 0
	                     : first < 0xe0 ? 2
	                     : first < 0xf0 ? 3
	                     : first < 0xf5 ? 4
	                                    : 0;

	if (bytes == 0 || bytes > length)
		return 0;
	for (size_t i = 1; i < bytes; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	}
	/* longer than need be; the surrogates of UTF-16; beyond U+10FFFF */
	if ((first == 0xe0 && at[1] < 0xa0) || (first == 0xed && at[1] > 0x9f) || (first == 0xf0 && at[1] < 0x90) ||
	    (first == 0xf4 && at[1] > 0x8f))
		return 0;
	return bytes;
}

static void add_string(struct kt_text *text, const char *value, size_t length)
{
	const unsigned char *at = (const unsigned char *)value;

	kt_text_add(text, "\"", 1);
	while (length > 0) {
		const size_t bytes = character(at, length);

		if (bytes == 0)
			kt_text_add(text, "\xef\xbf\xbd", 3);
		else if (*at == '"' || *at == '\\')
			kt_text_print(text, "\\%c", *at);
		else if (*at < 0x20 || *at == 0x7f)
			kt_text_print(text, "\\u%04x", *at);
		else
			kt_text_add(text, (const char *)at, bytes);
		at += bytes ? bytes : 1;
		length -= bytes ? bytes : 1;
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
