/* SPDX-License-Identifier: MIT */
/*
 * The life of a thread: create, wake, wait, park, unpark, stop with a result. Source: include/linux/kthread.h.
 *
 *   CREATED --wake--> RUNNING <--> PARKED         stop: any state -> asked to stop -> EXITED(result)
 *      |                 |
 *      +--park-----------+--> PARKED (function not entered yet)
 *
 * A function that takes a handle needs a reference to it (the creator has one; kthread_get() takes more), and works
 * from any thread unless it says "self". NULL handles: int functions return -EINVAL, bool ones false, void ones do
 * nothing, kthread_tid() returns -EINVAL.
 * A handle from before a fork() answers -ECHILD in the child; one of an adopted thread -EOPNOTSUPP to whatever is
 * about life (wake: false).
 */
#ifndef KTHREAD_THREAD_H
#define KTHREAD_THREAD_H

#include <kthread/completion.h>
#include <kthread/export.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

KTHREAD_BEGIN_DECLS

struct kthread;

#define KTHREAD_NO_NODE (-1)

/* attr.flags: stop, park and freeze also break blocking system calls of this thread (they fail with EINTR), again and
 * again until it has noticed, i.e. kthread_should_stop(), _should_park() or _should_stop_or_park() has told it, it parked,
 * it froze, or it ended. Done by a signal, the only one that is not blocked in the thread. */
#define KTHREAD_INTERRUPT 1u

/* Options of kthread_create_attr(). Sized as struct kthread_config is. Fields of 0 mean the default. */
struct kthread_attr {
	size_t size;          /* sizeof(struct kthread_attr) */
	size_t stack_size;    /* bytes; 0 = pthread's default */
	int node;             /* as kthread_create_on_node(); KTHREAD_NO_NODE = none */
	int sched_policy;     /* SCHED_OTHER (0), SCHED_BATCH, SCHED_IDLE, SCHED_FIFO, SCHED_RR */
	int sched_priority;   /* for SCHED_FIFO and SCHED_RR, else 0 */
	int nice;             /* -20..19 */
	unsigned int flags;   /* KTHREAD_INTERRUPT */
	int interrupt_signal; /* for KTHREAD_INTERRUPT; 0 = the library picks a real-time signal nobody handles. A signal
	                         chosen here that has no handler gets an empty one; one with SA_RESTART is refused */
};

#define KTHREAD_ATTR_INIT \
	{ \
		sizeof(struct kthread_attr), 0, KTHREAD_NO_NODE, 0, 0, 0, 0, 0 \
	}

/*
 * Create a thread. It exists (with a tid, a name, a stack and a mask) but does not enter fn before kthread_wake(),
 * kthread_park()+kthread_unpark(), or never if kthread_stop() comes first. In between it may be given a place.
 *
 * It starts in a clean environment, whoever creates it: all signals blocked, SCHED_OTHER, nice 0, the mask of the rule
 * in <kthread/placement.h>. fn's result is what kthread_stop() returns.
 *
 * The caller owns one reference: give it up with kthread_stop() or kthread_put().
 * Name: printf style, kept whole; the kernel's comm shows 15 bytes of it, and a number at its end survives that cut.
 *
 * NULL with errno: EINVAL (fn or namefmt NULL, node or cpu impossible, a bad attr field, stack below
 * PTHREAD_STACK_MIN, a namefmt of _on_cpu with anything but one %u in it), E2BIG (attr has fields this version does
 * not know), ENOMEM, EAGAIN (no more threads: RLIMIT_NPROC and the like), EPERM (the policy or nice asked for needs
 * CAP_SYS_NICE), EBUSY (no free real-time signal for KTHREAD_INTERRUPT), ECHILD, or what starting the library returned.
 * Source: kthread_create(), kthread_create_on_node(), kthread_create_on_cpu().
 */
KTHREAD_API struct kthread *kthread_create(int (*fn)(void *data), void *data, const char *namefmt, ...)
    KTHREAD_PRINTF(3, 4);
/* Its wish is the node's CPUs (see <kthread/placement.h>), and its stack's memory is placed there. KTHREAD_NO_NODE =
 * kthread_create(). */
KTHREAD_API struct kthread *kthread_create_on_node(int (*fn)(void *data), void *data, int node, const char *namefmt,
                                                   ...) KTHREAD_PRINTF(4, 5);
/* Bound to cpu, which may be offline (then broken until it is usable). cpu fills the one %u of namefmt ("%%" is a
 * percent sign). The per-CPU flag is not set, as in the kernel. */
KTHREAD_API struct kthread *kthread_create_on_cpu(int (*fn)(void *data), void *data, unsigned int cpu,
                                                  const char *namefmt);
/* With the options of attr. */
KTHREAD_API struct kthread *kthread_create_attr(const struct kthread_attr *attr, int (*fn)(void *data), void *data,
                                                const char *namefmt, ...) KTHREAD_PRINTF(4, 5);
/* Create and wake. fn need not be entered: a kthread_stop() that comes before gives -EINTR. */
KTHREAD_API struct kthread *kthread_run(int (*fn)(void *data), void *data, const char *namefmt, ...)
    KTHREAD_PRINTF(3, 4);
KTHREAD_API struct kthread *kthread_run_on_cpu(int (*fn)(void *data), void *data, unsigned int cpu,
                                               const char *namefmt);

/*
 * Start a created thread, or end its wait, now or the next one (the wake is a token: it is not lost, and not counted).
 * True if that changed something: it was started, or had no token yet. Never ends a park. False once it has ended.
 * Does not allocate, cannot fail. What the caller did before happens-before what the thread does after its wait.
 * Source: wake_up_process().
 */
KTHREAD_API bool kthread_wake(struct kthread *k);

/*
 * Ask the thread to stop, unpark it, wake it, wait for its end. Beats park. What the thread did happens-before the
 * return. Gives up the caller's reference, unless k is the caller itself or adopted.
 *
 * The result of fn or of kthread_exit(); -EINTR if fn was never entered, -ECANCELED if the thread ended by
 * pthread_exit() or cancellation, -EDEADLK for itself, -EOPNOTSUPP adopted, -ECHILD after fork. A thread that has ended
 * already: its result. Several callers with a reference each: all get the result. Source: kthread_stop().
 */
KTHREAD_API int kthread_stop(struct kthread *k);
/* The same, and drops one reference more. Source: kthread_stop_put(). */
KTHREAD_API int kthread_stop_put(struct kthread *k);

/* Take one reference more. Returns k. */
KTHREAD_API struct kthread *kthread_get(struct kthread *k);
/* Drop a reference. The last one of a living thread detaches it: it runs on and frees itself; of one that was never
 * woken nor parked: it ends, its function not entered. Of an adopted thread: as kthread_unadopt(). NULL is allowed. */
KTHREAD_API void kthread_put(struct kthread *k);

/* Self: end the thread with this result. Runs cleanup handlers, as pthread_exit(). Outside a kthread: ends the calling thread as
 * pthread_exit(NULL) does. Source: kthread_exit(). */
KTHREAD_API KTHREAD_NORETURN void kthread_exit(int result);
/* Self: the same, and complete done (may be NULL) as the very last thing, when nothing of the caller's code can run in
 * this thread any more but destructors of its thread-specific data (pthread_key_create(), thread_local). So a plugin
 * that has none may be unloaded after the wait; one that has waits by kthread_stop(), whose first call for a thread
 * returns after them. Source: kthread_complete_and_exit(). */
KTHREAD_API KTHREAD_NORETURN void kthread_complete_and_exit(struct kthread_completion *done, int result);

/*
 * Ask the thread to park, and wait until it has: all it did before happens-before the caller's next line.
 * A created thread parks without entering fn; kthread_unpark() then starts it.
 *
 * 0 parked; -EBUSY a park was asked for already (perhaps not granted yet); -ENOSYS it ended, or was stopped, instead;
 * -ECANCELED somebody unparked it before it had parked.
 * For itself: only sets the request, 0; kthread_parkme() then parks. -EOPNOTSUPP adopted; -ECHILD.
 * Source: kthread_park().
 */
KTHREAD_API int kthread_park(struct kthread *k);
/* End a park; does nothing if none was asked for. Does not wait for the thread to run. A per-CPU thread is rebound
 * first, and stays parked while its CPU is not usable. Source: kthread_unpark(). */
KTHREAD_API void kthread_unpark(struct kthread *k);

/*
 * Self: park here if asked to, until unparked or stopped; at once back otherwise. There are two ways to grant a park:
 * call this and go on after it; or, having seen kthread_should_park() (or _stop_or_park()) return true, return from
 * fn: the thread is then parked, and fn is called again at unpark. After either, look at kthread_should_stop() first.
 *
 * A request may be taken back before it is granted. The return of a fn that has been told of it is its way to park all
 * the same: fn is called again, at once if nobody asks any more. Who has been told and goes on in fn calls this first,
 * which ends that; as does a kthread_wait*() that takes a token when nobody asks any more.
 * Source: kthread_parkme().
 */
KTHREAD_API void kthread_parkme(void);

/*
 * Self, for bound threads: wait for the thread's CPUs, then answer as kthread_should_stop(). If every CPU of its wish has
 * gone, or it finds itself on another CPU, it waits here (as if parked: kthread_park() is granted) until it can run in its
 * place again, or is stopped. For others: just that answer. Where the kernel refuses the thread the mask of a place that is usable
 * (a sandbox; kthread_info() tells), it is not held up. Source: P. Zijlstra's 2012 proposal for per-CPU threads.
 */
KTHREAD_API bool kthread_bound_should_stop(void);

/*
 * Self: sleep until woken; 0 at once if a wake, stop, park or freeze came since the last wait. May return early; look at your
 * condition again. -EPERM outside a kthread; -ECHILD in a forked child.
 */
KTHREAD_API int kthread_wait(void);
/* The same for at most timeout_ns nanoseconds (UINT64_MAX: no limit; 0: only take the token): 0 or -ETIMEDOUT. */
KTHREAD_API int kthread_wait_for(uint64_t timeout_ns);
/* As kthread_wait(), but while it sleeps here kthread_park() is granted in place, without waking it, and at no cost;
 * it comes back from here once unparked. Call it where the thread may be parked without a kthread_parkme(). So it is
 * frozen (<kthread/freezer.h>), but for that it does not come back. */
KTHREAD_API int kthread_wait_parkable(void);

/*
 * An eventfd(2) for the thread's own poll or epoll loop: readable after a wake, stop, park or freeze request, until it is read
 * or kthread_wait*() takes the token. Made by the first call, owned by k: do not close it. Non-blocking, close-on-exec.
 * The fd; -EMFILE, -ENFILE, -ENOMEM; -ESRCH ended; -EOPNOTSUPP adopted; -ECHILD.
 */
KTHREAD_API int kthread_event_fd(struct kthread *k);

/* The calling thread's handle (not a reference of its own); NULL outside a kthread. An adopted thread that called
 * kthread_adopt() itself gets its handle. */
KTHREAD_API struct kthread *kthread_self(void);
KTHREAD_API void *kthread_data(const struct kthread *k);
/* As kthread_data(), but also NULL for an adopted thread and for k NULL. Source: kthread_probe_data(). */
KTHREAD_API void *kthread_probe_data(const struct kthread *k);
KTHREAD_API int (*kthread_func(const struct kthread *k))(void *);
/* The whole name; lives as long as the handle. */
KTHREAD_API const char *kthread_name(const struct kthread *k);
/* Its number for top(1), gdb and /proc; stays what it was after the end. -EINVAL for NULL. */
KTHREAD_API pid_t kthread_tid(const struct kthread *k);

/*
 * Bring the calling foreign thread, or another thread of this process, under the care of placement (not life). It
 * starts without a wish, so on the housekeeping CPUs; give it another place with the calls of <kthread/placement.h>. A thread that ends while adopted is noticed; its
 * handle then answers -ESRCH, and still has to be given up. NULL with errno: EINVAL, EALREADY (the thread is managed
 * already), ESRCH (no such thread in this process), ENOMEM, ECHILD, what reading the thread's files in /proc returned
 * (EMFILE, ENFILE; ENOENT, EACCES without a /proc of ours; EIO: not to be understood), or what starting the library
 * returned.
 */
KTHREAD_API struct kthread *kthread_adopt(const char *namefmt, ...) KTHREAD_PRINTF(1, 2);
KTHREAD_API struct kthread *kthread_adopt_tid(pid_t tid, const char *namefmt, ...) KTHREAD_PRINTF(2, 3);
/* End that, give the thread back the mask it came with, and give up the caller's reference. 0; -EINVAL not adopted (or
 * NULL; the reference stays); -ESRCH it has ended; or why the kernel refused the old mask (-EINVAL: none of its CPUs is
 * usable now; it then gets every CPU). */
KTHREAD_API int kthread_unadopt(struct kthread *k);

/*
 * Self: has somebody asked this thread to stop, to park? Inline, one load; false outside a kthread. What the asker did
 * before happens-before a true answer. The symbols exist as well, for other languages.
 *
 * ABI: the thread-local pointer below leads to a word of which KTHREAD_WORD_STOP and KTHREAD_WORD_PARK never move.
 */
#define KTHREAD_WORD_STOP 0x1u
#define KTHREAD_WORD_PARK 0x6u

extern __thread const uint32_t *kthread_current_word __attribute__((__tls_model__("initial-exec"))) KTHREAD_API;
/* Private: the slow path of a true answer, which records that the thread has been told. Returns true. */
KTHREAD_API bool kthread_noticed(uint32_t asked);

KTHREAD_API bool kthread_should_stop(void);
KTHREAD_API bool kthread_should_park(void);
KTHREAD_API bool kthread_should_stop_or_park(void);

#ifndef KTHREAD_NO_INLINE
/* "extern inline" in the GNU sense: used where it is called, never the source of a symbol. */
#define KTHREAD_INLINE extern __inline__ __attribute__((__gnu_inline__, __always_inline__))

KTHREAD_INLINE bool kthread_should_stop(void)
{
	const uint32_t asked = __atomic_load_n(kthread_current_word, __ATOMIC_ACQUIRE) & KTHREAD_WORD_STOP;

	return __builtin_expect(asked != 0, 0) && kthread_noticed(asked);
}

KTHREAD_INLINE bool kthread_should_park(void)
{
	const uint32_t asked = __atomic_load_n(kthread_current_word, __ATOMIC_ACQUIRE) & KTHREAD_WORD_PARK;

	return __builtin_expect(asked != 0, 0) && kthread_noticed(asked);
}

KTHREAD_INLINE bool kthread_should_stop_or_park(void)
{
	const uint32_t asked =
	    __atomic_load_n(kthread_current_word, __ATOMIC_ACQUIRE) & (KTHREAD_WORD_STOP | KTHREAD_WORD_PARK);

	return __builtin_expect(asked != 0, 0) && kthread_noticed(asked);
}
#endif

KTHREAD_END_DECLS

#endif
