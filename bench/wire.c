/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Door 2: what a vfio-user message costs beside the least that it can: two processes that pass the
 * same bytes over a socket pair, and wait in the same way.  How long it takes to map a million
 * regions, to set 2,048 eventfds, to connect; what a thousand idle devices take.
 * Usage: bench-wire [messages|maps|idle]
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
#include "support/send_fds.h"
#include "vfio/vfio.h"
#include "wire/protocol.h"
#include "wire/wire.h"

#define READS   5000u
#define BIG     65536u
#define BIGS    1000u
#define POSTED  64u
#define BATCHES 100u
#define VECTORS 2048u
#define FDS     250u /* a message */
#define MAPS    1000000u
#define SAMPLE  2000u
#define PAGE    4096ull
#define IDLE    1000u
#define SPINS   20000u
#define ROUNDS  7u

enum waiting { SPIN, EPOLL, BLOCK };

static void die(const char *what)
{
	fprintf(stderr, "bench-wire: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* ---- the device: registers, 128 KiB of memory, 2,048 vectors ---- */

static struct uvfio_device *device;

static int model_create(struct uvfio_device *dev, const struct uvfio_args *args, void **priv,
			struct uvfio_error *err)
{
	static const struct uvfio_area regs[] = {{0, 4096, UVFIO_AREA_REGISTERS, 0}};
	static const struct uvfio_area memory[] = {{0, 2 * BIG, UVFIO_AREA_MEMORY, 0}};
	struct uvfio_pci_desc desc = {
		.vendor = 0x1b36,
		.device = 0x0044,
		.class_code = 0xff0000,
		.bars[0] = {4096, 0, regs, 1},
		.bars[2] = {2 * BIG, 0, memory, 1},
		.bars[4] = {65536, 0, NULL, 0},
		.msix_vectors = VECTORS,
		.msix_bar = 4,
		.msix_pba = 32768,
		.pcie = true,
		.flr = true,
	};

	device = dev;
	*priv = dev;
	return uvfio_device_init(dev, &desc, err);
}

static void model_destroy(void *priv)
{
}

static void model_write(void *priv, unsigned bar, uint64_t off, unsigned size, uint64_t value)
{
	uvfio_reg_set(priv, 0, off, size, value);
}

static bool model_work(void *priv)
{
	return false;
}

static void model_quiesce(void *priv)
{
	uvfio_quiesced(priv);
}

static void model_reset(void *priv, enum uvfio_reset_kind kind)
{
}

static const struct uvfio_model model = {
	.abi = UVFIO_DEVICE_ABI,
	.name = "bench",
	.summary = "a device for benchmarks",
	.create = model_create,
	.destroy = model_destroy,
	.reg_write = model_write,
	.work = model_work,
	.quiesce = model_quiesce,
	.reset = model_reset,
};

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

/* The child serves @n devices made from @spec on the sockets @fds, until it is killed. */
static pid_t serve(const struct uvfio_model *m, const char *spec, const int *fds, unsigned n,
		   unsigned spin_us)
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

/* ---- both sides of a bare ping-pong, and the client of the server ---- */

static void wait_input(int fd, int ep, enum waiting how)
{
	struct epoll_event event;

	if (how == EPOLL && epoll_wait(ep, &event, 1, -1) != 1)
		die("epoll_wait");
}

/* Exactly @len bytes.  Who spins gives up after a while, so as not to be in the way of other cases.
 */
static void take(int fd, int ep, void *buf, size_t len, enum waiting how)
{
	size_t done = 0;

	while (done < len) {
		unsigned tries = 0;
		ssize_t n;

		wait_input(fd, ep, how);
		do {
			n = recv(fd, (char *)buf + done, len - done,
				 how != BLOCK && tries < SPINS ? MSG_DONTWAIT : 0);
		} while (n < 0 && errno == EAGAIN && tries++ < SPINS);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			_exit(0);
		done += n > 0 ? (size_t)n : 0;
	}
}

static void give(int fd, const void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = send(fd, (const char *)buf + done, len - done, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			die("send");
		done += n > 0 ? (size_t)n : 0;
	}
}

static int epoll_on(int fd)
{
	struct epoll_event event = {.events = EPOLLIN};
	int ep = epoll_create1(EPOLL_CLOEXEC);

	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event))
		die("epoll");
	return ep;
}

struct side {
	int fd, ep;
	enum waiting how;
	size_t ask, answer; /* bytes */
	unsigned rounds;
	uint8_t *buf;
};

static void echo(struct side s)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		take(s.fd, s.ep, s.buf, s.ask, s.how);
		give(s.fd, s.buf, s.answer);
	}
}

/* µs each */
static double ping_pong(void *arg)
{
	struct side *s = arg;
	uint64_t start;

	for (unsigned warm = 0; warm < s->rounds / 10; warm++) {
		give(s->fd, s->buf, s->ask);
		take(s->fd, s->ep, s->buf, s->answer, s->how);
	}
	start = bench_ns();
	for (unsigned i = 0; i < s->rounds; i++) {
		give(s->fd, s->buf, s->ask);
		take(s->fd, s->ep, s->buf, s->answer, s->how);
	}
	return (double)(bench_ns() - start) / s->rounds / 1000;
}

static struct side bare(enum waiting how, size_t ask, size_t answer, unsigned rounds)
{
	struct side s = {.how = how, .ask = ask, .answer = answer, .rounds = rounds};
	int pair[2];

	s.buf = calloc(1, 1 << 17);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		die("socketpair");
	if (!fork()) {
		close(pair[0]);
		s.fd = pair[1];
		s.ep = epoll_on(s.fd);
		echo(s);
	}
	close(pair[1]);
	s.fd = pair[0];
	s.ep = epoll_on(s.fd);
	return s;
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

	take(fd, -1, &hdr, sizeof(hdr), how);
	take(fd, -1, rest, hdr.size - sizeof(hdr), how);
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

	s.ep = epoll_on(s.fd);
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
		give(s->fd, question, sizeof(question));
		take(s->fd, s->ep, buf, s->answer, s->how);
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
	pid = serve(&nvme_model, "nvme,memory=64M", fds, IDLE, 30);
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
		v[0][r] = limit->fn(limit->arg);
		v[1][r] = c->fn(c->arg);
	}
	limit->median = bench_median(v[0], ROUNDS);
	c->median = bench_median(v[1], ROUNDS);
	c->want = BENCH_AT_MOST;
	c->limit = limit->median * factor;
	bench_print(limit);
	return bench_print(c);
}

static int messages(struct place *spinning, struct place *sleeping)
{
	struct side s[6];
	int missed = 0, fd;

	/* Before there are connections, which a child would keep open. */
	s[0] = bare(SPIN, 32, 36, READS);
	s[2] = bare(EPOLL, 32, 36, READS);
	s[4] = bare(SPIN, 32, 32 + BIG, BIGS);
	printf("vfio-user messages (medians of %u alternating runs)\n", ROUNDS);
	s[1] = reader(&spinning->addr, spinning->len, SPIN, 0, 4, READS);
	missed += beside(&(struct bench_case){"bare ping-pong, 32 and 36 bytes, both sides spin",
					      "us", ping_pong, &s[0], BENCH_INFO, 0, 0},
			 &(struct bench_case){"region read of 4 bytes, both sides spin", "us",
					      read_region, &s[1], BENCH_INFO, 0, 0},
			 1.10);
	close(s[0].fd);
	s[3] = reader(&sleeping->addr, sleeping->len, EPOLL, 0, 4, READS);
	missed += beside(&(struct bench_case){"bare ping-pong, both sides wait in epoll", "us",
					      ping_pong, &s[2], BENCH_INFO, 0, 0},
			 &(struct bench_case){"region read of 4 bytes, both sides wait in epoll",
					      "us", read_region, &s[3], BENCH_INFO, 0, 0},
			 1.2);
	close(s[2].fd);
	close(s[3].fd);
	close(s[1].fd);
	s[5] = reader(&spinning->addr, spinning->len, SPIN, 2, BIG, BIGS);
	missed += beside(&(struct bench_case){"bare ping-pong, 32 bytes and 64 KiB", "us",
					      ping_pong, &s[4], BENCH_INFO, 0, 0},
			 &(struct bench_case){"region read of 64 KiB", "us", read_region, &s[5],
					      BENCH_INFO, 0, 0},
			 1.15);
	close(s[4].fd);
	close(s[5].fd);
	fd = attach(&spinning->addr, spinning->len);
	{
		struct bench_case rows[] = {
			{"posted write of 4 bytes, every 64th answered", "us", posted, &fd,
			 BENCH_AT_MOST, 1.2, 0},
			{"SET_IRQS of 2,048 eventfds, 250 a message", "ms", set_irqs, &fd,
			 BENCH_AT_MOST, 3, 0},
			{"connect to ready: VERSION and 15 questions", "ms", connect_to_ready,
			 sleeping, BENCH_AT_MOST, 1, 0},
		};

		missed += bench_run("", rows, 3, ROUNDS);
	}
	close(fd);
	return missed;
}

int main(int argc, char **argv)
{
	struct rlimit limit = {1 << 16, 1 << 16};
	struct place spinning, sleeping;
	const char *only = argc > 1 ? argv[1] : NULL;
	int fds[2], missed = 0;
	pid_t pids[2];

	setvbuf(stdout, NULL, _IOLBF, 0);
	setrlimit(RLIMIT_NOFILE, &limit);
	signal(SIGPIPE, SIG_IGN);
	fds[0] = listening(&spinning.addr, &spinning.len);
	fds[1] = listening(&sleeping.addr, &sleeping.len);
	pids[0] = serve(&model, "bench", &fds[0], 1, 1000);
	pids[1] = serve(&model, "bench", &fds[1], 1, 0);
	close(fds[0]);
	close(fds[1]);

	if (!only || !strcmp(only, "messages"))
		missed += messages(&spinning, &sleeping);
	if (!only || !strcmp(only, "maps"))
		missed += maps(&spinning.addr, spinning.len);
	end(pids[0]);
	end(pids[1]);
	if (!only || !strcmp(only, "idle"))
		missed += idle();
	return missed ? 1 : 0;
}
