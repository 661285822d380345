/* SPDX-License-Identifier: MIT */
#include "machine/look.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/library.h"
#include "base/log.h"
#include "machine/cpumask.h"
#include "machine/cpuset.h"
#include "machine/quota.h"
#include "machine/start_mask.h"
#include "machine/sysfs.h"

/* The longest list of 8192 CPUs, the most a kernel is built for, has 40 KiB. */
#define TEXT_SIZE ((size_t)64 * 1024)
#define WIDEST 65536u

/* Sets that kt_look has no name for. */
enum { SCRATCH = KT_SEEN_SETS, WORK, NEW_EFFECTIVE, NEW_GRANTED, ALL_SETS };

static struct {
	struct kt_look now;
	bool possible_known;  /* not guessed: it is fixed from boot on, and not read again */
	bool effective_known; /* EFFECTIVE and GRANTED are no guess for want of a readable file */
	bool granted_known;
	bool start_judged;        /* with the cpuset known: start_cuts stays */
	cpu_set_t *set[ALL_SETS]; /* in the block that set[0] begins */
	char *text;
	struct {
		bool sysfs, isolated, cpuset; /* complained of */
	} said;
} look;

/* Whether the start mask is a taskset is judged once in the life of the process, as soon as our cpuset can be read:
 * later, what it gave when the process began is not known any more. Not for recorded machines. */
static enum { UNJUDGED, CUTS, WIDE } start_mask;

const struct kt_look *kt_look_last(void)
{
	return &look.now;
}

/* Once when something breaks, once when it is well again. */
static void say(bool *said, int error, const char *what)
{
	if (error && !*said)
		kt_log(SOURCE_UNUSABLE, "%s: unusable (%s): going on with what is known", what,
		       error == -EINVAL || error == -EBADMSG ? "garbage" : strerror(-error));
	else if (!error && *said)
		kt_log(SOURCE_USABLE, "%s: usable again", what);
	*said = error != 0;
}

static void accept_set(enum kt_seen to, int from)
{
	kt_cpus_copy(look.now.setsize, look.set[to], look.set[from]);
}

/* ---- sysfs ----------------------------------------------------------------------------------------------------- */

typedef int (*reader)(char *text, size_t size, size_t setsize, cpu_set_t *set);

/* Replace a set if its source can be read; CPUs that are not possible are left out. */
static int renew(enum kt_seen which, reader read)
{
	const size_t setsize = look.now.setsize;
	const int error = read(look.text, TEXT_SIZE, setsize, look.set[SCRATCH]);

	if (error)
		return error;
	if (which != KT_SEEN_POSSIBLE)
		kt_cpus_and(setsize, look.set[SCRATCH], look.set[SCRATCH], look.set[KT_SEEN_POSSIBLE]);
	if (which == KT_SEEN_ONLINE && kt_cpus_empty(setsize, look.set[SCRATCH]))
		return -ENOENT;
	look.now.source[which] = kt_sysfs_source();
	accept_set(which, SCRATCH);
	return 0;
}

static void online_are_present(void)
{
	kt_cpus_or(look.now.setsize, look.set[KT_SEEN_PRESENT], look.set[KT_SEEN_PRESENT], look.set[KT_SEEN_ONLINE]);
}

static int look_at_sysfs(void)
{
	int error = 0, present = 0, isolated, nohz_full;

	if (!look.possible_known) {
		error = renew(KT_SEEN_POSSIBLE, kt_sysfs_possible);
		look.possible_known = !error;
	}
	if (!error) {
		present = renew(KT_SEEN_PRESENT, kt_sysfs_present);
		error = renew(KT_SEEN_ONLINE, kt_sysfs_online); /* the one that matters, whatever became of the other */
	}
	say(&look.said.sysfs, error ? error : present, "/sys/devices/system/cpu");
	if (!error) {
		online_are_present();
		isolated = renew(KT_SEEN_ISOLATED, kt_sysfs_isolated);
		nohz_full = renew(KT_SEEN_NOHZ_FULL, kt_sysfs_nohz_full);
		say(&look.said.isolated, isolated ? isolated : nohz_full,
		    "/sys/devices/system/cpu/isolated or nohz_full");
	}
	return error;
}

/* ---- the cpuset ------------------------------------------------------------------------------------------------ */

static struct kt_cpuset_sets cpuset_sets(void)
{
	return (struct kt_cpuset_sets){
	    .setsize = look.now.setsize,
	    .possible = look.set[KT_SEEN_POSSIBLE],
	    .effective = look.set[NEW_EFFECTIVE],
	    .granted = look.set[NEW_GRANTED],
	    .partitions = look.set[KT_SEEN_PARTITIONS],
	    .work = look.set[WORK],
	};
}

static void look_at_cpuset(void)
{
	const struct kt_cpuset_sets sets = cpuset_sets();
	struct kt_cpuset_news news;

	kt_cpuset_locate(look.text, TEXT_SIZE);
	kt_cpuset_read(&sets, look.text, TEXT_SIZE, &news);
	if ((!news.effective_error && !news.granted_error) || !look.effective_known || !look.granted_known)
		look.now.confined = news.confined;
	if (!news.effective_error || !look.effective_known) {
		accept_set(KT_SEEN_EFFECTIVE, news.visible ? NEW_EFFECTIVE : KT_SEEN_POSSIBLE);
		look.effective_known = !news.effective_error;
	}
	if (!news.granted_error || !look.granted_known) {
		accept_set(KT_SEEN_GRANTED, NEW_GRANTED);
		look.granted_known = !news.granted_error;
	}
	say(&look.said.cpuset, news.effective_error ? news.effective_error : news.granted_error,
	    "a cpuset file of our cgroup or above");
}

static void look_at_quota(void)
{
	unsigned int quota;

	if (kt_quota_read(look.text, TEXT_SIZE, &quota) == 0)
		look.now.quota = quota;
}

/* ---- start and stop -------------------------------------------------------------------------------------------- */

/* Without sysfs: as many CPUs as libc counts, and those that the main thread may run on. */
static void guess(size_t setsize, cpu_set_t *set, cpu_set_t *scratch)
{
	const long count = sysconf(_SC_NPROCESSORS_CONF);

	kt_cpus_zero(setsize, set);
	for (long cpu = 0; cpu < count; cpu++)
		kt_cpus_add(setsize, set, (unsigned int)cpu);
	if (sched_getaffinity(getpid(), setsize, scratch) == 0)
		kt_cpus_or(setsize, set, set, scratch);
	if (kt_cpus_empty(setsize, set))
		kt_cpus_add(setsize, set, 0);
}

/* The possible CPUs, or a guess, into a set that is wide enough for any machine. */
static size_t measure(size_t wide, cpu_set_t *possible, cpu_set_t *scratch)
{
	const int error = kt_sysfs_possible(look.text, TEXT_SIZE, wide, possible);
	int last;

	look.possible_known = !error;
	if (error)
		guess(wide, possible, scratch);
	else
		look.now.source[KT_SEEN_POSSIBLE] = kt_sysfs_source();
	last = kt_cpus_last(wide, possible);
	/* A guess may be set right later, but the sets don't grow any more: leave room. */
	if (error && last < CPU_SETSIZE - 1)
		last = CPU_SETSIZE - 1;
	return kt_cpus_size((unsigned int)last + 1);
}

static int make_sets(size_t setsize, const cpu_set_t *possible)
{
	char *block = calloc(ALL_SETS, setsize);

	if (!block)
		return -ENOMEM;
	for (int i = 0; i < ALL_SETS; i++)
		look.set[i] = (cpu_set_t *)(void *)(block + (size_t)i * setsize);
	memcpy(look.now.set, look.set, sizeof(look.now.set));
	look.now.setsize = setsize;
	kt_cpus_copy(setsize, look.set[KT_SEEN_POSSIBLE], possible);
	return 0;
}

static void first_look(void)
{
	accept_set(KT_SEEN_PRESENT, KT_SEEN_POSSIBLE);
	accept_set(KT_SEEN_ONLINE, KT_SEEN_POSSIBLE);
	if (look_at_sysfs() != 0)
		renew(KT_SEEN_ONLINE, kt_cpuinfo_online);
	look_at_cpuset();
	look_at_quota();
}

/*
 * A mask as wide as our cpuset is nobody's wish: it must not keep us from CPUs that the cpuset gets later. Nor is one that
 * lacks just the CPUs isolated at boot: the kernel starts every process so, and who wants these CPUs binds to them.
 */
static bool is_default(const cpu_set_t *start, cpu_set_t *work)
{
	const size_t setsize = look.now.setsize;

	kt_cpus_and(setsize, work, look.set[KT_SEEN_EFFECTIVE], look.set[KT_SEEN_ONLINE]);
	if (kt_cpus_subset(setsize, work, start))
		return true;
	kt_cpus_andnot(setsize, work, work, look.set[KT_SEEN_ISOLATED]);
	return kt_cpus_subset(setsize, work, start) && !kt_cpus_intersect(setsize, start, look.set[KT_SEEN_ISOLATED]);
}

static bool start_mask_cuts(void)
{
	const bool recorded_machine = kt_config()->root[0];
	const size_t setsize = look.now.setsize;
	bool cuts;

	if (kt_start_mask(look.text, TEXT_SIZE, setsize, look.set[KT_SEEN_START]) != 0)
		return false;
	if (!recorded_machine && start_mask != UNJUDGED)
		return start_mask == CUTS;
	cuts = !is_default(look.set[KT_SEEN_START], look.set[WORK]);
	if (!recorded_machine && look.effective_known)
		start_mask = cuts ? CUTS : WIDE;
	return cuts;
}

static void judge_start_mask(void)
{
	look.now.start_cuts = start_mask_cuts();
	look.start_judged = look.effective_known;
}

void kt_look_again(void)
{
	look_at_sysfs();
	look_at_cpuset();
	look_at_quota();
	if (!look.start_judged)
		judge_start_mask();
}

bool kt_look_briefly(void)
{
	const struct kt_cpuset_sets sets = cpuset_sets();

	/* What is not known yet, a full look may find. */
	if (!look.possible_known || !look.effective_known || !look.granted_known || !look.start_judged)
		return false;
	if (renew(KT_SEEN_ONLINE, kt_sysfs_online) != 0 || !kt_cpuset_read_effective(&sets, look.text, TEXT_SIZE))
		return false;
	online_are_present();
	accept_set(KT_SEEN_EFFECTIVE, NEW_EFFECTIVE);
	return true;
}

int kt_look_start(void)
{
	const size_t wide = kt_cpus_size(WIDEST);
	cpu_set_t *sets = calloc(2, wide);
	int error = -ENOMEM;

	memset(&look, 0, sizeof(look));
	look.text = malloc(TEXT_SIZE);
	if (sets && look.text) {
		cpu_set_t *const scratch = (cpu_set_t *)(void *)((char *)sets + wide);
		const size_t setsize = measure(wide, sets, scratch);

		error = make_sets(setsize, sets);
	}
	free(sets);
	if (error) {
		kt_look_stop();
		return error;
	}
	first_look();
	judge_start_mask();
	return 0;
}

void kt_look_stop(void)
{
	free(look.set[0]);
	free(look.text);
	memset(&look, 0, sizeof(look));
	kt_sysfs_forget();
	kt_cpuset_forget();
	kt_quota_forget();
}
