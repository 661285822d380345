/* SPDX-License-Identifier: MIT */
#include "svg_check.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DEPTH 16
#define BAND 32. /* no text is higher */
#define BANDS 1024
#define SLACK 0.25 /* positions are rounded to tenths */

struct box {
	double x1, y1, x2, y2;
	const char *at;
};

struct boxes {
	struct box *box;
	size_t count, room;
};

struct check {
	const char *svg, *at;
	char open[DEPTH][16];
	unsigned int depth;
	struct svg_facts facts;
	struct boxes texts[BANDS], rects; /* texts: by height */
};

static void wrong(const struct check *c, const char *at, const char *what)
{
	fail_msg("%s, at byte %zu: %.100s", what, (size_t)(at - c->svg), at);
}

static void add(struct boxes *boxes, struct box box)
{
	if (boxes->count == boxes->room) {
		boxes->room = boxes->room ? 2 * boxes->room : 256;
		boxes->box = realloc(boxes->box, boxes->room * sizeof(box));
		assert_non_null(boxes->box);
	}
	boxes->box[boxes->count++] = box;
}

/* Character data up to `end`: UTF-8, no control, no bare '&' and '<'. */
static void check_characters(const struct check *c, const char *begin, const char *end)
{
	static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;"};

	for (const char *p = begin; p < end; p++) {
		bool known = false;

		if ((unsigned char)*p < ' ' && *p != '\n' && *p != '\t')
			wrong(c, p, "a control character");
		if (*p == '<')
			wrong(c, p, "a bare <");
		if (*p != '&')
			continue;
		for (size_t i = 0; i < sizeof(entities) / sizeof(entities[0]); i++)
			known = known || strncmp(p, entities[i], strlen(entities[i])) == 0;
		if (!known)
			wrong(c, p, "a bare &");
	}
}

/* The value of an attribute in a tag that ends at `end`; NULL. */
static const char *attribute(const char *tag, const char *end, const char *name)
{
	char pattern[32];
	const char *found;

	snprintf(pattern, sizeof(pattern), " %s=\"", name);
	found = memmem(tag, (size_t)(end - tag), pattern, strlen(pattern));
	return found ? found + strlen(pattern) : NULL;
}

static double number(const struct check *c, const char *tag, const char *end, const char *name)
{
	const char *value = attribute(tag, end, name);
	char *rest;
	double number;

	if (!value)
		wrong(c, tag, name);
	number = strtod(value, &rest);
	if (rest == value || *rest != '"')
		wrong(c, value, "no number");
	return number;
}

static void check_attributes(const struct check *c, const char *p, const char *end)
{
	while (p < end) {
		const char *close;

		if (*p != ' ')
			wrong(c, p, "no blank before an attribute");
		for (p++; isalnum((unsigned char)*p) || *p == '-' || *p == ':'; p++)
			;
		if (strncmp(p, "=\"", 2) != 0)
			wrong(c, p, "no =\"");
		p += 2;
		close = memchr(p, '"', (size_t)(end - p));
		if (!close)
			wrong(c, p, "a value without end");
		check_characters(c, p, close);
		p = close + 1;
	}
}

/* The widest of common fonts for each character: an 'm' for letters would be hopeless, so those of DejaVu Sans, bold. */
static double width_of(const char *begin, const char *end)
{
	static const char narrow[] = "iIjl.,:;|!'()[]/ \"ftr-";
	double width = 0;

	for (const char *p = begin; p < end; p++) {
		if (*p == '<') { /* the <title> */
			p = strstr(p, "</title>") + strlen("</title>") - 1;
			continue;
		}
		if (*p == '&')
			p = strchr(p, ';');
		if ((*p & 0xc0) == 0x80)
			continue;
		width += strchr(narrow, *p) ? .42 : strchr("mwMW@%", *p) ? 1 : (unsigned char)*p >= 0x80 ? 1 : .66;
	}
	return width;
}

static void check_inside(struct check *c, struct box box)
{
	if (box.x1 < -SLACK || box.y1 < -SLACK || box.x2 > c->facts.width + SLACK || box.y2 > c->facts.height + SLACK)
		wrong(c, box.at, "it leaves the picture");
}

static void check_alone(const struct boxes *others, struct box box)
{
	for (size_t i = 0; i < others->count; i++) {
		const struct box *o = &others->box[i];

		if (box.x1 + SLACK < o->x2 && o->x1 + SLACK < box.x2 && box.y1 + SLACK < o->y2 &&
		    o->y1 + SLACK < box.y2)
			fail_msg("a text over another: %.120s\n-- and --\n%.120s", box.at, o->at);
	}
}

static void check_text(struct check *c, const char *tag, const char *end)
{
	const char *close = strstr(end, "</text>"), *anchor = attribute(tag, end, "text-anchor");
	const char *class = attribute(tag, end, "class");
	const double size = number(c, tag, end, "font-size"), x = number(c, tag, end, "x"),
		     y = number(c, tag, end, "y");
	bool in = false;
	double width;
	struct box box;
	size_t band;

	if (!close)
		wrong(c, tag, "no end");
	width = width_of(end + 1, close) * size;
	box = (struct box){.x1 = x, .x2 = x + width, .y1 = y - size * .8, .y2 = y + size * .25, .at = tag};
	if (anchor) {
		const double shift = strncmp(anchor, "middle", 6) == 0 ? width / 2 : width;

		box.x1 -= shift;
		box.x2 -= shift;
	}
	check_inside(c, box);
	band = box.y1 > 0 ? (size_t)(box.y1 / BAND) : 0;
	assert_true(band + 1 < BANDS && box.y2 - box.y1 < BAND);
	for (size_t i = band > 0 ? band - 1 : 0; i <= band + 1; i++)
		check_alone(&c->texts[i], box);
	add(&c->texts[band], box);
	c->facts.texts++;
	if (!class || strncmp(class, "in\"", 3) != 0)
		return;
	for (size_t i = c->rects.count; i-- > 1 && !in;) { /* the first one is the background */
		const struct box *o = &c->rects.box[i];

		in = box.x1 > o->x1 - SLACK && box.x2 < o->x2 + SLACK && box.y1 > o->y1 - SLACK &&
		     box.y2 < o->y2 + SLACK;
	}
	if (!in)
		wrong(c, tag, "not inside of its rectangle");
}

static void check_shape(struct check *c, const char *name, const char *tag, const char *end)
{
	struct box box = {.at = tag};

	if (strcmp(name, "rect") == 0) {
		const double width = number(c, tag, end, "width"), height = number(c, tag, end, "height");

		if (width < 0 || height < 0)
			wrong(c, tag, "less than nothing");
		box.x1 = number(c, tag, end, "x");
		box.y1 = number(c, tag, end, "y");
		box.x2 = box.x1 + width;
		box.y2 = box.y1 + height;
		add(&c->rects, box);
	} else if (strcmp(name, "circle") == 0) {
		const double r = number(c, tag, end, "r"), x = number(c, tag, end, "cx"), y = number(c, tag, end, "cy");

		box = (struct box){x - r, y - r, x + r, y + r, tag};
	} else if (strcmp(name, "line") == 0) {
		box.x1 = number(c, tag, end, "x1");
		box.x2 = number(c, tag, end, "x2");
		box.y1 = number(c, tag, end, "y1");
		box.y2 = number(c, tag, end, "y2");
	} else {
		return;
	}
	check_inside(c, box);
}

static void open_element(struct check *c, const char *end)
{
	const char *tag = c->at;
	const bool empty = end[-1] == '/';
	size_t length = 1;
	char *name;

	while (isalnum((unsigned char)tag[length]))
		length++;
	assert_true(c->depth < DEPTH && length < sizeof(c->open[0]));
	name = c->open[c->depth];
	memcpy(name, tag + 1, length - 1);
	name[length - 1] = '\0';
	check_attributes(c, tag + length, empty ? end - 1 : end);
	if (strcmp(name, "script") == 0 || strcmp(name, "image") == 0 || strcmp(name, "foreignObject") == 0)
		wrong(c, tag, "not self-contained");
	if (strcmp(name, "svg") == 0) {
		c->facts.width = number(c, tag, end, "width");
		c->facts.height = number(c, tag, end, "height");
	} else if (strcmp(name, "text") == 0) {
		check_text(c, tag, end);
	} else {
		check_shape(c, name, tag, end);
	}
	c->facts.elements++;
	if (!empty)
		c->depth++;
}

static void close_element(struct check *c, const char *end)
{
	const char *name = c->at + 2;

	if (c->depth == 0 || strlen(c->open[c->depth - 1]) != (size_t)(end - name) ||
	    strncmp(c->open[c->depth - 1], name, (size_t)(end - name)) != 0)
		wrong(c, c->at, "it closes nothing");
	c->depth--;
}

struct svg_facts svg_check(const char *svg)
{
	static const char declaration[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
	struct check c = {.svg = svg};

	if (strncmp(svg, declaration, strlen(declaration)) != 0)
		wrong(&c, svg, "no XML declaration");
	c.at = svg + strlen(declaration);
	for (const char *at = svg; (at = strstr(at, "://")); at++) {
		if (at - svg < 4 || strncmp(at - 4, "http://www.w3.org/2000/svg\"", 27) != 0)
			wrong(&c, at, "a reference");
	}
	for (const char *at = svg; (at = strstr(at, "url(")); at++) {
		if (at[4] != '#')
			wrong(&c, at, "a reference");
	}
	while (*c.at) {
		const char *end, *next = strchr(c.at, '<');

		if (!next)
			next = c.at + strlen(c.at);
		check_characters(&c, c.at, next);
		if (c.depth == 0 && strspn(c.at, "\n") < (size_t)(next - c.at))
			wrong(&c, c.at, "text outside of the picture");
		c.at = next;
		if (!*next)
			break;
		end = strchr(next, '>');
		if (!end)
			wrong(&c, next, "a tag without end");
		if (next[1] == '/')
			close_element(&c, end);
		else
			open_element(&c, end);
		c.at = end + 1;
	}
	if (c.depth != 0)
		wrong(&c, c.at, "an element without end");
	for (size_t i = 0; i < BANDS; i++)
		free(c.texts[i].box);
	free(c.rects.box);
	return c.facts;
}
