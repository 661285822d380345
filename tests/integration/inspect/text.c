/* SPDX-License-Identifier: MIT */
/*
 * The dump for people. Its wording is free; that it is whole, in columns, and harmless to a terminal is not.
 */
#include <regex.h>

#include "dumped.h"

static int nothing(unsigned int cpu, void *arg)
{
	return 0;
}

static bool matches(const char *line, const char *pattern)
{
	regex_t regex;
	bool match;

	CHECK(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) == 0);
	match = regexec(&regex, line, 0, NULL, 0) == 0;
	regfree(&regex);
	if (!match)
		fprintf(stderr, "\"%s\" is not like \"%s\"\n", line, pattern);
	return match;
}

#define COUNT " +[0-9]+"

static void line_by_line(void **state)
{
	static const char *const lines[] = {
	    "^libkthread [0-9.]+, process .+ \\(pid [0-9]+\\), 20[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9:]{8} UTC, simulated$",
	    "^machine below /.*$",
	    "^view [0-9]+$",
	    "^  possible     0-7 +/sys/devices/system/cpu/possible$",
	    "^  present      0-7 +/sys/devices/system/cpu/present$",
	    "^  online       0-2,4-7 +/sys/devices/system/cpu/online$",
	    "^  allowed      0-7 +/sys/fs/cgroup/cpuset.cpus.effective$",
	    "^  offlined     6$",
	    "^  usable       0-2,4-5,7$",
	    "^  isolated     none +/sys/devices/system/cpu/isolated$",
	    "^  housekeeping 0-7 +derived$",
	    "^  node 0       0-1$",
	    "^  node 1       2-3$",
	    "^  node 2       4-5$",
	    "^  node 3       6-7$",
	    "^$",
	    "^TID +KIND +STATE +WISH +EFFECTIVE +ACTUAL +CPU +LAST +MOVED +REFUSED +WAKES +PARKS +FREEZES +WORKS +QUEUE "
	    "+CHUNKS +NAME$",
	    "^[0-9]+ +internal +[a-z]+ +none +- +0-2,4-5,7 +- +- +[a-z]+" COUNT COUNT COUNT COUNT COUNT
	    " +- +- +- +kthread-monitor$",
	    "^[0-9]+ +kthread +created +bound +3 +0-2,4-5,7 +- +- +cpus" COUNT COUNT COUNT COUNT COUNT
	    " +- +- +- +evil\\?\\[2J\\?name  BROKEN$",
	    "^[0-9]+ +kthread +created +node +2 +4-5 +- +- +start" COUNT COUNT COUNT COUNT COUNT " +- +- +- +node$",
	    "^[0-9]+ +kthread +waiting +none +- +0-2,4-5,7 +- +- +[a-z]+" COUNT COUNT COUNT COUNT COUNT
	    " +0 +0 +- +worker$",
	    "^$",
	    "^STEP +SECTION +INSTANCES +FAILURES +UP +NAME$",
	    "^[0-9]+ +prepare +0 +0 +0-2,4-5,7 +multi$",
	    "^[0-9]+ +prepare +- +0 +0-2,4-5,7 +step\\?$",
	    "^end$",
	};
	struct kthread *bound, *node;
	struct kthread_worker *worker;
	char *text, *line, *rest;
	size_t i = 0;

	sim_start(NULL);
	bound = kthread_create(obedient, NULL, "evil\x1b[2J\xc2\x9bname");
	assert_int_equal(sim_bind(bound, 1 << 3), 0);
	node = kthread_create_on_node(obedient, NULL, 2, "node");
	AWAIT(sim_info(bound).last_reason != KTHREAD_REASON_NONE && sim_info(node).last_reason != KTHREAD_REASON_NONE);
	worker = kthread_run_worker(0, "worker");
	await_waiting(kthread_worker_thread(worker));
	assert_true(kthread_cpuhp_setup_multi(KTHREAD_CPUHP_PREPARE, "multi", nothing, nothing) > 0);
	assert_true(kthread_cpuhp_setup(KTHREAD_CPUHP_PREPARE, "step\a", nothing, nothing, NULL) > 0);
	sim_online(0xf7);
	assert_int_equal(kthread_rescan(), 0);
	assert_int_equal(kthread_cpu_down(6, 0), 0);

	text = rest = dump(KTHREAD_TEXT);
	assert_int_equal(text[strlen(text) - 1], '\n');
	while ((line = strsep(&rest, "\n")) && rest) {
		assert_true(i < sizeof(lines) / sizeof(lines[0]));
		assert_true(matches(line, lines[i]));
		i++;
	}
	assert_int_equal(i, sizeof(lines) / sizeof(lines[0]));
	free(text);
	kthread_stop(bound);
	kthread_stop(node);
	kthread_destroy_worker(worker);
	sim_stop();
}

/* Columns stand below their heads as long as what is in them is short. */
static void columns(void **state)
{
	struct kthread *k;
	const char *head, *row;
	char *text;

	sim_start(NULL);
	k = kthread_create(obedient, NULL, "the-one");
	AWAIT(sim_info(k).last_reason == KTHREAD_REASON_START);
	assert_int_equal(sim_bind(k, 1 << 5), 0);
	text = dump(KTHREAD_TEXT);
	head = strstr(text, "TID ");
	row = strstr(text, "the-one");
	while (row[-1] != '\n')
		row--;
	assert_int_equal(strstr(row, "kthread") - row, strstr(head, "KIND") - head);
	assert_int_equal(strstr(row, "created") - row, strstr(head, "STATE") - head);
	assert_int_equal(strstr(row, "bound") - row, strstr(head, "WISH") - head);
	assert_int_equal(strstr(row, "wish") - row, strstr(head, "LAST") - head);
	assert_int_equal(strstr(row, "the-one") - row, strstr(head, "NAME") - head);
	assert_int_equal(row[strstr(head, "EFFECTIVE") - head], '5');
	assert_int_equal(row[strstr(head, "ACTUAL") - head], '-');
	assert_int_equal(row[strstr(head, "MOVED") - head], '1');
	assert_int_equal(row[strstr(head, "REFUSED") - head], '0');
	assert_int_equal(row[strstr(head, "CHUNKS") - head], '-');
	free(text);
	kthread_stop(k);
	sim_stop();
}

/* On this machine, with the kernel's word. */
static void this_machine(void **state)
{
	struct kthread *k = kthread_run(obedient, NULL, "here");
	char *text, *row;

	await_waiting(k);
	text = dump(KTHREAD_TEXT);
	assert_null(strstr(text, "simulated"));
	assert_string_equal(text + strlen(text) - 5, "\nend\n");
	row = strstr(text, " here\n");
	assert_non_null(row);
	while (row[-1] != '\n')
		row--;
	*strchr(row, '\n') = '\0';
	assert_true(matches(row, "^[0-9]+ +kthread +waiting +none +- +[0-9,-]+ +[0-9,-]+ +[0-9]+ +start"));
	free(text);
	kthread_stop(k);
	assert_int_equal(kthread_fini(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(line_by_line),
	    cmocka_unit_test(columns),
	    cmocka_unit_test(this_machine),
	};

	return cmocka_run_group_tests_name("dump_text", tests, NULL, fini_finds_nothing);
}
