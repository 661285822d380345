/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kthreadctl/human.h"
#include "kthreadctl/lanes.h"
#include "kthreadctl/layout.h"
#include "kthreadctl/text.h"

#define CPUS_MOST 32
#define WIDTH_LEAST 40

struct sign {
	const char *ascii, *utf8, *colour, *meaning;
};

/* Of a stretch of time in which there were several, the last one is shown: it is the strongest. */
enum { SIGN_MOVE = LANE_STATES, SIGNS };

static const struct sign signs[SIGNS] = {
    [LANE_USABLE] = {"=", "\xe2\x94\x80", "", "usable"},
    [LANE_UNUSABLE] = {":", ":", "2", "not for us"},
    [LANE_OFFLINE] = {"x", "\xc3\x97", "2", "offline"},
    [LANE_GONE] = {" ", " ", "", NULL},
    [LANE_CREATED] = {".", "\xc2\xb7", "2", "not started"},
    [LANE_ACTIVE] = {"=", "\xe2\x94\x80", "36", "runs or waits"},
    [LANE_PARKED] = {"p", "p", "33", "parked"},
    [LANE_FROZEN] = {"f", "f", "35", "frozen"},
    [LANE_STOPPING] = {"s", "s", "33", "stopping"},
    [LANE_BROKEN] = {"!", "!", "1;31", "broken: runs elsewhere"},
    [SIGN_MOVE] = {"^", "\xe2\x96\xb2", "1", "moved"},
};

struct painter {
	FILE *f;
	const struct map_options *options;
	struct lane_view view;
	unsigned int width, name, bins;
	bool used[SIGNS];
	const char *colour; /* what is on */
};

/* "" = none. A lane is long, and of few colours. */
static void colour(struct painter *p, const char *sgr)
{
	if (!p->options->colour || strcmp(p->colour, sgr) == 0)
		return;
	fprintf(p->f, *sgr ? "\033[0;%sm" : "\033[0m", sgr);
	p->colour = sgr;
}

static void put(struct painter *p, unsigned int sign)
{
	colour(p, signs[sign].colour);
	fputs(p->options->utf8 ? signs[sign].utf8 : signs[sign].ascii, p->f);
}

static int64_t bin_begin(const struct painter *p, unsigned int bin)
{
	const int64_t span = p->view.end - p->view.begin;

	return p->view.begin + span / p->bins * bin + span % p->bins * bin / p->bins;
}

/* Both cursors move on to the end of the bin. */
static unsigned int sign_of(const struct lane *lane, int64_t begin, int64_t end, size_t *segment, size_t *marker)
{
	unsigned int sign = LANE_GONE;

	/* What was at the bin's begin, and all that began in it */
	for (bool any = false; *segment < lane->n_segments && lane->segments[*segment].begin < end;
	     any = true, ++*segment) {
		const struct segment *s = &lane->segments[*segment];

		if (!any && *segment > 0 && s->begin > begin)
			sign = lane->segments[*segment - 1].state;
		if (s->state > sign || sign == LANE_GONE)
			sign = s->state;
	}
	if (sign == LANE_GONE && *segment > 0)
		sign = lane->segments[*segment - 1].state;
	for (; *marker < lane->n_markers && lane->markers[*marker].time < end; ++*marker) {
		if (lane->markers[*marker].kind == MARKER_MOVE)
			sign = SIGN_MOVE;
	}
	return sign;
}

static void draw_lane(struct painter *p, const char *what, const char *name, const struct lane *lane)
{
	size_t segment = 0, marker = 0, taken = strlen(what);

	fputs(what, p->f);
	taken += text_print(p->f, name, p->name - 1 - taken, p->options->utf8);
	fprintf(p->f, "%*s", (int)(p->name - taken), "");
	for (unsigned int bin = 0; bin < p->bins; bin++) {
		const unsigned int sign = sign_of(lane, bin_begin(p, bin), bin_begin(p, bin + 1), &segment, &marker);

		p->used[sign] = true;
		put(p, sign);
	}
	colour(p, "");
	fputc('\n', p->f);
}

static void axis(const struct painter *p)
{
	const int64_t span = p->view.end - p->view.begin, step = lanes_tick(span, p->bins / 10 ? p->bins / 10 : 1);
	unsigned int at = 0;

	fprintf(p->f, "%-*s", (int)p->name, "seconds");
	for (int64_t time = 0; time < span; time += step) {
		const unsigned int column = (unsigned int)((double)p->bins * (double)time / (double)span);
		char text[32];

		lanes_seconds(time, step, text);
		if (column < at || column + strlen(text) > p->bins)
			continue;
		at += (unsigned int)fprintf(p->f, "%*s%s", (int)(column - at), "", text);
		if (time > INT64_MAX - step)
			break;
	}
	fputc('\n', p->f);
}

/* Words over as many lines as it takes. */
static void say(const struct painter *p, const char *text)
{
	while (*text) {
		size_t length = strlen(text), shown;

		if (length > p->width) {
			for (length = p->width; length > 0 && text[length] != ' '; length--)
				;
			length = length > 0 ? length : p->width;
		}
		shown = length;
		fprintf(p->f, "%.*s\n", (int)shown, text);
		for (text += length; *text == ' '; text++)
			;
	}
}

static void legend(struct painter *p)
{
	unsigned int at = 0;

	fputc('\n', p->f);
	for (unsigned int i = SIGNS; i-- > 0;) {
		const unsigned int columns = signs[i].meaning ? 2 + (unsigned int)strlen(signs[i].meaning) : 0;

		if (!columns || !p->used[i])
			continue;
		if (at > 0 && at + 3 + columns > p->width) {
			fputc('\n', p->f);
			at = 0;
		}
		fputs(at > 0 ? "   " : "", p->f);
		at += (at > 0 ? 3 : 0) + columns;
		put(p, i);
		colour(p, "");
		fprintf(p->f, " %s", signs[i].meaning);
	}
	fputc('\n', p->f);
}

static void remarks(const struct painter *p, const struct timeline *t)
{
	char text[160];

	if (p->view.cpus_left_out > 0) {
		snprintf(text, sizeof(text), "CPUs left out: %zu.", p->view.cpus_left_out);
		say(p, text);
	}
	if (p->view.quiet_left_out > 0) {
		snprintf(text, sizeof(text), "Threads left out, to which nothing happened: %zu.",
		         p->view.quiet_left_out);
		say(p, text);
	}
	if (t->left_out > 0) {
		snprintf(text, sizeof(text), "It ends early. Events left out: %zu.", t->left_out);
		say(p, text);
	}
	if (t->lost > 0) {
		snprintf(text, sizeof(text), "The daemon was faster than we: %" PRId64 " events are missing.", t->lost);
		say(p, text);
	}
}

static void head(const struct painter *p, const struct timeline *t)
{
	char text[512], duration[32];

	human_age(duration, sizeof(duration), p->view.end - p->view.begin);
	snprintf(text, sizeof(text), "%.200s (pid %" PRId64 "), %.100s, for %s, %zu events", t->dump->process,
	         t->dump->pid, t->dump->time, duration, t->events);
	text_print(p->f, text, p->width, p->options->utf8);
	fputs("\n\n", p->f);
}

int timeline_text(const struct timeline *t, int64_t end_ns, const struct map_options *options, FILE *f)
{
	struct painter p = {.f = f, .options = options, .colour = ""};
	int error = lanes_view(t, end_ns, CPUS_MOST, t->n_threads, options->every, &p.view);

	if (error)
		return error;
	p.width = options->width < WIDTH_LEAST ? WIDTH_LEAST : options->width;
	p.name = 8;
	for (size_t i = 0; i < p.view.n_cpus; i++) {
		if (p.name < strlen(p.view.cpus[i].cpus) + 5)
			p.name = (unsigned int)strlen(p.view.cpus[i].cpus) + 5;
	}
	for (size_t i = 0; i < p.view.n_threads; i++) {
		if (p.name < text_columns(p.view.threads[i]->name) + 1)
			p.name = (unsigned int)text_columns(p.view.threads[i]->name) + 1;
	}
	if (p.name > p.width / 3)
		p.name = p.width / 3;
	p.bins = p.width - p.name;
	head(&p, t);
	axis(&p);
	for (size_t i = 0; i < p.view.n_cpus; i++)
		draw_lane(&p, "CPU ", p.view.cpus[i].cpus, p.view.cpus[i].lane);
	fputc('\n', f);
	for (size_t i = 0; i < p.view.n_threads; i++)
		draw_lane(&p, "", p.view.threads[i]->name, p.view.threads[i]);
	legend(&p);
	remarks(&p, t);
	lanes_view_free(&p.view);
	return 0;
}
