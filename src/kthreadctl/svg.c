/* SPDX-License-Identifier: MIT */
#include "kthreadctl/svg.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kthreadctl/text.h"

/*
 * Okabe and Ito's colours, which the colour-blind tell apart too; tints where text stands on them. CSS variables and media
 * queries are passed over by simple viewers, so the light colours are plain rules.
 */
static const char style[] =
    "text{font-family:sans-serif}\n"
    ".bg{fill:#fff}.t{fill:#1b1f24}.m{fill:#57606a}.r{fill:#a33c00}.b{font-weight:bold}.in{fill:#1b1f24}\n"
    ".zebra{fill:#f5f7f9}.head{fill:#eaeef2}.rule{stroke:#d0d7de;stroke-width:1}.grid{stroke:#d0d7de;stroke-width:.5}\n"
    ".off{fill:url(#hatch)}.unusable{fill:#d6dce2}.hl{stroke:#98a2ad;stroke-width:1.2}\n"
    ".eff{fill:#56b4e9}.brk{fill:#e8804a}.told{fill:none;stroke:#0072b2;stroke-width:1.2;stroke-dasharray:3 2}\n"
    ".extra{fill:#e69f00}.wish{fill:none;stroke:#1b1f24;stroke-width:1.4}\n"
    ".last{fill:#10202e;stroke:#fff;stroke-width:1}\n"
    ".usable{fill:#cdeadf}.active{fill:#a6d8f4}.created{fill:#eaeef2}.parked{fill:#c3cad1}.frozen{fill:#f0c9dd}\n"
    ".stopping{fill:#f2e68a}.many{fill:#b58ad6}.refused{fill:#d55e00}.lost{stroke:#a33c00;stroke-width:1.2;stroke-dasharray:4 3}.move{fill:#0072b2}.park{fill:#57606a}.stop{fill:#a33c00}\n"
    "@media(prefers-color-scheme:dark){.bg{fill:#16191d}.t{fill:#e6e8eb}.m{fill:#a3adb8}.r{fill:#ff9b5e}\n"
    ".zebra{fill:#1d2126}.head{fill:#272c33}.rule,.grid{stroke:#3a414a}.unusable{fill:#343b44}.hl{stroke:#6b7683}\n"
    ".wish{stroke:#e6e8eb}.told{stroke:#8fd0f5}.created{fill:#b9c2cb}.move{fill:#8fd0f5}.park{fill:#a3adb8}\n"
    ".stop{fill:#ff9b5e}}";

/* In thousandths of the size, from ' ' on: those of DejaVu Sans, wider than most. */
static const uint16_t widths[] = {318,  401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337,
                                  636,  636, 636, 636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531,
                                  1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656, 557, 863, 748, 787,
                                  603,  787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838, 500,
                                  500,  613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612,
                                  635,  635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838};

static double width_of(uint32_t c)
{
	if (c >= ' ' && c < ' ' + sizeof(widths) / sizeof(widths[0]))
		return widths[c - ' '] / 1000.;
	return c < 0x2000 ? .9 : 1.05;
}

/* Bold and other fonts: a tenth more. */
double svg_text_width(const char *text, double size)
{
	double width = 0;
	uint32_t c;

	while ((c = text_next(&text)))
		width += width_of(c);
	return width * size * 1.1;
}

static void number(FILE *f, double value)
{
	const long tenths = lround(value * 10);

	fprintf(f, "%s%ld", tenths < 0 ? "-" : "", labs(tenths) / 10);
	if (tenths % 10)
		fprintf(f, ".%ld", labs(tenths) % 10);
}

static void attribute(FILE *f, const char *name, double value)
{
	fprintf(f, " %s=\"", name);
	number(f, value);
	fputc('"', f);
}

static void character(FILE *f, const char *begin, const char *end, uint32_t c)
{
	switch (c) {
	case '&':
		fputs("&amp;", f);
		break;
	case '<':
		fputs("&lt;", f);
		break;
	case '>':
		fputs("&gt;", f);
		break;
	case '"':
		fputs("&quot;", f);
		break;
	default: /* XML has no other controls, and no U+FFFE and U+FFFF */
		if ((c < ' ' && c != '\t' && c != '\n') || c == 0xfffd || c == 0xfffe || c == 0xffff)
			fputs("\xef\xbf\xbd", f);
		else
			fwrite(begin, 1, (size_t)(end - begin), f);
	}
}

/* As much of it as fits into `room`, which may be INFINITY. */
static void escaped(FILE *f, const char *text, double size, double room)
{
	double width = 0;

	for (;;) {
		const char *begin = text;
		const uint32_t c = text_next(&text);

		width += c ? width_of(c) * size * 1.1 : 0;
		if (!c || width > room)
			return;
		character(f, begin, text, c);
	}
}

static void title_element(FILE *f, const char *title)
{
	fputs("<title>", f);
	escaped(f, title, 1, INFINITY);
	fputs("</title>", f);
}

/* The end of an element that may have a title. */
static void finish(FILE *f, const char *element, const char *title)
{
	if (!title) {
		fputs("/>\n", f);
		return;
	}
	fputc('>', f);
	title_element(f, title);
	fprintf(f, "</%s>\n", element);
}

void svg_begin(FILE *f, double width, double height, const char *title)
{
	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\"", f);
	attribute(f, "width", width);
	attribute(f, "height", height);
	fputs(" viewBox=\"0 0 ", f);
	number(f, width);
	fputc(' ', f);
	number(f, height);
	fputs("\">\n", f);
	title_element(f, title);
	fprintf(f, "\n<style>%s</style>\n", style);
	fputs(
	    "<defs><pattern id=\"hatch\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" "
	    "patternTransform=\"rotate(45)\"><line class=\"hl\" x1=\"1\" y1=\"0\" x2=\"1\" y2=\"5\"/></pattern></defs>\n",
	    f);
	svg_rect(f, "bg", 0, 0, width, height, 0, NULL);
}

void svg_end(FILE *f)
{
	fputs("</svg>\n", f);
}

void svg_rect(FILE *f, const char *class, double x, double y, double width, double height, double radius,
              const char *title)
{
	fprintf(f, "<rect class=\"%s\"", class);
	attribute(f, "x", x);
	attribute(f, "y", y);
	attribute(f, "width", width);
	attribute(f, "height", height);
	if (radius > 0)
		attribute(f, "rx", radius);
	finish(f, "rect", title);
}

void svg_line(FILE *f, const char *class, double x1, double y1, double x2, double y2)
{
	fprintf(f, "<line class=\"%s\"", class);
	attribute(f, "x1", x1);
	attribute(f, "y1", y1);
	attribute(f, "x2", x2);
	attribute(f, "y2", y2);
	finish(f, "line", NULL);
}

void svg_circle(FILE *f, const char *class, double x, double y, double radius)
{
	fprintf(f, "<circle class=\"%s\"", class);
	attribute(f, "cx", x);
	attribute(f, "cy", y);
	attribute(f, "r", radius);
	finish(f, "circle", NULL);
}

void svg_pointer(FILE *f, const char *class, double x, double y, double size, const char *title)
{
	fprintf(f, "<path class=\"%s\" d=\"M", class);
	number(f, x);
	fputc(' ', f);
	number(f, y);
	fputs("l", f);
	number(f, -size / 2);
	fputc(' ', f);
	number(f, -size);
	fputs("h", f);
	number(f, size);
	fputs("z\"", f);
	finish(f, "path", title);
}

void svg_text(FILE *f, const char *class, double size, enum svg_anchor anchor, double x, double y, double room,
              const char *text)
{
	static const char *const anchors[] = {"start", "middle", "end"};
	static const char ellipsis[] = "\xe2\x80\xa6";
	const bool fits = svg_text_width(text, size) <= room;
	const double left = room - svg_text_width(ellipsis, size);

	if (!*text || (!fits && left < size)) /* an ellipsis alone says nothing */
		return;
	fprintf(f, "<text class=\"%s\"", class);
	attribute(f, "x", x);
	attribute(f, "y", y);
	attribute(f, "font-size", size);
	if (anchor != SVG_START)
		fprintf(f, " text-anchor=\"%s\"", anchors[anchor]);
	fputc('>', f);
	if (!fits)
		title_element(f, text);
	escaped(f, text, size, fits ? INFINITY : left);
	if (!fits)
		fputs(ellipsis, f);
	fputs("</text>\n", f);
}

static char *after_word(char *text)
{
	char *comma = strstr(text, ", ");

	return comma ? comma + 2 : text + strlen(text);
}

double svg_paragraph(FILE *f, const char *class, double size, double x, double y, double room, char *text)
{
	while (*text) {
		char *end = after_word(text);

		/* as many words as there is room for, but one */
		while (*end) {
			char *next = after_word(end);
			const char was = *next;
			double width;

			*next = '\0';
			width = svg_text_width(text, size);
			*next = was;
			if (width > room)
				break;
			end = next;
		}
		if (f) {
			const char was = *end;

			*end = '\0';
			svg_text(f, class, size, SVG_START, x, y, room, text);
			*end = was;
		}
		text = end;
		y += size * 1.5;
	}
	return y;
}

static void symbol(FILE *f, const struct svg_entry *entry, double x, double y)
{
	switch (entry->symbol) {
	case SVG_DOT:
		svg_circle(f, entry->class, x + 9, y, 4);
		break;
	case SVG_OUTLINE:
		svg_rect(f, entry->class, x, y - 7, 18, 14, 3, NULL);
		break;
	case SVG_POINTER:
		svg_pointer(f, entry->class, x + 9, y + 4, 8, NULL);
		break;
	default:
		svg_rect(f, entry->class, x, y - 6, 18, 12, 2, NULL);
	}
}

double svg_legend(FILE *f, const struct svg_entry *entries, const bool *used, size_t count, double x, double y,
                  double end)
{
	const double size = 12, left = x;
	double widest = 0;

	for (size_t i = 0; i < count; i++) {
		if (used[i])
			widest = fmax(widest, svg_text_width(entries[i].text, size));
	}
	for (size_t i = 0; i < count; i++) {
		if (!used[i])
			continue;
		if (x > left && x + 26 + widest > end) {
			x = left;
			y += 22;
		}
		if (f) {
			symbol(f, &entries[i], x, y);
			svg_text(f, "m", size, SVG_START, x + 26, y + 4, fmin(widest + .1, end - x - 26),
			         entries[i].text);
		}
		x += 26 + widest + 10;
	}
	return y + 24;
}
