/* SPDX-License-Identifier: MIT */
/*
 * The map as SVG. Three things can be told apart in a row, whatever falls together: where the thread may run is a bar,
 * what it wishes an outline, where it ran last a dot.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kthreadctl/human.h"
#include "kthreadctl/layout.h"
#include "kthreadctl/map.h"
#include "kthreadctl/svg.h"

#define COLUMNS_MOST 128
#define ROWS_MOST 400

#define MARGIN 24.
#define SIZE 12.  /* of text */
#define SMALL 10. /* of CPU numbers */
#define ROW 22.
#define GRID_WISHED 880. /* what the cells would take together */
#define CELL_LEAST 9.
#define CELL_MOST 36.
#define GAP 6.
#define WIDTH_LEAST 760.

enum shape { LAST, EFFECTIVE, WISH, BROKEN, TOLD, EXTRA, OFFLINE, UNUSABLE, SHAPES };

static const struct svg_entry shapes[SHAPES] = {
    [LAST] = {"last", SVG_DOT, "ran here last"},
    [EFFECTIVE] = {"eff", SVG_BAR, "may run here"},
    [WISH] = {"wish", SVG_OUTLINE, "wishes to be here"},
    [BROKEN] = {"brk", SVG_BAR, "broken: runs elsewhere"},
    [TOLD] = {"told", SVG_BAR, "should, but the kernel says no"},
    [EXTRA] = {"extra", SVG_BAR, "the kernel lets it, not asked for"},
    [OFFLINE] = {"off", SVG_BAR, "CPU offline"},
    [UNUSABLE] = {"unusable", SVG_BAR, "CPU not for us"},
};

struct canvas {
	FILE *f;
	const struct ctl_dump *dump;
	struct layout layout;
	struct rows rows;
	size_t shown;      /* rows */
	bool used[SHAPES]; /* what the legend has to explain */
	double *left;      /* of each column */
	double cell;
	double name, state, wish; /* where these columns begin */
	double note;
	double grid, grid_end, top, bottom, width, height;
};

static double fit(double value, double least, double most)
{
	return value < least ? least : value > most ? most : value;
}

static int place_columns(struct canvas *c)
{
	double x = c->grid;

	c->left = malloc(c->layout.n_columns * sizeof(*c->left));
	if (!c->left)
		return -ENOMEM;
	c->cell = fit(GRID_WISHED / c->layout.n_columns, CELL_LEAST, CELL_MOST);
	for (unsigned int i = 0; i < c->layout.n_columns; i++) {
		x += c->layout.columns[i].gap == GAP_NODE ? 2 * GAP : c->layout.columns[i].gap == GAP_CACHE ? GAP : 0;
		c->left[i] = x;
		x += c->cell;
	}
	c->grid_end = x;
	return 0;
}

static void note_text(const struct row *row, char *text, size_t size)
{
	const char *error = row->thread->last.error;
	char time[32] = "";

	if (row->broken_ns >= 0)
		human_age(time, sizeof(time), row->broken_ns);
	snprintf(text, size, "%s%s%s%s%.24s", row->broken ? "broken" : "", *time ? " " : "", time,
	         row->broken && error ? ", " : "", error ? error : "");
}

static int lay_out(struct canvas *c, bool every)
{
	double name = 60, state = 60, wish = 40;
	char note[80];
	int error = layout_columns(c->dump, COLUMNS_MOST, &c->layout);

	if (!error)
		error = layout_rows(c->dump, every, &c->rows);
	if (error)
		return error;
	c->shown = c->rows.n_rows < ROWS_MOST ? c->rows.n_rows : ROWS_MOST;
	for (size_t i = 0; i < c->shown; i++) {
		const struct row *row = &c->rows.rows[i];

		name = fit(svg_text_width(row->name, SIZE), name, 220);
		state = fit(svg_text_width(row->state, SIZE), state, 90);
		wish = fit(svg_text_width(row->wish, SIZE), wish, 150);
		note_text(row, note, sizeof(note));
		c->note = fit(svg_text_width(note, SIZE) + 14, c->note, 240);
	}
	c->name = MARGIN + 8;
	c->state = c->name + name + 14;
	c->wish = c->state + state + 14;
	c->grid = c->wish + wish + 14;
	error = place_columns(c);
	c->width = fit(c->grid_end + c->note + MARGIN + 8, WIDTH_LEAST, 1e6);
	return error;
}

/* ---- head ---- */

static double head(struct canvas *c, FILE *f, char *summary)
{
	const double room = c->width - 2 * MARGIN;
	char text[512];
	double y = MARGIN + 16;

	snprintf(text, sizeof(text), "%.200s \xc2\xb7 pid %" PRId64, c->dump->process, c->dump->pid);
	if (f)
		svg_text(f, "t b", 18, SVG_START, MARGIN, y, room, text);
	snprintf(text, sizeof(text), "%.100s \xc2\xb7 libkthread %.100s \xc2\xb7 %zu threads", c->dump->time,
	         c->dump->library, c->dump->n_threads);
	y += 22;
	if (f)
		svg_text(f, "m", SIZE, SVG_START, MARGIN, y, room, text);
	return svg_paragraph(f, "m", SIZE, MARGIN, y + 18, room, summary);
}

/* ---- the CPUs ---- */

static void bands(struct canvas *c, double y)
{
	double free_from = 0;

	for (unsigned int i = 0; i < c->layout.n_bands; i++) {
		const struct band *band = &c->layout.bands[i];
		const double x = c->left[band->first], end = c->left[band->first + band->count - 1] + c->cell;
		char text[32];
		double half;

		svg_rect(c->f, "head", x, y, end - x, 18, 3, NULL);
		snprintf(text, sizeof(text), band->node < 0 ? "CPUs" : "node %" PRId64, band->node);
		if (band->node >= 0 && svg_text_width(text, SMALL) > end - x - 4)
			snprintf(text, sizeof(text), "%" PRId64, band->node);
		half = svg_text_width(text, SMALL) / 2 + 1;
		if ((x + end) / 2 - half < free_from || band->node < 0)
			continue; /* of many small nodes, every second or third is named */
		svg_text(c->f, "t b", SMALL, SVG_MIDDLE, (x + end) / 2, y + 13, 2 * half, text);
		free_from = (x + end) / 2 + half + 2;
	}
}

/* Every first, second, fourth ... of each group, whatever there is room for. */
static void numbers(struct canvas *c, double y)
{
	unsigned int step = 1, in_group = 0;
	double widest, free_from = 0;
	char text[16];

	snprintf(text, sizeof(text), "%u", c->dump->width - 1);
	widest = svg_text_width(text, SMALL) + 3;
	while (step * c->cell < widest)
		step *= 2;
	for (unsigned int i = 0; i < c->layout.n_columns; i++) {
		const bool usable = layout_cell(c->dump, &c->layout, i, NULL) == CELL_NONE;
		const double middle = c->left[i] + c->cell / 2;
		double to_gap = c->cell;

		in_group = c->layout.columns[i].gap ? 0 : in_group;
		if (in_group++ % step != 0 || middle - widest / 2 < free_from)
			continue;
		for (unsigned int j = i + 1; j < c->layout.n_columns && !c->layout.columns[j].gap && to_gap < widest;
		     j++)
			to_gap += c->cell;
		if (in_group > 1 && to_gap + GAP < widest) /* it would take the room of the next group's first one */
			continue;
		snprintf(text, sizeof(text), "%u", c->layout.order[c->layout.columns[i].first]);
		svg_text(c->f, usable ? "t" : "m", SMALL, SVG_MIDDLE, middle, y, widest, text);
		free_from = middle + widest / 2 - 1;
	}
}

/* ---- the threads ---- */

typedef bool predicate(const struct canvas *, const struct row *, unsigned int column);

/* Whether it may run on any CPU of the column: as it should, and as the kernel says. */
static void may(const struct canvas *c, const struct row *row, unsigned int column, bool *ret_told, bool *ret_is,
                bool *ret_both)
{
	*ret_told = *ret_is = *ret_both = false;
	for (unsigned int i = 0; i < c->layout.columns[column].count; i++) {
		const unsigned int cpu = c->layout.order[c->layout.columns[column].first + i];
		const bool told = CPU_ISSET_S(cpu, c->dump->setsize, row->effective);
		const bool is = row->actual ? CPU_ISSET_S(cpu, c->dump->setsize, row->actual) : told;

		*ret_told |= told && !is;
		*ret_is |= is && !told;
		*ret_both |= is && told;
	}
}

static bool is_effective(const struct canvas *c, const struct row *row, unsigned int column)
{
	bool told, is, both;

	may(c, row, column, &told, &is, &both);
	return both;
}

static bool is_told(const struct canvas *c, const struct row *row, unsigned int column)
{
	bool told, is, both;

	may(c, row, column, &told, &is, &both);
	return told && !both;
}

static bool is_extra(const struct canvas *c, const struct row *row, unsigned int column)
{
	bool told, is, both;

	may(c, row, column, &told, &is, &both);
	return is && !both;
}

static bool is_wished(const struct canvas *c, const struct row *row, unsigned int column)
{
	return layout_has(c->dump, &c->layout, column, row->wished);
}

static bool is_offline(const struct canvas *c, const struct row *row, unsigned int column)
{
	(void)row;
	return layout_cell(c->dump, &c->layout, column, NULL) == CELL_OFFLINE;
}

static bool is_unusable(const struct canvas *c, const struct row *row, unsigned int column)
{
	(void)row;
	return layout_cell(c->dump, &c->layout, column, NULL) == CELL_UNUSABLE;
}

/* Neighbours that agree are one shape; it does not reach over a gap. Of threads with a CPU each, each has its own. */
static bool joins(const struct canvas *c, const struct row *row, unsigned int column)
{
	if (column + 1 >= c->layout.n_columns || c->layout.columns[column + 1].gap)
		return false;
	return !row || !row->own || (!is_wished(c, row, column) && !is_wished(c, row, column + 1));
}

static void runs(struct canvas *c, const struct row *row, predicate *is, enum shape shape, double y, double height)
{
	static const double insets[SHAPES] = {[WISH] = .7, [EFFECTIVE] = 1, [BROKEN] = 1, [TOLD] = 1.5, [EXTRA] = 1};
	const double inset = insets[shape], radius = shape == WISH ? 3 : inset > 0 ? 2 : 0;

	for (unsigned int i = 0; i < c->layout.n_columns; i++) {
		const unsigned int first = i;

		if (!is(c, row, i))
			continue;
		while (joins(c, row, i) && is(c, row, i + 1))
			i++;
		svg_rect(c->f, shapes[shape].class, c->left[first] + inset, y,
		         c->left[i] + c->cell - c->left[first] - 2 * inset, height, radius, NULL);
	}
}

static void thread_row(struct canvas *c, const struct row *row, double y)
{
	const double base = y + ROW / 2 + 4, middle = y + ROW / 2;
	const char *class = row->broken ? "r b" : "t";
	char note[80];

	svg_text(c->f, class, SIZE, SVG_START, c->name, base, c->state - c->name - 10, row->name);
	svg_text(c->f, row->broken ? "r" : "m", SIZE, SVG_START, c->state, base, c->wish - c->state - 10, row->state);
	svg_text(c->f, "m", SIZE, SVG_START, c->wish, base, c->grid - c->wish - 10, row->wish);
	runs(c, row, is_effective, row->broken ? BROKEN : EFFECTIVE, y + 5, ROW - 10);
	runs(c, row, is_told, TOLD, y + 5.5, ROW - 11);
	runs(c, row, is_extra, EXTRA, y + 5, ROW - 10);
	runs(c, row, is_wished, WISH, y + 2.5, ROW - 5);
	for (unsigned int i = 0; i < c->layout.n_columns; i++) {
		if (layout_has(c->dump, &c->layout, i, row->last))
			svg_circle(c->f, "last", c->left[i] + c->cell / 2, middle, fit(c->cell / 4, 2.5, 4));
	}
	note_text(row, note, sizeof(note));
	svg_text(c->f, "r", SIZE, SVG_START, c->grid_end + 14, base, c->note - 13, note);
}

/* ---- below ---- */

static double legend(const struct canvas *c, FILE *f)
{
	return svg_legend(f, shapes, c->used, SHAPES, MARGIN + 8, c->bottom + 26, c->width - MARGIN);
}

static double remarks(const struct canvas *c, FILE *f, double y)
{
	char text[160];

	if (c->layout.per_column > 1) {
		snprintf(text, sizeof(text), "A column stands for up to %u CPUs, of which the first is named.",
		         c->layout.per_column);
		if (f)
			svg_text(f, "m", SIZE, SVG_START, MARGIN + 8, y + 4, c->width - 2 * MARGIN - 8, text);
		y += 20;
	}
	if (c->shown < c->rows.n_rows) {
		size_t threads = 0;

		for (size_t i = c->shown; i < c->rows.n_rows; i++)
			threads += c->rows.rows[i].count;
		snprintf(text, sizeof(text), "%zu more threads, in %zu rows, are left out.", threads,
		         c->rows.n_rows - c->shown);
		if (f)
			svg_text(f, "r", SIZE, SVG_START, MARGIN + 8, y + 4, c->width - 2 * MARGIN - 8, text);
		y += 20;
	}
	return y;
}

static void find_used(struct canvas *c)
{
	c->used[LAST] = c->used[EFFECTIVE] = c->used[WISH] = true;
	for (unsigned int i = 0; i < c->layout.n_columns; i++) {
		c->used[OFFLINE] |= is_offline(c, NULL, i);
		c->used[UNUSABLE] |= is_unusable(c, NULL, i);
		for (size_t j = 0; j < c->shown; j++) {
			const struct row *row = &c->rows.rows[j];

			c->used[BROKEN] |= row->broken;
			c->used[TOLD] |= is_told(c, row, i);
			c->used[EXTRA] |= is_extra(c, row, i);
		}
	}
}

static void draw(struct canvas *c, char *summary)
{
	const double header = head(c, NULL, summary) + 8;
	char title[512];

	find_used(c);
	c->top = header + 18 + 20;
	c->bottom = c->top + ROW * (double)c->shown;
	c->height = remarks(c, NULL, legend(c, NULL)) + MARGIN - 14;
	snprintf(title, sizeof(title), "%.200s (pid %" PRId64 "), %.100s: threads on CPUs", c->dump->process,
	         c->dump->pid, c->dump->time);
	svg_begin(c->f, c->width, c->height, title);
	head(c, c->f, summary);
	bands(c, header);
	numbers(c, header + 32);
	svg_text(c->f, "m b", SMALL, SVG_START, c->name, header + 32, c->state - c->name - 10, "THREAD");
	svg_text(c->f, "m b", SMALL, SVG_START, c->state, header + 32, c->wish - c->state - 10, "STATE");
	svg_text(c->f, "m b", SMALL, SVG_START, c->wish, header + 32, c->grid - c->wish - 10, "WISH");
	for (size_t i = 0; i < c->shown; i += 2)
		svg_rect(c->f, "zebra", MARGIN, c->top + ROW * (double)i, c->width - 2 * MARGIN, ROW, 0, NULL);
	runs(c, NULL, is_offline, OFFLINE, c->top, c->bottom - c->top);
	runs(c, NULL, is_unusable, UNUSABLE, c->top, c->bottom - c->top);
	for (size_t i = 0; i < c->shown; i++)
		thread_row(c, &c->rows.rows[i], c->top + ROW * (double)i);
	svg_line(c->f, "rule", MARGIN, c->top, c->width - MARGIN, c->top);
	svg_line(c->f, "rule", MARGIN, c->bottom, c->width - MARGIN, c->bottom);
	remarks(c, c->f, legend(c, c->f));
	svg_end(c->f);
}

int map_svg(const struct ctl_dump *dump, bool every, FILE *f)
{
	struct canvas c = {.f = f, .dump = dump};
	char *summary = layout_summary(dump);
	int error = summary ? lay_out(&c, every) : -ENOMEM;

	if (!error)
		draw(&c, summary);
	free(summary);
	free(c.left);
	layout_free(&c.layout);
	layout_rows_free(&c.rows);
	return error;
}
