/* SPDX-License-Identifier: MIT */
/*
 * KTHREAD_INTERRUPT: stop and park break blocking system calls, again and again until the thread has noticed.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "await.h"

struct subject {
	struct kthread_completion entered;
	struct kthread_completion go;
	int fd;
	int how;
	atomic_int parks;
	atomic_int interrupted;
	atomic_ulong turns;
};

static struct kthread *interruptible(int (*fn)(void *), struct subject *subject, int number)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k;

	attr.flags = KTHREAD_INTERRUPT;
	attr.interrupt_signal = number;
	k = kthread_create_attr(&attr, fn, subject, "interruptible");
	if (k)
		kthread_wake(k);
	return k;
}

enum { READ, ACCEPT, POLL, NANOSLEEP, PAUSE, CALLS };

static int block(const struct subject *subject)
{
	const struct timespec long_time = {.tv_sec = 3600};
	struct pollfd poller = {.fd = subject->fd, .events = POLLIN};
	char byte;

	switch (subject->how) {
	case READ:
		return (int)read(subject->fd, &byte, 1);
	case ACCEPT:
		return accept(subject->fd, NULL, NULL);
	case POLL:
		return poll(&poller, 1, -1);
	case NANOSLEEP:
		return nanosleep(&long_time, NULL);
	default:
		return pause();
	}
}

static int blocks_until_stopped(void *data)
{
	struct subject *subject = data;

	kthread_complete(&subject->entered);
	while (!kthread_should_stop()) {
		if (kthread_should_park()) {
			atomic_fetch_add(&subject->parks, 1);
			kthread_parkme();
			continue;
		}
		CHECK(block(subject) == -1 && errno == EINTR);
		atomic_fetch_add(&subject->interrupted, 1);
	}
	return 1;
}

struct channel {
	int pipe[2];
	int listener;
};

static struct channel channel_open(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	struct channel channel;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(pipe(channel.pipe), 0);
	channel.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(channel.listener >= 0);
	assert_int_equal(bind(channel.listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(channel.listener, 1), 0);
	return channel;
}

static void channel_close(const struct channel *channel)
{
	close(channel->pipe[0]);
	close(channel->pipe[1]);
	close(channel->listener);
}

static void kthread_stop__breaks_blocking_calls(void **state)
{
	const struct channel channel = channel_open();

	for (int how = 0; how < CALLS; how++) {
		struct subject subject = {.how = how, .fd = how == ACCEPT ? channel.listener : channel.pipe[0]};
		struct kthread *k = interruptible(blocks_until_stopped, &subject, 0);

		assert_non_null(k);
		AWAIT_DONE(&subject.entered);
		await_settled(kthread_tid(k));
		assert_int_equal(kthread_stop(k), 1);
		assert_true(atomic_load(&subject.interrupted) >= 1);
	}
	channel_close(&channel);
}

static void kthread_park__breaks_blocking_calls(void **state)
{
	const struct channel channel = channel_open();

	for (int how = 0; how < CALLS; how++) {
		struct subject subject = {.how = how, .fd = how == ACCEPT ? channel.listener : channel.pipe[0]};
		struct kthread *k = interruptible(blocks_until_stopped, &subject, 0);

		AWAIT_DONE(&subject.entered);
		for (int i = 0; i < 20; i++) {
			await_settled(kthread_tid(k));
			assert_int_equal(kthread_park(k), 0);
			assert_int_equal(atomic_load(&subject.parks), i + 1);
			kthread_unpark(k);
		}
		await_settled(kthread_tid(k));
		assert_int_equal(kthread_stop(k), 1);
	}
	channel_close(&channel);
}

/* The signal comes between the look and the call, and is lost: it has to come again. */
static void kthread_stop__breaks_the_call_that_is_about_to_begin(void **state)
{
	const struct channel channel = channel_open();

	for (int i = 0; i < 1000; i++) {
		struct subject subject = {.how = i % CALLS, .fd = channel.pipe[0]};
		struct kthread *k;

		if (subject.how == ACCEPT)
			subject.fd = channel.listener;
		k = interruptible(blocks_until_stopped, &subject, 0);
		AWAIT_DONE(&subject.entered);
		for (int spin = 0; spin < i % 64; spin++)
			kthread_should_stop();
		if (i % 2) {
			assert_int_equal(kthread_park(k), 0);
			kthread_unpark(k);
		}
		assert_int_equal(kthread_stop(k), 1);
	}
	channel_close(&channel);
}

static atomic_int handled;

static void count_signal(int number)
{
	(void)number;
	atomic_fetch_add(&handled, 1);
}

static void set_handler(int number, void (*handler)(int), int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

	assert_int_equal(sigaction(number, &action, NULL), 0);
}

static void *parks_in_vain(void *k)
{
	CHECK(kthread_park(k) == -ECANCELED);
	return NULL;
}

/* Have it told of a park that is taken back before it parks. `told` is completed by the thread. */
static void tell_and_take_back(struct kthread *k, struct kthread_completion *told)
{
	pthread_t thread;

	AWAIT_DONE(told); /* it has entered its function */
	assert_int_equal(pthread_create(&thread, NULL, parks_in_vain, k), 0);
	AWAIT_DONE(told);
	kthread_unpark(k);
	pthread_join(thread, NULL);
}

static int goes_on_after_it_was_told(void *data)
{
	struct subject *subject = data;
	const struct timespec some_time = {.tv_nsec = 60 * MS};
	int before;

	kthread_complete(&subject->entered);
	AWAIT(kthread_should_park());
	kthread_complete(&subject->entered);
	kthread_wait_for_completion(&subject->go); /* meanwhile it is unparked */
	while (!kthread_should_park())
		CHECK(block(subject) == -1 && errno == EINTR);
	/* and no signal once it has been told of the second; one may be under way */
	before = atomic_load(&handled);
	if (nanosleep(&some_time, NULL) != 0)
		CHECK(nanosleep(&some_time, NULL) == 0);
	CHECK(atomic_load(&handled) <= before + 1);
	kthread_parkme();
	return 1;
}

/* What it was told of the first says nothing about the second. */
static void kthread_park__breaks_the_call_after_a_park_that_was_taken_back(void **state)
{
	set_handler(SIGUSR1, count_signal, 0);
	for (int i = 0; i < 5; i++) {
		struct subject subject = {.how = PAUSE};
		struct kthread *k = interruptible(goes_on_after_it_was_told, &subject, SIGUSR1);

		tell_and_take_back(k, &subject.entered);
		kthread_complete(&subject.go);
		await_settled(kthread_tid(k));
		assert_int_equal(kthread_park(k), 0);
		assert_int_equal(kthread_stop(k), 1);
	}
	set_handler(SIGUSR1, SIG_DFL, 0);
}

/* ---- which signal ------------------------------------------------------------------------------------------------ */

static void count_siginfo(int number, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	count_signal(number);
}

static void (*handler_of(int number))(int)
{
	struct sigaction action;

	CHECK(sigaction(number, NULL, &action) == 0);
	return action.sa_handler;
}

static int takes_its_time_after_it_noticed(void *data)
{
	struct subject *subject = data;
	const struct timespec some_time = {.tv_nsec = 60 * MS};
	int before;

	kthread_complete(&subject->entered);
	AWAIT(subject->how ? kthread_should_stop_or_park() : kthread_should_stop());
	/* one may be under way */
	before = atomic_load(&handled);
	if (nanosleep(&some_time, NULL) != 0)
		CHECK(nanosleep(&some_time, NULL) == 0);
	CHECK(atomic_load(&handled) <= before + 1);
	if (subject->how)
		kthread_parkme();
	return 1;
}

static void kthread_stop__no_signal_once_it_has_noticed(void **state)
{
	set_handler(SIGUSR1, count_signal, 0);
	for (int i = 0; i < 5; i++) {
		struct subject subject = {0};
		struct kthread *k = interruptible(takes_its_time_after_it_noticed, &subject, SIGUSR1);

		AWAIT_DONE(&subject.entered);
		assert_int_equal(kthread_stop(k), 1);
	}
	set_handler(SIGUSR1, SIG_DFL, 0);
}

static void kthread_park__no_signal_once_it_has_noticed(void **state)
{
	set_handler(SIGUSR1, count_signal, 0);
	for (int i = 0; i < 5; i++) {
		struct subject subject = {.how = 1};
		struct kthread *k = interruptible(takes_its_time_after_it_noticed, &subject, SIGUSR1);

		AWAIT_DONE(&subject.entered);
		assert_int_equal(kthread_park(k), 0);
		assert_int_equal(kthread_stop(k), 1);
	}
	set_handler(SIGUSR1, SIG_DFL, 0);
}

static void kthread_create_attr__given_signal_keeps_its_handler(void **state)
{
	const struct channel channel = channel_open();
	struct sigaction action = {.sa_sigaction = count_siginfo, .sa_flags = SA_SIGINFO};

	for (int i = 0; i < 2; i++) {
		struct subject subject = {.how = READ, .fd = channel.pipe[0]};
		struct kthread *k;

		if (i == 0)
			set_handler(SIGUSR2, count_signal, 0);
		else
			assert_int_equal(sigaction(SIGUSR2, &action, NULL), 0);
		k = interruptible(blocks_until_stopped, &subject, SIGUSR2);
		assert_non_null(k);
		atomic_store(&handled, 0);
		AWAIT_DONE(&subject.entered);
		await_settled(kthread_tid(k));
		assert_int_equal(kthread_stop(k), 1);
		assert_true(atomic_load(&handled) > 0);
	}
	set_handler(SIGUSR2, SIG_DFL, 0);
	channel_close(&channel);
}

static void kthread_create_attr__given_signal_without_a_handler_gets_an_empty_one(void **state)
{
	void (*const before[])(int) = {SIG_DFL, SIG_IGN};

	for (size_t i = 0; i < 4; i++) {
		struct subject subject = {.how = PAUSE};
		struct kthread *k;

		set_handler(SIGUSR2, before[i / 2], i % 2 ? SA_SIGINFO : 0);
		k = interruptible(blocks_until_stopped, &subject, SIGUSR2);
		assert_non_null(k);
		assert_true(handler_of(SIGUSR2) != SIG_DFL && handler_of(SIGUSR2) != SIG_IGN);
		AWAIT_DONE(&subject.entered);
		assert_int_equal(kthread_stop(k), 1);
	}
	set_handler(SIGUSR2, SIG_DFL, 0);
}

static void kthread_create_attr__bad_signals(void **state)
{
	static const int bad[] = {-1, 32, 33, 65, 1000, SIGKILL, SIGSTOP};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		errno = 0;
		assert_null(interruptible(result_only, NULL, bad[i]));
		assert_int_equal(errno, EINVAL);
	}
}

static void kthread_create_attr__restarting_handler_is_refused(void **state)
{
	set_handler(SIGUSR2, count_signal, SA_RESTART);
	errno = 0;
	assert_null(interruptible(result_only, NULL, SIGUSR2));
	assert_int_equal(errno, EINVAL);
	assert_true(handler_of(SIGUSR2) == count_signal);
	set_handler(SIGUSR2, SIG_DFL, 0);
}

static int looks_at_its_mask(void *data)
{
	sigset_t blocked;
	int open_ones = 0;
	int which = 0;

	(void)data;
	CHECK(pthread_sigmask(SIG_SETMASK, NULL, &blocked) == 0);
	for (int number = 1; number <= SIGRTMAX; number++) {
		if (number == SIGKILL || number == SIGSTOP || (number > 31 && number < SIGRTMIN))
			continue;
		if (!sigismember(&blocked, number)) {
			open_ones++;
			which = number;
		}
	}
	CHECK(open_ones == 1);
	return which;
}

static int signal_of(int wanted)
{
	struct kthread *k = interruptible(looks_at_its_mask, NULL, wanted);

	assert_non_null(k);
	AWAIT(task_gone(kthread_tid(k)));
	return kthread_stop(k);
}

static void kthread_create_attr__one_signal_is_open(void **state)
{
	int own;

	assert_int_equal(signal_of(SIGUSR1), SIGUSR1);
	set_handler(SIGUSR1, SIG_DFL, 0);
	own = signal_of(0);
	assert_true(own >= SIGRTMIN && own <= SIGRTMAX);
	assert_int_equal(signal_of(0), own);
}

static void kthread_fini__gives_the_signal_back(void **state)
{
	const int own = signal_of(0);

	assert_true(handler_of(own) != SIG_DFL);
	assert_int_equal(kthread_fini(), 0);
	assert_true(handler_of(own) == SIG_DFL);
}

static void kthread_fini__leaves_a_signal_that_was_taken_over(void **state)
{
	const int own = signal_of(0);

	set_handler(own, count_signal, 0);
	assert_int_equal(kthread_fini(), 0);
	assert_true(handler_of(own) == count_signal);
	set_handler(own, SIG_DFL, 0);
}

/* Under valgrind the last one is valgrind's. */
static bool last_is_ours(void)
{
	struct sigaction action = {.sa_handler = SIG_DFL};

	return sigaction(SIGRTMAX, &action, NULL) == 0;
}

static void kthread_create_attr__foreign_handlers_are_kept(void **state)
{
	int own;

	if (!last_is_ours())
		skip();
	assert_int_equal(kthread_fini(), 0);
	set_handler(SIGRTMAX, count_signal, 0);
	set_handler(SIGRTMAX - 1, SIG_IGN, 0);
	own = signal_of(0);
	assert_true(own != SIGRTMAX && own != SIGRTMAX - 1);
	assert_true(handler_of(SIGRTMAX) == count_signal);
	assert_true(handler_of(SIGRTMAX - 1) == SIG_IGN);
	assert_int_equal(kthread_fini(), 0);
	assert_true(handler_of(SIGRTMAX) == count_signal);
	set_handler(SIGRTMAX, SIG_DFL, 0);
	set_handler(SIGRTMAX - 1, SIG_DFL, 0);
}

static void kthread_create_attr__no_signal_is_free(void **state)
{
	if (!last_is_ours())
		skip();
	assert_int_equal(kthread_fini(), 0);
	for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
		set_handler(number, count_signal, 0);
	errno = 0;
	assert_null(interruptible(result_only, NULL, 0));
	assert_int_equal(errno, EBUSY);
	set_handler(SIGRTMIN + 3, SIG_DFL, SA_SIGINFO);
	assert_int_equal(signal_of(0), SIGRTMIN + 3);
	for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
		if (number != SIGRTMIN + 3)
			set_handler(number, SIG_DFL, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_stop__breaks_blocking_calls),
	    cmocka_unit_test(kthread_park__breaks_blocking_calls),
	    cmocka_unit_test(kthread_stop__breaks_the_call_that_is_about_to_begin),
	    cmocka_unit_test(kthread_park__breaks_the_call_after_a_park_that_was_taken_back),
	    cmocka_unit_test(kthread_stop__no_signal_once_it_has_noticed),
	    cmocka_unit_test(kthread_park__no_signal_once_it_has_noticed),
	    cmocka_unit_test(kthread_create_attr__given_signal_keeps_its_handler),
	    cmocka_unit_test(kthread_create_attr__given_signal_without_a_handler_gets_an_empty_one),
	    cmocka_unit_test(kthread_create_attr__bad_signals),
	    cmocka_unit_test(kthread_create_attr__restarting_handler_is_refused),
	    cmocka_unit_test(kthread_create_attr__one_signal_is_open),
	    cmocka_unit_test(kthread_fini__gives_the_signal_back),
	    cmocka_unit_test(kthread_fini__leaves_a_signal_that_was_taken_over),
	    cmocka_unit_test(kthread_create_attr__foreign_handlers_are_kept),
	    cmocka_unit_test(kthread_create_attr__no_signal_is_free),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}
