/* SPDX-License-Identifier: MIT */
/*
 * snapshot: a daemon that never stops working, and of which a consistent copy is taken ten times a second: freeze all
 * threads, fork(), thaw. The child has the memory as it was at that moment, and all the time it needs to check and to
 * write it; the threads stand still for as long as the fork() takes. An example of the use of libkthread's freezer.
 *
 * That no thread was in the middle of something is proved in each child: nobody's flag says so, no mutex is held, and
 * no money is missing.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <kthread/kthread.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "bank.h"

#define PATIENCE_NS 1000000000u /* for all to freeze */
#define LINE_NS 1000000000u
#define ORDER_NS 1000000u /* between two orders that come from outside */
#define KEPT 100000u      /* figures, for the table at the end */
#define TELLERS_MAX 256u

static struct options {
	unsigned int tellers;
	unsigned int every_ms;
	uint64_t for_ns; /* UINT64_MAX: until a signal */
	const char *file;
	bool no_freeze;
} options = {.tellers = 4, .every_ms = 100, .for_ns = UINT64_MAX};

static uint64_t start_ns;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- options ---------------------------------------------------------------------------------------------------- */

static const char help[] =
    "usage: snapshot [options]\n"
    "Moves money between accounts by many threads, and takes a consistent copy of all accounts again and again: freezes\n"
    "the threads, forks, and thaws them. Each copy is checked. A line a second says how it is.\n"
    "\n"
    "  --tellers N     threads that do nothing but transfers (default 4); besides, a clerk who sleeps until he is asked,\n"
    "                  and a reader of orders that come through a pipe\n"
    "  --every MS      between two copies (default 100)\n"
    "  --file FILE     write each copy to FILE, which is replaced as a whole\n"
    "  --for SECONDS   end after that time (default: SIGINT, SIGTERM or SIGHUP)\n"
    "  --no-freeze     fork() alone, to see that this is noticed\n"
    "  --help          this text\n"
    "\n"
    "  freeze   until every thread stood; stood   how long the threads stood from then on: the fork();\n"
    "  copy     until the child had checked and written everything, meanwhile everybody works\n"
    "\n"
    "Exit status: 0 no copy was wrong; 1 one was, or there was none, or it cannot run; 2 a bad option or value.\n";

__attribute__((format(printf, 1, 2), noreturn)) static void bad_usage(const char *format, ...)
{
	va_list args;

	fputs("snapshot: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\nTry 'snapshot --help'.\n", stderr);
	exit(2);
}

static double parse_number(const char *option, const char *text, double least, double most)
{
	char *end;
	double number;

	errno = 0;
	number = strtod(text, &end);
	if (errno || end == text || text[strspn(text, "0123456789.")] || *end || number < least || number > most)
		bad_usage("%s: '%s' is not a number from %g to %g", option, text, least, most);
	return number;
}

static void parse_options(int argc, char **argv)
{
	enum { TELLERS = 256, EVERY, FILE_NAME, FOR, NO_FREEZE, HELP };
	static const struct option known[] = {
	    {"tellers", required_argument, NULL, TELLERS},
	    {"every", required_argument, NULL, EVERY},
	    {"file", required_argument, NULL, FILE_NAME},
	    {"for", required_argument, NULL, FOR},
	    {"no-freeze", no_argument, NULL, NO_FREEZE},
	    {"help", no_argument, NULL, HELP},
	    {0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case TELLERS:
			options.tellers = (unsigned int)parse_number("--tellers", optarg, 1, TELLERS_MAX);
			break;
		case EVERY:
			options.every_ms = (unsigned int)parse_number("--every", optarg, 1, 3600000);
			break;
		case FILE_NAME:
			options.file = optarg;
			break;
		case FOR:
			options.for_ns = (uint64_t)(parse_number("--for", optarg, 0.001, 3e9) * 1e9);
			break;
		case NO_FREEZE:
			options.no_freeze = true;
			break;
		case HELP:
			fputs(help, stdout);
			exit(fflush(stdout) != 0);
		default: /* getopt_long() has said what */
			fputs("Try 'snapshot --help'.\n", stderr);
			exit(2);
		}
	}
	if (optind < argc)
		bad_usage("'%s': no arguments are expected", argv[optind]);
}

/* ---- threads ---------------------------------------------------------------------------------------------------- */

/* Tellers, the clerk, the reader; and nobody else touches an account. */
static struct teller *tellers;
static struct kthread *threads[TELLERS_MAX + 2];
static unsigned int teller_count;
static int orders[2]; /* a pipe */

struct order {
	unsigned int from, to;
	int64_t amount;
};

static struct kthread *clerk(void)
{
	return threads[options.tellers];
}

/* Works all the time. Where it freezes it is inside of nothing: that is all the freezer asks of it. */
static int tell(void *data)
{
	struct teller *me = data;

	kthread_set_freezable();
	while (!kthread_freezable_should_stop(NULL)) {
		bank_transfer_any(me);
		if (atomic_load_explicit(&me->transfers, memory_order_relaxed) % 1000 == 0)
			kthread_wake(clerk());
	}
	return 0;
}

/* Sleeps as a rule, and is frozen so: nobody has to wake it for that. */
static int clear(void *data)
{
	struct teller *me = data;

	kthread_set_freezable();
	while (!kthread_should_stop()) {
		for (unsigned int i = 1; i < ACCOUNTS; i++)
			bank_transfer(me, i, 0, 1);
		kthread_wait_parkable();
	}
	return 0;
}

/* In a system call as a rule, which the request to freeze breaks (KTHREAD_INTERRUPT). */
static int take_orders(void *data)
{
	struct teller *me = data;
	struct order order;

	kthread_set_freezable();
	while (!kthread_freezable_should_stop(NULL)) {
		const ssize_t got = read(orders[0], &order, sizeof(order)); /* whole, or EINTR */

		if (got == (ssize_t)sizeof(order))
			bank_transfer(me, order.from, order.to, order.amount);
	}
	return 0;
}

/* A thread of somebody else's: the freezer does not know it, and it touches no account. */
static void *customer(void *arg)
{
	const struct timespec pause = {.tv_nsec = ORDER_NS};
	struct order order = {.amount = 1};
	unsigned int seed = 1;

	while (!atomic_load((atomic_bool *)arg)) {
		order.from = (unsigned int)rand_r(&seed) % ACCOUNTS;
		order.to = (unsigned int)rand_r(&seed) % ACCOUNTS;
		if (write(orders[1], &order, sizeof(order)) < 0)
			break;
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static void stop_threads(void)
{
	/* the clerk last: the tellers wake him */
	for (unsigned int i = 0; i < teller_count; i++) {
		if (i != options.tellers)
			kthread_stop(threads[i]);
	}
	kthread_stop(clerk());
}

static int start_threads(void)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;

	for (unsigned int i = 0; i < teller_count; i++) {
		tellers[i].seed = i;
		attr.flags = i == options.tellers + 1 ? KTHREAD_INTERRUPT : 0;
		threads[i] = i < options.tellers    ? kthread_create(tell, &tellers[i], "teller/%u", i)
		             : i == options.tellers ? kthread_create(clear, &tellers[i], "clerk")
		                                    : kthread_create_attr(&attr, take_orders, &tellers[i], "orders");
		if (!threads[i]) {
			const int error = -errno;

			stop_threads();
			return error;
		}
	}
	for (unsigned int i = 0; i < teller_count; i++) /* now that all can be found */
		kthread_wake(threads[i]);
	return 0;
}

static uint64_t transfers(void)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < teller_count; i++)
		sum += atomic_load_explicit(&tellers[i].transfers, memory_order_relaxed);
	return sum;
}

/* ---- copies ----------------------------------------------------------------------------------------------------- */

/* What the child has to say: in memory that both see. */
static struct message {
	struct finding finding;
	int error;
	uint64_t done_ns;
} * message;

enum figure { FREEZE, STOOD, COPY, FIGURES };

static uint32_t figures_us[FIGURES][KEPT]; /* the last ones */
static uint64_t copies, wrong, late;

static void keep(enum figure figure, uint64_t ns)
{
	figures_us[figure][copies % KEPT] = (uint32_t)((ns + 500) / 1000);
}

/* In the child: nobody else is here. */
_Noreturn static void be_a_copy(void)
{
	message->finding = bank_look(tellers, teller_count);
	message->error = options.file ? bank_write(options.file, copies) : 0;
	message->done_ns = now_ns();
	_exit(0);
}

/* 0, or -errno: no copy could be made. */
static int take_copy(void)
{
	const uint64_t begun_ns = now_ns();
	uint64_t frozen_ns, thawed_ns;
	int error = options.no_freeze ? 0 : kthread_freeze_all(PATIENCE_NS);
	int status;
	pid_t pid;

	if (error == -ETIMEDOUT) { /* the log has named who it was */
		late++;
		return 0;
	}
	if (error)
		return error;
	frozen_ns = now_ns();
	*message = (struct message){.error = -EPIPE};
	pid = fork();
	if (pid == 0)
		be_a_copy();
	error = -errno;
	kthread_thaw_all();
	thawed_ns = now_ns();
	if (pid < 0)
		return error;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	if (message->error)
		return message->error;
	keep(FREEZE, frozen_ns - begun_ns);
	keep(STOOD, thawed_ns - frozen_ns);
	keep(COPY, message->done_ns - frozen_ns);
	copies++;
	if (message->finding.inside || message->finding.locked || message->finding.missing) {
		if (wrong++ < 3)
			printf("WRONG: copy %" PRIu64 ": %u threads inside a transfer, %u accounts locked, %" PRId64
			       " missing\n",
			       copies, message->finding.inside, message->finding.locked, message->finding.missing);
	}
	return 0;
}

/* ---- what is told ------------------------------------------------------------------------------------------------ */

static void on_log(int level, const char *text, void *arg)
{
	(void)arg;
	if (level <= LOG_WARNING)
		fprintf(stderr, "snapshot: %s\n", text);
}

static int by_size(const void *a, const void *b)
{
	const uint32_t left = *(const uint32_t *)a;
	const uint32_t right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

static void say(void)
{
	const uint64_t last = (copies + KEPT - 1) % KEPT;

	printf("%7.1f s  copies %-6" PRIu64 " wrong %" PRIu64
	       "  last: freeze %u us, stood %u us, copy %u us  transfers %" PRIu64 "\n",
	       (double)(now_ns() - start_ns) / 1e9, copies, wrong, figures_us[FREEZE][last], figures_us[STOOD][last],
	       figures_us[COPY][last], transfers());
	fflush(stdout);
}

/* Everything has come to rest. */
static bool say_totals(void)
{
	static const char *const names[FIGURES] = {"freeze", "stood", "copy"};
	const struct finding finding = bank_look(tellers, teller_count);
	const size_t count = copies < KEPT ? copies : KEPT;
	const bool exact = !finding.inside && !finding.locked && !finding.missing;

	if (count > 0) {
		printf("\n%-10s %10s %10s %10s\n", "us", "median", "99 %", "most");
		for (int i = 0; i < FIGURES; i++) {
			qsort(figures_us[i], count, sizeof(figures_us[i][0]), by_size);
			printf("%-10s %10u %10u %10u\n", names[i], figures_us[i][count / 2],
			       figures_us[i][count - 1 - count / 100], figures_us[i][count - 1]);
		}
	}
	printf("\n%" PRIu64 " copies: %" PRIu64 " wrong; %" PRIu64 " not taken, somebody did not freeze in time\n",
	       copies, wrong, late);
	printf("%" PRIu64 " transfers by %u threads, %" PRId64 " in %u accounts: %s\n", transfers(), teller_count,
	       (int64_t)ACCOUNTS * OPENING_BALANCE - finding.missing, ACCOUNTS, exact ? "exact" : "WRONG");
	return exact && copies > 0 && wrong == 0 && late == 0;
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

static int cannot(const char *what, int error)
{
	fprintf(stderr, "snapshot: %s: %s\n", what, strerror(-error));
	return 1;
}

static int run(int signals)
{
	const uint64_t end_ns = options.for_ns > UINT64_MAX - start_ns ? UINT64_MAX : start_ns + options.for_ns;
	struct pollfd fd = {.fd = signals, .events = POLLIN};
	uint64_t line_ns = start_ns + LINE_NS;
	int error = 0;

	while (!error && now_ns() < end_ns && poll(&fd, 1, (int)options.every_ms) == 0) {
		error = take_copy();
		if (now_ns() >= line_ns) {
			say();
			line_ns += LINE_NS;
		}
		if (ferror(stdout))
			break; /* nobody listens any more */
	}
	return error;
}

static int work(int signals)
{
	static atomic_bool enough;
	pthread_t thread;
	int error = start_threads();

	if (error)
		return cannot("cannot start a thread", error);
	error = -pthread_create(&thread, NULL, customer, &enough);
	if (!error) {
		error = run(signals);
		atomic_store(&enough, true);
		pthread_join(thread, NULL);
	}
	stop_threads();
	if (error)
		return cannot("cannot take a copy", error);
	return say_totals() && fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	int signals, error, status;

	parse_options(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	teller_count = options.tellers + 2;
	tellers = aligned_alloc(alignof(struct teller), teller_count * sizeof(*tellers));
	message = mmap(NULL, sizeof(*message), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!tellers || message == MAP_FAILED)
		return cannot("no memory", -ENOMEM);
	memset(tellers, 0, teller_count * sizeof(*tellers));
	bank_open();
	signals = open_signals();
	if (signals < 0 || pipe(orders) != 0)
		return cannot("cannot open what it needs", -errno);
	config.log = on_log;
	error = kthread_init(&config);
	if (error)
		return cannot("cannot start libkthread", error);
	start_ns = now_ns();
	status = work(signals);
	free(tellers);
	error = kthread_fini();
	return error ? cannot("the library does not end", error) : status;
}
