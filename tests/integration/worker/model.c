/* SPDX-License-Identifier: MIT */
/*
 * Workers in lockstep with a model of them: random operations from several threads, from within works, and on the
 * workers themselves; works run only as far as the test lets them. An independent model, which knows nothing of locks,
 * says each answer, which work begins when, which calls return, and which must not yet.
 *
 * One run per seed. When something is not as the model says, all steps are printed, and the seed.
 * KTHREAD_MODEL_SEED=N in the environment plays only that one, KTHREAD_MODEL_SEEDS=N so many.
 */
#include "works.h"

enum { WORKERS = 3, WORKS = 6, CALLERS = 5, STEPS = 60, QUEUE = 64, NOBODY = -1 };

/* ---- the real thing ------------------------------------------------------------------------------------------------ */

enum op {
	QUEUE_WORK,
	DELAY,
	MOD_NOW,
	MOD_LATE,
	FLUSH_WORK,
	FLUSH_WORKER,
	CANCEL,
	PARK,
	FREEZE,
	STOP,
	DESTROY,
	END,
	OPS
};
static const char *const op_names[OPS] = {"queue",  "delay", "mod now", "mod late", "flush work", "flush worker",
                                          "cancel", "park",  "freeze",  "stop",     "destroy",    "end"};

/* Somebody who calls: a thread of the test, or a work that runs. */
struct agent {
	pthread_t thread;
	_Atomic pid_t tid;
	struct kthread_completion go;
	enum op op;
	int worker, work;
	struct kthread_worker *w;
	bool over;
	long answer;
	atomic_bool done;
};

static struct kthread_worker *workers[WORKERS];
static struct kthread *_Atomic threads[WORKERS];
static struct agent callers[CALLERS];
static struct agent inside[WORKERS]; /* the work that runs there */

static struct item {
	struct kthread_delayed_work dwork;
	atomic_int inside;
} items[WORKS];

static atomic_int running[WORKERS]; /* the number of the work, or NOBODY */
static atomic_uint begun[WORKERS];  /* how many have, since the worker was made */

static long perform(const struct agent *agent)
{
	struct kthread_worker *w = agent->w;
	struct kthread_delayed_work *dwork = &items[agent->work].dwork;
	struct kthread *k;
	long answer;

	switch (agent->op) {
	case QUEUE_WORK:
		return kthread_queue_work(w, &dwork->work);
	case DELAY:
		return kthread_queue_delayed_work(w, dwork, HOUR);
	case MOD_NOW:
		return kthread_mod_delayed_work(w, dwork, 0);
	case MOD_LATE:
		return kthread_mod_delayed_work(w, dwork, 2 * HOUR);
	case FLUSH_WORK:
		kthread_flush_work(&dwork->work);
		return 0;
	case FLUSH_WORKER:
		kthread_flush_worker(w);
		return 0;
	case CANCEL:
		return kthread_cancel_delayed_work_sync(dwork);
	case PARK:
		/* it may be destroyed meanwhile */
		k = kthread_get(kthread_worker_thread(w));
		answer = kthread_park(k);
		kthread_put(k);
		return answer;
	case FREEZE:
		return kthread_freeze_all(AWAIT_LIMIT_NS);
	case STOP:
		return kthread_stop(kthread_get(kthread_worker_thread(w)));
	case DESTROY:
		kthread_destroy_worker(w);
		return 0;
	default:
		return 0;
	}
}

static void serve(struct agent *agent)
{
	for (;;) {
		kthread_wait_for_completion(&agent->go);
		if (agent->over || agent->op == END)
			return;
		agent->answer = perform(agent);
		atomic_store(&agent->done, true);
	}
}

static void *caller_fn(void *data)
{
	struct agent *agent = data;

	atomic_store(&agent->tid, gettid());
	serve(agent);
	return NULL;
}

static void item_fn(struct kthread_work *work)
{
	struct item *item = (struct item *)work;
	int w = 0;

	while (atomic_load(&threads[w]) != kthread_self())
		w++;
	CHECK(atomic_fetch_add(&item->inside, 1) == 0);
	CHECK(atomic_exchange(&running[w], (int)(item - items)) == NOBODY);
	atomic_fetch_add(&begun[w], 1);
	serve(&inside[w]);
	CHECK(atomic_fetch_sub(&item->inside, 1) == 1);
	atomic_store(&running[w], NOBODY);
}

static enum kthread_state state_of(const struct kthread *k)
{
	struct kthread_info info = {.size = sizeof(info)};

	CHECK(kthread_info(k, &info) == 0);
	return info.state;
}

/* ---- the model ----------------------------------------------------------------------------------------------------- */

/* In the queue of a worker: a work, or who waits for all before him. */
struct entry {
	int work;
	struct agent *waits;
};

static struct {
	struct model_worker {
		struct entry queue[QUEUE];
		int length;
		int running;
		unsigned int begun;
		bool freezable, parked, park_asked, frozen, stopping, closed, ended;
		struct agent *parker;
		struct agent *stoppers[CALLERS];
		int stopper_count;
	} workers[WORKERS];
	struct model_work {
		bool pending, delayed;
		int owner; /* where it is pending */
		int runs_on;
		int cancellers;
	} works[WORKS];
	struct outstanding {
		bool busy; /* a call that must not return yet */
		int canceller_of;
	} callers[CALLERS], inside[WORKERS];
	struct agent *freezer;
	bool freeze;
} m;

static struct outstanding *of(const struct agent *agent)
{
	return agent >= callers && agent < callers + CALLERS ? &m.callers[agent - callers] : &m.inside[agent - inside];
}

static void returns(struct agent *agent)
{
	struct outstanding *call = of(agent);

	if (call->canceller_of != NOBODY)
		m.works[call->canceller_of].cancellers--;
	call->busy = false;
	call->canceller_of = NOBODY;
	AWAIT(atomic_load(&agent->done));
}

static void insert(struct model_worker *w, int at, struct entry entry)
{
	CHECK(w->length < QUEUE);
	memmove(&w->queue[at + 1], &w->queue[at], (size_t)(w->length - at) * sizeof(entry));
	w->queue[at] = entry;
	w->length++;
}

static void take(struct model_worker *w, int at)
{
	w->length--;
	memmove(&w->queue[at], &w->queue[at + 1], (size_t)(w->length - at) * sizeof(w->queue[0]));
}

static int position(const struct model_worker *w, int work)
{
	int at = 0;

	while (at < w->length && (w->queue[at].waits || w->queue[at].work != work))
		at++;
	CHECK(at < w->length);
	return at;
}

static void model_close(int number)
{
	m.workers[number].closed = true;
	for (int i = 0; i < WORKS; i++) {
		if (m.works[i].pending && m.works[i].delayed && m.works[i].owner == number)
			m.works[i].pending = m.works[i].delayed = false;
	}
}

static void freeze_is_complete(void)
{
	for (int i = 0; i < WORKERS; i++) {
		const struct model_worker *w = &m.workers[i];

		if (w->freezable && !w->ended && !w->frozen && !w->parked)
			return;
	}
	if (m.freezer) {
		struct agent *freezer = m.freezer;

		m.freezer = NULL;
		returns(freezer);
		CHECK(freezer->answer == 0);
	}
}

/* Between two works, as far as it gets by itself. */
static void advance(int number)
{
	struct model_worker *w = &m.workers[number];

	while (w->running == NOBODY && !w->ended) {
		if (w->stopping)
			model_close(number);
		if (w->length && w->queue[0].waits) {
			/* also before it stands still, unless it does so already */
			if (w->parked || w->frozen)
				break;
			returns(w->queue[0].waits);
			take(w, 0);
			continue;
		}
		if (w->park_asked && !w->stopping) {
			w->parked = true;
			if (w->parker) {
				struct agent *parker = w->parker;

				w->parker = NULL;
				returns(parker);
				CHECK(parker->answer == 0);
			}
			break;
		}
		if (m.freeze && w->freezable && !w->stopping) {
			w->frozen = true;
			break;
		}
		if (!w->length) {
			w->ended = w->stopping;
			for (int i = 0; w->ended && i < w->stopper_count; i++)
				returns(w->stoppers[i]);
			if (w->ended && w->parker) {
				struct agent *parker = w->parker;

				w->parker = NULL;
				returns(parker);
				CHECK(parker->answer == -ENOSYS);
			}
			break;
		}
		w->running = w->queue[0].work;
		w->begun++;
		m.works[w->running].pending = false;
		m.works[w->running].runs_on = number;
		take(w, 0);
	}
	freeze_is_complete();
}

static bool model_queue(int number, int work, bool delayed)
{
	struct model_work *x = &m.works[work];

	if (x->pending || x->cancellers)
		return false;
	if (x->runs_on != NOBODY)
		number = x->runs_on;
	if (m.workers[number].closed)
		return false;
	x->pending = true;
	x->delayed = delayed;
	x->owner = number;
	if (!delayed)
		insert(&m.workers[number], m.workers[number].length, (struct entry){.work = work});
	return true;
}

static void model_remove(int work)
{
	struct model_work *x = &m.works[work];

	if (!x->delayed)
		take(&m.workers[x->owner], position(&m.workers[x->owner], work));
	x->pending = x->delayed = false;
}

static bool model_mod(int number, int work, bool late)
{
	struct model_work *x = &m.works[work];

	if (x->cancellers)
		return true;
	if (!x->pending) {
		model_queue(number, work, late);
		return false;
	}
	number = x->owner;
	if (!m.workers[number].closed) {
		model_remove(work);
		model_queue(number, work, late);
		CHECK(x->owner == number);
	}
	return true;
}

/* The answer; *blocks: not yet. Whoever acts is either a caller (self NOBODY) or in a work on worker self. */
static long model_perform(struct agent *agent, int self, bool *blocks)
{
	struct model_worker *w = &m.workers[agent->worker];
	struct model_work *x = &m.works[agent->work];
	const struct entry waiter = {.work = NOBODY, .waits = agent};
	bool answer = false;

	*blocks = false;
	switch (agent->op) {
	case QUEUE_WORK:
	case DELAY:
		return model_queue(agent->worker, agent->work, agent->op == DELAY);
	case MOD_NOW:
	case MOD_LATE:
		return model_mod(agent->worker, agent->work, agent->op == MOD_LATE);
	case FLUSH_WORK:
		if (x->pending && x->delayed)
			return 0;
		if (x->pending && x->owner != self) {
			w = &m.workers[x->owner];
			insert(w, position(w, agent->work) + 1, waiter);
			*blocks = true;
		} else if (!x->pending && x->runs_on != NOBODY && x->runs_on != self) {
			insert(&m.workers[x->runs_on], 0, waiter);
			*blocks = true;
		}
		return 0;
	case FLUSH_WORKER:
		if (agent->worker != self && (w->length || w->running != NOBODY)) {
			insert(w, w->length, waiter);
			*blocks = true;
		}
		return 0;
	case CANCEL:
		answer = x->pending;
		if (x->pending)
			model_remove(agent->work);
		if (x->runs_on != NOBODY && x->runs_on != self) {
			insert(&m.workers[x->runs_on], 0, waiter);
			x->cancellers++;
			of(agent)->canceller_of = agent->work;
			*blocks = true;
		}
		return answer;
	case PARK:
		w->park_asked = true;
		w->parker = agent;
		*blocks = true;
		return 0;
	case FREEZE:
		m.freeze = true;
		m.freezer = agent;
		*blocks = true;
		return 0;
	case DESTROY:
		model_close(agent->worker);
		/* fall through */
	default:
		w->stopping = true;
		w->parked = w->park_asked = w->frozen = false;
		w->stoppers[w->stopper_count++] = agent;
		*blocks = true;
		return 0;
	}
}

/* ---- both ---------------------------------------------------------------------------------------------------------- */

static unsigned int random_state;
static unsigned int seed;
static char journal[16384];
static unsigned long calls_made, calls_blocked;

static void note(const char *format, ...)
{
	const size_t length = strlen(journal);
	va_list args;

	va_start(args, format);
	vsnprintf(journal + length, sizeof(journal) - length, format, args);
	va_end(args);
}

static unsigned int draw(unsigned int below)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (random_state >> 8) % below;
}

static void check_outstanding(const struct outstanding *call, const struct agent *agent)
{
	if (call->busy)
		CHECK(!atomic_load(&agent->done));
}

static void check_all(void)
{
	for (int i = 0; i < WORKERS; i++) {
		const struct model_worker *w = &m.workers[i];

		AWAIT(atomic_load(&begun[i]) == w->begun);
		AWAIT(atomic_load(&running[i]) == w->running);
		check_outstanding(&m.inside[i], &inside[i]);
	}
	for (int i = 0; i < CALLERS; i++)
		check_outstanding(&m.callers[i], &callers[i]);
}

static void advance_all(void)
{
	for (int i = 0; i < WORKERS; i++)
		advance(i);
	check_all();
}

static void settle(pid_t tid, const atomic_bool *done)
{
	/* not await_settled(): it may return because of what happens meanwhile, which check_all() then finds */
	AWAIT(task_asleep(tid) || atomic_load(done));
}

static void act(struct agent *agent, int self, enum op op, int worker, int work)
{
	struct outstanding *call = of(agent);
	long answer;
	bool blocks;

	agent->op = op;
	agent->worker = worker;
	agent->w = workers[worker];
	agent->work = work;
	note("%s %d: %s, worker %d, work %d\n", self == NOBODY ? "caller" : "work on",
	     self == NOBODY ? (int)(agent - callers) : self, op_names[op], worker, work);
	atomic_store(&agent->done, false);
	call->canceller_of = NOBODY;
	answer = model_perform(agent, self, &blocks);
	call->busy = blocks;
	calls_made++;
	calls_blocked += blocks;
	kthread_complete(&agent->go);
	if (!blocks) {
		AWAIT(atomic_load(&agent->done));
		CHECK(agent->answer == answer);
	} else {
		settle(self == NOBODY ? agent->tid : kthread_tid(atomic_load(&threads[self])), &agent->done);
	}
	advance_all();
	if (!call->busy)
		CHECK(agent->answer == answer || op == STOP || op == PARK);
}

static void end_of_work(int number)
{
	struct model_worker *w = &m.workers[number];

	note("work %d on %d ends\n", w->running, number);
	inside[number].op = END;
	m.works[w->running].runs_on = NOBODY;
	w->running = NOBODY;
	kthread_complete(&inside[number].go);
	advance_all();
}

static void unpark(int number)
{
	struct model_worker *w = &m.workers[number];

	note("unpark %d\n", number);
	if (w->parked) {
		w->parked = w->park_asked = false;
		w->frozen = m.freeze && w->freezable;
	}
	kthread_unpark(kthread_worker_thread(workers[number]));
	advance_all();
}

static void thaw(void)
{
	note("thaw\n");
	m.freeze = false;
	for (int i = 0; i < WORKERS; i++)
		m.workers[i].frozen = false;
	kthread_thaw_all();
	advance_all();
}

static void make_worker(int number)
{
	m.workers[number] = (struct model_worker){.running = NOBODY, .freezable = number != 1};
	atomic_store(&running[number], NOBODY);
	atomic_store(&begun[number], 0);
	kthread_init_completion(&inside[number].go);
	workers[number] = kthread_create_worker(number != 1 ? KTHREAD_WORKER_FREEZABLE : 0, "model/%d", number);
	CHECK(workers[number]);
	atomic_store(&threads[number], kthread_worker_thread(workers[number]));
	kthread_wake(kthread_worker_thread(workers[number]));
	m.workers[number].frozen = m.freeze && m.workers[number].freezable;
	AWAIT(state_of(kthread_worker_thread(workers[number])) ==
	      (m.workers[number].frozen ? KTHREAD_FROZEN : KTHREAD_WAITING));
}

static struct agent *free_caller(void)
{
	for (int i = 0; i < CALLERS; i++) {
		if (!m.callers[i].busy)
			return &callers[i];
	}
	return NULL;
}

/* Nothing that the contract leaves open, and nothing that waits for itself. */
static bool sensible(enum op op, int number)
{
	const struct model_worker *w = &m.workers[number];

	switch (op) {
	case PARK: /* of one that freezes: when it is granted depends */
		return !w->park_asked && !w->stopping && !(m.freeze && w->freezable);
	case FREEZE:
		for (int i = 0; i < WORKERS; i++) {
			if (m.workers[i].park_asked && !m.workers[i].parked)
				return false;
			if (m.workers[i].stopping && !m.workers[i].ended)
				return false;
			if (m.inside[i].busy) /* perhaps for one that freezes */
				return false;
		}
		return !m.freeze;
	case STOP:
	case DESTROY:
		return !w->stopping && !m.freezer;
	default:
		return true;
	}
}

static void one_step(void)
{
	const unsigned int dice = draw(100);
	const int number = (int)draw(WORKERS);
	struct model_worker *w = &m.workers[number];
	struct agent *agent;

	if (dice < 25) {
		if (w->running != NOBODY && !m.inside[number].busy)
			end_of_work(number);
	} else if (dice < 30) {
		if (w->parked)
			unpark(number);
	} else if (dice < 34) {
		if (m.freeze && !m.freezer)
			thaw();
	} else if (dice < 50) { /* within a work; what waits, only for a worker with a higher number */
		const enum op op = (enum op)draw(CANCEL + 1);
		const int work = (int)draw(WORKS);
		const struct model_work *x = &m.works[work];
		const int waits_for = op == FLUSH_WORKER               ? (int)draw(WORKERS)
		                      : op == FLUSH_WORK && x->pending ? x->owner
		                      : op >= FLUSH_WORK               ? x->runs_on
		                                                       : NOBODY;

		if (w->running == NOBODY || m.inside[number].busy)
			return;
		if (waits_for != NOBODY && waits_for != number && (waits_for < number || m.freeze))
			return;
		act(&inside[number], number, op, op == FLUSH_WORKER ? waits_for : (int)draw(WORKERS), work);
	} else {
		const enum op op = dice < 94 ? (enum op)draw(CANCEL + 1) : (enum op)(PARK + draw(4));

		agent = free_caller();
		if (agent && sensible(op, number) && !(op == DESTROY && w->stopping))
			act(agent, NOBODY, op, number, (int)draw(WORKS));
	}
	/* one that has been destroyed, or stopped and then destroyed, is followed by a new one */
	for (int i = 0; i < WORKERS; i++) {
		if (m.workers[i].ended) {
			const struct agent *stopper = m.workers[i].stoppers[0];

			if (stopper->op == STOP || stopper->worker != i)
				kthread_destroy_worker(workers[i]);
			make_worker(i);
		}
	}
}

static bool anything_left(void)
{
	for (int i = 0; i < WORKERS; i++) {
		if (m.workers[i].running != NOBODY || m.workers[i].length || m.workers[i].parked)
			return true;
	}
	return m.freeze;
}

static void play(unsigned int number)
{
	unsigned int rounds = 0;

	seed = number;
	journal[0] = '\0';
	random_state = number * 2654435761u + 1;
	memset(&m, 0, sizeof(m));
	for (int i = 0; i < CALLERS; i++)
		m.callers[i].canceller_of = NOBODY;
	for (int i = 0; i < WORKERS; i++)
		m.inside[i].canceller_of = NOBODY;
	for (int i = 0; i < WORKS; i++) {
		m.works[i].runs_on = NOBODY;
		kthread_init_delayed_work(&items[i].dwork, item_fn);
	}
	for (int i = 0; i < WORKERS; i++)
		make_worker(i);
	for (int i = 0; i < STEPS; i++)
		one_step();
	/* all that is left, to its end */
	while (anything_left()) {
		CHECK(rounds++ < 1000);
		for (int i = 0; i < WORKERS; i++) {
			if (m.workers[i].parked)
				unpark(i);
			if (m.workers[i].running != NOBODY && !m.inside[i].busy)
				end_of_work(i);
		}
		if (m.freeze && !m.freezer)
			thaw();
	}
	for (int i = 0; i < WORKS; i++)
		CHECK(kthread_cancel_delayed_work_sync(&items[i].dwork) == m.works[i].pending);
	for (int i = 0; i < CALLERS; i++)
		CHECK(!m.callers[i].busy);
	for (int i = 0; i < WORKERS; i++) {
		if (!m.workers[i].ended || m.workers[i].stoppers[0]->op == STOP)
			kthread_destroy_worker(workers[i]);
	}
}

static void say_seed(int signal)
{
	char text[64];
	const int length = snprintf(text, sizeof(text), "KTHREAD_MODEL_SEED=%u\n", seed);

	(void)!write(2, journal, strlen(journal));
	(void)!write(2, text, (size_t)length);
	(void)signal;
}

static void model__says_what_happens(void **state)
{
	const struct sigaction aborted = {.sa_handler = say_seed, .sa_flags = (int)SA_RESETHAND};
	const char *one = getenv("KTHREAD_MODEL_SEED");
	const char *many = getenv("KTHREAD_MODEL_SEEDS");
	const unsigned int count = many ? (unsigned int)strtoul(many, NULL, 10) : 1000000;
	const uint64_t until = many ? UINT64_MAX : now_ns() + 5000 * MS;
	unsigned int first = (unsigned int)now_ns();
	unsigned int played = 0;

	sigaction(SIGABRT, &aborted, NULL);
	for (int i = 0; i < CALLERS; i++) {
		kthread_init_completion(&callers[i].go);
		assert_int_equal(pthread_create(&callers[i].thread, NULL, caller_fn, &callers[i]), 0);
		AWAIT(callers[i].tid);
	}
	if (one) {
		play((unsigned int)strtoul(one, NULL, 10));
	} else {
		for (; played < count && now_ns() < until; played++)
			play(first++);
	}
	for (int i = 0; i < CALLERS; i++) {
		callers[i].over = true;
		kthread_complete(&callers[i].go);
		pthread_join(callers[i].thread, NULL);
	}
	signal(SIGABRT, SIG_DFL);
	print_message("%u seeds, %lu calls, of which %lu had to wait\n", played, calls_made, calls_blocked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(model__says_what_happens),
	};

	return cmocka_run_group_tests(tests, start_without_a_log, fini_finds_nothing);
}
