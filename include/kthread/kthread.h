/* SPDX-License-Identifier: MIT */
/*
 * libkthread: threads that live by the Linux kernel's kthread rules. Umbrella header.
 *
 * Conventions that hold in every header:
 *  - int functions return 0 (or a documented value) or a negative errno; pointer functions return NULL and set errno.
 *  - Nothing aborts, prints or exits. An out-parameter is written only on success.
 *  - Times are CLOCK_MONOTONIC nanoseconds. Masks are (size_t setsize in bytes, cpu_set_t *), as in sched_setaffinity(2).
 *  - Unless a comment says otherwise a function may be called from any thread at any time, but not from a signal handler
 *    and not while another thread is inside kthread_fini().
 *  - A function that needs the library starts it with the defaults (kthread_init(NULL)) if that has not been done; not
 *    from the log function (-EDEADLK).
 *  - In the child of a fork() every function answers -ECHILD (pointer functions: NULL with errno ECHILD; bool functions:
 *    false) until kthread_init() starts the library anew there. kthread_put() and friends still give up references.
 */
#ifndef KTHREAD_KTHREAD_H
#define KTHREAD_KTHREAD_H

#include <kthread/completion.h>
#include <kthread/freezer.h>
#include <kthread/hotplug.h>
#include <kthread/inspect.h>
#include <kthread/ktask.h>
#include <kthread/library.h>
#include <kthread/percpu.h>
#include <kthread/placement.h>
#include <kthread/thread.h>
#include <kthread/worker.h>

#endif
