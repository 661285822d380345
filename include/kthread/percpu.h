/* SPDX-License-Identifier: MIT */
/*
 * One thread per CPU, which works on its own CPU or not at all: it parks when the CPU goes, and goes on when it is back.
 * Source: the kernel's smpboot_register_percpu_thread().
 */
#ifndef KTHREAD_PERCPU_H
#define KTHREAD_PERCPU_H

#include <kthread/export.h>
#include <stdbool.h>
#include <stddef.h>

KTHREAD_BEGIN_DECLS

struct kthread;
struct kthread_percpu_state;

/*
 * What such threads do. Sized; start from KTHREAD_PERCPU_INIT. Owned by the caller, who keeps it, and changes nothing in
 * it, until it is unregistered. All functions get arg. They run on the CPU's thread, on that CPU, except where said.
 *
 *   create      once per CPU, before the thread does anything, by whoever registers or brings the CPU up. 0, or a
 *               negative errno, which fails that
 *   setup       once, before the first should_run
 *   should_run  each turn: is there something to do?
 *   run         if there is. Again and again, so do a piece of it and return
 *   park        before it parks. When the CPU has gone without a word the thread is elsewhere by then
 *   unpark      when it resumes, if park was called before
 *   cleanup     once before the thread ends, if the stage of setup was passed. online: it is on its CPU
 *
 * A CPU that goes under a run that has begun takes it elsewhere with it: user space cannot pin against the kernel. With
 * kthread_cpu_down() that does not happen.
 */
struct kthread_percpu {
	size_t size;      /* sizeof(struct kthread_percpu) */
	const char *name; /* with one %u for the CPU: "flush/%u" */
	bool (*should_run)(unsigned int cpu, void *arg);
	void (*run)(unsigned int cpu, void *arg);
	void (*setup)(unsigned int cpu, void *arg); /* optional, as all that follow */
	void (*park)(unsigned int cpu, void *arg);
	void (*unpark)(unsigned int cpu, void *arg);
	void (*cleanup)(unsigned int cpu, bool online, void *arg);
	int (*create)(unsigned int cpu, void *arg);
	bool selfparking; /* threads are created parked, and unparked by who registered them: kthread_unpark() */
	void *arg;
	struct kthread_percpu_state *state; /* the library's; NULL before and after */
};

#define KTHREAD_PERCPU_INIT \
	{ \
		sizeof(struct kthread_percpu), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false, NULL, NULL \
	}

/*
 * A thread for every usable CPU, and for each that becomes usable later; a CPU that goes parks its thread, never ends
 * it. All or nothing: after a failure no thread is left, and neither setup nor run nor cleanup has been called.
 * 0; -EINVAL (NULL, no should_run or run, a name without exactly one %u, size); -EBUSY registered already; -E2BIG; the
 * error of create; -ENOMEM, -EAGAIN (no more threads); -EDEADLK in a step's callback, or holding the read lock; -ECHILD.
 */
KTHREAD_API int kthread_percpu_register(struct kthread_percpu *desc);

/* Stop the threads of all CPUs, the parked ones too, and wait for their end. NULL, and a desc that is not registered, are
 * ignored; so is a call that could not wait: from one of its own threads, from a step's callback, with the read lock held,
 * or from a kthread that has been asked to park or stop, while a transition goes on. It stays registered then (state is
 * not NULL), and that is logged. */
KTHREAD_API void kthread_percpu_unregister(struct kthread_percpu *desc);

/*
 * Make the CPU's thread look at should_run. What the caller did before is seen there. True if that changed something:
 * false if it had been kicked already and has not looked yet, or there is no such thread. A thread that is parked looks
 * when it resumes. Never waits, never allocates: any thread, while desc is registered.
 */
KTHREAD_API bool kthread_percpu_kick(struct kthread_percpu *desc, unsigned int cpu);

/* The handle of a CPU's thread, the library's own: kthread_get() it to keep it. NULL and errno: EINVAL not registered, or not a possible
 * CPU; ENOENT the CPU has never been usable. */
KTHREAD_API struct kthread *kthread_percpu_thread(struct kthread_percpu *desc, unsigned int cpu);

KTHREAD_END_DECLS

#endif
