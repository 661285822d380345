/* SPDX-License-Identifier: MIT */
/*
 * Threads of the same wish have the same effective mask: the decision is made once a wish, however many threads share
 * it. A group is one wish with what the rule makes of it now, and its threads.
 *
 * Locks: kt_placement_lock guards every group, the lists, and struct kt_place but for what its own lock guards. A
 * place's lock is taken while kt_placement_lock is held and kept while the kernel is told, after kt_placement_lock has
 * been released: so masks reach the kernel in the order in which they were decided, and nobody waits for more than one
 * system call. One that a thread makes for itself may take for ever, and is made with no lock held: see settle.c.
 */
#ifndef KT_PLACEMENT_GROUP_H
#define KT_PLACEMENT_GROUP_H

#include <pthread.h>
#include <sys/queue.h>

#include "placement/rule.h"
#include "thread/thread.h"

/* An effective mask: immutable, and shared by the group and by all that it was ever given to, who remember it. */
struct kt_mask {
	atomic_uint refs;
	unsigned long bits[]; /* setsize bytes */
};

static inline struct kt_mask *kt_mask_get(struct kt_mask *mask)
{
	if (mask)
		atomic_fetch_add_explicit(&mask->refs, 1, memory_order_relaxed);
	return mask;
}

void kt_mask_put(struct kt_mask *mask); /* NULL: nothing */

static inline const cpu_set_t *kt_mask_set(const struct kt_mask *mask)
{
	return (const cpu_set_t *)(const void *)mask->bits;
}

/* The errors of sched_setaffinity(2) that are counted one by one; any other counts in the sum only. */
enum kt_refusal { KT_EINVAL, KT_EPERM, KT_EACCES, KT_ENOMEM, KT_ESRCH, KT_ENOSYS, KT_REFUSALS };
extern const int kt_refusal_errno[KT_REFUSALS];

struct kt_group {
	struct kt_wish wish;
	struct kt_mask *mask;
	const cpu_set_t *effective; /* in it */
	bool broken;
	bool said_broken; /* as the log has it */
	bool doubt;       /* the kernel refused the mask for a thread: look again */
	/* A round of telling the kernel: due for members whose own number differs; a new one is begun by a look. */
	uint64_t round;
	enum kthread_reason reason; /* of this round */
	bool sure;       /* of this round: the mask has changed. Else only where the kernel has another one */
	bool all_online; /* every possible CPU: then sched_getaffinity() tells the whole mask */
	size_t users;    /* members, and whoever works on the group with the lock released */
	size_t setsize;
	TAILQ_HEAD(, kt_place) members; /* those due come first */
	LIST_ENTRY(kt_group) link;
};

/* placement's part of a thread */
struct kt_place {
	struct kthread *thread;
	struct kt_group *group;
	TAILQ_ENTRY(kt_place) link;
	uint64_t round;
	/* Of a bound kthread that finds itself elsewhere, and only its own: when to look at the machine again. */
	uint64_t look_at;
	uint64_t look_wait_ns;
	/* Of adopted threads. */
	cpu_set_t *came_with;  /* NULL = not known */
	uint64_t thread_start; /* tells the thread from a later one with its tid */
	pthread_mutex_t lock;  /* guards all that follows, and the order of masks on their way to the kernel */
	bool born;             /* its tid may be used */
	bool ended;            /* adopted, and found gone */
	bool broken;
	enum kthread_reason last_reason;
	int last_error;
	uint64_t last_ns;
	uint64_t broken_since_ns;
	uint64_t broken_ns; /* of former times */
	uint64_t reaffines;
	uint64_t refusals;
	uint64_t *refused; /* [KT_REFUSALS], from the first one on; NULL also for want of memory */
	/* Of one that sets its mask itself, with no lock held (kt_place_self()). */
	bool own_due; /* it is to */
	enum kthread_reason own_reason;
	struct kt_mask *own;  /* what it is setting, and has not noted down yet; held by the thread */
	atomic_bool own_done; /* the kernel has answered */
	int own_error;        /* that: 0 or an errno */
	struct kt_mask *from; /* what the kernel had taken, before `to`; NULL = not known */
	struct kt_mask *to;   /* what it was given last */
};

extern pthread_mutex_t kt_placement_lock;
LIST_HEAD(kt_groups, kt_group);
extern struct kt_groups kt_groups;

/*
 * The group of this wish, made if need be, with one user more. wish->mask is copied, of view->setsize bytes.
 * ERRORS: NULL for want of memory. ASSUMPTIONS: kt_placement_lock is held; the view is the current one.
 */
struct kt_group *kt_group_get(const struct kt_wish *wish, const struct kt_view *view);
void kt_group_put(struct kt_group *group);

/* Apply the rule anew. True if effective or broken changed. ERRORS: -ENOMEM (nothing has changed). */
int kt_group_decide(struct kt_group *group, const struct kt_view *view, cpu_set_t *scratch, bool *ret_changed);

/* Move a place into a group (from none, or from its old one, which loses a user). The group's user becomes its. */
void kt_group_enter(struct kt_group *group, struct kt_place *place);
void kt_group_leave(struct kt_place *place);

#endif
