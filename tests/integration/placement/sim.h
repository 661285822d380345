/* SPDX-License-Identifier: MIT */
/*
 * The whole library on an invented machine of up to 32 CPUs: a tree of files that a test changes, and a model of its
 * own of what the rule then says. Sets are the bits of a number here.
 */
#ifndef TESTS_PLACEMENT_SIM_H
#define TESTS_PLACEMENT_SIM_H

#include "../await.h"
#include "machine.h"

/* What the test has made of the machine: the model decides by this, never by what the library says. */
struct sim {
	char root[128];
	unsigned int possible, online, granted, housekeeping;
};
extern struct sim sim;

/* Defaults: simulated, no source of events: only kthread_rescan() looks. */
struct kthread_config sim_config(void);

/* The machine "numa" (8 CPUs, 2 on each of 4 nodes), or another; and the library on it. */
void sim_tree(const char *machine);
void sim_start(const struct kthread_config *config);
/* The library must have nothing left; the tree goes. */
void sim_stop(void);

/* The monitor, which a first thread has started, has had its first look; without a source of events it has no other. */
void sim_calm(void);
/* The first thread of this process of that comm; 0 = none. */
pid_t sim_task(const char *name);

/* Files of the tree. sim_replace() makes a new one and renames it over the old: nobody sees it half written. */
void sim_put(const char *path, const char *text);
void sim_replace(const char *path, const char *text);
void sim_remove(const char *path);
const char *sim_list(unsigned int cpus);
/* The machine's online CPUs, in the tree and in the model. */
void sim_online(unsigned int cpus);

/* What the library says. */
unsigned int sim_cpus(enum kthread_cpus which);
unsigned int sim_mask(const struct kthread *k, enum kthread_mask which);
struct kthread_info sim_info(const struct kthread *k);

/* What the kernel says of a thread, and to give it another mask behind the library's back. */
unsigned int sim_kernel_mask(pid_t tid);
void sim_remask(pid_t tid, unsigned int cpus);
/* This machine has CPUs 0 and 1 for us, and no more than fit into a number. */
bool sim_two_cpus(void);

/* Wishes, as calls. */
int sim_bind(struct kthread *k, unsigned int cpus);
int sim_prefer(struct kthread *k, unsigned int cpus);
int sim_housekeeping(unsigned int cpus); /* and the model's, if it is accepted */

/* The model. */
unsigned int sim_usable(void);
unsigned int sim_effective(enum kthread_wish kind, unsigned int wish, bool *ret_broken);

/* All that can be asked about k's place is what the model says of this wish. */
#define assert_placed(k, kind, wish) sim_assert_placed((k), (kind), (wish), __FILE__, __LINE__)
void sim_assert_placed(const struct kthread *k, enum kthread_wish kind, unsigned int wish, const char *file, int line);

/* Messages since the start, of any level, that hold this text. */
int sim_logged(const char *text);
/* So often, and not more. Waits: what a look of the monitor's has to say comes after what it has done can be seen. */
#define assert_logged(text, times) \
	do { \
		AWAIT(sim_logged(text) >= (times)); \
		assert_int_equal(sim_logged(text), (times)); \
	} while (0)
/* For a config: counts messages for sim_logged(). */
void sim_log(int level, const char *message, void *arg);

static inline enum kthread_state state_of(const struct kthread *k)
{
	return sim_info(k).state;
}

#endif
