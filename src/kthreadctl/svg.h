/* SPDX-License-Identifier: MIT */
/*
 * The few SVG elements that the pictures are made of. Self-contained: no script, no image, no font but the generic
 * sans-serif; light, and dark where the viewer asks for it. Text never leaves the room that it is given: its width is
 * estimated (of the widest common sans-serif), and what does not fit is cut, with the whole of it in a <title>.
 * Numbers don't depend on the locale. Write errors are left to the stream (ferror()).
 */
#ifndef KTHREADCTL_SVG_H
#define KTHREADCTL_SVG_H

#include <stdbool.h>
#include <stdio.h>

enum svg_anchor { SVG_START, SVG_MIDDLE, SVG_END };

/* title and all texts: UTF-8, escaped here. class: our own, written as it is. */
void svg_begin(FILE *f, double width, double height, const char *title);
void svg_end(FILE *f);

/* title NULL: none. */
void svg_rect(FILE *f, const char *class, double x, double y, double width, double height, double radius,
              const char *title);
void svg_line(FILE *f, const char *class, double x1, double y1, double x2, double y2);
void svg_circle(FILE *f, const char *class, double x, double y, double radius);
/* A triangle that points down to (x, y), `size` wide and high. */
void svg_pointer(FILE *f, const char *class, double x, double y, double size, const char *title);
/* y: of the base line. room: the width that there is; nothing is written where not even an ellipsis fits. */
void svg_text(FILE *f, const char *class, double size, enum svg_anchor anchor, double x, double y, double room,
              const char *text);
/* Words between ", " over as many lines as it takes, the first one on y; returns where the next would be. f NULL: only that.
 * The text is left as it was. */
double svg_paragraph(FILE *f, const char *class, double size, double x, double y, double room, char *text);

enum svg_symbol { SVG_BAR, SVG_OUTLINE, SVG_DOT, SVG_POINTER };

struct svg_entry {
	const char *class;
	enum svg_symbol symbol;
	const char *text;
};

/*
 * Those of the entries that are used, in columns of one width between x and end; the first line's middle is y. Returns
 * where the middle of a next line would be. f NULL: only that.
 */
double svg_legend(FILE *f, const struct svg_entry *entries, const bool *used, size_t count, double x, double y,
                  double end);

/* What it is at most. */
double svg_text_width(const char *text, double size);

#endif
