/* SPDX-License-Identifier: MIT */
/*
 * Streams and memory that fail, a kernel that refuses, a stream that forks; and a dump between its pieces.
 */
#include <fcntl.h>
#include <sys/ioctl.h>

#include "../../unit/wrap_alloc.h"
#include "../gate.h"
#include "dumped.h"
#include "inspect/dump.h"

/* ---- refusals --------------------------------------------------------------------------------------------------- */

static atomic_int refusal; /* errno, for any thread but the caller; 0 = none */

int __real_sched_setaffinity(pid_t tid, size_t size, const cpu_set_t *set);
int __wrap_sched_setaffinity(pid_t tid, size_t size, const cpu_set_t *set);

int __wrap_sched_setaffinity(pid_t tid, size_t size, const cpu_set_t *set)
{
	const int error = atomic_load(&refusal);

	if (!error || tid == 0)
		return __real_sched_setaffinity(tid, size, set);
	errno = error;
	return -1;
}

static void bind_refused(struct kthread *k, unsigned int cpu, int error)
{
	atomic_store(&refusal, error);
	assert_int_equal(kthread_bind(k, cpu), 0);
	atomic_store(&refusal, 0);
}

/* By errno, and what the kernel took at last stays the mask that the thread came from. */
static void refusals(void **state)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	struct kthread *k;
	json_t *whole, *of;
	const char *all;

	config.poll_ms = 0;
	config.uevents = false;
	config.inotify = false;
	assert_int_equal(kthread_init(&config), 0);
	k = kthread_create(obedient, NULL, "refused");
	if (!sim_two_cpus()) {
		kthread_stop(k);
		assert_int_equal(kthread_fini(), 0);
		skip();
	}
	AWAIT(sim_info(k).last_reason == KTHREAD_REASON_START);
	sim_calm(); /* nobody looks any more, who would find that the kernel has another mask, and tell it again */
	bind_refused(k, 0, EINVAL);
	bind_refused(k, 1, EINVAL);
	bind_refused(k, 0, ENOMEM);
	bind_refused(k, 1, EIO); /* not one of those counted by name */
	whole = dumped();
	of = thread_named(whole, "refused");
	assert_int_equal(json_object_size(member(of, "counters.refusals")), 3);
	assert_int_equal(number_of(of, "counters.refusals.EINVAL"), 2);
	assert_int_equal(number_of(of, "counters.refusals.ENOMEM"), 1);
	assert_int_equal(number_of(of, "counters.refusals.other"), 1);
	assert_text_of(of, "last.errno", "EIO");
	all = text_of(of, "last.from");
	assert_string_equal(all, text_of(of, "actual")); /* what it was started with is what it has */
	assert_text_of(of, "last.to", "1");
	json_decref(whole);

	assert_int_equal(kthread_bind(k, 0), 0);
	whole = dumped();
	of = thread_named(whole, "refused");
	assert_true(is_null(of, "last.errno"));
	assert_text_of(of, "last.to", "0");
	assert_text_of(of, "actual", "0");
	json_decref(whole);
	kthread_stop(k);
	assert_int_equal(kthread_fini(), 0);
}

/* ---- a thread that is being made ---------------------------------------------------------------------------------- */

int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*fn)(void *arg), void *arg)
{
	return gate_pthread_create(ret, attr, fn, arg);
}

static void *dump_pieces(void *arg)
{
	struct kt_dump *dump = kt_dump_begin(KTHREAD_JSON);
	FILE *out = fopen("/dev/null", "we");

	CHECK(dump && out);
	while (kt_dump_next(dump, out))
		continue;
	kt_dump_end(dump);
	fclose(out);
	atomic_store((atomic_bool *)arg, true);
	return NULL;
}

/* It may last, on a CPU that is not to be had: the monitor, which makes pieces, goes past it. Who asks himself, waits. */
static void a_thread_that_is_being_made(void **state)
{
	atomic_bool done = false;
	struct kthread *born, *unborn;
	pthread_t thread;
	json_t *whole;

	sim_start(NULL);
	born = kthread_run(obedient, NULL, "born");
	assert_true(kthread_tid(born) > 0);
	assert_int_equal(pthread_create(&thread, NULL, dump_pieces, &done), 0);
	pthread_join(thread, NULL);
	atomic_store(&done, false);
	atomic_store(&gate_shut, true);
	unborn = kthread_run(obedient, NULL, "unborn");
	assert_non_null(unborn);
	assert_int_equal(__real_pthread_create(&thread, NULL, dump_pieces, &done), 0);
	AWAIT(atomic_load(&done));
	pthread_join(thread, NULL);
	atomic_store(&gate_shut, false);
	whole = dumped();
	assert_non_null(thread_named(whole, "unborn"));
	json_decref(whole);
	kthread_stop(born);
	kthread_stop(unborn);
	sim_stop();
}

/* ---- the machine's topology --------------------------------------------------------------------------------------- */

static atomic_int loads;

int __real_hwloc_topology_load(void *topology);
int __wrap_hwloc_topology_load(void *topology);

int __wrap_hwloc_topology_load(void *topology)
{
	atomic_fetch_add(&loads, 1);
	return __real_hwloc_topology_load(topology);
}

/* By the first dump, in one go. */
static void the_topology_is_read_once(void **state)
{
	sim_tree("numa");
	sim_start(NULL);
	atomic_store(&loads, 0);
	for (int i = 0; i < 2; i++) {
		json_t *whole = dumped();

		assert_true(json_array_size(member(whole, "nodes")) > 0);
		assert_int_equal(atomic_load(&loads), 1);
		json_decref(whole);
	}
	sim_stop();
}

/* ---- streams ---------------------------------------------------------------------------------------------------- */

static struct kthread *three[3];

static void have_threads(void)
{
	sim_start(NULL);
	for (int i = 0; i < 3; i++)
		three[i] = kthread_run(obedient, NULL, "one of/%d", i);
	for (int i = 0; i < 3; i++)
		assert_true(kthread_tid(three[i]) > 0); /* pieces go past those that are being made */
}

static void give_up_threads(void)
{
	for (int i = 0; i < 3; i++)
		kthread_stop(three[i]);
	sim_stop();
}

static void a_full_device(void **state)
{
	FILE *out = fopen("/dev/full", "we");

	assert_non_null(out);
	have_threads();
	assert_int_equal(kthread_dump(out, KTHREAD_JSON), -ENOSPC);
	assert_int_equal(kthread_dump(out, KTHREAD_TEXT), -ENOSPC);
	setvbuf(out, NULL, _IONBF, 0);
	assert_int_equal(kthread_dump(out, KTHREAD_JSON), -ENOSPC);
	fclose(out);
	give_up_threads();
}

static void a_stream_for_reading(void **state)
{
	FILE *out = fopen("/dev/null", "re");

	have_threads();
	assert_int_equal(kthread_dump(out, KTHREAD_JSON), -EBADF);
	fclose(out);
	give_up_threads();
}

struct sink {
	size_t room; /* bytes that it takes */
	int error;
};

static ssize_t sink_write(void *cookie, const char *bytes, size_t size)
{
	struct sink *sink = cookie;

	if (size > sink->room) {
		errno = sink->error;
		return 0;
	}
	sink->room -= size;
	return (ssize_t)size;
}

/* Wherever the stream fails, its error comes out, or -EIO if it has none; and nothing is left behind. */
static void a_stream_that_fails_anywhere(void **state)
{
	static const cookie_io_functions_t io = {.write = sink_write};
	char *text;
	size_t length;

	have_threads();
	text = dump(KTHREAD_JSON);
	length = strlen(text);
	free(text);
	for (size_t room = 0; room < length + 4096; room += 97) {
		struct sink sink = {.room = room, .error = room % 2 ? EPIPE : 0};
		FILE *out = fopencookie(&sink, "w", io);
		int error;

		setvbuf(out, NULL, room % 3 ? _IOFBF : _IONBF, 64);
		error = kthread_dump(out, KTHREAD_JSON);
		if (room < length - 512)
			assert_int_equal(error, room % 2 ? -EPIPE : -EIO);
		else if (room > length + 512)
			assert_int_equal(error, 0);
		fclose(out);
	}
	give_up_threads();
}

static ssize_t forking_write(void *cookie, const char *bytes, size_t size)
{
	pid_t *child = cookie;

	if (*child < 0)
		*child = fork();
	return (ssize_t)size;
}

/* In the child none of the threads exists: it is told so, and what the dump held is given up. */
static void a_stream_that_forks(void **state)
{
	static const cookie_io_functions_t io = {.write = forking_write};
	pid_t child = -1;
	FILE *out;
	int error;
	int status;

	have_threads();
	out = fopencookie(&child, "w", io);
	setvbuf(out, NULL, _IONBF, 0);
	error = kthread_dump(out, KTHREAD_JSON);
	if (child == 0)
		_exit(error == -ECHILD ? 0 : 1);
	assert_int_equal(error, 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	fclose(out);
	give_up_threads();
}

static void *dump_into(void *out)
{
	for (;;)
		kthread_dump(out, KTHREAD_TEXT);
	return NULL;
}

/* Nobody reads, so it blocks: no lock is held meanwhile, and nothing is left behind when it is cancelled. */
static void cancelled_in_a_pipe(void **state)
{
	pthread_t thread;
	FILE *out;
	int fds[2];

	have_threads();
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_true(fcntl(fds[1], F_SETPIPE_SZ, 4096) > 0);
	out = fdopen(fds[1], "w");
	assert_int_equal(pthread_create(&thread, NULL, dump_into, out), 0);
	for (int i = 0; i < 3; i++) {
		struct kthread *k = kthread_run(obedient, NULL, "meanwhile");

		await_waiting(k);
		json_decref(dumped());
		assert_int_equal(kthread_stop(k), 0);
	}
	for (int available = 0; available < 2048; sched_yield())
		assert_int_equal(ioctl(fds[0], FIONREAD, &available), 0);
	pthread_cancel(thread);
	pthread_join(thread, NULL);
	json_decref(dumped());
	close(fds[0]);
	signal(SIGPIPE, SIG_IGN);
	fclose(out);
	give_up_threads();
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

static int nothing(unsigned int cpu, void *arg)
{
	return 0;
}

/* Each allocation in turn: -ENOMEM, or a dump that is whole (the kernel's word on a thread may be missing). */
static void no_memory(void **state)
{
	unsigned long n = 1, refused = 0;

	have_threads();
	assert_true(kthread_cpuhp_setup(KTHREAD_CPUHP_PREPARE, "step", nothing, nothing, NULL) > 0);
	for (bool all = false; !all; n++) {
		char *text = NULL;
		size_t size;
		FILE *out = open_memstream(&text, &size);
		int error;

		wrap_alloc_fail_at(n);
		error = kthread_dump(out, KTHREAD_JSON);
		all = wrap_alloc_count() < n;
		wrap_alloc_fail_at(0);
		fclose(out);
		if (!error)
			json_decref(dump_read(text));
		else
			assert_int_equal(error, -ENOMEM);
		refused += error != 0;
		free(text);
	}
	assert_true(refused >= 4 && refused < n);
	give_up_threads();
}

/* ---- between the pieces ----------------------------------------------------------------------------------------- */

static void threads_go_between_pieces(void **state)
{
	char *text = NULL;
	size_t size, pieces = 1;
	FILE *out = open_memstream(&text, &size);
	struct kt_dump *dump;
	json_t *whole;

	have_threads();
	json_decref(dumped()); /* from here on the nodes are known */
	dump = kt_dump_begin(KTHREAD_JSON);
	assert_non_null(dump);
	for (; kt_dump_next(dump, out); pieces++) {
		fflush(out);
		if (three[1] && strstr(text, "\"one of/0\"")) { /* the one that the dump stands at, and the next */
			kthread_stop(three[0]);
			kthread_stop(three[1]);
			three[0] = three[1] = NULL;
		}
	}
	assert_int_equal(kt_dump_error(dump), 0);
	assert_false(kt_dump_next(dump, out)); /* nothing more comes */
	kt_dump_end(dump);
	fclose(out);
	assert_true(pieces > 8);
	assert_null(three[0]);
	whole = dump_read(text);
	assert_non_null(thread_named(whole, "one of/0"));
	assert_null(thread_named(whole, "one of/1"));
	assert_non_null(thread_named(whole, "one of/2"));
	json_decref(whole);
	free(text);
	kthread_stop(three[2]);
	sim_stop();
}

/* Given up at any point. */
static void ended_early(void **state)
{
	bool more = true;

	have_threads();
	for (int pieces = 0; more; pieces++) {
		struct kt_dump *dump = kt_dump_begin(KTHREAD_TEXT);
		FILE *out = fopen("/dev/null", "we");

		for (int i = 0; i < pieces && more; i++)
			more = kt_dump_next(dump, out);
		kt_dump_end(dump);
		fclose(out);
	}
	kt_dump_end(NULL);
	give_up_threads();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(refusals),
	    cmocka_unit_test(a_thread_that_is_being_made),
	    cmocka_unit_test(the_topology_is_read_once),
	    cmocka_unit_test(a_full_device),
	    cmocka_unit_test(a_stream_for_reading),
	    cmocka_unit_test(a_stream_that_fails_anywhere),
	    cmocka_unit_test(a_stream_that_forks),
	    cmocka_unit_test(cancelled_in_a_pipe),
	    cmocka_unit_test(no_memory),
	    cmocka_unit_test(threads_go_between_pieces),
	    cmocka_unit_test(ended_early),
	};

	return cmocka_run_group_tests_name("dump_faults", tests, NULL, fini_finds_nothing);
}
