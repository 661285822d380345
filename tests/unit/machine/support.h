/* SPDX-License-Identifier: MIT */
/*
 * What the tests of src/machine share: a scratch tree, the room started on it alone, sets compared as lists, the log.
 */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

#include "machine.h"
#include "machine/view.h"

/* CMocka needs these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

/* A fresh empty directory, removed by tree_remove(). The name stays valid until then. One at a time. */
const char *tree_make(void);
void tree_remove(void);
/* Write root/path; remove root/path (a file or a whole directory). */
void tree_put(const char *path, const char *text);
void tree_delete(const char *path);
void tree_rename(const char *from, const char *to);
/* A machine of tests/machines into the tree. */
void tree_machine(const char *name);

/* Start the room on the tree, or on the real machine (""), with a housekeeping list or NULL. */
int room_start(const char *root, const char *housekeeping);
void room_stop(void);

/* Renew, and say whether the view changed. */
bool room_renew(void);

/* Fails the test, naming both lists, if a set of the current view is not this list. */
void assert_set(enum kt_set which, const char *list);
void assert_cpus(size_t setsize, const cpu_set_t *set, const char *list);
uint64_t view_generation(void);
bool view_confined(void);

/* Messages logged since room_start(), of this level or worse; and whether one holds this text. */
int log_count(int level);
bool log_has(const char *text);

#endif
