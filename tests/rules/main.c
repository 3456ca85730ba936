// SPDX-License-Identifier: BSD-3-Clause
/* Chooses the cases, runs each in a child process, prints a line for each. */
#include <getopt.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "d3.h"
#include "e.h"
#include "e1.h"
#include "sriov.h"
#include "wire.h"

#define CASE_SECONDS 60

static const struct section *const sections[] = {
	&section_a1,          &section_a3,
	&section_a4,          &section_a5,
	&section_a5_hot,      &section_a6_info,
	&section_a6_access,   &section_a6_mmap,
	&section_a7_header,   &section_a7_bars,
	&section_a7_caps,     &section_a7_ext,
	&section_a8_info,     &section_a8_validation,
	&section_a8_intx,     &section_a8_msix,
	&section_a8_msi,      &section_a8_err,
	&section_a8_raise,    &section_a8_ioeventfd,
	&section_a9,          &section_a10,
	&section_d1,          &section_d1_drivers,
	&section_d1_siblings, &section_d1_order,
	&section_d2_map,      &section_d2_map_order,
	&section_d2_memory,   &section_d2_unmap,
	&section_d2_dirty,    &section_d2_info,
	&section_d3_frame,    &section_d3_ioas,
	&section_d3_device,   &section_d3_groups,
	&section_d4_export,   &section_d4_map_file,
	&section_e4,          &section_f1,
	&section_a7_vf,       &section_a7_pf,
	&section_b1,          &section_c1,
	&section_c2,          &section_c3,
	&section_c4,          &section_a10_migration,
	&section_e2,          &section_e3,
	&section_e3_stream,   &section_e3_stopped,
	&section_e3_mapped,   &section_e3_fails,
	&section_e1,          &section_e1_data,
	&section_e1_fails,
};

struct options {
	const char *device, *other, *sibling, *socket, *wanted;
	unsigned release;
	bool list, json, ticks;
};

struct totals {
	unsigned passed, failed, skipped;
};

/* What is asked. */
struct devices {
	struct facts device, other, sibling;
	bool has_other, has_sibling;
};

static void run_case(const struct rule *rule, const struct devices *d, struct outcome *out,
		     unsigned release)
{
	const struct facts *f = &d->device, *other = d->has_other ? &d->other : NULL;
	const struct facts *sibling = d->has_sibling ? &d->sibling : NULL;
	const char *missing = facts_missing(f, other, sibling, rule->needs);
	const char *na = wire_used() ? wire_na(rule->name) : NULL;
	char why[64];
	int status;
	pid_t pid;

	memset(out, 0, sizeof(*out));
	if (na) {
		snprintf(out->skipped, sizeof(out->skipped), "%s", na);
		out->not_applicable = true;
		return;
	}
	if (!missing && rule->setup > OPEN_NOTHING && f->denied)
		missing = "the device cannot be opened";
	if (!missing && rule->setup > OPEN_MEMBER && f->refused)
		missing = "the group cannot be attached";
	if (missing) {
		snprintf(out->skipped, sizeof(out->skipped), "%s", missing);
		return;
	}
	fflush(stdout);
	pid = fork();
	if (pid < 0) {
		perror("rules: fork");
		exit(2);
	}
	if (!pid) {
		struct t t = {.rule = rule,
			      .f = f,
			      .other = other,
			      .sibling = sibling,
			      .out = out,
			      .release = release,
			      .container = -1,
			      .group = -1,
			      .dev = -1};

		setpgid(0, 0);
		alarm(CASE_SECONDS);
		open_all(&t, rule->setup);
		rule->run(&t);
		close_sessions();
		out->done = true;
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	/* A case that ended half-way may have left children, and they hold the device open. */
	kill(-pid, SIGKILL);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	if (out->done)
		return;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		snprintf(why, sizeof(why), "end=TIMEOUT");
	else if (WIFSIGNALED(status))
		snprintf(why, sizeof(why), "end=SIG%s", sigabbrev_np(WTERMSIG(status)));
	else
		snprintf(why, sizeof(why), "end=exit-%d", WEXITSTATUS(status));
	snprintf(out->result + strlen(out->result), sizeof(out->result) - strlen(out->result),
		 "%s%s", out->result[0] ? " " : "", why);
	if (!out->failed)
		snprintf(out->wrong, sizeof(out->wrong), "the case should come to its end");
	out->failed = true;
}

static void print(const struct rule *rule, const struct outcome *out, bool json)
{
	const char *verdict = out->not_applicable ? "N/A"
			      : out->skipped[0]   ? "SKIP"
			      : out->failed       ? "FAIL"
						  : "PASS";
	const char *remark = out->skipped[0] ? out->skipped : out->wrong;

	/* Neither names nor results nor remarks hold a quote or a backslash. */
	if (json)
		printf("{\"name\": \"%s\", \"result\": \"%s\", \"verdict\": \"%s\", \"remark\": \"%s\"}\n",
		       rule->name, out->result, verdict, remark);
	else if (out->skipped[0])
		printf("%s: - [%s: %s]\n", rule->name, verdict, remark);
	else if (out->failed)
		printf("%s: %s [FAIL: %s]\n", rule->name, out->result, remark);
	else
		printf("%s: %s [PASS]\n", rule->name, out->result);
}

/* "A.8" takes the section, "A.8/INTX" what is below it, "A.8,A.9" both. */
static bool chosen(const char *name, const char *wanted)
{
	size_t len;

	if (!wanted || !*wanted)
		return true;
	for (; *wanted; wanted += len + (wanted[len] == ',')) {
		len = strcspn(wanted, ",");
		if (len && !strncmp(name, wanted, len) &&
		    (name[len] == '/' || name[len] == '\0' || wanted[len - 1] == '/'))
			return true;
	}
	return false;
}

static void run_all(const struct options *o, const struct devices *d, struct totals *totals)
{
	struct outcome *out =
		mmap(NULL, sizeof(*out), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (out == MAP_FAILED || prctl(PR_SET_CHILD_SUBREAPER, 1)) {
		perror("rules: setting up");
		exit(2);
	}
	for (size_t s = 0; s < ARRAY_LEN(sections); s++) {
		for (size_t i = 0; i < sections[s]->count; i++) {
			const struct rule *rule = &sections[s]->rules[i];

			if (!chosen(rule->name, o->wanted))
				continue;
			run_case(rule, d, out, o->release);
			print(rule, out, o->json);
			if (out->skipped[0])
				totals->skipped++;
			else if (out->failed)
				totals->failed++;
			else
				totals->passed++;
		}
	}
}

static void list(const char *wanted)
{
	for (size_t s = 0; s < ARRAY_LEN(sections); s++) {
		for (size_t i = 0; i < sections[s]->count; i++) {
			if (chosen(sections[s]->rules[i].name, wanted))
				puts(sections[s]->rules[i].name);
		}
	}
}

static _Noreturn void usage(const char *problem)
{
	fprintf(stderr,
		"rules: %s\n"
		"usage: rules --device ADDRESS [--other ADDRESS] [--sibling ADDRESS] [--section NAME]\n"
		"             [--container PATH] [--as VERSION] [--json]\n"
		"       rules --socket PATH [--section NAME] [--as VERSION] [--json]\n"
		"       rules --list [--section NAME]\n"
		"\n"
		"  --device ADDRESS  the PCI device, bound to vfio-pci, for example 0000:01:00.0\n"
		"  --other ADDRESS   a second one in a group of its own, for the cases that need two\n"
		"  --sibling ADDRESS one in the same group and on the same bus, likewise\n"
		"  --container PATH  this file in the place of /dev/vfio/vfio: /dev/iommu\n"
		"  --socket PATH     the device of the vfio-user server that listens there\n"
		"  --section NAME    only these cases, for example A.8 or A.8/INTX,A.5\n"
		"  --ticks           its INTx comes by itself, again and again\n"
		"  --as VERSION      expect the rules of this Linux version (default 7.2)\n"
		"  --json, --lines   one JSON object, or one line (the default), a case\n"
		"  --list            print the names of the cases\n",
		problem);
	exit(2);
}

static void parse(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{"device", required_argument, NULL, 'd'},
		{"other", required_argument, NULL, 'o'},
		{"section", required_argument, NULL, 's'},
		{"as", required_argument, NULL, 'a'},
		{"list", no_argument, NULL, 'l'},
		{"json", no_argument, NULL, 'j'},
		{"lines", no_argument, NULL, 'n'},
		{"socket", required_argument, NULL, 'S'},
		{"ticks", no_argument, NULL, 't'},
		{"sibling", required_argument, NULL, 'b'},
		{"container", required_argument, NULL, 'c'},
		{0},
	};
	unsigned major, minor;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'd':
			o->device = optarg;
			break;
		case 'o':
			o->other = optarg;
			break;
		case 'b':
			o->sibling = optarg;
			break;
		case 'c':
			use_container(optarg);
			break;
		case 'S':
			o->socket = optarg;
			break;
		case 's':
			o->wanted = optarg;
			break;
		case 'a':
			if (sscanf(optarg, "%u.%u", &major, &minor) != 2 || minor > 255)
				usage("a version has the form 6.12");
			o->release = major << 8 | minor;
			break;
		case 'l':
			o->list = true;
			break;
		case 't':
			o->ticks = true;
			break;
		case 'j':
			o->json = true;
			break;
		case 'n':
			o->json = false;
			break;
		default:
			usage("unknown option");
		}
	}
	if (optind < argc)
		usage("there are no arguments without an option");
}

int main(int argc, char **argv)
{
	struct options o = {.release = 7 << 8 | 2};
	static struct devices d;
	struct totals totals = {0};

	parse(&o, argc, argv);
	if (o.list) {
		list(o.wanted);
		return 0;
	}
	if (o.socket) {
		if (o.device || o.other || o.sibling)
			usage("--socket stands alone: a connection is one device");
		if (facts_learn_socket(&d.device, o.socket))
			return 2;
	} else {
		if (!o.device)
			usage("--device is missing");
		d.has_other = o.other;
		d.has_sibling = o.sibling;
		if (facts_learn(&d.device, o.device) ||
		    (o.other && facts_learn(&d.other, o.other)) ||
		    (o.sibling && facts_learn(&d.sibling, o.sibling)))
			return 2;
		if (o.sibling && d.sibling.group != d.device.group)
			usage("--sibling is for a device of the same group");
	}
	d.device.ticks = o.ticks;
	run_all(&o, &d, &totals);
	fprintf(stderr, "%u passed, %u failed, %u skipped\n", totals.passed, totals.failed,
		totals.skipped);
	return totals.failed != 0;
}
