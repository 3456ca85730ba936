/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The preloaded helper in real processes: each test is a scenario that runs as a client under the
 * runner of runner.c.  A scenario ends with status 0, with the line number of its first failed
 * check in its message, or by the signal that the test expects.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#include <cmocka.h>
#include "helper/runner.h"

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "line %d: %s (stores %u)\n", __LINE__, #cond,              \
				shared->stores);                                                   \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

extern char **environ;

static volatile uint8_t *map_len(unsigned page, size_t len, int prot)
{
	void *p = mmap(NULL, len, prot, MAP_SHARED, DEV_FD, (off_t)(DEV_BASE + page * 4096));

	CHECK(p != MAP_FAILED);
	return p;
}

static volatile uint8_t *map(unsigned page)
{
	return map_len(page, 4096, PROT_READ | PROT_WRITE);
}

static void store32(volatile void *p, uint32_t value)
{
	*(volatile uint32_t *)p = value;
}

static bool last_is(uint32_t offset, uint32_t size, uint64_t value)
{
	const struct entry *e = &shared->log[shared->stores - 1];

	return e->offset == offset && e->size == size && e->value == value;
}

/* --- registers ---------------------------------------------------------------------------------
 */

static void stores(void)
{
	volatile uint8_t *p = map_len(0, 2 * 4096, PROT_READ | PROT_WRITE);

	store32(p + 16, 0x12345678);
	CHECK(shared->stores == 1 && last_is(16, 4, 0x12345678));
	store32(p + 16, 0x12345678); /* an equal value is a store as well */
	CHECK(shared->stores == 2);
	CHECK(*(volatile uint32_t *)(p + 16) == 0x12345678 && shared->loads == 0);
	*(volatile uint64_t *)(p + 0x20) = 0x1122334455667788;
	CHECK(last_is(0x20, 8, 0x1122334455667788));
	p[3] = 7;
	CHECK(last_is(3, 1, 7));
	*(volatile uint16_t *)(p + 4094) = 0xbeef;
	CHECK(last_is(4094, 2, 0xbeef));
	__atomic_fetch_or((uint32_t *)(p + 16), 0x80000000, __ATOMIC_SEQ_CST);
	CHECK(last_is(16, 4, 0x92345678));
	/* across two pages of registers, misaligned: 1, 4, 2, 1 */
	__asm__ volatile("movq %1, %0" : "=m"(*(uint64_t *)(p + 4095)) : "r"(0x0807060504030201ul));
	CHECK(shared->stores == 10);
	CHECK(shared->log[6].offset == 4095 && shared->log[6].size == 1);
	CHECK(shared->log[7].offset == 4096 && shared->log[7].size == 4);
	CHECK(shared->log[8].offset == 4100 && shared->log[8].size == 2);
	CHECK(shared->log[9].offset == 4102 && shared->log[9].value == 8);
	/* the same instruction at the same place again, from the cache, and a loop over it */
	for (unsigned i = 0; i < 100; i++)
		store32(p + 4 * i, i);
	CHECK(shared->stores == 110 && last_is(396, 4, 99));
}

static void kinds_of_pages(void)
{
	volatile uint8_t *p = map_len(0, 6 * 4096, PROT_READ | PROT_WRITE);
	uint64_t wide = 0;

	p[MEM * 4096 + 5] = 9; /* memory: native */
	CHECK(shared->stores == 0 && p[MEM * 4096 + 5] == 9);
	store32(p + READS * 4096 + 8, 5);
	CHECK(shared->stores == 1 && shared->loads == 0);
	CHECK(*(volatile uint32_t *)(p + READS * 4096 + 8) == 5 && shared->loads == 1);
	*(volatile uint64_t *)(p + READS * 4096 + 16) = ~0ull;
	wide = *(volatile uint64_t *)(p + READS * 4096 + 16);
	CHECK(wide == ~0ull && shared->loads == 2);
	CHECK(p[READS * 4096 + 8] == 5 && shared->loads == 3);
	/* from memory straight into registers; the last page is memory's neighbour */
	__asm__ volatile("movups %0, %%xmm3\n\tmovups %%xmm3, %1"
			 :
			 : "m"(*(char(*)[16])(p + MEM * 4096)), "m"(*(char(*)[16])(p + 32))
			 : "xmm3", "memory");
	CHECK(shared->stores == 4 && last_is(40, 8, 0));
}

static void strings(void)
{
	volatile uint8_t *p = map(0);
	uint8_t *src = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *d = (void *)p, *s = src;
	size_t n = 300; /* more than a burst */

	for (unsigned i = 0; i < 8192; i++)
		src[i] = (uint8_t)i;
	__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
	CHECK(n == 0 && d == (void *)(p + 300) && shared->stores == 300);
	for (unsigned i = 0; i < 300; i++)
		CHECK(shared->log[i].offset == i && shared->log[i].value == (uint8_t)i);
	n = 512;
	d = (void *)p;
	__asm__ volatile("rep stosq" : "+D"(d), "+c"(n) : "a"(0x77) : "memory");
	CHECK(n == 0 && shared->stores == 812 && last_is(4088, 8, 0x77));
}

static sigjmp_buf jump;
static siginfo_t seen;
static volatile int calls;
static greg_t seen_regs[NGREG];
static sigset_t seen_mask;

static void catch (int sig, siginfo_t *info, void *uc)
{
	seen = *info;
	memcpy(seen_regs, ((ucontext_t *)uc)->uc_mcontext.gregs, sizeof(seen_regs));
	sigprocmask(SIG_BLOCK, NULL, &seen_mask);
	calls++;
	siglongjmp(jump, 1);
}

static void count(int sig, siginfo_t *info, void *uc)
{
	seen = *info;
	calls++;
}

static void handle(int sig, void (*f)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = {.sa_sigaction = f, .sa_flags = SA_SIGINFO | flags};

	sigemptyset(&sa.sa_mask);
	CHECK(!sigaction(sig, &sa, NULL));
}

static void string_source_ends(void)
{
	volatile uint8_t *p = map(0);
	uint8_t *src = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *d = (void *)p, *s = src + 4096 - 100;
	size_t n = 300;

	munmap(src + 4096, 4096);
	handle(SIGSEGV, catch, 0);
	if (!sigsetjmp(jump, 1)) {
		__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
		CHECK(!"reached");
	}
	CHECK(shared->stores == 100);
	CHECK(seen.si_addr == src + 4096);
	CHECK(seen_regs[REG_RCX] == 200 && seen_regs[REG_RSI] == (greg_t)(src + 4096));
	CHECK(seen_regs[REG_RDI] == (greg_t)(p + 100));
}

static void store_into_read_only_neighbour(void)
{
	uint8_t *area = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile uint8_t *p =
		mmap(area, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, DEV_FD, DEV_BASE);

	CHECK(p == area);
	handle(SIGSEGV, catch, 0);
	if (!sigsetjmp(jump, 1)) {
		__asm__ volatile("movq %1, %0" : "=m"(*(uint64_t *)(p + 4092)) : "r"(1ul));
		CHECK(!"reached");
	}
	CHECK(seen.si_addr == area + 4096 && seen.si_code == SEGV_ACCERR);
	CHECK(shared->stores == 0);
}

/* --- signals -----------------------------------------------------------------------------------
 */

static void *store_blocked(void *p)
{
	sigset_t set;

	pthread_sigmask(SIG_BLOCK, NULL, &set);
	CHECK(sigismember(&set, SIGSEGV) && sigismember(&set, SIGUSR1));
	store32(p, 3);
	return NULL;
}

static void blocked(void)
{
	volatile uint8_t *p = map(0);
	sigset_t all, old, now;
	pthread_t t;

	sigfillset(&all);
	CHECK(!sigprocmask(SIG_BLOCK, &all, &old) && !sigismember(&old, SIGSEGV));
	store32(p, 1);
	CHECK(shared->stores == 1);
	CHECK(!sigprocmask(SIG_BLOCK, NULL, &now) && sigismember(&now, SIGSEGV));
	for (int sig = 34; sig <= 64; sig++)
		CHECK(sigismember(&now, sig));
	CHECK(!pthread_create(&t, NULL, store_blocked, (void *)(p + 4)) && !pthread_join(t, NULL));
	CHECK(shared->stores == 2);
	CHECK(!sigprocmask(SIG_SETMASK, &old, NULL));
	CHECK(!sigprocmask(SIG_BLOCK, NULL, &now) && !sigismember(&now, SIGSEGV));
	sigemptyset(&all);
	sigaddset(&all, SIGSEGV);
	CHECK(!pthread_sigmask(SIG_BLOCK, &all, NULL));
	store32(p, 1);
	CHECK(!pthread_sigmask(SIG_UNBLOCK, &all, &now) && sigismember(&now, SIGSEGV));
	for (int sig = 1; sig <= 64; sig++)
		CHECK(sig == SIGSEGV || sigismember(&now, sig) == 0);
	CHECK(!sigprocmask(SIG_BLOCK, NULL, &now) && !sigismember(&now, SIGSEGV));
	CHECK(shared->stores == 3);
}

static void handlers(void)
{
	volatile uint8_t *p;
	struct sigaction sa;
	volatile uint8_t *bad = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	handle(SIGSEGV, catch, SA_RESTART); /* before the mapping */
	p = map(0);
	store32(p, 1);
	CHECK(!calls && shared->stores == 1);
	CHECK(!sigaction(SIGSEGV, NULL, &sa) && sa.sa_sigaction == catch);
	CHECK((sa.sa_flags & (SA_SIGINFO | SA_RESTART | SA_ONSTACK)) == (SA_SIGINFO | SA_RESTART));
	for (int i = 0; i < 3; i++) { /* leaving by siglongjmp unblocks it again */
		if (!sigsetjmp(jump, 1)) {
			bad[8 + i] = 1;
			CHECK(!"reached");
		}
		CHECK(calls == i + 1 && seen.si_addr == bad + 8 + i);
		CHECK(seen.si_code == SEGV_ACCERR && seen.si_signo == SIGSEGV);
		CHECK(sigismember(&seen_mask, SIGSEGV) && !sigismember(&seen_mask, SIGUSR1));
		store32(p, 2);
	}
	if (!sigsetjmp(jump, 1)) {
		*(volatile int *)16 = 1;
		CHECK(!"reached");
	}
	CHECK(seen.si_code == SEGV_MAPERR && seen.si_addr == (void *)16);
	handle(SIGSEGV, count, SA_RESETHAND);
	CHECK(!kill(getpid(), SIGSEGV) && calls == 5 && seen.si_code == SI_USER);
	CHECK(!sigaction(SIGSEGV, NULL, &sa) && sa.sa_handler == SIG_DFL);
	store32(p, 3);
	CHECK(shared->stores == 5);
	CHECK(signal(SIGSEGV, SIG_IGN) == SIG_DFL);
	CHECK(!kill(getpid(), SIGSEGV));
	store32(p, 3);
	CHECK(signal(SIGSEGV, SIG_DFL) == SIG_IGN);
	store32(p, 3);
	CHECK(shared->stores == 7);
}

static void sent_while_blocked(void)
{
	sigset_t set, pending;

	map(0);
	handle(SIGSEGV, count, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	CHECK(!sigprocmask(SIG_BLOCK, &set, NULL));
	CHECK(!kill(getpid(), SIGSEGV) && calls == 0);
	CHECK(!sigpending(&pending) && sigismember(&pending, SIGSEGV));
	CHECK(!sigprocmask(SIG_UNBLOCK, &set, NULL) && calls == 1);
	CHECK(!sigpending(&pending) && !sigismember(&pending, SIGSEGV));
}

static volatile uint8_t *handler_reg;

static void store_in_handler(int sig)
{
	store32(handler_reg, (uint32_t)sig);
	calls++;
}

static void in_other_handlers(void)
{
	struct sigaction sa = {.sa_handler = store_in_handler}, old;
	struct timespec ts = {5, 0};
	sigset_t none, usr1;
	int ep;

	sigfillset(&sa.sa_mask);
	CHECK(!sigaction(SIGUSR1, &sa, NULL)); /* before the mapping */
	CHECK(!sigaction(SIGUSR1, NULL, &old) && sigismember(&old.sa_mask, SIGSEGV));
	handler_reg = map(0);
	raise(SIGUSR1);
	CHECK(calls == 1 && shared->stores == 1 && last_is(0, 4, SIGUSR1));
	/* the masks of calls that wait */
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	CHECK(!sigprocmask(SIG_BLOCK, &usr1, NULL));
	sigfillset(&none);
	sigdelset(&none, SIGUSR1);
	raise(SIGUSR1);
	CHECK(sigsuspend(&none) == -1 && errno == EINTR && calls == 2);
	raise(SIGUSR1);
	CHECK(ppoll(NULL, 0, &ts, &none) == -1 && errno == EINTR && calls == 3);
	raise(SIGUSR1);
	CHECK(pselect(0, NULL, NULL, NULL, &ts, &none) == -1 && errno == EINTR && calls == 4);
	ep = epoll_create1(0);
	struct epoll_event ev;

	raise(SIGUSR1);
	CHECK(epoll_pwait(ep, &ev, 1, 5000, &none) == -1 && errno == EINTR && calls == 5);
	raise(SIGUSR1);
	CHECK(epoll_pwait2(ep, &ev, 1, &ts, &none) == -1 && errno == EINTR && calls == 6);
	CHECK(shared->stores == 6);
}

static ucontext_t main_context, other_context;

static void in_context(void)
{
	store32(handler_reg, 1);
}

static void contexts(void)
{
	static char stack[65536];
	sigset_t all;

	handler_reg = map(0);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	CHECK(!getcontext(&other_context));
	other_context.uc_stack.ss_sp = stack;
	other_context.uc_stack.ss_size = sizeof(stack);
	other_context.uc_link = &main_context;
	makecontext(&other_context, in_context, 0);
	CHECK(!swapcontext(&main_context, &other_context));
	CHECK(shared->stores == 1);
}

static void alternate_stack(void)
{
	size_t size = 8192; /* the traditional SIGSTKSZ */
	uint8_t *area =
		mmap(NULL, 4096 + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t ss = {.ss_sp = area + 4096, .ss_size = size};
	volatile uint8_t *p = map(0);
	unsigned used;

	CHECK(!mprotect(area, 4096, PROT_NONE)); /* an overflow would be fatal */
	memset(ss.ss_sp, 0xa5, size);
	CHECK(!sigaltstack(&ss, NULL));
	handle(SIGSEGV, catch, SA_ONSTACK);
	store32(p, 1);
	__asm__ volatile("vmovups %%ymm0, %0" : "=m"(*(char(*)[32])(p + 64)));
	__asm__ volatile("xaddl %%eax, %0" : "+m"(*(uint32_t *)(p + 64)) : : "rax");
	CHECK(shared->stores == 6);
	for (used = size; used && area[4096 + size - used] == 0xa5; used--)
		;
	fprintf(stderr, "stack used by frame and handler: %u bytes\n", used);
	CHECK(used > 500 && used < size - 256);
}

/* One that the kernel's frame fits into, and little more. */
static void small_alternate_stack(void)
{
	size_t need = (size_t)sysconf(_SC_MINSIGSTKSZ) + 512, top = (need + 4095) & ~4095ul;
	uint8_t *area =
		mmap(NULL, 4096 + top, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t ss = {.ss_sp = area + 4096, .ss_size = need};
	volatile uint8_t *p = map(0);

	CHECK(!mprotect(area, 4096, PROT_NONE));
	CHECK(!sigaltstack(&ss, NULL));
	store32(p, 1);
	for (unsigned i = 0; i < 100; i++)
		*(volatile uint64_t *)(p + 8 * i) = i;
	CHECK(shared->stores == 101 && last_is(792, 8, 99));
}

static void bus_error(void)
{
	volatile uint8_t *p = map(OFF);

	handle(SIGBUS, catch, 0);
	for (int i = 0; i < 2; i++) {
		if (!sigsetjmp(jump, 1)) {
			__asm__ volatile("movl $1, 12(%0)" : : "a"(p) : "memory");
			CHECK(!"reached");
		}
		CHECK(seen.si_signo == SIGBUS && seen.si_code == BUS_ADRERR);
		CHECK(seen.si_addr == p + 12 && calls == i + 1);
		/* the frame stands at the instruction: c7 40 0c */
		CHECK(*(uint8_t *)seen_regs[REG_RIP] == 0xc7);
	}
}

/* While memory is off the runner cuts the file short: our own load must not meet that. */
static void bus_on_modify(void)
{
	volatile uint8_t *p = map(OFF);

	handle(SIGBUS, catch, 0);
	CHECK(!ftruncate(DEV_FD, (off_t)(DEV_BASE + OFF * 4096)));
	for (int i = 0; i < 2; i++) {
		if (!sigsetjmp(jump, 1)) {
			__asm__ volatile("orl $1, 16(%0)" : : "a"(p) : "memory");
			CHECK(!"reached");
		}
		CHECK(seen.si_signo == SIGBUS && seen.si_addr == p + 16 && calls == i + 1);
		CHECK(*(uint8_t *)seen_regs[REG_RIP] == 0x83);
	}
	CHECK(!ftruncate(DEV_FD, (off_t)(DEV_BASE + PAGES * 4096)));
}

static void bus_default(void)
{
	store32(map(OFF), 1);
}

static void bus_ignored(void)
{
	signal(SIGBUS, SIG_IGN);
	store32(map(OFF), 1);
}

static void bus_blocked(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	store32(map(OFF), 1);
}

static void segv_default(void)
{
	store32(map(0), 1);
	*(volatile int *)16 = 1;
}

static void segv_blocked(void)
{
	sigset_t all;

	handle(SIGSEGV, count, 0);
	store32(map(0), 1);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	*(volatile int *)16 = 1;
}

static void segv_sent(void)
{
	store32(map(0), 1);
	kill(getpid(), SIGSEGV);
}

static void unknown_instruction(void)
{
	volatile uint8_t *p = map(0);

	__asm__ volatile("fld1\n\tfstpl 24(%0)" : : "r"(p) : "memory");
}

/* --- mappings ----------------------------------------------------------------------------------
 */

static bool faults(volatile uint8_t *p)
{
	handle(SIGSEGV, catch, 0);
	if (sigsetjmp(jump, 1))
		return true;
	*p = 1;
	return false;
}

static void protections(void)
{
	volatile uint8_t *p = map_len(0, 4 * 4096, PROT_READ | PROT_WRITE), *q;

	CHECK(!mprotect((void *)(p + 4096), 4096, PROT_READ));
	CHECK(!faults(p) && faults(p + 4096) && !faults(p + 8192));
	CHECK(seen.si_code == SEGV_ACCERR && seen.si_addr == p + 4096);
	CHECK(!mprotect((void *)p, 4 * 4096, PROT_NONE) && faults(p + 8192));
	CHECK(!mprotect((void *)p, 4 * 4096, PROT_READ | PROT_WRITE));
	CHECK(!faults(p + 4096) && shared->stores == 3 && last_is(4096, 1, 1));
	q = mremap((void *)(p + 8192), 8192, 8192, MREMAP_MAYMOVE | MREMAP_FIXED,
		   mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	CHECK(q != MAP_FAILED && !faults(q + 4096) && last_is(3 * 4096, 1, 1));
	CHECK(faults(p + 8192) && seen.si_code == SEGV_MAPERR);
	CHECK(mremap((void *)q, 8192, 16384, MREMAP_MAYMOVE) == MAP_FAILED && errno == EFAULT);
	CHECK(!munmap((void *)(p + 4096), 4096) && faults(p + 4096) && !faults(p));
	/* another mapping in its place */
	q = mmap((void *)p, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		 -1, 0);
	CHECK(q == p && !faults(q) && shared->stores == 5 && *q == 1);
	CHECK(!mprotect((void *)q, 4096, PROT_READ) && faults(q) && shared->stores == 5);
	/* asked for reading only */
	p = map_len(0, 4096, PROT_READ);
	CHECK(faults(p) && shared->stores == 5);
	CHECK(!mprotect((void *)p, 4096, PROT_READ | PROT_WRITE) && !faults(p));
	CHECK(shared->stores == 6);
	/* many: the table grows */
	for (unsigned i = 0; i < 300; i++)
		store32(map(i % REG_PAGES) + 4 * i, i);
	CHECK(shared->stores == 306);
	/* what the runner refuses gets the answer of mmap itself */
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, DEV_FD, (off_t)(2 * DEV_BASE)) != MAP_FAILED);
}

/* --- processes ---------------------------------------------------------------------------------
 */

static void children(void)
{
	volatile uint8_t *p = map(0);
	int pid, status;

	pid = fork();
	if (!pid) {
		store32(p, 1);
		store32(map(1), 2);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0 && shared->stores == 2);
	handle(SIGSEGV, count, 0);
	pid = vfork();
	if (!pid) {
		struct sigaction sa = {.sa_handler = SIG_DFL};

		sigaction(SIGSEGV, &sa, NULL); /* the child's, not ours */
		execl("/bin/true", "true", (char *)NULL);
		_exit(1);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	kill(getpid(), SIGSEGV);
	CHECK(calls == 1);
	store32(p, 3);
	CHECK(!posix_spawn(&pid, "/bin/true", NULL, NULL, (char *[]){"true", NULL}, environ));
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	store32(p, 3);
	CHECK(shared->stores == 4 && shared->hellos == 3);
}

static void *storer(void *arg)
{
	uint32_t id = (uint32_t)(uintptr_t)arg;

	for (uint32_t i = 0; i < 2000; i++)
		store32(handler_reg + 4 * id, id << 16 | i);
	return NULL;
}

static void threads(void)
{
	pthread_t t[4];
	uint32_t next[4] = {0};

	handler_reg = map(0);
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, storer, (void *)i);
	for (unsigned i = 0; i < 200; i++) { /* the table changes meanwhile */
		volatile uint8_t *p = map(1);

		munmap((void *)p, 4096);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CHECK(shared->stores == 8000);
	for (unsigned i = 0; i < 8000; i++) {
		uint32_t v = (uint32_t)shared->log[i].value, id = v >> 16;

		CHECK(id < 4 && shared->log[i].offset == 4 * id && (v & 0xffff) == next[id]++);
	}
}

static void tick(int sig)
{
	calls++;
}

static void storm(void)
{
	const char *n = getenv("UVFIO_TEST_STORES");
	unsigned total = n ? (unsigned)atoi(n) : 20000;
	struct itimerval it = {{0, 50}, {0, 50}};
	struct sigaction sa = {.sa_handler = tick, .sa_flags = SA_RESTART};
	volatile uint8_t *p = map(0);
	unsigned sum = 0;

	sigemptyset(&sa.sa_mask);
	sigaction(SIGALRM, &sa, NULL);
	CHECK(!setitimer(ITIMER_REAL, &it, NULL));
	for (unsigned i = 0; i < total; i++) {
		store32(p + 8, i);
		/* checked in blocks: the log is finite */
		if (i % 10000 == 9999 || i == total - 1)
			CHECK(shared->stores == i + 1);
		CHECK(shared->log[i % LOG_SIZE].value == i);
		sum += i;
	}
	it = (struct itimerval){0};
	setitimer(ITIMER_REAL, &it, NULL);
	CHECK(shared->stores == total && sum && calls > 20);
	fprintf(stderr, "%u stores, %d signals, 0 lost, 0 doubled\n", total, calls);
}

/* --- fds ---------------------------------------------------------------------------------------
 */

static int vfio_fd(void)
{
	int fd = open("/dev/null", O_RDWR);

	CHECK(fd >= 0 && ioctl(fd, 0x3B64) == 0);
	return fd;
}

static void closing(void)
{
	int fd = open("/dev/null", O_RDWR), other;

	CHECK(!close(fd) && shared->closes == 0);
	fd = vfio_fd();
	CHECK(!close(fd) && shared->closes == 1);
	CHECK(close(fd) == -1 && errno == EBADF && shared->closes == 1);
	fd = vfio_fd();
	other = fcntl(fd, F_DUPFD_CLOEXEC, 50);
	CHECK(!close(fd) && shared->closes == 2);
	CHECK(!close(other) && shared->closes == 3);
	fd = vfio_fd();
	other = dup(fd);
	CHECK(dup2(1, fd) == fd && shared->closes == 4);
	CHECK(!close(fd) && shared->closes == 4);
	CHECK(!close_range((unsigned)other, (unsigned)other, 0) && shared->closes == 5);
	/* the device fd that a group hands out, without an ioctl on it */
	fd = open("/dev/null", O_RDWR);
	other = vfio_fd();
	CHECK(ioctl(other, 0x3B6A, (long)fd) == fd);
	CHECK(!close(fd) && shared->closes == 6);
	CHECK(!munmap((void *)map(0), 4096) && shared->closes == 7);
	fd = fork(); /* vfork's child does not take the marks along */
	if (!fd) {
		CHECK(!close(other) && shared->closes == 8);
		_exit(0);
	}
	waitpid(fd, &(int){0}, 0);
	CHECK(!close(other) && shared->closes == 9);
}

/* --- the first bytes of a structure, in registers ----------------------------------------------
 */

#define GET_INFO 0x3B6B /* VFIO_DEVICE_GET_INFO */

/* One ioctl; do these 16 bytes go along? */
static bool goes_along(int fd, const void *arg)
{
	unsigned keyed = shared->keyed, carried = shared->carried;

	CHECK(!ioctl(fd, GET_INFO, arg) && shared->keyed == keyed + 1);
	if (shared->carried == carried)
		return false;
	CHECK(!memcmp(shared->bytes, arg, 16));
	return true;
}

/* With a key, which is asked for now and then. */
static int keyed_fd(void)
{
	int fd = vfio_fd();

	for (unsigned i = 0; i < 20 && !shared->keyed; i++)
		CHECK(!ioctl(fd, GET_INFO, NULL));
	CHECK(shared->keyed && !shared->carried);
	return fd;
}

/* On two pages of the first thread's stack, of which at most one is that of the caller's frame. */
static void carried_from_stack(void)
{
	int fd = keyed_fd();
	uint64_t all[1024];

	for (unsigned i = 0; i < 1024; i++)
		all[i] = i * 0x0123456789abcdefull;
	for (unsigned i = 0; i < 1023; i += 31)
		CHECK(goes_along(fd, &all[i]));
	CHECK(goes_along(fd, (char *)all + 3));
}

static struct {
	int fd;
	char *page, *hole; /* the last page of a stack, and what lies behind */
	const char *first; /* on the first thread's stack */
	ucontext_t back;
	bool done;
} other;

static __attribute__((noinline)) void on_other_stack(void)
{
	uint64_t here[2] = {1, 2};

	/* Its own, as far as the page lasts, and no more. */
	CHECK(goes_along(other.fd, here));
	CHECK(goes_along(other.fd, other.hole - 16));
	CHECK(!goes_along(other.fd, other.hole - 15));
	CHECK(!goes_along(other.fd, other.hole - 8));
	CHECK(!goes_along(other.fd, other.hole));
	CHECK(!goes_along(other.fd, other.hole + 4096));
	CHECK(!goes_along(other.fd, (void *)-8l));
	/* Below the stack, which ends somewhere. */
	CHECK(!goes_along(other.fd, other.page - 4096));
	CHECK(!goes_along(other.fd, other.first));
	other.done = true;
}

static void carried_no_further(void)
{
	char *heap = malloc(64), *area;
	ucontext_t context;

	other.fd = keyed_fd();
	CHECK(heap && !goes_along(other.fd, heap) && !goes_along(other.fd, &other));
	CHECK(!goes_along(other.fd, NULL) && !goes_along(other.fd, (void *)8));
	CHECK(!goes_along(other.fd, __builtin_frame_address(0) - 65536));
	area = mmap(NULL, 18 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(area != MAP_FAILED && !mprotect(area + 16 * 4096, 8192, PROT_NONE));
	other.first = (const char *)&context;
	other.hole = area + 16 * 4096;
	other.page = other.hole - 4096;
	CHECK(!getcontext(&context));
	/* So that the helper, which needs less than half a page, is on the last one. */
	context.uc_stack = (stack_t){.ss_sp = area, .ss_size = 16 * 4096};
	context.uc_link = &other.back;
	makecontext(&context, on_other_stack, 0);
	CHECK(!swapcontext(&other.back, &context) && other.done);
	free(heap);
}

static void inert(void)
{
	sigset_t all, raw = {0};
	volatile uint8_t *p =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, DEV_FD, DEV_BASE);

	p[0] = 1;
	CHECK(shared->hellos == 0 && shared->stores == 0 && shared->maps == 0);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	syscall(14 /* rt_sigprocmask */, SIG_BLOCK, NULL, &raw, 8);
	CHECK(sigismember(&raw, SIGSEGV));
}

/* --- the tests ---------------------------------------------------------------------------------
 */

static const struct scenario {
	const char *name;
	void (*run)(void);
	int signal; /* that ends it */
} scenarios[] = {
#define S(name, signal)                                                                            \
	{                                                                                          \
#name, name, signal                                                                \
	}
	S(stores, 0),
	S(kinds_of_pages, 0),
	S(strings, 0),
	S(string_source_ends, 0),
	S(store_into_read_only_neighbour, 0),
	S(blocked, 0),
	S(handlers, 0),
	S(sent_while_blocked, 0),
	S(in_other_handlers, 0),
	S(contexts, 0),
	S(alternate_stack, 0),
	S(small_alternate_stack, 0),
	S(bus_error, 0),
	S(bus_on_modify, 0),
	S(bus_default, SIGBUS),
	S(bus_ignored, SIGBUS),
	S(bus_blocked, SIGBUS),
	S(segv_default, SIGSEGV),
	S(segv_blocked, SIGSEGV),
	S(segv_sent, SIGSEGV),
	S(unknown_instruction, SIGSEGV),
	S(protections, 0),
	S(children, 0),
	S(threads, 0),
	S(storm, 0),
	S(closing, 0),
	S(carried_from_stack, 0),
	S(carried_no_further, 0),
	S(inert, 0),
};
#define COUNT (sizeof(scenarios) / sizeof(scenarios[0]))

static void test_scenario(void **state)
{
	const struct scenario *s = *state;
	int status = runner_run(s->name, s->run == inert ? NULL : "exact");

	if (s->signal)
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == s->signal);
	else if (status)
		fail_msg("%s ended with status %#x", s->name, status);
	if (s->run == unknown_instruction) {
		/* names the bytes, the instruction and the register */
		assert_non_null(strstr(shared->fatal, "dd 5"));
		assert_non_null(strstr(shared->fatal, "fstp"));
		assert_non_null(strstr(shared->fatal, "0x10000000018"));
		assert_int_equal(shared->stores, 0);
	}
}

static int run_client(const char *name)
{
	struct rlimit no_core = {0, 0};

	setrlimit(RLIMIT_CORE, &no_core);
	client_init();
	alarm(60);
	for (unsigned i = 0; i < COUNT; i++) {
		if (strcmp(scenarios[i].name, name))
			continue;
		scenarios[i].run();
		return 0;
	}
	return 97;
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[COUNT];

	if (argc > 1 && !strcmp(argv[0], "client"))
		return run_client(argv[1]);
	runner_init();
	for (unsigned i = 0; i < COUNT; i++)
		tests[i] = (struct CMUnitTest){scenarios[i].name, test_scenario, NULL, NULL,
					       (void *)&scenarios[i]};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("helper", tests, NULL, NULL);
}
