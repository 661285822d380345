/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "thread/thread.h"

char *kt_name_format(const char *format, va_list args)
{
	char *name;

	if (!format) {
		errno = EINVAL;
		return NULL;
	}
	if (vasprintf(&name, format, args) < 0)
		return NULL; /* ENOMEM, or EILSEQ and the like of a bad conversion */
	return name;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* 10xxxxxx: inside a UTF-8 character */
static bool continues(char c)
{
	return ((unsigned char)c & 0xc0u) == 0x80u;
}

/*
 * Tools group threads by comm, and tell them apart by the number: "database-writer/12" becomes "database-wri/12". What
 * separates the number from the class goes with it.
 */
void kt_comm(const char *name, char comm[16])
{
	const size_t max = 15;
	const size_t length = strlen(name);
	size_t number = length;
	size_t head;

	if (length <= max) {
		memcpy(comm, name, length + 1);
		return;
	}
	while (number > 0 && is_digit(name[number - 1]))
		number--;
	if (number > 0 && number < length && strchr("/-_.:# ", name[number - 1]))
		number--;
	if (length - number >= max) /* not a number, but a name of digits */
		number = length;
	head = max - (length - number);
	while (head > 0 && continues(name[head]))
		head--;
	memcpy(comm, name, head);
	memcpy(comm + head, name + number, length - number + 1);
}
