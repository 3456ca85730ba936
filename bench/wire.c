/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Door 2: what a vfio-user message costs beside the least that it can: two processes that pass the
 * same bytes over a socket pair, wait in the same way and are pinned alike: those that spin to a
 * CPU each, those that wait in epoll to one CPU.  How many system calls a message is; how long it
 * takes to map a million regions, to set 2,048 eventfds, to connect; what a thousand idle devices
 * take. Usage: bench-wire [spinning|waiting|large|posted|irqs|connect|maps|idle ...]
 */
#include <linux/pci_regs.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uvfio/device.h>

#include "bench.h"
#include "devices/nvme/nvme_model.h"
#include "pair.h"
#include "support/count_calls.h"
#include "vfio/vfio.h"
#include "wire/protocol.h"
#include "wire_cases.h"
#include "wire_model.h"
#include "wire_talk.h"

#define READS   5000u
#define SHORT   50u
#define BIGS    1000u
#define POSTED  64u
#define COUNTED 200u
#define BATCHES 100u
#define IDLE    1000u

struct world {
	struct place spinning, waiting, usual; /* servers that wait so */
	pid_t waits;
};

/* ---- messages ---- */

/* A client that reads @count bytes of @region again and again: as a side of a ping-pong. */
static struct side reader(const struct place *place, enum waiting how, unsigned region,
			  uint32_t count, unsigned rounds)
{
	struct vfio_user_region_access a = {0, region, count};
	struct vfio_user_header hdr = {1, VFIO_USER_REGION_READ, sizeof(hdr) + sizeof(a), 0, 0};
	struct side s = {.how = how,
			 .ask = hdr.size,
			 .answer = hdr.size + count,
			 .rounds = rounds,
			 .fd = talk_attach(place)};

	s.ep = pair_epoll(s.fd);
	s.buf = calloc(1, 1 << 17);
	memcpy(s.buf, &hdr, sizeof(hdr));
	memcpy(s.buf + sizeof(hdr), &a, sizeof(a));
	return s;
}

/* The question is overwritten by the answer, so it is written anew. */
static double read_region(void *arg)
{
	struct side *s = arg;
	uint8_t question[32], *buf = malloc(s->answer);
	uint64_t start = 0;

	memcpy(question, s->buf, sizeof(question));
	for (unsigned i = 0; i < s->rounds + s->rounds / 10; i++) {
		if (i == s->rounds / 10)
			start = bench_ns();
		pair_give(s->fd, question, sizeof(question));
		pair_take(s->fd, s->ep, buf, s->answer, s->how);
	}
	start = bench_ns() - start;
	if (((struct vfio_user_header *)buf)->flags != VFIO_USER_TYPE_REPLY)
		talk_die("a read failed");
	free(buf);
	return (double)start / s->rounds / 1000;
}

/* µs a posted write; every 64th is answered. */
static double posted(void *arg)
{
	int fd = *(int *)arg;
	struct {
		struct vfio_user_region_access a;
		uint32_t value;
	} w = {{8, 0, 4}, 0};
	uint64_t start = bench_ns();

	for (unsigned b = 0; b < BATCHES; b++) {
		for (unsigned i = 0; i < POSTED; i++)
			talk_ask(fd, VFIO_USER_REGION_WRITE, &w, 20, NULL, 0,
				 i == POSTED - 1 ? 0 : VFIO_USER_NO_REPLY);
		talk_answered(fd, SPIN);
	}
	return (double)(bench_ns() - start) / BATCHES / POSTED / 1000;
}

/* ---- connecting, and idling ---- */

/* ms: VERSION and everything that a VMM asks first, 16 round trips. */
static double connect_to_ready(void *arg)
{
	struct vfio_user_device_info info = {.argsz = sizeof(info)};
	uint64_t start = bench_ns();
	int fd = talk_dial(arg);

	talk_version(fd);
	talk_ask(fd, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info), NULL, 0, 0);
	talk_answered(fd, BLOCK);
	for (uint32_t i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
		struct vfio_region_info region = {.argsz = sizeof(region), .index = i};

		talk_ask(fd, VFIO_USER_DEVICE_GET_REGION_INFO, &region, sizeof(region), NULL, 0, 0);
		talk_answered(fd, BLOCK);
	}
	for (uint32_t i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
		struct vfio_irq_info irq = {.argsz = sizeof(irq), .index = i};

		talk_ask(fd, VFIO_USER_DEVICE_GET_IRQ_INFO, &irq, sizeof(irq), NULL, 0, 0);
		talk_answered(fd, BLOCK);
	}
	start = bench_ns() - start;
	close(fd);
	return (double)start / 1e6;
}

/* MB that are the process's alone or its share, and its CPU time in ms. */
static void measure(pid_t pid, double *mb, double *cpu)
{
	char path[64], line[512];
	unsigned long kb = 0, user = 0, sys = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "Pss: %lu", &kb);
	if (f)
		fclose(f);
	*mb = (double)kb / 1024;
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (f && fgets(line, sizeof(line), f) && strrchr(line, ')'))
		sscanf(strrchr(line, ')') + 1,
		       " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys);
	if (f)
		fclose(f);
	*cpu = (double)(user + sys) * 1000 / (double)sysconf(_SC_CLK_TCK);
}

static int idle(void)
{
	struct bench_case rows[] = {
		{"1,000 NVMe controllers, nobody there: memory", "MB", NULL, NULL, BENCH_AT_MOST,
		 100, 0},
		{"  with 1,000 clients that have them open", "MB", NULL, NULL, BENCH_INFO, 0, 0},
		{"  CPU time in a second", "ms", NULL, NULL, BENCH_AT_MOST, 0, 0},
	};
	struct place *places = calloc(IDLE, sizeof(*places));
	int *fds = calloc(IDLE, sizeof(*fds)), missed = 0;
	double before, after;
	pid_t pid;

	for (unsigned i = 0; i < IDLE; i++)
		fds[i] = talk_listen(&places[i]);
	pid = talk_serve(&nvme_model, "nvme,memory=64M", fds, IDLE, TALK_USUAL, -1);
	for (unsigned i = 0; i < IDLE; i++)
		close(fds[i]);
	measure(pid, &rows[0].median, &before);
	for (unsigned i = 0; i < IDLE; i++)
		fds[i] = talk_attach(&places[i]);
	sleep(6); /* the workers have ended */
	measure(pid, &rows[1].median, &before);
	sleep(1);
	measure(pid, &rows[1].median, &after);
	rows[2].median = after - before;
	for (unsigned i = 0; i < IDLE; i++)
		close(fds[i]);
	talk_end(pid);
	free(fds);
	free(places);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		missed += bench_print(&rows[i]);
	return missed;
}

/* System calls of the server's process for each of @n that @fn makes the client send; -1 where they
 * cannot be counted. */
static double calls(pid_t server, double (*fn)(void *arg), void *arg, double n)
{
	struct count_calls c;
	uint64_t before;

	if (count_calls_begin(&c, server))
		return -1;
	before = count_calls_settled(&c);
	fn(arg);
	before = count_calls_settled(&c) - before;
	count_calls_end(&c);
	return (double)before / n;
}

static int spinning_reads(const struct world *w)
{
	/* Before there are connections, which a child would keep open. */
	struct side bare = pair_bare(SPIN, 1, 32, 36, SHORT);
	struct side ours = reader(&w->spinning, SPIN, 0, 4, SHORT);
	int missed;

	missed = beside_short(
		&(struct bench_case){"bare ping-pong, 32 and 36 bytes, both sides spin", "us",
				     pair_ping_pong, &bare, BENCH_INFO, 0, 0},
		&(struct bench_case){"region read of 4 bytes, both sides spin", "us", read_region,
				     &ours, BENCH_INFO, 0, 0},
		1.10);
	close(bare.fd);
	close(ours.fd);
	return missed;
}

static int waiting_reads(const struct world *w)
{
	struct side bare = pair_bare(EPOLL, 0, 32, 36, READS);
	struct side ours = reader(&w->waiting, EPOLL, 0, 4, READS);
	struct bench_case row;
	int missed;

	missed = beside(&(struct bench_case){"bare ping-pong, both sides wait in epoll", "us",
					     pair_ping_pong, &bare, BENCH_INFO, 0, 0},
			&(struct bench_case){"region read of 4 bytes, both sides wait in epoll",
					     "us", read_region, &ours, BENCH_INFO, 0, 0},
			1.2);
	ours.rounds = COUNTED;
	row = (struct bench_case){
		"  system calls of the server a read", "", NULL, NULL, BENCH_AT_MOST, 3, 0};
	row.median = calls(w->waits, read_region, &ours, COUNTED + COUNTED / 10);
	missed += bench_print(&row);
	close(bare.fd);
	close(ours.fd);
	return missed;
}

static int large_reads(const struct world *w)
{
	struct side bare = pair_bare(SPIN, 1, 32, 32 + BIG, BIGS);
	struct side ours = reader(&w->spinning, SPIN, 2, BIG, BIGS);
	int missed;

	missed = beside(&(struct bench_case){"bare ping-pong, 32 bytes and 64 KiB", "us",
					     pair_ping_pong, &bare, BENCH_INFO, 0, 0},
			&(struct bench_case){"region read of 64 KiB", "us", read_region, &ours,
					     BENCH_INFO, 0, 0},
			1.15);
	close(bare.fd);
	close(ours.fd);
	return missed;
}

static int posts(const struct world *w)
{
	struct side bare = pair_bare(SPIN, 1, POSTED * 36, 36, BATCHES);
	struct bench_case row;
	int fd = talk_attach(&w->spinning), missed;

	missed = beside(&(struct bench_case){"bare, 36 bytes, sent back every 64th time", "us",
					     posted, &bare.fd, BENCH_INFO, 0, 0},
			&(struct bench_case){"posted write of 4 bytes, every 64th answered", "us",
					     posted, &fd, BENCH_AT_MOST, 1.2, 0},
			0);
	close(fd);
	close(bare.fd);
	fd = talk_attach(&w->waiting);
	row = (struct bench_case){
		"  system calls of the server each, waiting", "", NULL, NULL, BENCH_INFO, 0, 0};
	row.median = calls(w->waits, posted, &fd, BATCHES * POSTED);
	bench_print(&row);
	close(fd);
	return missed;
}

static int connects(const struct world *w)
{
	struct bench_case row = {
		"connect to ready: VERSION and 15 questions",
		"ms",
		connect_to_ready,
		(void *)(uintptr_t)&w->usual,
		BENCH_AT_MOST,
		1,
		0,
	};

	return bench_alone(&row);
}

static int irqs(const struct world *w)
{
	return wire_irqs(&w->spinning);
}

static int maps(const struct world *w)
{
	return wire_maps(&w->spinning);
}

/* ---- */

static const struct {
	const char *name;
	int (*fn)(const struct world *w);
} cases[] = {
	{"spinning", spinning_reads},
	{"waiting", waiting_reads},
	{"large", large_reads},
	{"posted", posts},
	{"irqs", irqs},
	{"connect", connects},
	{"maps", maps},
};

static bool wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return argc < 2;
}

int main(int argc, char **argv)
{
	struct rlimit limit = {1 << 16, 1 << 16};
	struct world w;
	int fds[3], missed = 0;
	pid_t pids[2];

	setvbuf(stdout, NULL, _IOLBF, 0);
	setrlimit(RLIMIT_NOFILE, &limit);
	signal(SIGPIPE, SIG_IGN);
	fds[0] = talk_listen(&w.spinning);
	fds[1] = talk_listen(&w.usual);
	fds[2] = talk_listen(&w.waiting);
	pids[0] = talk_serve(&wire_bench_model, "bench", &fds[0], 1, 1000, 1);
	pids[1] = talk_serve(&wire_bench_model, "bench", &fds[1], 1, TALK_USUAL, -1);
	w.waits = talk_serve(&wire_bench_model, "bench", &fds[2], 1, 0, 0);
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);

	printf("vfio-user messages (medians of %u alternating runs)\n", ROUNDS);
	pair_pin(0);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (wanted(cases[i].name, argc, argv))
			missed += cases[i].fn(&w);
	pair_pin(-1);
	talk_end(pids[0]);
	talk_end(pids[1]);
	talk_end(w.waits);
	if (wanted("idle", argc, argv))
		missed += idle();
	return missed ? 1 : 0;
}
