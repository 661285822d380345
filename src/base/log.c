/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/trace.h"

struct kt_kept_message {
	STAILQ_ENTRY(kt_kept_message) next;
	int level;
	char text[];
};

static struct {
	void (*fn)(int level, const char *message, void *arg);
	void *arg;
	int stderr_level;
} sink = {.stderr_level = -1};

/* What this thread has in hand. Each lock comes by the first part: static TLS, of which a library may take little. */
static _Thread_local struct {
	unsigned int locks : 30;
	bool cancellable : 1; /* to be restored with the last lock */
	bool has_kept : 1;
} holding __attribute__((tls_model("initial-exec")));

static _Thread_local struct {
	bool inside;
	bool delivering;
	STAILQ_HEAD(, kt_kept_message) kept;
} mine;

void kt_log_to(void (*fn)(int level, const char *message, void *arg), void *arg, int stderr_level)
{
	sink.fn = fn;
	sink.arg = arg;
	sink.stderr_level = fn ? -1 : stderr_level;
}

bool kt_log_inside(void)
{
	return mine.inside;
}

static void deliver(int level, const char *text)
{
	if (sink.fn) {
		const bool was_inside = mine.inside;

		mine.inside = true;
		sink.fn(level, text, sink.arg);
		mine.inside = was_inside;
	} else if (level <= sink.stderr_level) {
		fprintf(stderr, "kthread: %s\n", text);
	}
}

/* The log function may call the library and so get here again; the messages stay in order. */
static void deliver_kept(void)
{
	struct kt_kept_message *message;

	if (mine.delivering)
		return;
	mine.delivering = true;
	while ((message = STAILQ_FIRST(&mine.kept))) {
		STAILQ_REMOVE_HEAD(&mine.kept, next);
		deliver(message->level, message->text);
		free(message);
	}
	holding.has_kept = false;
	mine.delivering = false;
}

static void keep(int level, const char *text)
{
	const size_t size = strlen(text) + 1;
	struct kt_kept_message *message = malloc(sizeof(*message) + size);

	if (!message)
		return;
	message->level = level;
	memcpy(message->text, text, size);
	if (STAILQ_EMPTY(&mine.kept)) /* a zeroed head is not an initialised one */
		STAILQ_INIT(&mine.kept);
	STAILQ_INSERT_TAIL(&mine.kept, message, next);
	holding.has_kept = true;
}

static void tell(int level, const char *text)
{
	struct kt_trace_event event = KT_TRACE_EMPTY;

	kt_trace_number(&event, "level", level);
	kt_trace_text(&event, "message", text);
	kt_trace("log", &event);
}

void kt_log(int level, const char *format, ...)
{
	const bool heard = sink.fn || level <= sink.stderr_level;
	char text[512];
	va_list args;

	if (!heard && !kt_trace_is_on())
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (kt_trace_is_on())
		tell(level, text);
	if (!heard)
		return;
	if (holding.locks == 0 && !mine.delivering)
		deliver(level, text);
	else
		keep(level, text);
}

void kt_log_take(struct kt_kept *ret)
{
	ret->first = holding.has_kept ? STAILQ_FIRST(&mine.kept) : NULL;
	if (ret->first)
		STAILQ_INIT(&mine.kept);
	holding.has_kept = false;
}

void kt_log_give(struct kt_kept *kept)
{
	struct kt_kept_message *message;

	if (kept->first && STAILQ_EMPTY(&mine.kept))
		STAILQ_INIT(&mine.kept);
	while ((message = kept->first)) {
		kept->first = STAILQ_NEXT(message, next);
		STAILQ_INSERT_TAIL(&mine.kept, message, next);
		holding.has_kept = true;
	}
}

void kt_log_hold(void)
{
	int cancel_state;

	if (holding.locks++ > 0)
		return;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	holding.cancellable = cancel_state == PTHREAD_CANCEL_ENABLE;
}

void kt_log_release(void)
{
	bool cancellable;

	if (--holding.locks > 0)
		return;
	/* Not cancelled before all is delivered: what is kept would be lost. The log function may lock, so take a copy. */
	cancellable = holding.cancellable;
	if (holding.has_kept)
		deliver_kept();
	if (cancellable)
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
}

void kt_lock(pthread_mutex_t *mutex)
{
	kt_log_hold();
	pthread_mutex_lock(mutex);
}

void kt_unlock(pthread_mutex_t *mutex)
{
	pthread_mutex_unlock(mutex);
	kt_log_release();
}
