/* SPDX-License-Identifier: MIT */
/*
 * Random wishes and lives on a machine that does not stand still. The library has no poll: what it misses stays wrong.
 */
#include "vm.h"

/* ---- CPUs that come and go -------------------------------------------------------------------------------------- */

#define TRANSITIONS_EACH 100

struct toggler {
	pthread_t thread;
	cpus_t cpus;
	unsigned int transitions;
	uint64_t seed;
};

static atomic_uint transitions_done;
static atomic_uint togglers_busy;
static atomic_uint sequence[ALL_CPUS]; /* odd: this CPU is on its way */

static void *toggle(void *data)
{
	struct toggler *toggler = data;

	for (unsigned int i = 0; i < toggler->transitions; i++) {
		const unsigned int cpu = random_cpu(&toggler->seed, toggler->cpus);
		const bool online = atomic_load(&world.online) & CPU(cpu);
		int error;

		atomic_fetch_add(&sequence[cpu], 1);
		while ((error = cpu_try(cpu, !online)) == EBUSY)
			pause_ns(MS);
		if (error)
			FAIL("CPU %u does not go %s: %s", cpu, online ? "offline" : "online", strerror(error));
		atomic_fetch_add(&sequence[cpu], 1);
		atomic_fetch_add(&transitions_done, 1);
	}
	atomic_fetch_sub(&togglers_busy, 1);
	return NULL;
}

static void start_togglers(struct toggler togglers[2], unsigned int transitions, uint64_t *seed)
{
	static const char *const cpus[] = {"1,3,5,7", "2,4,6"};

	atomic_store(&togglers_busy, 2);
	for (int i = 0; i < 2; i++) {
		togglers[i].cpus = cpus_of(cpus[i]);
		togglers[i].transitions = transitions;
		togglers[i].seed = next_random(seed);
		CHECK(pthread_create(&togglers[i].thread, NULL, toggle, &togglers[i]) == 0);
	}
}

static void join_togglers(struct toggler togglers[2])
{
	for (int i = 0; i < 2; i++)
		CHECK(pthread_join(togglers[i].thread, NULL) == 0);
}

/* ---- the storm -------------------------------------------------------------------------------------------------- */

#define STORM_THREADS 400u

static enum kthread_wish random_wish(uint64_t *seed, char *text, size_t size)
{
	static const enum kthread_wish wishes[] = {KTHREAD_WISH_NONE,  KTHREAD_WISH_NODE,  KTHREAD_WISH_PREFERRED,
	                                           KTHREAD_WISH_BOUND, KTHREAD_WISH_BOUND, KTHREAD_WISH_PER_CPU};
	const unsigned int which = below(seed, sizeof(wishes) / sizeof(wishes[0]));
	cpus_t some = next_random(seed) & 0xff;

	switch (wishes[which]) {
	case KTHREAD_WISH_NONE:
		text[0] = '\0';
		break;
	case KTHREAD_WISH_NODE:
		snprintf(text, size, "%u", below(seed, 4));
		break;
	default:
		if (!some || wishes[which] == KTHREAD_WISH_PER_CPU || which == 3)
			some = CPU(below(seed, 8));
		snprintf(text, size, "%s", cpus_text(some));
		break;
	}
	return wishes[which];
}

static void add_random(uint64_t *seed)
{
	static const enum activity lives[] = {SLEEPING, SLEEPING, SLEEPING, SLEEPING, SLEEPING, SLEEPING,
	                                      SLEEPING, SLEEPING, SLEEPING, PARKED,   REPARKED, CREATED};
	enum activity activity = below(seed, 40) ? lives[below(seed, sizeof(lives) / sizeof(lives[0]))] : TICKING;
	const enum origin origin = below(seed, 10) ? KTHREAD : below(seed, 2) ? ADOPTS_ITSELF : ADOPTED_BY_TID;
	char text[64];
	enum kthread_wish wish;

	do
		wish = random_wish(seed, text, sizeof(text));
	while (wish == KTHREAD_WISH_PER_CPU && origin != KTHREAD);
	if (origin != KTHREAD && activity > SLEEPING)
		activity = SLEEPING;
	crew_add(origin, activity, wish, text);
}

static struct member *random_member(uint64_t *seed)
{
	struct member *member = crew_first();

	for (unsigned int n = below(seed, STORM_THREADS); n && member->next; n--)
		member = member->next;
	return member;
}

/* An adopted thread, or one that is parked or not begun, may get another wish. */
static void change_wish(struct member *member, uint64_t *seed)
{
	char text[64];
	const enum kthread_wish wish = random_wish(seed, text, sizeof(text));

	if (member->origin == KTHREAD && member->activity < PARKED)
		return;
	if (member->origin != KTHREAD && wish == KTHREAD_WISH_PER_CPU)
		return;
	give_wish(member, wish, wish == KTHREAD_WISH_NODE ? 0 : cpus_of(text),
	          wish == KTHREAD_WISH_NODE ? atoi(text) : KTHREAD_NO_NODE);
}

static void storm(void)
{
	uint64_t seed = first_seed();
	struct toggler togglers[2];
	unsigned int replaced = 0, wishes = 0;
	uint64_t refusals = 0, reaffines = 0, begin;

	start_library(0, true, false);
	for (unsigned int i = 0; i < STORM_THREADS; i++)
		add_random(&seed);
	start_togglers(togglers, TRANSITIONS_EACH, &seed);
	world.moving = true;
	while (atomic_load(&togglers_busy)) {
		struct member *victim = random_member(&seed);

		if (victim->origin == ADOPTED_BY_TID && below(&seed, 2))
			crew_bereave(victim);
		else
			crew_remove(victim);
		add_random(&seed);
		replaced++;
		change_wish(random_member(&seed), &seed);
		wishes++;
		pause_ns(10 * MS);
	}
	join_togglers(togglers);
	world.moving = false;
	begin = now_ns();
	crew_masks("when it is over");
	printf("    %u threads, %u transitions, %u threads replaced; in place %.0f ms after the last\n", STORM_THREADS,
	       atomic_load(&transitions_done), replaced, (double)(now_ns() - begin) / 1e6);
	crew_settled("when it is over");
	everything_on();
	crew_settled("every CPU is on again");
	for (const struct member *member = crew_first(); member; member = member->next) {
		struct kthread_info info = {.size = sizeof(info)};

		CHECK0(kthread_info(member->k, &info));
		refusals += info.refusals;
		reaffines += info.reaffines;
	}
	printf("    %llu masks given to those who are left, %llu refused on the way, none left standing\n",
	       (unsigned long long)reaffines, (unsigned long long)refusals);
	CHECK(crew_size() == STORM_THREADS && atomic_load(&transitions_done) == 2 * TRANSITIONS_EACH && replaced &&
	      wishes);
}

/* ---- bound threads, parked and stopped while their CPU is on its way --------------------------------------------- */

#define RESIDENTS 14

struct resident {
	struct kthread *k;
	unsigned int cpu;
	bool stays; /* is told from outside by a wait, not by looking all the time */
	atomic_ulong home, abroad;
	unsigned int streak;
};

static atomic_ulong abroad_unseen; /* turns elsewhere, the CPU having been gone all the while */

/*
 * A turn: asked whether to go on, and gone on. One turn elsewhere may happen, when a park comes and is taken back in
 * between; a second one in a row, the CPU having been off since before the first question, may not.
 */
static int reside(void *data)
{
	struct resident *resident = data;

	for (;;) {
		const unsigned int before = atomic_load(&sequence[resident->cpu]);
		const bool gone = !(before & 1) && !(atomic_load(&world.online) & CPU(resident->cpu));
		unsigned int cpu;

		if (kthread_bound_should_stop())
			return 42;
		if (kthread_should_park()) {
			kthread_parkme();
			continue;
		}
		cpu = (unsigned int)sched_getcpu();
		if (cpu == resident->cpu)
			atomic_fetch_add(&resident->home, 1);
		else
			atomic_fetch_add(&resident->abroad, 1);
		if (gone && cpu != resident->cpu && atomic_load(&sequence[resident->cpu]) == before) {
			atomic_fetch_add(&abroad_unseen, 1);
			if (++resident->streak > 1)
				FAIL("bound to CPU %u, which has been off, and runs on %u", resident->cpu, cpu);
		} else {
			resident->streak = 0;
		}
		if (resident->stays)
			kthread_wait_for(2 * MS);
		else
			pause_ns(MS);
	}
}

static void move_in(struct resident *resident)
{
	resident->streak = 0;
	atomic_store(&resident->home, 0);
	resident->k = kthread_run_on_cpu(reside, resident, resident->cpu, "resident/%u");
	CHECK(resident->k);
}

static int move_out(struct resident *resident)
{
	const int result = kthread_stop(resident->k);

	if (result != 42 && result != -EINTR)
		FAIL("a thread of CPU %u ended with %d", resident->cpu, result);
	return result;
}

static void life(void)
{
	static struct resident residents[RESIDENTS];
	uint64_t seed = first_seed();
	struct toggler togglers[2];
	unsigned long parks = 0, stops = 0, abroad = 0, begun = 0;

	start_library(0, true, false);
	for (unsigned int i = 0; i < RESIDENTS; i++) {
		residents[i].cpu = 1 + i % 7;
		residents[i].stays = i % 2;
		move_in(&residents[i]);
	}
	start_togglers(togglers, TRANSITIONS_EACH / 3, &seed);
	while (atomic_load(&togglers_busy)) {
		struct resident *resident = &residents[below(&seed, RESIDENTS)];

		if (below(&seed, 4)) {
			CHECK0(kthread_park(resident->k));
			if (below(&seed, 2))
				pause_ns(below(&seed, 20) * MS);
			kthread_unpark(resident->k);
			parks++;
		} else {
			begun += move_out(resident) == 42;
			move_in(resident);
			stops++;
		}
	}
	join_togglers(togglers);
	for (int i = 0; i < RESIDENTS; i++) {
		if (!(atomic_load(&world.online) & CPU(residents[i].cpu)))
			AWAIT(kthread_is_broken(residents[i].k));
	}
	everything_on();
	for (int i = 0; i < RESIDENTS; i++) {
		const unsigned long turns = atomic_load(&residents[i].home);

		AWAIT(!kthread_is_broken(residents[i].k) &&
		      task_cpus(kthread_tid(residents[i].k)) == CPU(residents[i].cpu));
		AWAIT(atomic_load(&residents[i].home) > turns + 2);
		abroad += atomic_load(&residents[i].abroad);
		CHECK(move_out(&residents[i]) == 42);
	}
	printf(
	    "    %lu parks, %lu stops (%lu of threads that had begun), %lu turns elsewhere, %lu of them with the CPU gone\n",
	    parks, stops, begun, abroad, atomic_load(&abroad_unseen));
	CHECK(parks && stops && begun);
}

const struct vm_case cases_storm[] = {
    {"storm", storm, NULL},
    {"life", life, NULL},
    {NULL, NULL, NULL},
};
