/* SPDX-License-Identifier: MIT */
/*
 * A thread comes to life, runs its function, and ends.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/log.h"
#include "base/options.h"
#include "base/trace.h"
#include "thread/stack.h"
#include "thread/standstill.h"
#include "thread/thread.h"

const struct kt_thread_hooks *kt_hooks;

void kt_thread_hook(const struct kt_thread_hooks *hooks)
{
	kt_hooks = hooks;
}

/* A creator that asked for something the kernel may refuse waits for the answer. */
struct kt_birth {
	struct kthread_attr attr;
	struct kthread_completion done;
	int error;
};

struct kthread *kt_thread_alloc(enum kt_kind kind, char *name)
{
	const size_t length = strlen(name);
	struct kthread *k = calloc(1, sizeof(*k) + kt_hooks->place_size + length + 1);

	if (!k)
		return NULL;
	k->name = (char *)k->place_memory + kt_hooks->place_size;
	k->kind = kind;
	k->node = KTHREAD_NO_NODE;
	k->result = -EINTR;
	k->epoch = atomic_load_explicit(&kt_epoch, memory_order_relaxed);
	atomic_init(&k->event_fd, -1);
	atomic_init(&k->refs, kind == KT_ADOPTED ? 2 : 3);
	memcpy(k->name, name, length + 1);
	return k;
}

void kt_thread_free(struct kthread *k)
{
	kt_event_fd_close(atomic_load_explicit(&k->event_fd, memory_order_relaxed));
	free(k);
}

#define TID_NEVER UINT_MAX

/* Whoever finds the tid finds a thread that can be placed, or one that there never was. */
static void tell_tid(struct kthread *k, unsigned int tid)
{
	/* release: pairs with kt_thread_tid() */
	if (atomic_exchange_explicit(&k->tid, tid, memory_order_release) == KT_TID_AWAITED)
		kt_futex_wake(&k->tid, INT_MAX, KT_FUTEX_ALL);
}

/* ---- on the new thread ---------------------------------------------------------------------------------------- */

/* Our own policy and nice value, not the creator's. Only what differs is set: these are system calls per thread. */
static int take_priority(const struct kthread_attr *attr)
{
	const struct sched_param param = {.sched_priority = attr->sched_priority};

	if ((sched_getscheduler(0) != attr->sched_policy || attr->sched_priority) &&
	    sched_setscheduler(0, attr->sched_policy, &param) != 0)
		return -errno;
	errno = 0;
	if (getpriority(PRIO_PROCESS, 0) != attr->nice && setpriority(PRIO_PROCESS, 0, attr->nice) != 0)
		return errno == EACCES ? -EPERM : -errno; /* EACCES: nice below 0 without the right to */
	return 0;
}

static int be_born(struct kthread *k)
{
	const struct kthread_attr ordinary = KTHREAD_ATTR_INIT;
	struct kt_birth *birth = k->birth;
	char comm[16];
	int error;

	kt_thread_set_self(k);
	kt_comm(k->name, comm);
	prctl(PR_SET_NAME, comm);
	kt_thread_tell_created(k, gettid());
	tell_tid(k, (unsigned int)gettid());
	kt_hooks->born(k);
	if (k->node != KTHREAD_NO_NODE)
		kt_stack_to_node(k->node);
	error = take_priority(birth ? &birth->attr : &ordinary);
	if (birth) {
		birth->error = error;
		k->birth = NULL;
		kthread_complete(&birth->done); /* birth is gone after this */
	} else if (error) {
		kt_log(PRIORITY_STAYS, "%s: cannot leave its creator's priority: %s", k->name, strerror(-error));
		error = 0;
	}
	return error;
}

/* False if the function is not to be entered: stopped first. */
static bool await_start(struct kthread *k)
{
	unsigned int now;

	while (!((now = kt_word(&k->word)) & (W_STARTED | W_STOP)))
		kt_thread_sleep(k, &now, 0, KT_NEVER);
	kt_thread_hold(k, W_PARK_ANY);
	now = kt_word(&k->word);
	do {
		if (now & W_STOP && !k->enters_stopped)
			return false;
	} while (!kt_thread_turn(k, &now, now | W_ENTERED));
	return true;
}

/* Stands on the thread's stack: a child forked by this thread must not touch k when it gets back here. */
struct lifetime {
	struct kthread *k;
	unsigned int epoch;
};

static bool forked(const struct lifetime *lifetime)
{
	return lifetime->epoch != atomic_load_explicit(&kt_epoch, memory_order_relaxed);
}

/* Every way out comes by here: return, kthread_exit(), pthread_exit(), cancellation. */
static void end(void *arg)
{
	const struct lifetime *lifetime = arg;
	struct kthread *k = lifetime->k;
	struct kthread_completion *done;
	unsigned int before;

	if (forked(lifetime))
		return;
	if (k->node != KTHREAD_NO_NODE)
		kt_stack_home();
	kt_hooks->gone(k);
	kt_registry_remove(k); /* last: it counts for kthread_fini() until it has left everything else */
	done = k->exit_done;
	kt_standstill_ending(); /* key destructors of the application are still to come */
	kt_thread_set_self(NULL);
	before = kt_word(&k->word);
	while (!kt_thread_turn(k, &before, before | W_EXITED))
		continue;
	if (before & W_WATCHED)
		kt_futex_wake(&k->word, INT_MAX, KT_WAKE_WATCHERS);
	if (atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) == 1)
		kt_thread_free(k);
	if (done)
		kthread_complete(done);
}

/* Call fn until it has come back for good. To return after having been told to park is a way to park. */
static void run(struct kthread *k, const struct lifetime *lifetime)
{
	for (;;) {
		int result;

		k->result = -ECANCELED; /* unless it returns, or says otherwise by kthread_exit() */
		result = k->fn(k->data);
		if (forked(lifetime))
			return;
		k->result = result;
		if (!(kt_word_clear(&k->word, W_TOLD_ANY) & W_TOLD_ANY))
			return;
		kt_thread_hold(k, W_PARK_ANY);
		if (kt_word(&k->word) & W_STOP)
			return;
	}
}

static void *live(void *arg)
{
	struct kthread *k = arg;
	struct lifetime lifetime = {.k = k, .epoch = k->epoch};

	pthread_cleanup_push(end, &lifetime);
	if (be_born(k) == 0 && await_start(k))
		run(k, &lifetime);
	pthread_cleanup_pop(1);
	return NULL;
}

void kthread_complete_and_exit(struct kthread_completion *done, int result)
{
	struct kthread *k = kthread_self();

	if (k && k->kind != KT_ADOPTED) {
		k->result = result;
		k->exit_done = done;
	} else if (done) {
		kthread_complete(done);
	}
	pthread_exit(NULL);
}

void kthread_exit(int result)
{
	kthread_complete_and_exit(NULL, result);
}

/* ---- on the creator ------------------------------------------------------------------------------------------- */

static int start_os_thread(struct kthread *k, size_t stack_size)
{
	pthread_attr_t attr;
	sigset_t blocked;
	int error = pthread_attr_init(&attr);

	if (error)
		return -error;
	sigfillset(&blocked);
	if (k->interrupt_signal)
		sigdelset(&blocked, k->interrupt_signal);
	error = pthread_attr_setsigmask_np(&attr, &blocked);
	if (!error && stack_size)
		error = pthread_attr_setstacksize(&attr, stack_size);
	if (!error)
		error = pthread_create(&k->pthread, &attr, live, k);
	pthread_attr_destroy(&attr);
	return -error;
}

/* Undo a thread that never came to life. The registry may have lent it to somebody, who waits for its tid. */
static void unmake(struct kthread *k)
{
	kt_hooks->gone(k);
	kt_registry_remove(k); /* last, as in end() */
	kt_word_set(&k->word, W_STARTED | W_EXITED | W_REAPED);
	tell_tid(k, TID_NEVER);
	kthread_put(k);
	if (atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) == 1)
		kt_thread_free(k);
}

pid_t kt_thread_tid(const struct kthread *k)
{
	atomic_uint *tid = (atomic_uint *)&k->tid;                          /* only its futex is used */
	unsigned int now = atomic_load_explicit(tid, memory_order_acquire); /* pairs with tell_tid() */

	while (now == 0 || now == KT_TID_AWAITED) {
		if (now == KT_TID_AWAITED || atomic_compare_exchange_strong_explicit(
						 tid, &now, KT_TID_AWAITED, memory_order_acquire, memory_order_acquire))
			kt_futex_wait(tid, KT_TID_AWAITED, KT_FUTEX_ALL, KT_NEVER);
		now = atomic_load_explicit(tid, memory_order_acquire);
	}
	return now == TID_NEVER ? -ESRCH : (pid_t)now;
}

pid_t kt_thread_known_tid(const struct kthread *k)
{
	const unsigned int now = atomic_load_explicit(&k->tid, memory_order_acquire); /* pairs with tell_tid() */

	return now == KT_TID_AWAITED || now == TID_NEVER ? 0 : (pid_t)now;
}

static int await_birth(struct kthread *k, struct kt_birth *birth)
{
	int error;

	kthread_wait_for_completion(&birth->done);
	error = birth->error;
	if (error)
		kthread_stop(k); /* it ends by itself; joins it, and drops the only reference */
	return error;
}

/* A node and a cpu are given to created() as the thread's first wish; -1 = none. */
static int bring_up(struct kthread *k, const struct kthread_attr *attr, int cpu)
{
	struct kt_birth birth = {.attr = *attr};
	const bool wait = attr->sched_policy || attr->nice;
	int error;

	k->node = attr->node;
	if (attr->flags & KTHREAD_INTERRUPT) {
		k->interrupt_signal = kt_interrupt_prepare(attr->interrupt_signal);
		if (k->interrupt_signal < 0) {
			error = k->interrupt_signal;
			kt_thread_free(k);
			return error;
		}
	}
	error = kt_hooks->created(k, attr->node, cpu);
	if (error) {
		kt_thread_free(k);
		return error;
	}
	k->birth = wait ? &birth : NULL;
	kt_registry_add(k);
	error = start_os_thread(k, attr->stack_size);
	if (error) {
		unmake(k);
		return error;
	}
	if (kt_trace_is_on())
		kt_thread_tid(k); /* what the creator does with it is told after its creation */
	return wait ? await_birth(k, &birth) : 0;
}

static bool policy_is_good(const struct kthread_attr *attr)
{
	switch (attr->sched_policy) {
	case SCHED_OTHER:
	case SCHED_BATCH:
	case SCHED_IDLE:
		return attr->sched_priority == 0;
	case SCHED_FIFO:
	case SCHED_RR:
		return attr->sched_priority >= sched_get_priority_min(attr->sched_policy) &&
		       attr->sched_priority <= sched_get_priority_max(attr->sched_policy);
	default:
		return false;
	}
}

static int check_attr(const struct kthread_attr *attr)
{
	if (attr->stack_size && attr->stack_size < (size_t)PTHREAD_STACK_MIN)
		return -EINVAL;
	if (attr->node < KTHREAD_NO_NODE || attr->nice < -20 || attr->nice > 19 || !policy_is_good(attr))
		return -EINVAL;
	if (attr->flags & ~KTHREAD_INTERRUPT)
		return -EINVAL;
	if (attr->interrupt_signal && !(attr->flags & KTHREAD_INTERRUPT))
		return -EINVAL;
	return 0;
}

/* Takes the name. Every form of creation ends here. */
static struct kthread *create(const struct kthread_attr *attr, int cpu, int (*fn)(void *data), void *data, char *name)
{
	struct kthread *k = NULL;
	int error = fn ? check_attr(attr) : -EINVAL;

	if (!name)
		return NULL; /* errno says why */
	if (!error)
		error = kt_library_watch();
	if (!error) {
		k = kt_thread_alloc(KT_KTHREAD, name);
		error = k ? 0 : -ENOMEM;
	}
	if (!error) {
		k->fn = fn;
		k->data = data;
		error = bring_up(k, attr, cpu);
	}
	free(name);
	if (error) {
		errno = -error;
		return NULL;
	}
	return k;
}

struct kthread *kt_thread_spawn(enum kt_kind kind, int (*fn)(void *data), void *data, const char *name)
{
	const struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k = kt_thread_alloc(kind, (char *)name);
	int error;

	if (!k)
		return NULL;
	k->fn = fn;
	k->data = data;
	error = bring_up(k, &attr, -1);
	if (error) {
		errno = -error;
		return NULL;
	}
	return k;
}

struct kthread *kthread_create(int (*fn)(void *data), void *data, const char *namefmt, ...)
{
	const struct kthread_attr attr = KTHREAD_ATTR_INIT;
	va_list args;
	char *name;

	va_start(args, namefmt);
	name = kt_name_format(namefmt, args);
	va_end(args);
	return create(&attr, -1, fn, data, name);
}

struct kthread *kthread_create_on_node(int (*fn)(void *data), void *data, int node, const char *namefmt, ...)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	va_list args;
	char *name;

	attr.node = node;
	va_start(args, namefmt);
	name = kt_name_format(namefmt, args);
	va_end(args);
	return create(&attr, -1, fn, data, name);
}

struct kthread *kthread_create_attr(const struct kthread_attr *given, int (*fn)(void *data), void *data,
                                    const char *namefmt, ...)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	va_list args;
	char *name;
	int error = given ? kt_options_read(&attr, sizeof(attr), sizeof(attr), given) : 0;

	if (error) {
		errno = -error;
		return NULL;
	}
	va_start(args, namefmt);
	name = kt_name_format(namefmt, args);
	va_end(args);
	return create(&attr, -1, fn, data, name);
}

/* The caller's format is not a literal, so it never gets to printf: exactly one %u, and %% for a percent sign. */
static char *name_for_cpu(const char *format, unsigned int cpu)
{
	char *name;
	char *to;
	unsigned int numbers = 0;

	if (!format)
		goto bad;
	name = malloc(strlen(format) + 11);
	if (!name)
		return NULL;
	for (to = name; *format; format++) {
		if (*format != '%') {
			*to++ = *format;
		} else if (*++format == 'u' && numbers++ == 0) {
			to += sprintf(to, "%u", cpu);
		} else if (*format == '%') {
			*to++ = '%';
		} else {
			free(name);
			goto bad;
		}
	}
	*to = '\0';
	if (numbers == 1)
		return name;
	free(name);
bad:
	errno = EINVAL;
	return NULL;
}

struct kthread *kthread_create_on_cpu(int (*fn)(void *data), void *data, unsigned int cpu, const char *namefmt)
{
	const struct kthread_attr attr = KTHREAD_ATTR_INIT;

	if (cpu > INT_MAX) {
		errno = EINVAL;
		return NULL;
	}
	return create(&attr, (int)cpu, fn, data, name_for_cpu(namefmt, cpu));
}

struct kthread *kthread_run(int (*fn)(void *data), void *data, const char *namefmt, ...)
{
	const struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k;
	va_list args;
	char *name;

	va_start(args, namefmt);
	name = kt_name_format(namefmt, args);
	va_end(args);
	k = create(&attr, -1, fn, data, name);
	if (k)
		kthread_wake(k);
	return k;
}

struct kthread *kthread_run_on_cpu(int (*fn)(void *data), void *data, unsigned int cpu, const char *namefmt)
{
	struct kthread *k = kthread_create_on_cpu(fn, data, cpu, namefmt);

	if (k)
		kthread_wake(k);
	return k;
}
