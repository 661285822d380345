/* SPDX-License-Identifier: MIT */
/*
 * What can be asked for at the control socket, and what then is so.
 */
#include "client.h"

#define ALL 0xffu

static struct stubbornness its;

static struct kthread *begin(int (*fn)(void *data), void *data, const char *name)
{
	struct kthread *k = kthread_run(fn, data, "%s", name);

	assert_non_null(k);
	assert_true(kthread_tid(k) > 0); /* waited for: one that is being made is not to be found yet */
	return k;
}

/* ---- looking ---------------------------------------------------------------------------------------------------- */

static void version(void **state)
{
	char wanted[256];

	control_start(NULL);
	snprintf(wanted, sizeof(wanted),
	         "{\"ok\":true,\"library\":\"%s\",\"protocol\":1,\"pid\":%d,\"process\":\"%s\",\"read_only\":false}\n",
	         kthread_version(), (int)getpid(), "integration_con");
	assert_string_equal(control_ask("version"), wanted);
	assert_string_equal(control_ask(" version \r"), wanted);
	control_stop();
}

static void help(void **state)
{
	const char *text;

	control_start(NULL);
	text = control_ask("help");
	assert_non_null(strstr(text, "unpark NAME"));
	assert_int_equal(text[strlen(text) - 1], '\n');
	control_stop();
}

static int occurrences(const char *text, const char *of)
{
	int count = 0;

	for (; (text = strstr(text, of)); text++)
		count++;
	return count;
}

static void dump(void **state)
{
	struct kthread *k[300];
	const char *text;

	control_start(NULL);
	for (size_t i = 0; i < 300; i++)
		k[i] = begin(obedient, NULL, "a \"name\"\n");
	text = control_ask("dump");
	assert_memory_equal(text, "{\"format\":\"kthread-dump\",\"version\":1,", 36);
	assert_string_equal(text + strlen(text) - 2, "}\n");
	assert_int_equal(occurrences(text, "{\"name\":\"a \\\"name\\\"\\u000a\","), 300);
	text = control_ask("dump json");
	assert_int_equal(occurrences(text, "{\"name\":\"a \\\"name\\\"\\u000a\","), 300);
	text = control_ask("dump text");
	assert_string_equal(text + strlen(text) - 5, "\nend\n");
	assert_true(occurrences(text, "kthread ") >= 300);
	for (size_t i = 0; i < 300; i++)
		kthread_stop(k[i]);
	control_stop();
}

static void what_is_no_request(void **state)
{
	control_start(NULL);
	assert_refused("", "EINVAL", "no request");
	assert_refused("lower", "EINVAL", "help");
	assert_refused("dump xml", "EINVAL", "json");
	assert_refused("cpu down x", "EINVAL", "number");
	control_stop();
}

/* ---- park and unpark --------------------------------------------------------------------------------------------- */

static void park__by_name_and_tid(void **state)
{
	struct kthread *k;
	char line[64];

	control_start(NULL);
	k = begin(obedient, NULL, "poll/3 (the \"third\")");
	assert_done("park poll/3 (the \"third\")");
	assert_int_equal(state_of(k), KTHREAD_PARKED);
	assert_refused("park poll/3 (the \"third\")", "EBUSY", "already");
	assert_done("unpark poll/3 (the \"third\")");
	assert_int_not_equal(state_of(k), KTHREAD_PARKED);
	snprintf(line, sizeof(line), "park tid=%d", (int)kthread_tid(k));
	assert_done(line);
	assert_int_equal(state_of(k), KTHREAD_PARKED);
	snprintf(line, sizeof(line), "unpark tid=%d", (int)kthread_tid(k));
	assert_done(line);
	assert_done(line); /* nothing to do */
	assert_int_not_equal(state_of(k), KTHREAD_PARKED);
	kthread_stop(k);
	control_stop();
}

static void park__not_to_be_found(void **state)
{
	struct kthread *k[3];
	struct kthread *own;
	char line[64];

	control_start(NULL);
	for (int i = 0; i < 3; i++)
		k[i] = begin(obedient, NULL, "one of \"three\"");
	assert_refused("park none", "ENOENT", "no thread is called \\\"none\\\"");
	assert_refused("unpark none", "ENOENT", "none");
	assert_refused("park one of \"three\"", "ENOTUNIQ", "3 threads are called \\\"one of \\\"three\\\"\\\"");
	assert_refused("unpark one of \"three\"", "ENOTUNIQ", "tid=");
	assert_refused("park tid=1", "ENOENT", "1");
	for (int i = 0; i < 3; i++)
		assert_int_not_equal(state_of(k[i]), KTHREAD_PARKED);
	snprintf(line, sizeof(line), "park tid=%d", (int)kthread_tid(k[1]));
	assert_done(line);
	assert_int_equal(state_of(k[1]), KTHREAD_PARKED);
	assert_int_not_equal(state_of(k[0]), KTHREAD_PARKED);
	/* the library's own are nobody's to park */
	assert_refused("park kthread-monitor", "ENOENT", "no thread");
	assert_refused("park kthread-control", "ENOENT", "no thread");
	assert_true(sim_task("kthread-control") > 0);
	snprintf(line, sizeof(line), "park tid=%d", (int)sim_task("kthread-control"));
	assert_refused(line, "ENOENT", "no thread");
	own = kthread_adopt("adopted");
	assert_non_null(own);
	assert_refused("park adopted", "EOPNOTSUPP", "adopted");
	assert_refused("unpark adopted", "EOPNOTSUPP", "adopted");
	assert_int_equal(kthread_unadopt(own), 0);
	for (int i = 0; i < 3; i++)
		kthread_stop(k[i]);
	control_stop();
}

static void park__that_is_not_granted(void **state)
{
	struct kthread *k;
	struct kthread *other;
	int first;
	int second;

	control_start(NULL);
	k = stubborn_begin(&its);
	other = begin(obedient, NULL, "other");
	/* it is taken back by an unpark, which does not wait behind it */
	first = control_begin("park stubborn");
	AWAIT(atomic_load(&its.asked));
	assert_done("unpark stubborn");
	assert_refusal(first, "ECANCELED", "unparked");
	AWAIT(!atomic_load(&its.asked));
	/* one that waits behind it, too */
	first = control_begin("park stubborn");
	AWAIT(atomic_load(&its.asked));
	second = control_begin("park other");
	control_ask("version"); /* served after that one, in the order of the places */
	assert_done("unpark other");
	assert_refusal(second, "ECANCELED", "unparked");
	assert_int_not_equal(state_of(other), KTHREAD_PARKED);
	/* it is granted late */
	second = control_begin("park other");
	atomic_store(&its.may, true);
	assert_answer(first, "{\"ok\":true}\n");
	assert_answer(second, "{\"ok\":true}\n");
	assert_int_equal(state_of(k), KTHREAD_PARKED);
	assert_int_equal(state_of(other), KTHREAD_PARKED);
	kthread_stop(k);
	kthread_stop(other);
	control_stop();
}

static void park__of_one_that_ends(void **state)
{
	struct kthread *k;
	int fd;

	control_start(NULL);
	k = stubborn_begin(&its);
	fd = control_begin("park stubborn");
	AWAIT(atomic_load(&its.asked));
	kthread_stop(k);
	assert_refusal(fd, "ENOSYS", "ends");
	assert_refused("park stubborn", "ENOENT", "stubborn");
	control_stop();
}

/* Who leaves takes back what can be: a park that hangs, and what has not begun. */
static void park__of_a_client_that_leaves(void **state)
{
	struct kthread *k;
	struct kthread *other;
	int first;
	int second;

	control_start(NULL);
	k = stubborn_begin(&its);
	other = begin(obedient, NULL, "other");
	first = control_begin("park stubborn");
	AWAIT(atomic_load(&its.asked));
	second = control_begin("park other");
	control_ask("version");
	close(second);
	control_ask("version");
	close(first);
	assert_done("rescan"); /* in its turn */
	assert_int_not_equal(state_of(other), KTHREAD_PARKED);
	AWAIT(!atomic_load(&its.asked));
	first = control_begin("park stubborn"); /* not -EBUSY: nobody asks it any more */
	atomic_store(&its.may, true);
	assert_answer(first, "{\"ok\":true}\n");
	kthread_stop(k);
	kthread_stop(other);
	control_stop();
}

/* ---- CPUs -------------------------------------------------------------------------------------------------------- */

static int file_of_cpu_3(void)
{
	char path[256];
	FILE *file;
	int first;

	snprintf(path, sizeof(path), "%s/sys/devices/system/cpu/cpu3/online", sim.root);
	file = fopen(path, "re");
	assert_non_null(file);
	first = fgetc(file);
	fclose(file);
	return first;
}

static void cpu__down_and_up(void **state)
{
	struct kthread *k;

	control_start(NULL);
	k = kthread_run_on_cpu(obedient, NULL, 3, "on/%u");
	assert_non_null(k);
	assert_done("cpu down 3");
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL & ~8u);
	assert_true(kthread_is_broken(k));
	assert_done("cpu down 3");
	assert_done("cpu up 3");
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL);
	assert_false(kthread_is_broken(k));
	assert_done("cpu down 3 physical");
	assert_int_equal(file_of_cpu_3(), '0');
	assert_int_equal(sim_cpus(KTHREAD_CPUS_USABLE), ALL & ~8u);
	assert_done("cpu up 3");
	sim_online(0xf7); /* what a kernel would have done */
	assert_int_equal(kthread_rescan(), 0);
	assert_done("cpu up 3 physical");
	assert_int_equal(file_of_cpu_3(), '1');
	sim_online(ALL);
	assert_int_equal(kthread_rescan(), 0);
	assert_refused("cpu down 8", "EINVAL", "cannot have");
	assert_refused("cpu up 4096", "EINVAL", "cannot have");
	for (unsigned int cpu = 1; cpu < 8; cpu++)
		assert_int_equal(kthread_cpu_down(cpu, 0), 0);
	assert_refused("cpu down 0", "EBUSY", "last");
	kthread_stop(k);
	control_stop();
}

static void housekeeping(void **state)
{
	control_start(NULL);
	assert_done("housekeeping 0-1, 5");
	assert_int_equal(sim_cpus(KTHREAD_CPUS_HOUSEKEEPING), 0x23);
	assert_done("housekeeping default");
	assert_int_equal(sim_cpus(KTHREAD_CPUS_HOUSEKEEPING), ALL);
	assert_refused("housekeeping 1,x", "EINVAL", "list");
	assert_refused("housekeeping ,", "EINVAL", "usable");
	assert_refused("housekeeping 99999", "ERANGE", "cannot have");
	assert_refused("housekeeping 99999999999", "EOVERFLOW", "cannot have");
	assert_int_equal(sim_cpus(KTHREAD_CPUS_HOUSEKEEPING), ALL);
	control_stop();
}

static void rescan(void **state)
{
	struct kthread *k;

	control_start(NULL);
	k = begin(obedient, NULL, "k");
	sim_calm();
	sim_online(0x0f);
	assert_done("rescan");
	assert_int_equal(sim_cpus(KTHREAD_CPUS_ONLINE), 0x0f);
	kthread_stop(k);
	control_stop();
}

/* The monitor answers while somebody's transition goes on, which its own looks have to wait for. */
static void somebody_holds_the_read_lock(void **state)
{
	struct kthread_config config = sim_config();
	struct kthread *k;
	int down;
	int version;

	config.poll_ms = 10;
	control_start(&config);
	k = begin(obedient, NULL, "k");
	kthread_cpus_read_lock();
	down = control_begin("cpu down 3");
	for (int i = 0; i < 3; i++) {
		version = control_begin("version");
		assert_non_null(strstr(control_rest(version), "\"ok\":true"));
		kthread_wake(k);
	}
	assert_done("unpark k");
	kthread_cpus_read_unlock();
	assert_answer(down, "{\"ok\":true}\n");
	kthread_stop(k);
	control_stop();
}

/* ---- freezing ----------------------------------------------------------------------------------------------------- */

static int freezes(void *data)
{
	kthread_set_freezable();
	while (!kthread_should_stop())
		kthread_wait_parkable();
	return 0;
}

static atomic_int refusing;

static int refuses(void *data)
{
	kthread_set_freezable();
	atomic_fetch_add(&refusing, 1);
	while (!kthread_should_stop())
		sched_yield();
	return 0;
}

static void freeze_and_thaw(void **state)
{
	struct kthread *k[2];
	struct kthread *no;

	control_start(NULL);
	k[0] = begin(freezes, NULL, "first");
	k[1] = begin(freezes, NULL, "second");
	await_waiting(k[0]);
	await_waiting(k[1]);
	assert_done("freeze");
	assert_int_equal(state_of(k[0]), KTHREAD_FROZEN);
	assert_int_equal(state_of(k[1]), KTHREAD_FROZEN);
	assert_refused("freeze 10", "EBUSY", "already");
	assert_refused("cpu down 3", "EBUSY", "freeze");
	assert_refused("cpu up 3", "EBUSY", "freeze");
	assert_done("thaw");
	assert_done("thaw");
	assert_int_not_equal(state_of(k[0]), KTHREAD_FROZEN);
	no = begin(refuses, NULL, "wayward \"one\"");
	AWAIT(atomic_load(&refusing) == 1);
	assert_refused("freeze 300", "ETIMEDOUT", "does not freeze: wayward \\\"one\\\" (");
	assert_int_not_equal(state_of(k[1]), KTHREAD_FROZEN);
	kthread_stop(no);
	for (int i = 0; i < 2; i++)
		kthread_stop(k[i]);
	control_stop();
}

static void freeze__thawed_meanwhile(void **state)
{
	struct kthread *no;
	struct kthread *k;
	int fd;

	control_start(NULL);
	atomic_store(&refusing, 0);
	no = begin(refuses, NULL, "no");
	k = begin(freezes, NULL, "yes");
	AWAIT(atomic_load(&refusing) == 1);
	await_waiting(k);
	fd = control_begin("freeze 4000000000");
	AWAIT(state_of(k) == KTHREAD_FROZEN);
	assert_done("thaw");
	assert_refusal(fd, "ECANCELED", "thawed");
	kthread_stop(no);
	kthread_stop(k);
	control_stop();
}

/* More refuse than can be named. */
static void freeze__many_refuse(void **state)
{
	struct kthread *no[100];
	const char *text;

	control_start(NULL);
	atomic_store(&refusing, 0);
	for (int i = 0; i < 100; i++)
		no[i] = begin(obedient, NULL, "x");
	for (int i = 0; i < 100; i++)
		kthread_stop(no[i]);
	for (int i = 0; i < 20; i++)
		no[i] = begin(refuses, NULL,
		              "a name that is as long as names of threads are seldom, not to say never at all");
	AWAIT(atomic_load(&refusing) == 20);
	text = control_ask("freeze 1000");
	assert_memory_equal(text, "{\"ok\":false,\"error\":\"ETIMEDOUT\"", 30);
	assert_string_equal(text + strlen(text) - 3, "\"}\n");
	for (int i = 0; i < 20; i++)
		kthread_stop(no[i]);
	control_stop();
}

/* ---- read-only ---------------------------------------------------------------------------------------------------- */

static void looks_only(void)
{
	static const char *const changes[] = {
	    "rescan",   "park k", "unpark k", "housekeeping 0", "housekeeping default", "cpu down 3",
	    "cpu up 3", "freeze", "thaw"};
	struct kthread *k = begin(obedient, NULL, "k");

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
		assert_refused(changes[i], "EROFS", "read_only");
	assert_non_null(strstr(control_ask("version"), "\"read_only\":true"));
	assert_non_null(strstr(control_ask("help"), "park NAME"));
	assert_refused("cpu", "EINVAL", "cpu down N");
	assert_int_not_equal(state_of(k), KTHREAD_PARKED);
	assert_int_equal(sim_task("kthread-control"), 0); /* it has nothing to do */
	assert_non_null(strstr(control_ask("dump"), "\"name\":\"k\""));
	kthread_stop(k);
}

static void read_only(void **state)
{
	struct kthread_config config = sim_config();

	config.control_read_only = true;
	control_start(&config);
	looks_only();
	control_stop();
	setenv("KTHREAD_CONTROL_READ_ONLY", "1", 1);
	control_start(NULL);
	looks_only();
	control_stop();
	setenv("KTHREAD_CONTROL_READ_ONLY", "yes", 1);
	assert_int_equal(kthread_init(NULL), -EINVAL);
	unsetenv("KTHREAD_CONTROL_READ_ONLY");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(version),
	    cmocka_unit_test(help),
	    cmocka_unit_test(dump),
	    cmocka_unit_test(what_is_no_request),
	    cmocka_unit_test(park__by_name_and_tid),
	    cmocka_unit_test(park__not_to_be_found),
	    cmocka_unit_test(park__that_is_not_granted),
	    cmocka_unit_test(park__of_one_that_ends),
	    cmocka_unit_test(park__of_a_client_that_leaves),
	    cmocka_unit_test(cpu__down_and_up),
	    cmocka_unit_test(housekeeping),
	    cmocka_unit_test(rescan),
	    cmocka_unit_test(somebody_holds_the_read_lock),
	    cmocka_unit_test(freeze_and_thaw),
	    cmocka_unit_test(freeze__thawed_meanwhile),
	    cmocka_unit_test(freeze__many_refuse),
	    cmocka_unit_test(read_only),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}
