/* SPDX-License-Identifier: BSD-3-Clause */
#include "bare.h"

#include <errno.h>
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

#define STORES 5000u
#define READS  2000000u
#define AQA    0x24 /* of the controller: kept while it is disabled */

static void die(const char *what)
{
	fprintf(stderr, "bench: bare trapped store: %s: %s\n", what, strerror(errno));
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

void bare_take_turns(volatile uint8_t *page)
{
	struct bare_times t;
	char c;

	while (read(0, &c, 1) == 1) {
		t.store = time_stores(page);
		t.read = time_reads(page);
		if (write(1, &t, sizeof(t)) != sizeof(t))
			die("write");
	}
}

/* ---- the bare client ---- */

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

/* ---- turns ---- */

/* @listener_to: where the bare client writes the number of its listener. */
static void start(struct bare_client *c, char *const argv[], int listener_to)
{
	int in[2], out[2], listener;

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
		listener = bare_filter();
		if (listener < 0 || write(listener_to, &listener, sizeof(listener)) < 0)
			die("seccomp");
		bare_prepare();
		bare_take_turns(bare_page);
		_exit(0);
	}
	close(in[0]);
	close(out[1]);
	c->to = in[1];
	c->from = out[0];
}

void bare_start_program(struct bare_client *c, char *const argv[])
{
	start(c, argv, -1);
}

void bare_start(struct bare_client *c)
{
	static int listener;
	int fds[2], pidfd;
	pthread_t thread;

	bare_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bare_fd = memfd_create("bench", MFD_CLOEXEC);
	if (bare_page == MAP_FAILED || bare_fd < 0 || pipe(fds))
		die("setup");
	start(c, NULL, fds[1]);
	if (read(fds[0], &listener, sizeof(listener)) != sizeof(listener))
		die("read");
	close(fds[0]);
	close(fds[1]);
	pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	listener = (int)syscall(SYS_pidfd_getfd, pidfd, listener, 0);
	if (listener < 0)
		die("pidfd_getfd");
	close(pidfd);
	/* As the runner has it: SECCOMP_IOCTL_NOTIF_SET_FLAGS, wake the other on this CPU (Linux
	 * 6.6). */
	ioctl(listener, _IOW(SECCOMP_IOC_MAGIC, 4, __u64), 1ul);
	if (pthread_create(&thread, NULL, bare_serve, &listener))
		die("pthread_create");
}

void bare_turn(struct bare_client *c)
{
	if (write(c->to, "", 1) != 1 ||
	    read(c->from, &c->last, sizeof(c->last)) != sizeof(c->last)) {
		fprintf(stderr, "bench: a client ended early\n");
		exit(2);
	}
}

void bare_finish(struct bare_client *c)
{
	close(c->to);
	close(c->from);
	waitpid(c->pid, NULL, 0);
}

double bare_signal_alone(void)
{
	if (!bare_quiet) {
		bare_quiet = true;
		bare_prepare();
	}
	return time_stores(bare_page);
}
