/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct message {
	STAILQ_ENTRY(message) next;
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
	STAILQ_HEAD(, message) kept;
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
	struct message *message;

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
	struct message *message = malloc(sizeof(*message) + size);

	if (!message)
		return;
	message->level = level;
	memcpy(message->text, text, size);
	if (STAILQ_EMPTY(&mine.kept)) /* a zeroed head is not an initialised one */
		STAILQ_INIT(&mine.kept);
	STAILQ_INSERT_TAIL(&mine.kept, message, next);
	holding.has_kept = true;
}

void kt_log(int level, const char *format, ...)
{
	char text[512];
	va_list args;

	if (!sink.fn && level > sink.stderr_level)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (holding.locks == 0 && !mine.delivering)
		deliver(level, text);
	else
		keep(level, text);
}

void kt_lock(pthread_mutex_t *mutex)
{
	int cancel_state;

	if (holding.locks++ == 0) {
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
		holding.cancellable = cancel_state == PTHREAD_CANCEL_ENABLE;
	}
	pthread_mutex_lock(mutex);
}

void kt_unlock(pthread_mutex_t *mutex)
{
	bool cancellable;

	pthread_mutex_unlock(mutex);
	if (--holding.locks > 0)
		return;
	/* Not cancelled before all is delivered: what is kept would be lost. The log function may lock, so take a copy. */
	cancellable = holding.cancellable;
	if (holding.has_kept)
		deliver_kept();
	if (cancellable)
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
}

void kt_locks_forked(void)
{
	holding.locks = 1;
}
