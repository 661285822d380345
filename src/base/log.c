/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/escape.h"
#include "base/futex.h"
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

/* Of each message: those since the first one of a while; that had the time `begin`. All relaxed: nothing hangs on them. */
static struct {
	_Atomic uint64_t begin;
	atomic_uint count;
} said[KT_MESSAGE_COUNT];

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
	for (unsigned int number = 0; number < KT_MESSAGE_COUNT; number++) {
		atomic_store_explicit(&said[number].begin, 0, memory_order_relaxed);
		atomic_store_explicit(&said[number].count, 0, memory_order_relaxed);
	}
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

/*
 * May it be told? Whoever finds the pause over begins the next while: he takes the count of the last one, less those that
 * were told, and is the first of the new. Who counts just before that is counted there, so no message is forgotten.
 */
static bool may_tell(unsigned int number, unsigned int *ret_suppressed)
{
	const uint64_t now = kt_now();
	uint64_t begin = atomic_load_explicit(&said[number].begin, memory_order_relaxed);

	*ret_suppressed = 0;
	if ((begin == 0 || (now > begin && now - begin >= KT_LOG_PAUSE_NS)) &&
	    atomic_compare_exchange_strong_explicit(&said[number].begin, &begin, now, memory_order_relaxed,
	                                            memory_order_relaxed)) {
		const unsigned int last = atomic_exchange_explicit(&said[number].count, 1, memory_order_relaxed);

		*ret_suppressed = last > KT_LOG_BURST ? last - KT_LOG_BURST : 0;
		return true;
	}
	return atomic_fetch_add_explicit(&said[number].count, 1, memory_order_relaxed) < KT_LOG_BURST;
}

static void tell(unsigned int number, int level, const char *text)
{
	struct kt_trace_event event = KT_TRACE_EMPTY;

	kt_trace_number(&event, "level", level);
	kt_trace_number(&event, "id", number);
	kt_trace_text(&event, "message", text);
	kt_trace("log", &event);
}

void kt_log_numbered(unsigned int number, int level, bool limited, const char *format, ...)
{
	const bool heard = sink.fn || level <= sink.stderr_level;
	unsigned int suppressed = 0;
	char text[512];
	va_list args;
	int length;

	if ((!heard && !kt_trace_is_on()) || (limited && !may_tell(number, &suppressed)))
		return;
	length = snprintf(text, sizeof(text), suppressed ? "KT%03u (%u suppressed) " : "KT%03u ", number, suppressed);
	va_start(args, format);
	vsnprintf(text + length, sizeof(text) - (size_t)length, format, args);
	va_end(args);
	kt_make_printable(text); /* and one line: names may hold anything */
	if (kt_trace_is_on())
		tell(number, level, text);
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
