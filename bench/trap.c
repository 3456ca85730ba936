/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A trapped register store, from the program's instruction to the device and back, against the
 * least that the technique can cost: a signal handler that decodes and makes one notified pwrite,
 * answered by a receiver that reads the value and does nothing with it.
 *
 *   bench-trap [UVFIO]
 *
 * Two clients take turns on the same machine: this program under `uvfio run` (role "client"), and a
 * child under a bare filter (role "bare").  Each waits for a byte, runs its loop, and sends its
 * time.
 */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#include <Zydis/Zydis.h>
#include "bench.h"
#include "support/nvme_client.h"

#define STORES 5000u
#define READS  2000000u
#define ROUNDS 21u
#define AQA    0x24 /* of the controller: kept while it is disabled */

struct times {
	double store, read; /* ns */
};

static void die(const char *what)
{
	fprintf(stderr, "bench-trap: %s: %s\n", what, strerror(errno));
	exit(2);
}

static double time_stores(volatile uint8_t *page)
{
	uint64_t start = bench_ns();

	for (uint32_t i = 0; i < STORES; i++)
		*(volatile uint32_t *)(page + AQA) = i;
	return (double)(bench_ns() - start) / STORES;
}

static double time_reads(volatile uint8_t *page)
{
	uint64_t start = bench_ns();

	for (uint32_t i = 0; i < READS; i++)
		(void)*(volatile uint32_t *)(page + AQA);
	return (double)(bench_ns() - start) / READS;
}

static void take_turns(volatile uint8_t *page)
{
	struct times t;
	char c;

	while (read(0, &c, 1) == 1) {
		t.store = time_stores(page);
		t.read = time_reads(page);
		if (write(1, &t, sizeof(t)) != sizeof(t))
			die("write");
	}
}

/* --- the bare client ---------------------------------------------------------------------------
 */

static int bare_fd;
static uint8_t *bare_page;
static bool bare_quiet; /* signal and decode alone */

static void bare_segv(int sig, siginfo_t *info, void *ucontext)
{
	greg_t *r = ((ucontext_t *)ucontext)->uc_mcontext.gregs;
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand o[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecoder decoder;
	uint32_t value;
	int reg;
	static const uint8_t order[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX,
					REG_RSP, REG_RBP, REG_RSI, REG_RDI};

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, (void *)r[REG_RIP], 15, &insn, o)) ||
	    insn.mnemonic != ZYDIS_MNEMONIC_MOV || o[1].type != ZYDIS_OPERAND_TYPE_REGISTER)
		_exit(3);
	reg = ZydisRegisterGetId(o[1].reg.value);
	value = (uint32_t)(reg < 8 ? r[order[reg]] : r[REG_R8 + reg - 8]);
	if (!bare_quiet && pwrite(bare_fd, &value, 4, (1l << 40) + AQA) != 4)
		_exit(4);
	r[REG_RIP] += insn.length;
}

static void bare_prepare(void)
{
	struct sigaction sa = {.sa_sigaction = bare_segv, .sa_flags = SA_SIGINFO};

	sigfillset(&sa.sa_mask);
	if (sigaction(SIGSEGV, &sa, NULL) || mprotect(bare_page, 4096, PROT_READ))
		die("mprotect");
}

static int bare_filter(void)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pwrite64, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {sizeof(f) / sizeof(f[0]), f};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		die("prctl");
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			    SECCOMP_FILTER_FLAG_NEW_LISTENER | (1ul << 5) /* WAIT_KILLABLE_RECV */,
			    &prog);
}

static void *bare_serve(void *arg)
{
	int listener = *(int *)arg;
	struct seccomp_notif n;
	struct seccomp_notif_resp r;
	uint32_t value, sum = 0;

	for (;;) {
		struct iovec here = {&value, 4}, there;

		memset(&n, 0, sizeof(n));
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n)) {
			if (errno == EINTR)
				continue;
			break;
		}
		there = (struct iovec){(void *)n.data.args[1], 4};
		r = (struct seccomp_notif_resp){.id = n.id};
		if (process_vm_readv((pid_t)n.pid, &here, 1, &there, 1, 0) == 4)
			r.val = 4;
		else
			r.error = -EFAULT;
		sum += value;
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &r);
	}
	bench_keep(sum);
	return NULL;
}

/* --- both --------------------------------------------------------------------------------------
 */

struct client {
	int to, from, pid;
	struct times last;
};

static void start(struct client *c, char *const argv[], int extra)
{
	int in[2], out[2];

	if (pipe(in) || pipe(out))
		die("pipe");
	c->pid = fork();
	if (c->pid < 0)
		die("fork");
	if (!c->pid) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[1]);
		close(out[0]);
		if (argv) {
			execv(argv[0], argv);
			die(argv[0]);
		}
		int listener = bare_filter();

		if (listener < 0 || write(extra, &listener, sizeof(listener)) < 0)
			die("seccomp");
		bare_prepare();
		take_turns(bare_page);
		_exit(0);
	}
	close(in[0]);
	close(out[1]);
	c->to = in[1];
	c->from = out[0];
}

static void turn(struct client *c)
{
	if (write(c->to, "", 1) != 1 ||
	    read(c->from, &c->last, sizeof(c->last)) != sizeof(c->last)) {
		fprintf(stderr, "bench-trap: a client ended early\n");
		exit(2);
	}
}

static void finish(struct client *c)
{
	close(c->to);
	waitpid(c->pid, NULL, 0);
}

static int run(char *self, char *uvfio)
{
	char *argv[] = {uvfio, "run", "--device", "nvme,memory=16M", "--", self, "client", NULL};
	double ours[ROUNDS], bare[ROUNDS], read_ours[ROUNDS], read_bare[ROUNDS], alone[ROUNDS];
	struct client trapped, least;
	int fds[2], listener, pidfd;
	pthread_t thread;
	int missed = 0;

	bare_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bare_fd = memfd_create("bench", 0);
	if (bare_page == MAP_FAILED || bare_fd < 0 || pipe(fds))
		die("setup");
	start(&least, NULL, fds[1]);
	if (read(fds[0], &listener, sizeof(listener)) != sizeof(listener))
		die("read");
	pidfd = (int)syscall(SYS_pidfd_open, least.pid, 0);
	listener = (int)syscall(SYS_pidfd_getfd, pidfd, listener, 0);
	if (listener < 0)
		die("pidfd_getfd");
	/* As the runner has it: SECCOMP_IOCTL_NOTIF_SET_FLAGS, wake the other on this CPU (Linux 6.6). */
	ioctl(listener, _IOW(SECCOMP_IOC_MAGIC, 4, __u64), 1ul);
	pthread_create(&thread, NULL, bare_serve, &listener);
	start(&trapped, argv, -1);
	bare_prepare();
	bare_quiet = true;
	turn(&trapped); /* starts up */
	for (unsigned i = 0; i < ROUNDS; i++) {
		turn(&least);
		bare[i] = least.last.store / 1000;
		read_bare[i] = least.last.read;
		turn(&trapped);
		ours[i] = trapped.last.store / 1000;
		read_ours[i] = trapped.last.read;
		alone[i] = time_stores(bare_page) / 1000;
	}
	finish(&trapped);
	finish(&least);

	struct bench_case rows[] = {
		{.what = "signal and decode alone", .unit = "us"},
		{.what = "bare signal-decode-pwrite loop", .unit = "us"},
		{.what = "trapped store (1.25 x bare)", .unit = "us", .want = BENCH_AT_MOST},
		{.what = "read of memory", .unit = "ns"},
		{.what = "read of a mapped register (1.25 x memory, + 0.5)",
		 .unit = "ns",
		 .want = BENCH_AT_MOST},
	};

	rows[0].median = bench_median(alone, ROUNDS);
	rows[1].median = bench_median(bare, ROUNDS);
	rows[2].median = bench_median(ours, ROUNDS);
	rows[2].limit = 1.25 * rows[1].median;
	rows[3].median = bench_median(read_bare, ROUNDS);
	rows[4].median = bench_median(read_ours, ROUNDS);
	rows[4].limit = 1.25 * rows[3].median + 0.5;
	printf("trapped accesses (medians of %u alternating runs)\n", ROUNDS);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		missed += bench_print(&rows[i]);
	return missed != 0;
}

int main(int argc, char **argv)
{
	static char self[PATH_MAX], uvfio[PATH_MAX + 16];
	struct nvme_client c;
	char dir[PATH_MAX];

	if (argc > 1 && !strcmp(argv[1], "client")) {
		nvme_client_attach(&c, "0000:01:00.0", true);
		take_turns(c.bar);
		return 0;
	}
	if (!realpath("/proc/self/exe", self))
		die("/proc/self/exe");
	memcpy(dir, self, sizeof(dir));
	snprintf(uvfio, sizeof(uvfio), "%s/../uvfio", dirname(dir));
	return run(self, argc > 1 ? argv[1] : uvfio);
}
