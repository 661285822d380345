/* SPDX-License-Identifier: MIT */
/*
 * One thread waits until another says that something is done. Source: the kernel's struct completion.
 *
 * A counted event: each kthread_complete() lets one wait through, now or later; kthread_complete_all() lets every wait
 * through until the next kthread_init_completion(). What was done before the completion happens-before the line after
 * the wait. The memory is the caller's; it may be freed as soon as the (only) wait has returned. Works between any
 * threads, kthreads or not, and needs nothing of the library's state. Not broken by kthread_stop(), as in the kernel.
 */
#ifndef KTHREAD_COMPLETION_H
#define KTHREAD_COMPLETION_H

#include <kthread/export.h>
#include <stdint.h>

KTHREAD_BEGIN_DECLS

/* One such event. */
struct kthread_completion {
	uint32_t word; /* private */
};

#define KTHREAD_COMPLETION_INIT \
	{ \
		0 \
	}

/* Make a completion new: nothing has been completed. As KTHREAD_COMPLETION_INIT. Nobody may be waiting. */
KTHREAD_API void kthread_init_completion(struct kthread_completion *done);

/* Let one wait through, or all, now or later. */
KTHREAD_API void kthread_complete(struct kthread_completion *done);
KTHREAD_API void kthread_complete_all(struct kthread_completion *done);

/* Wait until the completion is there. 0. */
KTHREAD_API int kthread_wait_for_completion(struct kthread_completion *done);
/* The same, but not for ever. 0, or -ETIMEDOUT after timeout_ns nanoseconds; UINT64_MAX waits for ever. */
KTHREAD_API int kthread_wait_for_completion_timeout(struct kthread_completion *done, uint64_t timeout_ns);

KTHREAD_END_DECLS

#endif
