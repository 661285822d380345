/* SPDX-License-Identifier: MIT */
/*
 * What a handle tells, and small requests of placement.
 */
#include <errno.h>

#include "thread/standstill.h"
#include "thread/thread.h"

void *kthread_data(const struct kthread *k)
{
	return k ? k->data : NULL;
}

void *kthread_probe_data(const struct kthread *k)
{
	return k && k->kind != KT_ADOPTED ? k->data : NULL;
}

int (*kthread_func(const struct kthread *k))(void *)
{
	return k ? k->fn : NULL;
}

const char *kthread_name(const struct kthread *k)
{
	return k ? k->name : NULL;
}

pid_t kthread_tid(const struct kthread *k)
{
	const int error = kt_handle(k);

	return error ? error : kt_thread_tid(k);
}

bool kt_thread_placeable(const struct kthread *k)
{
	const unsigned int now = kt_word(&k->word);

	if (k->kind != KT_KTHREAD) /* one of the library's own is moved by whoever it works for */
		return true;
	return !(now & (W_STOP | W_EXITED)) && (!(now & W_STARTED) || now & W_PARKED);
}

void kt_thread_set_broken(struct kthread *k, bool broken)
{
	/* Every placing of every thread comes by here: no write, and no wake, where nothing changes. */
	if (broken == !!(kt_word(&k->word) & W_BROKEN))
		return;
	if (broken)
		kt_word_set(&k->word, W_BROKEN);
	else
		kt_thread_roused(k, kt_word_clear(&k->word, W_BROKEN) &
		                        W_SLEEPING); /* kthread_bound_should_stop() waits */
}

void kt_thread_place_self(struct kthread *k)
{
	const unsigned int before = kt_word_set(&k->word, W_PLACE_SELF);

	if (!(before & W_PLACE_SELF)) {
		kt_thread_roused(k, before & W_SLEEPING);
		kt_event_fd_notify(k); /* a poll loop has to come by, too */
		kt_standstill_asked();
	}
}
