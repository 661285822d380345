/* SPDX-License-Identifier: MIT */
/*
 * A dump, read back.
 */
#ifndef TESTS_INSPECT_DUMPED_H
#define TESTS_INSPECT_DUMPED_H

#include <jansson.h>

#include "sim.h"

/* To be freed. */
char *dump(enum kthread_format format);
/* A JSON dump as an object, to be given up with json_decref(); every member that the format has is there, of the right
 * type and in its bounds, and no other. */
json_t *dumped(void);
/* The same of a text. */
json_t *dump_read(const char *text);

/* "view.online", "counters.wakes": a member of an object. It must be there. */
json_t *member(json_t *of, const char *path);
const char *text_of(json_t *of, const char *path); /* NULL = null */
json_int_t number_of(json_t *of, const char *path);
bool is_null(json_t *of, const char *path);
/* The thread of this name; NULL = none. */
json_t *thread_named(json_t *dump, const char *name);
json_t *step_named(json_t *dump, const char *name);

#define assert_text_of(of, path, expected) assert_string_equal(text_of((of), (path)), (expected))

#endif
