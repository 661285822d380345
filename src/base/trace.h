/* SPDX-License-Identifier: MIT */
/*
 * The event stream: what happens to threads and CPUs, told by whoever does it, as lines of JSON in a ring that readers
 * follow by cursors of their own. Who is too slow for the ring is told how many lines he has missed.
 *
 * When nobody watches, an event costs one relaxed load. It may be told under any lock of the library's: the ring's is
 * innermost, nothing is allocated, and no reader is waited for.
 */
#ifndef KT_BASE_TRACE_H
#define KT_BASE_TRACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KT_TRACE_RING (256u << 10) /* bytes of lines kept */
#define KT_TRACE_EVENTS 8192u      /* and at most so many lines */
#define KT_TRACE_LINE 1024u        /* bytes of the longest line, its newline included */

/* ---- telling ---------------------------------------------------------------------------------------------------- */

/* While at least one watcher is attached. Relaxed: who finds it on finds the ring under its lock, or that it is gone. */
extern atomic_bool kt_trace_on;

static inline bool kt_trace_is_on(void)
{
	return atomic_load_explicit(&kt_trace_on, memory_order_relaxed);
}

/* An event while it is put together: the fields behind "event" and "time_ns". */
struct kt_trace_event {
	size_t length;
	char text[KT_TRACE_LINE - 96];
};

#define KT_TRACE_LIST 256u /* a cpulist, with its NUL, that fits; one that does not is null */

/* Fields, in this order in the line. Texts are cut where they would make the line too long. */
#define KT_TRACE_EMPTY ((struct kt_trace_event){.length = 0})
void kt_trace_number(struct kt_trace_event *event, const char *key, int64_t value);
void kt_trace_bool(struct kt_trace_event *event, const char *key, bool value);
void kt_trace_text(struct kt_trace_event *event, const char *key, const char *value); /* NULL: null */

void kt_trace_errno(struct kt_trace_event *event, const char *key, int error); /* its name; 0: null */

/* Put it into the stream as `name`, a literal. */
void kt_trace(const char *name, const struct kt_trace_event *event);

/*
 * What several threads may do to one thing is told in the order in which it was done: it is done with the ring's lock
 * held. Nothing else may be called meanwhile. False: nobody watches, and no lock is held.
 */
bool kt_trace_lock(void);
void kt_trace_locked(const char *name, const struct kt_trace_event *event);
void kt_trace_unlock(void);

/* ---- watching --------------------------------------------------------------------------------------------------- */

/*
 * Begin to watch. The first watcher's ring is allocated; `roused` is called when a reader had seen all there was and
 * there is more: by any thread, under any of the library's locks, so that it must not do more than write to an eventfd.
 * All watchers share one: with another roused or arg than the first's -EBUSY. 0, -ENOMEM. Give back by kt_trace_detach().
 */
int kt_trace_attach(void (*roused)(void *arg), void *arg);
/* The last one frees the ring. After it roused is not called any more. In a forked child nobody watches: no effect. */
void kt_trace_detach(void);

/* The cursor of what comes next. */
uint64_t kt_trace_tail(void);
/*
 * Copy whole lines from the cursor on, as many as fit (size: at least KT_TRACE_LINE), and advance it. Returns the bytes
 * copied, 0: there is nothing more yet. *lost: how many lines before the first one copied have been overwritten meanwhile,
 * with 0 bytes copied, too.
 */
size_t kt_trace_read(uint64_t *cursor, char *buf, size_t size, uint64_t *lost);

/* The library's fork(): held across it; the child has no watchers. */
void kt_trace_fork_prepare(void);
void kt_trace_fork_parent(void);
void kt_trace_fork_child(void);

#endif
