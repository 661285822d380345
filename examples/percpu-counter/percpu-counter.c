/* SPDX-License-Identifier: MIT */
/*
 * percpu-counter: a daemon that counts on all CPUs, while these come and go, and never loses one. An example of the use
 * of libkthread: hotplug steps, per-CPU threads, threads bound to a CPU, cooperative transitions, the read lock.
 *
 * Producers note what they are about to add, add it, and note that it is done. So at any moment the sum has to lie between
 * what was done before it was taken and what had been begun when it was there; a thread checks that all the time. When
 * nobody was about to add meanwhile the two are the same, and so the sum has to be.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <kthread/kthread.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "counter.h"

#define BURST 1000                  /* additions, and then */
#define PAUSE_NS 1000000u           /* a pause */
#define CHECK_NS 50000u             /* between two checks */
#define STORM_NS 20000000u          /* between two CPUs of the storm, at most */
#define WANDERERS 2u                /* producers that are bound to no CPU */
#define SIMULATED_POLL_MS 50u       /* a tree of files sends no events */
#define TOLD_MAX 10u                /* wrong sums told of in full */
#define TERMINAL_TICK_NS 100000000u /* the live line */
#define PLAIN_TICK_NS 1000000000u   /* lines */

static struct options {
	struct kthread_config config;
	uint64_t for_ns; /* UINT64_MAX: until a signal */
	bool storm, physical, forget, plain;
} options = {.config = KTHREAD_CONFIG_INIT, .for_ns = UINT64_MAX};

static uint64_t start_ns;
static bool live; /* one line, rewritten */
static size_t setsize;
static cpu_set_t *present;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void pause_ns(uint64_t ns)
{
	const struct timespec pause = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};

	nanosleep(&pause, NULL);
}

/* ---- options ---------------------------------------------------------------------------------------------------- */

static const char help[] =
    "usage: percpu-counter [options]\n"
    "Counts on every CPU, each in a cell of its own that it hands over when it goes, and checks all the time that the sum\n"
    "is what has been counted. A line a second says how it is; on a terminal one that is rewritten.\n"
    "\n"
    "  --storm         take CPUs down and up at random, cooperatively (kthread_cpu_down): for this process only\n"
    "  --physical      with --storm: for the whole machine, through sysfs; as root, and not on one that others need\n"
    "  --simulate DIR  take the machine recorded in DIR (DIR/sys, DIR/proc); no mask is given to the kernel\n"
    "  --for SECONDS   end after that time (default: SIGINT, SIGTERM or SIGHUP)\n"
    "  --plain         lines, also on a terminal\n"
    "  --forget        lose what a CPU that goes had counted, to see that this is noticed\n"
    "  --help          this text\n"
    "\n"
    "  sum      of the counter\n"
    "  looks    sums that were checked, and how many of them while nobody was adding: those must match to the one\n"
    "  down     how often the storm has taken a CPU down; on: those that are usable now\n"
    "  handed   a CPU went, and what was in its cell was moved to the pot\n"
    "  late     additions by a thread bound to a CPU whose cell had been handed over: none in a cooperative down. When\n"
    "           somebody else takes the CPU we hear of it afterwards, and there may be some; they are counted nevertheless\n"
    "  folded   a CPU's thread moved what was in its cell to the common pot\n"
    "\n"
    "Exit status: 0 no sum was wrong; 1 one was, or it cannot run; 2 a bad option or value.\n";

__attribute__((format(printf, 1, 2), noreturn)) static void bad_usage(const char *format, ...)
{
	va_list args;

	fputs("percpu-counter: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\nTry 'percpu-counter --help'.\n", stderr);
	exit(2);
}

static uint64_t parse_seconds(const char *text)
{
	char *end;
	double seconds;

	errno = 0;
	seconds = strtod(text, &end);
	if (errno || end == text || text[strspn(text, "0123456789.")] || *end || !(seconds > 0 && seconds < 3e9))
		bad_usage("--for: '%s' is not a number of seconds above 0", text);
	return (uint64_t)(seconds * 1e9);
}

static void simulate(const char *dir)
{
	struct stat status;
	char *path;

	if (!*dir)
		bad_usage("--simulate: which directory?");
	if (asprintf(&path, "%s/sys/devices/system/cpu", dir) < 0)
		bad_usage("--simulate: no memory");
	if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode))
		bad_usage("--simulate: '%s' holds no machine: %s", dir, path);
	free(path);
	options.config.root = dir;
	options.config.simulate = true;
	options.config.poll_ms = SIMULATED_POLL_MS;
}

static void parse_options(int argc, char **argv)
{
	enum { STORM = 256, PHYSICAL, SIMULATE, FOR, PLAIN, FORGET, HELP };
	static const struct option known[] = {
	    {"storm", no_argument, NULL, STORM},
	    {"physical", no_argument, NULL, PHYSICAL},
	    {"simulate", required_argument, NULL, SIMULATE},
	    {"for", required_argument, NULL, FOR},
	    {"plain", no_argument, NULL, PLAIN},
	    {"forget", no_argument, NULL, FORGET},
	    {"help", no_argument, NULL, HELP},
	    {0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case STORM:
			options.storm = true;
			break;
		case PHYSICAL:
			options.physical = true;
			break;
		case SIMULATE:
			simulate(optarg);
			break;
		case FOR:
			options.for_ns = parse_seconds(optarg);
			break;
		case PLAIN:
			options.plain = true;
			break;
		case FORGET:
			options.forget = true;
			break;
		case HELP:
			fputs(help, stdout);
			exit(fflush(stdout) != 0);
		default: /* getopt_long() has said what */
			fputs("Try 'percpu-counter --help'.\n", stderr);
			exit(2);
		}
	}
	if (optind < argc)
		bad_usage("'%s': no arguments are expected", argv[optind]);
	if (options.physical && !options.storm)
		bad_usage("--physical: of what? It goes with --storm");
	if (options.physical && options.config.simulate)
		bad_usage("--physical: a simulated machine has nothing to switch off");
}

/* ---- producers -------------------------------------------------------------------------------------------------- */

struct producer {
	alignas(128) atomic_uint_least64_t begun; /* what it says; on its own cache line */
	atomic_uint_least64_t done;
	atomic_uint_least64_t late;
	struct kthread *k;
	unsigned int cpu;
};

static struct producer *producers;
static size_t producer_count;

static void add(struct producer *me, unsigned int cpu)
{
	const uint64_t said = atomic_load_explicit(&me->done, memory_order_relaxed) + 1;

	atomic_store_explicit(&me->begun, said, memory_order_relaxed); /* released by the addition */
	if (!counter_add(cpu))
		atomic_fetch_add_explicit(&me->late, 1, memory_order_relaxed);
	atomic_store_explicit(&me->done, said, memory_order_release);
}

/* Works on its CPU or waits for it, whoever took it. */
static int produce_here(void *data)
{
	struct producer *me = data;

	while (!kthread_bound_should_stop()) {
		for (int i = 0; i < BURST; i++)
			add(me, me->cpu);
		kthread_wait_for(PAUSE_NS);
	}
	return 0;
}

/* Adds to the cell of the CPU it finds itself on; in a simulation it pretends to be anywhere. */
static int produce_anywhere(void *data)
{
	struct producer *me = data;
	unsigned int cpu = 0;

	while (!kthread_should_stop()) {
		for (int i = 0; i < BURST; i++) {
			if (options.config.simulate)
				cpu = (cpu + 1) % (unsigned int)(producer_count - WANDERERS);
			else
				cpu = (unsigned int)sched_getcpu();
			add(me, cpu);
		}
		kthread_wait_for(PAUSE_NS);
	}
	return 0;
}

static void stop_producers(void)
{
	for (size_t i = 0; i < producer_count; i++) {
		if (producers[i].k)
			kthread_stop(producers[i].k);
		producers[i].k = NULL;
	}
}

/* One for each CPU, there or not, and some without. */
static int start_producers(void)
{
	unsigned int cpu = 0;

	producer_count = (size_t)CPU_COUNT_S(setsize, present) + WANDERERS;
	producers = aligned_alloc(alignof(struct producer), producer_count * sizeof(*producers));
	if (!producers)
		return -ENOMEM;
	memset(producers, 0, producer_count * sizeof(*producers));
	for (size_t i = 0; i < producer_count; i++) {
		struct producer *me = &producers[i];

		if (i < WANDERERS) {
			me->k = kthread_run(produce_anywhere, me, "wander/%zu", i);
		} else {
			while (!CPU_ISSET_S(cpu, setsize, present))
				cpu++;
			me->cpu = cpu++;
			me->k = kthread_run_on_cpu(produce_here, me, me->cpu, "count/%u");
		}
		if (!me->k)
			return -errno;
	}
	return 0;
}

/* Loads of begun and done are ordered by acquire: with done, and with a sum, comes all that was said before. */
static uint64_t said_done(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < producer_count; i++)
		sum += atomic_load_explicit(&producers[i].done, memory_order_acquire);
	return sum;
}

static uint64_t said_begun(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < producer_count; i++)
		sum += atomic_load_explicit(&producers[i].begun, memory_order_acquire);
	return sum;
}

/* Of the bound ones: those that wander may find themselves anywhere. */
static uint64_t late(void)
{
	uint64_t sum = 0;

	for (size_t i = WANDERERS; i < producer_count; i++)
		sum += atomic_load_explicit(&producers[i].late, memory_order_relaxed);
	return sum;
}

/* ---- the check -------------------------------------------------------------------------------------------------- */

static atomic_bool enough;
static atomic_uint_least64_t looks, exact_looks, wrong, last_sum;

static void check(void)
{
	const uint64_t least = said_done();
	const uint64_t sum = counter_sum();
	const uint64_t most = said_begun();

	atomic_store(&last_sum, sum);
	atomic_fetch_add(&looks, 1);
	if (least == most)
		atomic_fetch_add(&exact_looks, 1);
	if ((sum < least || sum > most) && atomic_fetch_add(&wrong, 1) < TOLD_MAX)
		fprintf(stderr,
		        "%spercpu-counter: WRONG: the sum is %" PRIu64 ", counted were %" PRIu64 " to %" PRIu64 "\n",
		        live ? "\r\033[K" : "", sum, least, most);
	if (!counter_agrees() && atomic_fetch_add(&wrong, 1) < TOLD_MAX)
		fprintf(stderr,
		        "%spercpu-counter: WRONG: a CPU that is there does not count, or one that is not does\n",
		        live ? "\r\033[K" : "");
}

static void *checker(void *arg)
{
	(void)arg;
	while (!atomic_load(&enough)) {
		check();
		pause_ns(CHECK_NS);
	}
	return NULL;
}

/* ---- the storm -------------------------------------------------------------------------------------------------- */

static atomic_uint_least64_t downs, ups, refused;

static void note(const char *what, unsigned int cpu, int error, atomic_uint_least64_t *count)
{
	if (!error)
		atomic_fetch_add(count, 1);
	else
		atomic_fetch_add(&refused, 1);
	/* EBUSY: the last one. EPERM: a CPU that the machine cannot do without. */
	if (error && error != -EBUSY && error != -EPERM)
		fprintf(stderr, "%spercpu-counter: CPU %u does not go %s: %s\n", live ? "\r\033[K" : "", cpu, what,
		        strerror(-error));
}

static void *storm(void *arg)
{
	const unsigned int flags = options.physical ? KTHREAD_CPU_PHYSICAL : 0;
	unsigned int seed = (unsigned int)start_ns;
	cpu_set_t *down = arg;

	while (!atomic_load(&enough)) {
		const unsigned int cpu = (unsigned int)rand_r(&seed) % (unsigned int)(setsize * 8);
		int error;

		if (!CPU_ISSET_S(cpu, setsize, present))
			continue;
		if (CPU_ISSET_S(cpu, setsize, down)) {
			error = kthread_cpu_up(cpu, flags);
			note("up", cpu, error, &ups);
			if (!error)
				CPU_CLR_S(cpu, setsize, down);
		} else {
			error = kthread_cpu_down(cpu, flags);
			note("down", cpu, error, &downs);
			if (!error)
				CPU_SET_S(cpu, setsize, down);
		}
		pause_ns((uint64_t)rand_r(&seed) % STORM_NS);
	}
	for (unsigned int cpu = 0; cpu < setsize * 8; cpu++) {
		if (CPU_ISSET_S(cpu, setsize, down))
			kthread_cpu_up(cpu, flags);
	}
	return NULL;
}

/* ---- what we say ------------------------------------------------------------------------------------------------ */

static void on_log(int level, const char *message, void *arg)
{
	(void)arg;
	if (level <= LOG_WARNING)
		fprintf(stderr, "%spercpu-counter: library: %s\n", live ? "\r\033[K" : "", message);
}

static void usable_list(char *text, size_t size)
{
	cpu_set_t *set = calloc(1, setsize);

	if (!set || kthread_cpus(KTHREAD_CPUS_USABLE, setsize, set) != 0 ||
	    kthread_cpulist_format(setsize, set, text, size) < 0)
		strcpy(text, "?");
	free(set);
}

/* What fits: a line that wraps could not be rewritten. */
static int room(void)
{
	struct winsize size = {0};

	return live && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1 : INT_MAX;
}

static void say(void)
{
	const struct counter_moves moves = counter_moves();
	char list[40];
	char text[400];

	usable_list(list, sizeof(list));
	snprintf(text, sizeof(text),
	         "%7.1f s  sum %-11" PRIu64 " looks %" PRIu64 " (%" PRIu64 " to the one, %" PRIu64
	         " wrong)  down %" PRIu64 "  on %s  handed %" PRIu64 "  late %" PRIu64 "  folded %" PRIu64,
	         (double)(now_ns() - start_ns) / 1e9, atomic_load(&last_sum), atomic_load(&looks),
	         atomic_load(&exact_looks), atomic_load(&wrong), atomic_load(&downs), list, moves.handovers, late(),
	         moves.folds);
	printf("%s%.*s%s", live ? "\r" : "", room(), text, live ? "\033[K" : "\n");
	fflush(stdout);
}

/* Everything has come to rest. */
static bool say_totals(void)
{
	const uint64_t sum = counter_sum();
	const uint64_t said = said_done();

	printf("%s%" PRIu64 " looks, %" PRIu64 " of them to the one: %" PRIu64 " wrong\n", live ? "\r\033[K" : "",
	       atomic_load(&looks), atomic_load(&exact_looks), atomic_load(&wrong));
	if (options.storm)
		printf("%" PRIu64 " CPUs taken down, %" PRIu64 " up again, %" PRIu64 " refused; %" PRIu64
		       " additions came late\n",
		       atomic_load(&downs), atomic_load(&ups), atomic_load(&refused), late());
	printf("sum %" PRIu64 ", counted %" PRIu64 ": %s\n", sum, said, sum == said ? "exact" : "WRONG");
	return sum == said && atomic_load(&wrong) == 0;
}

/* ---- the run ---------------------------------------------------------------------------------------------------- */

/* Before the first thread: pthreads inherit it. */
static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static void run(int signals)
{
	const uint64_t end_ns = options.for_ns > UINT64_MAX - start_ns ? UINT64_MAX : start_ns + options.for_ns;
	struct pollfd fd = {.fd = signals, .events = POLLIN};
	uint64_t left_ns;

	while ((left_ns = end_ns > now_ns() ? end_ns - now_ns() : 0) > 0) {
		const uint64_t tick_ns = live ? TERMINAL_TICK_NS : PLAIN_TICK_NS;

		if (poll(&fd, 1, (int)(((left_ns < tick_ns ? left_ns : tick_ns) + 999999) / 1000000)) > 0)
			break;
		say();
		if (ferror(stdout))
			break; /* nobody listens any more */
	}
}

static int cannot(const char *what, int error)
{
	fprintf(stderr, "percpu-counter: %s: %s\n", what, strerror(-error));
	return 1;
}

/* The counter works, and producers count: until the time is up. The exit status. */
static int count(int signals, cpu_set_t *down)
{
	pthread_t threads[2];
	int started = 0;
	int error = start_producers();
	bool right;

	if (!error)
		error = -pthread_create(&threads[0], NULL, checker, NULL);
	if (!error) {
		started = 1;
		if (options.storm)
			error = -pthread_create(&threads[1], NULL, storm, down);
		if (!error) {
			started += options.storm;
			run(signals);
		}
	}
	atomic_store(&enough, true);
	for (int i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	stop_producers();
	if (error)
		return cannot("cannot start a thread", error);
	right = say_totals();
	return right && fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}

int main(int argc, char **argv)
{
	const char *term = getenv("TERM");
	cpu_set_t *down;
	int signals, error, status;

	parse_options(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	live = !options.plain && isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
	signals = open_signals();
	if (signals < 0)
		return cannot("signalfd", -errno);
	options.config.log = on_log;
	error = kthread_init(&options.config);
	if (error)
		return cannot("cannot start libkthread", error);
	start_ns = now_ns();
	setsize = kthread_setsize();
	present = calloc(1, setsize);
	down = calloc(1, setsize);
	if (!present || !down || kthread_cpus(KTHREAD_CPUS_PRESENT, setsize, present) != 0)
		return cannot("cannot see the CPUs", -ENOMEM);
	error = counter_start(options.forget);
	if (error)
		return cannot("cannot start counting", error);
	status = count(signals, down);
	counter_stop();
	free(producers);
	free(present);
	free(down);
	error = kthread_fini();
	return error ? cannot("the library does not end", error) : status;
}
