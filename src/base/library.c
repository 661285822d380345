/* SPDX-License-Identifier: MIT */
/*
 * DOWN --init--> UP --fini--> DOWN; fork() while UP: FORKED in the child --init--> UP.
 */
#include "base/library.h"

#include <errno.h>
#include <kthread/library.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "base/log.h"
#include "base/options.h"
#include "base/trace.h"

enum state { DOWN, UP, FORKED };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int state;         /* written under the lock; release, pairs with the acquire in kt_library_up() */
static atomic_bool watching;     /* the same, in kt_library_watch() */
static struct kt_config current; /* written only while not UP */
static bool fork_handlers;

_Atomic unsigned int kt_epoch;

const struct kt_config *kt_config(void)
{
	return &current;
}

/* ---- configuration -------------------------------------------------------------------------------------------- */

/* In a set-user-ID program the environment is somebody else's. */
static const char *environment(const char *name)
{
	return getauxval(AT_SECURE) ? NULL : getenv(name);
}

static int malformed(const char *name, const char *value, const char *wanted)
{
	kt_log(MALFORMED, "%s: \"%.200s\" is not %s", name, value, wanted);
	return -EINVAL;
}

static int parse_unsigned(const char *text, unsigned long max, unsigned long *ret)
{
	char *end;
	unsigned long value;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (*end || errno || value > max)
		return -EINVAL;
	*ret = value;
	return 0;
}

static int parse_level(const char *text)
{
	static const char *const names[] = {"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"};
	unsigned long level;

	if (parse_unsigned(text, LOG_DEBUG, &level) == 0)
		return (int)level;
	for (int i = 0; i <= LOG_DEBUG; i++) {
		if (strcasecmp(text, names[i]) == 0)
			return i;
	}
	return -EINVAL;
}

static int resolve_log(const struct kthread_config *given)
{
	const char *text = environment("KTHREAD_LOG");
	int level = -1;

	if (text) {
		level = parse_level(text);
		if (level < 0) {
			kt_log_to(given->log, given->log_arg, LOG_ERR);
			return malformed("KTHREAD_LOG", text, "a level: 0..7 or emerg, alert, ..., debug");
		}
	}
	kt_log_to(given->log, given->log_arg, level);
	return 0;
}

static int resolve_numbers(const struct kthread_config *given, struct kt_config *config)
{
	const char *text = environment("KTHREAD_SIMULATE");
	unsigned long value = 0;

	if (text && parse_unsigned(text, 1, &value) != 0)
		return malformed("KTHREAD_SIMULATE", text, "0 or 1");
	config->simulate = given->simulate || value;
	text = environment("KTHREAD_CONTROL_READ_ONLY");
	value = 0;
	if (text && parse_unsigned(text, 1, &value) != 0)
		return malformed("KTHREAD_CONTROL_READ_ONLY", text, "0 or 1");
	config->control_read_only = given->control_read_only || value;
	config->uevents = given->uevents;
	config->inotify = given->inotify;
	text = environment("KTHREAD_POLL_MS");
	value = 1000;
	if (text && parse_unsigned(text, UINT_MAX - 1, &value) != 0)
		return malformed("KTHREAD_POLL_MS", text, "a number of milliseconds");
	config->poll_ms = given->poll_ms == KTHREAD_POLL_DEFAULT ? (unsigned int)value : given->poll_ms;
	return 0;
}

/* `name` of the config, else of the environment, else NULL. */
static int resolve_string(const char *given, const char *name, char **ret)
{
	const char *text = given ? given : environment(name);

	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? -ENOMEM : 0;
}

static void config_free(struct kt_config *config)
{
	free(config->root);
	free(config->housekeeping);
	free(config->plan_file);
	free(config->control);
	*config = (struct kt_config){0};
}

/* Absolute: daemons change their directory. */
static int resolve_plan_file(const char *given, char **ret)
{
	char path[PATH_MAX];
	const char *directory = given[0] == '/' ? "" : getcwd(path, sizeof(path));
	char *whole;

	if (!directory)
		return malformed("plan_file", given, "to be found: its directory has no name");
	if (!given[0] || asprintf(&whole, given[0] == '/' ? "%s%s" : "%s/%s", directory, given) < 0)
		return given[0] ? -ENOMEM : malformed("plan_file", given, "the name of a file");
	*ret = whole;
	return strlen(whole) < PATH_MAX ? 0 : malformed("plan_file", given, "the name of a file");
}

static int resolve_strings(const struct kthread_config *given, struct kt_config *config)
{
	int error = resolve_string(given->root, "KTHREAD_ROOT", &config->root);

	if (!error && !config->root) {
		config->root = strdup("");
		error = config->root ? 0 : -ENOMEM;
	}
	if (!error)
		error = resolve_string(given->housekeeping, "KTHREAD_HOUSEKEEPING", &config->housekeeping);
	if (!error)
		error = resolve_string(given->control, "KTHREAD_CONTROL", &config->control);
	if (!error && given->plan_file)
		error = resolve_plan_file(given->plan_file, &config->plan_file);
	if (error)
		return error;
	for (size_t length = strlen(config->root); length > 0 && config->root[length - 1] == '/'; length--)
		config->root[length - 1] = '\0';
	if (strlen(config->root) >= PATH_MAX / 2)
		return malformed("KTHREAD_ROOT", config->root, "a directory name of sensible length");
	return 0;
}

static int resolve(const struct kthread_config *given, struct kt_config *config)
{
	struct kthread_config full = KTHREAD_CONFIG_INIT;
	int error = 0;

	if (given)
		error = kt_options_read(&full, sizeof(full), offsetof(struct kthread_config, control), given);
	if (!error)
		error = resolve_log(&full);
	if (!error)
		error = resolve_numbers(&full, config);
	if (!error)
		error = resolve_strings(&full, config);
	if (error)
		config_free(config);
	return error;
}

/* ---- start and end -------------------------------------------------------------------------------------------- */

static void quiet_rooms(size_t count)
{
	while (count-- > 0) {
		if (kt_rooms[count]->quiet)
			kt_rooms[count]->quiet();
	}
}

static void stop_rooms(size_t count)
{
	while (count-- > 0) {
		if (kt_rooms[count]->stop)
			kt_rooms[count]->stop();
	}
}

static size_t rooms(void)
{
	size_t count = 0;

	while (kt_rooms[count])
		count++;
	return count;
}

static int start_rooms(void)
{
	for (size_t i = 0; kt_rooms[i]; i++) {
		const int error = kt_rooms[i]->start ? kt_rooms[i]->start() : 0;

		if (error) {
			stop_rooms(i);
			return error;
		}
	}
	return 0;
}

static void before_fork(void);
static void after_fork_in_parent(void);
static void after_fork_in_child(void);

static int start_locked(const struct kthread_config *given)
{
	int error;

	if (!fork_handlers) {
		error = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
		if (error)
			return -error;
		fork_handlers = true;
	}
	error = resolve(given, &current);
	if (error)
		return error;
	error = start_rooms();
	if (error) {
		config_free(&current);
		return error;
	}
	atomic_store_explicit(&state, UP, memory_order_release);
	return 0;
}

int kt_library_init(const struct kthread_config *config)
{
	int error = -EALREADY;

	if (kt_log_inside() && atomic_load_explicit(&state, memory_order_acquire) == UP)
		return error;
	kt_lock(&lock);
	if (atomic_load_explicit(&state, memory_order_relaxed) != UP)
		error = start_locked(config);
	kt_unlock(&lock);
	return error;
}

int kt_library_up(void)
{
	const int now = atomic_load_explicit(&state, memory_order_acquire);
	int error;

	if (now == UP)
		return 0;
	if (now == FORKED)
		return -ECHILD;
	if (kt_log_inside()) /* of a start that has failed, or of the end */
		return -EDEADLK;
	error = kt_library_init(NULL);
	return error == -EALREADY ? 0 : error;
}

bool kt_library_forked(void)
{
	return atomic_load_explicit(&state, memory_order_acquire) == FORKED;
}

int kt_library_watch(void)
{
	int error = kt_library_up();

	if (error || atomic_load_explicit(&watching, memory_order_acquire))
		return error;
	kt_lock(&lock);
	for (size_t i = 0; !atomic_load_explicit(&watching, memory_order_relaxed) && kt_rooms[i] && !error; i++)
		error = kt_rooms[i]->watch ? kt_rooms[i]->watch() : 0;
	if (!error)
		atomic_store_explicit(&watching, true, memory_order_release);
	kt_unlock(&lock);
	return error;
}

int kt_library_fini(void)
{
	if (kt_log_inside())
		return -EDEADLK;
	if (atomic_load_explicit(&state, memory_order_acquire) == FORKED)
		return -ECHILD;
	/* The log function may be running in a thread that is waited for here, and may fork, which takes the lock. */
	if (atomic_load_explicit(&state, memory_order_acquire) == UP)
		quiet_rooms(rooms());
	kt_lock(&lock);
	if (atomic_load_explicit(&state, memory_order_relaxed) == UP) {
		stop_rooms(rooms());
		config_free(&current);
		atomic_store_explicit(&watching, false, memory_order_relaxed);
		atomic_store_explicit(&state, DOWN, memory_order_release);
	}
	kt_unlock(&lock);
	return 0;
}

const char *kthread_version(void)
{
	return KTHREAD_VERSION;
}

/* ---- fork ----------------------------------------------------------------------------------------------------- */

/*
 * The library's locks are held across the fork, so that the child finds every list whole; it then forgets the threads
 * it has not got. With them held nothing is waited for but short critical sections and at most one look at the machine.
 */
static void before_fork(void)
{
	for (size_t i = rooms(); i-- > 0;) {
		if (kt_rooms[i]->fork_await)
			kt_rooms[i]->fork_await();
	}
	kt_lock(&lock);
	for (size_t i = rooms(); i-- > 0;) {
		if (kt_rooms[i]->fork_prepare)
			kt_rooms[i]->fork_prepare();
	}
	kt_trace_fork_prepare(); /* innermost: from here on nothing can be told, or logged */
}

static void after_fork_in_parent(void)
{
	kt_trace_fork_parent();
	for (size_t i = 0; kt_rooms[i]; i++) {
		if (kt_rooms[i]->fork_parent)
			kt_rooms[i]->fork_parent();
	}
	kt_unlock(&lock);
}

static void after_fork_in_child(void)
{
	kt_trace_fork_child();
	atomic_fetch_add_explicit(&kt_epoch, 1, memory_order_relaxed); /* alone here */
	for (size_t i = rooms(); i-- > 0;) {
		if (kt_rooms[i]->fork_child)
			kt_rooms[i]->fork_child();
	}
	if (atomic_load_explicit(&state, memory_order_relaxed) == UP) {
		config_free(&current);
		atomic_store_explicit(&state, FORKED, memory_order_relaxed);
	}
	atomic_store_explicit(&watching, false, memory_order_relaxed);
	kt_unlock(&lock);
}
