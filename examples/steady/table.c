/* SPDX-License-Identifier: MIT */
/*
 * Plain ECMA-48 sequences, which every terminal of today knows; a library for that would be the larger half of this
 * program. Every line of the frame ends with a newline and the last row stays free, so that the frame also survives a
 * line-by-line relay such as a serial console.
 */
#include "table.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define ENTER "\033[?1049h\033[?25l" /* another screen, no cursor */
#define LEAVE "\033[?25h\033[?1049l"
#define HOME "\033[H"
#define REST_OF_LINE "\033[K"
#define REST_OF_SCREEN "\033[J"

#define BOLD "1"
#define REVERSE "7"
#define RED "31"
#define GREEN "32"

enum column { NAME, TID, STATE, WISH, EFFECTIVE, ACTUAL, BROKEN, LAST, AGO, COLUMNS };
static const char *const headings[COLUMNS] = {"NAME",   "TID",    "STATE", "WISH", "EFFECTIVE",
                                              "ACTUAL", "BROKEN", "LAST",  "AGO"};

#define EVENTS_KEPT 64u
static struct event {
	uint64_t at_ns;
	enum mood mood;
	char *text; /* NULL: none yet */
} ring[EVENTS_KEPT];
static size_t ring_next;

static bool coloured;
static bool raw;
static struct termios before_raw;

static void put(const char *text)
{
	fputs(text, stdout);
	fflush(stdout);
}

void table_open(bool colour)
{
	struct termios mode;

	coloured = colour;
	/* Typed keys are not echoed into the table. tcgetpgrp: as a background job we must not touch the mode. */
	if (tcgetpgrp(STDIN_FILENO) == getpgrp() && tcgetattr(STDIN_FILENO, &before_raw) == 0) {
		mode = before_raw;
		mode.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
		raw = tcsetattr(STDIN_FILENO, TCSANOW, &mode) == 0;
	}
	put(ENTER);
}

void table_close(void)
{
	put(LEAVE);
	if (raw)
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_raw);
	raw = false;
}

void table_event(uint64_t at_ns, enum mood mood, const char *who, const char *what)
{
	struct event *event = &ring[ring_next++ % EVENTS_KEPT];

	free(event->text);
	event->at_ns = at_ns;
	event->mood = mood;
	if (asprintf(&event->text, "%-10s %s", who, what) < 0)
		event->text = NULL;
}

/* ---- one frame ------------------------------------------------------------------------------------------------ */

struct frame {
	FILE *out;
	size_t width, height; /* of what we may use */
	size_t used;
};

static void window_size(struct frame *frame)
{
	struct winsize size = {0};

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) {
		size.ws_row = 24;
		size.ws_col = 80;
	}
	frame->width = size.ws_col;
	frame->height = size.ws_row - 1u;
}

/* One line, cut to the window: with an attribute (an SGR number) or NULL. False: the window is full. */
__attribute__((format(printf, 3, 4))) static bool line(struct frame *frame, const char *attribute, const char *format,
                                                       ...)
{
	char text[1024];
	va_list args;

	if (frame->used >= frame->height)
		return false;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (frame->width < sizeof(text))
		text[frame->width] = '\0';
	if (!coloured)
		attribute = NULL;
	if (attribute)
		fprintf(frame->out, "\033[%sm%s\033[0m", attribute, text);
	else
		fputs(text, frame->out);
	fputs(REST_OF_LINE "\r\n", frame->out);
	frame->used++;
	return true;
}

/* "7s", "12m", "3h": short, as the age grows. */
static void age(char *text, size_t size, uint64_t from_ns, uint64_t to_ns)
{
	const uint64_t seconds = to_ns > from_ns ? (to_ns - from_ns) / 1000000000u : 0;

	if (seconds < 100)
		snprintf(text, size, "%" PRIu64 "s", seconds);
	else if (seconds < 6000)
		snprintf(text, size, "%" PRIu64 "m", seconds / 60);
	else
		snprintf(text, size, "%" PRIu64 "h", seconds / 3600);
}

struct cells {
	const char *text[COLUMNS];
	char tid[16], broken[24], ago[16];
};

static void fill(struct cells *cells, const struct row *row, uint64_t at_ns)
{
	const struct kthread_info *info = &row->info;

	snprintf(cells->tid, sizeof(cells->tid), "%d", (int)info->tid);
	strcpy(cells->broken, "-");
	if (info->broken) {
		strcpy(cells->broken, "yes ");
		age(cells->broken + 4, sizeof(cells->broken) - 4, info->broken_since_ns, at_ns);
	}
	strcpy(cells->ago, "-");
	if (info->last_place_ns)
		age(cells->ago, sizeof(cells->ago), info->last_place_ns, at_ns);
	cells->text[NAME] = info->name;
	cells->text[TID] = cells->tid;
	cells->text[STATE] = kthread_state_name(info->state);
	cells->text[WISH] = row->wish;
	cells->text[EFFECTIVE] = row->effective;
	cells->text[ACTUAL] = row->actual;
	cells->text[BROKEN] = cells->broken;
	cells->text[LAST] = kthread_reason_name(info->last_reason);
	cells->text[AGO] = cells->ago;
}

/* What the columns need; then less for the widest mask until it fits the window. Returns the gap between columns. */
static size_t fit(size_t width[COLUMNS], const struct look *look, size_t window)
{
	static const enum column masks[] = {WISH, EFFECTIVE, ACTUAL};
	size_t gap = 2, total = 0;

	for (size_t c = 0; c < COLUMNS; c++)
		width[c] = strlen(headings[c]);
	width[STATE] = strlen("stopping"); /* these come and go: the columns shall stand still */
	width[BROKEN] = strlen("yes 99s");
	width[LAST] = strlen("housekeeping");
	for (size_t i = 0; i < look->count; i++) {
		struct cells cells;

		fill(&cells, &look->rows[i], look->at_ns);
		for (size_t c = 0; c < COLUMNS; c++) {
			if (strlen(cells.text[c]) > width[c])
				width[c] = strlen(cells.text[c]);
		}
	}
	for (size_t c = 0; c < COLUMNS; c++)
		total += width[c];
	if (total + gap * (COLUMNS - 1) > window)
		gap = 1;
	while (total + gap * (COLUMNS - 1) > window) {
		enum column widest = WISH;

		for (size_t m = 0; m < sizeof(masks) / sizeof(masks[0]); m++) {
			if (width[masks[m]] > width[widest])
				widest = masks[m];
		}
		if (width[widest] <= 6)
			break; /* a narrow window: the lines are cut */
		width[widest]--;
		total--;
	}
	return gap;
}

static void row_text(char *text, size_t size, const char *const cell[COLUMNS], const size_t width[COLUMNS], size_t gap)
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t c = 0; c < COLUMNS && used < size; c++) {
		const size_t length = strlen(cell[c]);
		const bool cut = length > width[c];
		const int shown = (int)(cut ? width[c] - 2 : length);
		const int pad = c + 1 < COLUMNS ? (int)(width[c] + gap - (cut ? width[c] : length)) : 0;
		const int n = snprintf(text + used, size - used, "%.*s%s%*s", shown, cell[c], cut ? ".." : "", pad, "");

		used += n > 0 ? (size_t)n : 0;
	}
}

static void draw_rows(struct frame *frame, const struct look *look)
{
	size_t width[COLUMNS], shown = look->count;
	const size_t gap = fit(width, look, frame->width);
	char text[1024];

	row_text(text, sizeof(text), headings, width, gap);
	line(frame, REVERSE, "%-*s", (int)(frame->width < sizeof(text) ? frame->width : sizeof(text) - 1), text);
	if (frame->used + shown > frame->height)
		shown = frame->height > frame->used + 1 ? frame->height - frame->used - 1 : 0;
	for (size_t i = 0; i < shown; i++) {
		const struct row *row = &look->rows[i];
		struct cells cells;

		fill(&cells, row, look->at_ns);
		row_text(text, sizeof(text), cells.text, width, gap);
		line(frame, row->info.broken ? RED : NULL, "%s", text);
	}
	if (shown < look->count)
		line(frame, NULL, "and %zu more: the window is too small", look->count - shown);
}

/* As many of the latest as there is room for, the newest last. */
static void draw_events(struct frame *frame, uint64_t start_ns)
{
	size_t count = ring_next < EVENTS_KEPT ? ring_next : EVENTS_KEPT;

	if (frame->used + 1 >= frame->height)
		return;
	line(frame, NULL, "%s", "");
	if (count > frame->height - frame->used)
		count = frame->height - frame->used;
	for (size_t i = ring_next - count; i < ring_next; i++) {
		const struct event *event = &ring[i % EVENTS_KEPT];
		const char *attribute = event->mood == MOOD_BAD ? RED : event->mood == MOOD_GOOD ? GREEN : NULL;

		line(frame, attribute, "%8.3f  %s", (double)(event->at_ns - start_ns) / 1e9,
		     event->text ? event->text : "");
	}
}

void table_draw(const struct look *look, const char *title, uint64_t start_ns)
{
	struct frame frame = {0};
	char *text = NULL;
	size_t size = 0, broken = 0;

	frame.out = open_memstream(&text, &size);
	if (!frame.out)
		return; /* the next one may have more luck */
	window_size(&frame);
	for (size_t i = 0; i < look->count; i++)
		broken += look->rows[i].info.broken;
	fputs(HOME, frame.out);
	line(&frame, BOLD, "%s  %.0f s  %zu threads, %zu broken", title, (double)(look->at_ns - start_ns) / 1e9,
	     look->count, broken);
	line(&frame, NULL, "online %s  usable %s  housekeeping %s", look->online, look->usable, look->housekeeping);
	draw_rows(&frame, look);
	draw_events(&frame, start_ns);
	fputs(REST_OF_SCREEN, frame.out);
	if (fclose(frame.out) == 0) {
		fwrite(text, 1, size, stdout);
		fflush(stdout);
	}
	free(text);
}
