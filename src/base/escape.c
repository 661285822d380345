/* SPDX-License-Identifier: MIT */
#include "base/escape.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The bytes of the UTF-8 character that these `length` bytes begin with; 0 = none. Shortest forms only, no surrogates. */
static size_t character(const unsigned char *text, size_t length)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char first = text[0];
	const size_t wanted = first < 0x80   ? 1
	                      : first < 0xc2 ? 0
	                      : first < 0xe0 ? 2
	                      : first < 0xf0 ? 3
	                      : first < 0xf5 ? 4
	                                     : 0;
	uint32_t code;

	if (wanted < 2 || wanted > length)
		return wanted < 2 ? wanted : 0;
	code = first & (0x7fu >> wanted);
	for (size_t i = 1; i < wanted; i++) {
		if ((text[i] & 0xc0u) != 0x80u)
			return 0;
		code = code << 6 | (text[i] & 0x3fu);
	}
	return code < least[wanted] || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff ? 0 : wanted;
}

/* Of ASCII, or those of ISO 6429 above it, U+0080 to U+009F. Of a character of UTF-8. */
static bool is_control(const unsigned char *text)
{
	return text[0] < 0x20 || text[0] == 0x7f || (text[0] == 0xc2 && text[1] < 0xa0);
}

size_t kt_escape_json(char *to, size_t size, const char *text, size_t length, const char **ret_rest)
{
	const char *const end = text + length;
	size_t have = 0;

	while (text < end) {
		const unsigned char byte = (unsigned char)*text;
		size_t written = character((const unsigned char *)text, (size_t)(end - text));
		const size_t taken = written ? written : 1;
		char escaped[8];
		const char *piece = text;

		if (!written) {
			piece = "\xef\xbf\xbd";
			written = 3;
		} else if (byte == '"' || byte == '\\') {
			written = (size_t)snprintf(escaped, sizeof(escaped), "\\%c", byte);
			piece = escaped;
		} else if (is_control((const unsigned char *)text)) {
			written = (size_t)snprintf(escaped, sizeof(escaped), "\\u%04x", (unsigned char)text[taken - 1]);
			piece = escaped;
		}
		if (written > size - have)
			break;
		memcpy(to + have, piece, written);
		have += written;
		text += taken;
	}
	*ret_rest = text;
	return have;
}

void kt_make_printable(char *text)
{
	char *to = text;

	while (*text) {
		const size_t length = character((const unsigned char *)text, 4); /* it stops at a NUL */

		if (length && !is_control((const unsigned char *)text)) {
			memmove(to, text, length);
			to += length;
		} else {
			*to++ = '?';
		}
		text += length ? length : 1;
	}
	*to = '\0';
}
