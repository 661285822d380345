/* SPDX-License-Identifier: MIT */
#include "base/escape.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The bytes of the UTF-8 character that begins here; 0 = none does. Shortest forms only, no surrogates. */
static size_t character(const unsigned char *text)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char first = text[0];
	const size_t length = first < 0x80   ? 1
	                      : first < 0xc2 ? 0
	                      : first < 0xe0 ? 2
	                      : first < 0xf0 ? 3
	                      : first < 0xf5 ? 4
	                                     : 0;
	uint32_t code;

	if (length < 2)
		return length;
	code = first & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xc0u) != 0x80u) /* the NUL at the end among them */
			return 0;
		code = code << 6 | (text[i] & 0x3fu);
	}
	return code < least[length] || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff ? 0 : length;
}

size_t kt_escape_json(char *to, size_t size, const char *text, const char **ret_rest)
{
	size_t have = 0;

	while (*text) {
		const unsigned char byte = (unsigned char)*text;
		size_t length = character((const unsigned char *)text);
		size_t taken = length ? length : 1;
		char escaped[8];
		const char *piece = text;

		if (!length) {
			piece = "\xef\xbf\xbd";
			length = 3;
		} else if (byte == '"' || byte == '\\' || byte < 0x20 || byte == 0x7f) {
			length = (size_t)snprintf(escaped, sizeof(escaped),
			                          byte == '"' || byte == '\\' ? "\\%c" : "\\u%04x", byte);
			piece = escaped;
		}
		if (length > size - have)
			break;
		memcpy(to + have, piece, length);
		have += length;
		text += taken;
	}
	*ret_rest = text;
	return have;
}
