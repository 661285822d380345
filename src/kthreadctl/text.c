/* SPDX-License-Identifier: MIT */
#include "kthreadctl/text.h"

struct range {
	uint32_t from, to;
};

static bool is_in(uint32_t c, const struct range *ranges, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (c >= ranges[i].from && c <= ranges[i].to)
			return true;
	}
	return false;
}

uint32_t text_next(const char **at)
{
	const unsigned char *p = (const unsigned char *)*at;
	uint32_t c = *p;
	unsigned int more = c < 0x80 ? 0 : c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;

	if (c == 0)
		return 0;
	p++;
	if (more > 0) {
		if (c < 0xc2 || c > 0xf4)
			goto invalid;
		c &= 0x3fu >> more;
		for (; more > 0; more--, p++) {
			if ((*p & 0xc0) != 0x80) /* the NUL at the end, too */
				goto invalid;
			c = c << 6 | (*p & 0x3f);
		}
	}
	*at = (const char *)p;
	return c;
invalid:
	++*at;
	return 0xfffd;
}

/* Of the terminal's cells; locale-independent, unlike wcwidth(). */
static size_t columns_of(uint32_t c)
{
	static const struct range none[] = {
	    {0x300, 0x36f}, {0x1ab0, 0x1aff}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}};
	static const struct range two[] = {{0x1100, 0x115f}, {0x2e80, 0xa4cf},   {0xac00, 0xd7a3},
	                                   {0xf900, 0xfaff}, {0xfe30, 0xfe6f},   {0xff00, 0xff60},
	                                   {0xffe0, 0xffe6}, {0x1f300, 0x1faff}, {0x20000, 0x3fffd}};

	if (c < 0x300)
		return 1;
	if (is_in(c, none, sizeof(none) / sizeof(none[0])))
		return 0;
	return is_in(c, two, sizeof(two) / sizeof(two[0])) ? 2 : 1;
}

/* Controls, and what turns the direction of writing or is not seen. */
static bool is_harmful(uint32_t c)
{
	static const struct range ranges[] = {{0, 0x1f},        {0x7f, 0x9f},      {0xad, 0xad},     {0x61c, 0x61c},
	                                      {0x200b, 0x200f}, {0x2028, 0x202e},  {0x2060, 0x206f}, {0xfeff, 0xfeff},
	                                      {0xfff9, 0xfffb}, {0xe0000, 0xe007f}};

	return is_in(c, ranges, sizeof(ranges) / sizeof(ranges[0]));
}

size_t text_columns(const char *text)
{
	size_t columns = 0;
	uint32_t c;

	while ((c = text_next(&text)))
		columns += is_harmful(c) ? 1 : columns_of(c);
	return columns;
}

void text_print_lines(FILE *f, const char *text)
{
	for (const char *begin = text; *begin; begin = text) {
		const uint32_t c = text_next(&text);

		if (c == '\n' || (!is_harmful(c) && c != 0xfffd))
			fwrite(begin, 1, (size_t)(text - begin), f);
		else
			fputs(c == 0xfffd ? "\xef\xbf\xbd" : "?", f);
	}
}

size_t text_print(FILE *f, const char *text, size_t columns, bool utf8)
{
	const size_t all = text_columns(text), room = all > columns ? columns - (columns > 0) : columns;
	size_t taken = 0;

	for (;;) {
		const char *begin = text;
		const uint32_t c = text_next(&text);
		size_t wide;

		if (!c)
			break;
		wide = is_harmful(c) ? 1 : columns_of(c);
		if (taken + wide > room)
			break;
		if (is_harmful(c) || (!utf8 && c > '~'))
			fprintf(f, "%.*s", (int)wide, "??");
		else if (c == 0xfffd)
			fputs("\xef\xbf\xbd", f);
		else
			fwrite(begin, 1, (size_t)(text - begin), f);
		taken += wide;
	}
	if (all > columns && columns > 0) {
		fputs(utf8 ? "\xe2\x80\xa6" : "~", f);
		taken++;
	}
	return taken;
}
