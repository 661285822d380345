/* SPDX-License-Identifier: MIT */
/*
 * The library's own life over a table of invented rooms: start, watch, stop, undo, fork; and the configuration.
 */
#include "base/library.h"

#include <errno.h>
#include <kthread/library.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

static bool secure;

unsigned long __real_getauxval(unsigned long type);
unsigned long __wrap_getauxval(unsigned long type)
{
	return type == AT_SECURE && secure ? 1 : __real_getauxval(type);
}

/* ---- invented rooms ---------------------------------------------------------------------------------------------- */

/* "a" has everything, "b" nothing but start and stop, "c" nothing at all, "d" everything. */
static char done[1024];
static const char *fails; /* "start d": this step answers -EIO */
static pthread_mutex_t locks[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};

static int step(const char *what)
{
	strcat(strcat(done, what), ";");
	return fails && strcmp(fails, what) == 0 ? -EIO : 0;
}

#define ROOM(letter, lock) \
	static int start_##letter(void) \
	{ \
		return step("start " #letter); \
	} \
	static int watch_##letter(void) \
	{ \
		return step("watch " #letter); \
	} \
	static void stop_##letter(void) \
	{ \
		step("stop " #letter); \
	} \
	static void prepare_##letter(void) \
	{ \
		kt_lock(lock); \
		step("prepare " #letter); \
	} \
	static void parent_##letter(void) \
	{ \
		step("parent " #letter); \
		kt_unlock(lock); \
	}

ROOM(a, &locks[0])
ROOM(d, &locks[1])

static int start_b(void)
{
	return step("start b");
}

static void stop_b(void)
{
	step("stop b");
}

static void child_a(void)
{
	step("child a");
	kt_unlock(&locks[0]);
}

static void child_d(void)
{
	step("child d");
	kt_unlock(&locks[1]);
}

/* A thread of the room's own that forks, as the log function may. */
static void *forks(void *arg)
{
	const pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	assert_true(pid > 0 && waitpid(pid, NULL, 0) == pid);
	return NULL;
}

static bool has_a_thread; /* that ends while "d" is made quiet */

static void quiet_d(void)
{
	pthread_t thread;

	if (!has_a_thread)
		return;
	step("quiet d");
	assert_int_equal(pthread_create(&thread, NULL, forks, NULL), 0);
	pthread_join(thread, NULL);
}

static const struct kt_room a = {"a", start_a, watch_a, NULL, stop_a, NULL, prepare_a, parent_a, child_a};
static const struct kt_room b = {.name = "b", .start = start_b, .stop = stop_b};
static const struct kt_room c = {.name = "c"};
static const struct kt_room d = {"d", start_d, watch_d, quiet_d, stop_d, NULL, prepare_d, parent_d, child_d};

const struct kt_room *const kt_rooms[] = {&a, &b, &c, &d, NULL};

static struct {
	char text[4096];
	int count;
} heard;

static void hear(int level, const char *message, void *arg)
{
	strcat(strcat(heard.text, message), "\n");
	heard.count++;
}

static int set_up(void **state)
{
	static const char *const names[] = {"KTHREAD_ROOT", "KTHREAD_SIMULATE", "KTHREAD_HOUSEKEEPING",
	                                    "KTHREAD_POLL_MS", "KTHREAD_LOG"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unsetenv(names[i]);
	memset(done, 0, sizeof(done));
	memset(&heard, 0, sizeof(heard));
	fails = NULL;
	secure = false;
	return 0;
}

static int tear_down(void **state)
{
	fails = NULL;
	return kt_library_fini();
}

/* ---- start and stop ---------------------------------------------------------------------------------------------- */

static void kt_library_init__rooms_start_in_order_and_stop_in_reverse(void **state)
{
	assert_int_equal(kt_library_init(NULL), 0);
	assert_string_equal(done, "start a;start b;start d;");
	assert_int_equal(kt_library_init(NULL), -EALREADY);
	assert_int_equal(kt_library_up(), 0);
	assert_string_equal(done, "start a;start b;start d;");
	assert_int_equal(kt_library_fini(), 0);
	assert_string_equal(done, "start a;start b;start d;stop d;stop b;stop a;");
	assert_int_equal(kt_library_fini(), 0); /* it is not up */
	assert_string_equal(done, "start a;start b;start d;stop d;stop b;stop a;");
}

static void kt_library_fini__room_is_made_quiet_under_no_lock(void **state)
{
	assert_int_equal(kt_library_init(NULL), 0);
	done[0] = '\0';
	has_a_thread = true;
	assert_int_equal(kt_library_fini(), 0);
	assert_string_equal(done, "quiet d;prepare d;prepare a;parent a;parent d;stop d;stop b;stop a;");
	done[0] = '\0';
	assert_int_equal(kt_library_fini(), 0); /* it is not up */
	assert_string_equal(done, "");
	has_a_thread = false;
}

static void kt_library_init__a_room_fails_those_before_it_stop(void **state)
{
	static const char *const wanted[][2] = {
	    {"start a", "start a;"},
	    {"start b", "start a;start b;stop a;"},
	    {"start d", "start a;start b;start d;stop b;stop a;"},
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		done[0] = '\0';
		fails = wanted[i][0];
		assert_int_equal(kt_library_init(NULL), -EIO);
		assert_string_equal(done, wanted[i][1]);
		assert_int_equal(kt_library_up(), -EIO); /* tried again by the next call */
		fails = NULL;
		done[0] = '\0';
		assert_int_equal(kt_library_up(), 0);
		assert_string_equal(done, "start a;start b;start d;");
		assert_int_equal(kt_library_fini(), 0);
	}
}

static void kt_library_watch__starts_the_library_and_watches_once(void **state)
{
	assert_int_equal(kt_library_watch(), 0);
	assert_string_equal(done, "start a;start b;start d;watch a;watch d;");
	assert_int_equal(kt_library_watch(), 0);
	assert_string_equal(done, "start a;start b;start d;watch a;watch d;");
	assert_int_equal(kt_library_fini(), 0);
	done[0] = '\0';
	assert_int_equal(kt_library_watch(), 0); /* anew in the next life */
	assert_string_equal(done, "start a;start b;start d;watch a;watch d;");
}

/* The library stays up, the call that needed the watch fails, the next one tries again; stop undoes both. */
static void kt_library_watch__a_room_fails(void **state)
{
	assert_int_equal(kt_library_up(), 0);
	done[0] = '\0';
	fails = "watch a";
	assert_int_equal(kt_library_watch(), -EIO);
	assert_string_equal(done, "watch a;");
	assert_int_equal(kt_library_up(), 0);
	fails = NULL;
	assert_int_equal(kt_library_watch(), 0);
	assert_string_equal(done, "watch a;watch a;watch d;");
	done[0] = '\0';
	assert_int_equal(kt_library_fini(), 0);
	assert_string_equal(done, "stop d;stop b;stop a;");

	fails = "watch d";
	assert_int_equal(kt_library_watch(), -EIO);
	done[0] = '\0';
	assert_int_equal(kt_library_fini(), 0); /* also after a failed watch */
	assert_string_equal(done, "stop d;stop b;stop a;");
}

static void *start_together(void *arg)
{
	return (void *)(intptr_t)kt_library_watch();
}

static void kt_library_watch__by_many_at_once(void **state)
{
	for (int round = 0; round < 50; round++) {
		pthread_t threads[8];

		done[0] = '\0';
		for (int i = 0; i < 8; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, start_together, NULL), 0);
		for (int i = 0; i < 8; i++) {
			void *result;

			pthread_join(threads[i], &result);
			assert_null(result);
		}
		assert_string_equal(done, "start a;start b;start d;watch a;watch d;");
		assert_int_equal(kt_library_fini(), 0);
	}
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

static bool child_is_right(unsigned int epoch)
{
	const struct kthread_config config = {.size = sizeof(config), .log = hear};
	int cancel_state;

	if (strcmp(done, "prepare d;prepare a;child d;child a;") != 0 || kt_epoch != epoch + 1)
		return false;
	if (kt_library_up() != -ECHILD || kt_library_watch() != -ECHILD || kt_library_fini() != -ECHILD)
		return false;
	done[0] = '\0';
	if (kt_library_init(&config) != 0 || strcmp(done, "start a;start b;start d;") != 0)
		return false;
	/* It holds no lock any more: messages are not kept, and it may be cancelled. */
	kt_log(MALFORMED, "from the child");
	if (strcmp(heard.text, "KT001 from the child\n") != 0)
		return false;
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &cancel_state);
	if (cancel_state != PTHREAD_CANCEL_ENABLE)
		return false;
	kt_lock(&locks[1]);
	kt_unlock(&locks[1]);
	return kt_library_watch() == 0 && kt_library_fini() == 0 && kt_library_fini() == 0;
}

static void fork__locks_are_taken_last_room_first(void **state)
{
	const unsigned int epoch = kt_epoch;
	int status;
	pid_t pid;

	assert_int_equal(kt_library_watch(), 0);
	done[0] = '\0';
	pid = fork();
	if (pid == 0)
		_exit(child_is_right(epoch) ? 0 : 1);
	assert_true(pid > 0);
	assert_string_equal(done, "prepare d;prepare a;parent a;parent d;");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(kt_epoch, epoch);
	assert_int_equal(kt_library_up(), 0);
}

/* A child of a process in which the library is down: it may be used as ever. */
static void fork__library_down(void **state)
{
	int status;
	pid_t pid;

	assert_int_equal(kt_library_up(), 0); /* the handlers are there from now on */
	assert_int_equal(kt_library_fini(), 0);
	pid = fork();
	if (pid == 0)
		_exit(kt_library_up() == 0 && kt_library_fini() == 0 ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- configuration ----------------------------------------------------------------------------------------------- */

static void kt_config__defaults(void **state)
{
	assert_int_equal(kt_library_init(NULL), 0);
	assert_string_equal(kt_config()->root, "");
	assert_null(kt_config()->housekeeping);
	assert_false(kt_config()->simulate);
	assert_true(kt_config()->uevents && kt_config()->inotify);
	assert_int_equal(kt_config()->poll_ms, 1000);
}

static void kt_config__environment(void **state)
{
	setenv("KTHREAD_ROOT", "/some/where//", 1);
	setenv("KTHREAD_SIMULATE", "1", 1);
	setenv("KTHREAD_HOUSEKEEPING", "0-3", 1);
	setenv("KTHREAD_POLL_MS", "0", 1);
	assert_int_equal(kt_library_up(), 0);
	assert_string_equal(kt_config()->root, "/some/where");
	assert_string_equal(kt_config()->housekeeping, "0-3");
	assert_true(kt_config()->simulate);
	assert_int_equal(kt_config()->poll_ms, 0);
}

static void kt_config__config_beats_environment(void **state)
{
	char root[] = "/mine";
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	setenv("KTHREAD_ROOT", "/some/where", 1);
	setenv("KTHREAD_HOUSEKEEPING", "0-3", 1);
	setenv("KTHREAD_POLL_MS", "5", 1);
	config.root = root;
	config.housekeeping = "7";
	config.poll_ms = 20;
	config.uevents = false;
	config.inotify = false;
	assert_int_equal(kt_library_init(&config), 0);
	root[1] = '\0'; /* it was copied */
	assert_string_equal(kt_config()->root, "/mine");
	assert_string_equal(kt_config()->housekeeping, "7");
	assert_int_equal(kt_config()->poll_ms, 20);
	assert_false(kt_config()->uevents || kt_config()->inotify);
}

static void kt_config__environment_of_a_set_user_id_program(void **state)
{
	secure = true;
	setenv("KTHREAD_ROOT", "/some/where", 1);
	setenv("KTHREAD_SIMULATE", "nonsense", 1);
	setenv("KTHREAD_HOUSEKEEPING", "0-3", 1);
	setenv("KTHREAD_POLL_MS", "nonsense", 1);
	setenv("KTHREAD_LOG", "nonsense", 1);
	assert_int_equal(kt_library_up(), 0);
	assert_string_equal(kt_config()->root, "");
	assert_null(kt_config()->housekeeping);
	assert_false(kt_config()->simulate);
	assert_int_equal(kt_config()->poll_ms, 1000);
}

static void kt_library_init__malformed_environment_is_refused_and_named(void **state)
{
	static const char *const bad[][2] = {
	    {"KTHREAD_SIMULATE", "2"},
	    {"KTHREAD_SIMULATE", ""},
	    {"KTHREAD_SIMULATE", "yes"},
	    {"KTHREAD_SIMULATE", "-1"},
	    {"KTHREAD_SIMULATE", " 1"},
	    {"KTHREAD_SIMULATE", "1 "},
	    {"KTHREAD_POLL_MS", ""},
	    {"KTHREAD_POLL_MS", "-1"},
	    {"KTHREAD_POLL_MS", "1s"},
	    {"KTHREAD_POLL_MS", "0x10"},
	    {"KTHREAD_POLL_MS", "4294967295"},
	    {"KTHREAD_POLL_MS", "99999999999999999999"},
	    {"KTHREAD_LOG", "8"},
	    {"KTHREAD_LOG", ""},
	    {"KTHREAD_LOG", "loud"},
	    {"KTHREAD_LOG", "-1"},
	};
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	config.log = hear;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		heard.text[0] = '\0';
		setenv(bad[i][0], bad[i][1], 1);
		assert_int_equal(kt_library_init(&config), -EINVAL);
		assert_non_null(strstr(heard.text, bad[i][0]));
		assert_non_null(strstr(heard.text, bad[i][1]));
		assert_string_equal(done, ""); /* nothing has been started */
		unsetenv(bad[i][0]);
	}
	assert_int_equal(kt_library_init(&config), 0);
}

static void kt_library_init__good_levels(void **state)
{
	static const char *const good[] = {"0", "7", "emerg", "warning", "WARNING", "debug", "notice"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		setenv("KTHREAD_LOG", good[i], 1);
		assert_int_equal(kt_library_init(NULL), 0);
		assert_int_equal(kt_library_fini(), 0);
	}
}

static void kt_library_init__plan_file(void **state)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	char name[PATH_MAX + 1];

	config.log = hear;
	config.plan_file = "";
	assert_int_equal(kt_library_init(&config), -EINVAL);
	assert_non_null(strstr(heard.text, "plan_file"));
	memset(name, 'x', PATH_MAX);
	name[0] = '/';
	name[PATH_MAX] = '\0';
	config.plan_file = name;
	assert_int_equal(kt_library_init(&config), -EINVAL);
	assert_string_equal(done, "");
	name[PATH_MAX - 1] = '\0';
	assert_int_equal(kt_library_init(&config), 0);
	name[0] = '\0'; /* it has been copied */
	assert_int_equal(strlen(kt_config()->plan_file), PATH_MAX - 1);
	assert_int_equal(kt_library_fini(), 0);
}

static void kt_library_init__root_of_senseless_length(void **state)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	char *root = malloc(PATH_MAX);

	memset(root, 'r', PATH_MAX);
	root[PATH_MAX - 1] = '\0';
	config.root = root;
	config.log = hear;
	assert_int_equal(kt_library_init(&config), -EINVAL);
	assert_int_equal(heard.count, 1);
	free(root);
	assert_string_equal(done, "");
}

static void kt_library_init__sized_config(void **state)
{
	struct {
		struct kthread_config config;
		char more[16];
	} future = {.config = KTHREAD_CONFIG_INIT};

	future.config.size = sizeof(future);
	future.more[15] = 1;
	assert_int_equal(kt_library_init(&future.config), -E2BIG);
	future.more[15] = 0;
	assert_int_equal(kt_library_init(&future.config), 0);
	assert_int_equal(kt_library_fini(), 0);
	future.config.size = offsetof(struct kthread_config, control); /* the first version's */
	assert_int_equal(kt_library_init(&future.config), 0);
	assert_int_equal(kt_library_fini(), 0);
	for (size_t size = 0; size < offsetof(struct kthread_config, control); size++) {
		future.config.size = size;
		assert_int_equal(kt_library_init(&future.config), -EINVAL); /* below the first version */
	}
}

/* ---- from the log function --------------------------------------------------------------------------------------- */

static int answers[2];

static void call_back(int level, const char *message, void *arg)
{
	answers[0] = kt_library_fini();
	answers[1] = kt_library_init(NULL);
}

static void kt_library_fini__from_the_log_function(void **state)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	config.log = call_back;
	assert_int_equal(kt_library_init(&config), 0);
	kt_log(MALFORMED, "x");
	assert_int_equal(answers[0], -EDEADLK);
	assert_int_equal(answers[1], -EALREADY);
	assert_int_equal(kt_library_fini(), 0);
}

static void kthread_version__in_every_state(void **state)
{
	int major, minor, patch;

	assert_int_equal(sscanf(kthread_version(), "%d.%d.%d", &major, &minor, &patch), 3);
	assert_int_equal(kt_library_up(), 0);
	assert_string_equal(kthread_version(), KTHREAD_VERSION);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(kt_library_init__rooms_start_in_order_and_stop_in_reverse),
	    CASE(kt_library_fini__room_is_made_quiet_under_no_lock),
	    CASE(kt_library_init__a_room_fails_those_before_it_stop),
	    CASE(kt_library_watch__starts_the_library_and_watches_once),
	    CASE(kt_library_watch__a_room_fails),
	    CASE(kt_library_watch__by_many_at_once),
	    CASE(fork__locks_are_taken_last_room_first),
	    CASE(fork__library_down),
	    CASE(kt_config__defaults),
	    CASE(kt_config__environment),
	    CASE(kt_config__config_beats_environment),
	    CASE(kt_config__environment_of_a_set_user_id_program),
	    CASE(kt_library_init__malformed_environment_is_refused_and_named),
	    CASE(kt_library_init__good_levels),
	    CASE(kt_library_init__plan_file),
	    CASE(kt_library_init__root_of_senseless_length),
	    CASE(kt_library_init__sized_config),
	    CASE(kt_library_fini__from_the_log_function),
	    CASE(kthread_version__in_every_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
