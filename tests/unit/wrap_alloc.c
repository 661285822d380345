/* SPDX-License-Identifier: MIT */
#include "wrap_alloc.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

static _Thread_local unsigned long count, fail_at;

void *__real_malloc(size_t size);
void *__real_calloc(size_t number, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t number, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t number, size_t size);
char *__wrap_strdup(const char *text);

void wrap_alloc_fail_at(unsigned long n)
{
	count = 0;
	fail_at = n;
}

unsigned long wrap_alloc_count(void)
{
	return count;
}

static bool fails(void)
{
	if (++count != fail_at)
		return false;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t number, size_t size)
{
	return fails() ? NULL : __real_calloc(number, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_reallocarray(void *old, size_t number, size_t size)
{
	return __wrap_realloc(old, number * size); /* none of ours overflows */
}

char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}
