/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Access to memory that its owner may truncate.
 *
 * Theory of operation.  Every access is made by the routines between uvfio_guard_begin and
 * uvfio_guard_end below.  They push nothing, so that wherever one of them faults the stack pointer
 * points at its return address: the handler only sets RIP to uvfio_guard_fail, which returns
 * -EFAULT to the caller.  No state is kept per thread or per access, so an access that does not
 * fault costs nothing extra, and any number of threads may fault at once.
 *
 * The handler takes a SIGBUS only when the kernel raised it for the instruction at RIP and RIP is
 * in that range.  Every other one (a fault elsewhere, kill(), early notice of a memory error) goes
 * to the disposition that was there before uvfio_guard_init(), under its mask and flags.
 *
 * Ranges that are repaired are kept in a list that only grows, because the handler may be walking
 * it; entries that are not used any more are taken again.
 *
 * A thread that uses this must not block SIGBUS: the kernel kills a process whose fault is blocked.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <uvfio/device.h>
#include "base/guard.h"

#ifndef __x86_64__
#error "write the guarded accesses for this architecture"
#endif

int uvfio_guard_asm_copy(void *dst, const void *src, size_t len);
int uvfio_guard_asm_copy_words(void *dst, const void *src, size_t words);
int uvfio_guard_asm_fill(void *dst, uint64_t bytes, size_t len);
int uvfio_guard_asm_load1(const void *src, uint64_t *value);
int uvfio_guard_asm_load2(const void *src, uint64_t *value);
int uvfio_guard_asm_load4(const void *src, uint64_t *value);
int uvfio_guard_asm_load8(const void *src, uint64_t *value);
int uvfio_guard_asm_store1(void *dst, uint64_t value);
int uvfio_guard_asm_store2(void *dst, uint64_t value);
int uvfio_guard_asm_store4(void *dst, uint64_t value);
int uvfio_guard_asm_store8(void *dst, uint64_t value);
extern const char uvfio_guard_begin[], uvfio_guard_end[], uvfio_guard_fail[];

#define LABEL(name) ".globl " name "\n.hidden " name "\n" name ":\n"
#define BEGIN(name)                                                                                \
	".p2align 4\n.type " name ", @function\n" LABEL(name) ".cfi_startproc\n\tendbr64\n"
#define END(name) ".cfi_endproc\n.size " name ", . - " name "\n"

#define LOAD(size, mov, reg)                                                                       \
	BEGIN("uvfio_guard_asm_load" size)                                                         \
	"	" mov "	(%rdi), %" reg "\n"                                                        \
	"	mov	%rax, (%rsi)\n"                                                                      \
	"	xor	%eax, %eax\n"                                                                        \
	"	ret\n" END("uvfio_guard_asm_load" size)

#define STORE(size, reg)                                                                           \
	BEGIN("uvfio_guard_asm_store" size)                                                        \
	"	mov	%" reg ", (%rdi)\n"                                                        \
	"	xor	%eax, %eax\n"                                                                        \
	"	ret\n" END("uvfio_guard_asm_store" size)

/* clang-format off */
__asm__(
	".pushsection .text\n"
	LABEL("uvfio_guard_begin")

	/*
	 * rdi = destination, rsi = source, rdx = length.  8 bytes: one move, so that who polls them
	 * sees them change once.  Else up to 15 bytes: two moves that overlap.
	 * Up to 256: 16 bytes at a time, and a last piece that overlaps.  More: rep movsb, which
	 * moves whole cache lines.
	 */
	BEGIN("uvfio_guard_asm_copy")
	"	cmp	$16, %rdx\n"
	"	jb	2f\n"
	"	cmp	$256, %rdx\n"
	"	ja	5f\n"
	"	movups	-16(%rsi,%rdx), %xmm1\n"
	"	lea	-16(%rdi,%rdx), %rcx\n"
	"0:	cmp	%rcx, %rdi\n"
	"	jae	1f\n"
	"	movups	(%rsi), %xmm0\n"
	"	movups	%xmm0, (%rdi)\n"
	"	add	$16, %rsi\n"
	"	add	$16, %rdi\n"
	"	jmp	0b\n"
	"1:	movups	%xmm1, (%rcx)\n"
	"	xor	%eax, %eax\n"
	"	ret\n"
	"2:	cmp	$8, %edx\n"
	"	jb	3f\n"
	"	mov	(%rsi), %rax\n"
	"	je	8f\n"
	"	mov	-8(%rsi,%rdx), %rcx\n"
	"	mov	%rax, (%rdi)\n"
	"	mov	%rcx, -8(%rdi,%rdx)\n"
	"	xor	%eax, %eax\n"
	"	ret\n"
	"8:	mov	%rax, (%rdi)\n"
	"	xor	%eax, %eax\n"
	"	ret\n"
	"3:	cmp	$4, %edx\n"
	"	jb	4f\n"
	"	mov	(%rsi), %eax\n"
	"	mov	-4(%rsi,%rdx), %ecx\n"
	"	mov	%eax, (%rdi)\n"
	"	mov	%ecx, -4(%rdi,%rdx)\n"
	"	xor	%eax, %eax\n"
	"	ret\n"
	"4:	test	%edx, %edx\n"
	"	jz	6f\n"
	"	movzbl	(%rsi), %eax\n"
	"	cmp	$1, %edx\n"
	"	je	7f\n"
	"	movzwl	-2(%rsi,%rdx), %ecx\n"
	"	mov	%al, (%rdi)\n"
	"	mov	%cx, -2(%rdi,%rdx)\n"
	"	xor	%eax, %eax\n"
	"	ret\n"
	"5:	mov	%rdx, %rcx\n"
	"	rep movsb\n"
	"6:	xor	%eax, %eax\n"
	"	ret\n"
	"7:	mov	%al, (%rdi)\n"
	"	xor	%eax, %eax\n"
	"	ret\n"
	END("uvfio_guard_asm_copy")

	/* The element is what one access moves, however many of them the CPU takes at once. */
	BEGIN("uvfio_guard_asm_copy_words")
	"	mov	%rdx, %rcx\n"
	"	rep movsq\n"
	"	xor	%eax, %eax\n"
	"	ret\n"
	END("uvfio_guard_asm_copy_words")

	BEGIN("uvfio_guard_asm_fill")
	"	mov	%rsi, %rax\n"
	"	mov	%rdx, %rcx\n"
	"	shr	$3, %rcx\n"
	"	rep stosq\n"
	"	mov	%edx, %ecx\n"
	"	and	$7, %ecx\n"
	"	rep stosb\n"
	"	xor	%eax, %eax\n"
	"	ret\n"
	END("uvfio_guard_asm_fill")

	LOAD("1", "movzbl", "eax")
	LOAD("2", "movzwl", "eax")
	LOAD("4", "mov", "eax")
	LOAD("8", "mov", "rax")
	STORE("1", "sil")
	STORE("2", "si")
	STORE("4", "esi")
	STORE("8", "rsi")
	LABEL("uvfio_guard_end")

	/* -14 is -EFAULT */
	BEGIN("uvfio_guard_fail")
	"	mov	$-14, %eax\n"
	"	ret\n"
	END("uvfio_guard_fail")
	".popsection\n");
/* clang-format on */

_Static_assert(EFAULT == 14, "uvfio_guard_fail returns it as a number");

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int init_error;
static atomic_bool installed;
/* What was there before; the kernel resets it itself where SA_RESETHAND asks for it. */
static struct sigaction previous;
static atomic_bool previous_used;

struct repair {
	struct repair *next;
	_Atomic uintptr_t start; /* 0: unused */
	_Atomic uintptr_t end;
};
static struct repair *_Atomic repairs;

int uvfio_guard_repair_add(void *start, size_t len)
{
	struct repair *r;
	uintptr_t unused;

	for (r = atomic_load(&repairs); r; r = r->next) {
		unused = 0;
		/* 1 is nobody's address: taken, but not valid yet. */
		if (atomic_compare_exchange_strong(&r->start, &unused, 1))
			break;
	}
	if (!r) {
		r = malloc(sizeof(*r));
		if (!r)
			return -ENOMEM;
		atomic_init(&r->start, 1);
		atomic_init(&r->end, 0);
		r->next = atomic_load(&repairs);
		while (!atomic_compare_exchange_weak(&repairs, &r->next, r))
			;
	}
	atomic_store(&r->end, (uintptr_t)start + len);
	atomic_store(&r->start, (uintptr_t)start);
	return 0;
}

void uvfio_guard_repair_remove(void *start)
{
	for (struct repair *r = atomic_load(&repairs); r; r = r->next) {
		if (atomic_load(&r->start) == (uintptr_t)start) {
			atomic_store(&r->end, 0);
			atomic_store(&r->start, 0);
			return;
		}
	}
}

/* [signal handler] */
static bool repair(const siginfo_t *info)
{
	uintptr_t at = (uintptr_t)info->si_addr;

	if (info->si_code != BUS_ADRERR)
		return false;
	for (struct repair *r = atomic_load(&repairs); r; r = r->next) {
		if (at < atomic_load(&r->start) || at >= atomic_load(&r->end))
			continue;
		return mmap((void *)(at & ~(uintptr_t)4095), 4096, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
	}
	return false;
}

static void die(siginfo_t *info)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};

	sigaction(SIGBUS, &dfl, NULL);
	/* A fault happens again when the instruction is tried again; what was sent must be sent
	 * again. */
	if (info->si_code <= 0)
		syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), SIGBUS);
}

static void chain(int sig, siginfo_t *info, void *uc)
{
	struct sigaction prev = previous;
	sigset_t mask, old;

	if ((prev.sa_flags & SA_RESETHAND) && atomic_exchange(&previous_used, true))
		prev = (struct sigaction){.sa_handler = SIG_DFL};
	if (!(prev.sa_flags & SA_SIGINFO)) {
		/* The kernel lets nobody ignore a fault. */
		if (prev.sa_handler == SIG_IGN && info->si_code <= 0)
			return;
		if (prev.sa_handler == SIG_DFL || prev.sa_handler == SIG_IGN) {
			die(info);
			return;
		}
	}
	mask = prev.sa_mask;
	if (!(prev.sa_flags & SA_NODEFER))
		sigaddset(&mask, sig);
	sigprocmask(SIG_BLOCK, &mask, &old);
	if (prev.sa_flags & SA_SIGINFO)
		prev.sa_sigaction(sig, info, uc);
	else
		prev.sa_handler(sig);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static void on_sigbus(int sig, siginfo_t *info, void *uc)
{
	greg_t *rip = &((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP];
	int saved = errno;

	if (info->si_code > 0 && info->si_code != BUS_MCEERR_AO &&
	    (uintptr_t)*rip >= (uintptr_t)uvfio_guard_begin &&
	    (uintptr_t)*rip < (uintptr_t)uvfio_guard_end)
		*rip = (greg_t)uvfio_guard_fail;
	else if (!repair(info))
		chain(sig, info, uc);
	errno = saved;
}

static void install(void)
{
	/* SA_NODEFER, because a chained handler may have asked for it; chain() blocks what it has
	 * not. */
	struct sigaction sa = {
		.sa_sigaction = on_sigbus,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
	};

	sigemptyset(&sa.sa_mask);
	if (sigaction(SIGBUS, NULL, &previous) || sigaction(SIGBUS, &sa, NULL)) {
		init_error = -errno;
		return;
	}
	atomic_store(&installed, true);
}

int uvfio_guard_init(void)
{
	pthread_once(&once, install);
	return init_error;
}

int uvfio_guard_copy(void *dst, const void *src, size_t len)
{
	return uvfio_guard_asm_copy(dst, src, len);
}

int uvfio_guard_copy_words(void *dst, const void *src, size_t words)
{
	return uvfio_guard_asm_copy_words(dst, src, words);
}

int uvfio_guard_fill(void *dst, int byte, size_t len)
{
	return uvfio_guard_asm_fill(dst, (uint8_t)byte * 0x0101010101010101ull, len);
}

int uvfio_guard_load(const void *src, unsigned size, uint64_t *value)
{
	switch (size) {
	case 1:
		return uvfio_guard_asm_load1(src, value);
	case 2:
		return uvfio_guard_asm_load2(src, value);
	case 4:
		return uvfio_guard_asm_load4(src, value);
	case 8:
		return uvfio_guard_asm_load8(src, value);
	}
	return -EINVAL;
}

int uvfio_guard_store(void *dst, unsigned size, uint64_t value)
{
	switch (size) {
	case 1:
		return uvfio_guard_asm_store1(dst, value);
	case 2:
		return uvfio_guard_asm_store2(dst, value);
	case 4:
		return uvfio_guard_asm_store4(dst, value);
	case 8:
		return uvfio_guard_asm_store8(dst, value);
	}
	return -EINVAL;
}

int uvfio_copy(void *dst, const void *src, size_t len)
{
	int rc;

	if (__builtin_expect(!atomic_load_explicit(&installed, memory_order_acquire), 0)) {
		rc = uvfio_guard_init();
		if (rc)
			return rc;
	}
	return uvfio_guard_asm_copy(dst, src, len);
}
