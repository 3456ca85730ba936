/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SIGSEGV: ours, and the program's.
 *
 * Until the first trapped mapping the program's dispositions are the kernel's.  Then our handler
 * goes in, and what was there becomes the virtual disposition, which sigaction and its relations
 * (masks.c) read and write from then on.  A SIGSEGV that is no trapped access is forwarded as the
 * kernel would:
 * - a fault whose disposition is to die (by default, ignored or blocked): the kernel's default
 * action is put in place and the instruction let go again, so that it dies there, with its core;
 * - a fault with a handler: the handler is called, on the frame that the kernel has made, with the
 * mask that it would have had; it may return, or leave by siglongjmp;
 * - one sent by somebody (kill): the same, or kept until it is unblocked.
 *
 * The handler runs with everything blocked, so that a store cannot be interrupted between the
 * runner and the return: each happens once.  It runs on the program's alternate stack when it has
 * one.
 */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "uapi/helper/signals.h"

#define SA_RESTORER 0x04000000

/* As the system call has it. */
struct kernel_action {
	void *handler;
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

static struct {
	struct helper_lock lock;
	_Atomic unsigned seq; /* of what follows; odd while it changes */
	_Atomic bool armed;
	struct kernel_action action; /* virtual; its mask as the program sees it */

	_Atomic int pending; /* 0 none, 1 being written or read, 2 there: a blocked SIGSEGV that was
				sent */
	siginfo_t pending_info;
} segv;

/* The bytes by which debuggers and unwinders know the end of a signal frame. */
__asm__(".text\n"
	".balign 16\n"
	"	nop\n"
	".type uvfio_helper_restorer, @function\n"
	"uvfio_helper_restorer:\n"
	"	mov $15, %rax\n"
	"	syscall\n"
	".size uvfio_helper_restorer, . - uvfio_helper_restorer\n");
void uvfio_helper_restorer(void) __attribute__((visibility("hidden")));

static long kernel_sigaction(int sig, const struct kernel_action *new, struct kernel_action *old)
{
	return sys4(SYS_rt_sigaction, sig, (long)new, (long)old, MASK_BYTES);
}

static void kernel_default(int sig)
{
	const struct kernel_action dfl = {.handler = SIG_DFL};

	kernel_sigaction(sig, &dfl, NULL);
}

static void requeue(int sig, siginfo_t *info)
{
	sys4(SYS_rt_tgsigqueueinfo, sys0(SYS_getpid), sys0(SYS_gettid), sig, (long)info);
}

static uint64_t uc_mask(const ucontext_t *uc)
{
	return set_bits(&uc->uc_sigmask);
}

static void uc_set_mask(ucontext_t *uc, uint64_t bits)
{
	/* The frame's mask is the kernel's 8 bytes; what follows it is not ours. */
	memcpy(&uc->uc_sigmask, &bits, MASK_BYTES);
}

static struct kernel_action virtual_action(void)
{
	struct kernel_action a;
	unsigned seq;

	do {
		while ((seq = atomic_load_explicit(&segv.seq, memory_order_acquire)) & 1)
			__builtin_ia32_pause();
		a = segv.action;
		atomic_thread_fence(memory_order_acquire);
	} while (atomic_load_explicit(&segv.seq, memory_order_relaxed) != seq);
	return a;
}

/* With the lock held. */
static void set_virtual(const struct kernel_action *a)
{
	unsigned seq = atomic_load_explicit(&segv.seq, memory_order_relaxed);

	atomic_store_explicit(&segv.seq, seq + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	segv.action = *a;
	atomic_store_explicit(&segv.seq, seq + 2, memory_order_release);
}

/* --- the handler -------------------------------------------------------------------------------
 */

/* What trap_handle() may need of stack, its message and the program's handler not counted. */
#define STACK_NEED 4096

struct trap_args {
	const struct range *range;
	siginfo_t *info;
	ucontext_t *uc;
};

static void trap_on_other_stack(struct trap_args *a)
{
	trap_handle(a->range, a->info, a->uc);
}

/*
 * An alternate stack may be made for little more than the kernel's frame, since the program does
 * not expect handlers there but in an emergency.  When little is left of it, go on where the
 * interrupted code has its stack, as a handler without SA_ONSTACK would.
 */
static void trap(const struct range *range, siginfo_t *info, ucontext_t *uc)
{
	uint64_t low = (uint64_t)uc->uc_stack.ss_sp, size = uc->uc_stack.ss_size;
	uint64_t here = (uint64_t)__builtin_frame_address(0);
	uint64_t sp = (uint64_t)uc->uc_mcontext.gregs[REG_RSP];
	struct trap_args args = {range, info, uc};
	void *arg = &args;

	if (here - low >= size || here - low >= STACK_NEED || sp - low < size) {
		trap_handle(range, info, uc);
		return;
	}
	sp = (sp - 128) & ~15ull; /* below the red zone */
	__asm__ volatile("movq %%rsp, %%rbx\n\t"
			 "movq %[sp], %%rsp\n\t"
			 "call *%[fn]\n\t"
			 "movq %%rbx, %%rsp"
			 : "+D"(arg)
			 : [sp] "r"(sp), [fn] "r"(trap_on_other_stack)
			 : "rbx", "rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "xmm0",
			   "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
			   "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory");
}

static void on_segv(int sig, siginfo_t *info, void *ucontext)
{
	ucontext_t *uc = ucontext;
	struct range range;

	/* Only a denied access to a page that is there; the instruction itself is not fetched from
	 * it. */
	if (info->si_code == SEGV_ACCERR && !(uc->uc_mcontext.gregs[REG_ERR] & 16) &&
	    table_find((uint64_t)info->si_addr, &range)) {
		trap(&range, info, uc);
		return;
	}
	if (!probe_fault((uint64_t)info->si_addr, uc))
		signals_forward(info, uc, false);
}

/* Our handler, with what of the program's flags concerns interrupted system calls. */
static long install(unsigned long program_flags, struct kernel_action *old)
{
	const struct kernel_action ours = {
		.handler = (void *)on_segv,
		.flags = SA_SIGINFO | SA_ONSTACK | SA_RESTORER | (program_flags & SA_RESTART),
		.restorer = uvfio_helper_restorer,
		.mask = ~0ull,
	};

	return kernel_sigaction(SIGSEGV, &ours, old);
}

bool signals_arm(void)
{
	struct kernel_action old;

	if (atomic_load_explicit(&segv.armed, memory_order_acquire))
		return true;
	helper_lock(&segv.lock);
	if (!atomic_load_explicit(&segv.armed, memory_order_relaxed) &&
	    !kernel_sigaction(SIGSEGV, NULL, &old)) {
		old.mask = bits_to_program(old.mask);
		old.flags &= ~(unsigned long)SA_RESTORER;
		set_virtual(&old);
		if (!install(old.flags, NULL))
			atomic_store_explicit(&segv.armed, true, memory_order_release);
	}
	helper_unlock(&segv.lock);
	return atomic_load_explicit(&segv.armed, memory_order_acquire);
}

void signals_die(ucontext_t *uc)
{
	kernel_default(SIGSEGV);
	uc_set_mask(uc, uc_mask(uc) & ~BIT(SIGSEGV));
}

static void call_handler(const struct kernel_action *a, siginfo_t *info, ucontext_t *uc)
{
	uint64_t mask = uc_mask(uc) | bits_to_kernel(a->mask);

	if (!(a->flags & SA_NODEFER))
		mask |= BIT(SHADOW);
	if (a->flags & SA_RESETHAND) {
		struct kernel_action dfl = *a;

		dfl.handler = SIG_DFL;
		helper_lock(&segv.lock);
		set_virtual(&dfl);
		helper_unlock(&segv.lock);
	}
	uc_set_mask(uc, bits_to_program(uc_mask(uc)));
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&mask, 0, MASK_BYTES);
	((void (*)(int, siginfo_t *, void *))a->handler)(SIGSEGV, info, uc);
	uc_set_mask(uc, bits_to_kernel(uc_mask(uc)));
}

/* A blocked one that was sent; a second one is merged with it, as the kernel does. */
static void keep_pending(const siginfo_t *info)
{
	int none = 0;

	if (!atomic_compare_exchange_strong(&segv.pending, &none, 1))
		return;
	segv.pending_info = *info;
	atomic_store(&segv.pending, 2);
}

void signals_forward(siginfo_t *info, ucontext_t *uc, bool synthetic)
{
	struct kernel_action a = virtual_action();
	bool sent = info->si_code <= 0;
	bool blocked = uc_mask(uc) & BIT(SHADOW);

	if (sent && blocked) {
		keep_pending(info);
		return;
	}
	if (sent && a.handler == SIG_IGN)
		return;
	if (!blocked && a.handler != SIG_DFL && a.handler != SIG_IGN) {
		call_handler(&a, info, uc);
		return;
	}
	signals_die(uc);
	if (sent || synthetic)
		requeue(SIGSEGV, info);
}

/*
 * As the kernel's forced signal: a disposition under which the program would not notice becomes
 * death. It is queued while everything is blocked, and delivered at the frame's instruction when we
 * return.
 */
void signals_raise_bus(uint64_t addr, ucontext_t *uc)
{
	siginfo_t info;
	struct kernel_action a;

	memset(&info, 0, sizeof(info));
	info.si_signo = SIGBUS;
	info.si_code = BUS_ADRERR;
	info.si_addr = (void *)addr;
	if (kernel_sigaction(SIGBUS, NULL, &a) || a.handler == SIG_IGN ||
	    uc_mask(uc) & BIT(SIGBUS)) {
		kernel_default(SIGBUS);
		uc_set_mask(uc, uc_mask(uc) & ~BIT(SIGBUS));
	}
	requeue(SIGBUS, &info);
}

/* --- for masks.c -------------------------------------------------------------------------------
 */

void signals_unblocked(void)
{
	siginfo_t info;
	int there = 2;

	if (!atomic_compare_exchange_strong(&segv.pending, &there, 1))
		return;
	info = segv.pending_info;
	atomic_store(&segv.pending, 0);
	requeue(SIGSEGV, &info);
}

bool signals_pending(void)
{
	return atomic_load(&segv.pending) == 2;
}

bool signals_virtual(const struct sigaction *new, struct sigaction *old)
{
	struct kernel_action a;
	bool foreign;

	if (!atomic_load_explicit(&segv.armed, memory_order_acquire))
		return false;
	foreign = helper_foreign();
	helper_lock(&segv.lock);
	if (old) {
		memset(old, 0, sizeof(*old));
		old->sa_handler = (__sighandler_t)segv.action.handler;
		old->sa_flags = (int)segv.action.flags;
		put_bits(&old->sa_mask, segv.action.mask);
	}
	if (new && !foreign) {
		a = (struct kernel_action){
			.handler = (void *)new->sa_handler,
			.flags = (unsigned long)(unsigned)new->sa_flags,
			.mask = set_bits(&new->sa_mask),
		};
		set_virtual(&a);
		install(a.flags, NULL);
	}
	helper_unlock(&segv.lock);
	/* In a child of vfork the table of dispositions is its own, the memory is not. */
	return !(new &&foreign);
}

void signals_init(void)
{
	uint64_t mask = 0, kernel;

	/* A SIGSEGV that was blocked across exec by a program without us. */
	if (sys4(SYS_rt_sigprocmask, SIG_BLOCK, 0, (long)&mask, MASK_BYTES))
		return;
	kernel = bits_to_kernel(mask);
	if (kernel != mask)
		sys4(SYS_rt_sigprocmask, SIG_SETMASK, (long)&kernel, 0, MASK_BYTES);
}

void signals_at_fork(int when)
{
	if (!when)
		helper_lock(&segv.lock);
	else
		helper_unlock(&segv.lock);
	if (when == 2) /* pending signals are not inherited */
		atomic_store(&segv.pending, 0);
}
