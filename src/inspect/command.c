/* SPDX-License-Identifier: MIT */
/*
 * What clients ask for. Whatever may wait is done by a thread of its own, one after the other, in the order of the requests;
 * what never waits (unpark, thaw) goes past those, so that it can end a wait of theirs.
 *
 * The thread is the library's own: it is in no list, and nobody can park or freeze it.
 */
#include <errno.h>
#include <kthread/freezer.h>
#include <kthread/hotplug.h>
#include <kthread/library.h>
#include <kthread/placement.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/log.h"
#include "inspect/control.h"
#include "machine/topology.h"
#include "thread/freezer.h"
#include "thread/thread.h"

struct kt_command {
	STAILQ_ENTRY(kt_command) link;
	struct kt_client *client; /* NULL: it has left */
	struct kt_request request;
	struct kthread *thread; /* park: whom */
	int error;
	char message[KT_MESSAGE_SIZE];
	char rest[]; /* the request's */
};

STAILQ_HEAD(jobs, kt_command);

static struct {
	struct kthread *thread; /* NULL until there was something to do */
	struct jobs queue;
	struct jobs done;
	struct kt_command *now;
	bool parking;   /* now: asked to, and not known to have parked */
	bool has_tried; /* to read the machine's topology */
	int read_error; /* of that: -ENOMEM */
	bool to_read;   /* it again: a CPU has come, or it could not be read */
} command = {.queue = STAILQ_HEAD_INITIALIZER(command.queue), .done = STAILQ_HEAD_INITIALIZER(command.done)};

static void job_free(struct kt_command *job)
{
	kthread_put(job->thread);
	free(job);
}

/* ---- which thread ------------------------------------------------------------------------------------------------ */

static bool is_meant(const struct kthread *k, const struct kt_request *request)
{
	const pid_t tid = kt_thread_known_tid(k);

	/* The library's own are not there; nor is one that is being made, which nobody may stop yet. */
	if (k->kind == KT_INTERNAL || tid == 0)
		return false;
	return request->rest ? strcmp(k->name, request->rest) == 0 : (unsigned int)tid == request->number;
}

/* With a reference. NULL and -errno. */
static struct kthread *find(const struct kt_request *request, int *ret_error, char *message)
{
	struct kthread *found = NULL;
	struct kthread *k = NULL;
	unsigned int count = 0;

	while ((k = kt_registry_next(k))) {
		if (is_meant(k, request) && count++ == 0)
			found = kthread_get(k);
	}
	if (count == 1)
		return found;
	kthread_put(found);
	*ret_error = count ? -ENOTUNIQ : -ENOENT;
	if (count)
		snprintf(message, KT_MESSAGE_SIZE, "%u threads are called \"%.900s\": tid=N tells them apart", count,
		         request->rest);
	else if (request->rest)
		snprintf(message, KT_MESSAGE_SIZE, "no thread is called \"%.900s\"", request->rest);
	else
		snprintf(message, KT_MESSAGE_SIZE, "no thread of the library's has the tid %u", request->number);
	return NULL;
}

/* What an error means here, where that is not what strerror() says. */
static const struct {
	enum kt_verb verb;
	int error;
	const char *meaning;
} meanings[] = {
    {KT_ASK_PARK, -EBUSY, "somebody has asked it to park already"},
    {KT_ASK_PARK, -ECANCELED, "it has been unparked before it parked"},
    {KT_ASK_PARK, -ENOSYS, "it ends instead"},
    {KT_ASK_PARK, -EOPNOTSUPP, "it is an adopted thread, which has only its place from here"},
    {KT_ASK_UNPARK, -EOPNOTSUPP, "it is an adopted thread, which has only its place from here"},
    {KT_ASK_HOUSEKEEPING, -EINVAL, "not a list of CPUs (\"0-3,8\") that holds a usable one"},
    {KT_ASK_HOUSEKEEPING, -ERANGE, "there is a CPU in the list that this machine cannot have"},
    {KT_ASK_HOUSEKEEPING, -EOVERFLOW, "there is a CPU in the list that this machine cannot have"},
    {KT_ASK_CPU_DOWN, -EBUSY, "it is the last usable CPU, or the last one for housekeeping; or a freeze is on"},
    {KT_ASK_CPU_UP, -EBUSY, "a freeze is on, or the system is at it"},
    {KT_ASK_CPU_DOWN, -EINVAL, "this machine cannot have such a CPU"},
    {KT_ASK_CPU_UP, -EINVAL, "this machine cannot have such a CPU"},
    {KT_ASK_CPU_DOWN, -EPERM, "a thread may not be moved, or the CPU may not be set offline; the log says which"},
    {KT_ASK_CPU_UP, -EPERM, "the CPU may not be set online"},
    {KT_ASK_FREEZE, -EBUSY, "a freeze is on already"},
    {KT_ASK_FREEZE, -ETIMEDOUT, "CPUs were going or coming all the time"},
    {KT_ASK_FREEZE, -ECANCELED, "it has been thawed before everybody was frozen"},
};

static void explain(enum kt_verb verb, int error, char *message)
{
	for (size_t i = 0; !message[0] && i < sizeof(meanings) / sizeof(meanings[0]); i++) {
		if (meanings[i].verb == verb && meanings[i].error == error)
			snprintf(message, KT_MESSAGE_SIZE, "%s", meanings[i].meaning);
	}
}

/* ---- at once ----------------------------------------------------------------------------------------------------- */

static void finish(struct kt_command *job, int error)
{
	job->error = error;
	STAILQ_INSERT_TAIL(&command.done, job, link);
	kt_control_ring();
}

/* Also a park that is still in the queue: who has come later is the one to be heard. */
static void take_parks_back(struct kthread *k)
{
	struct kt_command *job = STAILQ_FIRST(&command.queue);

	while (job) {
		struct kt_command *const next = STAILQ_NEXT(job, link);

		if (job->thread == k) {
			STAILQ_REMOVE(&command.queue, job, kt_command, link);
			explain(KT_ASK_PARK, -ECANCELED, job->message);
			finish(job, -ECANCELED);
		}
		job = next;
	}
}

int kt_command_now(const struct kt_request *request, char *message)
{
	struct kthread *k;
	int error = 0;

	if (request->verb == KT_ASK_THAW) {
		kthread_thaw_all();
		return 0;
	}
	k = find(request, &error, message);
	if (!k)
		return error;
	if (k->kind == KT_ADOPTED)
		error = -EOPNOTSUPP;
	explain(KT_ASK_UNPARK, error, message);
	take_parks_back(k);
	kthread_unpark(k);
	kthread_put(k);
	return error;
}

/* ---- one after the other ----------------------------------------------------------------------------------------- */

/* Names of those who do not freeze, as many as fit. */
static void refused(const struct kthread *k, void *arg)
{
	struct kt_command *job = arg;
	const size_t length = strlen(job->message);

	snprintf(job->message + length, sizeof(job->message) - length, "%s%s (%d)",
	         length ? ", " : "does not freeze: ", k->name, (int)kt_thread_tid(k));
}

static int set_housekeeping(const char *list)
{
	const size_t setsize = kthread_setsize();
	cpu_set_t *set;
	int error;

	if (!list)
		return kthread_housekeeping_set(0, NULL);
	set = calloc(1, setsize);
	error = set ? kthread_cpulist_parse(list, setsize, set) : -ENOMEM;
	if (!error)
		error = kthread_housekeeping_set(setsize, set);
	free(set);
	return error;
}

/* The request has been made, in take(). */
static int await_parked(const struct kt_command *job)
{
	unsigned int now;

	if (job->error != -EINPROGRESS)
		return job->error;
	now = kt_thread_watch(job->thread, W_PARKED | W_STOP | W_EXITED, W_PARK, W_TOLD_PARK, KT_NEVER);
	if (now & W_PARKED)
		return 0;
	return now & (W_STOP | W_EXITED) ? -ENOSYS : -ECANCELED;
}

static int carry_out(struct kt_command *job)
{
	const struct kt_request *request = &job->request;
	const unsigned int flags = request->physical ? KTHREAD_CPU_PHYSICAL : 0;

	switch (request->verb) {
	case KT_ASK_RESCAN:
		return kthread_rescan();
	case KT_ASK_PARK:
		return await_parked(job);
	case KT_ASK_HOUSEKEEPING:
		return set_housekeeping(request->rest);
	case KT_ASK_CPU_DOWN:
		return kthread_cpu_down(request->number, flags);
	case KT_ASK_CPU_UP:
		return kthread_cpu_up(request->number, flags);
	case KT_ASK_FREEZE:
		return kt_freeze_all(request->number * KT_NS_PER_MS, refused, job);
	default:
		return -EINVAL;
	}
}

/* A park is asked for under the lock: whoever wants it back finds it here, or in the queue. */
static struct kt_command *take(void)
{
	struct kt_command *job;

	kt_lock(&kt_control_lock);
	job = STAILQ_FIRST(&command.queue);
	if (job) {
		STAILQ_REMOVE_HEAD(&command.queue, link);
		if (job->request.verb == KT_ASK_PARK)
			job->error = kt_thread_ask_to_park(job->thread);
		command.parking = job->error == -EINPROGRESS;
		command.now = job;
	}
	kt_unlock(&kt_control_lock);
	return job;
}

static void give_back(struct kt_command *job)
{
	kt_lock(&kt_control_lock);
	command.now = NULL;
	command.parking = false;
	if (job->client)
		finish(job, job->error);
	else
		job_free(job);
	kt_unlock(&kt_control_lock);
}

static void read_topology(void)
{
	struct kt_view *view;
	int error;

	kt_lock(&kt_control_lock);
	command.to_read = false; /* who asks from here on may have seen a later view than we do */
	kt_unlock(&kt_control_lock);
	view = kt_view_get();
	error = kt_topology_read(view);
	kt_view_put(view);
	if (!kthread_self())
		return; /* a child that the log function has forked came back from it */
	kt_lock(&kt_control_lock);
	if (!command.has_tried && kt_control_epoll() >= 0)
		kt_control_ring();
	command.has_tried = true;
	command.read_error = error;
	kt_unlock(&kt_control_lock);
}

static void carry_out_and_answer(struct kt_command *job)
{
	job->error = carry_out(job);
	if (job->error)
		explain(job->request.verb, job->error, job->message);
	give_back(job);
}

static bool is_to_read(void)
{
	bool to_read;

	kt_lock(&kt_control_lock);
	to_read = command.to_read;
	kt_unlock(&kt_control_lock);
	return to_read;
}

/*
 * The topology before the first job, which may wait for ever: who wants to see what is going on then waits for that alone.
 * If it is to be read again, when there is nothing else to do: nobody waits for it.
 */
static int command_fn(void *data)
{
	(void)data;
	read_topology();
	/* nobody: a child that the log function, or a step, has forked came back from it */
	while (kthread_self() && !kthread_should_stop()) {
		struct kt_command *job = take();

		if (job)
			carry_out_and_answer(job);
		else if (is_to_read())
			read_topology();
		else
			kthread_wait();
	}
	return 0;
}

static int start_thread(void)
{
	if (!command.thread)
		command.thread = kt_thread_spawn(KT_INTERNAL, command_fn, NULL, "kthread-control");
	return command.thread ? 0 : -errno;
}

static struct kt_command *job_new(const struct kt_request *request)
{
	const char *rest = request->rest ? request->rest : "";
	struct kt_command *job = calloc(1, sizeof(*job) + strlen(rest) + 1);

	if (!job)
		return NULL;
	memcpy(job->rest, rest, strlen(rest) + 1);
	job->request = *request;
	job->request.rest = request->rest ? job->rest : NULL;
	return job;
}

struct kt_command *kt_command_begin(struct kt_client *client, const struct kt_request *request, int *ret_error,
                                    char *message)
{
	struct kt_command *job;
	struct kthread *k = NULL;

	if (request->verb == KT_ASK_PARK) {
		k = find(request, ret_error, message);
		if (k && k->kind == KT_ADOPTED) {
			*ret_error = -EOPNOTSUPP;
			explain(KT_ASK_PARK, -EOPNOTSUPP, message);
			kthread_put(k);
			k = NULL;
		}
		if (!k)
			return NULL;
	}
	*ret_error = start_thread();
	job = *ret_error ? NULL : job_new(request);
	if (!job) {
		kthread_put(k);
		*ret_error = *ret_error ? *ret_error : -ENOMEM;
		return NULL;
	}
	job->thread = k;
	job->client = client;
	STAILQ_INSERT_TAIL(&command.queue, job, link);
	kthread_wake(command.thread);
	return job;
}

static enum kt_topology_state topology_state(void)
{
	struct kt_view *view = kt_view_get();
	const enum kt_topology_state state = kt_topology_state(view);

	kt_view_put(view);
	return state;
}

void kt_command_want_topology(void)
{
	if (topology_state() == KT_TOPOLOGY_WHOLE || start_thread() != 0)
		return;
	command.to_read = true;
	kthread_wake(command.thread);
}

int kt_command_topology_error(void)
{
	if (topology_state() != KT_TOPOLOGY_UNREAD)
		return 0;
	if (command.has_tried)
		return command.read_error;
	return command.thread ? -EINPROGRESS : 0;
}

void kt_command_abandon(struct kt_command *job)
{
	struct kt_command *queued;

	job->client = NULL; /* one that is done goes with the next ring */
	if (job == command.now && command.parking)
		kthread_unpark(job->thread);
	STAILQ_FOREACH(queued, &command.queue, link) {
		if (queued == job) {
			STAILQ_REMOVE(&command.queue, job, kt_command, link);
			job_free(job);
			return;
		}
	}
}

void kt_command_answer(void)
{
	struct kt_command *job;

	while ((job = STAILQ_FIRST(&command.done))) {
		STAILQ_REMOVE_HEAD(&command.done, link);
		if (job->client)
			kt_client_answer(job->client, job->error, job->message);
		job_free(job);
	}
}

/* ---- the library's life ------------------------------------------------------------------------------------------ */

/* The handle stays: a fork() may come at any moment. */
void kt_command_quiet(void)
{
	struct kthread *k;

	kt_lock(&kt_control_lock);
	k = kthread_get(command.thread);
	kt_unlock(&kt_control_lock);
	if (k)
		kthread_stop(k);
}

void kt_command_stop(void)
{
	if (command.thread)
		kthread_stop(command.thread);
	command.thread = NULL;
	command.has_tried = command.to_read = false;
	kt_command_forget();
}

void kt_command_forked(void)
{
	kthread_put(command.thread);
	command.thread = NULL;
	command.has_tried = command.to_read = false;
}

static void forget_all(struct jobs *jobs)
{
	struct kt_command *job;

	while ((job = STAILQ_FIRST(jobs))) {
		STAILQ_REMOVE_HEAD(jobs, link);
		job_free(job);
	}
}

void kt_command_forget(void)
{
	forget_all(&command.queue);
	forget_all(&command.done);
	if (command.now)
		job_free(command.now);
	command.now = NULL;
	command.parking = false;
}
