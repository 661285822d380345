/* SPDX-License-Identifier: MIT */
#include "base/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/errno_name.h"
#include "base/escape.h"
#include "base/futex_lock.h"

/* Positions are bytes ever written, numbers lines ever written: both only grow. */
struct ring {
	uint64_t first; /* the oldest line that is whole */
	uint64_t head;  /* the position of the next */
	uint64_t start[KT_TRACE_EVENTS];
	char bytes[KT_TRACE_RING];
};

atomic_bool kt_trace_on;

/* All that follows under the lock. */
static atomic_uint lock;
static struct ring *ring;
static uint64_t next; /* the number of the next line; of one ring after the other, so that no cursor fits two */
static unsigned int watchers;
static void (*rouse)(void *arg);
static void *rouse_arg;
static bool waits; /* a reader has seen all */

/* ---- an event --------------------------------------------------------------------------------------------------- */

static void append(struct kt_trace_event *event, const char *key, const char *value)
{
	const size_t room = sizeof(event->text) - event->length;
	const int length = snprintf(event->text + event->length, room, ",\"%s\":%s", key, value);

	if (length > 0 && (size_t)length < room) /* else it is left out whole */
		event->length += (size_t)length;
}

void kt_trace_number(struct kt_trace_event *event, const char *key, int64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, value);
	append(event, key, text);
}

void kt_trace_bool(struct kt_trace_event *event, const char *key, bool value)
{
	append(event, key, value ? "true" : "false");
}

/* A text leaves room for what is behind it: three of the longest, and some short fields. A message comes last. */
#define RESERVE 64u
#define LONGEST_TEXT 256u

void kt_trace_text(struct kt_trace_event *event, const char *key, const char *value)
{
	const char *rest;
	size_t room;

	if (!value) {
		append(event, key, "null");
		return;
	}
	if (event->length + strlen(key) + RESERVE > sizeof(event->text))
		return;
	append(event, key, "\"");
	room = sizeof(event->text) - event->length - RESERVE / 2;
	if (room > LONGEST_TEXT && strcmp(key, "message") != 0)
		room = LONGEST_TEXT;
	event->length += kt_escape_json(event->text + event->length, room, value, strlen(value), &rest);
	event->text[event->length++] = '"';
}

void kt_trace_errno(struct kt_trace_event *event, const char *key, int error)
{
	char name[KT_ERRNO_NAME];

	kt_trace_text(event, key, error == 0 ? NULL : kt_errno_name(error, name));
}

/* ---- the ring --------------------------------------------------------------------------------------------------- */

static void forget_oldest(uint64_t wanted)
{
	while (ring->first < next && (next - ring->first == KT_TRACE_EVENTS ||
	                              ring->head + wanted - ring->start[ring->first % KT_TRACE_EVENTS] > KT_TRACE_RING))
		ring->first++;
}

static void put(const char *text, size_t length)
{
	const size_t at = (size_t)(ring->head % KT_TRACE_RING);
	const size_t here = length < KT_TRACE_RING - at ? length : KT_TRACE_RING - at;

	memcpy(ring->bytes + at, text, here);
	memcpy(ring->bytes, text + here, length - here);
	ring->head += length;
}

static void get(uint64_t position, size_t length, char *to)
{
	const size_t at = (size_t)(position % KT_TRACE_RING);
	const size_t here = length < KT_TRACE_RING - at ? length : KT_TRACE_RING - at;

	memcpy(to, ring->bytes + at, here);
	memcpy(to + here, ring->bytes, length - here);
}

bool kt_trace_lock(void)
{
	if (!kt_trace_is_on())
		return false;
	kt_futex_lock(&lock);
	if (ring)
		return true;
	kt_futex_unlock(&lock);
	return false;
}

void kt_trace_unlock(void)
{
	kt_futex_unlock(&lock);
}

/* What it writes to is a cancellation point, and who is cancelled there would keep the lock. */
static void rouse_reader(void)
{
	int cancel_state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	rouse(rouse_arg);
	pthread_setcancelstate(cancel_state, NULL);
}

/* The time is taken under the lock, so it grows from line to line. */
void kt_trace_locked(const char *name, const struct kt_trace_event *event)
{
	char head[96];
	const int length = snprintf(head, sizeof(head), "{\"event\":\"%s\",\"time_ns\":%" PRIu64, name, kt_now());

	forget_oldest((uint64_t)length + event->length + 2);
	ring->start[next++ % KT_TRACE_EVENTS] = ring->head;
	put(head, (size_t)length);
	put(event->text, event->length);
	put("}\n", 2);
	if (waits) {
		waits = false;
		rouse_reader();
	}
}

void kt_trace(const char *name, const struct kt_trace_event *event)
{
	if (!kt_trace_lock())
		return;
	kt_trace_locked(name, event);
	kt_trace_unlock();
}

/* ---- watchers --------------------------------------------------------------------------------------------------- */

static int attach_locked(struct ring **fresh, void (*roused)(void *arg), void *arg)
{
	if (watchers > 0)
		return rouse == roused && rouse_arg == arg ? 0 : -EBUSY;
	ring = *fresh;
	*fresh = NULL;
	if (!ring)
		return -ENOMEM;
	ring->first = next;
	ring->head = 0;
	rouse = roused;
	rouse_arg = arg;
	waits = true;
	return 0;
}

int kt_trace_attach(void (*roused)(void *arg), void *arg)
{
	struct ring *fresh = malloc(sizeof(*fresh)); /* may be for nothing: the lock is too small to allocate under */
	int error;

	kt_futex_lock(&lock);
	error = attach_locked(&fresh, roused, arg);
	if (!error) {
		watchers++;
		atomic_store_explicit(&kt_trace_on, true, memory_order_relaxed);
	}
	kt_futex_unlock(&lock);
	free(fresh);
	return error;
}

/* With the lock. Returns what is to be freed. */
static struct ring *end_watch(void)
{
	struct ring *old = ring;

	atomic_store_explicit(&kt_trace_on, false, memory_order_relaxed);
	watchers = 0;
	ring = NULL;
	return old;
}

void kt_trace_detach(void)
{
	struct ring *old = NULL;

	kt_futex_lock(&lock);
	if (watchers > 0 && --watchers == 0)
		old = end_watch();
	kt_futex_unlock(&lock);
	free(old);
}

uint64_t kt_trace_tail(void)
{
	uint64_t tail;

	kt_futex_lock(&lock);
	tail = next;
	kt_futex_unlock(&lock);
	return tail;
}

static uint64_t end_of(uint64_t number)
{
	return number + 1 < next ? ring->start[(number + 1) % KT_TRACE_EVENTS] : ring->head;
}

static size_t read_locked(uint64_t *cursor, char *buf, size_t size, uint64_t *lost)
{
	uint64_t from;
	uint64_t to;

	if (*cursor < ring->first) {
		*lost = ring->first - *cursor;
		*cursor = ring->first;
	}
	if (*cursor >= next) {
		waits = true;
		return 0;
	}
	from = to = ring->start[*cursor % KT_TRACE_EVENTS];
	while (*cursor < next && end_of(*cursor) - from <= size)
		to = end_of((*cursor)++);
	get(from, (size_t)(to - from), buf);
	waits |= *cursor == next;
	return (size_t)(to - from);
}

size_t kt_trace_read(uint64_t *cursor, char *buf, size_t size, uint64_t *lost)
{
	size_t length;

	*lost = 0;
	kt_futex_lock(&lock);
	length = ring ? read_locked(cursor, buf, size, lost) : 0;
	kt_futex_unlock(&lock);
	return length;
}

/* ---- fork ------------------------------------------------------------------------------------------------------- */

void kt_trace_fork_prepare(void)
{
	kt_futex_lock(&lock);
}

void kt_trace_fork_parent(void)
{
	kt_futex_unlock(&lock);
}

/* Whoever waits for the lock is not here: freed by a store. */
void kt_trace_fork_child(void)
{
	struct ring *old = end_watch();

	atomic_store_explicit(&lock, KT_FUTEX_FREE, memory_order_relaxed);
	free(old);
}
