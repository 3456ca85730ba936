/* SPDX-License-Identifier: BSD-3-Clause */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/migrate_options.h"

static void usage(const struct migrate_command *c)
{
	static const struct {
		unsigned option;
		const char *text;
	} lines[] = {
		{OPT_TO,
		 "  --to URI           unix:PATH or tcp:HOST:PORT, where `uvfio restore` waits;\n"
		 "                     or file:PATH, a new file\n"},
		{OPT_FROM,
		 "  --from URI         unix:PATH or tcp:HOST:PORT, to wait there; or file:PATH\n"},
		{OPT_BANDWIDTH, "  --bandwidth SIZE   no more than this in a second, like 100M\n"},
		{OPT_DOWNTIME,
		 "  --downtime TIME    pause it when what is left takes no longer (300ms)\n"},
		{OPT_TIMEOUT, "  --timeout TIME     give it up if it takes longer\n"},
		{OPT_CANCEL, "  --cancel           end the move of DEVICE that is under way\n"},
		{OPT_LINK,
		 "  --link PATH        make PATH a link to the device's socket when it is here\n"},
		{OPT_JSON,
		 "  --json             for programs: a line for each moment, then the result\n"},
	};

	printf("usage: uvfio %s [OPTIONS] %s\n\n%s\n\n", c->remote.name, c->remote.arguments,
	       c->remote.help);
	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (c->takes & lines[i].option)
			fputs(lines[i].text, stdout);
	if (c->takes & OPT_FORCE)
		printf("  --force            %s\n",
		       c->takes & OPT_GONE ? "it is here, and goes on"
					   : "also out of a file that it was taken from already");
	if (c->takes & OPT_GONE)
		printf("  --gone             it is at the other side\n");
	printf("  --machine NAME     the server of this name (default: the one that runs)\n"
	       "  --control SOCKET   the server with this control socket\n"
	       "  --help             this\n\nThe manual page is uvfio-migrate(1).\n");
}

int migrate_complain(const struct migrate_command *c, const char *what, const char *text)
{
	fprintf(stderr, "uvfio %s: %s%s%s\n", c->remote.name, what, *text ? ": " : "", text);
	return EXIT_USAGE;
}

/* A number and one of @units, into what that is worth; 0 is no value. */
static bool parse_units(const char *text, const char *const *names, const uint64_t *worth,
			uint64_t *out)
{
	size_t len = strspn(text, "0123456789");

	if (!len || len > 12)
		return false;
	for (unsigned i = 0; names[i]; i++) {
		if (strcmp(text + len, names[i]))
			continue;
		return !__builtin_mul_overflow(strtoull(text, NULL, 10), worth[i], out) && *out;
	}
	return false;
}

static bool parse_size(const char *text, uint64_t *out)
{
	static const char *const names[] = {"", "K", "M", "G", NULL};
	static const uint64_t worth[] = {1, 1 << 10, 1 << 20, 1 << 30};

	return parse_units(text, names, worth, out);
}

static bool parse_time(const char *text, uint64_t *out)
{
	static const char *const names[] = {"us", "ms", "s", "min", NULL};
	static const uint64_t worth[] = {1000, 1000000, 1000000000, 60000000000};

	return parse_units(text, names, worth, out);
}

static int take_option(const struct migrate_command *c, struct migrate_options *o, unsigned option)
{
	switch (option) {
	case OPT_TO:
	case OPT_FROM:
		o->uri = optarg;
		break;
	case OPT_LINK:
		o->link = optarg;
		break;
	case OPT_BANDWIDTH:
		if (!parse_size(optarg, &o->bandwidth))
			return migrate_complain(c, "--bandwidth",
						"give bytes in a second, like 500K, 100M or 1G");
		break;
	case OPT_DOWNTIME:
		if (!parse_time(optarg, &o->downtime_ns))
			return migrate_complain(c, "--downtime", "give a time like 20ms or 1s");
		break;
	case OPT_TIMEOUT:
		if (!parse_time(optarg, &o->timeout_ns))
			return migrate_complain(c, "--timeout", "give a time like 30s or 10min");
		break;
	case OPT_MACHINE:
		o->remote.machine = optarg;
		break;
	case OPT_CONTROL:
		o->remote.control = optarg;
		break;
	default:
		break;
	}
	o->given |= option;
	return -1;
}

int migrate_options(const struct migrate_command *c, int argc, char **argv,
		    struct migrate_options *o)
{
	static const struct option all[] = {
		{"to", required_argument, NULL, OPT_TO},
		{"from", required_argument, NULL, OPT_FROM},
		{"bandwidth", required_argument, NULL, OPT_BANDWIDTH},
		{"downtime", required_argument, NULL, OPT_DOWNTIME},
		{"timeout", required_argument, NULL, OPT_TIMEOUT},
		{"cancel", no_argument, NULL, OPT_CANCEL},
		{"json", no_argument, NULL, OPT_JSON},
		{"force", no_argument, NULL, OPT_FORCE},
		{"link", required_argument, NULL, OPT_LINK},
		{"gone", no_argument, NULL, OPT_GONE},
		{"machine", required_argument, NULL, OPT_MACHINE},
		{"control", required_argument, NULL, OPT_CONTROL},
		{"help", no_argument, NULL, OPT_HELP},
	};
	struct option options[sizeof(all) / sizeof(all[0]) + 1] = {0};
	char name[32];
	unsigned n = 0;
	int option, ret;

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if ((c->takes | OPT_ALL) & (unsigned)all[i].val)
			options[n++] = all[i];
	*o = (struct migrate_options){0};
	snprintf(name, sizeof(name), "uvfio %s", c->remote.name);
	argv[0] = name; /* as getopt names itself in its messages */
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == '?') {
			fprintf(stderr, "`uvfio %s --help` lists the options\n", c->remote.name);
			return EXIT_USAGE;
		}
		if (option == 'h' || option == OPT_HELP) {
			usage(c);
			return 0;
		}
		ret = take_option(c, o, (unsigned)option);
		if (ret >= 0)
			return ret;
	}
	o->remote.args = argv + optind;
	o->remote.nr_args = argc - optind;
	if (o->remote.machine && o->remote.control)
		return migrate_complain(c, "--machine and --control", "give one of them");
	if (o->remote.nr_args < c->remote.min || o->remote.nr_args > c->remote.max)
		return migrate_complain(c,
					o->remote.nr_args < c->remote.min ? "an argument is missing"
									  : "too many arguments",
					c->remote.arguments);
	return -1;
}
