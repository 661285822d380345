/* SPDX-License-Identifier: MIT */
/*
 * moving SUITE...: runs cases, each as a process of its own, on a machine put back to where it was at boot.
 *
 * Each process is started anew, not only forked: the library then finds the machine as a program at its start does.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "vm.h"

#define CASE_LIMIT_S 150 /* or KTHREAD_VM_CASE_SECONDS: less than the guest has */
#define SKIPPED 77
#define STALLED 125 /* the guest runner powers on again */

static const struct vm_suite suites[] = {
    {"places", cases_places}, {"sources", cases_sources}, {"cgroup2", cases_cgroup2}, {"cgroup1", cases_cgroup1},
    {"storm", cases_storm},   {"steps", cases_steps},     {"percpu", cases_percpu},   {"figures", cases_figures},
    {"boot", cases_boot},     {"plug", cases_plug},       {"ktask", cases_ktask},     {"spread", cases_spread},
    {"worker", cases_worker},
};

void vm_fail(const char *file, int line, const char *format, ...)
{
	const char *base = strrchr(file, '/');
	va_list args;

	va_start(args, format);
	printf("    %s:%d: ", base ? base + 1 : file, line);
	vprintf(format, args);
	printf("\n    online %s\n", cpus_text(sysfs_cpus("online")));
	va_end(args);
	fflush(stdout);
	_exit(1);
}

void vm_skip(const char *why)
{
	printf("    %s\n", why);
	fflush(stdout);
	_exit(SKIPPED);
}

bool kernel_is(const char *series)
{
	const size_t length = strlen(series);
	struct utsname name;

	CHECK(uname(&name) == 0);
	return strncmp(name.release, series, length) == 0 && name.release[length] == '.';
}

/* ---- chance ----------------------------------------------------------------------------------------------------- */

uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

unsigned int below(uint64_t *state, unsigned int limit)
{
	return (unsigned int)(next_random(state) % limit);
}

uint64_t first_seed(void)
{
	const char *given = getenv("KTHREAD_VM_SEED");
	const uint64_t seed = given ? strtoull(given, NULL, 0) : now_ns() * 0x9e3779b97f4a7c15u;

	printf("    seed 0x%llx (KTHREAD_VM_SEED)\n", (unsigned long long)seed);
	return seed | 1;
}

unsigned int random_cpu(uint64_t *state, cpus_t cpus)
{
	unsigned int cpu;

	do
		cpu = below(state, ALL_CPUS);
	while (!(cpus & CPU(cpu)));
	return cpu;
}

/* ---- cases ------------------------------------------------------------------------------------------------------ */

/* Exit status of the case; 128 + N: killed by a signal. */
static int await_case(pid_t pid)
{
	const char *given = getenv("KTHREAD_VM_CASE_SECONDS");
	const uint64_t until = now_ns() + (given ? strtoull(given, NULL, 10) : CASE_LIMIT_S) * 1000 * MS;
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (now_ns() > until) {
			printf("    it hangs\n");
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			break;
		}
		pause_ns(5 * MS);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static atomic_int naps_left;

static void *nap(void *cpu)
{
	cpu_set_t set;

	sched_setaffinity(0, sizeof(set), as_set(CPU((uintptr_t)cpu), &set));
	pause_ns(10 * MS);
	atomic_fetch_sub(&naps_left, 1);
	return NULL;
}

/*
 * Emulation on a busy host loses interrupts now and then: a CPU of the guest then runs nothing, or wakes nobody, for
 * minutes (its kernel tells of RCU stalls). Such a machine is no judge. So after a failure: does a thread that sleeps
 * 10 ms come back, on each CPU? Waits without sleeping, as the timers are what is in doubt.
 */
static bool machine_stalls(void)
{
	const cpus_t online = sysfs_cpus("online");
	const uint64_t until = now_ns() + 5000 * MS;
	pthread_t thread;

	atomic_store(&naps_left, 0);
	for (uintptr_t cpu = 0; cpu < 64; cpu++) {
		if (!(online & CPU(cpu)) || pthread_create(&thread, NULL, nap, (void *)cpu) != 0)
			continue;
		atomic_fetch_add(&naps_left, 1);
		pthread_detach(thread);
	}
	while (atomic_load(&naps_left) > 0 && now_ns() < until)
		sched_yield();
	return atomic_load(&naps_left) > 0;
}

static int run_case(const struct vm_suite *suite, const struct vm_case *one)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		if (one->taskset) {
			cpu_set_t set;

			CHECK(sched_setaffinity(0, sizeof(set), as_set(cpus_of(one->taskset), &set)) == 0);
		}
		setpgid(0, 0);
		execl("/proc/self/exe", "moving", "--case", suite->name, one->name, (char *)NULL);
		_exit(127);
	}
	return await_case(pid);
}

static int run_suite(const struct vm_suite *suite, const char *only, int *passed, int *skipped, bool *stalled)
{
	int failed = 0;

	for (const struct vm_case *one = suite->cases; one->name; one++) {
		const uint64_t begin = now_ns();
		double seconds;
		int status;

		if (only && strcmp(only, one->name) != 0)
			continue;
		status = run_case(suite, one);
		seconds = (double)(now_ns() - begin) / 1e9;
		if (status == 0) {
			++*passed;
			printf("ok       %s/%s (%.1f s)\n", suite->name, one->name, seconds);
		} else if (status == SKIPPED) {
			++*skipped;
			printf("skipped  %s/%s\n", suite->name, one->name);
		} else {
			failed++;
			if (machine_stalls()) {
				*stalled = true;
				printf("    this machine stalls: a sleep of 10 ms takes more than 5 s\n");
			}
			printf("FAILED   %s/%s (%.1f s, status %d)\n", suite->name, one->name, seconds, status);
		}
		machine_reset();
	}
	return failed;
}

static const struct vm_suite *find_suite(const char *name)
{
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
		if (strcmp(suites[i].name, name) == 0)
			return &suites[i];
	}
	fprintf(stderr, "moving: no suite \"%s\"\n", name);
	exit(2);
}

static int one_case(const struct vm_suite *suite, const char *name)
{
	const char *level = getenv("KTHREAD_VM_LOG");

	for (const struct vm_case *one = suite->cases; one->name; one++) {
		if (strcmp(one->name, name) != 0)
			continue;
		setenv("KTHREAD_LOG", level ? level : "warning", 1);
		world_reset();
		one->run();
		crew_end();
		CHECK0(kthread_fini());
		fflush(stdout);
		return 0;
	}
	return 2;
}

/* Arguments: suites, or suite/case. */
int main(int argc, char **argv)
{
	const uint64_t begin = now_ns();
	int passed = 0, skipped = 0, failed = 0;
	bool stalled = false;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 4 && strcmp(argv[1], "--case") == 0)
		return one_case(find_suite(argv[2]), argv[3]);
	for (int i = 1; i < argc; i++) {
		char *slash = strchr(argv[i], '/');

		if (slash)
			*slash = '\0';
		failed += run_suite(find_suite(argv[i]), slash ? slash + 1 : NULL, &passed, &skipped, &stalled);
	}
	printf("%d passed, %d failed, %d skipped, %.1f s\n", passed, failed, skipped, (double)(now_ns() - begin) / 1e9);
	if (stalled)
		return STALLED;
	if (failed || !(passed + skipped))
		return 1;
	return passed ? 0 : SKIPPED;
}
