/* SPDX-License-Identifier: MIT */
/*
 * Adopted threads: placed like others, given back as they came; that end unseen, whose tid comes back, that are
 * un-adopted by others.
 */
#include <pthread.h>
#include <sys/resource.h>

#include "sim.h"

/* ---- the kernel, where it has to be asked to be odd --------------------------------------------------------------- */

int __real_kt_thread_start_time(pid_t tid, uint64_t *ret);
int __real_sched_setaffinity(pid_t tid, size_t setsize, const cpu_set_t *set);

static atomic_int reused;  /* a tid that is another thread's by now */
static atomic_int refused; /* masks to refuse */
static atomic_int refusal = EINVAL;
static atomic_int unreadable; /* errno: /proc cannot be read now */

int __wrap_kt_thread_start_time(pid_t tid, uint64_t *ret)
{
	const int error = atomic_load(&unreadable) ? -atomic_load(&unreadable) : __real_kt_thread_start_time(tid, ret);

	if (!error && tid == atomic_load(&reused))
		*ret += 1000;
	return error;
}

int __wrap_sched_setaffinity(pid_t tid, size_t setsize, const cpu_set_t *set)
{
	if (atomic_load(&refused) > 0) {
		atomic_fetch_sub(&refused, 1);
		errno = atomic_load(&refusal);
		return -1;
	}
	return __real_sched_setaffinity(tid, setsize, set);
}

/* ---- a foreign thread -------------------------------------------------------------------------------------------- */

struct foreigner {
	pthread_t pthread;
	pid_t tid;
	unsigned int pin; /* before it says it is ready; 0: none */
	bool adopts_itself;
	struct kthread *k;
	struct kthread_completion ready, go, done, end;
	struct kthread *(*act)(struct foreigner *self);
};

static void *foreigner(void *arg)
{
	struct foreigner *self = arg;

	self->tid = gettid();
	if (self->pin)
		sim_remask(0, self->pin);
	if (self->adopts_itself)
		self->k = kthread_adopt("itself");
	kthread_complete(&self->ready);
	if (self->act) {
		kthread_wait_for_completion(&self->go);
		self->k = self->act(self);
		kthread_complete(&self->done);
	}
	kthread_wait_for_completion(&self->end);
	return NULL;
}

static void come(struct foreigner *foreign)
{
	assert_int_equal(pthread_create(&foreign->pthread, NULL, foreigner, foreign), 0);
	AWAIT_DONE(&foreign->ready);
}

static void leave(struct foreigner *foreign)
{
	kthread_complete(&foreign->end);
	pthread_join(foreign->pthread, NULL);
}

static void start(void)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	if (!sim_two_cpus())
		skip();
	config.poll_ms = 0;
	config.uevents = false; /* nobody looks but who is asked to: a new source makes some looks of its own */
	config.inotify = false;
	config.log = sim_log;
	assert_int_equal(kthread_init(&config), 0);
}

/* ---- cases ------------------------------------------------------------------------------------------------------- */

static void kthread_unadopt__gives_the_mask_back(void **state)
{
	start();
	for (unsigned int cpus = 1; cpus <= 2; cpus++) {
		struct foreigner foreign = {.pin = cpus};
		struct kthread *k;

		come(&foreign);
		for (int how = 0; how < 2; how++) {
			k = kthread_adopt_tid(foreign.tid, "foreign");
			assert_non_null(k);
			assert_int_equal(sim_kernel_mask(foreign.tid) & 3, 3); /* its pin is no wish */
			assert_int_equal(kthread_bind(k, cpus - 1), 0);
			assert_int_equal(kthread_bind(k, 2 - cpus), 0);
			assert_int_equal(sim_kernel_mask(foreign.tid), cpus ^ 3);
			assert_int_equal(state_of(k), KTHREAD_ADOPTED);
			assert_int_equal(kthread_fini(), -EBUSY);
			if (how)
				kthread_put(k);
			else
				assert_int_equal(kthread_unadopt(k), 0);
			assert_int_equal(sim_kernel_mask(foreign.tid), cpus);
		}
		leave(&foreign);
	}
	assert_int_equal(kthread_fini(), 0);
}

static void kthread_unadopt__the_old_mask_is_refused(void **state)
{
	struct foreigner foreign = {.pin = 2};
	struct kthread *k;

	start();
	come(&foreign);
	k = kthread_adopt_tid(foreign.tid, "foreign");
	assert_int_equal(kthread_bind(k, 0), 0);
	atomic_store(&refused, 1);
	assert_int_equal(kthread_unadopt(k), -EINVAL);
	assert_int_equal(sim_kernel_mask(foreign.tid) & 3, 3); /* every CPU */
	leave(&foreign);
	assert_int_equal(kthread_fini(), 0);
}

static void kthread_adopt__who_cannot_be(void **state)
{
	struct kthread *k;
	struct kthread *me;
	pid_t other;

	start();
	k = kthread_run(obedient, NULL, "ours");
	errno = 0;
	assert_null(kthread_adopt_tid(kthread_tid(k), "x"));
	assert_int_equal(errno, EALREADY);
	sim_calm(); /* the monitor has its name */
	assert_null(kthread_adopt_tid(sim_task("kthread-monitor"), "x"));
	assert_int_equal(errno, EALREADY);
	for (pid_t tid = -1; tid <= 0; tid++) {
		errno = 0;
		assert_null(kthread_adopt_tid(tid, "x"));
		assert_int_equal(errno, EINVAL);
	}
	assert_null(kthread_adopt_tid(getppid(), "x")); /* of another process */
	assert_int_equal(errno, ESRCH);
	other = fork();
	if (other == 0)
		_exit(0);
	assert_int_equal(waitpid(other, NULL, 0), other);
	assert_null(kthread_adopt_tid(other, "x"));
	assert_int_equal(errno, ESRCH);
	me = kthread_adopt("me");
	assert_non_null(me);
	assert_ptr_equal(kthread_self(), me);
	errno = 0;
	assert_null(kthread_adopt("again"));
	assert_int_equal(errno, EALREADY);
	assert_null(kthread_adopt_tid(gettid(), "again"));
	assert_int_equal(errno, EALREADY);
	assert_int_equal(kthread_unadopt(k), -EINVAL); /* not adopted */
	assert_int_equal(kthread_unadopt(NULL), -EINVAL);
	assert_int_equal(kthread_unadopt(me), 0);
	assert_null(kthread_self());
	kthread_stop(k);
	assert_int_equal(kthread_fini(), 0);
}

static void *adopt_main(void *arg)
{
	return kthread_adopt_tid(*(pid_t *)arg, "by many");
}

static void kthread_adopt_tid__by_many_at_once(void **state)
{
	pid_t tid = gettid();

	start();
	for (int round = 0; round < 100; round++) {
		struct kthread *winner = NULL;
		pthread_t threads[4];

		for (int i = 0; i < 4; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, adopt_main, &tid), 0);
		for (int i = 0; i < 4; i++) {
			void *k;

			pthread_join(threads[i], &k);
			assert_true(!k || !winner);
			winner = k ? k : winner;
		}
		assert_non_null(winner);
		assert_int_equal(kthread_unadopt(winner), 0);
	}
	assert_int_equal(kthread_fini(), 0);
}

/* Adopted by its tid, it ends: the next look notices; the handle answers, and has to be given up. */
static void adopted__ends_unseen(void **state)
{
	start();
	for (int how = 0; how < 3; how++) {
		struct foreigner foreign = {0};
		struct kthread *k;
		cpu_set_t set;

		come(&foreign);
		k = kthread_adopt_tid(foreign.tid, "ends");
		assert_non_null(k);
		leave(&foreign);
		AWAIT(task_state(foreign.tid) == 0);
		if (how == 0) {
			assert_int_equal(kthread_rescan(), 0);
			assert_int_equal(state_of(k), KTHREAD_EXITED);
		}
		assert_int_equal(kthread_get_mask(k, KTHREAD_MASK_ACTUAL, sizeof(set), &set), -ESRCH);
		if (how < 2) {
			assert_int_equal(kthread_bind(k, 0), -ESRCH);
			assert_int_equal(kthread_affine_reset(k), -ESRCH);
			assert_int_equal(state_of(k), KTHREAD_EXITED);
			assert_int_equal(kthread_rescan(), 0);
		}
		assert_int_equal(kthread_tid(k), foreign.tid);
		assert_int_equal(kthread_fini(), -EBUSY);
		assert_int_equal(kthread_unadopt(k), -ESRCH);
		assert_int_equal(kthread_fini(), 0);
		start();
	}
	assert_int_equal(kthread_fini(), 0);
}

static void adopted__ends_and_its_tid_is_anothers(void **state)
{
	struct foreigner foreign = {.pin = 2};
	struct kthread *old;
	struct kthread *k;

	start();
	come(&foreign);
	old = kthread_adopt_tid(foreign.tid, "old");
	assert_int_equal(kthread_bind(old, 0), 0);
	atomic_store(&reused, foreign.tid);
	sim_remask(foreign.tid, 2); /* the new thread's own */
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(sim_kernel_mask(foreign.tid), 2); /* nobody touches it */
	assert_int_equal(kthread_bind(old, 0), -ESRCH);
	assert_int_equal(sim_kernel_mask(foreign.tid), 2);
	k = kthread_adopt_tid(foreign.tid, "new"); /* which nobody manages */
	assert_non_null(k);
	assert_int_equal(kthread_bind(k, 0), 0);
	assert_int_equal(sim_kernel_mask(foreign.tid), 1);
	assert_int_equal(kthread_unadopt(old), -ESRCH);
	assert_int_equal(sim_kernel_mask(foreign.tid), 1);
	assert_int_equal(kthread_unadopt(k), 0);
	assert_int_equal(sim_kernel_mask(foreign.tid), 2);
	atomic_store(&reused, 0);
	leave(&foreign);
	assert_int_equal(kthread_fini(), 0);
}

/* It is not known whether it lives; that is no reason to take it for gone. */
static void lives_on(struct foreigner *foreign, struct kthread *k, int error)
{
	sim_remask(foreign->tid, 2); /* lost */
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(state_of(k), KTHREAD_ADOPTED);
	assert_int_equal(sim_kernel_mask(foreign->tid), 1);
	assert_int_equal(kthread_bind(k, 1), 0);
	assert_int_equal(sim_kernel_mask(foreign->tid), 2);
	assert_int_equal(kthread_bind(k, 0), 0);
	errno = 0;
	assert_null(kthread_adopt_tid(foreign->tid, "again"));
	assert_int_equal(errno, EALREADY);
	assert_null(kthread_adopt("another"));
	assert_int_equal(errno, error);
	assert_int_equal(state_of(k), KTHREAD_ADOPTED);
	assert_int_equal(kthread_unadopt(k), 0);
	assert_int_equal(sim_kernel_mask(foreign->tid), 2);
}

static void adopted__proc_cannot_be_read(void **state)
{
	static const int errors[] = {EMFILE, ENFILE, ENOMEM, EACCES, EIO};

	start();
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		struct foreigner foreign = {.pin = 2};
		struct kthread *k;

		come(&foreign);
		k = kthread_adopt_tid(foreign.tid, "lives on");
		assert_int_equal(kthread_bind(k, 0), 0);
		atomic_store(&unreadable, errors[i]);
		lives_on(&foreign, k, errors[i]);
		atomic_store(&unreadable, 0);
		leave(&foreign);
	}
	assert_int_equal(kthread_fini(), 0);
}

static void adopted__no_descriptors(void **state)
{
	struct foreigner foreign = {.pin = 2};
	struct rlimit limit;
	struct rlimit none;
	struct kthread *k;

	start();
	come(&foreign);
	k = kthread_adopt_tid(foreign.tid, "lives on");
	assert_int_equal(kthread_bind(k, 0), 0);
	getrlimit(RLIMIT_NOFILE, &limit);
	none = limit;
	none.rlim_cur = 0;
	setrlimit(RLIMIT_NOFILE, &none);
	lives_on(&foreign, k, EMFILE);
	setrlimit(RLIMIT_NOFILE, &limit);
	leave(&foreign);
	assert_int_equal(kthread_fini(), 0);
}

static void adopted__itself_and_ends(void **state)
{
	struct foreigner foreign = {.adopts_itself = true};

	start();
	come(&foreign);
	assert_non_null(foreign.k);
	leave(&foreign);
	assert_int_equal(state_of(foreign.k), KTHREAD_EXITED);
	assert_int_equal(kthread_bind(foreign.k, 0), -ESRCH);
	assert_int_equal(kthread_unadopt(foreign.k), -ESRCH);
	assert_int_equal(kthread_fini(), 0);
}

static struct kthread *adopt_again(struct foreigner *self)
{
	return kthread_adopt("again");
}

/* The thread still carries the old handle then; it is not to be lost, nor to be in the way. */
static void adopted__itself_and_unadopted_by_another(void **state)
{
	struct foreigner foreign = {.adopts_itself = true, .pin = 2, .act = adopt_again};
	struct kthread *first;

	start();
	come(&foreign);
	first = foreign.k;
	assert_int_equal(kthread_bind(first, 0), 0);
	assert_int_equal(kthread_unadopt(first), 0);
	assert_int_equal(sim_kernel_mask(foreign.tid), 2);
	assert_int_equal(kthread_fini(), 0); /* nobody is managed any more */
	start();
	kthread_complete(&foreign.go);
	AWAIT_DONE(&foreign.done);
	assert_non_null(foreign.k);
	assert_int_equal(kthread_bind(foreign.k, 0), 0);
	assert_int_equal(kthread_unadopt(foreign.k), 0);
	assert_int_equal(sim_kernel_mask(foreign.tid), 2);
	leave(&foreign);
	assert_int_equal(kthread_fini(), 0);
}

/* Adopted, un-adopted, ended, all at the same time as looks. */
static atomic_bool enough;

static void *looks(void *arg)
{
	while (!atomic_load(&enough))
		CHECK(kthread_rescan() == 0);
	return NULL;
}

static void adopted__while_others_look(void **state)
{
	pthread_t thread;

	start();
	atomic_store(&enough, false);
	assert_int_equal(pthread_create(&thread, NULL, looks, NULL), 0);
	for (int i = 0; i < 300; i++) {
		struct foreigner foreign = {.adopts_itself = i % 2};

		come(&foreign);
		if (!foreign.k)
			foreign.k = kthread_adopt_tid(foreign.tid, "foreign");
		assert_non_null(foreign.k);
		if (i % 4 < 2) {
			leave(&foreign);
			AWAIT(task_state(foreign.tid) == 0); /* joined is not gone */
			assert_int_equal(kthread_unadopt(foreign.k), -ESRCH);
		} else {
			assert_int_equal(kthread_unadopt(foreign.k), 0);
			leave(&foreign);
		}
	}
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
	assert_int_equal(kthread_fini(), 0);
}

/* However they take turns. */
static void refused__is_logged_once_per_kind(void **state)
{
	const int before = sim_logged("refuses its CPU mask");
	struct kthread *k;

	start();
	k = kthread_adopt("itself");
	assert_non_null(k);
	sim_calm();
	for (unsigned int i = 0; i < 6; i++) {
		atomic_store(&refusal, i % 2 ? EPERM : EACCES);
		atomic_store(&refused, 1);
		assert_int_equal(kthread_bind(k, i / 2 % 2), 0);
		assert_int_equal(atomic_load(&refused), 0);
		assert_int_equal(sim_info(k).last_error, i % 2 ? EPERM : EACCES);
	}
	atomic_store(&refusal, EINVAL);
	assert_logged("refuses its CPU mask", before + 2);
	assert_int_equal(sim_info(k).refusals, 6);
	assert_int_equal(kthread_unadopt(k), 0);
	assert_int_equal(kthread_fini(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_unadopt__gives_the_mask_back),
	    cmocka_unit_test(kthread_unadopt__the_old_mask_is_refused),
	    cmocka_unit_test(kthread_adopt__who_cannot_be),
	    cmocka_unit_test(kthread_adopt_tid__by_many_at_once),
	    cmocka_unit_test(adopted__ends_unseen),
	    cmocka_unit_test(adopted__ends_and_its_tid_is_anothers),
	    cmocka_unit_test(adopted__proc_cannot_be_read),
	    cmocka_unit_test(adopted__no_descriptors),
	    cmocka_unit_test(adopted__itself_and_ends),
	    cmocka_unit_test(adopted__itself_and_unadopted_by_another),
	    cmocka_unit_test(adopted__while_others_look),
	    cmocka_unit_test(refused__is_logged_once_per_kind),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}
