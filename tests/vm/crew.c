/* SPDX-License-Identifier: MIT */
/*
 * Threads of every kind, and where each of them has to be.
 */
#include <stdarg.h>
#include <sys/syscall.h>

#include "vm.h"

struct world world;

static struct member *crew;
static unsigned int created; /* so far, for names */

void world_reset(void)
{
	world.possible = sysfs_cpus("possible");
	atomic_store(&world.online, sysfs_cpus("online"));
	world.allowed = world.possible;
	world.housekeeping = world.possible;
}

void start_library(unsigned int poll_ms, bool uevents, bool inotify)
{
	struct kthread_config config = KTHREAD_CONFIG_INIT;

	config.poll_ms = poll_ms;
	config.uevents = uevents;
	config.inotify = inotify;
	CHECK0(kthread_init(&config));
}

/* ---- what they do ----------------------------------------------------------------------------------------------- */

static void note_turn(struct member *member)
{
	const int cpu = sched_getcpu();

	if (member->wish == KTHREAD_WISH_PER_CPU && member->cpus != CPU((unsigned int)cpu))
		atomic_store(&member->foreign, true);
	atomic_store(&member->cpu, cpu);
	atomic_fetch_add(&member->turns, 1);
}

static int kthread_body(void *data)
{
	struct member *member = data;

	while (!kthread_should_stop()) {
		if (kthread_should_park()) {
			kthread_parkme();
			continue;
		}
		note_turn(member);
		if (member->activity == TICKING)
			kthread_wait_for(2 * MS);
		else if (member->activity != BUSY)
			kthread_wait();
	}
	return 42;
}

static void *foreign_body(void *data)
{
	struct member *member = data;

	if (member->origin == ADOPTS_ITSELF) {
		member->came_with = task_cpus(gettid());
		member->k = kthread_adopt("%s", member->name);
		if (!member->k)
			FAIL("%s: adopt: %s", member->name, strerror(errno));
		CHECK(kthread_self() == member->k);
	}
	atomic_store(&member->tid, gettid());
	while (!atomic_load(&member->end)) {
		note_turn(member);
		if (member->activity == TICKING)
			pause_ns(2 * MS);
		else if (member->activity == SLEEPING)
			syscall(SYS_futex, &member->end, 0, 0, NULL, NULL, 0); /* FUTEX_WAIT; any end of it is fine */
	}
	if (member->origin == ADOPTS_ITSELF)
		CHECK0(kthread_unadopt(member->k));
	return NULL;
}

/* ---- coming and going ------------------------------------------------------------------------------------------- */

void give_wish(struct member *member, enum kthread_wish wish, cpus_t cpus, int node)
{
	cpu_set_t set;

	as_set(cpus, &set);
	member->wish = wish;
	member->cpus = cpus;
	member->node = node;
	switch (wish) {
	case KTHREAD_WISH_NONE:
		CHECK0(kthread_affine_reset(member->k));
		break;
	case KTHREAD_WISH_NODE:
		CHECK0(kthread_affine_node(member->k, node));
		break;
	case KTHREAD_WISH_PREFERRED:
		CHECK0(kthread_affine_preferred(member->k, sizeof(set), &set));
		break;
	case KTHREAD_WISH_BOUND:
		if (__builtin_popcountll(cpus) == 1)
			CHECK0(kthread_bind(member->k, (unsigned int)__builtin_ctzll(cpus)));
		else
			CHECK0(kthread_bind_mask(member->k, sizeof(set), &set));
		break;
	case KTHREAD_WISH_PER_CPU:
		CHECK0(kthread_set_per_cpu(member->k, __builtin_ctzll(cpus)));
		break;
	}
}

static void bring_to_activity(struct member *member)
{
	switch (member->activity) {
	case PARKED:
		CHECK0(kthread_park(member->k));
		break;
	case REPARKED:
		CHECK(kthread_wake(member->k));
		/* A per-CPU thread whose CPU is gone does not begin. */
		if (member->wish != KTHREAD_WISH_PER_CPU)
			AWAIT(atomic_load(&member->turns) > 0);
		CHECK0(kthread_park(member->k));
		break;
	case CREATED:
		break;
	default:
		CHECK(kthread_wake(member->k));
		break;
	}
}

struct member *crew_add(enum origin origin, enum activity activity, enum kthread_wish wish, const char *cpus_or_node)
{
	static const char *const activities[] = {"busy", "ticking", "sleeping", "parked", "reparked", "created"};
	static const char *const origins[] = {"", "adopting-", "adopted-"};
	struct member *member = calloc(1, sizeof(*member));

	CHECK(member);
	snprintf(member->name, sizeof(member->name), "%s%s-%s-%s/%u", origins[origin], kthread_wish_name(wish),
	         cpus_or_node, activities[activity], created++);
	member->origin = origin;
	member->activity = activity;
	member->next = crew;
	crew = member;
	if (origin == KTHREAD) {
		member->k = kthread_create(kthread_body, member, "%s", member->name);
		if (!member->k)
			FAIL("%s: %s", member->name, strerror(errno));
		atomic_store(&member->tid, kthread_tid(member->k));
	} else {
		CHECK(pthread_create(&member->pthread, NULL, foreign_body, member) == 0);
		AWAIT(atomic_load(&member->tid) > 0);
	}
	if (origin == ADOPTED_BY_TID) {
		member->came_with = task_cpus(atomic_load(&member->tid));
		member->k = kthread_adopt_tid(atomic_load(&member->tid), "%s", member->name);
		if (!member->k)
			FAIL("%s: adopt: %s", member->name, strerror(errno));
	}
	if (wish == KTHREAD_WISH_NODE)
		give_wish(member, wish, 0, atoi(cpus_or_node));
	else
		give_wish(member, wish, cpus_of(cpus_or_node), KTHREAD_NO_NODE);
	if (origin == KTHREAD)
		bring_to_activity(member);
	return member;
}

static enum activity calmer(enum activity activity, enum activity calm)
{
	return activity < calm ? calm : activity;
}

void crew_of_calm(const char *cpus, enum activity calm)
{
	const cpus_t set = cpus_of(cpus);
	char first[8], node[8];

	snprintf(first, sizeof(first), "%d", __builtin_ctzll(set));
	snprintf(node, sizeof(node), "%d", __builtin_ctzll(set) / 2);
	for (enum activity activity = calm; activity < ACTIVITIES; activity++) {
		crew_add(KTHREAD, activity, KTHREAD_WISH_BOUND, first);
		if (activity == BUSY)
			continue; /* one vCPU's worth of load is enough */
		crew_add(KTHREAD, activity, KTHREAD_WISH_BOUND, cpus);
		crew_add(KTHREAD, activity, KTHREAD_WISH_PREFERRED, cpus);
		crew_add(KTHREAD, activity, KTHREAD_WISH_NODE, node);
		crew_add(KTHREAD, activity, KTHREAD_WISH_NONE, "");
		crew_add(KTHREAD, activity, KTHREAD_WISH_PER_CPU, first);
	}
	crew_add(ADOPTS_ITSELF, calmer(BUSY, calm), KTHREAD_WISH_PREFERRED, cpus);
	for (enum origin origin = ADOPTS_ITSELF; origin <= ADOPTED_BY_TID; origin++) {
		crew_add(origin, calmer(TICKING, calm), KTHREAD_WISH_BOUND, first);
		crew_add(origin, SLEEPING, KTHREAD_WISH_BOUND, cpus);
		crew_add(origin, SLEEPING, KTHREAD_WISH_PREFERRED, cpus);
		crew_add(origin, calmer(TICKING, calm), KTHREAD_WISH_NODE, node);
		crew_add(origin, SLEEPING, KTHREAD_WISH_NONE, "");
	}
}

void crew_of_all(const char *cpus)
{
	crew_of_calm(cpus, BUSY);
}

/* It may have looked at `end` just before: wake it until it has gone. */
static void end_pthread(struct member *member)
{
	atomic_store(&member->end, true);
	while (pthread_tryjoin_np(member->pthread, NULL) != 0) {
		syscall(SYS_futex, &member->end, 1, 1, NULL, NULL, 0); /* FUTEX_WAKE */
		pause_ns(MS / 10);
	}
}

static void end_foreign(struct member *member)
{
	const cpus_t back = member->came_with & atomic_load(&world.online) & world.allowed;

	if (member->origin == ADOPTED_BY_TID) {
		CHECK0(kthread_unadopt(member->k));
		if (!world.moving && back == member->came_with && task_cpus(member->tid) != member->came_with)
			FAIL("%s came with %s, goes with %s", member->name, cpus_text(member->came_with),
			     cpus_text(task_cpus(member->tid)));
	}
	end_pthread(member);
}

static void unlink_member(struct member *member)
{
	struct member **link = &crew;

	while (*link != member)
		link = &(*link)->next;
	*link = member->next;
}

void crew_remove(struct member *member)
{
	unlink_member(member);
	if (member->origin == KTHREAD) {
		const int result = kthread_stop(member->k);

		/* A park or a stop may come before the first turn. */
		if (result != 42 && !(result == -EINTR && atomic_load(&member->turns) == 0))
			FAIL("%s ended with %d", member->name, result);
	} else {
		end_foreign(member);
	}
	free(member);
}

void crew_bereave(struct member *member)
{
	CHECK(member->origin == ADOPTED_BY_TID);
	unlink_member(member);
	end_pthread(member);
	/* A thread can be joined a moment before the kernel has done with it. */
	AWAIT(task_cpus(atomic_load(&member->tid)) == 0);
	CHECK(kthread_unadopt(member->k) == -ESRCH);
	free(member);
}

void crew_end(void)
{
	while (crew)
		crew_remove(crew);
}

size_t crew_size(void)
{
	size_t count = 0;

	for (const struct member *member = crew; member; member = member->next)
		count++;
	return count;
}

struct member *crew_first(void)
{
	return crew;
}

/* ---- where they belong ------------------------------------------------------------------------------------------ */

/* The guests of `guest` split their possible CPUs evenly over four nodes. */
static cpus_t node_cpus(int node)
{
	const unsigned int each = (unsigned int)__builtin_popcountll(world.possible) / 4;

	return (((cpus_t)1 << each) - 1) << (each * (unsigned int)node);
}

cpus_t crew_rule(const struct member *member, bool *ret_broken)
{
	const cpus_t usable = atomic_load(&world.online) & world.allowed;
	const cpus_t housekeepers = world.housekeeping & usable;
	cpus_t wanted = member->cpus & usable;

	*ret_broken = false;
	switch (member->wish) {
	case KTHREAD_WISH_BOUND:
	case KTHREAD_WISH_PER_CPU:
		*ret_broken = !wanted;
		break;
	case KTHREAD_WISH_PREFERRED:
		wanted &= housekeepers;
		break;
	case KTHREAD_WISH_NODE:
		wanted = node_cpus(member->node) & housekeepers;
		break;
	case KTHREAD_WISH_NONE:
		wanted = housekeepers;
		break;
	}
	if (!wanted)
		wanted = housekeepers;
	return wanted ? wanted : usable;
}

static bool parked_as_it_should(const struct member *member, bool broken)
{
	struct kthread_info info = {.size = sizeof(info)};

	if (member->wish != KTHREAD_WISH_PER_CPU || member->activity > SLEEPING)
		return true;
	CHECK0(kthread_info(member->k, &info));
	return (info.state == KTHREAD_PARKED) == broken;
}

static bool wish_is_right(const struct member *member)
{
	const cpus_t wish = api_mask(member->k, KTHREAD_MASK_WISH);

	if (member->wish == KTHREAD_WISH_NONE)
		return wish == world.possible;
	/* A CPU that was never seen online may be missing. */
	if (member->wish == KTHREAD_WISH_NODE)
		return !(wish & ~node_cpus(member->node)) &&
		       !(node_cpus(member->node) & atomic_load(&world.online) & ~wish);
	return wish == member->cpus;
}

static bool is_right(const struct member *member)
{
	bool broken;
	const cpus_t rule = crew_rule(member, &broken);
	const pid_t tid = atomic_load(&member->tid);

	return task_cpus(tid) == rule && api_mask(member->k, KTHREAD_MASK_EFFECTIVE) == rule &&
	       kthread_is_broken(member->k) == broken && parked_as_it_should(member, broken) && wish_is_right(member) &&
	       api_mask(member->k, KTHREAD_MASK_ACTUAL) == rule;
}

static void describe(const struct member *member)
{
	struct kthread_info info = {.size = sizeof(info)};
	bool broken;
	const cpus_t rule = crew_rule(member, &broken);

	CHECK0(kthread_info(member->k, &info));
	printf("    %s: rule %s%s, effective %s%s, kernel %s, wish %s, %s, last %s error %d refusals %llu\n",
	       member->name, cpus_text(rule), broken ? " broken" : "",
	       cpus_text(api_mask(member->k, KTHREAD_MASK_EFFECTIVE)), kthread_is_broken(member->k) ? " broken" : "",
	       cpus_text(task_cpus(atomic_load(&member->tid))), cpus_text(api_mask(member->k, KTHREAD_MASK_WISH)),
	       kthread_state_name(info.state), kthread_reason_name(info.last_reason), info.last_error,
	       (unsigned long long)info.refusals);
}

static void describe_all(const char *what)
{
	int left = 12;

	printf("    %s: online %s, allowed %s, housekeeping %s\n", what, cpus_text(atomic_load(&world.online)),
	       cpus_text(world.allowed), cpus_text(world.housekeeping));
	printf("    the library: online %s, allowed %s, usable %s, housekeeping %s\n",
	       cpus_text(api_cpus(KTHREAD_CPUS_ONLINE)), cpus_text(api_cpus(KTHREAD_CPUS_ALLOWED)),
	       cpus_text(api_cpus(KTHREAD_CPUS_USABLE)), cpus_text(api_cpus(KTHREAD_CPUS_HOUSEKEEPING)));
	for (const struct member *member = crew; member && left; member = member->next) {
		if (!is_right(member)) {
			describe(member);
			left--;
		}
	}
}

/* Of the CPUs that are online: what an offline one will be is not always to be known before it comes. */
static bool view_is_right(void)
{
	const cpus_t online = atomic_load(&world.online);

	return api_cpus(KTHREAD_CPUS_ONLINE) == online && api_cpus(KTHREAD_CPUS_USABLE) == (online & world.allowed) &&
	       (api_cpus(KTHREAD_CPUS_HOUSEKEEPING) & online) == (world.housekeeping & world.allowed & online);
}

/* The first that is not in its place; NULL all are. */
static const struct member *first_wrong(const struct member *from)
{
	while (from && is_right(from))
		from = from->next;
	return from;
}

void crew_masks(const char *what)
{
	const uint64_t until = now_ns() + LIMIT_NS;
	const struct member *wrong = crew;

	while (!view_is_right() || (wrong = first_wrong(wrong)) || first_wrong(crew)) {
		if (now_ns() > until) {
			describe_all(what);
			FAIL("%s: not everybody is in place", what);
		}
		if (!wrong)
			wrong = crew;
		pause_ns(MS);
	}
}

static bool runs(const struct member *member)
{
	bool broken;

	crew_rule(member, &broken);
	return member->activity <= TICKING && !(broken && member->wish == KTHREAD_WISH_PER_CPU);
}

/* Everybody who runs has begun and ended a turn, if each is asked for one: the first it ends may be an old one. */
static void another_turn(void)
{
	for (struct member *member = crew; member; member = member->next) {
		atomic_store(&member->foreign, false);
		member->turns_before = atomic_load(&member->turns);
	}
	for (struct member *member = crew; member; member = member->next) {
		if (runs(member))
			AWAIT(atomic_load(&member->turns) > member->turns_before);
	}
}

static void check_running(const struct member *member, const char *what)
{
	const int cpu = atomic_load(&member->cpu);
	const int last = task_last_cpu(atomic_load(&member->tid));
	bool broken;
	const cpus_t rule = crew_rule(member, &broken);

	if (!(rule & CPU((unsigned int)cpu)) || !(rule & CPU((unsigned int)last)))
		FAIL("%s: %s runs on CPU %d, the kernel says %d; rule %s", what, member->name, cpu, last,
		     cpus_text(rule));
	if (atomic_load(&member->foreign))
		FAIL("%s: %s has run on a foreign CPU", what, member->name);
}

/* They go on, and where they should. */
static void check_all_running(const char *what)
{
	another_turn();
	another_turn();
	for (const struct member *member = crew; member; member = member->next) {
		if (runs(member))
			check_running(member, what);
	}
}

static void check_refusals(const char *what)
{
	for (const struct member *member = crew; member; member = member->next) {
		struct kthread_info info = {.size = sizeof(info)};

		CHECK0(kthread_info(member->k, &info));
		if (info.last_error)
			FAIL("%s: %s: a refusal stands: %d", what, member->name, info.last_error);
	}
}

void crew_settled(const char *format, ...)
{
	char what[200];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	crew_masks(what);
	check_all_running(what);
	/* Nothing that another look would have to put right. */
	CHECK0(kthread_rescan());
	if (!view_is_right() || first_wrong(crew)) {
		describe_all(what);
		FAIL("%s: it was right, and then it was not", what);
	}
	check_refusals(what);
}
