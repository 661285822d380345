/* SPDX-License-Identifier: MIT */
/*
 * How the service begins and ends, with clients in every state; and fork().
 */
#include <sys/socket.h>
#include <sys/un.h>

#include "client.h"

/* A child of ours starts threads, although there were some before the fork. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0:atexit_sleep_ms=0";
}

static bool answers(void)
{
	return strstr(control_ask("version"), "\"ok\":true") != NULL;
}

static bool is_there(const char *path)
{
	struct stat about;

	return lstat(path, &about) == 0;
}

/* ---- beginning ---------------------------------------------------------------------------------------------------- */

static void listen__and_close(void **state)
{
	sim_start(NULL);
	snprintf(control_path, sizeof(control_path), "%s/control", sim.root);
	assert_int_equal(kthread_control_close(), 0);
	for (int round = 0; round < 3; round++) {
		const int before = control_fds();

		assert_int_equal(kthread_control_listen(control_path), 0);
		assert_int_equal(kthread_control_listen(control_path), -EALREADY);
		assert_int_equal(kthread_control_listen(NULL), -EALREADY);
		assert_true(answers());
		assert_int_equal(kthread_control_close(), 0);
		assert_false(is_there(control_path));
		assert_int_equal(kthread_control_close(), 0);
		if (round > 0) /* the monitor has its own from the first one on */
			AWAIT(control_fds() == before);
	}
	sim_stop();
}

static void listen__cannot(void **state)
{
	char path[256];

	sim_start(NULL);
	snprintf(control_path, sizeof(control_path), "%s/control", sim.root);
	snprintf(path, sizeof(path), "%s/nowhere/control", sim.root);
	assert_int_equal(kthread_control_listen(path), -ENOENT);
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(kthread_control_listen(path), -ENAMETOOLONG);
	sim_put("control", "a file\n");
	assert_int_equal(kthread_control_listen(control_path), -EEXIST);
	assert_true(is_there(control_path));
	sim_remove("control");
	assert_int_equal(kthread_control_listen(control_path), 0); /* nothing of it has stayed */
	assert_true(answers());
	sim_stop();
	assert_false(is_there(control_path));
}

static void listen__at_the_default_path(void **state)
{
	sim_start(NULL);
	setenv("RUNTIME_DIRECTORY", sim.root, 1);
	snprintf(control_path, sizeof(control_path), "%s/kthread.%d.sock", sim.root, (int)getpid());
	assert_int_equal(kthread_control_listen(""), 0);
	assert_true(answers());
	sim_stop();
	setenv("KTHREAD_CONTROL", "", 1);
	sim_tree("numa");
	setenv("RUNTIME_DIRECTORY", sim.root, 1);
	snprintf(control_path, sizeof(control_path), "%s/kthread.%d.sock", sim.root, (int)getpid());
	sim_start(NULL);
	assert_true(answers()); /* without a thread of ours */
	sim_stop();
	unsetenv("KTHREAD_CONTROL");
	unsetenv("RUNTIME_DIRECTORY");
}

static int nobodys_default_path(void *arg)
{
	struct kthread_config config = sim_config();

	unsetenv("RUNTIME_DIRECTORY");
	unsetenv("XDG_RUNTIME_DIR");
	CHECK(seteuid(65534) == 0); /* root has /run */
	config.control = "";
	CHECK(kthread_init(&config) == 0);
	CHECK(kthread_control_listen("") == -ENOENT);
	return sim_logged("no control socket: \"\": RUNTIME_DIRECTORY and XDG_RUNTIME_DIR do not say") == 1 ? 0 : 1;
}

static void config__no_default_path(void **state)
{
	if (geteuid() != 0)
		skip();
	assert_int_equal(in_child(nobodys_default_path, NULL), 0);
}

/* That there is no socket is no reason not to start. */
static void config__a_path_that_cannot_be(void **state)
{
	struct kthread_config config = sim_config();
	struct kthread *k;

	config.control = "/nowhere/at/all";
	sim_start(&config);
	assert_logged("no control socket: \"/nowhere/at/all\": No such file", 1);
	k = kthread_run(obedient, NULL, "k");
	assert_non_null(k);
	snprintf(control_path, sizeof(control_path), "%s/control", sim.root);
	assert_int_equal(kthread_control_listen(control_path), 0);
	assert_true(answers());
	kthread_stop(k);
	sim_stop();
}

static void environment__where_nobody_calls_init(void **state)
{
	struct kthread *k;

	sim_tree("numa");
	snprintf(control_path, sizeof(control_path), "%s/control", sim.root);
	setenv("KTHREAD_CONTROL", control_path, 1);
	setenv("KTHREAD_ROOT", sim.root, 1);
	setenv("KTHREAD_SIMULATE", "1", 1);
	k = kthread_run(obedient, NULL, "k");
	assert_non_null(k);
	assert_true(kthread_tid(k) > 0);
	assert_done("park k");
	kthread_stop(k);
	unsetenv("KTHREAD_CONTROL");
	unsetenv("KTHREAD_ROOT");
	unsetenv("KTHREAD_SIMULATE");
	sim_stop();
	assert_false(is_there(control_path));
}

/* ---- ending ------------------------------------------------------------------------------------------------------- */

static void close__with_clients_in_every_state(void **state)
{
	struct stubbornness its;
	struct kthread *k;
	struct kthread *other;
	int fd[5];

	control_start(NULL);
	k = stubborn_begin(&its);
	other = kthread_run(obedient, NULL, "other");
	assert_true(kthread_tid(other) > 0);
	fd[0] = control_connect();
	assert_true(answers());
	fd[1] = control_begin("park stubborn");
	AWAIT(atomic_load(&its.asked));
	fd[2] = control_begin("park other");
	fd[3] = control_begin("freeze");
	assert_true(answers());
	fd[4] = control_connect();
	assert_int_equal(send(fd[4], "vers", 4, 0), 4);
	assert_true(answers());
	assert_int_equal(kthread_control_close(), 0); /* waits for nobody */
	for (int i = 0; i < 5; i++)
		assert_answer(fd[i], "");
	assert_false(is_there(control_path));
	AWAIT(!atomic_load(&its.asked)); /* taken back */
	assert_int_equal(kthread_control_listen(control_path), 0);
	assert_done("rescan"); /* the thread goes on, and what was in the queue is forgotten */
	assert_int_not_equal(state_of(other), KTHREAD_PARKED);
	kthread_stop(k);
	kthread_stop(other);
	control_stop();
}

static void fini__with_clients(void **state)
{
	struct kthread *k;
	int fd[2];

	control_start(NULL);
	k = kthread_run(obedient, NULL, "k");
	assert_true(kthread_tid(k) > 0);
	assert_done("park k");
	fd[0] = control_connect();
	fd[1] = control_begin("");
	assert_done("rescan");
	assert_int_equal(kthread_fini(), -EBUSY);
	assert_true(answers());
	kthread_stop(k);
	sim_stop();
	assert_answer(fd[0], "");
	assert_refusal(fd[1], "EINVAL", "no request");
	assert_false(is_there(control_path));
}

/* A CPU that goes is waited for: its callbacks are the application's. */
static atomic_int callback;

static int lasts(unsigned int cpu, void *arg)
{
	atomic_store(&callback, 1);
	AWAIT(atomic_load(&callback) == 2);
	for (int i = 0; i < 200; i++)
		sched_yield();
	atomic_store(&callback, 3);
	return 0;
}

static void fini__while_a_cpu_goes(void **state)
{
	int fd;

	control_start(NULL);
	atomic_store(&callback, 0);
	assert_true(kthread_cpuhp_setup(KTHREAD_CPUHP_PREPARE, "lasts", NULL, lasts, NULL) > 0);
	fd = control_begin("cpu down 3");
	AWAIT(atomic_load(&callback) == 1);
	assert_true(answers());
	assert_int_equal(kthread_control_close(), 0);
	assert_answer(fd, "");
	atomic_store(&callback, 2);
	sim_stop();
	assert_int_equal(atomic_load(&callback), 3);
}

/* Another daemon has taken the path: it stays. */
static void close__a_path_that_is_no_more_ours(void **state)
{
	sim_start(NULL);
	snprintf(control_path, sizeof(control_path), "%s/control", sim.root);
	assert_int_equal(kthread_control_listen(control_path), 0);
	assert_int_equal(unlink(control_path), 0);
	sim_put("control", "theirs\n");
	assert_int_equal(kthread_control_close(), 0);
	assert_true(is_there(control_path));
	sim_stop();
}

/* From where a client's request is carried out: he is cut off, and the next one is served. */
static atomic_bool reopened;

static void reopen(void)
{
	CHECK(kthread_control_close() == 0);
	CHECK(kthread_control_listen(control_path) == 0);
	atomic_store(&reopened, true);
}

static int reopens(unsigned int cpu, void *arg)
{
	reopen();
	return 0;
}

static void listen__again_in_a_callback(void **state)
{
	int fd;

	atomic_store(&reopened, false);
	control_start(NULL);
	assert_true(kthread_cpuhp_setup(KTHREAD_CPUHP_PREPARE, "reopens", NULL, reopens, NULL) > 0);
	fd = control_begin("cpu down 3");
	assert_answer(fd, "");
	AWAIT(atomic_load(&reopened));
	assert_done("rescan"); /* after it, in the same thread */
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), 0xf7);
	control_stop();
}

static void reopens_once(int level, const char *message, void *arg)
{
	if (strstr(message, "does not freeze") && !atomic_load(&reopened))
		reopen();
}

static int refuses(void *data)
{
	kthread_set_freezable();
	while (!kthread_should_stop()) {
		atomic_store((atomic_bool *)data, true);
		sched_yield();
	}
	return 0;
}

static void listen__again_in_the_log_function(void **state)
{
	struct kthread_config config = sim_config();
	atomic_bool runs = false;
	struct kthread *k;
	int fd;

	config.log = reopens_once;
	atomic_store(&reopened, false);
	control_start(&config);
	k = kthread_run(refuses, &runs, "refuses");
	assert_non_null(k);
	AWAIT(atomic_load(&runs));
	fd = control_begin("freeze 1");
	assert_answer(fd, "");
	AWAIT(atomic_load(&reopened));
	assert_done("rescan");
	kthread_stop(k);
	control_stop();
}

/* Closed and opened in the middle of a turn, too: each client hears an answer or the end. */
static atomic_bool enough;

static void *asks_whoever_is_there(void *arg)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	atomic_uint *count = arg;
	char some[8192];

	strcpy(address.sun_path, control_path);
	while (!atomic_load(&enough)) {
		const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
		    send(fd, "version\n", 8, MSG_NOSIGNAL) == 8)
			atomic_fetch_add(count, recv(fd, some, sizeof(some), 0) > 0);
		close(fd);
	}
	return NULL;
}

static void listen__again_while_clients_come(void **state)
{
	atomic_uint count = 0;
	pthread_t thread;

	control_start(NULL);
	atomic_store(&enough, false);
	assert_int_equal(pthread_create(&thread, NULL, asks_whoever_is_there, &count), 0);
	for (int i = 0; i < 300; i++) {
		for (int j = 0; j < i % 20; j++)
			sched_yield();
		assert_int_equal(kthread_control_close(), 0);
		assert_int_equal(kthread_control_listen(control_path), 0);
	}
	assert_true(answers());
	AWAIT(atomic_load(&count) > 0);
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
	control_stop();
}

/* ---- fork() ------------------------------------------------------------------------------------------------------- */

static int fds_in_the_parent;

static int child(void *arg)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	char other[150];

	EXPECT(kthread_control_listen(control_path) == -ECHILD);
	EXPECT(kthread_control_close() == -ECHILD);
	EXPECT(control_fds() < fds_in_the_parent - 10); /* none of the clients' */
	EXPECT(is_there(control_path));
	EXPECT(answers()); /* by the parent */
	snprintf(other, sizeof(other), "%s/child", sim.root);
	config.root = sim.root;
	config.simulate = true;
	config.poll_ms = 0;
	config.inotify = config.uevents = false;
#ifndef __SANITIZE_THREAD__ /* it takes a new thread of the child for one of its parent's */
	config.control = control_path;
#endif
	EXPECT(kthread_init(&config) == 0);
	EXPECT(is_there(control_path));
	EXPECT(answers()); /* it is not replaced */
#ifndef __SANITIZE_THREAD__
	{
		char wanted[32];

		EXPECT(kthread_control_listen(other) == 0);
		snprintf(control_path, sizeof(control_path), "%s", other);
		snprintf(wanted, sizeof(wanted), "\"pid\":%d,", (int)getpid());
		EXPECT(strstr(control_ask("version"), wanted));
	}
#endif
	EXPECT(kthread_fini() == 0);
	EXPECT(!is_there(other));
	return 0;
}

static void fork__with_clients_in_every_state(void **state)
{
	struct stubbornness its;
	struct kthread *k;
	char wanted[32];
	int fd[12];
	int result;

	control_start(NULL);
	k = stubborn_begin(&its);
	for (int i = 0; i < 10; i++)
		fd[i] = control_connect();
	fd[10] = control_begin("park stubborn");
	AWAIT(atomic_load(&its.asked));
	fd[11] = control_begin("rescan");
	assert_true(answers());
	fds_in_the_parent = control_fds();
	for (int round = 0; round < 3; round++) {
		result = in_child(child, NULL);
		assert_int_equal(result, 0);
	}
	assert_true(is_there(control_path));
	snprintf(wanted, sizeof(wanted), "\"pid\":%d,", (int)getpid());
	for (int i = 0; i < 10; i++) {
		control_send(fd[i], "version");
		assert_non_null(strstr(control_rest(fd[i]), wanted));
	}
	assert_done("unpark stubborn");
	assert_refusal(fd[10], "ECANCELED", "unparked");
	assert_answer(fd[11], "{\"ok\":true}\n");
	kthread_stop(k);
	control_stop();
}

/* A child lives on when its parent has gone: it does not hold the socket open. */
static int stays(void *arg)
{
	const int *pipe_end = arg;
	char byte;

	EXPECT(read(pipe_end[0], &byte, 1) == 1);
	return 0;
}

static void fork__a_child_that_stays(void **state)
{
	int end[2];
	pid_t pid;
	int status;

	control_start(NULL);
	assert_true(answers());
	assert_int_equal(pipe(end), 0);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(stays(end));
	assert_true(pid > 0);
	assert_int_equal(kthread_control_close(), 0);
	assert_false(is_there(control_path));
	assert_int_equal(kthread_control_listen(control_path), 0);
	assert_true(answers());
	assert_int_equal(write(end[1], "x", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(end[0]);
	close(end[1]);
	assert_true(answers());
	control_stop();
}

/* Forks while clients come and go: each child finds the lock free, and no client waits. */
static void *asks(void *arg)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	atomic_uint *count = arg;
	char some[8192];

	strcpy(address.sun_path, control_path);
	while (!atomic_load(&enough)) {
		const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
		CHECK(send(fd, "dump\n", 5, MSG_NOSIGNAL) == 5);
		while (recv(fd, some, sizeof(some), 0) > 0)
			continue;
		close(fd);
		atomic_fetch_add(count, 1);
	}
	return NULL;
}

static int at_once(void *arg)
{
	return kthread_control_close() == -ECHILD ? 0 : 1;
}

static void fork__while_clients_are_served(void **state)
{
	atomic_uint counts[2] = {0};
	pthread_t threads[2];

	control_start(NULL);
	atomic_store(&enough, false);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, asks, &counts[i]), 0);
	for (int i = 0; i < 50; i++)
		assert_int_equal(in_child(at_once, NULL), 0);
	AWAIT(atomic_load(&counts[0]) > 0 && atomic_load(&counts[1]) > 0);
	atomic_store(&enough, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	control_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(listen__and_close),
	    cmocka_unit_test(listen__cannot),
	    cmocka_unit_test(listen__at_the_default_path),
	    cmocka_unit_test(config__no_default_path),
	    cmocka_unit_test(config__a_path_that_cannot_be),
	    cmocka_unit_test(environment__where_nobody_calls_init),
	    cmocka_unit_test(close__with_clients_in_every_state),
	    cmocka_unit_test(fini__with_clients),
	    cmocka_unit_test(fini__while_a_cpu_goes),
	    cmocka_unit_test(close__a_path_that_is_no_more_ours),
	    cmocka_unit_test(listen__again_in_a_callback),
	    cmocka_unit_test(listen__again_in_the_log_function),
	    cmocka_unit_test(listen__again_while_clients_come),
	    cmocka_unit_test(fork__with_clients_in_every_state),
	    cmocka_unit_test(fork__a_child_that_stays),
	    cmocka_unit_test(fork__while_clients_are_served),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}
