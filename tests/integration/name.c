/* SPDX-License-Identifier: MIT */
/*
 * Names: kthread_name keeps all of it, the kernel's comm 15 bytes, and the number at its end.
 */
#include "await.h"

static void comm_of(pid_t tid, char comm[32])
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/comm", (int)tid);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(fgets(comm, 32, file));
	fclose(file);
	comm[strcspn(comm, "\n")] = '\0';
}

static void kthread_name__whole_and_comm_cut(void **state)
{
	static const struct {
		const char *name;
		const char *comm;
	} table[] = {
	    {"x", "x"},
	    {"exactly15bytes!", "exactly15bytes!"},
	    {"sixteen bytes ok", "sixteen bytes o"},
	    {"database-writer/12", "database-wri/12"},
	    {"database-writer12", "database-writ12"},
	    {"", ""},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		struct kthread *k = kthread_create(result_only, NULL, "%s", table[i].name);
		char comm[32] = "";

		assert_non_null(k);
		assert_string_equal(kthread_name(k), table[i].name);
		comm_of(kthread_tid(k), comm);
		assert_string_equal(comm, table[i].comm);
		kthread_stop(k);
	}
}

static void kthread_name__of_kilobytes_is_kept(void **state)
{
	char name[5000];
	struct kthread *k;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	k = kthread_create(result_only, NULL, "%s/%d", name, 77);
	assert_non_null(k);
	assert_int_equal(strlen(kthread_name(k)), sizeof(name) - 1 + 3);
	assert_memory_equal(kthread_name(k), name, sizeof(name) - 1);
	assert_string_equal(kthread_name(k) + sizeof(name) - 1, "/77");
	kthread_stop(k);
}

static void kthread_name__outlives_the_thread(void **state)
{
	struct kthread *k = kthread_get(kthread_create(result_only, NULL, "longer than the thread"));

	kthread_stop(k);
	assert_string_equal(kthread_name(k), "longer than the thread");
	kthread_put(k);
}

static void kthread_create_on_cpu__format(void **state)
{
	static const struct {
		const char *format;
		const char *name; /* NULL: refused */
	} table[] = {
	    {"flush/%u", "flush/0"},
	    {"%u", "0"},
	    {"%u%%", "0%"},
	    {"100%%/%u of all", "100%/0 of all"},
	    {"%%%u", "%0"},
	    {"", NULL},
	    {"flush", NULL},
	    {"flush/%", NULL},
	    {"flush/%u/%", NULL},
	    {"%u/%u", NULL},
	    {"%d", NULL},
	    {"%s", NULL},
	    {"%n%u", NULL},
	    {"%2u", NULL},
	    {"%lu", NULL},
	    {"%%u", NULL},
	    {NULL, NULL},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		struct kthread *k;

		errno = 0;
		k = kthread_create_on_cpu(result_only, NULL, 0, table[i].format);
		if (!table[i].name) {
			assert_null(k);
			assert_int_equal(errno, EINVAL);
			continue;
		}
		assert_non_null(k);
		assert_string_equal(kthread_name(k), table[i].name);
		assert_int_equal(kthread_stop(k), -EINTR);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kthread_name__whole_and_comm_cut),
	    cmocka_unit_test(kthread_name__of_kilobytes_is_kept),
	    cmocka_unit_test(kthread_name__outlives_the_thread),
	    cmocka_unit_test(kthread_create_on_cpu__format),
	};

	return cmocka_run_group_tests(tests, NULL, fini_finds_nothing);
}
