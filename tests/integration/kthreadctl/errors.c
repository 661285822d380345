/* SPDX-License-Identifier: MIT */
/*
 * What kthreadctl makes of daemons that refuse, end, say nothing or rubbish; of sockets that are not for it; and of command
 * lines that are wrong: a line on stderr, and the exit status.
 */
#include "ctl.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "../await.h"

#define DUMP \
	"{\"format\":\"kthread-dump\",\"version\":1,\"library\":\"0.1.0\",\"pid\":7,\"process\":\"fake\",\"time_ns\":1000000000," \
	"\"time\":\"2026-11-21T20:00:00.123Z\",\"simulate\":false,\"view\":{\"generation\":1,\"confined\":false," \
	"\"quota\":null,\"possible\":\"0-1\",\"present\":\"0-1\",\"online\":\"0-1\",\"allowed\":\"0-1\",\"offlined\":\"\"," \
	"\"usable\":\"0-1\",\"isolated\":\"\",\"housekeeping\":\"0-1\",\"sources\":{}},\"nodes\":[],\"caches\":[],\"steps\":[]," \
	"\"threads\":[" THREAD("twin", "11") "," THREAD("twin", "12") "," THREAD("a \\u001b[2Jname", "13") "]}\n"
#define THREAD(name, tid) \
	"{\"name\":\"" name "\",\"class\":\"" name "\",\"index\":null,\"tid\":" tid \
	",\"kind\":\"kthread\",\"state\":\"waiting\",\"wish\":{\"kind\":\"none\",\"cpus\":null,\"node\":null}," \
	"\"effective\":\"0-1\",\"actual\":\"0-1\",\"cpu\":0,\"broken\":false,\"broken_since_ns\":null,\"broken_ns\":0," \
	"\"last\":null,\"counters\":{\"wakes\":0,\"parks\":0,\"freezes\":0,\"reaffines\":0,\"refusals\":{}," \
	"\"works_run\":null,\"longest_queue\":null,\"ktask_chunks\":null}}"
#define WATCH \
	"{\"event\":\"watch\",\"format\":\"kthread-events\",\"version\":1,\"library\":\"0.1.0\",\"pid\":7,\"process\":\"fake\"," \
	"\"time_ns\":1000000000,\"time\":\"2026-11-21T20:00:00.123Z\"}\n"
#define REFUSED "{\"ok\":false,\"error\":\"EBUSY\",\"message\":\"sixteen clients are there: try again\"}\n"

static struct fake fake;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *answer; /* to every request; NULL: none */
static char last_request[1024];

static void answers(const char *text)
{
	pthread_mutex_lock(&lock);
	free(answer);
	answer = text ? strdup(text) : NULL;
	CHECK(answer || !text);
	pthread_mutex_unlock(&lock);
}

static char *reply(const char *request, size_t *length)
{
	char *copy = NULL;

	pthread_mutex_lock(&lock);
	strcpy(last_request, request);
	if (answer) {
		copy = strdup(answer);
		CHECK(copy);
		*length = strlen(copy);
	}
	pthread_mutex_unlock(&lock);
	return copy;
}

static void expect_request(const char *request)
{
	pthread_mutex_lock(&lock);
	assert_string_equal(last_request, request);
	pthread_mutex_unlock(&lock);
}

static int start(void **state)
{
	fake_start(&fake, reply);
	return 0;
}

static int stop(void **state)
{
	fake_stop(&fake);
	answers(NULL);
	return 0;
}

/* ---- replies ---------------------------------------------------------------------------------------------------- */

static const char *const readers[] = {"list", "list --names", "show tid=11", "prometheus", "dump", "top -c 1", "map"};
#define READERS (sizeof(readers) / sizeof(*readers))

static void readers__a_whole_dump(void **state)
{
	answers(DUMP);
	expect(0, "waiting  none  0-1        0-1       0  -\n", NULL, "-s %s list", fake.path);
	expect(0, "a ?[2Jname\ntwin\ntwin\n", NULL, "list --names --socket %s", fake.path);
	expect(0, "\n  tid            11\n", NULL, "-s %s show tid=11", fake.path);
	expect(0, "{\"name\":\"twin\",\"class\":\"twin\",\"index\":null,\"tid\":12,", NULL, "-s %s show -j tid=12",
	       fake.path);
	expect(0, "[\n{\"name\":\"twin\",", NULL, "-s %s list --json", fake.path);
	expect(0, "kthread_threads 3\n", NULL, "-s %s prometheus", fake.path);
	expect(0, DUMP, NULL, "-s %s dump", fake.path);
	expect(0, "3 threads, 0 broken\n", NULL, "-s %s top -c 1", fake.path);
	expect(0, "\n\nfake (pid 7)", NULL, "-s %s top -c 2 -d 1ms", fake.path);
	expect(0, "kthread", NULL, "-s %s map --color=never", fake.path);
	expect(0, "</svg>\n", NULL, "-s %s map --every --svg -", fake.path);
	expect(1, NULL, "/nowhere/x.svg: cannot be written: No such file", "-s %s map --svg /nowhere/x.svg", fake.path);
	expect(0, DUMP, NULL, "-s %s map --json", fake.path);
	expect(0, "\"wakes_per_s\":null", NULL, "-s %s top -c 1 -j", fake.path);
	expect_request("dump json");
}

static void show__which_thread(void **state)
{
	answers(DUMP);
	expect(1, NULL, "no thread is called \"single\"", "-s %s show single", fake.path);
	expect(1, NULL, "2 threads are called \"twin\": choose one with tid=NUMBER", "-s %s show twin", fake.path);
	expect(1, NULL, "no thread is called \"tid=99\"", "-s %s show tid=99", fake.path);
	expect(0, "  tid            13\n", NULL, "-s %s show a\\_\033[2Jname", fake.path);
}

static void readers__a_dump_that_breaks_off_anywhere(void **state)
{
	static const size_t parts[] = {1, 2, 100, 300, sizeof(DUMP) / 2, sizeof(DUMP) - 4};
	char part[sizeof(DUMP)];

	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		snprintf(part, sizeof(part), "%.*s", (int)parts[i], DUMP);
		answers(part);
		for (size_t r = 0; r < READERS; r++)
			expect(3, NULL, "kthreadctl: the", "-s %s %s", fake.path, readers[r]);
	}
	answers("");
	for (size_t r = 0; r < READERS; r++)
		expect(3, NULL, "closed the connection without an answer", "-s %s %s", fake.path, readers[r]);
}

static void readers__rubbish(void **state)
{
	static const char *const rubbish[] = {
	    "HTTP/1.1 400 Bad Request\r\n\r\n",
	    "\n",
	    "{}",
	    "[]",
	    "{\"format\":\"kthread-dump\",\"version\":2}",
	    "{\"format\":\"kthread-dump\",\"version\":1}",
	    "{\"format\":7,\"version\":1}",
	    "\xff\xfe\x01",
	    DUMP DUMP,
	};

	for (size_t i = 0; i < sizeof(rubbish) / sizeof(*rubbish); i++) {
		answers(rubbish[i]);
		for (size_t r = 0; r < READERS; r++)
			expect(3, NULL, "kthreadctl: ", "-s %s %s", fake.path, readers[r]);
		expect(3, NULL, "kthreadctl: ", "-s %s dump --text", fake.path);
		expect(3, NULL, "kthreadctl: ", "-s %s park x", fake.path);
		expect(3, NULL, "kthreadctl: ", "-s %s watch", fake.path);
	}
	answers("{\"format\":\"kthread-dump\",\"version\":2}");
	expect(3, NULL, "use a newer one", "-s %s list", fake.path);
}

static void all__refused(void **state)
{
	answers(REFUSED);
	for (size_t r = 0; r < READERS; r++)
		expect(1, NULL, "kthreadctl: sixteen clients are there: try again\n", "-s %s %s", fake.path,
		       readers[r]);
	expect(1, NULL, "kthreadctl: sixteen clients are there: try again\n", "-s %s dump --text", fake.path);
	expect(1, NULL, "kthreadctl: sixteen clients are there: try again\n", "-s %s watch", fake.path);
	expect(1, NULL, "kthreadctl: sixteen clients are there: try again\n", "-s %s park x", fake.path);
	expect(1, REFUSED, "sixteen clients", "-s %s park x --json", fake.path);
	answers("{\"ok\":false,\"error\":\"EPERM\",\"message\":\"\\u001b[2J\"}\n");
	expect(1, NULL, "kthreadctl: ?[2J\n", "-s %s park x", fake.path);
	answers("{\"ok\":false,\"error\":\"EPERM\"}\n");
	expect(1, NULL, "kthreadctl: EPERM\n", "-s %s park x", fake.path);
	answers("{\"ok\":false}\n");
	expect(1, NULL, "does not say why", "-s %s park x", fake.path);
}

static void changes__what_is_asked(void **state)
{
	static const struct {
		const char *line, *request;
	} table[] = {
	    {"park poll/3", "park poll/3"},
	    {"park a\\_long\\_name", "park a long name"},
	    {"park -- -x", "park -x"},
	    {"unpark tid=7", "unpark tid=7"},
	    {"housekeeping 0-3,8", "housekeeping 0-3,8"},
	    {"housekeeping default", "housekeeping default"},
	    {"cpu down 3", "cpu down 3"},
	    {"cpu --physical up 12", "cpu up 12 physical"},
	    {"freeze", "freeze"},
	    {"freeze --timeout 1.5", "freeze 1500"},
	    {"freeze --timeout 1ms", "freeze 1"},
	    {"thaw", "thaw"},
	    {"rescan", "rescan"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		answers("{\"ok\":true}\n");
		expect(0, NULL, NULL, "-s %s %s", fake.path, table[i].line);
		expect_request(table[i].request);
		expect(0, "{\"ok\":true}\n", NULL, "--json -s %s %s", fake.path, table[i].line);
		answers("{\"ok\":tr");
		expect(3, NULL, "whether it has been done is not known", "-s %s %s", fake.path, table[i].line);
		answers("");
		expect(3, NULL, "without an answer", "-s %s %s", fake.path, table[i].line);
	}
}

static void dump__text(void **state)
{
	answers("steady\n...\nend\n");
	expect(0, "steady\n...\nend\n", NULL, "-s %s dump --text", fake.path);
	expect_request("dump text");
	answers("steady\n...\nen");
	expect(3, NULL, "broke in the midst", "-s %s dump --text", fake.path);
}

/* On a terminal nothing of a daemon's gets through that would control it; elsewhere all is as it came. */
static void output__does_not_control_the_terminal(void **state)
{
	static char wide[3 * 2000 + sizeof("\nend\n")];
	static const char text[] = "one\033]0;title\007\ntwo\302\233 three\nend\n";
	struct terminal t;

	answers(text);
	expect(0, text, NULL, "-s %s dump --text", fake.path);
	terminal_start(&t, 24, 80, "xterm", "-s %s dump --text", fake.path);
	assert_int_equal(terminal_end(&t), 0);
	assert_string_equal(t.text, "one?]0;title?\r\ntwo? three\r\nend\r\n");
	free(t.text);
	for (size_t i = 0; i < sizeof(wide) - 1 - strlen("\nend\n"); i += 3)
		memcpy(wide + i, "\xe2\x94\x80", 3);
	strcpy(wide + sizeof(wide) - 1 - strlen("\nend\n"), "\nend\n");
	answers(wide);
	terminal_start(&t, 24, 80, "xterm", "-s %s dump --text", fake.path);
	assert_int_equal(terminal_end(&t), 0);
	assert_null(strstr(t.text, "\xef\xbf\xbd")); /* nor is a character taken apart */
	free(t.text);
	/* What another user has called something comes into messages, too. */
	expect(3, NULL, "/?[2J: there is no such socket", "-s %s/\033[2J list", ctl_dir);
	answers("{\"ok\":true,\"x\":\"\302\233\"}\n");
	terminal_start(&t, 24, 80, "xterm", "-s %s park x --json", fake.path);
	assert_int_equal(terminal_end(&t), 0);
	assert_string_equal(t.text, "{\"ok\":true,\"x\":\"?\"}\r\n");
	free(t.text);
}

static void watch__until_the_daemon_ends(void **state)
{
	answers(WATCH
	        "{\"event\":\"thread_park\",\"time_ns\":2000000000,\"tid\":5,\"name\":\"poll/3\"}\n{\"event\":\"thr");
	expect(3, "poll/3            parked\n", "kthreadctl: the daemon has ended\n", "-s %s watch", fake.path);
	expect(3, "\"name\":\"poll/3\"}\n", "the daemon has ended", "-s %s watch --json", fake.path);
	answers(WATCH "{\"event\":7}\n");
	expect(3, "watching (pid 7, libkthread 0.1.0)\n", "cannot be understood", "-s %s watch", fake.path);
	answers("{\"event\":\"freeze\",\"time_ns\":2000000000}\n");
	expect(3, NULL, "does not begin as a stream", "-s %s watch", fake.path);
}

static void all__a_daemon_that_says_nothing(void **state)
{
	answers(NULL);
	for (size_t r = 0; r < READERS; r++)
		expect(3, NULL, "no answer within 100ms: is the daemon stopped?", "-w 100ms -s %s %s", fake.path,
		       readers[r]);
	expect(3, NULL, "what was asked for may still happen", "-w 100ms -s %s park x", fake.path);
	expect(3, NULL, "no answer within 300ms", "-w 100ms -s %s freeze --timeout 200ms", fake.path);
	expect(3, NULL, "does not answer", "-w 100ms -s %s watch", fake.path);
	expect(0, NULL, NULL, "-s %s watch --for 100ms", fake.path);
}

/* full: on a device that is always full, or -1: stdout is closed. */
static int status_without_output(int full, const char *command)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		dup2(open("/dev/null", O_WRONLY), 2);
		if (full < 0)
			close(1);
		else
			dup2(full, 1);
		execl(ctl_program, ctl_program, "-s", fake.path, command, NULL);
		_exit(127);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void output__cannot_be_written(void **state)
{
	const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	answers(DUMP);
	if (full < 0)
		skip();
	assert_int_equal(status_without_output(full, "dump"), 1);
	assert_int_equal(status_without_output(-1, "dump"), 1);
	answers(WATCH); /* which the socket would take, were it stdout */
	assert_int_equal(status_without_output(-1, "watch"), 1);
	close(full);
}

/* ---- which daemon ----------------------------------------------------------------------------------------------- */

static void target__by_process(void **state)
{
	char name[16];

	answers(DUMP);
	snprintf(name, sizeof(name), "ctl%d", (int)getpid());
	assert_int_equal(prctl(PR_SET_NAME, name), 0);
	expect(0, "twin", NULL, "--pid %d list", (int)getpid());
	expect(0, "twin", NULL, "--name %s list", name);
	expect(3, NULL, "there is no process called", "--name %sx list", name);
	setenv("KTHREAD_CONTROL", fake.path, 1);
	expect(0, "twin", NULL, "list");
	setenv("KTHREAD_CONTROL", "/nowhere/x", 1);
	expect(3, NULL, "/nowhere/x: there is no such socket", "list");
	expect(0, "twin", NULL, "-s %s list", fake.path); /* what is said beats it */
	unsetenv("KTHREAD_CONTROL");
}

static void target__without_a_socket(void **state)
{
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		close(fake.listener); /* which it inherited */
		CHECK(write(ready[1], "", 1) == 1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	expect(3, NULL, "has no control socket: start it with KTHREAD_CONTROL", "--pid %d list", (int)pid);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	expect(3, NULL, "there is no process", "--pid %d list", (int)pid);
	close(ready[0]);
	close(ready[1]);
}

static void target__nobody_listens(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char path[100];
	FILE *file;

	snprintf(path, sizeof(path), "%s/stale", ctl_dir);
	strcpy(address.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	expect(3, NULL, "nobody listens there any more", "-s %s list", path);
	snprintf(path, sizeof(path), "%s/file", ctl_dir);
	file = fopen(path, "w");
	assert_non_null(file);
	fclose(file);
	expect(3, NULL, "/file: that is no control socket", "-s %s list", path);
	expect(3, NULL, "there is no such socket", "-s %s/nothing list", ctl_dir);
	expect(3, NULL, "that is no control socket", "-s %s list", ctl_dir);
}

/* As another user, if we are root; else nobody may write to it. */
static void target__somebody_elses(void **state)
{
	int err[2], status;
	char text[512] = "";
	size_t used = 0;
	ssize_t n;
	pid_t pid;

	answers(DUMP);
	assert_int_equal(chmod(fake.path, geteuid() == 0 ? 0600 : 0), 0);
	assert_int_equal(pipe(err), 0);
	pid = fork();
	if (pid == 0) {
		if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
			_exit(126);
		dup2(err[1], 2);
		close(err[0]);
		close(err[1]);
		execl(ctl_program, ctl_program, "-s", fake.path, "list", NULL);
		_exit(126);
	}
	close(err[1]);
	while (used < sizeof(text) - 1 && (n = read(err[0], text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)n;
	close(err[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(chmod(fake.path, 0600), 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 126)
		skip(); /* another user may not even see the program */
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 3);
	assert_non_null(strstr(text, "it lets in its own user and root only"));
}

/* A container's root, and whatever else makes a path longer than an address. */
static void target__a_long_path(void **state)
{
	char path[600];
	int used = snprintf(path, sizeof(path), "%s", ctl_dir);

	answers(DUMP);
	for (int i = 0; i < 100; i++)
		used += snprintf(path + used, sizeof(path) - (size_t)used, "/.");
	snprintf(path + used, sizeof(path) - (size_t)used, "%s", strrchr(fake.path, '/'));
	expect(0, "twin", NULL, "-s %s list", path);
}

/* ---- the command line ------------------------------------------------------------------------------------------- */

static void usage__is_refused(void **state)
{
	static const char *const table[][2] = {
	    {"", "a command is missing"},
	    {"nonsense", "'nonsense' is no command"},
	    {"list extra", "'extra' is too much"},
	    {"show", "'show' needs NAME"},
	    {"show a b", "'b' is too much"},
	    {"cpu down", "'cpu' needs down|up CPU"},
	    {"cpu sideways 3", "neither down nor up"},
	    {"cpu down x", "'x' is not the number of a CPU"},
	    {"cpu down ''", "is not the number of a CPU"},
	    {"housekeeping", "needs LIST|default"},
	    {"list --svg x", "'list' has no option --svg"},
	    {"prometheus --text", "'prometheus' has no option --text"},
	    {"park x --physical", "has no option --physical"},
	    {"dump --json --text", "--json and --text: give one of them"},
	    {"list --nonsense", "'--nonsense' is no option"},
	    {"list -x", "'-x' is no option"},
	    {"list --json=x", "or it takes no value"},
	    {"list -s", "'-s': its value is missing"},
	    {"-s x -p 7 list", "give one of them"},
	    {"-s '' list", "--socket: its path is empty"},
	    {"map --svg ''", "--svg: its path is empty"},
	    {"list --names --json", "--json and --names: give one of them"},
	    {"list --s", "'--s' is no option, or several begin so"},
	    {"-p 0 list", "'0' is not a number from 1 to"},
	    {"-p 12x list", "'12x' is not a number"},
	    {"-p -4 list", "'-4' is not a number"},
	    {"-p 99999999999999999999 list", "is not a number"},
	    {"top -d 0", "'0' is no time such as"},
	    {"top -d soon", "'soon' is no time such as"},
	    {"top -c 0", "'0' is not a number"},
	    {"watch --for -1", "'-1' is no time"},
	    {"list -w 1x", "'1x' is no time"},
	    {"list --color=pink", "none of auto, always, never"},
	    {"list --color", "'--color': its value is missing"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		expect(2, NULL, table[i][1], "%s", table[i][0]);
}

static void usage__names_that_cannot_be_sent(void **state)
{
	char name[2000];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	answers("{\"ok\":true}\n");
	expect(2, NULL, "use tid=NUMBER", "-s %s park %s", fake.path, name);
	expect(2, NULL, "use tid=NUMBER", "-s %s park one\\ntwo", fake.path);
	name[1022 - strlen("park ")] = '\0';
	expect(0, NULL, NULL, "-s %s park %s", fake.path, name);
}

static void help__of_all_and_of_each(void **state)
{
	static const char *const commands[] = {"list",  "show",         "top",        "map",  "timeline",
	                                       "watch", "dump",         "prometheus", "park", "unpark",
	                                       "cpu",   "housekeeping", "freeze",     "thaw", "rescan"};
	struct run all = run("--help");

	assert_int_equal(all.status, 0);
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		char usage[64];

		snprintf(usage, sizeof(usage), "\n  %s ", commands[i]);
		assert_non_null(strstr(all.out, usage));
		snprintf(usage, sizeof(usage), "usage: kthreadctl %s ", commands[i]);
		expect(0, usage, NULL, "%s --help", commands[i]);
		expect(0, usage, NULL, "-h %s", commands[i]);
	}
	run_free(&all);
	expect(0, "kthreadctl " KTHREAD_VERSION "\n", NULL, "--version");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(readers__a_whole_dump, start, stop),
	    cmocka_unit_test_setup_teardown(show__which_thread, start, stop),
	    cmocka_unit_test_setup_teardown(readers__a_dump_that_breaks_off_anywhere, start, stop),
	    cmocka_unit_test_setup_teardown(readers__rubbish, start, stop),
	    cmocka_unit_test_setup_teardown(all__refused, start, stop),
	    cmocka_unit_test_setup_teardown(changes__what_is_asked, start, stop),
	    cmocka_unit_test_setup_teardown(dump__text, start, stop),
	    cmocka_unit_test_setup_teardown(watch__until_the_daemon_ends, start, stop),
	    cmocka_unit_test_setup_teardown(all__a_daemon_that_says_nothing, start, stop),
	    cmocka_unit_test_setup_teardown(output__cannot_be_written, start, stop),
	    cmocka_unit_test_setup_teardown(output__does_not_control_the_terminal, start, stop),
	    cmocka_unit_test_setup_teardown(target__by_process, start, stop),
	    cmocka_unit_test_setup_teardown(target__without_a_socket, start, stop),
	    cmocka_unit_test(target__nobody_listens),
	    cmocka_unit_test_setup_teardown(target__somebody_elses, start, stop),
	    cmocka_unit_test_setup_teardown(target__a_long_path, start, stop),
	    cmocka_unit_test(usage__is_refused),
	    cmocka_unit_test_setup_teardown(usage__names_that_cannot_be_sent, start, stop),
	    cmocka_unit_test(help__of_all_and_of_each),
	};

	CHECK(argc == 2);
	ctl_program = argv[1];
	setenv("LC_ALL", "C", 1);
	return cmocka_run_group_tests(tests, ctl_setup, ctl_teardown);
}
