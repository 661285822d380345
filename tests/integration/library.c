/* SPDX-License-Identifier: MIT */
/*
 * The life of the library: kthread_init, kthread_fini, kthread_version, the configuration and the environment, the log.
 */
#include <limits.h>
#include <sys/syscall.h>

#include "await.h"

static struct {
	char text[4096]; /* all messages, one a line */
	int levels;      /* a bit for each seen */
	int count;
} logged;

static void keep_log(int level, const char *message, void *arg)
{
	CHECK(arg == &logged);
	CHECK(level >= 0 && level <= 7);
	CHECK(strchr(message, '\n') == NULL);
	logged.levels |= 1 << level;
	logged.count++;
	if (strlen(logged.text) + strlen(message) + 2 < sizeof(logged.text)) {
		strcat(logged.text, message);
		strcat(logged.text, "\n");
	}
}

static void log_clear(void)
{
	memset(&logged, 0, sizeof(logged));
}

static struct kthread_config logging_config(void)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	log_clear();
	config.log = keep_log;
	config.log_arg = &logged;
	return config;
}

static int down(void **state)
{
	static const char *const names[] = {"ROOT", "SIMULATE", "HOUSEKEEPING", "POLL_MS", "LOG"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char name[40];

		snprintf(name, sizeof(name), "KTHREAD_%s", names[i]);
		unsetenv(name);
	}
	return kthread_fini();
}

/* ---- start and end ------------------------------------------------------------------------------------------------ */

static void kthread_init__and_fini_again_and_again(void **state)
{
	const int fds = open_fds();

	for (int i = 0; i < 20; i++) {
		const long long threads = tasks_before();
		struct kthread *k;

		assert_int_equal(kthread_init(NULL), 0);
		assert_int_equal(tasks(), threads); /* no thread is started here */
		assert_int_equal(kthread_init(NULL), -EALREADY);
		k = kthread_run(obedient, AS_DATA(i), "life/%d", i);
		assert_int_equal(kthread_init(NULL), -EALREADY);
		assert_int_equal(kthread_fini(), -EBUSY);
		await_waiting(k);
		assert_int_equal(kthread_stop(k), i);
		assert_int_equal(kthread_fini(), 0);
		assert_int_equal(kthread_fini(), 0);
		AWAIT(tasks() == threads);
	}
	assert_int_equal(open_fds(), fds);
}

static void kthread_fini__nothing_was_up(void **state)
{
	assert_int_equal(kthread_fini(), 0);
}

static void kthread_fini__ended_threads_do_not_count(void **state)
{
	struct kthread *k = kthread_run(result_only, AS_DATA(3), "ended");

	AWAIT(task_gone(kthread_tid(k)));
	assert_int_equal(kthread_fini(), 0);
	/* a handle outlives the library */
	assert_string_equal(kthread_name(k), "ended");
	assert_int_equal(kthread_park(k), -ENOSYS);
	assert_false(kthread_wake(k));
	assert_int_equal(kthread_event_fd(k), -ESRCH);
	kthread_get(k);
	assert_int_equal(kthread_stop(k), 3);
	assert_int_equal(kthread_init(NULL), 0);
	assert_int_equal(kthread_bind(k, 0), -ESRCH);
	assert_int_equal(kthread_stop(k), 3);
}

static void kthread_fini__detached_threads_count(void **state)
{
	struct kthread_completion go = KTHREAD_COMPLETION_INIT;

	kthread_put(kthread_run((int (*)(void *))kthread_wait_for_completion, &go, "detached"));
	assert_int_equal(kthread_fini(), -EBUSY);
	kthread_complete(&go);
	AWAIT(kthread_fini() == 0);
}

static void kthread_init__config_null_and_defaults(void **state)
{
	const struct kthread_config config = KTHREAD_CONFIG_INIT;

	assert_int_equal(kthread_init(&config), 0);
	assert_true(kthread_setsize() > 0);
	assert_true(kthread_generation() > 0);
}

static void kthread_init__sizes_of_the_past_and_the_future(void **state)
{
	struct {
		struct kthread_config config;
		unsigned char future[64];
	} longer = {KTHREAD_CONFIG_INIT, {0}};
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	config.size = 0;
	assert_int_equal(kthread_init(&config), -EINVAL);
	config.size = offsetof(struct kthread_config, control) - 1;
	assert_int_equal(kthread_init(&config), -EINVAL);
	longer.config.size = sizeof(longer);
	longer.future[63] = 1;
	assert_int_equal(kthread_init(&longer.config), -E2BIG);
	longer.future[63] = 0;
	assert_int_equal(kthread_init(&longer.config), 0);
}

static void kthread_init__plan_file_may_come_later(void **state)
{
	struct kthread_config config = logging_config();

	config.plan_file = "/nowhere/plan";
	assert_int_equal(kthread_init(&config), 0);
	assert_int_equal(kthread_rescan(), 0);
}

static void kthread_version__in_every_state(void **state)
{
	int major = -1;
	int minor = -1;
	int patch = -1;

	assert_int_equal(sscanf(kthread_version(), "%d.%d.%d", &major, &minor, &patch), 3);
	assert_true(major >= 0 && minor >= 0 && patch >= 0);
	assert_int_equal(kthread_init(NULL), 0);
	assert_int_equal(sscanf(kthread_version(), "%d.%d.%d", &major, &minor, &patch), 3);
}

/* ---- environment -------------------------------------------------------------------------------------------------- */

static void kthread_init__malformed_environment(void **state)
{
	static const struct {
		const char *name;
		const char *value;
	} table[] = {
	    {"KTHREAD_SIMULATE", ""},
	    {"KTHREAD_SIMULATE", "2"},
	    {"KTHREAD_SIMULATE", "yes"},
	    {"KTHREAD_SIMULATE", "-1"},
	    {"KTHREAD_SIMULATE", "1 "},
	    {"KTHREAD_SIMULATE", " 1"},
	    {"KTHREAD_SIMULATE", "99999999999999999999999999"},
	    {"KTHREAD_POLL_MS", ""},
	    {"KTHREAD_POLL_MS", "-5"},
	    {"KTHREAD_POLL_MS", "+5"},
	    {"KTHREAD_POLL_MS", "10ms"},
	    {"KTHREAD_POLL_MS", "0x10"},
	    {"KTHREAD_POLL_MS", "1e3"},
	    {"KTHREAD_POLL_MS", "4294967295"},
	    {"KTHREAD_POLL_MS", "4294967296"},
	    {"KTHREAD_POLL_MS", "18446744073709551616"},
	    {"KTHREAD_HOUSEKEEPING", "zero"},
	    {"KTHREAD_HOUSEKEEPING", "0-"},
	    {"KTHREAD_HOUSEKEEPING", "3-1"},
	    {"KTHREAD_HOUSEKEEPING", "0;1"},
	    {"KTHREAD_HOUSEKEEPING", "99999999999"},
	    {"KTHREAD_LOG", ""},
	    {"KTHREAD_LOG", "8"},
	    {"KTHREAD_LOG", "-1"},
	    {"KTHREAD_LOG", "loud"},
	    {"KTHREAD_LOG", "debugging"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		struct kthread_config config = logging_config();
		const long long threads = tasks_before();
		char quoted[80];

		setenv(table[i].name, table[i].value, 1);
		if (kthread_init(&config) != -EINVAL)
			fail_msg("%s=\"%s\" is accepted", table[i].name, table[i].value);
		snprintf(quoted, sizeof(quoted), "\"%s\"", table[i].value);
		if (!strstr(logged.text, quoted))
			fail_msg("%s=\"%s\": the log does not name the value: %s", table[i].name, table[i].value,
			         logged.text);
		assert_true(logged.levels & 0xf); /* an error, not a remark */
		assert_int_equal(tasks(), threads);
		unsetenv(table[i].name);
		assert_int_equal(kthread_init(&config), 0); /* nothing is left of it */
		assert_int_equal(kthread_fini(), 0);
	}
}

static void kthread_init__housekeeping_without_a_usable_cpu(void **state)
{
	static const char *const lists[] = {"", "8191", "100000-100010"};

	for (size_t i = 0; i < 3; i++) {
		struct kthread_config config = logging_config();

		config.housekeeping = lists[i];
		assert_int_equal(kthread_init(&config), -EINVAL);
		assert_true(logged.count > 0);
		setenv("KTHREAD_HOUSEKEEPING", lists[i], 1);
		config = logging_config();
		assert_int_equal(kthread_init(&config), -EINVAL);
		assert_true(logged.count > 0);
		unsetenv("KTHREAD_HOUSEKEEPING");
	}
}

static void kthread_create__malformed_environment(void **state)
{
	setenv("KTHREAD_POLL_MS", "often", 1);
	errno = 0;
	assert_null(kthread_create(result_only, NULL, "refused")); /* what starting the library returned */
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_null(kthread_adopt("refused"));
	assert_int_equal(errno, EINVAL);
	assert_int_equal(kthread_rescan(), -EINVAL);
	assert_int_equal(kthread_setsize(), 0);
	assert_int_equal(kthread_generation(), 0);
}

static void kthread_init__good_environment(void **state)
{
	cpu_set_t usable;
	cpu_set_t housekeeping;
	char list[1024];

	setenv("KTHREAD_POLL_MS", "0", 1);
	setenv("KTHREAD_SIMULATE", "1", 1);
	setenv("KTHREAD_LOG", "emerg", 1);
	setenv("KTHREAD_ROOT", "/", 1);
	assert_int_equal(kthread_init(NULL), 0);
	assert_int_equal(kthread_cpus(KTHREAD_CPUS_USABLE, sizeof(usable), &usable), 0);
	for (size_t cpu = 0, kept = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &usable) && kept++)
			CPU_CLR(cpu, &usable);
	}
	assert_true(kthread_cpulist_format(sizeof(usable), &usable, list, sizeof(list)) > 0);
	assert_int_equal(kthread_fini(), 0);
	setenv("KTHREAD_HOUSEKEEPING", list, 1);
	for (int level = 0; level <= 7; level++) {
		char text[2] = {(char)('0' + level), '\0'};

		setenv("KTHREAD_LOG", text, 1);
		if (level >= 6)
			setenv("KTHREAD_LOG", level == 6 ? "WARNING" : "crit", 1);
		assert_int_equal(kthread_init(NULL), 0);
		assert_int_equal(kthread_cpus(KTHREAD_CPUS_HOUSEKEEPING, sizeof(housekeeping), &housekeeping), 0);
		assert_true(CPU_EQUAL(&usable, &housekeeping));
		assert_int_equal(kthread_fini(), 0);
	}
}

static void kthread_init__config_beats_environment(void **state)
{
	struct kthread_config config = logging_config();
	cpu_set_t housekeeping;
	cpu_set_t usable;

	setenv("KTHREAD_ROOT", "/nowhere", 1);
	setenv("KTHREAD_HOUSEKEEPING", "0", 1);
	setenv("KTHREAD_POLL_MS", "1", 1);
	config.root = "";
	config.housekeeping = "all";
	config.poll_ms = 0;
	assert_int_equal(kthread_init(&config), 0);
	assert_int_equal(kthread_cpus(KTHREAD_CPUS_HOUSEKEEPING, sizeof(housekeeping), &housekeeping), 0);
	assert_int_equal(kthread_cpus(KTHREAD_CPUS_USABLE, sizeof(usable), &usable), 0);
	CPU_AND(&housekeeping, &housekeeping, &usable);
	assert_true(CPU_EQUAL(&housekeeping, &usable));
}

/* ---- the log function --------------------------------------------------------------------------------------------- */

static int reentered[6];
static struct kthread_completion reentrance;
static atomic_flag inside_log = ATOMIC_FLAG_INIT;

static void reenter(int level, const char *message, void *arg)
{
	struct kthread *k;

	(void)level;
	(void)message;
	(void)arg;
	if (atomic_flag_test_and_set(&inside_log))
		return; /* once is enough */
	k = kthread_run(obedient, AS_DATA(1), "from the log");
	reentered[1] = k != NULL;
	if (k) {
		kthread_park(k);
		reentered[2] = kthread_stop(k);
	}
	reentered[3] = kthread_fini();
	reentered[4] = kthread_init(NULL);
	reentered[5] = kthread_rescan();
	kthread_complete(&reentrance);
}

static void machine_file(const char *root, const char *name, const char *content)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/sys/devices/system/cpu/%s", root, name);
	if (!content) {
		assert_int_equal(unlink(path), 0);
		return;
	}
	file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fputs(content, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

/* The machine's files vanish while the library looks at them: that is news. */
static void log__may_call_the_library(void **state)
{
	static const char *const directories[] = {"", "/sys", "/sys/devices", "/sys/devices/system",
	                                          "/sys/devices/system/cpu"};
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	char root[] = "/tmp/kthread-test-XXXXXX";
	char path[256];
	struct kthread *k;

	assert_non_null(mkdtemp(root));
	for (size_t i = 1; i < 5; i++) {
		snprintf(path, sizeof(path), "%s%s", root, directories[i]);
		assert_int_equal(mkdir(path, 0755), 0);
	}
	machine_file(root, "possible", "0-3\n");
	machine_file(root, "present", "0-3\n");
	machine_file(root, "online", "0-3\n");
	config.root = root;
	config.simulate = true;
	config.poll_ms = 0;
	config.log = reenter;
	atomic_flag_test_and_set(&inside_log); /* not yet */
	assert_int_equal(kthread_init(&config), 0);
	k = kthread_create(obedient, AS_DATA(2), "bystander");
	assert_non_null(k);
	atomic_flag_clear(&inside_log);
	machine_file(root, "online", NULL);
	assert_int_equal(kthread_rescan(), 0);
	AWAIT_DONE(&reentrance);
	assert_true(reentered[1]);
	assert_true(reentered[2] == 1 || reentered[2] == -EINTR);
	assert_true(reentered[3] == -EDEADLK || reentered[3] == -EBUSY);
	assert_int_equal(reentered[4], -EALREADY);
	assert_true(reentered[5] == 0 || reentered[5] == -EDEADLK);
	assert_int_equal(kthread_stop(k), -EINTR);
	assert_int_equal(kthread_fini(), 0);
	machine_file(root, "possible", NULL);
	machine_file(root, "present", NULL);
	for (size_t i = 5; i-- > 0;) {
		snprintf(path, sizeof(path), "%s%s", root, directories[i]);
		assert_int_equal(rmdir(path), 0);
	}
}

static int fini_from_log;

static void fini_there(int level, const char *message, void *arg)
{
	(void)level;
	(void)message;
	(void)arg;
	fini_from_log = kthread_fini();
}

static void kthread_fini__from_the_log_function(void **state)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	config.log = fini_there;
	config.housekeeping = "nonsense";
	fini_from_log = 1;
	assert_int_equal(kthread_init(&config), -EINVAL);
	assert_int_equal(fini_from_log, -EDEADLK);
}

static int errors_from_log[3];

static void calls_there(int level, const char *message, void *arg)
{
	(void)level;
	(void)message;
	(void)arg;
	errors_from_log[0] = kthread_rescan();
	errno = 0;
	errors_from_log[1] = kthread_create(result_only, NULL, "from the log") ? 0 : -errno;
	errors_from_log[2] = kthread_setsize() == 0 ? -EDEADLK : 0;
}

/* What the configuration forbids is not started without it by a log function that looks around. */
static void kthread_init__failed_and_its_log_function_calls(void **state)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	config.log = calls_there;
	config.housekeeping = "nonsense";
	memset(errors_from_log, 0, sizeof(errors_from_log));
	assert_int_equal(kthread_init(&config), -EINVAL);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(errors_from_log[i], -EDEADLK);
	assert_int_equal(kthread_init(NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(kthread_init__and_fini_again_and_again, down),
	    cmocka_unit_test_teardown(kthread_fini__nothing_was_up, down),
	    cmocka_unit_test_teardown(kthread_fini__ended_threads_do_not_count, down),
	    cmocka_unit_test_teardown(kthread_fini__detached_threads_count, down),
	    cmocka_unit_test_teardown(kthread_init__config_null_and_defaults, down),
	    cmocka_unit_test_teardown(kthread_init__sizes_of_the_past_and_the_future, down),
	    cmocka_unit_test_teardown(kthread_init__plan_file_may_come_later, down),
	    cmocka_unit_test_teardown(kthread_version__in_every_state, down),
	    cmocka_unit_test_teardown(kthread_init__malformed_environment, down),
	    cmocka_unit_test_teardown(kthread_init__housekeeping_without_a_usable_cpu, down),
	    cmocka_unit_test_teardown(kthread_create__malformed_environment, down),
	    cmocka_unit_test_teardown(kthread_init__good_environment, down),
	    cmocka_unit_test_teardown(kthread_init__config_beats_environment, down),
	    cmocka_unit_test_teardown(log__may_call_the_library, down),
	    cmocka_unit_test_teardown(kthread_fini__from_the_log_function, down),
	    cmocka_unit_test_teardown(kthread_init__failed_and_its_log_function_calls, down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
