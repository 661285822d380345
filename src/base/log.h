/* SPDX-License-Identifier: MIT */
/*
 * Messages to the application, and the mutex that knows about them: a message logged while a lock of the library's is
 * held is kept and delivered when the thread's last such lock is released, because the application's log function is
 * never called under one. Nor is a thread cancelled that holds one.
 */
#ifndef KT_BASE_LOG_H
#define KT_BASE_LOG_H

#include <pthread.h>
#include <stdbool.h>

#include "base/messages.h"

/*
 * A message of base/messages.h, by its name: one line, no newline at its end. "KT017 " is put before it. Never fails; a
 * message that cannot be kept is dropped. Of a LIMITED one at most KT_LOG_BURST are told within KT_LOG_PAUSE_NS, and the first
 * one after that says how many there were besides: "KT017 (23 suppressed) ".
 */
#define kt_log(name, ...) kt_log_numbered(KT_NUMBER_##name, KT_LEVEL_##name, KT_LIMIT_##name, __VA_ARGS__)
void kt_log_numbered(unsigned int number, int level, bool limited, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#define KT_LOG_BURST 10u
#define KT_LOG_PAUSE_NS (5 * KT_NS_PER_S)

/* Where messages go: fn, else up to stderr_level (-1: nothing) to stderr. Called while no other thread logs;
 * nothing is remembered of what was said before. */
void kt_log_to(void (*fn)(int level, const char *message, void *arg), void *arg, int stderr_level);
/* True while the calling thread is inside the application's log function. */
bool kt_log_inside(void);

/* As if a lock were held meanwhile: messages are kept, and the thread is not cancelled. */
void kt_log_hold(void);
void kt_log_release(void);

/* What a thread has kept while it acted for another, to be delivered by that one. */
struct kt_kept_message;
struct kt_kept {
	struct kt_kept_message *first;
};
void kt_log_take(struct kt_kept *ret);
void kt_log_give(struct kt_kept *kept); /* while the calling thread holds */

void kt_lock(pthread_mutex_t *mutex);
void kt_unlock(pthread_mutex_t *mutex);

#endif
