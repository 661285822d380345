/* SPDX-License-Identifier: MIT */
/*
 * A writer of JSON (RFC 8259): where commas, quotes and escapes go. Nothing is kept but whether a comma is due, so a
 * document may be written in pieces. A key of NULL: an element of an array.
 */
#ifndef KT_INSPECT_JSON_H
#define KT_INSPECT_JSON_H

#include <sched.h>
#include <stdint.h>

#include "inspect/text.h"

/* All zero: at the beginning. */
struct kt_json {
	struct kt_text text;
	bool comma, line;
};

/* Each member is on the line of the one before; the next one shall begin a new one. */
void kt_json_line(struct kt_json *json);
/* '{' or '['; and the end of that, '}' or ']'. */
void kt_json_open(struct kt_json *json, const char *key, char bracket);
void kt_json_close(struct kt_json *json, char bracket);
void kt_json_null(struct kt_json *json, const char *key);
void kt_json_bool(struct kt_json *json, const char *key, bool value);
void kt_json_number(struct kt_json *json, const char *key, uint64_t value);
/* A byte that is not part of UTF-8 becomes U+FFFD. NULL: null. */
void kt_json_string(struct kt_json *json, const char *key, const char *value);
/* ... of so many bytes. */
void kt_json_string_of(struct kt_json *json, const char *key, const char *value, size_t length);
/* As a cpulist; NULL: null. */
void kt_json_cpus(struct kt_json *json, const char *key, size_t setsize, const cpu_set_t *set);

#endif
