/* SPDX-License-Identifier: MIT */
/*
 * The event fd says what the token says, to a poll loop. Whoever changes the word looks for the fd afterwards, and
 * whoever makes the fd looks at the word afterwards; both sequentially consistent, so that one of them sees the other.
 */
#include <errno.h>
#include <sys/eventfd.h>

#include "thread/thread.h"

void kt_event_fd_notify(struct kthread *k)
{
	const int fd = atomic_load_explicit(&k->event_fd, memory_order_seq_cst);

	int cancel_state;

	if (fd < 0)
		return;
	/* read(), write() and close() are cancellation points; to wake, to stop, to wait are none */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	eventfd_write(fd, 1); /* a full counter is readable already */
	pthread_setcancelstate(cancel_state, NULL);
}

void kt_event_fd_drain(struct kthread *k)
{
	/* acquire: whoever stored it has made it before */
	const int fd = atomic_load_explicit(&k->event_fd, memory_order_acquire);
	eventfd_t count;
	int cancel_state;

	if (fd < 0)
		return;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	eventfd_read(fd, &count);
	pthread_setcancelstate(cancel_state, NULL);
}

void kt_event_fd_close(int fd)
{
	int cancel_state;

	if (fd < 0)
		return;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	close(fd);
	pthread_setcancelstate(cancel_state, NULL);
}

int kthread_event_fd(struct kthread *k)
{
	int fd = kt_handle_alive(k);
	int none = -1;

	if (fd)
		return fd;
	if (kt_word(&k->word) & W_EXITED)
		return -ESRCH;
	fd = atomic_load_explicit(&k->event_fd, memory_order_acquire);
	if (fd >= 0)
		return fd;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (!atomic_compare_exchange_strong_explicit(&k->event_fd, &none, fd, memory_order_seq_cst,
	                                             memory_order_acquire)) {
		kt_event_fd_close(fd);
		return none;
	}
	if (atomic_load_explicit(&k->word, memory_order_seq_cst) & (W_TOKEN | W_STOP | W_PARK_ANY | W_FREEZE))
		kt_event_fd_notify(k);
	return fd;
}
