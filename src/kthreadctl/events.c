/* SPDX-License-Identifier: MIT */
#include "kthreadctl/events.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "kthreadctl/human.h"
#include "kthreadctl/table.h"
#include "kthreadctl/text.h"
#include "kthreadctl/threads.h"

struct line {
	const char *who, *attribute;
	char *what;
};

__attribute__((format(printf, 4, 5))) static void say(struct line *line, const char *who, const char *attribute,
                                                      const char *format, ...)
{
	va_list args;

	line->who = who;
	line->attribute = attribute;
	va_start(args, format);
	if (vasprintf(&line->what, format, args) < 0)
		line->what = NULL;
	va_end(args);
}

static const char *cpus(const char *list)
{
	return !list ? "(many)" : *list ? list : "no CPU";
}

/* A result below 0 is an errno, as those of the library are. */
static void result(struct line *line, const char *who, const char *what, int64_t value)
{
	if (value < 0 && value > -4096)
		say(line, who, RED, "%s: %" PRId64 " (%s)", what, value, strerror((int)-value));
	else
		say(line, who, NULL, "%s: %" PRId64, what, value);
}

static void affine(struct line *line, const struct ctl_event *e)
{
	const char *why = threads_why(e->reason), *broken = e->broken ? "broken: " : "";

	if (e->error)
		say(line, e->name, RED, "the kernel refused %s -> %s with %s (%s)", cpus(e->from), cpus(e->to),
		    e->error, why);
	else if (!e->from && strcmp(e->reason, "start") == 0)
		say(line, e->name, e->broken ? RED : NULL, "%sruns on %s (%s)", broken, cpus(e->to), why);
	else
		say(line, e->name, e->broken ? RED : NULL, "%s%s -> %s (%s)", broken, cpus(e->from), cpus(e->to), why);
}

static void step(struct line *line, const struct ctl_event *e)
{
	char what[64];

	snprintf(what, sizeof(what), "step: %.20s on CPU %" PRId64, e->call, e->cpu);
	if (e->result)
		result(line, e->name, what, e->result);
	else
		say(line, e->name, NULL, "%s: done", what);
}

static void log_message(struct line *line, const struct ctl_event *e)
{
	static const char *const levels[] = {"emergency", "alert",  "critical",    "error",
	                                     "warning",   "notice", "information", "debug"};

	say(line, "library", e->level <= LOG_WARNING ? RED : NULL, "%s: %s",
	    e->level <= LOG_DEBUG ? levels[e->level] : "?", e->message);
}

static void describe(struct line *line, const struct ctl_event *e)
{
	switch (e->type) {
	case CTL_EVENT_WATCH:
		say(line, e->process, BOLD, "watching (pid %" PRId64 ", libkthread %s)", e->pid, e->library);
		break;
	case CTL_EVENT_CREATE:
		say(line, e->name, NULL, "created (thread %" PRId64 ")", e->tid);
		break;
	case CTL_EVENT_START:
		say(line, e->name, NULL, "started");
		break;
	case CTL_EVENT_PARK:
		say(line, e->name, NULL, "parked");
		break;
	case CTL_EVENT_UNPARK:
		say(line, e->name, NULL, "unparked");
		break;
	case CTL_EVENT_FREEZE:
		say(line, e->name, NULL, "frozen");
		break;
	case CTL_EVENT_THAW:
		say(line, e->name, NULL, "thawed");
		break;
	case CTL_EVENT_STOP:
		say(line, e->name, NULL, "asked to stop");
		break;
	case CTL_EVENT_EXIT:
		result(line, e->name, "ended, result", e->result);
		break;
	case CTL_EVENT_ADOPT:
		say(line, e->name, NULL, "adopted (thread %" PRId64 ")", e->tid);
		break;
	case CTL_EVENT_UNADOPT:
		say(line, e->name, NULL, "given back");
		break;
	case CTL_EVENT_AFFINE:
		affine(line, e);
		break;
	case CTL_EVENT_VIEW:
		say(line, "machine", NULL, "view %" PRId64 ": online %s, usable %s, housekeeping %s", e->generation,
		    cpus(e->online), cpus(e->usable_cpus), cpus(e->housekeeping));
		break;
	case CTL_EVENT_CPU:
		say(line, "machine", e->usable ? GREEN : YELLOW, "CPU %" PRId64 " %s (%s)", e->cpu,
		    e->usable ? "is usable now" : "is not usable any more", e->cause);
		break;
	case CTL_EVENT_STEP:
		step(line, e);
		break;
	case CTL_EVENT_FREEZE_ALL:
		say(line, "all", YELLOW, "a freeze begins");
		break;
	case CTL_EVENT_THAW_ALL:
		say(line, "all", GREEN, "the freeze has ended");
		break;
	case CTL_EVENT_LOG:
		log_message(line, e);
		break;
	case CTL_EVENT_LOST:
		say(line, "watch", YELLOW, "too slow: %" PRId64 " events are missing here", e->count);
		break;
	case CTL_EVENT_OTHER:
		say(line, "?", NULL, "%s (of a newer library)", e->type_name);
		break;
	}
}

bool events_print(const struct ctl_event *event, int64_t epoch_ns, bool colour, FILE *out)
{
	struct line line = {0};
	char clock[32], *who, *what;
	bool done;

	describe(&line, event);
	human_clock(clock, sizeof(clock), epoch_ns, event->time_ns);
	who = text_dup(line.who ? line.who : "?");
	what = line.what ? text_dup(line.what) : NULL;
	done = who && what;
	if (done) {
		const int pad = text_columns(who) < 16 ? 16 - (int)text_columns(who) : 0;

		if (colour && line.attribute)
			fprintf(out, "\033[%sm", line.attribute);
		fprintf(out, "%s  %s%*s  %s", clock, who, pad, "", what);
		fputs(colour && line.attribute ? "\033[0m\n" : "\n", out);
	}
	free(who);
	free(what);
	free(line.what);
	return done;
}
