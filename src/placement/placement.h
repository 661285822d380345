/* SPDX-License-Identifier: MIT */
/*
 * What the rooms above may ask of placement.
 */
#ifndef KT_PLACEMENT_PLACEMENT_H
#define KT_PLACEMENT_PLACEMENT_H

#include "base/library.h"
#include "machine/view.h"
#include "placement/group.h"

extern const struct kt_room kt_placement_room;

/* Which threads' masks may the kernel have changed behind our back, beyond those whose effective mask changes? */
enum kt_doubt {
	KT_DOUBT_NONE,
	KT_DOUBT_TOUCHED, /* those whose CPUs are all among the touched ones: such a mask the kernel throws away */
	KT_DOUBT_CPUSET,  /* all: our cpuset was written to */
	KT_DOUBT_ALL      /* all: nobody says why */
};

/*
 * Look at the machine, decide, and tell the kernel; returns once that is done. touched (setsize bytes of the view) only
 * for KT_DOUBT_TOUCHED, with which the look is a brief one (machine/view.h), and a full one has to follow. *ret_settled:
 * false if the kernel refused a mask because the machine is changing at this very moment: look again soon. 0, -ENOMEM.
 * Looks, and admissions, are transitions (thread/standstill.h): the caller is in one.
 */
int kt_placement_look(enum kt_doubt doubt, const cpu_set_t *touched, bool *ret_settled);

/* Use these CPUs only (setsize bytes of the view; kt_view_renew_admitted(), which also has `cooperative`), and tell
 * the kernel. 0, -ENOMEM. *ret_settled as above, if anything had to be told. */
int kt_placement_admit(const cpu_set_t *admitted, bool cooperative, bool *ret_settled);

/*
 * A CPU is to be given up while it is still there. may_vacate(): -EDEADLK if the caller is one of those who would have to
 * park. vacate(): ask those bound to it alone, per-CPU threads and those that look at kthread_bound_should_stop(), to park,
 * oldest first, and wait until they have, or the deadline; from here on new ones park before they run. When the CPU is not
 * usable any more, or is again: vacated(). has_left(): 0 if the kernel lets no managed thread run there, -EPERM.
 */
int kt_place_may_vacate(unsigned int cpu);
void kt_place_vacate(unsigned int cpu, uint64_t deadline);
void kt_place_vacated(void);
int kt_place_has_left(unsigned int cpu);
void kt_place_vacate_forked(void);

/* The thread can be reached from now on: tell the kernel. KTHREAD_REASON_NONE: the same mask again. */
void kt_place_born(struct kthread *k, enum kthread_reason reason);
/* For a moment: k runs on this CPU, not where its wish says, until kt_place_born(k, KTHREAD_REASON_NONE), or something
 * happens to its own CPUs. 0; -errno: it stays where it is. */
int kt_place_visit(const struct kthread *k, unsigned int cpu);

/* From now on somebody looks without being asked; until then the public queries look for themselves. */
void kt_placement_watched(void);

/*
 * For the inspect room: a consistent copy of what is known of k's place; of the masks those that are not NULL, of setsize
 * bytes of the view; emptied if there is no such mask. False if it has none any more.
 */
struct kt_place_report {
	enum kthread_wish kind;
	int node;
	bool broken;
	enum kthread_reason last_reason;
	int last_error;
	uint64_t last_ns;
	uint64_t broken_since_ns;
	uint64_t broken_ns;
	uint64_t reaffines;
	uint64_t refusals;
	uint64_t refused[KT_REFUSALS]; /* of these */
};
struct kt_place_masks {
	cpu_set_t *wish, *effective, *from, *to;
};
bool kt_place_report(const struct kthread *k, struct kt_place_report *ret, const struct kt_place_masks *masks);

/* ---- inside the room ------------------------------------------------------------------------------------------- */

extern pthread_mutex_t kt_adopt_lock;
/* The look lock: looks, and changes of housekeeping, take turns. Order: adopt, look, placement, place. */
extern pthread_mutex_t kt_look_lock;

/* A place for k with this wish; k->place. 0, -ENOMEM. */
int kt_place_new(struct kthread *k, const struct kt_wish *wish);
/* Give k a new wish, and tell the kernel. 0, -EINVAL not placeable, -ESRCH ended, -ENOMEM (the old wish stays). */
int kt_place_wish(struct kthread *k, const struct kt_wish *wish);
/*
 * Bring a thread to where its group is. A broken one is told first, so that it may stop doing what must not be done
 * elsewhere; one that is whole again is moved first, so that it does not go on in the wrong place. sure: its mask has changed;
 * else the kernel is asked first. False: look again. (settle.c; the place's lock is held)
 */
bool kt_settle(struct kt_place *place, const struct kt_group *group, bool sure, enum kthread_reason reason,
               uint64_t now);
/* By the thread, with no lock held: set the mask that kt_settle() has left to it (own_due; its word then has W_PLACE_SELF). */
void kt_place_self(struct kthread *k);
/* Wait until what the thread sets itself is set, and note it down in its stead. The place's lock is held. */
void kt_place_await_own(struct kt_place *place, size_t setsize);
/* The same mask and answer again, where somebody has changed the reason for them. kt_placement_lock held. */
void kt_place_settle(struct kt_place *place);
/* k's place, with kt_placement_lock and its own lock held, at a moment when no decision is on its way to the kernel.
 * NULL with no lock held: it has none any more. */
struct kt_place *kt_place_lock(const struct kthread *k);
void kt_place_unlock(struct kt_place *place);
/* With the place's lock: is this thread parked, instead of left to run elsewhere, when its CPU goes? */
bool kt_place_parks(const struct kt_place *place, const struct kt_group *group);
/* ... and is it so because of the CPU that is being vacated? */
bool kt_place_leaves(const struct kt_place *place, const struct kt_group *group);
/* Leave the group; nobody touches the thread's mask afterwards. A second call does nothing. */
void kt_place_gone(struct kthread *k);
/* Make the kernel's view of every thread right after a view that may be new. look lock held. */
int kt_place_all(enum kt_doubt doubt, const cpu_set_t *touched, bool view_changed, enum kthread_reason reason,
                 bool *ret_settled);

/* By a thread: is it bound, and not where it should be (after a look, if it seems so)? */
bool kt_place_is_out_of_place(struct kthread *k);

extern const struct kt_thread_hooks kt_placement_hooks;
void kt_adopted_released(struct kthread *k);

/* The kernel's Cpus_allowed of a thread of this process, offline CPUs included. 0; -ESRCH; -ENOMEM; -errno of open(2) and
 * read(2), -ENOENT without a /proc; -EIO it is not there. */
int kt_actual_mask(pid_t tid, size_t setsize, cpu_set_t *set);
/* When a thread of this process started, in clock ticks since boot. The same errors. */
int kt_thread_start_time(pid_t tid, uint64_t *ret);
/* On which CPU it ran last, or runs. The same errors. */
int kt_thread_last_cpu(pid_t tid, uint64_t *ret);

/* A caller's mask as a wish's mask: view->setsize bytes, to be freed. NULL and errno: EINVAL (empty, or a CPU that is
 * not possible), ENOMEM. */
cpu_set_t *kt_wish_mask(const struct kt_view *view, size_t setsize, const cpu_set_t *set);
/* Copy a set of ours to a caller. -EINVAL if there is no room for every possible CPU: a caller whose sets are too small
 * for the machine shall hear of it at the first call, not when a high CPU turns up in one. */
int kt_copy_out(size_t have, const cpu_set_t *from, size_t setsize, cpu_set_t *to);

#endif
