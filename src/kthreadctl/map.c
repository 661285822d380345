/* SPDX-License-Identifier: MIT */
#include "kthreadctl/map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kthreadctl/human.h"
#include "kthreadctl/layout.h"
#include "kthreadctl/text.h"

#define WIDTH_LEAST 40
#define PITCH_MOST 3
#define WIDE_ENOUGH 72 /* for the columns of state and wish */

/* What the terminal is told (SGR); "" = nothing. */
#define PLAIN ""
#define BOLD "1"
#define DIM "2"
#define RED "1;31"
#define YELLOW "33"
#define MAGENTA "1;35"
#define CYAN "36"

struct sign {
	const char *ascii, *utf8, *colour, *meaning;
};

static const struct sign signs[CELLS] = {
    [CELL_NONE] = {" ", "\xc2\xb7", DIM, NULL},
    [CELL_UNUSABLE] = {":", ":", DIM, "not for us"},
    [CELL_OFFLINE] = {"x", "\xc3\x97", DIM, "offline"},
    [CELL_WISHED] = {".", "\xe2\x97\x87", YELLOW, "wished, but it cannot"},
    [CELL_EFFECTIVE] = {"+", "\xe2\x97\x8b", CYAN, "may run here"},
    [CELL_TOLD] = {"-", "\xe2\x97\x8c", MAGENTA, "should, but the kernel says no"},
    [CELL_EXTRA] = {"!", "!", MAGENTA, "the kernel says yes, nobody asked for it"},
    [CELL_LAST] = {"#", "\xe2\x97\x8f", BOLD, "ran here last"},
};

struct painter {
	FILE *f;
	const struct ctl_dump *dump;
	const struct map_options *options;
	struct layout layout;
	struct rows rows;
	unsigned int width;
	unsigned int pitch;             /* columns that a cell takes, blanks in front included */
	unsigned int name, state, wish; /* columns that they take, the blank behind them included */
	bool used[CELLS], any_broken;
	const char *colour; /* what is on */
};

static void colour(struct painter *p, const char *sgr)
{
	if (!p->options->colour || strcmp(p->colour, sgr) == 0)
		return;
	fprintf(p->f, *sgr ? "\033[0;%sm" : "\033[0m", sgr);
	p->colour = sgr;
}

static void pad(struct painter *p, size_t columns)
{
	fprintf(p->f, "%*s", (int)columns, "");
}

/* Exactly `columns`, of which the last is blank. */
static void field(struct painter *p, const char *sgr, const char *text, unsigned int columns)
{
	if (columns == 0)
		return;
	colour(p, sgr);
	columns -= (unsigned int)text_print(p->f, text, columns - 1, p->options->utf8);
	colour(p, PLAIN);
	pad(p, columns);
}

/* Words separated by ", ", over as many lines as it takes; a word longer than a line is cut. The text is left as it was. */
static void wrapped(struct painter *p, const char *sgr, char *text)
{
	unsigned int at = 0;

	colour(p, sgr);
	while (*text) {
		const char *comma = strstr(text, ", ");
		char *end = comma ? text + (comma - text) + 1 : text + strlen(text);
		const char was = *end;
		unsigned int columns;

		*end = '\0';
		columns = (unsigned int)text_columns(text);
		if (at > 0 && at + 1 + columns > p->width) {
			colour(p, PLAIN);
			fputc('\n', p->f);
			colour(p, sgr);
			at = 0;
		}
		if (at > 0)
			fputc(' ', p->f);
		at += (at > 0) + (unsigned int)text_print(p->f, text, p->width, p->options->utf8);
		*end = was;
		text = was ? end + 1 : end;
	}
	colour(p, PLAIN);
	fputc('\n', p->f);
}

static int head(struct painter *p)
{
	const struct ctl_dump *d = p->dump;
	char *summary = layout_summary(d), *title = NULL;

	if (!summary ||
	    asprintf(&title, "%s (pid %" PRId64 "), %s, libkthread %s", d->process, d->pid, d->time, d->library) < 0) {
		free(summary);
		return -ENOMEM;
	}
	wrapped(p, BOLD, title);
	wrapped(p, PLAIN, summary);
	fputc('\n', p->f);
	free(title);
	free(summary);
	return 0;
}

static void gap(struct painter *p, unsigned int column)
{
	if (p->layout.columns[column].gap == GAP_NODE) {
		colour(p, DIM);
		fputs(p->options->utf8 ? "\xe2\x94\x82" : "|", p->f);
	} else if (p->layout.columns[column].gap == GAP_CACHE) {
		fputc(' ', p->f);
	}
}

/* "node 0", "n0" or "0" over its columns, whatever fits. */
static void node_names(struct painter *p)
{
	pad(p, p->name + p->state + p->wish);
	for (unsigned int i = 0; i < p->layout.n_bands; i++) {
		static const char *const forms[] = {"node %" PRId64, "n%" PRId64, "%" PRId64};
		const struct band *band = &p->layout.bands[i];
		unsigned int width = band->count * p->pitch;
		char text[32] = "";

		for (unsigned int column = band->first + 1; column < band->first + band->count; column++)
			width += p->layout.columns[column].gap != GAP_NONE;
		for (unsigned int form = 0; band->node >= 0 && form < 3; form++) {
			if (snprintf(text, sizeof(text), forms[form], band->node) <= (int)width)
				break;
			text[0] = '\0';
		}
		if (i > 0 && p->layout.columns[band->first].gap == GAP_NODE)
			gap(p, band->first);
		colour(p, BOLD);
		fprintf(p->f, "%-*s", (int)width, text);
		colour(p, PLAIN);
	}
	fputc('\n', p->f);
}

static unsigned int digits(unsigned int number)
{
	return number < 10 ? 1 : 1 + digits(number / 10);
}

/* In one line: there is room between the cells. */
static void numbers_across(struct painter *p)
{
	field(p, DIM, "CPU", p->name);
	pad(p, p->state + p->wish);
	for (unsigned int i = 0; i < p->layout.n_columns; i++) {
		gap(p, i);
		colour(p, layout_cell(p->dump, &p->layout, i, NULL) == CELL_NONE ? PLAIN : DIM);
		fprintf(p->f, "%*u", (int)p->pitch, p->layout.order[p->layout.columns[i].first]);
	}
	colour(p, PLAIN);
	fputc('\n', p->f);
}

/* The number of a column's first CPU, a digit in each line; what it shares with its left neighbour is left out. */
static void numbers_down(struct painter *p)
{
	const struct layout *l = &p->layout;
	unsigned int power = 1;

	while ((p->dump->width - 1) / power >= 10)
		power *= 10;
	for (; power > 0; power /= 10) {
		field(p, DIM, power == 1 && p->name > 4 ? "CPU" : "", p->name);
		pad(p, p->state + p->wish);
		for (unsigned int i = 0; i < l->n_columns; i++) {
			const unsigned int cpu = l->order[l->columns[i].first];
			const bool same =
			    i > 0 && !l->columns[i].gap && l->order[l->columns[i - 1].first] / power == cpu / power;
			const enum cell cell = layout_cell(p->dump, l, i, NULL);

			gap(p, i);
			pad(p, p->pitch - 1);
			colour(p, cell == CELL_NONE ? PLAIN : DIM);
			if ((cpu < power && power > 1) || (same && power > 1))
				fputc(' ', p->f);
			else
				fprintf(p->f, "%u", cpu / power % 10);
		}
		colour(p, PLAIN);
		fputc('\n', p->f);
	}
}

/* Without colours, and where the note behind the cells has no room, a star says that it is broken. */
static void names(struct painter *p, const struct row *row)
{
	const char *sgr = row->broken ? RED : PLAIN;

	p->any_broken = p->any_broken || row->broken;
	if (row->broken) {
		colour(p, sgr);
		fputc('*', p->f);
		field(p, sgr, row->name, p->name - 1);
	} else {
		field(p, sgr, row->name, p->name);
	}
	field(p, sgr, row->state, p->state);
	field(p, DIM, row->wish, p->wish);
}

static void cells(struct painter *p, const struct row *row)
{
	for (unsigned int i = 0; i < p->layout.n_columns; i++) {
		const enum cell cell = layout_cell(p->dump, &p->layout, i, row);

		p->used[cell] = true;
		gap(p, i);
		pad(p, p->pitch - 1);
		colour(p, row->broken && cell == CELL_EFFECTIVE ? RED : signs[cell].colour);
		fputs(p->options->utf8 ? signs[cell].utf8 : signs[cell].ascii, p->f);
	}
	colour(p, PLAIN);
}

/* What is wrong with it, in the room that is left. */
static void note(struct painter *p, const struct row *row)
{
	const unsigned int taken = p->name + p->state + p->wish + p->layout.n_columns * p->pitch + p->layout.n_gaps;
	const char *error = row->thread->last.error;
	char text[80] = "broken", time[32];
	size_t length;

	if (!row->broken && !error)
		return;
	if (row->broken && row->broken_ns >= 0) {
		human_age(time, sizeof(time), row->broken_ns);
		snprintf(text, sizeof(text), "broken %s", time);
	}
	length = row->broken ? strlen(text) : 0;
	if (error)
		snprintf(text + length, sizeof(text) - length, "%s%.32s", length ? ", " : "", error);
	if (taken + 4 < p->width) {
		fputc(' ', p->f);
		colour(p, RED);
		text_print(p->f, text, p->width - taken - 1, p->options->utf8);
		colour(p, PLAIN);
	}
}

static void legend(struct painter *p)
{
	char broken[] = "* broken: no CPU that it must have is usable";
	unsigned int at = 0;

	fputc('\n', p->f);
	for (int i = CELLS - 1; i >= 0; i--) {
		const struct sign *sign = &signs[i];
		unsigned int columns;

		if (!sign->meaning || (!p->used[i] && i != CELL_LAST && i != CELL_EFFECTIVE))
			continue;
		columns = 2 + (unsigned int)strlen(sign->meaning);
		if (at > 0 && at + 3 + columns > p->width) {
			fputc('\n', p->f);
			at = 0;
		}
		pad(p, at > 0 ? 3 : 0);
		at += (at > 0 ? 3 : 0) + columns;
		colour(p, sign->colour);
		fputs(p->options->utf8 ? sign->utf8 : sign->ascii, p->f);
		colour(p, PLAIN);
		fputc(' ', p->f);
		text_print(p->f, sign->meaning, p->width - 2, p->options->utf8);
	}
	fputc('\n', p->f);
	if (p->any_broken)
		wrapped(p, RED, broken);
	if (p->layout.per_column > 1) {
		char text[96];

		snprintf(text, sizeof(text), "A column stands for up to %u CPUs, of which the first is named.",
		         p->layout.per_column);
		wrapped(p, PLAIN, text);
	}
}

static unsigned int widest(unsigned int so_far, const char *text)
{
	const unsigned int columns = (unsigned int)text_columns(text);

	return columns > so_far ? columns : so_far;
}

static int lay_out(struct painter *p)
{
	unsigned int most, room;
	int error = layout_rows(p->dump, p->options->every, &p->rows);

	if (error)
		return error;
	p->name = 6;
	for (size_t i = 0; i < p->rows.n_rows; i++) {
		p->name = widest(p->name, p->rows.rows[i].name);
		p->state = widest(p->state, p->rows.rows[i].state);
		p->wish = widest(p->wish, p->rows.rows[i].wish);
	}
	most = p->width / (p->width < WIDE_ENOUGH ? 3 : 4);
	p->name = (p->name + 1 < most ? p->name + 1 : most) + 1;
	if (p->width < WIDE_ENOUGH) {
		p->state = p->wish = 0;
	} else {
		p->state = (p->state < 10 ? p->state : 10) + 1;
		p->wish = (p->wish < 14 ? p->wish : 14) + 1;
	}
	room = p->width - p->name - p->state - p->wish;
	error = layout_columns(p->dump, room, &p->layout);
	if (error)
		return error;
	for (p->pitch = PITCH_MOST; p->pitch > 1; p->pitch--) { /* and half of it stays for the notes */
		if (p->layout.n_columns * p->pitch + p->layout.n_gaps <= room / 2)
			break;
	}
	return 0;
}

int map_text(const struct ctl_dump *dump, const struct map_options *options, FILE *f)
{
	struct painter p = {.f = f, .dump = dump, .options = options, .colour = PLAIN};
	int error;

	p.width = options->width < WIDTH_LEAST ? WIDTH_LEAST : options->width;
	error = lay_out(&p);
	if (!error)
		error = head(&p);
	if (error)
		goto out;
	if (p.layout.n_bands > 1 || p.layout.bands[0].node >= 0)
		node_names(&p);
	if (p.pitch > digits(dump->width - 1))
		numbers_across(&p);
	else
		numbers_down(&p);
	for (size_t i = 0; i < p.rows.n_rows; i++) {
		const struct row *row = &p.rows.rows[i];

		names(&p, row);
		cells(&p, row);
		note(&p, row);
		fputc('\n', f);
	}
	legend(&p);
out:
	layout_free(&p.layout);
	layout_rows_free(&p.rows);
	return error;
}
