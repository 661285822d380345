/* SPDX-License-Identifier: MIT */
#include "events.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct teller {
	event_fn tell;
	uint64_t at_ns;
	size_t count;
};

__attribute__((format(printf, 4, 5))) static void say(struct teller *teller, enum mood mood, const char *who,
                                                      const char *format, ...)
{
	char what[400];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	teller->count++;
	teller->tell(teller->at_ns, mood, who, what);
}

static const char *why(const struct row *row)
{
	switch (row->info.last_reason) {
	case KTHREAD_REASON_NONE:
		return "not placed yet";
	case KTHREAD_REASON_START:
		return "it started";
	case KTHREAD_REASON_WISH:
		return "it has a new wish";
	case KTHREAD_REASON_CPUS:
		return "CPUs or the cpuset changed";
	case KTHREAD_REASON_HOUSEKEEPING:
		return "the housekeeping CPUs changed";
	case KTHREAD_REASON_LOST:
		return "the kernel or somebody else had changed its mask";
	}
	return kthread_reason_name(row->info.last_reason); /* of a newer library */
}

/* A sleep in kthread_wait() and the turn after it are the same to us. */
static enum kthread_state settled(enum kthread_state state)
{
	return state == KTHREAD_WAITING ? KTHREAD_RUNNING : state;
}

static void machine_set(struct teller *teller, const char *name, const char *before, const char *now)
{
	if (!before)
		say(teller, MOOD_PLAIN, "machine", "%s CPUs %s", name, now);
	else if (strcmp(before, now) != 0)
		say(teller, MOOD_PLAIN, "machine", "%s CPUs %s -> %s", name, before, now);
}

static void newcomer(struct teller *teller, const struct row *row)
{
	say(teller, row->info.broken ? MOOD_BAD : MOOD_PLAIN, row->info.name, "wish %s, runs on %s%s (thread %d)",
	    row->wish, row->effective, row->info.broken ? ", broken" : "", (int)row->info.tid);
}

/*
 * We looked after the library had decided about a wish and before this thread was given the result: its reason is still
 * the last one's. Nothing has happened to the thread yet; the next look will tell.
 */
static void wait_for_turn(const struct row *before, struct row *now)
{
	char *text;

	if (strcmp(before->effective, now->effective) == 0 || now->info.last_place_ns != before->info.last_place_ns)
		return;
	text = strdup(before->effective);
	if (text) {
		free(now->effective);
		now->effective = text;
	}
}

static void place(struct teller *teller, const struct row *before, const struct row *now)
{
	const char *name = now->info.name;
	const bool moved = strcmp(before->effective, now->effective) != 0;

	if (strcmp(before->wish, now->wish) != 0)
		say(teller, MOOD_PLAIN, name, "wish %s -> %s", before->wish, now->wish);
	if (now->info.broken && !before->info.broken)
		say(teller, MOOD_BAD, name, "broken: %s -> %s (%s)", before->effective, now->effective, why(now));
	else if (!now->info.broken && before->info.broken)
		say(teller, MOOD_GOOD, name, "back: %s -> %s (%s)", before->effective, now->effective, why(now));
	else if (moved)
		say(teller, MOOD_PLAIN, name, "%s -> %s (%s)", before->effective, now->effective, why(now));
	else if (now->info.reaffines != before->info.reaffines)
		say(teller, MOOD_PLAIN, name, "%s, put back by the library (%s)", now->effective, why(now));
}

/*
 * The kernel's mask, where it stays another one than the library's: between a change and the library's answer it always
 * is for a moment, so it counts from the second look on.
 */
static void reality(struct teller *teller, const struct row *before, struct row *now)
{
	now->astray = strcmp(now->actual, now->effective) == 0 ? 0 : before->astray + 1;
	if (now->info.last_error && now->info.refusals != before->info.refusals)
		say(teller, MOOD_BAD, now->info.name, "the kernel refuses %s: %s", now->effective,
		    strerror(now->info.last_error));
	if (now->astray == 2 || (now->astray > 2 && strcmp(now->actual, before->actual) != 0))
		say(teller, MOOD_BAD, now->info.name, "the kernel has %s, not %s", now->actual, now->effective);
	else if (before->astray >= 2 && now->astray == 0)
		say(teller, MOOD_GOOD, now->info.name, "the kernel has %s again", now->actual);
}

/* Without a cpuset and a taskset the usable CPUs are the online ones, and not worth a line. */
static void machine(struct teller *teller, const struct look *before, const struct look *now)
{
	const bool plain =
	    strcmp(now->usable, now->online) == 0 && (!before || strcmp(before->usable, before->online) == 0);

	machine_set(teller, "online", before ? before->online : NULL, now->online);
	if (!plain)
		machine_set(teller, "usable", before ? before->usable : NULL, now->usable);
	machine_set(teller, "housekeeping", before ? before->housekeeping : NULL, now->housekeeping);
}

size_t events(const struct look *before, struct look *now, event_fn tell)
{
	struct teller teller = {.tell = tell, .at_ns = now->at_ns};

	machine(&teller, before, now);
	for (size_t i = 0; i < now->count; i++) {
		struct row *row = &now->rows[i];
		const struct row *old = before ? look_find(before, row) : NULL;

		if (!old) {
			newcomer(&teller, row);
			continue;
		}
		if (settled(old->info.state) != settled(row->info.state))
			say(&teller, MOOD_PLAIN, row->info.name, "%s -> %s",
			    kthread_state_name(settled(old->info.state)), kthread_state_name(settled(row->info.state)));
		wait_for_turn(old, row);
		place(&teller, old, row);
		reality(&teller, old, row);
	}
	for (size_t i = 0; before && i < before->count; i++) {
		if (!look_find(now, &before->rows[i]))
			say(&teller, MOOD_PLAIN, before->rows[i].info.name, "has ended");
	}
	return teller.count;
}
