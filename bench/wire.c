/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Door 2: what a vfio-user message costs beside the least that it can: two processes that pass the
 * same bytes over a socket pair, wait in the same way and are pinned alike: those that spin to a
 * CPU each, those that wait in epoll to one CPU.  How many system calls a message is; how long it
 * takes to map a million regions, to set 2,048 eventfds, to connect; what a thousand idle devices
 * take. Usage: bench-wire [messages|maps|idle]
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uvfio/device.h>

#include "bench.h"
#include "devices/nvme/nvme_model.h"
#include "pair.h"
#include "support/count_calls.h"
#include "support/send_fds.h"
#include "vfio/vfio.h"
#include "wire/protocol.h"
#include "wire/wire.h"
#include "wire_model.h"

#define READS   5000u
#define BIGS    1000u
#define POSTED  64u
#define COUNTED 200u
#define BATCHES 100u
#define FDS     250u /* a message */
#define MAPS    1000000u
#define SAMPLE  2000u
#define PAGE    4096ull
#define IDLE    1000u
#define ROUNDS  7u

static void die(const char *what)
{
	fprintf(stderr, "bench-wire: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* ---- processes ---- */

static int listening(struct sockaddr_un *addr, socklen_t *len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*addr = (struct sockaddr_un){.sun_family = AF_UNIX}; /* a name of the kernel's */
	*len = sizeof(*addr);
	if (fd < 0 || bind(fd, (struct sockaddr *)addr, sizeof(sa_family_t)) || listen(fd, 64) ||
	    getsockname(fd, (struct sockaddr *)addr, len))
		die("listen");
	return fd;
}

/* The child serves @n devices made from @spec on the sockets @fds, on @cpu (pair_pin()), until it
 * is killed. */
static pid_t serve(const struct uvfio_model *m, const char *spec, const int *fds, unsigned n,
		   unsigned spin_us, int cpu)
{
	struct vfio_policy policy;
	struct wire_options options;
	struct uvfio_error err = {""};
	struct vfio_machine *machine;
	struct wire_server *server;
	struct vfio_device **devs = calloc(n, sizeof(struct vfio_device *));
	int ready[2];
	char c = 0;
	pid_t pid;

	if (pipe(ready))
		die("pipe");
	pid = fork();
	if (pid) {
		close(ready[1]);
		free(devs);
		if (pid < 0 || read(ready[0], &c, 1) != 1)
			die("the server did not start");
		close(ready[0]);
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	pair_pin(cpu);
	signal(SIGPIPE, SIG_IGN);
	vfio_policy_default(&policy);
	policy.dma_entry_limit = MAPS + 1000;
	machine = vfio_machine_new(&policy, NULL, &err);
	if (!machine || vfio_machine_add_model(machine, m))
		die("machine");
	for (unsigned i = 0; i < n; i++) {
		if (vfio_machine_add_device(machine, spec, &err)) {
			fprintf(stderr, "%s\n", err.msg);
			exit(2);
		}
	}
	server = wire_server_new(machine, NULL, &err);
	vfio_machine_devices(machine, devs, n);
	wire_options_default(&options);
	options.spin_us = spin_us;
	for (unsigned i = 0; i < n; i++) {
		struct wire_listener *listener;

		if (wire_listen(server, vfio_device_name(devs[i]), fds[i], &options, &listener,
				&err)) {
			fprintf(stderr, "%s\n", err.msg);
			exit(2);
		}
	}
	if (write(ready[1], &c, 1) != 1)
		die("write");
	for (;;)
		pause();
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* ---- messages ---- */

static void ask(int fd, unsigned command, const void *payload, size_t len, const int *fds,
		unsigned nr_fds, uint32_t flags)
{
	struct vfio_user_header hdr = {.command = (uint16_t)command,
				       .size = (uint32_t)(sizeof(hdr) + len),
				       .flags = flags};
	struct iovec iov[2] = {{&hdr, sizeof(hdr)}, {(void *)(uintptr_t)payload, len}};

	if (sendmsg_fds(fd, iov, 2, fds, nr_fds) != (ssize_t)hdr.size)
		die("sendmsg");
}

/* The answer; exits when it is an error. */
static void answered(int fd, enum waiting how)
{
	static uint8_t rest[1 << 17];
	struct vfio_user_header hdr;

	pair_take(fd, -1, &hdr, sizeof(hdr), how);
	pair_take(fd, -1, rest, hdr.size - sizeof(hdr), how);
	if (hdr.flags & VFIO_USER_ERROR) {
		fprintf(stderr, "bench-wire: command %u: %s\n", hdr.command,
			strerror((int)hdr.error));
		exit(2);
	}
}

static void version(int fd)
{
	static const char json[] = "{\"capabilities\":{\"max_msg_fds\":253,"
				   "\"max_dma_maps\":1001000}}";
	char payload[4 + sizeof(json)] = {0, 0, 1, 0};

	memcpy(payload + 4, json, sizeof(json));
	ask(fd, VFIO_USER_VERSION, payload, sizeof(payload), NULL, 0, 0);
	answered(fd, BLOCK);
}

static int dial(const struct sockaddr_un *addr, socklen_t len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)addr, len))
		die("connect");
	return fd;
}

static int attach(const struct sockaddr_un *addr, socklen_t len)
{
	struct {
		struct vfio_user_region_access a;
		uint16_t command;
	} __attribute__((packed)) enable = {
		{PCI_COMMAND, VFIO_PCI_CONFIG_REGION_INDEX, 2},
		PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER,
	};
	int fd = dial(addr, len);

	version(fd);
	ask(fd, VFIO_USER_REGION_WRITE, &enable, sizeof(enable), NULL, 0, 0);
	answered(fd, BLOCK);
	return fd;
}

/* A client that reads @count bytes of @region again and again: as a side of a ping-pong. */
static struct side reader(const struct sockaddr_un *addr, socklen_t len, enum waiting how,
			  unsigned region, uint32_t count, unsigned rounds)
{
	struct vfio_user_region_access a = {0, region, count};
	struct vfio_user_header hdr = {1, VFIO_USER_REGION_READ, sizeof(hdr) + sizeof(a), 0, 0};
	struct side s = {.how = how,
			 .ask = hdr.size,
			 .answer = hdr.size + count,
			 .rounds = rounds,
			 .fd = attach(addr, len)};

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
		die("a read failed");
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
			ask(fd, VFIO_USER_REGION_WRITE, &w, 20, NULL, 0,
			    i == POSTED - 1 ? 0 : VFIO_USER_NO_REPLY);
		answered(fd, SPIN);
	}
	return (double)(bench_ns() - start) / BATCHES / POSTED / 1000;
}

/* ms for 2,048 eventfds */
static double set_irqs(void *arg)
{
	int fd = *(int *)arg, fds[VECTORS];
	uint64_t start;

	for (unsigned i = 0; i < VECTORS; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	start = bench_ns();
	for (unsigned i = 0; i < VECTORS; i += FDS) {
		unsigned n = VECTORS - i < FDS ? VECTORS - i : FDS;
		struct vfio_irq_set set = {sizeof(set),
					   VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
					   VFIO_PCI_MSIX_IRQ_INDEX, i, n};

		ask(fd, VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set), fds + i, n, 0);
		answered(fd, SPIN);
	}
	start = bench_ns() - start;
	for (unsigned i = 0; i < VECTORS; i++)
		close(fds[i]);
	return (double)start / 1e6;
}

/* ---- maps ---- */

/* µs each, for maps @from to @to of scattered pages of one file. */
static double map(int fd, int memory, unsigned from, unsigned to)
{
	uint64_t start = bench_ns();

	for (unsigned i = from; i < to; i++) {
		/* Every other page, in an order that is not the file's. */
		uint64_t at = (uint64_t)i * 2654435761u % (1u << 21) * 2 * PAGE;
		struct vfio_user_dma_map m = {sizeof(m), 3, at, (1ull << 40) + at, PAGE};

		ask(fd, VFIO_USER_DMA_MAP, &m, sizeof(m), &memory, 1, 0);
		answered(fd, SPIN);
	}
	return (double)(bench_ns() - start) / (to - from) / 1000;
}

static int maps(const struct sockaddr_un *addr, socklen_t len)
{
	struct bench_case rows[] = {
		{"DMA_MAP with an fd, the first 100", "us", NULL, NULL, BENCH_AT_MOST, 5, 0},
		{"  after 65,000", "us", NULL, NULL, BENCH_AT_MOST, 5, 0},
		{"  after 1,000,000", "us", NULL, NULL, BENCH_AT_MOST, 5, 0},
		{"UNMAP_ALL of 1,000,000", "ms", NULL, NULL, BENCH_AT_MOST, 200, 0},
	};
	struct vfio_user_dma_unmap unmap = {sizeof(unmap), VFIO_USER_DMA_UNMAP_ALL, 0, 0};
	int fd = attach(addr, len), memory = memfd_create("bench", MFD_CLOEXEC), missed = 0;
	uint64_t start;

	if (memory < 0 || ftruncate(memory, (off_t)(PAGE << 22)))
		die("memfd");
	map(fd, memory, 0, 10); /* the file's mapping is made */
	rows[0].median = map(fd, memory, 10, 110);
	map(fd, memory, 110, 65000);
	rows[1].median = map(fd, memory, 65000, 65000 + SAMPLE);
	map(fd, memory, 65000 + SAMPLE, MAPS - SAMPLE);
	rows[2].median = map(fd, memory, MAPS - SAMPLE, MAPS);
	start = bench_ns();
	ask(fd, VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap), NULL, 0, 0);
	answered(fd, SPIN);
	rows[3].median = (double)(bench_ns() - start) / 1e6;
	close(memory);
	close(fd);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		missed += bench_print(&rows[i]);
	return missed;
}

/* ---- connecting, and idling ---- */

struct place {
	struct sockaddr_un addr;
	socklen_t len;
};

/* ms: VERSION and everything that a VMM asks first, 16 round trips. */
static double connect_to_ready(void *arg)
{
	struct place *p = arg;
	struct vfio_user_device_info info = {.argsz = sizeof(info)};
	uint64_t start = bench_ns();
	int fd = dial(&p->addr, p->len);

	version(fd);
	ask(fd, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info), NULL, 0, 0);
	answered(fd, BLOCK);
	for (uint32_t i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
		struct vfio_region_info region = {.argsz = sizeof(region), .index = i};

		ask(fd, VFIO_USER_DEVICE_GET_REGION_INFO, &region, sizeof(region), NULL, 0, 0);
		answered(fd, BLOCK);
	}
	for (uint32_t i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
		struct vfio_irq_info irq = {.argsz = sizeof(irq), .index = i};

		ask(fd, VFIO_USER_DEVICE_GET_IRQ_INFO, &irq, sizeof(irq), NULL, 0, 0);
		answered(fd, BLOCK);
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
		fds[i] = listening(&places[i].addr, &places[i].len);
	pid = serve(&nvme_model, "nvme,memory=64M", fds, IDLE, 30, -1);
	for (unsigned i = 0; i < IDLE; i++)
		close(fds[i]);
	measure(pid, &rows[0].median, &before);
	for (unsigned i = 0; i < IDLE; i++)
		fds[i] = attach(&places[i].addr, places[i].len);
	sleep(6); /* the workers have ended */
	measure(pid, &rows[1].median, &before);
	sleep(1);
	measure(pid, &rows[1].median, &after);
	rows[2].median = after - before;
	for (unsigned i = 0; i < IDLE; i++)
		close(fds[i]);
	end(pid);
	free(fds);
	free(places);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		missed += bench_print(&rows[i]);
	return missed;
}

/* ---- */

/* A limit that was measured, and the case beside it. */
static int beside(struct bench_case *limit, struct bench_case *c, double factor)
{
	double v[2][ROUNDS];

	for (unsigned r = 0; r < ROUNDS; r++) {
		pair_settle();
		v[0][r] = limit->fn(limit->arg);
		pair_settle();
		v[1][r] = c->fn(c->arg);
	}
	limit->median = bench_median(v[0], ROUNDS);
	c->median = bench_median(v[1], ROUNDS);
	c->want = BENCH_AT_MOST;
	c->limit = limit->median * factor;
	bench_print(limit);
	return bench_print(c);
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

static int messages(struct place *spinning, struct place *waiting, pid_t waits,
		    struct place *sleeping)
{
	struct side s[8];
	struct bench_case row;
	int missed = 0, fd;

	/* Before there are connections, which a child would keep open. */
	s[0] = pair_bare(SPIN, 1, 32, 36, READS);
	s[2] = pair_bare(EPOLL, 0, 32, 36, READS);
	s[4] = pair_bare(SPIN, 1, 32, 32 + BIG, BIGS);
	s[6] = pair_bare(SPIN, 1, POSTED * 36, 36, BATCHES);
	pair_pin(0);
	printf("vfio-user messages (medians of %u alternating runs)\n", ROUNDS);
	s[1] = reader(&spinning->addr, spinning->len, SPIN, 0, 4, READS);
	missed += beside(&(struct bench_case){"bare ping-pong, 32 and 36 bytes, both sides spin",
					      "us", pair_ping_pong, &s[0], BENCH_INFO, 0, 0},
			 &(struct bench_case){"region read of 4 bytes, both sides spin", "us",
					      read_region, &s[1], BENCH_INFO, 0, 0},
			 1.10);
	close(s[0].fd);
	s[3] = reader(&waiting->addr, waiting->len, EPOLL, 0, 4, READS);
	missed += beside(&(struct bench_case){"bare ping-pong, both sides wait in epoll", "us",
					      pair_ping_pong, &s[2], BENCH_INFO, 0, 0},
			 &(struct bench_case){"region read of 4 bytes, both sides wait in epoll",
					      "us", read_region, &s[3], BENCH_INFO, 0, 0},
			 1.2);
	s[3].rounds = COUNTED;
	row = (struct bench_case){
		"  system calls of the server a read", "", NULL, NULL, BENCH_AT_MOST, 3, 0};
	row.median = calls(waits, read_region, &s[3], COUNTED + COUNTED / 10);
	missed += bench_print(&row);
	row = (struct bench_case){
		"  the same a posted write, every 64th answered", "", NULL, NULL, BENCH_INFO, 0, 0};
	row.median = calls(waits, posted, &s[3].fd, BATCHES * POSTED);
	bench_print(&row);
	close(s[2].fd);
	close(s[3].fd);
	close(s[1].fd);
	s[5] = reader(&spinning->addr, spinning->len, SPIN, 2, BIG, BIGS);
	missed += beside(&(struct bench_case){"bare ping-pong, 32 bytes and 64 KiB", "us",
					      pair_ping_pong, &s[4], BENCH_INFO, 0, 0},
			 &(struct bench_case){"region read of 64 KiB", "us", read_region, &s[5],
					      BENCH_INFO, 0, 0},
			 1.15);
	close(s[4].fd);
	close(s[5].fd);
	fd = attach(&spinning->addr, spinning->len);
	{
		struct bench_case rows[] = {
			{"bare, 36 bytes, sent back every 64th time", "us", posted, &s[6].fd,
			 BENCH_INFO, 0, 0},
			{"posted write of 4 bytes, every 64th answered", "us", posted, &fd,
			 BENCH_AT_MOST, 1.2, 0},
			{"SET_IRQS of 2,048 eventfds, 250 a message", "ms", set_irqs, &fd,
			 BENCH_AT_MOST, 3, 0},
			{"connect to ready: VERSION and 15 questions", "ms", connect_to_ready,
			 sleeping, BENCH_AT_MOST, 1, 0},
		};

		missed += bench_run("", rows, 4, ROUNDS);
	}
	close(fd);
	close(s[6].fd);
	pair_pin(-1);
	return missed;
}

int main(int argc, char **argv)
{
	struct rlimit limit = {1 << 16, 1 << 16};
	struct place spinning, waiting, sleeping;
	const char *only = argc > 1 ? argv[1] : NULL;
	int fds[3], missed = 0;
	pid_t pids[3];

	setvbuf(stdout, NULL, _IOLBF, 0);
	setrlimit(RLIMIT_NOFILE, &limit);
	signal(SIGPIPE, SIG_IGN);
	fds[0] = listening(&spinning.addr, &spinning.len);
	fds[1] = listening(&sleeping.addr, &sleeping.len);
	fds[2] = listening(&waiting.addr, &waiting.len);
	pids[0] = serve(&wire_bench_model, "bench", &fds[0], 1, 1000, 1);
	pids[1] = serve(&wire_bench_model, "bench", &fds[1], 1, 0, -1);
	pids[2] = serve(&wire_bench_model, "bench", &fds[2], 1, 0, 0);
	close(fds[0]);
	close(fds[1]);
	close(fds[2]);

	if (!only || !strcmp(only, "messages"))
		missed += messages(&spinning, &waiting, pids[2], &sleeping);
	if (!only || !strcmp(only, "maps"))
		missed += maps(&spinning.addr, spinning.len);
	end(pids[0]);
	end(pids[1]);
	end(pids[2]);
	if (!only || !strcmp(only, "idle"))
		missed += idle();
	return missed ? 1 : 0;
}
