/* SPDX-License-Identifier: MIT */
/*
 * Reading a JSON object whose members have to be of a kind.
 */
#ifndef KTHREADCTL_READER_H
#define KTHREADCTL_READER_H

#include <jansson.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#include "kthreadctl/model.h"

/*
 * One parse. The first thing that is wrong is kept, and every getter after it gives nothing: who reads asks once, at the
 * end of an array's element or of the whole.
 */
struct reader {
	int failed; /* -errno */
	char *error;
	size_t error_size;
	const char *where; /* "threads", NULL at the top */
	size_t index;
	struct ctl_dump *dump; /* NULL: an event */
};

void reader_fail(struct reader *r, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Zeroed memory that lasts as long as the dump, to whose arena it belongs; NULL if there is none. */
void *reader_allocate(struct reader *r, size_t count, size_t size);
void reader_free_arena(void *arena);

/* A member by its key; NULL: it is missing, or null. */
json_t *reader_member(const json_t *object, const char *key);
/* The same of a certain kind. It must be there; maybe_: it may be missing, or null; then NULL, or -1. Numbers are 0 or more. */
json_t *reader_required(struct reader *r, const json_t *object, const char *key);
json_t *reader_container(struct reader *r, const json_t *object, const char *key, json_type type);
int64_t reader_as_number(struct reader *r, const json_t *value, const char *key);
const char *reader_text(struct reader *r, const json_t *object, const char *key);
const char *reader_maybe_text(struct reader *r, const json_t *object, const char *key);
int64_t reader_number(struct reader *r, const json_t *object, const char *key);
int64_t reader_maybe_number(struct reader *r, const json_t *object, const char *key);
bool reader_boolean(struct reader *r, const json_t *object, const char *key);
/* A list of CPUs, as a set of the dump's. */
cpu_set_t *reader_cpus(struct reader *r, const json_t *object, const char *key);
cpu_set_t *reader_maybe_cpus(struct reader *r, const json_t *object, const char *key);
/* A list whose CPUs need not be known: its syntax is checked. */
const char *reader_maybe_list(struct reader *r, const json_t *object, const char *key);

/* An array of objects: element by element; each ends with a look at what has failed, so that the error names it. */
#define READER_FOR_EACH(r, array, name, i) \
	for ((r)->where = (name), (r)->index = (i) = 0; !(r)->failed && (i) < json_array_size(array); \
	     (r)->index = ++(i))
/* It must be an object. */
json_t *reader_element(struct reader *r, const json_t *array, size_t i);
/* Memory for its elements, and how many they are: 0 without. */
void *reader_begin_array(struct reader *r, const json_t *array, size_t size, size_t *ret_count);

#endif
