/* SPDX-License-Identifier: MIT */
/*
 * A job from its call to its end: errors, undo. How chunks are taken: chunk.c.
 *
 * Each piece is handed out from its front, chunk by chunk, by a number that only grows. So what has been done when
 * everybody has left is [0, taken) of each piece less the chunks that failed, of which each participant has one at most:
 * nothing has to be noted down for undo while all goes well.
 */
#include <errno.h>
#include <kthread/placement.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/options.h"
#include "base/probe.h"
#include "ktask/job.h"

/* How long a chunk should take, if the units are that small: for the end a moment, to hand one out a thousandth of it. */
#define CHUNK_NS 100000u
/* Work enough for a helper that sleeps, which comes a wake later; for each of several; and for one that looks already. */
#define WORTH_A_WAKE_NS 40000u
#define WORTH_ONE_MORE_NS 20000u
#define WORTH_AN_OFFER_NS 1000u
/* How long the caller looks before it sleeps until the last chunk is done. */
#define TAIL_NS 30000u
#define SEEN_PIECES 64u

/* What jobs need to know of the calling thread, without a system call. */
static _Thread_local struct {
	pid_t tid;
	unsigned int epoch; /* another one in a forked child */
	bool narrow;        /* as of its last job */
} caller __attribute__((tls_model("initial-exec")));

/* ---- a participant ----------------------------------------------------------------------------------------------- */

static void fail(struct kt_share *share, int error)
{
	struct kt_job *job = share->job;
	int none = 0;

	if (share->from < share->to) {
		/* Each participant fails once at most, so there is room. */
		const size_t at = atomic_fetch_add_explicit(&job->failure_count, 1, memory_order_relaxed);

		job->failures[at] = (struct kt_failure){share->piece, share->from, share->to, share->start, share->end};
	}
	atomic_compare_exchange_strong_explicit(&job->error, &none, error, memory_order_acq_rel, memory_order_relaxed);
}

void kt_share_abandon(struct kt_share *share)
{
	if (share->walking)
		kt_share_end_turn(share);
	fail(share, -ECANCELED);
}

/* By the caller, if there is anything new. */
static void report_progress(struct kt_job *job)
{
	size_t done;

	if (!job->ctl.progress || kt_forked_since(job->epoch))
		return;
	done = atomic_load_explicit(&job->done, memory_order_relaxed);
	if (done == job->reported)
		return;
	job->reported = done;
	job->ctl.progress(done, job->units, job->ctl.progress_arg);
}

static size_t helpers_worth(double ticks_left, double each)
{
	const double helpers = ticks_left / each;

	return helpers < 65536 ? (size_t)helpers : 65536;
}

/* Not at each chunk: only if there are news, or much more to do than it seemed the last time. */
static void recruit(struct kt_job *job, double ticks_left)
{
	const size_t helpers = kt_job_threads(job) - 1;
	const uint64_t news = kt_pool_news();
	const bool anew = news != job->news;
	size_t want = 0;

	if (anew) {
		job->news = news;
		job->tried = job->tried_hot = 0;
	}
	if (ticks_left >= (double)kt_ticks_of(WORTH_A_WAKE_NS))
		want = helpers_worth(ticks_left, (double)kt_ticks_of(WORTH_ONE_MORE_NS));
	else if (!kt_helpers_hot() && kt_cost_many_alone(ticks_left))
		want = 1;
	if ((want > helpers && want > 2 * job->tried) || (anew && helpers)) {
		if (kt_pool_recruit(job, want > helpers ? want - helpers : 0, false))
			job->tried = want;
		else
			job->news = 0;
		return;
	}
	want = helpers_worth(ticks_left, (double)kt_ticks_of(WORTH_AN_OFFER_NS));
	if (want > helpers && want > 2 * job->tried_hot && !job->tried && kt_helpers_hot()) {
		if (kt_pool_recruit(job, want - helpers, true))
			job->tried_hot = want;
	}
}

/* What is surely left: of thousands of pieces only the next ones are counted. */
static size_t units_left(const struct kt_share *share)
{
	struct kt_job *job = share->job;
	const size_t end = job->piece_count - share->far > SEEN_PIECES ? share->far + SEEN_PIECES : job->piece_count;
	size_t left = 0;

	for (size_t i = share->far; i < end; i++)
		left += kt_piece_left(&job->pieces[i]); /* the caller's first is 0 */
	return left;
}

static void callers_turn(struct kt_share *share)
{
	report_progress(share->job);
	if (kt_forked_since(share->job->epoch))
		return;
	/* what is left for all, as if one did it; where there is no room for helpers, those that there are have to go */
	if (share->recruits && (share->job->crew_count || !kt_pool_alone()))
		recruit(share->job, share->spent / share->worked * (double)units_left(share));
}

void kt_share_work(struct kt_share *share)
{
	struct kt_job *job = share->job;
	const uint64_t target = kt_ticks_of(CHUNK_NS);
	struct kthread *self = kthread_self(); /* one that was adopted by another: not counted */

	if (share->helper)
		share->first = share->helper->cpu % job->piece_count;
	share->ticks = kt_ticks();
	while (kt_share_take(share)) {
		const size_t units = share->to - share->from;
		uint64_t ticks, spent;
		int error;

		if (kt_forked_since(job->epoch)) /* by the iterator */
			return;
		error = job->ctl.fn(share->start, share->end, job->ctl.arg);
		KT_PROBE4(ktask_chunk, job->ctl.fn, share->start, share->end, error);
		if (kt_forked_since(job->epoch))
			return;
		if (self)
			kt_thread_count(&self->chunks, 1);
		if (error) {
			fail(share, error);
			return;
		}
		share->from = share->to;
		ticks = kt_ticks();
		spent = ticks > share->ticks ? ticks - share->ticks : 1;
		share->ticks = ticks;
		share->grain = kt_plan_grain(units, spent, target);
		share->spent += (double)spent;
		share->worked += (double)units;
		if (job->ctl.progress)
			atomic_fetch_add_explicit(&job->done, units, memory_order_relaxed);
		if (!share->helper)
			callers_turn(share);
		else if (atomic_load_explicit(&share->helper->ousted, memory_order_relaxed))
			return;
	}
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static unsigned int active(struct kt_job *job)
{
	return atomic_load_explicit(&job->active, memory_order_acquire) & ~JOB_WAITED; /* pairs with leave() */
}

/* Others may be waiting for a turn with an iterator, and who has it is the one to lend to. */
static const struct kt_piece *piece_with_turn(const struct kt_job *job)
{
	for (size_t i = 0; job->ctl.iter && i < job->piece_count; i++) {
		if (atomic_load_explicit(&job->pieces[i].turn, memory_order_relaxed))
			return &job->pieces[i];
	}
	return NULL;
}

static void await_helpers(struct kt_job *job)
{
	const uint64_t begin = kt_ticks(), patience = kt_ticks_of(TAIL_NS);
	struct kt_loan loan = KT_LOAN_INIT;

	kt_pool_revoke(job);
	while (active(job) && kt_ticks() - begin < patience)
		kt_spin(0);
	while (active(job) && !kt_forked_since(job->epoch)) {
		unsigned int now;

		kt_priority_lend(job, piece_with_turn(job), &loan);
		now = atomic_fetch_or_explicit(&job->active, JOB_WAITED, memory_order_acq_rel) | JOB_WAITED;
		if (now != JOB_WAITED)
			kt_loan_wait(&loan, &job->active, now);
		report_progress(job);
	}
}

/* In the order of what is undone; there are few. */
static void sort_failures(struct kt_job *job, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		const struct kt_failure failure = job->failures[i];
		size_t at = i;

		for (; at > 0; at--) {
			const struct kt_failure *other = &job->failures[at - 1];

			if (other->piece < failure.piece ||
			    (other->piece == failure.piece && other->from < failure.from))
				break;
			job->failures[at] = *other;
		}
		job->failures[at] = failure;
	}
}

static void undo_range(const struct kt_job *job, void *start, void *end)
{
	if (!kt_forked_since(job->epoch))
		job->ctl.undo(start, end, job->ctl.arg);
}

static void undo(struct kt_job *job)
{
	const size_t count = atomic_load_explicit(&job->failure_count, memory_order_relaxed);
	size_t next = 0;

	sort_failures(job, count);
	for (size_t i = 0; i < job->piece_count; i++) {
		const struct kt_piece *piece = &job->pieces[i];
		const size_t taken = atomic_load_explicit(&piece->taken, memory_order_relaxed);
		void *start = piece->given.start;
		size_t from = 0;

		for (; next < count && job->failures[next].piece == i; next++) {
			const struct kt_failure *failure = &job->failures[next];

			if (failure->from > from)
				undo_range(job, start, failure->start);
			from = failure->to;
			start = failure->end;
		}
		if (taken > from)
			undo_range(job, start, job->ctl.iter ? piece->position : kt_position(&piece->given, taken));
	}
}

static int finish(struct kt_share *share)
{
	struct kt_job *job = share->job;
	int error, cancelable;

	if (kt_forked_since(job->epoch))
		return -ECHILD;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable);
	if (job->crew_count)
		await_helpers(job);
	else
		kt_cost_note_alone(share);
	report_progress(job); /* of those who were done while nobody waited */
	error = atomic_load_explicit(&job->error, memory_order_relaxed);
	if (error && job->ctl.undo)
		undo(job);
	if (kt_forked_since(job->epoch)) {
		error = -ECHILD;
	} else {
		caller.narrow = job->narrow || atomic_load_explicit(&job->declined, memory_order_relaxed);
		if (share->worked > 0)
			kt_cost_remember(job->ctl.fn, share->spent / share->worked);
		kt_job_put(job);
	}
	pthread_setcancelstate(cancelable, NULL);
	return error;
}

/* The caller's thread ends in the client's function. */
static void abandon(void *arg)
{
	kt_share_abandon(arg);
	finish(arg);
}

/* ---- the beginning ------------------------------------------------------------------------------------------------ */

static void set_up(struct kt_job *job, const struct ktask_ctl *ctl, const struct ktask_node *nodes, size_t nr,
                   size_t units)
{
	job->ctl = *ctl;
	job->units = units;
	job->piece_count = nr;
	job->epoch = atomic_load_explicit(&kt_epoch, memory_order_relaxed);
	if (caller.tid == 0 || caller.epoch != job->epoch) {
		caller.tid = gettid();
		caller.epoch = job->epoch;
	}
	job->caller = caller.tid;
	job->narrow = caller.narrow;
	for (size_t i = 0; i < nr; i++) {
		struct kt_piece *piece = &job->pieces[i];

		atomic_init(&piece->taken, 0);
		atomic_init(&piece->turn, 0);
		piece->given = nodes[i];
		piece->position = nodes[i].start;
		piece->base = ctl->iter ? 0 : (uintptr_t)nodes[i].start % ctl->min_chunk;
	}
	atomic_store_explicit(&job->active, 0, memory_order_relaxed);
	atomic_store_explicit(&job->declined, false, memory_order_relaxed);
	atomic_store_explicit(&job->error, 0, memory_order_relaxed);
	atomic_store_explicit(&job->done, 0, memory_order_relaxed);
	atomic_store_explicit(&job->failure_count, 0, memory_order_relaxed);
	job->crew_count = 0;
	job->reported = 0;
	job->news = 0;
	job->tried = job->tried_hot = 0;
}

struct alone {
	const struct ktask_ctl *ctl;
	const struct ktask_node *nodes;
	size_t at; /* those before are done */
	unsigned int epoch;
};

static void *end_of(const struct ktask_ctl *ctl, const struct ktask_node *piece)
{
	return ctl->iter ? ctl->iter(piece->start, piece->size) : kt_position(piece, piece->size);
}

static void undo_alone(void *arg)
{
	const struct alone *alone = arg;
	int cancelable;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable);
	for (size_t i = 0; alone->ctl->undo && i < alone->at && !kt_forked_since(alone->epoch); i++) {
		const struct ktask_node *piece = &alone->nodes[i];

		if (piece->size)
			alone->ctl->undo(piece->start, end_of(alone->ctl, piece), alone->ctl->arg);
	}
	pthread_setcancelstate(cancelable, NULL);
}

static int work_alone(struct alone *alone, size_t nr, size_t units)
{
	const struct ktask_ctl *ctl = alone->ctl;
	size_t done = 0;

	while (alone->at < nr && !kt_forked_since(alone->epoch)) {
		const struct ktask_node *piece = &alone->nodes[alone->at];
		void *end;
		int error;

		if (piece->size) {
			end = end_of(ctl, piece);
			error = kt_forked_since(alone->epoch) ? 0 : ctl->fn(piece->start, end, ctl->arg);
			KT_PROBE4(ktask_chunk, ctl->fn, piece->start, end, error);
			if (error || kt_forked_since(alone->epoch))
				return error;
			done += piece->size;
		}
		alone->at++;
		if (piece->size && ctl->progress)
			ctl->progress(done, units, ctl->progress_arg);
	}
	return 0;
}

/* In the caller alone, each piece at once: nobody else could help, or there is no memory for it. */
static int run_alone(const struct ktask_ctl *ctl, const struct ktask_node *nodes, size_t nr, size_t units)
{
	struct alone alone = {ctl, nodes, 0, atomic_load_explicit(&kt_epoch, memory_order_relaxed)};
	int error;

	pthread_cleanup_push(undo_alone, &alone);
	error = work_alone(&alone, nr, units);
	pthread_cleanup_pop(0);
	if (error)
		undo_alone(&alone);
	return kt_forked_since(alone.epoch) ? -ECHILD : error;
}

/* The node whose pieces the caller takes first. */
static int node_here(void)
{
	unsigned int node;

	return !kt_config()->simulate && getcpu(NULL, &node) == 0 ? (int)node : KTHREAD_NO_NODE;
}

static int run(const struct ktask_ctl *ctl, const struct ktask_node *nodes, size_t nr, size_t units)
{
	struct kt_share share = {.node = KTHREAD_NO_NODE};
	double cost;

	share.job = units > ctl->min_chunk || nr > 1 ? kt_job_get(nr) : NULL;
	if (!share.job)
		return run_alone(ctl, nodes, nr, units);
	set_up(share.job, ctl, nodes, nr, units);
	if (nr > 1)
		share.node = node_here();
	pthread_cleanup_push(abandon, &share);
	cost = kt_cost_of(ctl->fn);
	/* A helper's nested job has no helpers: they would have to be recruited by one, see job.h. */
	share.recruits = ctl->max_threads != 1 && !kt_is_helper();
	if (share.recruits && !kt_pool_alone())
		recruit(share.job, cost < 0 ? 1e30 : cost * (double)units);
	kt_share_work(&share);
	pthread_cleanup_pop(0);
	return finish(&share);
}

static int check_nodes(const struct ktask_ctl *ctl, const struct ktask_node *nodes, size_t nr, size_t *ret_units)
{
	size_t units = 0;

	if (!nodes && nr)
		return -EINVAL;
	for (size_t i = 0; i < nr; i++) {
		if (nodes[i].nid < KTHREAD_NO_NODE)
			return -EINVAL;
		if (nodes[i].size > SIZE_MAX - units)
			return -EOVERFLOW;
		if (!ctl->iter && nodes[i].size > UINTPTR_MAX - (uintptr_t)nodes[i].start)
			return -EOVERFLOW;
		units += nodes[i].size;
	}
	*ret_units = units;
	return 0;
}

int ktask_run_numa(struct ktask_node *nodes, size_t nr, struct ktask_ctl *given)
{
	struct ktask_ctl ctl = KTASK_CTL_INIT(NULL, NULL, 0);
	size_t units = 0;
	int error = given ? kt_options_read(&ctl, sizeof(ctl), sizeof(ctl), given) : -EINVAL;

	if (!error && (!ctl.fn || ctl.min_chunk == 0))
		error = -EINVAL;
	if (!error)
		error = check_nodes(&ctl, nodes, nr, &units);
	if (!error)
		error = kt_library_watch();
	if (error || units == 0)
		return error;
	KT_PROBE3(ktask_begin, ctl.fn, units, nr);
	error = run(&ctl, nodes, nr, units);
	KT_PROBE2(ktask_end, ctl.fn, error);
	return error;
}

int ktask_run(void *start, size_t size, struct ktask_ctl *ctl)
{
	struct ktask_node piece = {start, size, KTHREAD_NO_NODE};

	return ktask_run_numa(&piece, 1, ctl);
}
