/* SPDX-License-Identifier: MIT */
#include "inspect/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine/cpumask.h"

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

	if (!make_room(text, 64)) /* for nearly all of it, at once */
		return;
	va_start(args, format);
	length = vsnprintf(text->at + text->length, text->size - text->length, format, args);
	va_end(args);
	if (length < 0 || !make_room(text, (size_t)length)) {
		text->failed = true;
		return;
	}
	if ((size_t)length > 64) {
		va_start(args, format);
		vsnprintf(text->at + text->length, (size_t)length + 1, format, args);
		va_end(args);
	}
	text->length += (size_t)length;
}

/* Not kthread_cpulist_format(), which looks at every bit, and for which the room has to be there before. */
void kt_text_cpus(struct kt_text *text, size_t setsize, const cpu_set_t *set)
{
	const char *comma = "";
	int next;

	for (int cpu = kt_cpus_next(setsize, set, 0); cpu >= 0; cpu = kt_cpus_next(setsize, set, (unsigned int)next)) {
		for (next = cpu + 1; kt_cpus_test(setsize, set, (unsigned int)next);)
			next++;
		if (next - cpu > 1)
			kt_text_print(text, "%s%d-%d", comma, cpu, next - 1);
		else
			kt_text_print(text, "%s%d", comma, cpu);
		comma = ",";
	}
}

void kt_text_free(struct kt_text *text)
{
	free(text->at);
	*text = (struct kt_text){.at = NULL};
}
