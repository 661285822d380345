/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kthreadctl/human.h"
#include "kthreadctl/lanes.h"
#include "kthreadctl/layout.h"
#include "kthreadctl/svg.h"

#define CPUS_MOST 32
#define THREADS_MOST 150
#define QUIET_MOST 48 /* with more threads, those to which nothing happened are left out */

#define MARGIN 24.
#define SIZE 12.
#define SMALL 10.
#define CPU_ROW 18.
#define ROW 30.
#define BAR 16.    /* at the bottom of a row; above it the markers */
#define SPAN 1000. /* of the time axis */
#define POINTER 8.

enum shape {
	ACTIVE,
	BROKEN,
	PARKED,
	FROZEN,
	STOPPING,
	CREATED,
	MANY,
	MOVE,
	REFUSED,
	PARK,
	STOP,
	USABLE,
	OFFLINE,
	UNUSABLE,
	SHAPES
};

static const struct svg_entry shapes[SHAPES] = {
    [ACTIVE] = {"active", SVG_BAR, "runs or waits, on these CPUs"},
    [BROKEN] = {"brk", SVG_BAR, "broken: runs elsewhere"},
    [PARKED] = {"parked", SVG_BAR, "parked"},
    [FROZEN] = {"frozen", SVG_BAR, "frozen"},
    [STOPPING] = {"stopping", SVG_BAR, "stopping"},
    [CREATED] = {"created", SVG_BAR, "not started"},
    [MANY] = {"many", SVG_BAR, "several changes"},
    [MOVE] = {"move", SVG_POINTER, "moved to other CPUs"},
    [REFUSED] = {"refused", SVG_POINTER, "the kernel refused"},
    [PARK] = {"park", SVG_POINTER, "parked"},
    [STOP] = {"stop", SVG_POINTER, "asked to stop"},
    [USABLE] = {"usable", SVG_BAR, "CPU usable"},
    [OFFLINE] = {"off", SVG_BAR, "CPU offline"},
    [UNUSABLE] = {"unusable", SVG_BAR, "CPU not for us"},
};

static const enum shape of_state[LANE_STATES] = {
    [LANE_USABLE] = USABLE,   [LANE_UNUSABLE] = UNUSABLE, [LANE_OFFLINE] = OFFLINE,
    [LANE_CREATED] = CREATED, [LANE_ACTIVE] = ACTIVE,     [LANE_PARKED] = PARKED,
    [LANE_FROZEN] = FROZEN,   [LANE_STOPPING] = STOPPING, [LANE_BROKEN] = BROKEN,
};

static const enum shape of_marker[MARKERS] = {
    [MARKER_MOVE] = MOVE, [MARKER_REFUSED] = REFUSED, [MARKER_PARK] = PARK, [MARKER_STOP] = STOP};

struct canvas {
	FILE *f;
	const struct timeline *t;
	struct lane_view view;
	bool used[SHAPES];
	double name, axis, end; /* where they begin; the axis' end */
	double narrow;          /* what is narrower than that is drawn together with its neighbours */
	double top, cpus, threads, bottom, width, height;
};

static double x_of(const struct canvas *c, int64_t time)
{
	if (time > c->view.end)
		time = c->view.end;
	return c->axis + SPAN * (double)(time - c->view.begin) / (double)(c->view.end - c->view.begin);
}

static double fit(double value, double least, double most)
{
	return value < least ? least : value > most ? most : value;
}

static double segment_end(const struct canvas *c, const struct lane *lane, size_t i)
{
	return i + 1 < lane->n_segments ? x_of(c, lane->segments[i + 1].begin) : c->end;
}

/* Narrow neighbours are drawn as one: how many from i on; where they end. */
static size_t together(const struct canvas *c, const struct lane *lane, size_t i, double *ret_end)
{
	double begin = x_of(c, lane->segments[i].begin), end = segment_end(c, lane, i);
	size_t count = 1;

	for (; end - begin < c->narrow && i + count < lane->n_segments; count++) {
		const double next = segment_end(c, lane, i + count);

		if (next - end >= c->narrow)
			break;
		begin = end;
		end = next;
	}
	*ret_end = end;
	return count;
}

static void find_used(struct canvas *c)
{
	double end;

	c->used[ACTIVE] = c->used[MOVE] = c->used[USABLE] = true;
	for (size_t i = 0; i < c->view.n_cpus; i++) {
		const struct lane *lane = c->view.cpus[i].lane;

		size_t count;

		for (size_t j = 0; j < lane->n_segments; j += count) {
			count = together(c, lane, j, &end);
			c->used[count > 1 ? MANY : of_state[lane->segments[j].state]] = true;
		}
	}
	for (size_t i = 0; i < c->view.n_threads; i++) {
		const struct lane *lane = c->view.threads[i];
		size_t count;

		for (size_t j = 0; j < lane->n_segments; j += count) {
			count = together(c, lane, j, &end);
			c->used[MANY] |= count > 1;
			if (count == 1 && lane->segments[j].state != LANE_GONE)
				c->used[of_state[lane->segments[j].state]] = true;
		}
		for (size_t j = 0; j < lane->n_markers; j++)
			c->used[of_marker[lane->markers[j].kind]] = true;
	}
}

static int lay_out(struct canvas *c, int64_t end_ns)
{
	double name = 80;
	int error = lanes_view(c->t, end_ns, CPUS_MOST, THREADS_MOST, c->t->n_threads <= QUIET_MOST, &c->view);

	if (error)
		return error;
	for (size_t i = 0; i < c->view.n_threads; i++)
		name = fit(svg_text_width(c->view.threads[i]->name, SIZE), name, 220);
	for (size_t i = 0; i < c->view.n_cpus; i++)
		name = fit(svg_text_width(c->view.cpus[i].cpus, SIZE) + 34, name, 220);
	c->name = MARGIN + 8;
	c->axis = c->name + name + 14;
	c->end = c->axis + SPAN;
	c->width = c->end + MARGIN + 16;
	c->narrow = 3 + (double)c->view.n_threads / 15;
	find_used(c);
	return 0;
}

/* ---- head and axis ---- */

static double head(struct canvas *c, FILE *f, char *summary)
{
	const struct ctl_dump *d = c->t->dump;
	const double room = c->width - 2 * MARGIN;
	char text[512], duration[32];
	double y = MARGIN + 16;

	snprintf(text, sizeof(text), "%.200s \xc2\xb7 pid %" PRId64, d->process, d->pid);
	if (f)
		svg_text(f, "t b", 18, SVG_START, MARGIN, y, room, text);
	human_age(duration, sizeof(duration), c->view.end - c->view.begin);
	snprintf(text, sizeof(text), "%.100s, for %s \xc2\xb7 libkthread %.100s \xc2\xb7 %zu threads, %zu events",
	         d->time, duration, d->library, c->t->n_threads, c->t->events);
	y += 22;
	if (f)
		svg_text(f, "m", SIZE, SVG_START, MARGIN, y, room, text);
	return svg_paragraph(f, "m", SIZE, MARGIN, y + 18, room, summary);
}

static void axis(struct canvas *c)
{
	const int64_t span = c->view.end - c->view.begin, step = lanes_tick(span, 12);

	for (int64_t at = 0; at <= span; at += step) {
		const double x = x_of(c, c->view.begin + at);
		char text[32];

		lanes_seconds(at, step, text);
		if (at == 0)
			strcpy(text, "0 s");
		svg_text(c->f, "m", SMALL, SVG_MIDDLE, x, c->top - 6, 80, text);
		svg_line(c->f, "grid", x, c->top, x, c->bottom);
		if (at > INT64_MAX - step)
			break;
	}
}

/* ---- lanes ---- */

static void segment_title(const struct canvas *c, const struct lane *lane, size_t first, size_t count, char *text,
                          size_t size)
{
	const struct segment *s = &lane->segments[first];
	const int64_t end = first + count < lane->n_segments ? lane->segments[first + count].begin : c->view.end;
	const int64_t step = lanes_tick(c->view.end - c->view.begin, 1000);
	char from[32], to[32];

	lanes_seconds(s->begin - c->view.begin, step, from);
	lanes_seconds(end - c->view.begin, step, to);
	if (count > 1)
		snprintf(text, size, "%zu changes, %s to %s s", count, from, to);
	else
		snprintf(text, size, "%s%s%s, %s to %s s", lane_state_name(s->state), *s->cpus ? ", CPUs " : "",
		         s->cpus, from, to);
}

static void segments(struct canvas *c, const struct lane *lane, double y, double height)
{
	size_t count;

	for (size_t i = 0; i < lane->n_segments; i += count) {
		const struct segment *s = &lane->segments[i];
		const double x = x_of(c, s->begin);
		const char *class = shapes[of_state[s->state]].class;
		char title[512];
		double end;

		if (s->begin >= c->view.end)
			return;
		count = together(c, lane, i, &end);
		if (count > 1)
			class = shapes[MANY].class;
		else if (s->state == LANE_GONE)
			continue;
		segment_title(c, lane, i, count, title, sizeof(title));
		svg_rect(c->f, class, x, y, end - x > 4 ? end - x - 1 : fit(end - x, 1, 4), height, 2, title);
		if (count == 1 && *s->cpus && s->state != LANE_PARKED)
			svg_text(c->f, "in", SMALL, SVG_START, x + 5, y + height / 2 + 3.5, end - x - 8, s->cpus);
	}
}

static void markers(struct canvas *c, const struct lane *lane, double y)
{
	const double apart = POINTER + c->narrow - 3;
	size_t count;

	for (size_t i = 0; i < lane->n_markers; i += count) {
		const struct marker *m = &lane->markers[i];
		const double x = x_of(c, m->time);
		char title[512], at[32];

		if (m->time > c->view.end)
			return;
		for (count = 1; i + count < lane->n_markers; count++) {
			if (x_of(c, lane->markers[i + count].time) - x >= apart)
				break;
		}
		lanes_seconds(m->time - c->view.begin, lanes_tick(c->view.end - c->view.begin, 1000), at);
		if (count > 1)
			snprintf(title, sizeof(title), "%s s: %.400s, and %zu more", at, m->text, count - 1);
		else
			snprintf(title, sizeof(title), "%s s: %.400s", at, m->text);
		svg_pointer(c->f, shapes[of_marker[m->kind]].class, x, y, POINTER, title);
	}
}

static void section(struct canvas *c, double y, const char *name)
{
	svg_rect(c->f, "head", MARGIN, y, c->end + 16 - MARGIN, 18, 3, NULL);
	svg_text(c->f, "t b", SMALL, SVG_START, c->name, y + 13, c->axis - c->name, name);
}

static void lanes(struct canvas *c)
{
	for (size_t i = 0; i < c->view.n_cpus; i++) {
		const double y = c->cpus + CPU_ROW * (double)i;
		char name[256];

		snprintf(name, sizeof(name), "CPU %s", c->view.cpus[i].cpus);
		svg_text(c->f, "t", SIZE, SVG_START, c->name, y + 13.5, c->axis - c->name - 10, name);
		segments(c, c->view.cpus[i].lane, y + 3, CPU_ROW - 6);
	}
	for (size_t i = 0; i < c->view.n_threads; i++) {
		const struct lane *lane = c->view.threads[i];
		const double y = c->threads + ROW * (double)i;

		svg_text(c->f, lane->broken ? "r b" : "t", SIZE, SVG_START, c->name, y + ROW - BAR / 2 + .5,
		         c->axis - c->name - 10, lane->name);
		segments(c, lane, y + ROW - BAR - 4, BAR);
		markers(c, lane, y + ROW - BAR - 4.5);
	}
}

static void zebra(struct canvas *c)
{
	for (size_t i = 0; i < c->view.n_threads; i += 2)
		svg_rect(c->f, "zebra", MARGIN, c->threads + ROW * (double)i, c->end + 16 - MARGIN, ROW, 0, NULL);
}

/* ---- below ---- */

static double remark(const struct canvas *c, FILE *f, double y, const char *class, const char *text)
{
	if (f)
		svg_text(f, class, SIZE, SVG_START, MARGIN + 8, y + 4, c->width - 2 * MARGIN - 8, text);
	return y + 20;
}

static double remarks(const struct canvas *c, FILE *f)
{
	const struct lane_view *v = &c->view;
	double y = svg_legend(f, shapes, c->used, SHAPES, MARGIN + 8, c->bottom + 26, c->end);
	char text[200], at[32];

	if (v->cpus_left_out > 0) {
		snprintf(text, sizeof(text), "CPUs left out: %zu.", v->cpus_left_out);
		y = remark(c, f, y, "r", text);
	}
	if (v->quiet_left_out > 0) {
		snprintf(text, sizeof(text), "Threads left out, to which nothing happened: %zu.", v->quiet_left_out);
		y = remark(c, f, y, "m", text);
	}
	if (v->busy_left_out > 0) {
		snprintf(text, sizeof(text),
		         "Threads left out, for there are too many, to which something happened: %zu.",
		         v->busy_left_out);
		y = remark(c, f, y, "r", text);
	}
	if (c->t->left_out > 0) {
		snprintf(text, sizeof(text), "It ends early. Events left out: %zu.", c->t->left_out);
		y = remark(c, f, y, "r", text);
	}
	if (c->t->lost > 0) {
		lanes_seconds(c->t->first_lost - v->begin, 1000000, at);
		snprintf(text, sizeof(text),
		         "The daemon was faster than we: %" PRId64 " events are missing, at %s s (dashed) and later.",
		         c->t->lost, at);
		y = remark(c, f, y, "r", text);
	}
	return y;
}

static void draw(struct canvas *c, char *summary)
{
	const double header = head(c, NULL, summary) + 8;
	const struct ctl_dump *d = c->t->dump;
	char title[512];

	c->top = header + 14;
	c->cpus = c->top + 22;
	c->threads = c->cpus + CPU_ROW * (double)c->view.n_cpus + 8 + 22;
	c->bottom = c->threads + ROW * (double)c->view.n_threads + 4;
	c->height = remarks(c, NULL) + MARGIN - 14;
	snprintf(title, sizeof(title), "%.200s (pid %" PRId64 "), %.100s: what happened", d->process, d->pid, d->time);
	svg_begin(c->f, c->width, c->height, title);
	head(c, c->f, summary);
	zebra(c);
	section(c, c->top, "CPUS");
	section(c, c->threads - 22, "THREADS");
	axis(c);
	lanes(c);
	if (c->t->lost > 0 && c->t->first_lost < c->view.end)
		svg_line(c->f, "lost", x_of(c, c->t->first_lost), c->top, x_of(c, c->t->first_lost), c->bottom);
	svg_line(c->f, "rule", MARGIN, c->bottom, c->end + 16, c->bottom);
	remarks(c, c->f);
	svg_end(c->f);
}

int timeline_svg(const struct timeline *t, int64_t end_ns, FILE *f)
{
	struct canvas c = {.f = f, .t = t};
	char *summary = layout_summary(t->dump);
	int error = summary ? lay_out(&c, end_ns) : -ENOMEM;

	if (!error)
		draw(&c, summary);
	free(summary);
	lanes_view_free(&c.view);
	return error;
}
