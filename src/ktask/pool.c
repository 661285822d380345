/* SPDX-License-Identifier: MIT */
/*
 * The helpers of the process, who of them works for whom, and the memory of jobs.
 */
#include <kthread/placement.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "ktask/job.h"
#include "ktask/room.h"
#include "machine/cpumask.h"
#include "machine/topology.h"

static struct pool {
	pthread_mutex_t lock;      /* recruitment, the machine as it was seen for it, free jobs */
	struct kt_helper *helpers; /* one for each possible CPU */
	size_t count;
	uint64_t generation; /* of the view that what follows was made from */
	size_t setsize;
	cpu_set_t *base; /* usable housekeepers */
	cpu_set_t *own;  /* those of the caller's mask: scratch of a recruitment */
	size_t base_count;
	size_t quota;
	struct kt_plan_node *nodes;
	size_t node_count;
	struct kt_job *free_jobs;
	size_t job_count;
	_Atomic(struct kt_job *) spare; /* a free job that is had without the lock */
	atomic_uint_fast64_t alone_in;  /* the view that leaves no room for helpers; 0 = the last one does */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- the machine ------------------------------------------------------------------------------------------------ */

static size_t node_index(int number)
{
	size_t i = 0;

	while (i < pool.node_count && pool.nodes[i].number != number)
		i++;
	return i;
}

/* The lock is held, here and in all that follows up to recruit(). */
static void see_machine(void)
{
	struct kt_view *view;
	bool flat;

	if (pool.generation == kt_view_number())
		return;
	flat = kt_topology_is_flat();
	view = kt_view_get();
	kt_cpus_and(view->setsize, pool.base, view->set[KT_USABLE], view->set[KT_HOUSEKEEPING]);
	if (kt_cpus_empty(view->setsize, pool.base))
		kt_cpus_copy(view->setsize, pool.base, view->set[KT_USABLE]);
	pool.base_count = (size_t)CPU_COUNT_S(view->setsize, pool.base);
	pool.quota = view->quota;
	kt_helpers_limited(pool.quota > 0);
	pool.node_count = 0;
	for (size_t cpu = 0; cpu < pool.count; cpu++) {
		const int found = flat ? KTHREAD_NO_NODE : kt_topology_cpu_node(view, (unsigned int)cpu);
		const int number = found < 0 ? KTHREAD_NO_NODE : found;
		const size_t node = node_index(number);

		if (node == pool.node_count)
			pool.nodes[pool.node_count++] = (struct kt_plan_node){.number = number};
		pool.nodes[node].cpus += kt_cpus_test(view->setsize, pool.base, (unsigned int)cpu);
		pool.helpers[cpu].node = node;
	}
	pool.generation = view->generation;
	atomic_store_explicit(&pool.alone_in, kt_plan_share(pool.base_count) ? 0 : pool.generation,
	                      memory_order_relaxed);
	kt_view_put(view);
}

static void free_machine(void)
{
	free(pool.helpers);
	free(pool.nodes);
	free(pool.base);
	free(pool.own);
	pool.helpers = NULL;
	pool.nodes = NULL;
	pool.base = pool.own = NULL;
	pool.count = 0;
	pool.generation = 0;
	atomic_store_explicit(&pool.alone_in, 0, memory_order_relaxed);
}

static bool make_machine(void)
{
	struct kt_view *view;

	if (pool.helpers)
		return true;
	view = kt_view_get();
	pool.count = (size_t)kt_cpus_last(view->setsize, view->set[KT_POSSIBLE]) + 1;
	pool.setsize = view->setsize;
	kt_view_put(view);
	pool.helpers = aligned_alloc(_Alignof(struct kt_helper), pool.count * sizeof(*pool.helpers));
	pool.nodes = calloc(pool.count, sizeof(*pool.nodes));
	pool.base = malloc(pool.setsize);
	pool.own = malloc(pool.setsize);
	if (!pool.helpers || !pool.nodes || !pool.base || !pool.own) {
		free_machine();
		return false;
	}
	memset(pool.helpers, 0, pool.count * sizeof(*pool.helpers));
	for (size_t cpu = 0; cpu < pool.count; cpu++)
		pool.helpers[cpu].cpu = (unsigned int)cpu;
	kt_helpers_begin();
	see_machine();
	return true;
}

/* ---- the memory of jobs ----------------------------------------------------------------------------------------- */

static struct kt_job *job_new(void)
{
	struct kt_job *job;
	size_t size;

	if (!make_machine())
		return NULL;
	size = sizeof(*job) + pool.count * sizeof(job->crew[0]);
	size = (size + _Alignof(struct kt_job) - 1) / _Alignof(struct kt_job) * _Alignof(struct kt_job);
	job = aligned_alloc(_Alignof(struct kt_job), size);
	if (!job)
		return NULL;
	memset(job, 0, size);
	job->failures = calloc(pool.count + 1, sizeof(*job->failures));
	if (!job->failures) {
		free(job);
		return NULL;
	}
	pool.job_count++;
	return job;
}

static void job_free(struct kt_job *job)
{
	free(job->pieces);
	free(job->failures);
	free(job);
	pool.job_count--;
}

static bool make_room(struct kt_job *job, size_t pieces)
{
	struct kt_piece *room;

	if (pieces <= job->piece_room)
		return true;
	if (pieces > SIZE_MAX / sizeof(*room))
		return false;
	room = aligned_alloc(_Alignof(struct kt_piece), pieces * sizeof(*room));
	if (!room)
		return false;
	free(job->pieces);
	job->pieces = room;
	job->piece_room = pieces;
	return true;
}

struct kt_job *kt_job_get(size_t pieces)
{
	/* acquire: pairs with kt_job_put() */
	struct kt_job *job = atomic_exchange_explicit(&pool.spare, NULL, memory_order_acquire);

	if (!job) {
		kt_lock(&pool.lock);
		job = pool.free_jobs;
		if (job)
			pool.free_jobs = job->next;
		else
			job = job_new();
		kt_unlock(&pool.lock);
	}
	if (job && !make_room(job, pieces)) {
		kt_job_put(job);
		job = NULL;
	}
	return job;
}

void kt_job_put(struct kt_job *job)
{
	struct kt_job *none = NULL;

	if (atomic_compare_exchange_strong_explicit(&pool.spare, &none, job, memory_order_release,
	                                            memory_order_relaxed))
		return;
	kt_lock(&pool.lock);
	job->next = pool.free_jobs;
	pool.free_jobs = job;
	kt_unlock(&pool.lock);
}

bool kt_jobs_running(void)
{
	size_t idle;

	kt_lock(&pool.lock);
	idle = atomic_load_explicit(&pool.spare, memory_order_relaxed) != NULL;
	for (const struct kt_job *job = pool.free_jobs; job; job = job->next)
		idle++;
	idle = pool.job_count - idle;
	kt_unlock(&pool.lock);
	return idle > 0;
}

/* ---- recruitment ------------------------------------------------------------------------------------------------ */

bool kt_pool_alone(void)
{
	return atomic_load_explicit(&pool.alone_in, memory_order_relaxed) == kt_view_number();
}

uint64_t kt_pool_news(void)
{
	return kt_view_number() + kt_helpers_freed();
}

/* The CPUs that the caller may use, for its helpers. On a recorded machine its mask is of another one. */
static void see_caller(struct kt_job *job)
{
	job->narrow = false;
	if (!kt_config()->simulate) {
		kt_cpus_zero(pool.setsize, pool.own); /* the kernel writes no more than it has CPUs for */
		if (sched_getaffinity(0, pool.setsize, pool.own) == 0) {
			job->narrow = !kt_cpus_subset(pool.setsize, pool.base, pool.own);
			kt_cpus_and(pool.setsize, pool.own, pool.own, pool.base);
			return;
		}
	}
	kt_cpus_copy(pool.setsize, pool.own, pool.base);
}

/*
 * To ask the kernel for the caller's mask costs a small job more than the rest of its recruitment. So the first helper, if
 * it looks already, is offered the job at once, and asks itself, while the caller works; unless the mask was narrow the last
 * time. With its CPU and the caller's, the mask has two that helpers may use: enough for the one.
 */
static bool may_trust(const struct kt_job *job, size_t cpu)
{
	return job->crew_count == 0 && !job->narrow && kt_helpers_hot() > 0 && pool.setsize <= sizeof(cpu_set_t) &&
	       cpu < pool.count && kt_cpus_test(pool.setsize, pool.base, (unsigned int)cpu);
}

static bool is_free(unsigned int state)
{
	return kt_helper_kind(state) <= H_HOT;
}

static bool in_crew(const struct kt_recruit *recruit)
{
	const unsigned int state = kt_helper_state(recruit->helper), kind = kt_helper_kind(state);

	return (kind == H_OFFERED || kind == H_BUSY) && kt_helper_same(state, recruit->state);
}

/* The CPU the caller is on, which needs no helper; pool.count if it is none of this machine. */
static size_t caller_cpu(void)
{
	const int cpu = kt_config()->simulate ? -1 : sched_getcpu();

	return cpu >= 0 && (size_t)cpu < pool.count ? (size_t)cpu : pool.count;
}

/* The CPUs where one helper more might be, and the helpers at work, of each node; all those at work. */
static size_t see_helpers(size_t caller, bool hot_only)
{
	size_t busy = 0;

	for (size_t i = 0; i < pool.node_count; i++) {
		struct kt_plan_node *node = &pool.nodes[i];

		node->busy = node->seats = node->units = node->workers = 0;
	}
	for (size_t cpu = 0; cpu < pool.count; cpu++) {
		const struct kt_helper *helper = &pool.helpers[cpu];
		const unsigned int state = kt_helper_state(helper);
		struct kt_plan_node *node = &pool.nodes[helper->node];

		if (!is_free(state)) {
			node->busy++;
			busy++;
		} else if (cpu != caller && kt_cpus_test(pool.setsize, pool.own, (unsigned int)cpu) &&
		           (!hot_only || kt_helper_kind(state) == H_HOT)) {
			node->seats++;
		}
	}
	return busy;
}

/* Of the job: what is left and who works, by node. Its helpers; *ret_chunks: that are left, of least size. */
static size_t see_job(const struct kt_job *job, size_t home, size_t *ret_chunks)
{
	size_t mine = 0;

	*ret_chunks = 0;
	for (size_t i = 0; i < job->piece_count; i++) {
		const struct kt_piece *piece = &job->pieces[i];
		const size_t taken = atomic_load_explicit(&piece->taken, memory_order_relaxed);
		size_t node = node_index(piece->given.nid);

		if (node == pool.node_count || pool.nodes[node].number == KTHREAD_NO_NODE)
			node = home;
		pool.nodes[node].units += piece->given.size - taken;
		*ret_chunks += kt_plan_chunks(piece->base, taken, piece->given.size, job->ctl.min_chunk);
	}
	for (size_t i = 0; i < job->crew_count; i++) {
		if (in_crew(&job->crew[i])) {
			pool.nodes[job->crew[i].helper->node].workers++;
			mine++;
		}
	}
	pool.nodes[home].workers++;
	return mine;
}

/* Who is on a CPU that is not to be used any more goes, and who is beyond what the CPUs and the time that are left
 * allow. */
static void oust(const struct kt_job *job, size_t busy)
{
	for (size_t i = 0; i < job->crew_count; i++) {
		struct kt_helper *helper = job->crew[i].helper;
		const bool beyond = busy > kt_plan_most(pool.base_count, pool.quota) ||
		                    pool.nodes[helper->node].busy > kt_plan_share(pool.nodes[helper->node].cpus);

		if (!in_crew(&job->crew[i]) || (!beyond && kt_cpus_test(pool.setsize, pool.base, helper->cpu)))
			continue;
		atomic_store_explicit(&helper->ousted, true, memory_order_relaxed);
		busy--;
		pool.nodes[helper->node].busy--;
	}
}

/* Its last thread has not come to its end yet, which is not waited for: it may be starved. */
static bool is_ending(const struct kt_helper *helper, unsigned int state)
{
	return kt_helper_kind(state) == H_ABSENT && helper->thread && !(kt_word(&helper->thread->word) & W_EXITED);
}

/* The best free helper of the node: one that looks, one that sleeps, one that is to be made. */
static struct kt_helper *pick(size_t node, size_t caller, bool hot_only)
{
	struct kt_helper *best = NULL;
	unsigned int best_kind = 0;

	for (size_t cpu = 0; cpu < pool.count; cpu++) {
		struct kt_helper *helper = &pool.helpers[cpu];
		const unsigned int state = kt_helper_state(helper), kind = kt_helper_kind(state);

		if (helper->node != node || cpu == caller || !is_free(state) || (hot_only && kind != H_HOT) ||
		    !kt_cpus_test(pool.setsize, pool.own, (unsigned int)cpu) || is_ending(helper, state))
			continue;
		if (!best || kind > best_kind) {
			best = helper;
			best_kind = kind;
		}
	}
	return best;
}

/* It is free: nobody else claims, but it may fall asleep meanwhile. What it was. */
static unsigned int claim(struct kt_helper *helper)
{
	unsigned int state;

	do {
		state = kt_helper_state(helper);
	} while (!kt_helper_change(helper, state, (state & ~(unsigned int)H_KIND) + H_NUMBER + H_CLAIMED));
	return state;
}

/* Room for one more in the crew. It is as long as there are helpers, and some of them may be in it several times, as they
 * left and came again: then those that are not in the job any more are forgotten. The new one is not among the others. */
static struct kt_recruit *enlist(struct kt_job *job)
{
	if (job->crew_count == pool.count) {
		job->crew_count = 0;
		for (size_t i = 0; i < pool.count; i++) {
			if (in_crew(&job->crew[i]))
				job->crew[job->crew_count++] = job->crew[i];
		}
	}
	return &job->crew[job->crew_count++];
}

static bool offer(struct kt_job *job, struct kt_helper *helper, bool asks)
{
	const unsigned int state = claim(helper);
	const unsigned int claimed = (state & ~(unsigned int)H_KIND) + H_NUMBER + H_CLAIMED;
	struct kt_recruit *recruit;

	/* It may have become absent only after it was picked. */
	if (kt_helper_kind(state) == H_ABSENT && (is_ending(helper, state) || !kt_helper_make(helper, pool.setsize))) {
		atomic_store_explicit(&helper->state, claimed - H_CLAIMED, memory_order_release);
		return false;
	}
	recruit = enlist(job);
	*recruit = (struct kt_recruit){helper, claimed - H_CLAIMED + H_OFFERED};
	helper->job = job;
	helper->asks = asks;
	atomic_store_explicit(&helper->ousted, false, memory_order_relaxed);
	atomic_fetch_add_explicit(&job->active, 1, memory_order_relaxed);
	atomic_store_explicit(&helper->state, recruit->state, memory_order_release);
	if (kt_helper_kind(state) != H_HOT)
		kthread_wake(helper->thread);
	return true;
}

/* How many more it is to have, on the CPUs in pool.own. */
static size_t helpers_for(const struct kt_job *job, size_t want, size_t caller, size_t home, bool hot_only)
{
	struct kt_plan_limits limits = {.max_threads = job->ctl.max_threads};
	size_t more;

	limits.busy = see_helpers(caller, hot_only);
	limits.mine = see_job(job, home, &limits.chunks);
	limits.own_cpus = (size_t)CPU_COUNT_S(pool.setsize, pool.own);
	limits.cpus = pool.base_count;
	limits.quota = pool.quota;
	oust(job, limits.busy);
	more = kt_plan_helpers(&limits);
	return more < want ? more : want;
}

static void recruit_locked(struct kt_job *job, size_t want, bool hot_only)
{
	const size_t caller = caller_cpu();
	size_t home, more;
	bool trusting;

	see_machine();
	home = caller < pool.count ? pool.helpers[caller].node : 0;
	trusting = may_trust(job, caller);
	if (trusting)
		kt_cpus_copy(pool.setsize, pool.own, pool.base);
	else
		see_caller(job);
	more = helpers_for(job, want, caller, home, hot_only);
	while (more > 0) {
		const ssize_t node = kt_plan_node(pool.nodes, pool.node_count, home);
		struct kt_helper *helper = node < 0 ? NULL : pick((size_t)node, caller, hot_only || trusting);
		const bool offered = helper && offer(job, helper, trusting);

		if (offered) {
			pool.nodes[node].seats--;
			pool.nodes[node].busy++;
			pool.nodes[node].workers++;
			more--;
			want--;
		} else if (node >= 0) {
			pool.nodes[node].seats = 0; /* that is all there is, for now */
		}
		if (trusting && more > 0 && (offered || node < 0)) {
			trusting = false;
			see_caller(job);
			more = helpers_for(job, want, caller, home, hot_only);
		} else if (node < 0) {
			return;
		}
	}
}

bool kt_pool_recruit(struct kt_job *job, size_t want, bool hot_only)
{
	/* Not to wait for somebody who may be starved himself: there is work to do. */
	if (pthread_mutex_trylock(&pool.lock) != 0)
		return false;
	kt_log_hold();
	recruit_locked(job, want, hot_only);
	pthread_mutex_unlock(&pool.lock);
	kt_log_release();
	return true;
}

/* Who was woken for it looks for something else before it sleeps again: jobs may come often. */
void kt_pool_revoke(struct kt_job *job)
{
	for (size_t i = 0; i < job->crew_count; i++) {
		const struct kt_recruit *recruit = &job->crew[i];

		if (kt_helper_change(recruit->helper, recruit->state, recruit->state - H_OFFERED + H_HOT)) {
			atomic_fetch_sub_explicit(&job->active, 1, memory_order_relaxed);
			kt_helper_is_free();
		}
	}
}

/* ---- the library's life ----------------------------------------------------------------------------------------- */

static void quiet(void)
{
	for (size_t cpu = 0; cpu < pool.count; cpu++) {
		if (pool.helpers[cpu].thread)
			kt_thread_ask_to_stop(pool.helpers[cpu].thread);
	}
	/* The handles stay: a fork() may come at any moment. */
	for (size_t cpu = 0; cpu < pool.count; cpu++) {
		if (pool.helpers[cpu].thread)
			kthread_stop(kthread_get(pool.helpers[cpu].thread));
	}
}

static void free_jobs(void)
{
	struct kt_job *job = atomic_exchange_explicit(&pool.spare, NULL, memory_order_acquire);

	if (job)
		job_free(job);
	while ((job = pool.free_jobs)) {
		pool.free_jobs = job->next;
		job_free(job);
	}
}

static void stop(void)
{
	for (size_t cpu = 0; cpu < pool.count; cpu++) {
		if (pool.helpers[cpu].thread)
			kthread_stop(pool.helpers[cpu].thread);
	}
	free_jobs();
	free_machine();
	kt_costs_forget();
}

static void fork_prepare(void)
{
	kt_lock(&pool.lock);
}

static void fork_parent(void)
{
	kt_unlock(&pool.lock);
}

/* Jobs under way in the parent keep their memory here: the client's function may be about to return to one of them. */
static void fork_child(void)
{
	for (size_t cpu = 0; cpu < pool.count; cpu++)
		kthread_put(pool.helpers[cpu].thread);
	free_jobs();
	pool.job_count = 0;
	if (kt_is_helper())
		pool.helpers = NULL; /* it stands in one of them */
	kt_helpers_forget();
	free_machine();
	kt_unlock(&pool.lock);
}

const struct kt_room kt_ktask_room = {
    .name = "ktask",
    .quiet = quiet,
    .stop = stop,
    .fork_prepare = fork_prepare,
    .fork_parent = fork_parent,
    .fork_child = fork_child,
};
