/* SPDX-License-Identifier: MIT */
/*
 * kthreadctl: looks at the threads of a daemon that uses libkthread, and asks it to change things. The command line: one
 * subcommand, and options before and after it.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kthreadctl/ctl.h"
#include "kthreadctl/human.h"

#define WAIT_NS 30000000000ull
#define DELAY_NS 1000000000ull
#define FOR_NS 10000000000ull /* of a timeline */

/* Which options a subcommand has, besides those that all have. */
enum {
	OPT_JSON = 1u << 0,
	OPT_TEXT = 1u << 1,
	OPT_NAMES = 1u << 2,
	OPT_PHYSICAL = 1u << 3,
	OPT_FOR = 1u << 4,
	OPT_TIMEOUT = 1u << 5,
	OPT_DELAY = 1u << 6,
	OPT_COUNT = 1u << 7,
	OPT_SVG = 1u << 8,
	OPT_EVERY = 1u << 9,
};

static const struct command {
	const char *name;
	const char *arguments;
	int least, most; /* how many arguments */
	unsigned int options;
	enum ctl_status (*run)(const struct ctl *ctl);
	const char *summary;
	const char *help;
} commands[] = {
    {"list", "", 0, 0, OPT_JSON | OPT_NAMES, run_list, "the threads: state, wish, and where they may run",
     "SINCE says for how long a thread has had its present CPUs, or has been broken: bound to CPUs none of which is\n"
     "usable, so that it runs elsewhere until it can go back. ACTUAL is what the kernel says.\n"},
    {"show", "NAME", 1, 1, OPT_JSON, run_show, "all about one thread, and why it is where it is", ""},
    {"top", "", 0, 0, OPT_JSON | OPT_DELAY | OPT_COUNT, run_top, "a live table with rates, the busiest first",
     "On a terminal it is redrawn in place: q or Ctrl-C ends it. Else it is printed block by block.\n"},
    {"watch", "", 0, 0, OPT_JSON | OPT_FOR, run_watch, "what happens to the threads, a line per event", ""},
    {"map", "", 0, 0, OPT_JSON | OPT_EVERY | OPT_SVG, run_map,
     "the CPUs by node and cache, and which threads may run on each",
     "Threads of a class that are placed alike share a row. As JSON it is the dump.\n"},
    {"timeline", "", 0, 0, OPT_JSON | OPT_FOR | OPT_EVERY | OPT_SVG, run_timeline,
     "a picture of what happens to the CPUs and threads",
     "Watches for the time of --for, or until Ctrl-C, then draws it.\n"
     "As JSON: a dump in the first line, then an event in each, as they come.\n"},
    {"dump", "", 0, 0, OPT_JSON | OPT_TEXT, run_dump, "the daemon's dump, as it is", ""},
    {"prometheus", "", 0, 0, OPT_JSON, run_prometheus, "counters and gauges in Prometheus' text format",
     "As JSON: the families of metrics, as prom2json writes them.\n"},
    {"park", "NAME", 1, 1, OPT_JSON, run_park, "park a thread, and wait until it is", ""},
    {"unpark", "NAME", 1, 1, OPT_JSON, run_unpark, "let a parked thread go on", ""},
    {"housekeeping", "LIST|default", 1, 1, OPT_JSON, run_housekeeping, "the CPUs of threads without a wish",
     "LIST is a list of CPUs as 0-3,8; default: those that are not isolated.\n"},
    {"cpu", "down|up CPU", 2, 2, OPT_JSON | OPT_PHYSICAL, run_cpu, "let the daemon give up a CPU, or take it back",
     "Only this daemon leaves the CPU, in the order of its hotplug steps.\n"},
    {"freeze", "", 0, 0, OPT_JSON | OPT_TIMEOUT, run_freeze, "freeze the threads that can be frozen", ""},
    {"thaw", "", 0, 0, OPT_JSON, run_thaw, "end a freeze", ""},
    {"rescan", "", 0, 0, OPT_JSON, run_rescan, "look at the machine again now", ""},
};
#define COMMANDS (sizeof(commands) / sizeof(*commands))

static const struct {
	unsigned int option;
	const char *help;
} option_help[] = {
    {OPT_JSON, "  -j, --json              JSON instead of text for people\n"},
    {OPT_TEXT, "      --text              the dump for people instead of JSON\n"},
    {OPT_NAMES, "      --names             the names of the threads, and nothing else\n"},
    {OPT_PHYSICAL, "      --physical          the kernel, too, takes the CPU down or up, for everybody\n"},
    {OPT_FOR, "  -f, --for TIME          for that time (timeline: 10s, watch: until Ctrl-C)\n"},
    {OPT_TIMEOUT, "      --timeout TIME      give up, and thaw, if not all are frozen by then\n"},
    {OPT_DELAY, "  -d, --delay TIME        between two looks (1s)\n"},
    {OPT_COUNT, "  -c, --count N           end after N blocks\n"},
    {OPT_EVERY, "      --every             a row for each thread\n"},
    {OPT_SVG, "      --svg FILE          draw a picture to that file; -: to standard output\n"},
};

static const char common_help[] =
    "Which daemon; with none of them KTHREAD_CONTROL of the environment, else the only one that is found:\n"
    "  -s, --socket PATH       the one with that control socket\n"
    "  -p, --pid PID           that process, also in a container\n"
    "  -n, --name PROCESS      the process of that name\n"
    "\n"
    "  -w, --wait TIME         how long to wait for an answer (30s)\n"
    "      --color WHEN        auto, always, never; auto heeds NO_COLOR and TERM\n"
    "  -h, --help              this text, or that of a subcommand\n"
    "  -V, --version           the version of kthreadctl\n"
    "\n"
    "TIME is a number with s, ms, m or h behind it. NAME is the name of a thread, or tid=NUMBER.\n"
    "Exit status: 0 done, 1 the daemon refused, 2 bad usage, 3 no daemon found or the connection broke.\n";

__attribute__((format(printf, 1, 2), noreturn)) static void bad_usage(const char *format, ...)
{
	va_list args;

	fputs("kthreadctl: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("; 'kthreadctl --help' tells more\n", stderr);
	exit(CTL_USAGE);
}

/* ---- help ------------------------------------------------------------------------------------------------------- */

static void help_all(void)
{
	puts("usage: kthreadctl [OPTION...] COMMAND [ARGUMENT...]\n"
	     "Looks at the threads of a daemon that uses libkthread, and asks it to change things.\n");
	for (size_t i = 0; i < COMMANDS; i++) {
		char usage[64];

		snprintf(usage, sizeof(usage), "%s %s", commands[i].name, commands[i].arguments);
		printf("  %-26s %s\n", usage, commands[i].summary);
	}
	printf("\n'kthreadctl COMMAND --help' tells the options of a command.\n\n%s", common_help);
}

static void help_one(const struct command *command)
{
	printf("usage: kthreadctl %s%s%s [OPTION...]\n%c%s.\n%s\n", command->name, *command->arguments ? " " : "",
	       command->arguments, *command->summary & ~0x20, command->summary + 1, command->help);
	for (size_t i = 0; i < sizeof(option_help) / sizeof(*option_help); i++) {
		if (command->options & option_help[i].option)
			fputs(option_help[i].help, stdout);
	}
	if (command->options)
		puts("");
	fputs(common_help, stdout);
}

/* ---- options ---------------------------------------------------------------------------------------------------- */

enum { TEXT = 256, NAMES, PHYSICAL, TIMEOUT, SVG, EVERY, COLOUR };
static const struct option known[] = {
    {"socket", required_argument, NULL, 's'},
    {"pid", required_argument, NULL, 'p'},
    {"name", required_argument, NULL, 'n'},
    {"wait", required_argument, NULL, 'w'},
    {"color", required_argument, NULL, COLOUR},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {"json", no_argument, NULL, 'j'},
    {"text", no_argument, NULL, TEXT},
    {"names", no_argument, NULL, NAMES},
    {"physical", no_argument, NULL, PHYSICAL},
    {"for", required_argument, NULL, 'f'},
    {"timeout", required_argument, NULL, TIMEOUT},
    {"delay", required_argument, NULL, 'd'},
    {"count", required_argument, NULL, 'c'},
    {"svg", required_argument, NULL, SVG},
    {"every", no_argument, NULL, EVERY},
    {0},
};

static uint64_t parse_time(const char *option, const char *text)
{
	uint64_t ns;

	if (!human_parse_duration(text, &ns))
		bad_usage("%s: '%s' is no time such as 10s, 250ms or 1m", option, text);
	return ns;
}

static uint64_t parse_number(const char *option, const char *text, uint64_t most)
{
	unsigned long long number;

	errno = 0;
	number = strtoull(text, NULL, 10);
	if (!*text || text[strspn(text, "0123456789")] || errno || number < 1 || number > most)
		bad_usage("%s: '%s' is not a number from 1 to %llu", option, text, (unsigned long long)most);
	return number;
}

static bool parse_colour(const char *when)
{
	const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");

	if (strcmp(when, "always") == 0 || strcmp(when, "never") == 0)
		return *when == 'a';
	if (strcmp(when, "auto") != 0)
		bad_usage("--color: '%s' is none of auto, always, never", when);
	return isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0 && !(no_colour && *no_colour);
}

/* One option, which is in the word given; returns which of the subcommands' own it is, or 0. */
static unsigned int take_option(struct ctl *ctl, int option, const char *given, const char **colour, bool *help)
{
	switch (option) {
	case 's':
		ctl->target.socket = optarg;
		return 0;
	case 'p':
		ctl->target.pid = (pid_t)parse_number("--pid", optarg, INT32_MAX);
		return 0;
	case 'n':
		ctl->target.name = optarg;
		return 0;
	case 'w':
		ctl->wait_ns = parse_time("--wait", optarg);
		return 0;
	case COLOUR:
		*colour = optarg;
		return 0;
	case 'h':
		*help = true;
		return 0;
	case 'V':
		puts("kthreadctl " KTHREAD_VERSION);
		exit((int)ctl_flush());
	case 'j':
		ctl->json = true;
		return OPT_JSON;
	case TEXT:
		ctl->text = true;
		return OPT_TEXT;
	case NAMES:
		ctl->names = true;
		return OPT_NAMES;
	case PHYSICAL:
		ctl->physical = true;
		return OPT_PHYSICAL;
	case 'f':
		ctl->for_ns = parse_time("--for", optarg);
		return OPT_FOR;
	case TIMEOUT:
		ctl->timeout_ns = parse_time("--timeout", optarg);
		return OPT_TIMEOUT;
	case 'd':
		ctl->delay_ns = parse_time("--delay", optarg);
		return OPT_DELAY;
	case 'c':
		ctl->count = parse_number("--count", optarg, INT64_MAX);
		return OPT_COUNT;
	case EVERY:
		ctl->every = true;
		return OPT_EVERY;
	case SVG:
		ctl->svg = optarg;
		return OPT_SVG;
	case ':':
		bad_usage("'%s': its value is missing", given);
	default:
		bad_usage("'%s' is no option, or several begin so, or it takes no value", given);
	}
}

static const struct command *command_called(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	bad_usage("'%s' is no command", name);
}

static void check(const struct ctl *ctl, const struct command *command, unsigned int given)
{
	const int targets = !!ctl->target.socket + !!ctl->target.pid + !!ctl->target.name;

	if (targets > 1)
		bad_usage("--socket, --pid and --name: give one of them");
	if ((ctl->target.socket && !*ctl->target.socket) || (ctl->svg && !*ctl->svg))
		bad_usage("%s: its path is empty", ctl->svg && !*ctl->svg ? "--svg" : "--socket");
	if (ctl->json && (ctl->text || ctl->names || ctl->svg))
		bad_usage("--json and --%s: give one of them", ctl->text ? "text" : ctl->names ? "names" : "svg");
	if (given & ~command->options) {
		const char *help = "";

		for (size_t i = 0; i < sizeof(option_help) / sizeof(*option_help); i++) {
			if (given & ~command->options & option_help[i].option)
				help = strstr(option_help[i].help, "--");
		}
		bad_usage("'%s' has no option %.*s", command->name, (int)strcspn(help, " "), help);
	}
	if (ctl->argc < command->least)
		bad_usage("'%s' needs %s", command->name, command->arguments);
	if (ctl->argc > command->most)
		bad_usage("'%s': '%s' is too much", command->name, ctl->argv[command->most]);
}

/* Started with a standard stream closed, that must not become the socket, to which all would be printed. */
static void keep_standard_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		/* The wrong way round, so that it cannot be used: as if it were closed still. */
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			exit(CTL_REFUSED);
	}
}

int main(int argc, char **argv)
{
	struct ctl ctl = {.wait_ns = WAIT_NS,
	                  .for_ns = CTL_FOREVER,
	                  .timeout_ns = CTL_FOREVER,
	                  .delay_ns = DELAY_NS,
	                  .interrupt_fd = -1};
	const struct command *command;
	const char *colour = "auto";
	unsigned int given = 0;
	bool help = false;
	int option;

	keep_standard_streams();
	setlocale(LC_CTYPE, "");
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":s:p:n:w:hVjf:d:c:", known, NULL)) != -1)
		given |= take_option(&ctl, option, argv[optind - 1], &colour, &help);
	if (optind == argc) {
		if (!help)
			bad_usage("a command is missing");
		help_all();
		return (int)ctl_flush();
	}
	command = command_called(argv[optind]);
	if (help) {
		help_one(command);
		return (int)ctl_flush();
	}
	ctl.argc = argc - optind - 1;
	ctl.argv = argv + optind + 1;
	ctl.colour = parse_colour(colour);
	ctl.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	if (command->run == run_timeline && ctl.for_ns == CTL_FOREVER)
		ctl.for_ns = FOR_NS;
	check(&ctl, command, given);
	return (int)command->run(&ctl);
}
