/* SPDX-License-Identifier: MIT */
#include "support.h"

#include <errno.h>
#include <kthread/library.h>
#include <kthread/placement.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/library.h"
#include "base/log.h"

/* No room is started by the library: the tests start the one they are about. */
const struct kt_room *const kt_rooms[] = {NULL};

static char root[PATH_MAX];

static struct {
	int level[64];
	char text[64][512];
	int count;
} messages;

const char *tree_make(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(root, sizeof(root), "%s/kthread-test-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(root));
	return root;
}

void tree_remove(void)
{
	machine_remove(root);
}

void tree_put(const char *path, const char *text)
{
	assert_int_equal(machine_put(root, path, text), 0);
}

static void full_path(char path[2 * PATH_MAX], const char *name)
{
	snprintf(path, 2 * PATH_MAX, "%s/%s", root, name);
}

void tree_delete(const char *path)
{
	char full[2 * PATH_MAX];

	full_path(full, path);
	machine_remove(full);
}

void tree_rename(const char *from, const char *to)
{
	char full_from[2 * PATH_MAX], full_to[2 * PATH_MAX];

	full_path(full_from, from);
	full_path(full_to, to);
	assert_int_equal(rename(full_from, full_to), 0);
}

void tree_machine(const char *name)
{
	const struct machine *machine = machine_named(name);

	assert_non_null(machine);
	assert_int_equal(machine_write(machine, root), 0);
}

static void take_message(int level, const char *message, void *arg)
{
	if (messages.count == 64)
		return;
	messages.level[messages.count] = level;
	snprintf(messages.text[messages.count++], sizeof(messages.text[0]), "%s", message);
}

int room_start(const char *below, const char *housekeeping)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	int error;

	messages.count = 0;
	config.root = below;
	config.housekeeping = housekeeping;
	config.log = take_message;
	assert_int_equal(kt_library_init(&config), 0);
	error = kt_machine_start();
	if (error)
		kt_library_fini();
	return error;
}

void room_stop(void)
{
	kt_machine_stop();
	kt_library_fini();
}

bool room_renew(void)
{
	bool changed = false;

	assert_int_equal(kt_view_renew(&changed), 0);
	return changed;
}

void assert_cpus(size_t setsize, const cpu_set_t *set, const char *list)
{
	static char text[65536];

	kthread_cpulist_format(setsize, set, text, sizeof(text));
	assert_string_equal(text, list);
}

void assert_set(enum kt_set which, const char *list)
{
	struct kt_view *view = kt_view_get();

	assert_cpus(view->setsize, view->set[which], list);
	kt_view_put(view);
}

uint64_t view_generation(void)
{
	struct kt_view *view = kt_view_get();
	const uint64_t generation = view->generation;

	kt_view_put(view);
	return generation;
}

bool view_confined(void)
{
	struct kt_view *view = kt_view_get();
	const bool confined = view->confined;

	kt_view_put(view);
	return confined;
}

int log_count(int level)
{
	int count = 0;

	for (int i = 0; i < messages.count; i++)
		count += messages.level[i] <= level;
	return count;
}

bool log_has(const char *text)
{
	for (int i = 0; i < messages.count; i++) {
		if (strstr(messages.text[i], text))
			return true;
	}
	return false;
}
