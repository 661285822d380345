/* SPDX-License-Identifier: MIT */
#include "sim.h"

#include <dirent.h>
#include <pthread.h>

struct sim sim;

static pthread_mutex_t messages_lock = PTHREAD_MUTEX_INITIALIZER;
static char messages[65536];

void sim_log(int level, const char *message, void *arg)
{
	pthread_mutex_lock(&messages_lock);
	if (strlen(messages) + strlen(message) + 2 < sizeof(messages))
		strcat(strcat(messages, message), "\n");
	pthread_mutex_unlock(&messages_lock);
}

int sim_logged(const char *text)
{
	int count = 0;

	pthread_mutex_lock(&messages_lock);
	for (const char *at = messages; (at = strstr(at, text)); at++)
		count++;
	pthread_mutex_unlock(&messages_lock);
	return count;
}

struct kthread_config sim_config(void)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	config.simulate = true;
	config.poll_ms = 0;
	config.uevents = false;
	config.inotify = false;
	config.log = sim_log;
	return config;
}

void sim_tree(const char *machine)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(sim.root, sizeof(sim.root), "%s/kthread-test-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(sim.root));
	assert_int_equal(machine_write(machine_named(machine), sim.root), 0);
	sim.possible = sim.online = sim.granted = sim.housekeeping = 0xff;
}

void sim_start(const struct kthread_config *given)
{
	struct kthread_config config = given ? *given : sim_config();

	if (!sim.root[0])
		sim_tree("numa");
	messages[0] = '\0';
	config.root = sim.root;
	assert_int_equal(kthread_init(&config), 0);
}

void sim_stop(void)
{
	assert_int_equal(kthread_fini(), 0);
	machine_remove(sim.root);
	sim.root[0] = '\0';
}

pid_t sim_task(const char *name)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	pid_t tid = 0;

	while (dir && !tid && (entry = readdir(dir))) {
		char path[300];
		char comm[32] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fgets(comm, sizeof(comm), file) && strncmp(comm, name, strlen(name)) == 0)
			tid = (pid_t)atoi(entry->d_name);
		fclose(file);
	}
	if (dir)
		closedir(dir);
	return tid;
}

void sim_calm(void)
{
	pid_t tid;

	AWAIT((tid = sim_task("kthread-monitor")) != 0);
	await_settled(tid);
}

void sim_put(const char *path, const char *text)
{
	assert_int_equal(machine_put(sim.root, path, text), 0);
}

void sim_replace(const char *path, const char *text)
{
	char from[256];
	char to[256];

	sim_put("new", text);
	snprintf(from, sizeof(from), "%s/new", sim.root);
	snprintf(to, sizeof(to), "%s/%s", sim.root, path);
	assert_int_equal(rename(from, to), 0);
}

void sim_remove(const char *path)
{
	char full[256];

	snprintf(full, sizeof(full), "%s/%s", sim.root, path);
	machine_remove(full);
}

const char *sim_list(unsigned int cpus)
{
	static char lists[4][128]; /* so that several may stand in one call */
	static int turn;
	char *list = lists[turn++ % 4];

	list[0] = '\0';
	for (unsigned int cpu = 0; cpu < 32; cpu++) {
		if (cpus >> cpu & 1)
			sprintf(list + strlen(list), "%u,", cpu);
	}
	list[list[0] ? strlen(list) - 1 : 0] = '\n';
	return list;
}

void sim_online(unsigned int cpus)
{
	char path[64];

	for (unsigned int cpu = 0; cpu < 8; cpu++) {
		snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%u/online", cpu);
		if ((cpus ^ sim.online) >> cpu & 1)
			sim_put(path, cpus >> cpu & 1 ? "1\n" : "0\n");
	}
	sim_replace("sys/devices/system/cpu/online", sim_list(cpus));
	sim.online = cpus;
}

/* ---- the library ------------------------------------------------------------------------------------------------- */

static unsigned int bits_of(const cpu_set_t *set)
{
	unsigned int bits = 0;

	for (unsigned int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, set)) {
			assert_true(cpu < 32);
			bits |= 1u << cpu;
		}
	}
	return bits;
}

static cpu_set_t set_of(unsigned int cpus)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (unsigned int cpu = 0; cpu < 32; cpu++) {
		if (cpus >> cpu & 1)
			CPU_SET(cpu, &set);
	}
	return set;
}

unsigned int sim_kernel_mask(pid_t tid)
{
	unsigned int bits = 0;
	cpu_set_t set;

	CHECK(sched_getaffinity(tid, sizeof(set), &set) == 0);
	for (unsigned int cpu = 0; cpu < 32; cpu++)
		bits |= (unsigned int)CPU_ISSET(cpu, &set) << cpu;
	return bits;
}

void sim_remask(pid_t tid, unsigned int cpus)
{
	const cpu_set_t set = set_of(cpus);

	CHECK(sched_setaffinity(tid, sizeof(set), &set) == 0);
}

bool sim_two_cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_ISSET(0, &set) && CPU_ISSET(1, &set) &&
	       CPU_COUNT(&set) <= 32;
}

unsigned int sim_cpus(enum kthread_cpus which)
{
	cpu_set_t set;

	assert_int_equal(kthread_cpus(which, sizeof(set), &set), 0);
	return bits_of(&set);
}

unsigned int sim_mask(const struct kthread *k, enum kthread_mask which)
{
	cpu_set_t set;

	assert_int_equal(kthread_get_mask(k, which, sizeof(set), &set), 0);
	return bits_of(&set);
}

struct kthread_info sim_info(const struct kthread *k)
{
	struct kthread_info info = {.size = sizeof(info)};

	CHECK(kthread_info(k, &info) == 0);
	return info;
}

int sim_bind(struct kthread *k, unsigned int cpus)
{
	const cpu_set_t set = set_of(cpus);

	return kthread_bind_mask(k, sizeof(set), &set);
}

int sim_prefer(struct kthread *k, unsigned int cpus)
{
	const cpu_set_t set = set_of(cpus);

	return kthread_affine_preferred(k, sizeof(set), &set);
}

int sim_housekeeping(unsigned int cpus)
{
	const cpu_set_t set = set_of(cpus);
	const int error = kthread_housekeeping_set(sizeof(set), &set);

	if (!error)
		sim.housekeeping = cpus;
	return error;
}

/* ---- the model --------------------------------------------------------------------------------------------------- */

unsigned int sim_usable(void)
{
	return sim.online & sim.granted;
}

unsigned int sim_effective(enum kthread_wish kind, unsigned int wish, bool *ret_broken)
{
	const bool bound = kind == KTHREAD_WISH_BOUND || kind == KTHREAD_WISH_PER_CPU;
	const unsigned int kept = sim.housekeeping & sim_usable();

	*ret_broken = bound && !(wish & sim_usable());
	if (bound && !*ret_broken)
		return wish & sim_usable();
	if (!bound && kind != KTHREAD_WISH_NONE && wish & kept)
		return wish & kept;
	return kept ? kept : sim_usable();
}

void sim_assert_placed(const struct kthread *k, enum kthread_wish kind, unsigned int wish, const char *file, int line)
{
	const struct kthread_info info = sim_info(k);
	const unsigned int said_wish = kind == KTHREAD_WISH_NONE ? sim.possible : wish;
	bool broken;
	const unsigned int effective = sim_effective(kind, wish, &broken);

	if (sim_mask(k, KTHREAD_MASK_WISH) == said_wish && sim_mask(k, KTHREAD_MASK_EFFECTIVE) == effective &&
	    sim_mask(k, KTHREAD_MASK_ACTUAL) == effective && kthread_is_broken(k) == broken && info.broken == broken &&
	    info.wish == kind && info.per_cpu == (kind == KTHREAD_WISH_PER_CPU) &&
	    kthread_is_per_cpu(k) == info.per_cpu && (info.broken_since_ns != 0) == broken && info.last_error == 0)
		return;
	print_error("%s:%d: %s: wish %#x effective %#x actual %#x %s %s; wanted wish %#x effective %#x %s; online %#x "
	            "granted %#x housekeeping %#x\n",
	            file, line, info.name, sim_mask(k, KTHREAD_MASK_WISH), sim_mask(k, KTHREAD_MASK_EFFECTIVE),
	            sim_mask(k, KTHREAD_MASK_ACTUAL), kthread_wish_name(info.wish),
	            kthread_is_broken(k) ? "broken" : "", said_wish, effective, broken ? "broken" : "", sim.online,
	            sim.granted, sim.housekeeping);
	_fail(file, line);
}
