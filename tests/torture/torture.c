/* SPDX-License-Identifier: MIT */
/*
 * Torture: several controllers do random things to a pool of kthreads, all at the same time, for a while.
 *
 *   torture [--seconds N] [--seed S] [--threads N] [--controllers N] [--real]
 *
 * How to read its output. The first line names the seed; the same seed draws the same operations, though the machine
 * interleaves them anew. Every 5 s a line says how many operations were done. At the end stands a table:
 *
 *   operation      attempts    granted    refused
 *
 * attempts = granted + refused always, where "refused" are the answers that the contract allows to a race (-EBUSY for a
 * park that somebody else has asked for, -EINVAL for a bind of a thread that runs by now, ...). Any other answer is an
 * error: it is printed at once and makes the run fail. "must be 0" at the right of a line: a column that has to be zero
 * and is not. The run fails, too, if an operation was never granted: then it tested nothing. "created" must equal
 * "ended". The threads themselves check that none of them runs user code while it is parked ("ran while parked"), or
 * frozen and not stopped ("ran while frozen"; who froze them looks at each, too), and that none is called again after it
 * has ended. Works: accepted = ran + cancelled, and none overlaps another of its worker ("works overlapped"). The last line
 * is PASS or FAIL; the exit status is 0 or 1.
 *
 * A watchdog looks once a second whether each controller's operation has come to an end. One that takes longer than 60 s
 * is a hang: its name, its thread's name and that thread's word (src/thread/word.h) are printed, and the program aborts.
 *
 * Placement is simulated on an invented machine of 8 CPUs on which CPUs go and come (--real: this machine's own CPUs,
 * with real masks, and none of them goes).
 */
#include <errno.h>
#include <getopt.h>
#include <kthread/kthread.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONTROLLERS 16
#define HANG_NS 60000000000ull

/* ---- the operations' book ----------------------------------------------------------------------------------------- */

enum op {
	CREATE,
	WAKE,
	PARK,
	UNPARK,
	STOP,
	PUT,
	SECOND_STOP,
	EVENT_FD,
	BIND,
	BIND_MASK,
	PREFERRED,
	RESET,
	PER_CPU,
	GET_MASK,
	INFO,
	FOR_EACH,
	ADOPT,
	HOUSEKEEPING,
	HOTPLUG,
	RESCAN,
	FREEZE,
	THAW,
	WORKER,
	QUEUE,
	DELAY,
	MOD,
	FLUSH,
	CANCEL,
	DESTROY,
	OPS
};

static const char *const op_names[OPS] = {"create",      "wake",     "park",   "unpark",    "stop",      "put",
                                          "second stop", "event fd", "bind",   "bind mask", "preferred", "reset",
                                          "per-CPU",     "get mask", "info",   "for each",  "adopt",     "housekeeping",
                                          "hotplug",     "rescan",   "freeze", "thaw",      "worker",    "queue",
                                          "delay",       "mod",      "flush",  "cancel",    "destroy"};

static atomic_ulong attempts[OPS];
static atomic_ulong granted[OPS];
static atomic_ulong refused[OPS];
static atomic_ulong created;
static atomic_ulong ended; /* whose result we got, or who said so itself when it was detached */
static atomic_ulong ran_while_parked;
static atomic_ulong ran_while_frozen;
static atomic_bool frozen; /* from a freeze that was granted to its thaw */
static atomic_ulong errors;
static atomic_bool over;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Count an answer: 0 granted, one of the two allowed refusals refused, anything else an error. */
static void book(enum op op, int answer, int allowed, int allowed_too)
{
	atomic_fetch_add(&attempts[op], 1);
	if (answer >= 0) {
		atomic_fetch_add(&granted[op], 1);
	} else if (answer == allowed || answer == allowed_too) {
		atomic_fetch_add(&refused[op], 1);
	} else {
		atomic_fetch_add(&errors, 1);
		printf("error: %s answers %d (%s)\n", op_names[op], answer, strerror(-answer));
	}
}

/* ---- the pool ----------------------------------------------------------------------------------------------------- */

enum way { BUSY_PARKME, BUSY_RETURN, WAITS, WAITS_PARKABLE, WAITS_TIMED, READS, ENDS_SOON, WAYS };

struct member {
	struct kthread *_Atomic k; /* NULL: the slot is free */
	pthread_mutex_t lock;      /* who takes or gives up the slot's reference holds it; all others only borrow k */
	enum way way;
	bool may_freeze;
	atomic_bool freezable; /* it has said so, and goes on */
	atomic_uint parked;    /* somebody's park has been granted, and nobody may have unparked since */
	atomic_bool entered;
	atomic_bool left;
	int result;
	pthread_mutex_t park_lock; /* one park-look-unpark at a time, so that `parked` means something */
	struct member *next_free;
};

static struct member *pool;
static unsigned int pool_size = 64;
static int pipe_fds[2];

static void user_code(struct member *m)
{
	if (atomic_load(&m->parked))
		atomic_fetch_add(&ran_while_parked, 1);
	if (m->may_freeze && atomic_load(&frozen) && !kthread_should_stop())
		atomic_fetch_add(&ran_while_frozen, 1);
}

static int live(void *data)
{
	struct member *m = data;
	char byte;
	int turns = 0;

	atomic_store(&m->entered, true);
	if (m->may_freeze) {
		kthread_set_freezable();
		atomic_store(&m->freezable, true);
	}
	while (!kthread_should_stop()) {
		user_code(m);
		if (m->may_freeze && m->way != WAITS_PARKABLE) /* which has a point of its own */
			kthread_try_to_freeze();
		if (kthread_should_park()) {
			if (m->way == BUSY_RETURN)
				return m->result;
			kthread_parkme();
			continue;
		}
		switch (m->way) {
		case BUSY_PARKME:
		case BUSY_RETURN:
			sched_yield();
			break;
		case WAITS:
			kthread_wait();
			break;
		case WAITS_PARKABLE:
			kthread_wait_parkable();
			break;
		case WAITS_TIMED:
			kthread_wait_for(200000);
			break;
		case READS:
			if (read(pipe_fds[0], &byte, 1) != -1 || errno != EINTR)
				atomic_fetch_add(&errors, 1);
			break;
		default:
			if (++turns > 20)
				kthread_exit(m->result);
			kthread_wait_for(100000);
		}
	}
	user_code(m);
	return m->result;
}

/* ---- what a controller does --------------------------------------------------------------------------------------- */

struct controller {
	pthread_t thread;
	unsigned int seed;
	_Atomic(const char *) doing;
	_Atomic(struct kthread *) to;
	atomic_ullong since; /* 0: between two operations */
};

static struct controller controllers[MAX_CONTROLLERS];
static unsigned int controller_count = 4;
static bool real;

static unsigned int draw(struct controller *c, unsigned int below)
{
	return (unsigned int)rand_r(&c->seed) % below;
}

static void begin(struct controller *c, enum op op, struct kthread *k)
{
	atomic_store(&c->doing, op_names[op]);
	atomic_store(&c->to, k);
	atomic_store(&c->since, now_ns());
}

static void finish(struct controller *c)
{
	atomic_store(&c->since, 0);
}

/* A reference of our own to the thread in the slot; NULL if there is none. */
static struct kthread *borrow(struct member *m)
{
	struct kthread *k;

	pthread_mutex_lock(&m->lock);
	k = kthread_get(atomic_load(&m->k));
	pthread_mutex_unlock(&m->lock);
	return k;
}

static void create(struct controller *c, struct member *m)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct kthread *k;

	pthread_mutex_lock(&m->lock);
	if (!atomic_load(&m->k)) {
		m->way = (enum way)draw(c, WAYS);
		m->result = (int)draw(c, 1000);
		atomic_store(&m->parked, 0);
		atomic_store(&m->entered, false);
		m->may_freeze = draw(c, 2);
		atomic_store(&m->freezable, false);
		attr.flags = m->way == READS || draw(c, 4) == 0 ? KTHREAD_INTERRUPT : 0;
		attr.nice = draw(c, 16) == 0 ? 1 : 0;
		begin(c, CREATE, NULL);
		k = kthread_create_attr(&attr, live, m, "torture/%td", m - pool);
		finish(c);
		book(CREATE, k ? 0 : -errno, -EAGAIN, -EAGAIN);
		if (k)
			atomic_fetch_add(&created, 1);
		atomic_store(&m->k, k);
	}
	pthread_mutex_unlock(&m->lock);
}

/* Give up the slot's thread: by stop, by put of one that was never started, or by stop from two sides. */
static void end(struct controller *c, struct member *m)
{
	struct kthread *k;
	int result;

	pthread_mutex_lock(&m->park_lock);
	pthread_mutex_lock(&m->lock);
	k = atomic_load(&m->k);
	if (k) {
		const bool twice = draw(c, 3) == 0;

		atomic_store(&m->parked, 0);
		if (twice)
			kthread_get(k);
		begin(c, STOP, k);
		result = kthread_stop(k);
		finish(c);
		if (result == m->result || (result == -EINTR && !atomic_load(&m->entered)))
			book(STOP, 0, 0, 0);
		else
			book(STOP, -1, 0, 0);
		if (twice) {
			begin(c, SECOND_STOP, k);
			book(SECOND_STOP, kthread_stop(k) == result ? 0 : -1, 0, 0);
			finish(c);
		}
		atomic_fetch_add(&ended, 1);
		atomic_store(&m->k, NULL);
	}
	pthread_mutex_unlock(&m->lock);
	pthread_mutex_unlock(&m->park_lock);
}

static void put_unborn(struct controller *c)
{
	struct kthread *k = kthread_create(live, &pool[0], "unborn");

	begin(c, PUT, k);
	if (k)
		kthread_put(k);
	finish(c);
	book(PUT, k ? 0 : -errno, -EAGAIN, -EAGAIN);
}

static void random_mask(struct controller *c, cpu_set_t *set)
{
	cpu_set_t possible;

	CPU_ZERO(set);
	if (kthread_cpus(KTHREAD_CPUS_POSSIBLE, sizeof(possible), &possible) != 0)
		CPU_ZERO(&possible);
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &possible) && draw(c, 2))
			CPU_SET(cpu, set);
	}
	if (!CPU_COUNT(set))
		CPU_SET(0, set);
}

static void place(struct controller *c, struct kthread *k, enum op op)
{
	const unsigned int cpu = draw(c, real ? 1 : 8);
	int answer;
	cpu_set_t set;

	random_mask(c, &set);
	begin(c, op, k);
	switch (op) {
	case BIND:
		answer = kthread_bind(k, cpu);
		break;
	case BIND_MASK:
		answer = kthread_bind_mask(k, sizeof(set), &set);
		break;
	case PREFERRED:
		answer = kthread_affine_preferred(k, sizeof(set), &set);
		break;
	case RESET:
		answer = kthread_affine_reset(k);
		break;
	case PER_CPU:
		answer = kthread_set_per_cpu(k, draw(c, 4) ? (int)cpu : -1);
		break;
	default:
		answer = kthread_get_mask(k, (enum kthread_mask)draw(c, 3), sizeof(set), &set);
	}
	finish(c);
	book(op, answer, -EINVAL, -ESRCH); /* it runs; it has ended */
}

/* Park, look whether it stands, perhaps give it a place, unpark. */
static void park(struct controller *c, struct member *m, struct kthread *k)
{
	int answer;

	pthread_mutex_lock(&m->park_lock);
	begin(c, PARK, k);
	answer = kthread_park(k);
	finish(c);
	book(PARK, answer, -EBUSY, -ENOSYS);
	if (answer == 0) {
		atomic_store(&m->parked, 1);
		if (draw(c, 2))
			place(c, k, (enum op)(BIND + draw(c, 5)));
		for (unsigned int i = draw(c, 4); i > 0; i--)
			sched_yield();
	}
	atomic_store(&m->parked, 0);
	begin(c, UNPARK, k);
	kthread_unpark(k);
	finish(c);
	book(UNPARK, 0, 0, 0);
	pthread_mutex_unlock(&m->park_lock);
}

/* Everybody who has said that he is freezable stands, or has been asked to stop. */
static void look_at_the_frozen(void)
{
	for (unsigned int i = 0; i < pool_size; i++) {
		struct kthread_info info = {.size = sizeof(info)};
		struct kthread *k;
		bool freezable;

		pthread_mutex_lock(&pool[i].lock);
		k = kthread_get(atomic_load(&pool[i].k));
		freezable = atomic_load(&pool[i].freezable);
		pthread_mutex_unlock(&pool[i].lock);
		if (k && freezable && kthread_info(k, &info) == 0 && info.state != KTHREAD_FROZEN &&
		    info.state != KTHREAD_PARKED && info.state != KTHREAD_STOPPING && info.state != KTHREAD_EXITED)
			atomic_fetch_add(&ran_while_frozen, 1);
		kthread_put(k);
	}
}

static void freeze(struct controller *c)
{
	int answer;

	begin(c, FREEZE, NULL);
	answer = kthread_freeze_all(HANG_NS / 2);
	finish(c);
	book(FREEZE, answer, -EBUSY, -EBUSY);
	if (answer != 0)
		return;
	atomic_store(&frozen, true);
	if (draw(c, 2))
		look_at_the_frozen();
	for (unsigned int i = draw(c, 8); i > 0; i--)
		sched_yield();
	atomic_store(&frozen, false);
	begin(c, THAW, NULL);
	kthread_thaw_all();
	finish(c);
	book(THAW, 0, 0, 0);
}

static int count_one(const struct kthread *k, void *arg)
{
	(void)k;
	++*(unsigned int *)arg;
	return 0;
}

static void adopt(struct controller *c)
{
	struct kthread *self;
	cpu_set_t set;

	random_mask(c, &set);
	begin(c, ADOPT, NULL);
	self = kthread_adopt("controller/%td", c - controllers);
	book(ADOPT, self ? 0 : -errno, 0, 0);
	if (self) {
		book(BIND_MASK, kthread_bind_mask(self, sizeof(set), &set), 0, 0);
		if (kthread_unadopt(self) != 0)
			atomic_fetch_add(&errors, 1);
	}
	finish(c);
}

/* ---- the invented machine ----------------------------------------------------------------------------------------- */

static char root[64];
static pthread_mutex_t machine_lock = PTHREAD_MUTEX_INITIALIZER;

static void write_file(const char *name, const char *text)
{
	char path[256];
	char fresh[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/sys/devices/system/cpu/%s", root, name);
	snprintf(fresh, sizeof(fresh), "%s/sys/devices/system/cpu/.%s", root, name);
	file = fopen(fresh, "we"); /* then renamed: a reader finds the old text or the new, never half of one */
	if (!file || fputs(text, file) < 0 || fclose(file) != 0 || rename(fresh, path) != 0) {
		perror(path);
		exit(1);
	}
}

static void machine_make(void)
{
	static const char *const directories[] = {"/sys", "/sys/devices", "/sys/devices/system",
	                                          "/sys/devices/system/cpu"};
	char path[256];

	/* in memory if there is such a place: on a busy disk a rename takes its time */
	snprintf(root, sizeof(root), "%s/kthread-torture-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(root)) {
		perror(root);
		exit(1);
	}
	for (size_t i = 0; i < sizeof(directories) / sizeof(*directories); i++) {
		snprintf(path, sizeof(path), "%s%s", root, directories[i]);
		mkdir(path, 0755);
	}
	write_file("possible", "0-7\n");
	write_file("present", "0-7\n");
	write_file("online", "0-7\n");
}

static void machine_remove(void)
{
	static const char *const names[] = {"/sys/devices/system/cpu/possible",
	                                    "/sys/devices/system/cpu/present",
	                                    "/sys/devices/system/cpu/online",
	                                    "/sys/devices/system/cpu",
	                                    "/sys/devices/system",
	                                    "/sys/devices",
	                                    "/sys",
	                                    ""};
	char path[256];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(path, sizeof(path), "%s%s", root, names[i]);
		if (remove(path) != 0)
			perror(path);
	}
}

static void change_machine(struct controller *c)
{
	char list[64] = "0";
	int answer;

	for (unsigned int cpu = 1; cpu < 8; cpu++) {
		if (draw(c, 2))
			snprintf(list + strlen(list), sizeof(list) - strlen(list), ",%u", cpu);
	}
	strcat(list, "\n");
	pthread_mutex_lock(&machine_lock);
	begin(c, HOTPLUG, NULL);
	if (!real)
		write_file("online", list);
	answer = kthread_rescan();
	finish(c);
	pthread_mutex_unlock(&machine_lock);
	book(HOTPLUG, answer, 0, 0);
}

static void change_housekeeping(struct controller *c)
{
	cpu_set_t set;
	int answer;

	random_mask(c, &set);
	begin(c, HOUSEKEEPING, NULL);
	answer = draw(c, 4) ? kthread_housekeeping_set(sizeof(set), &set) : kthread_housekeeping_set(0, NULL);
	finish(c);
	book(HOUSEKEEPING, answer, -EINVAL, -EINVAL); /* none of them is usable at the moment */
}

/* ---- workers ------------------------------------------------------------------------------------------------------ */

enum desk_kind { PLAIN, FREEZABLE, BOUND, PER_CPU_DESK, DESKS };
#define ITEMS 8

/* A worker and its works. Destroyed, and made anew, under the lock for writing. */
static struct desk {
	pthread_rwlock_t lock;
	struct kthread_worker *w;
	atomic_bool busy;
	struct item {
		struct kthread_delayed_work dwork;
		struct desk *desk;
		atomic_bool busy;
		atomic_ulong accepted, ran, cancelled;
	} items[ITEMS];
} desks[DESKS];
static atomic_ulong overlapped;

static void item_fn(struct kthread_work *work)
{
	struct item *item = (struct item *)work;

	if (atomic_exchange(&item->busy, true) || atomic_exchange(&item->desk->busy, true))
		atomic_fetch_add(&overlapped, 1);
	if (atomic_fetch_add(&item->ran, 1) % 16 == 0)
		sched_yield();
	atomic_store(&item->desk->busy, false);
	atomic_store(&item->busy, false);
}

static void desks_make(void)
{
	for (int i = 0; i < DESKS; i++) {
		pthread_rwlock_init(&desks[i].lock, NULL);
		for (int j = 0; j < ITEMS; j++) {
			desks[i].items[j].desk = &desks[i];
			kthread_init_delayed_work(&desks[i].items[j].dwork, item_fn);
		}
	}
}

static void cancel_item(struct item *item)
{
	const bool was_pending = kthread_cancel_delayed_work_sync(&item->dwork);

	if (was_pending)
		atomic_fetch_add(&item->cancelled, 1);
	book(CANCEL, was_pending ? 0 : -EALREADY, -EALREADY, -EALREADY);
}

/* Delayed works would be given up: they are cancelled before, or due. */
static void renew_worker(struct controller *c, struct desk *desk)
{
	const enum desk_kind kind = (enum desk_kind)(desk - desks);

	pthread_rwlock_wrlock(&desk->lock);
	if (desk->w) {
		begin(c, DESTROY, NULL);
		for (int i = 0; i < ITEMS; i++) {
			if (draw(c, 2) || atomic_load(&desk->items[i].accepted) % 2)
				cancel_item(&desk->items[i]);
		}
		for (int i = 0; i < ITEMS; i++) { /* those that are left: at once */
			if (!kthread_mod_delayed_work(desk->w, &desk->items[i].dwork, 0))
				atomic_fetch_add(&desk->items[i].accepted, 1);
		}
		kthread_destroy_worker(desk->w);
		book(DESTROY, 0, 0, 0);
		desk->w = NULL;
	} else {
		begin(c, WORKER, NULL);
		desk->w = kind == PLAIN ? kthread_run_worker(0, "desk")
		          : kind == FREEZABLE
		              ? kthread_create_worker(KTHREAD_WORKER_FREEZABLE, "desk")
		              : kthread_run_worker_on_cpu(draw(c, real ? 1 : 8),
		                                          kind == BOUND ? 0 : KTHREAD_WORKER_PER_CPU, "desk/%u");
		book(WORKER, desk->w ? 0 : -errno, -EAGAIN, -EAGAIN);
	}
	finish(c);
	pthread_rwlock_unlock(&desk->lock);
}

static void use_worker(struct controller *c)
{
	struct desk *desk = &desks[draw(c, DESKS)];
	struct item *item = &desk->items[draw(c, ITEMS)];
	const enum op op = (enum op)(QUEUE + draw(c, 5));
	bool queued = false;

	pthread_rwlock_rdlock(&desk->lock);
	if (!desk->w || draw(c, 64) == 0) {
		pthread_rwlock_unlock(&desk->lock);
		renew_worker(c, desk);
		return;
	}
	begin(c, op, NULL);
	switch (op) {
	case QUEUE:
		queued = kthread_queue_work(desk->w, &item->dwork.work);
		break;
	case DELAY:
		queued = kthread_queue_delayed_work(desk->w, &item->dwork, draw(c, 1000000));
		break;
	case MOD:
		queued = !kthread_mod_delayed_work(desk->w, &item->dwork, draw(c, 2) * draw(c, 1000000));
		break;
	case FLUSH:
		/* not for a CPU that comes only if somebody is left to bring it */
		if (desk != &desks[PER_CPU_DESK])
			draw(c, 2) ? kthread_flush_worker(desk->w) : kthread_flush_work(&item->dwork.work);
		book(FLUSH, 0, 0, 0);
		break;
	default:
		cancel_item(item);
		break;
	}
	if (queued)
		atomic_fetch_add(&item->accepted, 1);
	finish(c);
	pthread_rwlock_unlock(&desk->lock);
	if (op < FLUSH)
		book(op, queued ? 0 : -EALREADY, -EALREADY, -EALREADY);
}

/* Each accepted work has run or was cancelled. */
static bool desks_end(void)
{
	unsigned long accepted = 0;
	unsigned long ran = 0;
	unsigned long cancelled = 0;
	bool good;

	for (int i = 0; i < DESKS; i++) {
		for (int j = 0; j < ITEMS; j++)
			cancel_item(&desks[i].items[j]);
		kthread_destroy_worker(desks[i].w);
		for (int j = 0; j < ITEMS; j++) {
			accepted += atomic_load(&desks[i].items[j].accepted);
			ran += atomic_load(&desks[i].items[j].ran);
			cancelled += atomic_load(&desks[i].items[j].cancelled);
		}
	}
	good = accepted == ran + cancelled;
	printf("works accepted %lu, ran %lu, cancelled %lu%s\n", accepted, ran, cancelled, good ? "" : "  must add up");
	printf("works overlapped %lu%s\n", atomic_load(&overlapped), atomic_load(&overlapped) ? "  must be 0" : "");
	return good && !atomic_load(&overlapped);
}

/* ---- the run ------------------------------------------------------------------------------------------------------ */

static void one_operation(struct controller *c)
{
	struct member *m = &pool[draw(c, pool_size)];
	const unsigned int dice = draw(c, 100);
	struct kthread_info info = {.size = sizeof(info)};
	struct kthread *k;
	unsigned int count = 0;

	if (draw(c, 3) == 0) {
		use_worker(c);
		return;
	}
	if (dice < 2) {
		begin(c, RESCAN, NULL);
		book(RESCAN, kthread_rescan(), 0, 0);
		finish(c);
		return;
	}
	if (dice < 4) {
		change_machine(c);
		return;
	}
	if (dice < 5) {
		change_housekeeping(c);
		return;
	}
	if (dice < 6) {
		adopt(c);
		return;
	}
	if (dice < 7) {
		put_unborn(c);
		return;
	}
	if (dice < 8) {
		begin(c, FOR_EACH, NULL);
		book(FOR_EACH, kthread_for_each(count_one, &count), 0, 0);
		finish(c);
		return;
	}
	if (dice < 10) {
		freeze(c);
		return;
	}
	k = borrow(m);
	if (!k) {
		create(c, m);
		return;
	}
	if (dice < 30) {
		begin(c, WAKE, k);
		kthread_wake(k);
		finish(c);
		book(WAKE, 0, 0, 0);
	} else if (dice < 60) {
		park(c, m, k);
	} else if (dice < 75) {
		kthread_put(k);
		end(c, m);
		return;
	} else if (dice < 78) {
		begin(c, EVENT_FD, k);
		book(EVENT_FD, kthread_event_fd(k), -ESRCH, -ESRCH);
		finish(c);
	} else if (dice < 82) {
		begin(c, INFO, k);
		book(INFO, kthread_info(k, &info), 0, 0);
		finish(c);
	} else {
		place(c, k, (enum op)(BIND + draw(c, 6)));
	}
	kthread_put(k);
}

static void *control(void *arg)
{
	while (!atomic_load(&over))
		one_operation(arg);
	return NULL;
}

static void watch_for_hangs(void)
{
	for (unsigned int i = 0; i < controller_count; i++) {
		const uint64_t since = atomic_load(&controllers[i].since);
		struct kthread *k = atomic_load(&controllers[i].to);

		if (!since || now_ns() - since < HANG_NS)
			continue;
		printf("HANG: controller %u: %s", i, atomic_load(&controllers[i].doing));
		if (k) /* the word is the handle's first member */
			printf(" of %s (tid %d), word 0x%x", kthread_name(k), (int)kthread_tid(k),
			       atomic_load((atomic_uint *)k));
		printf("\nFAIL\n");
		fflush(stdout);
		abort();
	}
}

static unsigned long total(void)
{
	unsigned long sum = 0;

	for (int op = 0; op < OPS; op++)
		sum += atomic_load(&attempts[op]);
	return sum;
}

static void run(unsigned int seconds)
{
	const uint64_t start = now_ns();
	uint64_t next_line = start + 5000000000ull;
	const struct timespec a_second = {.tv_sec = 1};

	for (unsigned int i = 0; i < controller_count; i++) {
		if (pthread_create(&controllers[i].thread, NULL, control, &controllers[i]) != 0)
			abort();
	}
	while (now_ns() - start < seconds * 1000000000ull) {
		nanosleep(&a_second, NULL);
		watch_for_hangs();
		if (now_ns() >= next_line) {
			printf("%3llu s: %lu operations, %lu threads created, %lu ended, %lu errors\n",
			       (unsigned long long)(now_ns() - start) / 1000000000u, total(), atomic_load(&created),
			       atomic_load(&ended), atomic_load(&errors));
			fflush(stdout);
			next_line += 5000000000ull;
		}
	}
	atomic_store(&over, true);
	for (unsigned int i = 0; i < controller_count; i++) {
		while (pthread_tryjoin_np(controllers[i].thread, NULL) != 0) {
			const struct timespec a_moment = {.tv_nsec = 1000000};

			watch_for_hangs();
			nanosleep(&a_moment, NULL);
		}
	}
	for (unsigned int i = 0; i < pool_size; i++)
		end(&controllers[0], &pool[i]);
}

static bool report(void)
{
	bool good = true;

	printf("\n%-14s %12s %12s %12s\n", "operation", "attempts", "granted", "refused");
	for (int op = 0; op < OPS; op++) {
		const unsigned long tried = atomic_load(&attempts[op]);
		const unsigned long got = atomic_load(&granted[op]);
		const unsigned long not = atomic_load(&refused[op]);

		printf("%-14s %12lu %12lu %12lu", op_names[op], tried, got, not );
		if (got == 0 || tried != got + not ) {
			printf("  %s", got ? "do not add up" : "never granted");
			good = false;
		}
		printf("\n");
	}
	printf("created %lu, ended %lu%s\n", atomic_load(&created), atomic_load(&ended),
	       atomic_load(&created) == atomic_load(&ended) ? "" : "  must be equal");
	printf("ran while parked %lu%s\n", atomic_load(&ran_while_parked),
	       atomic_load(&ran_while_parked) ? "  must be 0" : "");
	printf("ran while frozen %lu%s\n", atomic_load(&ran_while_frozen),
	       atomic_load(&ran_while_frozen) ? "  must be 0" : "");
	printf("errors %lu%s\n", atomic_load(&errors), atomic_load(&errors) ? "  must be 0" : "");
	return good && atomic_load(&created) == atomic_load(&ended) && !atomic_load(&ran_while_parked) &&
	       !atomic_load(&ran_while_frozen) && !atomic_load(&errors);
}

/* The unborn ones end by themselves: nobody is waited for but with a limit. */
static bool library_ends(void)
{
	const uint64_t until = now_ns() + 30000000000ull;
	int error;

	while ((error = kthread_fini()) == -EBUSY && now_ns() < until)
		sched_yield();
	if (error)
		printf("kthread_fini(): %d  must be 0\n", error);
	return error == 0;
}

static unsigned int number(const char *text, unsigned int least, unsigned int most)
{
	char *end_of_it;
	const unsigned long value = strtoul(text, &end_of_it, 10);

	if (!*text || *end_of_it || value < least || value > most) {
		fprintf(stderr, "torture: \"%s\" is not a number from %u to %u\n", text, least, most);
		exit(2);
	}
	return (unsigned int)value;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"seconds", required_argument, NULL, 's'}, {"seed", required_argument, NULL, 'S'},
	    {"threads", required_argument, NULL, 't'}, {"controllers", required_argument, NULL, 'c'},
	    {"real", no_argument, NULL, 'r'},          {NULL, 0, NULL, 0}};
	struct kthread_config config = KTHREAD_CONFIG_INIT;
	const char *given = getenv("KTHREAD_TORTURE_SECONDS");
	unsigned int seconds = given ? number(given, 1, 1000000) : 60;
	unsigned int seed = (unsigned int)now_ns();
	bool good;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			seconds = number(optarg, 1, 1000000);
			break;
		case 'S':
			seed = number(optarg, 0, 0xffffffff);
			break;
		case 't':
			pool_size = number(optarg, 1, 10000);
			break;
		case 'c':
			controller_count = number(optarg, 1, MAX_CONTROLLERS);
			break;
		case 'r':
			real = true;
			break;
		default:
			fprintf(stderr,
			        "usage: torture [--seconds N] [--seed S] [--threads N] [--controllers N] [--real]\n");
			return 2;
		}
	}
	printf("seed %u; %u s, %u threads, %u controllers, %s\n", seed, seconds, pool_size, controller_count,
	       real ? "this machine" : "a simulated machine");
	fflush(stdout);
	pool = calloc(pool_size, sizeof(*pool));
	if (!pool || pipe(pipe_fds) != 0)
		return 1;
	for (unsigned int i = 0; i < pool_size; i++) {
		pthread_mutex_init(&pool[i].lock, NULL);
		pthread_mutex_init(&pool[i].park_lock, NULL);
	}
	for (unsigned int i = 0; i < controller_count; i++)
		controllers[i].seed = seed + i * 7919;
	if (!real) {
		machine_make();
		config.root = root;
		config.simulate = true;
		config.poll_ms = 50;
	}
	if (kthread_init(&config) != 0) {
		printf("kthread_init() failed\nFAIL\n");
		return 1;
	}
	desks_make();
	run(seconds);
	good = desks_end();
	good = report() && good;
	good = library_ends() && good;
	if (!real)
		machine_remove();
	free(pool);
	printf("%s\n", good ? "PASS" : "FAIL");
	return good ? 0 : 1;
}
