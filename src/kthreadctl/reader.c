/* SPDX-License-Identifier: MIT */
#include "kthreadctl/reader.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "machine/cpulist.h"
#include "machine/cpumask.h"

struct chunk {
	struct chunk *next;
	max_align_t data[];
};

void reader_fail(struct reader *r, int error, const char *format, ...)
{
	char place[64] = "", text[200];
	va_list args;

	if (r->failed)
		return;
	r->failed = error;
	if (r->where && error != -ENOMEM)
		snprintf(place, sizeof(place), "%s[%zu]: ", r->where, r->index);
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (char *c = text; *c; c++) { /* it may quote the input, and goes to a terminal */
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	}
	snprintf(r->error, r->error_size, "%s%s", place, text);
}

void *reader_allocate(struct reader *r, size_t count, size_t size)
{
	struct chunk *chunk = calloc(1, sizeof(*chunk) + count * size); /* count: of a JSON array that is in memory */

	if (!chunk) {
		reader_fail(r, -ENOMEM, "out of memory");
		return NULL;
	}
	chunk->next = r->dump->arena;
	r->dump->arena = chunk;
	return chunk->data;
}

void reader_free_arena(void *arena)
{
	for (struct chunk *chunk = arena; chunk;) {
		struct chunk *next = chunk->next;

		free(chunk);
		chunk = next;
	}
}

json_t *reader_member(const json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);

	return json_is_null(value) ? NULL : value;
}

json_t *reader_required(struct reader *r, const json_t *object, const char *key)
{
	json_t *value = reader_member(object, key);

	if (!value)
		reader_fail(r, -EINVAL, "\"%s\" is missing", key);
	return value;
}

static const char *as_text(struct reader *r, const json_t *value, const char *key)
{
	if (value && !json_is_string(value))
		reader_fail(r, -EINVAL, "\"%s\" is no string", key);
	return json_string_value(value); /* NULL for anything else */
}

int64_t reader_as_number(struct reader *r, const json_t *value, const char *key)
{
	if (!value)
		return -1;
	if (!json_is_integer(value) || json_integer_value(value) < 0) {
		reader_fail(r, -EINVAL, "\"%s\" is no number of 0 or more", key);
		return -1;
	}
	return json_integer_value(value);
}

const char *reader_text(struct reader *r, const json_t *object, const char *key)
{
	return as_text(r, reader_required(r, object, key), key);
}

const char *reader_maybe_text(struct reader *r, const json_t *object, const char *key)
{
	return as_text(r, reader_member(object, key), key);
}

int64_t reader_number(struct reader *r, const json_t *object, const char *key)
{
	return reader_as_number(r, reader_required(r, object, key), key);
}

int64_t reader_maybe_number(struct reader *r, const json_t *object, const char *key)
{
	return reader_as_number(r, reader_member(object, key), key);
}

bool reader_boolean(struct reader *r, const json_t *object, const char *key)
{
	const json_t *value = reader_required(r, object, key);

	if (value && !json_is_boolean(value))
		reader_fail(r, -EINVAL, "\"%s\" is neither true nor false", key);
	return json_is_true(value);
}

json_t *reader_container(struct reader *r, const json_t *object, const char *key, json_type type)
{
	json_t *value = reader_required(r, object, key);

	if (!value || json_typeof(value) == type)
		return value;
	reader_fail(r, -EINVAL, "\"%s\" is no %s", key, type == JSON_ARRAY ? "array" : "object");
	return NULL;
}

static cpu_set_t *as_cpus(struct reader *r, const char *list, const char *key)
{
	cpu_set_t *set;
	int error;

	if (!list || r->failed)
		return NULL;
	set = reader_allocate(r, 1, r->dump->setsize);
	if (!set)
		return NULL;
	error = kt_cpulist_read(list, r->dump->width, r->dump->setsize, set);
	if (error)
		reader_fail(r, -EINVAL, "\"%s\" is no CPU list: %s", key, kt_cpulist_strerror(error));
	return set;
}

cpu_set_t *reader_cpus(struct reader *r, const json_t *object, const char *key)
{
	return as_cpus(r, reader_text(r, object, key), key);
}

cpu_set_t *reader_maybe_cpus(struct reader *r, const json_t *object, const char *key)
{
	return as_cpus(r, reader_maybe_text(r, object, key), key);
}

const char *reader_maybe_list(struct reader *r, const json_t *object, const char *key)
{
	const char *list = reader_maybe_text(r, object, key);
	int error;

	if (!list)
		return NULL;
	error = kt_cpulist_read(list, CTL_CPUS_MAX, 0, NULL);
	if (error)
		reader_fail(r, -EINVAL, "\"%s\" is no CPU list: %s", key, kt_cpulist_strerror(error));
	return list;
}

json_t *reader_element(struct reader *r, const json_t *array, size_t i)
{
	json_t *object = json_array_get(array, i);

	if (!json_is_object(object))
		reader_fail(r, -EINVAL, "it is no object");
	return object;
}

void *reader_begin_array(struct reader *r, const json_t *array, size_t size, size_t *ret_count)
{
	void *elements = r->failed ? NULL : reader_allocate(r, json_array_size(array), size);

	*ret_count = elements ? json_array_size(array) : 0;
	return elements;
}
