/* SPDX-License-Identifier: MIT */
/*
 * Taking the next chunk of a job: from the front of a piece, by a number that only grows, or by a turn with its iterator.
 */
#include "ktask/job.h"

/* Near pieces first, then the others, each helper from a place of its own. What is empty stays so. */
static struct kt_piece *find_work(struct kt_share *share)
{
	struct kt_job *job = share->job;
	const size_t count = job->piece_count;

	for (; share->near < count; share->near++) {
		struct kt_piece *piece = &job->pieces[share->near];

		if (piece->given.nid == share->node && kt_piece_left(piece))
			return piece;
	}
	for (; share->far < count; share->far++) {
		const size_t at =
		    share->first < count - share->far ? share->first + share->far : share->first - (count - share->far);

		if (kt_piece_left(&job->pieces[at]))
			return &job->pieces[at];
	}
	return NULL;
}

static size_t end_of_chunk(struct kt_share *share, const struct kt_piece *piece, size_t from)
{
	const size_t min_chunk = share->job->ctl.min_chunk, size = piece->given.size;
	const size_t want = kt_plan_want(size - from, kt_job_threads(share->job), share->grain, min_chunk);

	return kt_plan_end(piece->base, size, from, want, min_chunk);
}

static bool take_range(struct kt_share *share, struct kt_piece *piece)
{
	size_t from = atomic_load_explicit(&piece->taken, memory_order_relaxed), to;

	do {
		if (from == piece->given.size)
			return false;
		to = end_of_chunk(share, piece, from);
		/* relaxed: the offer has handed over all there is to know of the piece */
	} while (!atomic_compare_exchange_weak_explicit(&piece->taken, &from, to, memory_order_relaxed,
	                                                memory_order_relaxed));
	share->from = from;
	share->to = to;
	share->start = kt_position(&piece->given, from);
	share->end = kt_position(&piece->given, to);
	return true;
}

/* A helper that has the turn may be starved at its low priority, while the caller can only wait. */
static void await_turn(struct kt_share *share, struct kt_piece *piece, unsigned int mine)
{
	struct kt_loan loan = KT_LOAN_INIT;

	for (;;) {
		unsigned int seen = 0;

		/* others may sleep still */
		if (atomic_compare_exchange_strong_explicit(&piece->turn, &seen, mine | TURN_AWAITED,
		                                            memory_order_acquire, memory_order_relaxed))
			return;
		if (!(seen & TURN_AWAITED) &&
		    !atomic_compare_exchange_strong_explicit(&piece->turn, &seen, seen | TURN_AWAITED,
		                                             memory_order_relaxed, memory_order_relaxed))
			continue;
		seen |= TURN_AWAITED;
		if (share->helper)
			kt_futex_wait(&piece->turn, seen, KT_FUTEX_ALL, KT_NEVER);
		else if (kt_loan_wait(&loan, &piece->turn, seen))
			kt_priority_lend(share->job, piece, &loan);
	}
}

/* Whose turn it is to move an iterator on: a lock that is no lock of the library's, as the client's function is called. */
static void begin_turn(struct kt_share *share, struct kt_piece *piece)
{
	const unsigned int mine = kt_turn_of(share->helper);
	unsigned int nobody = 0;

	if (!atomic_compare_exchange_strong_explicit(&piece->turn, &nobody, mine, memory_order_acquire,
	                                             memory_order_relaxed))
		await_turn(share, piece, mine);
	share->walking = true;
}

void kt_share_end_turn(struct kt_share *share)
{
	struct kt_piece *piece = &share->job->pieces[share->piece];

	share->walking = false;
	/* before kt_helper_settle(): who lends after that finds that the turn is over */
	if (atomic_exchange_explicit(&piece->turn, 0, memory_order_release) & TURN_AWAITED)
		kt_futex_wake(&piece->turn, 1, KT_FUTEX_ALL);
	if (share->helper &&
	    !kt_forked_since(share->job->epoch)) /* else there is nobody who could have lent it anything */
		kt_helper_settle(share->helper);
}

/* Nothing more is to be begun. */
static bool is_over(const struct kt_job *job)
{
	return atomic_load_explicit(&job->error, memory_order_acquire) || kt_forked_since(job->epoch);
}

/* Either the wait for the turn or the client's iterator may take long: what has not been taken before an error stays. */
static bool take_walk(struct kt_share *share, struct kt_piece *piece)
{
	bool taken = false;
	size_t from;

	begin_turn(share, piece);
	from = atomic_load_explicit(&piece->taken, memory_order_relaxed);
	if (from < piece->given.size && !is_over(share->job)) {
		const size_t to = end_of_chunk(share, piece, from);
		void *end = share->job->ctl.iter(piece->position, to - from);

		taken = !is_over(share->job);
		if (taken) {
			share->start = piece->position;
			share->end = piece->position = end;
			share->from = from;
			share->to = to;
			atomic_store_explicit(&piece->taken, to, memory_order_relaxed);
		}
	}
	kt_share_end_turn(share);
	return taken;
}

bool kt_share_take(struct kt_share *share)
{
	struct kt_job *job = share->job;
	struct kt_piece *piece;

	while (!is_over(job) && (piece = find_work(share))) {
		share->piece = (size_t)(piece - job->pieces);
		if (job->ctl.iter ? take_walk(share, piece) : take_range(share, piece))
			return true;
	}
	return false;
}
