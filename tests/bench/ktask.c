/* SPDX-License-Identifier: MIT */
/*
 * P5: one job over two CPUs, by ktask and by OpenMP (libgomp, libomp) and oneTBB where they are found at build time; how
 * each is driven: split.h. Helpers of ktask give way by default, which no peer does. So where somebody else keeps a CPU
 * busy there are two lines: against the peers with equal priority; and what that somebody loses, with and without.
 */
#include <kthread/kthread.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "bench.h"
#include "split.h"

#define MAX_RUNS 16

/* ---- runtimes ------------------------------------------------------------------------------------------------------- */

struct runtime {
	const char *program;
	const char *bind; /* OMP_PROC_BIND */
	pid_t pid;
	int to, from;
};

enum { KTASK, GOMP, GOMP_BOUND, OMP, TBB, RUNTIMES };

static struct runtime runtimes[RUNTIMES] = {
    [KTASK] = {.program = BENCH_SPLIT_KTASK},
#ifdef BENCH_SPLIT_GOMP
    [GOMP] = {.program = BENCH_SPLIT_GOMP},   [GOMP_BOUND] = {.program = BENCH_SPLIT_GOMP, .bind = "true"},
#endif
#ifdef BENCH_SPLIT_OMP
    [OMP] = {.program = BENCH_SPLIT_OMP},
#endif
#ifdef BENCH_SPLIT_TBB
    [TBB] = {.program = BENCH_SPLIT_TBB},
#endif
};

static void start_runtime(struct runtime *runtime)
{
	int to[2], from[2];

	BENCH_CHECK(pipe(to) == 0 && pipe(from) == 0);
	runtime->pid = fork();
	BENCH_CHECK(runtime->pid >= 0);
	if (runtime->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(to[0], STDIN_FILENO);
		dup2(from[1], STDOUT_FILENO);
		for (int fd = 3; fd < 64; fd++)
			close(fd);
		if (runtime->bind)
			setenv("OMP_PROC_BIND", runtime->bind, 1);
		execl(runtime->program, runtime->program, "2", (char *)NULL);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	runtime->to = to[1];
	runtime->from = from[0];
	kill(runtime->pid, SIGSTOP);
}

static void stop_runtime(struct runtime *runtime)
{
	close(runtime->to);
	kill(runtime->pid, SIGKILL);
}

struct run {
	const char *name;
	int runtime;
	struct split_request request;
};

static void measure(const void *arg, double *values)
{
	const struct run *run = arg;
	struct runtime *runtime = &runtimes[run->runtime];
	struct split_answer answer;

	kill(runtime->pid, SIGCONT);
	BENCH_CHECK(write(runtime->to, &run->request, sizeof(run->request)) == (ssize_t)sizeof(run->request));
	BENCH_CHECK(read(runtime->from, &answer, sizeof(answer)) == (ssize_t)sizeof(answer));
	kill(runtime->pid, SIGSTOP);
	values[0] = answer.ns;
	values[1] = answer.cpus;
}

/* ---- comparisons ------------------------------------------------------------------------------------------------------ */

static struct run runs[MAX_RUNS];
static struct bench_variant variants[MAX_RUNS];
static size_t run_count, first_peer;

static void add(const char *name, int runtime, uint32_t variant, const struct split_request *request)
{
	struct run *run = &runs[run_count];

	if (!runtimes[runtime].program)
		return;
	BENCH_CHECK(run_count < MAX_RUNS);
	*run = (struct run){name, runtime, *request};
	run->request.variant = variant;
	variants[run_count++] = (struct bench_variant){name, measure, run};
}

enum { SEQUENTIAL, OURS, EQUAL, QUARTER };

static void compare(const struct split_request *request)
{
	run_count = 0;
	add("sequential", KTASK, 3, request);
	add("ktask", KTASK, 0, request);
	add("ktask, equal priority", KTASK, 1, request);
	add("ktask, fixed quarter", KTASK, 2, request);
	first_peer = run_count;
	add("libgomp static", GOMP, 0, request);
	add("libgomp dynamic", GOMP, 1, request);
	add("libgomp bound dynamic", GOMP_BOUND, 1, request);
	add("libomp dynamic", OMP, 1, request);
	add("libomp guided", OMP, 2, request);
	add("TBB auto", TBB, 0, request);
	bench_rounds(variants, run_count);
}

/* By its median; run_count if there is no peer. */
static size_t best_peer(void)
{
	size_t best = run_count;

	for (size_t i = first_peer; i < run_count; i++) {
		if (best == run_count || bench_median(i, 0) < bench_median(best, 0))
			best = i;
	}
	return best;
}

static void to_best(const char *figure, const char *what, size_t ours, double target, const char *unit)
{
	const size_t peer = best_peer();

	if (peer < run_count)
		bench_figure(figure, what, ours, peer, 0, target, unit);
}

static void to_all(const char *figure, const char *what, size_t ours, const char *unit)
{
	for (size_t i = first_peer; i < run_count; i++)
		bench_figure(figure, what, ours, i, 0, BENCH_NO_TARGET, unit);
}

/* ---- somebody else ------------------------------------------------------------------------------------------------------ */

static atomic_bool hog_runs;
static atomic_ulong hog_turns;
static pthread_t hog_thread;

static void *hog(void *arg)
{
	bench_pin(bench_cpu(1));
	while (atomic_load_explicit(&hog_runs, memory_order_relaxed)) {
		for (int i = 0; i < 10000; i++)
			__asm__ volatile("");
		atomic_fetch_add_explicit(&hog_turns, 1, memory_order_relaxed);
	}
	return arg;
}

static void hog_begin(void)
{
	atomic_store(&hog_runs, true);
	BENCH_CHECK(pthread_create(&hog_thread, NULL, hog, NULL) == 0);
}

static void hog_end(void)
{
	atomic_store(&hog_runs, false);
	pthread_join(hog_thread, NULL);
}

/* values[0]: the job's time; values[1]: the hog's turns a second meanwhile, as a time each. */
static void measure_hog(const void *arg, double *values)
{
	const unsigned long before = atomic_load(&hog_turns);
	const uint64_t start = bench_now();

	measure(arg, values);
	values[1] = (double)(bench_now() - start) / (double)(atomic_load(&hog_turns) - before + 1);
}

/* ---- figures -------------------------------------------------------------------------------------------------------------- */

static struct split_request even_request(void)
{
	return (struct split_request){SPLIT_EVEN, 0, bench_count(400000, 20000), 200, 1, 0, 0};
}

static struct split_request skewed_request(void)
{
	return (struct split_request){SPLIT_SKEWED, 0, bench_count(40000, 10000), 20, 1, 0, 0};
}

static void quiet_machine(void)
{
	struct split_request request = even_request();

	compare(&request);
	bench_figure("P5a", "even work on two CPUs", OURS, SEQUENTIAL, 0, 0.52, "ns");
	bench_figure("P5a-quarter", "even work: chunks that adapt, and fixed ones", OURS, QUARTER, 0, BENCH_NO_TARGET,
	             "ns");
	to_best("P5a-peer", "even work, to the best peer", OURS, 1.03, "ns");
	to_best("P5a-equal-peer", "even work, to the best peer", EQUAL, 1.03, "ns");
	to_all("P5a-each", "even work", OURS, "ns");
	request = skewed_request();
	compare(&request);
	bench_figure("P5b", "skewed work on two CPUs", OURS, SEQUENTIAL, 0, 0.53, "ns");
	bench_figure("P5b-quarter", "skewed work: chunks that adapt, and fixed ones", OURS, QUARTER, 0, BENCH_NO_TARGET,
	             "ns");
	to_best("P5b-peer", "skewed work, to the best peer", OURS, 1.03, "ns");
	to_best("P5b-equal-peer", "skewed work, to the best peer", EQUAL, 1.03, "ns");
	to_all("P5b-each", "skewed work", OURS, "ns");
}

static void busy_cpu(void)
{
	const struct split_request requests[] = {even_request(), skewed_request()};
	static const char *const names[] = {"even", "skewed"};
	char figure[32], what[96];

	hog_begin();
	for (int i = 0; i < 2; i++) {
		compare(&requests[i]);
		snprintf(figure, sizeof(figure), "P5c-%s", names[i]);
		snprintf(what, sizeof(what), "%s work, one CPU kept busy by somebody else", names[i]);
		bench_figure(figure, what, EQUAL, SEQUENTIAL, 0, 0.69, "ns");
		snprintf(figure, sizeof(figure), "P5c-%s-peer", names[i]);
		to_best(figure, what, EQUAL, 1.03, "ns");
		snprintf(figure, sizeof(figure), "P5c-%s-each", names[i]);
		to_all(figure, what, EQUAL, "ns");
		snprintf(figure, sizeof(figure), "P5c-%s-quarter", names[i]);
		bench_figure(figure, "the same: chunks that adapt, and fixed ones", EQUAL, QUARTER, 0, BENCH_NO_TARGET,
		             "ns");
		snprintf(figure, sizeof(figure), "P5c-%s-way", names[i]);
		bench_figure(figure, "the same, helpers that give way", OURS, SEQUENTIAL, 0, BENCH_NO_TARGET, "ns");
		for (size_t j = 0; j < run_count; j++)
			variants[j].run = measure_hog;
		bench_rounds(variants, run_count);
		snprintf(figure, sizeof(figure), "P5c-%s-loss", names[i]);
		bench_figure(figure, "what somebody else's turn takes: helpers that give way", OURS, SEQUENTIAL, 1,
		             BENCH_NO_TARGET, "ns");
		bench_figure(figure, "what somebody else's turn takes: equal priority", EQUAL, SEQUENTIAL, 1,
		             BENCH_NO_TARGET, "ns");
		bench_figure(figure, "what somebody else's turn takes: a peer",
		             first_peer < run_count ? first_peer + 1 : 0, SEQUENTIAL, 1, BENCH_NO_TARGET, "ns");
	}
	hog_end();
}

static void fresh_memory(void)
{
	struct split_request request = {SPLIT_ZERO, 0, bench_count(1u << 16, 1u << 12), 512, 1, 0, 0};
	double cleared;

	compare(&request);
	cleared = bench_median(SEQUENTIAL, 0);
	bench_figure("P5d-memset", "256 MiB of fresh memory, cleared", OURS, SEQUENTIAL, 0, BENCH_NO_TARGET, "ns");
	to_best("P5d-memset-peer", "the same, to the best peer", OURS, 1.03, "ns");
	request.work = SPLIT_POPULATE;
	compare(&request);
	bench_number("P5d", "256 MiB of fresh memory, populated", bench_median(OURS, 0), cleared, "sequential memset",
	             0.35, "ns");
	to_best("P5d-peer", "populated, to the best peer", OURS, 1.03, "ns");
	to_best("P5d-equal-peer", "populated, to the best peer", EQUAL, 1.03, "ns");
}

static void tiny_jobs(void)
{
	static const struct {
		const char *name, *what;
		uint64_t pause;
		uint32_t asleep, full;
	} gaps[] = {
	    {"P5e-0", "a tiny job, back to back", 0, 0, 30000},
	    {"P5e-50us", "a tiny job after 50 us of other work", 50000, 0, 600},
	    {"P5e-200us", "a tiny job after 200 us of sleep", 200000, 1, 300},
	    {"P5e-5ms", "a tiny job after 5 ms of sleep", 5000000, 1, 20},
	};

	for (size_t i = 0; i < sizeof(gaps) / sizeof(gaps[0]); i++) {
		const struct split_request request = {
		    SPLIT_NOTHING, 0, 64, 16, bench_count(gaps[i].full, 10), gaps[i].asleep, gaps[i].pause};
		char figure[32];

		compare(&request);
		to_best(gaps[i].name, gaps[i].what, OURS, 0.5, "ns");
		snprintf(figure, sizeof(figure), "%s-cpus", gaps[i].name);
		bench_figure(figure, "CPUs busy meanwhile, to one thread", OURS, SEQUENTIAL, 1, 1.05, "CPUs");
	}
}

static void medium_jobs(void)
{
	static const unsigned int microseconds[] = {20, 50, 200, 500, 2000};

	for (size_t i = 0; i < sizeof(microseconds) / sizeof(microseconds[0]); i++) {
		const struct split_request request = {SPLIT_EVEN,
		                                      0,
		                                      microseconds[i] * 1000u / 180,
		                                      4,
		                                      bench_count(50000 / (100 + microseconds[i]), 10),
		                                      0,
		                                      100000};
		char figure[32], what[64];

		compare(&request);
		snprintf(figure, sizeof(figure), "P5f-%u", microseconds[i]);
		snprintf(what, sizeof(what), "jobs of about %u us every 100 us", microseconds[i]);
		bench_figure(figure, what, OURS, SEQUENTIAL, 0, BENCH_NO_TARGET, "ns");
		snprintf(figure, sizeof(figure), "P5f-%u-peer", microseconds[i]);
		to_best(figure, what, OURS, 1.05, "ns");
		snprintf(figure, sizeof(figure), "P5f-%u-equal-peer", microseconds[i]);
		to_best(figure, what, EQUAL, 1.05, "ns");
	}
}

/* ---- the first call ------------------------------------------------------------------------------------------------------- */

static int spin_some(void *start, void *end, void *arg)
{
	for (size_t i = (size_t)(uintptr_t)start; i < (size_t)(uintptr_t)end; i++) {
		for (int j = 0; j < 100; j++)
			__asm__ volatile("");
	}
	return arg != NULL;
}

#define FIRST_UNITS 50000u
#define AT(number) ((void *)(uintptr_t)(number))

static int no_thread(void *data)
{
	return data != NULL;
}

static void first_by_ktask(const void *arg, double *values)
{
	DEFINE_KTASK_CTL(ctl, spin_some, NULL, 100);
	uint64_t start;

	(void)arg;
	kthread_stop(kthread_create(no_thread, NULL, "first")); /* the library is up and watches, as in a daemon */
	bench_sleep(20000000);
	start = bench_now();
	BENCH_CHECK(ktask_run(NULL, FIRST_UNITS, &ctl) == 0);
	values[0] = (double)(bench_now() - start);
}

static void *half(void *arg)
{
	spin_some(AT(FIRST_UNITS / 2), AT(FIRST_UNITS), NULL);
	return arg;
}

static void first_by_hand(const void *arg, double *values)
{
	pthread_t thread;
	uint64_t start;

	(void)arg;
	start = bench_now();
	BENCH_CHECK(pthread_create(&thread, NULL, half, NULL) == 0);
	spin_some(NULL, AT(FIRST_UNITS / 2), NULL);
	pthread_join(thread, NULL);
	values[0] = (double)(bench_now() - start);
}

static void in_child(const void *arg, double *values)
{
	bench_in_child(*(void (*const *)(const void *, double *))arg, NULL, values);
}

static void first_call(void)
{
	static void (*const by_ktask)(const void *, double *) = first_by_ktask;
	static void (*const by_hand)(const void *, double *) = first_by_hand;
	const struct bench_variant both[] = {{"ktask", in_child, &by_ktask}, {"by hand", in_child, &by_hand}};

	bench_rounds(both, 2);
	bench_figure("P5g", "the first job of a process, to a thread made by hand", 0, 1, 0, 1.0, "ns");
}

/* ---- the plan --------------------------------------------------------------------------------------------------------------- */

static int no_work(void *start, void *end, void *arg)
{
	(void)arg;
	BENCH_HIDE(start);
	BENCH_HIDE(end);
	return 0;
}

#define CHUNKS 100000u

/* Chunks that are handed out to one thread alone: 1 unit, no work, and no more at a time than one. */
static void plan(const void *arg, double *values)
{
	struct ktask_node *pieces = calloc(CHUNKS, sizeof(*pieces));
	DEFINE_KTASK_CTL(ctl, no_work, NULL, 1);
	uint64_t start;

	(void)arg;
	BENCH_CHECK(pieces);
	for (size_t i = 0; i < CHUNKS; i++)
		pieces[i] = (struct ktask_node){AT(i), 1, KTHREAD_NO_NODE};
	ktask_ctl_set_max_threads(&ctl, 1);
	BENCH_CHECK(ktask_run_numa(pieces, CHUNKS, &ctl) == 0);
	start = bench_now();
	BENCH_CHECK(ktask_run_numa(pieces, CHUNKS, &ctl) == 0);
	values[0] = bench_each(start, CHUNKS);
	free(pieces);
}

static void direct(const void *arg, double *values)
{
	int (*fn)(void *, void *, void *) = no_work;
	uint64_t start;

	(void)arg;
	BENCH_HIDE(fn);
	start = bench_now();
	for (size_t i = 0; i < CHUNKS; i++)
		fn(AT(i), AT(i + 1), NULL);
	values[0] = bench_each(start, CHUNKS);
}

static void cost_of_the_plan(void)
{
	static const struct bench_variant both[] = {{"ktask", plan, NULL}, {"calls", direct, NULL}};

	bench_rounds(both, 2);
	bench_figure("P5h", "a chunk: planned, taken, called, timed", 0, 1, 0, BENCH_NO_TARGET, "ns");
}

int main(int argc, char **argv)
{
	bench_open(argc, argv, "ktask");
	signal(SIGPIPE, SIG_IGN);
	cost_of_the_plan();
	BENCH_CHECK(kthread_fini() == 0);
	first_call();
	if (bench_cpu(1) >= 0) {
		for (int i = 0; i < RUNTIMES; i++) {
			if (runtimes[i].program)
				start_runtime(&runtimes[i]);
			else
				bench_note("a peer was not found at build time");
		}
		quiet_machine();
		busy_cpu();
		fresh_memory();
		tiny_jobs();
		medium_jobs();
		for (int i = 0; i < RUNTIMES; i++) {
			if (runtimes[i].program)
				stop_runtime(&runtimes[i]);
		}
	} else {
		bench_note("one CPU only: nothing to compare");
	}
	return bench_close();
}
