/* SPDX-License-Identifier: MIT */
/*
 * kt_log(), kt_lock(), kt_unlock(): the application's log function is called under no lock of the library's, in order;
 * and nobody is cancelled who holds one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

void *__real_malloc(size_t size);

static atomic_bool no_memory;

void *__wrap_malloc(size_t size)
{
	return atomic_load_explicit(&no_memory, memory_order_relaxed) ? NULL : __real_malloc(size);
}

/* A clock that stands, or goes on by the test's command. */
int __real_clock_gettime(clockid_t clock, struct timespec *now);
static atomic_llong stopped_at; /* seconds; 0 = it goes */

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	const int error = __real_clock_gettime(clock, now);

	if (atomic_load_explicit(&stopped_at, memory_order_relaxed))
		*now = (struct timespec){.tv_sec = (time_t)atomic_load_explicit(&stopped_at, memory_order_relaxed)};
	return error;
}

/* Any message, at any level; and one that is limited. */
#define say(level, ...) kt_log_numbered(1, level, false, __VA_ARGS__)
#define say_often(number, ...) kt_log_numbered(number, LOG_WARNING, true, __VA_ARGS__)

/* What is behind the number. */
static const char *behind(const char *message)
{
	assert_memory_equal(message, "KT001 ", 6);
	return message + 6;
}

static pthread_mutex_t outer = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t inner = PTHREAD_MUTEX_INITIALIZER;

static struct {
	char text[1024];
	int count;
	int last_level;
} heard;

static bool is_free(pthread_mutex_t *mutex)
{
	if (pthread_mutex_trylock(mutex) != 0)
		return false;
	pthread_mutex_unlock(mutex);
	return true;
}

static void hear(int level, const char *message, void *arg)
{
	assert_ptr_equal(arg, &heard);
	assert_true(kt_log_inside());
	assert_true(is_free(&outer) && is_free(&inner));
	message = behind(message);
	assert_true(strlen(heard.text) + strlen(message) < sizeof(heard.text));
	strcat(strcat(heard.text, message), ";");
	heard.count++;
	heard.last_level = level;
}

static int listen(void **state)
{
	memset(&heard, 0, sizeof(heard));
	kt_log_to(hear, &heard, -1);
	return 0;
}

static int stop_listening(void **state)
{
	kt_log_to(NULL, NULL, -1);
	return kt_log_inside();
}

static void kt_log__without_a_lock_at_once(void **state)
{
	say(LOG_NOTICE, "%s %d", "one", 1);
	assert_string_equal(heard.text, "one 1;");
	assert_int_equal(heard.last_level, LOG_NOTICE);
	assert_false(kt_log_inside());
}

static void kt_log__under_a_lock_after_the_last_release_in_order(void **state)
{
	kt_lock(&outer);
	say(LOG_INFO, "a");
	kt_lock(&inner);
	say(LOG_ERR, "b");
	kt_unlock(&inner);
	say(LOG_DEBUG, "c");
	assert_string_equal(heard.text, "");
	kt_unlock(&outer);
	assert_string_equal(heard.text, "a;b;c;");
	assert_int_equal(heard.last_level, LOG_DEBUG);
	say(LOG_INFO, "d");
	assert_string_equal(heard.text, "a;b;c;d;");
	kt_lock(&inner);
	kt_unlock(&inner);
	assert_int_equal(heard.count, 4); /* once each */
}

/* Released in another order than taken: what counts is the last. */
static void kt_log__locks_released_crosswise(void **state)
{
	kt_lock(&outer);
	kt_lock(&inner);
	say(LOG_INFO, "x");
	kt_unlock(&outer);
	assert_int_equal(heard.count, 0);
	kt_unlock(&inner);
	assert_int_equal(heard.count, 1);
}

static void *log_from_there(void *arg)
{
	say(LOG_INFO, "there");
	return NULL;
}

static void hear_from_there(int level, const char *message, void *arg)
{
	strcat(heard.text, behind(message));
}

static void kt_log__of_another_thread_does_not_wait_for_our_lock(void **state)
{
	pthread_t thread;

	kt_log_to(hear_from_there, NULL, -1);
	kt_lock(&outer);
	say(LOG_INFO, "here");
	assert_int_equal(pthread_create(&thread, NULL, log_from_there, NULL), 0);
	pthread_join(thread, NULL);
	assert_string_equal(heard.text, "there");
	kt_unlock(&outer);
	assert_string_equal(heard.text, "therehere");
}

/* ---- a log function that gets back into the library -------------------------------------------------------------- */

static void hear_and_call(int level, const char *message, void *arg)
{
	hear(level, message, arg);
	message = behind(message);
	if (strlen(message) > 1)
		return;
	/* as a library call does: a lock, a message under it, a message without */
	kt_lock(&inner);
	say(LOG_INFO, "%s-kept", message);
	kt_unlock(&inner);
	say(LOG_INFO, "%s-free", message);
}

static void kt_log__from_the_log_function_comes_after_what_was_kept(void **state)
{
	kt_log_to(hear_and_call, &heard, -1);
	kt_lock(&outer);
	say(LOG_INFO, "1");
	say(LOG_INFO, "2");
	kt_unlock(&outer);
	assert_string_equal(heard.text, "1;2;1-kept;1-free;2-kept;2-free;");
	assert_false(kt_log_inside());
}

static void kt_log__from_the_log_function_without_a_lock(void **state)
{
	kt_log_to(hear_and_call, &heard, -1);
	say(LOG_INFO, "1");
	assert_string_equal(heard.text, "1;1-kept;1-free;");
	assert_false(kt_log_inside());
	say(LOG_INFO, "22");
	assert_int_equal(heard.count, 4);
}

/* ---- where it goes ----------------------------------------------------------------------------------------------- */

static void kt_log__to_nobody(void **state)
{
	kt_log_to(NULL, NULL, -1);
	kt_lock(&outer);
	say(LOG_EMERG, "x");
	kt_unlock(&outer);
	say(LOG_EMERG, "y");
}

static void kt_log__to_stderr_up_to_the_level(void **state)
{
	FILE *file = tmpfile();
	const int saved = dup(STDERR_FILENO);
	char text[256] = "";

	assert_non_null(file);
	fflush(stderr);
	dup2(fileno(file), STDERR_FILENO);
	kt_log_to(NULL, NULL, LOG_WARNING);
	say(LOG_WARNING, "seen %d", 1);
	say(LOG_NOTICE, "not seen");
	kt_lock(&outer);
	say(LOG_ERR, "seen 2");
	kt_unlock(&outer);
	kt_log_to(hear, &heard, LOG_DEBUG); /* a function wins */
	say(LOG_ERR, "heard");
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(file);
	assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
	fclose(file);
	assert_string_equal(text, "kthread: KT001 seen 1\nkthread: KT001 seen 2\n");
	assert_string_equal(heard.text, "heard;");
}

static void kt_log__too_long_is_cut(void **state)
{
	char text[900];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	say(LOG_INFO, "%s", text);
	assert_int_equal(strlen(heard.text), 511 - 6 + 1);
}

static void kt_log__no_memory_to_keep_it(void **state)
{
	kt_lock(&outer);
	say(LOG_INFO, "kept");
	atomic_store(&no_memory, true);
	say(LOG_INFO, "dropped");
	atomic_store(&no_memory, false);
	say(LOG_INFO, "kept too");
	kt_unlock(&outer);
	assert_string_equal(heard.text, "kept;kept too;");
	atomic_store(&no_memory, true);
	say(LOG_INFO, "needs none");
	atomic_store(&no_memory, false);
	assert_int_equal(heard.count, 3);
}

/* ---- numbers, and not too many ----------------------------------------------------------------------------------- */

static void hear_whole(int level, const char *message, void *arg)
{
	snprintf(heard.text, sizeof(heard.text), "%s", message);
	heard.count++;
	heard.last_level = level;
}

static int stand_still(void **state)
{
	const int error = listen(state);

	kt_log_to(hear_whole, &heard, -1);
	atomic_store(&stopped_at, 1000);
	return error;
}

static int go_on(void **state)
{
	atomic_store(&stopped_at, 0);
	return stop_listening(state);
}

/* The table's number and level, whatever it is called by. */
static void kt_log__has_its_number_and_level(void **state)
{
	kt_log(MASK_REFUSED, "%s: %s", "poll/3", "no");
	assert_string_equal(heard.text, "KT017 poll/3: no");
	assert_int_equal(heard.last_level, LOG_WARNING);
	kt_log(MALFORMED, "bad");
	assert_string_equal(heard.text, "KT001 bad");
	assert_int_equal(heard.last_level, LOG_ERR);
}

/* The name of a thread must not make two lines of one, or more of it than text. */
static void kt_log__control_characters_are_replaced(void **state)
{
	kt_log(MASK_REFUSED, "a\nKT001 b\x1b[31m\x7f \xc3\xbc");
	assert_string_equal(heard.text, "KT017 a?KT001 b?[31m? \xc3\xbc");
	kt_log(MASK_REFUSED, "\xc2\x9b"
	                     "31m \x9b"
	                     "31m \xc2\xa0 \xc3"); /* those of ISO 6429, as UTF-8 and as they are */
	assert_string_equal(heard.text, "KT017 ?31m ?31m \xc2\xa0 ?");
}

static void kt_log__ten_in_five_seconds(void **state)
{
	for (int i = 0; i < 33; i++)
		say_often(17, "%d", i);
	assert_int_equal(heard.count, 10);
	assert_string_equal(heard.text, "KT017 9");
	say_often(18, "another"); /* each for itself */
	assert_string_equal(heard.text, "KT018 another");
	atomic_store(&stopped_at, 1004);
	say_often(17, "too early");
	assert_int_equal(heard.count, 11);
	atomic_store(&stopped_at, 1005);
	say_often(17, "a");
	assert_string_equal(heard.text, "KT017 (24 suppressed) a");
	say_often(17, "b");
	assert_string_equal(heard.text, "KT017 b"); /* said once */
	assert_int_equal(heard.count, 13);
	atomic_store(&stopped_at, 1100);
	say_often(17, "c");
	assert_string_equal(heard.text, "KT017 c"); /* none was suppressed */
}

static void kt_log__what_the_headers_promise_is_never_suppressed(void **state)
{
	for (int i = 0; i < 100; i++)
		kt_log(NOT_FROZEN, "%d", i);
	assert_int_equal(heard.count, 100);
}

/* The library starts anew: what was said before is another life's. */
static void kt_log_to__begins_anew(void **state)
{
	for (int i = 0; i < 20; i++)
		say_often(17, "%d", i);
	kt_log_to(hear_whole, &heard, -1);
	say_often(17, "anew");
	assert_string_equal(heard.text, "KT017 anew");
}

/* What nobody would hear is not counted: it does not suppress what somebody hears. */
static void kt_log__unheard_is_not_counted(void **state)
{
	kt_log_to(NULL, NULL, -1);
	for (int i = 0; i < 20; i++)
		say_often(17, "%d", i);
	kt_log_to(hear_whole, &heard, -1);
	say_often(17, "heard");
	assert_string_equal(heard.text, "KT017 heard");
}

#define CHATTERERS 4
#define CHATS 20000

static atomic_ulong told, suppressed;

static void add_up(int level, const char *message, void *arg)
{
	unsigned int number;

	atomic_fetch_add(&told, 1);
	if (sscanf(message, "KT017 (%u suppressed)", &number) == 1)
		atomic_fetch_add(&suppressed, number);
}

static void *chatter(void *arg)
{
	for (int i = 0; i < CHATS; i++) {
		say_often(17, "%d", i);
		if (i % 50 == 0) /* a pause is over for all of them at once */
			atomic_fetch_add(&stopped_at, 5);
	}
	return NULL;
}

/* Told and suppressed are all that were logged, also if several threads find the pause over at once. */
static void kt_log__counts_the_suppressed_exactly(void **state)
{
	pthread_t threads[CHATTERERS];

	atomic_store(&told, 0);
	atomic_store(&suppressed, 0);
	kt_log_to(add_up, &heard, -1);
	for (int i = 0; i < CHATTERERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, chatter, NULL), 0);
	for (int i = 0; i < CHATTERERS; i++)
		pthread_join(threads[i], NULL);
	atomic_fetch_add(&stopped_at, 100);
	say_often(17, "last");
	assert_int_equal(atomic_load(&told) + atomic_load(&suppressed), CHATTERERS * CHATS + 1);
	assert_true(atomic_load(&suppressed) > 0);
}

/* ---- cancellation ------------------------------------------------------------------------------------------------ */

static struct {
	atomic_int step;
	int state_before, state_after;
} cancelled;

static void *holds_a_lock(void *arg)
{
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	kt_lock(&outer);
	pthread_cancel(pthread_self());
	pthread_testcancel();
	kt_lock(&inner);
	kt_unlock(&inner);
	pthread_testcancel();
	atomic_store(&cancelled.step, 1);
	kt_unlock(&outer);
	pthread_testcancel();
	atomic_store(&cancelled.step, 2);
	return NULL;
}

static void kt_lock__cancelled_after_the_last_release(void **state)
{
	pthread_t thread;
	void *result;

	assert_int_equal(pthread_create(&thread, NULL, holds_a_lock, NULL), 0);
	pthread_join(thread, &result);
	assert_ptr_equal(result, PTHREAD_CANCELED);
	assert_int_equal(atomic_load(&cancelled.step), 1);
	assert_true(is_free(&outer) && is_free(&inner));
}

static void *had_disabled_it(void *arg)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	kt_lock(&outer);
	kt_unlock(&outer);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &cancelled.state_before);
	kt_lock(&outer);
	kt_unlock(&outer);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &cancelled.state_after);
	return NULL;
}

static void kt_unlock__gives_the_cancel_state_back(void **state)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, had_disabled_it, NULL), 0);
	pthread_join(thread, NULL);
	assert_int_equal(cancelled.state_before, PTHREAD_CANCEL_DISABLE);
	assert_int_equal(cancelled.state_after, PTHREAD_CANCEL_ENABLE);
}

static void hear_with_a_cancellation_point(int level, const char *message, void *arg)
{
	kt_lock(&inner); /* the library, called from here, must not give the state back too early either */
	kt_unlock(&inner);
	pthread_testcancel();
	hear(level, message, arg);
}

static void *logs_and_is_cancelled(void *arg)
{
	pthread_cancel(pthread_self());
	kt_lock(&outer);
	say(LOG_INFO, "a");
	say(LOG_INFO, "b");
	kt_unlock(&outer);
	atomic_store(&cancelled.step, 3);
	pthread_testcancel();
	atomic_store(&cancelled.step, 4);
	return NULL;
}

/* What was kept is delivered, and freed, before the thread ends. */
static void kt_unlock__delivers_before_the_thread_is_cancelled(void **state)
{
	pthread_t thread;
	void *result;

	kt_log_to(hear_with_a_cancellation_point, &heard, -1);
	assert_int_equal(pthread_create(&thread, NULL, logs_and_is_cancelled, NULL), 0);
	pthread_join(thread, &result);
	assert_ptr_equal(result, PTHREAD_CANCELED);
	assert_string_equal(heard.text, "a;b;");
	assert_int_equal(atomic_load(&cancelled.step), 3);
}

#define TIMED(name) cmocka_unit_test_setup_teardown(name, stand_still, go_on)
#define CASE(name) cmocka_unit_test_setup_teardown(name, listen, stop_listening)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(kt_log__without_a_lock_at_once),
	    CASE(kt_log__under_a_lock_after_the_last_release_in_order),
	    CASE(kt_log__locks_released_crosswise),
	    CASE(kt_log__of_another_thread_does_not_wait_for_our_lock),
	    CASE(kt_log__from_the_log_function_comes_after_what_was_kept),
	    CASE(kt_log__from_the_log_function_without_a_lock),
	    CASE(kt_log__to_nobody),
	    CASE(kt_log__to_stderr_up_to_the_level),
	    CASE(kt_log__too_long_is_cut),
	    CASE(kt_log__no_memory_to_keep_it),
	    TIMED(kt_log__has_its_number_and_level),
	    TIMED(kt_log__control_characters_are_replaced),
	    TIMED(kt_log__ten_in_five_seconds),
	    TIMED(kt_log__what_the_headers_promise_is_never_suppressed),
	    TIMED(kt_log_to__begins_anew),
	    TIMED(kt_log__unheard_is_not_counted),
	    TIMED(kt_log__counts_the_suppressed_exactly),
	    CASE(kt_lock__cancelled_after_the_last_release),
	    CASE(kt_unlock__gives_the_cancel_state_back),
	    CASE(kt_unlock__delivers_before_the_thread_is_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
