/* SPDX-License-Identifier: MIT */
#include "inspect/text.h"

#include <kthread/placement.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for so many bytes more, and a NUL. */
static bool make_room(struct kt_text *text, size_t more)
{
	size_t size = text->size ? text->size : 512;
	char *at;

	while (size - text->length <= more)
		size *= 2;
	at = text->failed || size == text->size ? text->at : realloc(text->at, size);
	if (!at)
		text->failed = true;
	if (text->failed)
		return false;
	text->at = at;
	text->size = size;
	return true;
}

void kt_text_add(struct kt_text *text, const char *bytes, size_t length)
{
	if (!make_room(text, length))
		return;
	memcpy(text->at + text->length, bytes, length);
	text->length += length;
}

void kt_text_print(struct kt_text *text, const char *format, ...)
{
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (length < 0 || !make_room(text, (size_t)length)) {
		text->failed = true;
		return;
	}
	va_start(args, format);
	vsnprintf(text->at + text->length, (size_t)length + 1, format, args);
	va_end(args);
	text->length += (size_t)length;
}

void kt_text_cpus(struct kt_text *text, size_t setsize, const cpu_set_t *set)
{
	int length;

	if (!make_room(text, 0))
		return;
	length = kthread_cpulist_format(setsize, set, text->at + text->length, text->size - text->length);
	if (length > 0 && (size_t)length >= text->size - text->length) {
		if (!make_room(text, (size_t)length))
			return;
		kthread_cpulist_format(setsize, set, text->at + text->length, text->size - text->length);
	}
	if (length > 0)
		text->length += (size_t)length;
}

void kt_text_free(struct kt_text *text)
{
	free(text->at);
	*text = (struct kt_text){.at = NULL};
}
