/* SPDX-License-Identifier: MIT */
#include <kthread/kthread.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/timerfd.h>

#include "bench.h"
#include "timers.h"
#include "worker/wheel.h"

static void *allocate(size_t size)
{
	void *memory = calloc(1, size);

	BENCH_CHECK(memory);
	return memory;
}

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / BENCH_S), .tv_nsec = (long)(ns % BENCH_S)};
}

/* ---- ours -------------------------------------------------------------------------------------------------------- */

struct ours {
	struct kthread_worker *worker;
	struct kthread_work busy;
	struct kthread_completion held, go;
	struct lateness *late;
	struct kthread_delayed_work chaser;
	struct kthread_completion last;
	unsigned int count;
	atomic_uint fired;
	struct timer {
		struct kthread_delayed_work dwork; /* first */
		struct ours *of;
	} timers[];
};

static void ours_fire(struct kthread_work *work)
{
	struct ours *ours = ((struct timer *)work)->of;
	const unsigned int fired = atomic_load_explicit(&ours->fired, memory_order_relaxed) + 1;

	atomic_store_explicit(&ours->fired, fired, memory_order_relaxed);
	if (fired == ours->count)
		kthread_complete(&ours->last);
}

static void *ours_start(unsigned int count)
{
	struct ours *ours = allocate(sizeof(*ours) + count * sizeof(struct timer));

	ours->worker = kthread_run_worker(0, "timers");
	BENCH_CHECK(ours->worker);
	ours->count = count;
	for (unsigned int i = 0; i < count; i++) {
		ours->timers[i].of = ours;
		kthread_init_delayed_work(&ours->timers[i].dwork, ours_fire);
	}
	return ours;
}

static void ours_add(void *timers, unsigned int i, uint64_t delay_ns)
{
	struct ours *ours = timers;

	kthread_queue_delayed_work(ours->worker, &ours->timers[i].dwork, delay_ns);
}

static void ours_move(void *timers, unsigned int i, uint64_t delay_ns)
{
	struct ours *ours = timers;

	kthread_mod_delayed_work(ours->worker, &ours->timers[i].dwork, delay_ns);
}

static void ours_cancel(void *timers, unsigned int i)
{
	struct ours *ours = timers;

	kthread_cancel_delayed_work_sync(&ours->timers[i].dwork);
}

#define OURS(work, member) ((struct ours *)((char *)(work)-offsetof(struct ours, member)))

static void ours_be_busy(struct kthread_work *work)
{
	struct ours *ours = OURS(work, busy);

	kthread_complete(&ours->held);
	kthread_wait_for_completion(&ours->go);
}

static void ours_hold(void *timers)
{
	struct ours *ours = timers;

	kthread_init_work(&ours->busy, ours_be_busy);
	kthread_queue_work(ours->worker, &ours->busy);
	kthread_wait_for_completion(&ours->held);
}

static void ours_run_due(void *timers)
{
	struct ours *ours = timers;

	kthread_complete(&ours->go);
	kthread_wait_for_completion(&ours->last);
}

static void ours_chase(struct kthread_work *work)
{
	struct ours *ours = OURS(work, chaser.work);

	if (lateness_take(ours->late))
		kthread_queue_delayed_work(ours->worker, &ours->chaser, lateness_arm(ours->late));
	else
		kthread_complete(&ours->held);
}

static void ours_late(void *timers, struct lateness *late)
{
	struct ours *ours = timers;

	kthread_init_delayed_work(&ours->chaser, ours_chase);
	ours->late = late;
	kthread_queue_delayed_work(ours->worker, &ours->chaser, lateness_arm(late));
	kthread_wait_for_completion(&ours->held);
}

static void ours_stop(void *timers)
{
	struct ours *ours = timers;

	for (unsigned int i = 0; i < ours->count; i++)
		ours_cancel(timers, i);
	kthread_destroy_worker(ours->worker);
	free(ours);
}

const struct timers_kind timers_ours = {"kthread_delayed_work", ours_start, ours_add, ours_move, ours_cancel, ours_hold,
                                        ours_run_due,           ours_late,  ours_stop};

/* ---- the wheel alone ---------------------------------------------------------------------------------------------- */

struct wheel {
	struct kt_wheel wheel;
	uint64_t now;
	unsigned int fired;
	struct kthread_delayed_work works[];
};

static void *wheel_start(unsigned int count)
{
	struct wheel *wheel = allocate(sizeof(*wheel) + count * sizeof(wheel->works[0]));

	kt_wheel_init(&wheel->wheel);
	for (unsigned int i = 0; i < count; i++)
		kthread_init_delayed_work(&wheel->works[i], NULL); /* touched, as those of the others */
	return wheel;
}

static void wheel_add(void *timers, unsigned int i, uint64_t delay_ns)
{
	struct wheel *wheel = timers;

	wheel->works[i].expires = delay_ns;
	kt_wheel_add(&wheel->wheel, &wheel->works[i], 0);
}

static void wheel_cancel(void *timers, unsigned int i)
{
	struct wheel *wheel = timers;

	kt_wheel_remove(&wheel->wheel, &wheel->works[i]);
}

static void wheel_move(void *timers, unsigned int i, uint64_t delay_ns)
{
	wheel_cancel(timers, i);
	wheel_add(timers, i, delay_ns);
}

static void wheel_nothing(void *timers)
{
	(void)timers;
}

static void wheel_look(struct wheel *wheel)
{
	for (struct kthread_work *work = kt_wheel_expire(&wheel->wheel, wheel->now); work; work = work->next)
		wheel->fired++;
}

static void wheel_run_due(void *timers)
{
	struct wheel *wheel = timers;

	wheel->now = UINT64_MAX - 1;
	wheel_look(wheel);
}

static void wheel_run_steps(void *timers)
{
	struct wheel *wheel = timers;

	while (wheel->wheel.count) {
		wheel->now += BENCH_MS;
		wheel_look(wheel);
	}
}

const struct timers_kind timers_wheel = {"its wheel alone", wheel_start,   wheel_add, wheel_move, wheel_cancel,
                                         wheel_nothing,     wheel_run_due, NULL,      free};
const struct timers_kind timers_wheel_steps = {"its wheel alone, in steps of 1 ms",
                                               wheel_start,
                                               wheel_add,
                                               wheel_move,
                                               wheel_cancel,
                                               wheel_nothing,
                                               wheel_run_steps,
                                               NULL,
                                               free};

/* ---- one thread, one timer ---------------------------------------------------------------------------------------- */

static void timerfd_late(void *timers, struct lateness *late)
{
	const int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	uint64_t ticks;

	(void)timers;
	BENCH_CHECK(fd >= 0);
	do {
		struct itimerspec until = {{0, 0}, {0, 0}};

		lateness_arm(late);
		until.it_value = timespec_of(late->due);
		BENCH_CHECK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &until, NULL) == 0);
		BENCH_CHECK(read(fd, &ticks, sizeof(ticks)) == sizeof(ticks));
	} while (lateness_take(late));
	close(fd);
}

static void cond_late(void *timers, struct lateness *late)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_condattr_t attr;
	pthread_cond_t cond;

	(void)timers;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&cond, &attr);
	pthread_mutex_lock(&mutex);
	do {
		struct timespec until;

		lateness_arm(late);
		until = timespec_of(late->due);
		while (bench_now() < late->due)
			pthread_cond_timedwait(&cond, &mutex, &until);
	} while (lateness_take(late));
	pthread_mutex_unlock(&mutex);
	pthread_cond_destroy(&cond);
	pthread_condattr_destroy(&attr);
}

const struct timers_kind timers_timerfd = {.name = "timerfd", .late = timerfd_late};
const struct timers_kind timers_cond = {.name = "pthread_cond_timedwait", .late = cond_late};

/* ---- libev --------------------------------------------------------------------------------------------------------- */

#ifdef BENCH_EV
#include <ev.h>

struct ev {
	struct ev_loop *loop;
	pthread_mutex_t mutex;
	unsigned int count, fired;
	struct lateness *late;
	ev_timer timers[];
};

static void ev_fire(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct ev *ev = timer->data;

	(void)loop;
	(void)events;
	ev->fired++;
}

static void *ev_peer_start(unsigned int count)
{
	struct ev *ev = allocate(sizeof(*ev) + count * sizeof(ev_timer));

	ev->loop = ev_loop_new(EVFLAG_AUTO);
	BENCH_CHECK(ev->loop);
	pthread_mutex_init(&ev->mutex, NULL);
	ev->count = count;
	for (unsigned int i = 0; i < count; i++) {
		ev_timer_init(&ev->timers[i], ev_fire, 0., 0.);
		ev->timers[i].data = ev;
	}
	return ev;
}

static void ev_peer_add(void *timers, unsigned int i, uint64_t delay_ns)
{
	struct ev *ev = timers;

	ev_timer_set(&ev->timers[i], (double)delay_ns / 1e9, 0.);
	ev_timer_start(ev->loop, &ev->timers[i]);
}

static void ev_peer_cancel(void *timers, unsigned int i)
{
	struct ev *ev = timers;

	ev_timer_stop(ev->loop, &ev->timers[i]);
}

static void ev_peer_move(void *timers, unsigned int i, uint64_t delay_ns)
{
	ev_peer_cancel(timers, i);
	ev_peer_add(timers, i, delay_ns);
}

static void ev_locked_add(void *timers, unsigned int i, uint64_t delay_ns)
{
	struct ev *ev = timers;

	pthread_mutex_lock(&ev->mutex);
	ev_now_update(ev->loop);
	ev_peer_add(timers, i, delay_ns);
	pthread_mutex_unlock(&ev->mutex);
}

static void ev_locked_cancel(void *timers, unsigned int i)
{
	struct ev *ev = timers;

	pthread_mutex_lock(&ev->mutex);
	ev_peer_cancel(timers, i);
	pthread_mutex_unlock(&ev->mutex);
}

static void ev_locked_move(void *timers, unsigned int i, uint64_t delay_ns)
{
	struct ev *ev = timers;

	pthread_mutex_lock(&ev->mutex);
	ev_now_update(ev->loop);
	ev_peer_move(timers, i, delay_ns);
	pthread_mutex_unlock(&ev->mutex);
}

static void ev_peer_hold(void *timers)
{
	(void)timers;
}

static void ev_run_due(void *timers)
{
	struct ev *ev = timers;

	while (ev->fired < ev->count)
		ev_run(ev->loop, EVRUN_NOWAIT);
}

static void ev_chase(struct ev_loop *loop, ev_timer *timer, int events)
{
	struct ev *ev = timer->data;

	(void)events;
	if (!lateness_take(ev->late)) {
		ev_break(loop, EVBREAK_ALL);
		return;
	}
	ev_timer_set(timer, (double)lateness_arm(ev->late) / 1e9, 0.);
	ev_now_update(loop);
	ev_timer_start(loop, timer);
}

static void ev_late(void *timers, struct lateness *late)
{
	struct ev *ev = timers;
	ev_timer chaser;

	ev->late = late;
	ev_timer_init(&chaser, ev_chase, (double)lateness_arm(late) / 1e9, 0.);
	chaser.data = ev;
	ev_now_update(ev->loop);
	ev_timer_start(ev->loop, &chaser);
	ev_run(ev->loop, 0);
}

static void ev_peer_stop(void *timers)
{
	struct ev *ev = timers;

	ev_loop_destroy(ev->loop);
	pthread_mutex_destroy(&ev->mutex);
	free(ev);
}

static const struct timers_kind ev = {"libev",      ev_peer_start, ev_peer_add, ev_peer_move, ev_peer_cancel,
                                      ev_peer_hold, ev_run_due,    ev_late,     ev_peer_stop};
static const struct timers_kind ev_locked = {"libev, locked, the time of now",
                                             ev_peer_start,
                                             ev_locked_add,
                                             ev_locked_move,
                                             ev_locked_cancel,
                                             ev_peer_hold,
                                             ev_run_due,
                                             ev_late,
                                             ev_peer_stop};
const struct timers_kind *const timers_ev = &ev;
const struct timers_kind *const timers_ev_locked = &ev_locked;
#else
const struct timers_kind *const timers_ev = NULL;
const struct timers_kind *const timers_ev_locked = NULL;
#endif

/* ---- libuv: milliseconds ------------------------------------------------------------------------------------------- */

#ifdef BENCH_UV
#include <uv.h>

struct uv {
	uv_loop_t loop;
	unsigned int count, fired;
	struct lateness *late;
	uv_timer_t timers[];
};

static void uv_fire(uv_timer_t *timer)
{
	struct uv *uv = timer->data;

	uv->fired++;
}

static void *uv_peer_start(unsigned int count)
{
	struct uv *uv = allocate(sizeof(*uv) + count * sizeof(uv_timer_t));

	BENCH_CHECK(uv_loop_init(&uv->loop) == 0);
	uv->count = count;
	for (unsigned int i = 0; i < count; i++) {
		uv_timer_init(&uv->loop, &uv->timers[i]);
		uv->timers[i].data = uv;
	}
	return uv;
}

/* uv_timer_start() moves one that is there. */
static void uv_peer_add(void *timers, unsigned int i, uint64_t delay_ns)
{
	struct uv *uv = timers;

	uv_timer_start(&uv->timers[i], uv_fire, delay_ns / BENCH_MS, 0);
}

static void uv_peer_cancel(void *timers, unsigned int i)
{
	struct uv *uv = timers;

	uv_timer_stop(&uv->timers[i]);
}

static void uv_peer_hold(void *timers)
{
	(void)timers;
}

static void uv_run_due(void *timers)
{
	struct uv *uv = timers;

	while (uv->fired < uv->count)
		uv_run(&uv->loop, UV_RUN_NOWAIT);
}

static void uv_chase(uv_timer_t *timer)
{
	struct uv *uv = timer->data;
	uint64_t delay;

	if (!lateness_take(uv->late)) {
		uv_close((uv_handle_t *)timer, NULL);
		uv_stop(&uv->loop);
		return;
	}
	delay = lateness_arm(uv->late);
	uv_update_time(&uv->loop);
	uv_timer_start(timer, uv_chase, delay / BENCH_MS, 0);
}

static void uv_late(void *timers, struct lateness *late)
{
	struct uv *uv = timers;
	uv_timer_t chaser;
	uint64_t delay;

	uv->late = late;
	uv_timer_init(&uv->loop, &chaser);
	chaser.data = uv;
	delay = lateness_arm(late);
	uv_update_time(&uv->loop);
	uv_timer_start(&chaser, uv_chase, delay / BENCH_MS, 0);
	uv_run(&uv->loop, UV_RUN_DEFAULT);
	uv_run(&uv->loop, UV_RUN_NOWAIT); /* the close */
}

static void uv_peer_stop(void *timers)
{
	struct uv *uv = timers;

	for (unsigned int i = 0; i < uv->count; i++)
		uv_close((uv_handle_t *)&uv->timers[i], NULL);
	uv_run(&uv->loop, UV_RUN_DEFAULT);
	BENCH_CHECK(uv_loop_close(&uv->loop) == 0);
	free(uv);
}

static const struct timers_kind uv = {"libuv",      uv_peer_start, uv_peer_add, uv_peer_add, uv_peer_cancel,
                                      uv_peer_hold, uv_run_due,    uv_late,     uv_peer_stop};
const struct timers_kind *const timers_uv = &uv;
#else
const struct timers_kind *const timers_uv = NULL;
#endif
