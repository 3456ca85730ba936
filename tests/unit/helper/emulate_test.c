/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each instruction of insns.h against itself: once natively on ordinary memory, once on pages whose
 * accesses fault and are emulated, from the same random registers, flags, vector state and memory.
 * Everything must come out equal, and the accesses that the emulator made must be the fewest
 * ascending naturally aligned ones.
 *
 * Memory: two pages of a "device" (a memfd: at DEV as the program sees it, and at `alias` as the
 * device does), then one page of plain memory, so that operands cross from page to page and out of
 * the device.
 */
#include <cpuid.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include "uapi/helper/emu.h"

#define F_BITS     0x001
#define F_STR      0x002
#define F_STR_SRC  0x004
#define F_STR_SAME 0x008
#define F_CMP      0x010
#define F_CMP2     0x020
#define F_IDX4     0x040
#define F_IDX8     0x080
#define F_STACK    0x100
#define F_SRC      0x200
#define F_SHIFT16  0x400
#define F_MASKMOV  0x800
#define F_MMX      0x1000

enum feature {
	base,
	movbe,
	cx16,
	sse3,
	sse4a,
	sse41,
	avx,
	avx2,
	avx512f,
	avx512dq,
	avx512bw,
	avx512vl,
	avx512vbmi2,
	avx512fp16,
	movdiri,
	movdir64b,
	FEATURES,
};
static const char *const feature_names[] = {
	"base",        "movbe",      "cx16",    "sse3",      "sse4a",    "sse4.1",
	"avx",         "avx2",       "avx512f", "avx512dq",  "avx512bw", "avx512vl",
	"avx512vbmi2", "avx512fp16", "movdiri", "movdir64b",
};
_Static_assert(sizeof(feature_names) / sizeof(feature_names[0]) == FEATURES, "one name each");

/* The code: label, instruction, a jump back. */
#define STR_(x) #x
#define STR(x)  STR_(x)
/* Each use of INSN gets the next number; three passes count alike. */
struct insn {
	const char *text;
	const uint8_t *code;
	uint16_t flags;
	uint8_t feature, align;
};

__asm__(".text\n.set insn_count, 0\n"
	".pushsection .data.rel.ro.insns, \"aw\"\n.balign 8\ninsn_code:\n.popsection\n");
#define INSN(feature, flags, align, text)                                                          \
	__asm__("\n771: " text "\n\tjmp snippet_exit\n"                                            \
		".pushsection .data.rel.ro.insns, \"aw\"\n.quad 771b\n.popsection\n");
#include "insns.h"
#undef INSN
extern const uint8_t *const insn_code[];

#define INSN(feature, flags, align, text) {text, NULL, flags, feature, align},
static struct insn insns[] = {
#include "insns.h"
};
#undef INSN
#define COUNT (sizeof(insns) / sizeof(insns[0]))

/* What the trampoline loads and saves.  The assembler below knows the offsets. */
static struct run {
	uint64_t gpr[16]; /* 0: rax rcx rdx rbx rsp rbp rsi rdi r8.. */
	uint64_t flags;   /* 128 */
	uint64_t host_sp; /* 136 */
	void *xin;        /* 144 */
	void *xout;       /* 152 */
	const void *code; /* 160 */
} run __attribute__((used));

void snippet_enter(void);
__asm__("	.text\n"
	"snippet_enter:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rsp, run+136(%rip)\n"
	"	mov run+144(%rip), %rcx; mov $0xe7, %eax; xor %edx, %edx; xrstor64 (%rcx)\n"
	"	pushq run+128(%rip); popfq\n"
	"	mov run(%rip), %rax; mov run+8(%rip), %rcx; mov run+16(%rip), %rdx\n"
	"	mov run+24(%rip), %rbx; mov run+32(%rip), %rsp; mov run+40(%rip), %rbp\n"
	"	mov run+48(%rip), %rsi; mov run+56(%rip), %rdi; mov run+64(%rip), %r8\n"
	"	mov run+72(%rip), %r9; mov run+80(%rip), %r10; mov run+88(%rip), %r11\n"
	"	mov run+96(%rip), %r12; mov run+104(%rip), %r13; mov run+112(%rip), %r14\n"
	"	mov run+120(%rip), %r15\n"
	"	jmp *run+160(%rip)\n"
	"snippet_exit:\n"
	"	mov %rax, run(%rip); mov %rcx, run+8(%rip); mov %rdx, run+16(%rip)\n"
	"	mov %rbx, run+24(%rip); mov %rsp, run+32(%rip); mov %rbp, run+40(%rip)\n"
	"	mov %rsi, run+48(%rip); mov %rdi, run+56(%rip); mov %r8, run+64(%rip)\n"
	"	mov %r9, run+72(%rip); mov %r10, run+80(%rip); mov %r11, run+88(%rip)\n"
	"	mov %r12, run+96(%rip); mov %r13, run+104(%rip); mov %r14, run+112(%rip)\n"
	"	mov %r15, run+120(%rip)\n"
	"	mov run+136(%rip), %rsp\n"
	"	pushfq; popq run+128(%rip); cld\n"
	"	mov run+152(%rip), %rcx; mov $0xe7, %eax; xor %edx, %edx; xsave64 (%rcx)\n"
	"	fninit\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n");

#define PAGE     4096
#define DEV_SIZE (2 * PAGE)
#define ARITH    0x8d5u

static uint8_t *dev, *alias, *src, *stack;
static bool have[FEATURES];
static struct emu_xstate xs;
static uint8_t xin[4096] __attribute__((aligned(64)));
static uint8_t xnative[4096] __attribute__((aligned(64)));
static uint8_t xemu[4096] __attribute__((aligned(64)));
static unsigned burst;

struct memory {
	uint8_t dev[DEV_SIZE + PAGE], src[PAGE], stack[PAGE];
};
static struct memory initial, native;

/* --- the emulator's side -----------------------------------------------------------------------
 */

struct access {
	uint64_t addr;
	unsigned size;
	bool write;
};
static struct access log_[4096];
static unsigned logged, traps;
static int fail_after = -1; /* let the access with this number fail */
static struct emu_fault last_fault;
static enum emu_result last_result;

static bool is_device(void *ctx, uint64_t addr)
{
	return addr - (uint64_t)dev < DEV_SIZE;
}

static int do_load(void *ctx, uint64_t addr, unsigned size, uint64_t *value)
{
	const void *p = is_device(NULL, addr) ? alias + (addr - (uint64_t)dev) : (void *)addr;

	if (is_device(NULL, addr) && logged < 4096)
		log_[logged++] = (struct access){addr, size, false};
	*value = 0;
	memcpy(value, p, size);
	return 0;
}

static int do_store(void *ctx, uint64_t addr, unsigned size, uint64_t value)
{
	void *p = is_device(NULL, addr) ? alias + (addr - (uint64_t)dev) : (void *)addr;

	if (fail_after >= 0 && fail_after-- == 0)
		return EIO;
	if (is_device(NULL, addr) && logged < 4096)
		log_[logged++] = (struct access){addr, size, true};
	memcpy(p, &value, size);
	return 0;
}

static const struct emu_access ops = {do_load, do_store, is_device};
static sigjmp_buf escape;

static void on_segv(int sig, siginfo_t *info, void *uc)
{
	ucontext_t *u = uc;
	struct emu_op op;

	traps++;
	if (!is_device(NULL, (uint64_t)info->si_addr)) {
		static const char msg[] = "fault outside the device\n";

		(void)!write(2, msg, sizeof(msg) - 1);
		_exit(99);
	}
	last_result = EMU_UNSUPPORTED;
	if (emu_decode((void *)u->uc_mcontext.gregs[REG_RIP], EMU_MAX_INSN, &op))
		last_result = emu_run(&op, u, &xs, &ops, NULL, burst, &last_fault);
	if (last_result != EMU_DONE)
		siglongjmp(escape, 1);
}

/* --- random states -----------------------------------------------------------------------------
 */

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1d;
}

static void fill(void *p, size_t n)
{
	uint8_t *b = p;

	for (size_t i = 0; i < n; i++)
		b[i] = (uint8_t)(rnd() >> 24);
}

static void fill_xstate(void)
{
	uint64_t bv = 0x2, want = 0;
	bool init = rnd() % 4 == 0;

	memset(xin + 32, 0, 128);
	fill(xin + 160, 256);
	if (xs.avx) {
		fill(xin + xs.avx, 256);
		want |= 4;
	}
	if (xs.opmask) {
		fill(xin + xs.opmask, 64);
		want |= 0x20;
	}
	if (xs.zmm_hi256) {
		fill(xin + xs.zmm_hi256, 512);
		want |= 0x40;
	}
	if (xs.hi16_zmm) {
		fill(xin + xs.hi16_zmm, 1024);
		want |= 0x80;
	}
	bv |= init ? want & rnd() : want;
	memset(xin + 512, 0, 64);
	memcpy(xin + 512, &bv, 8);
}

static void fill_mmx(void)
{
	for (unsigned i = 0; i < 8; i++) {
		fill(xin + 32 + i * 16, 8);
		memset(xin + 32 + i * 16 + 8, 0xff, 2);
	}
	xin[0] = 0x7f;
	xin[1] = 3;
	xin[2] = xin[3] = 0;
	xin[4] = 0xff;
	xin[512] |= 1;
}

static void small_indices(bool wide)
{
	uint8_t index[64] = {0};
	uint64_t bv;

	for (unsigned i = 0; i < 64; i += wide ? 8 : 4) {
		int64_t v = (int64_t)(rnd() % 200) - 100;

		memcpy(index + i, &v, wide ? 8 : 4);
	}
	memcpy(xin + 160 + 16, index, 16);
	if (xs.avx)
		memcpy(xin + xs.avx + 16, index + 16, 16);
	if (xs.zmm_hi256)
		memcpy(xin + xs.zmm_hi256 + 32, index + 32, 32);
	memcpy(&bv, xin + 512, 8);
	bv |= 0x46;
	memcpy(xin + 512, &bv, 8);
}

static uint64_t random_offset(const struct insn *in)
{
	uint64_t offset;

	switch (rnd() % 4) {
	case 0: /* about the boundary between the device's pages */
		offset = PAGE - 64 + rnd() % 64;
		break;
	case 1: /* about its end */
		offset = DEV_SIZE - 1 - rnd() % 63;
		break;
	default:
		offset = 512 + rnd() % (DEV_SIZE - 1024);
		break;
	}
	if (in->flags & (F_IDX4 | F_IDX8))
		offset = 2048 + rnd() % PAGE;
	if (in->flags & F_BITS)
		offset = PAGE + rnd() % 64 - 32;
	return offset & ~(uint64_t)(in->align - 1);
}

static void random_state(const struct insn *in, struct run *r, struct memory *m)
{
	uint64_t at = random_offset(in);

	fill(m, sizeof(*m));
	for (unsigned i = 0; i < 16; i++)
		r->gpr[i] = rnd();
	r->flags = (rnd() & ARITH) | 0x202;
	r->gpr[4] = (uint64_t)stack + PAGE / 2;
	r->gpr[3] = (uint64_t)dev + at;
	if (in->flags & F_MASKMOV)
		r->gpr[7] = (uint64_t)dev + at;
	if (in->flags & F_BITS)
		r->gpr[1] = (rnd() % 3000) - 1500;
	if (in->flags & F_SHIFT16)
		r->gpr[1] = (r->gpr[1] & ~0xffull) | rnd() % 17;
	if (in->flags & F_SRC)
		r->gpr[6] = (uint64_t)src + rnd() % 1024;
	if (in->flags & F_STR) {
		r->gpr[1] = rnd() % 40;
		r->gpr[7] = (uint64_t)dev + 1024 + rnd() % 1024;
		r->gpr[6] = in->flags & F_STR_SRC ? (uint64_t)dev + 6000 + rnd() % 512
						  : (uint64_t)src + 1024 + rnd() % 1024;
		if (rnd() & 1)
			r->flags |= 0x400;
	}
	if (in->flags & F_STR_SAME) {
		memset(m, 0, sizeof(*m));
		r->gpr[0] = 0;
		for (unsigned i = 0; i < 8; i++)
			m->dev[1024 + rnd() % 1200] = 1;
	}
	if (in->flags & F_CMP && rnd() & 1) {
		memcpy(&r->gpr[0], m->dev + at, 8);
		memcpy(&r->gpr[2], m->dev + at + (in->align == 16 ? 8 : 4), 8);
	}
	fill_xstate();
	if (in->flags & F_MMX)
		fill_mmx();
	if (in->flags & (F_IDX4 | F_IDX8))
		small_indices(in->flags & F_IDX8);
}

static void memory_to(const struct memory *m)
{
	memcpy(alias, m->dev, DEV_SIZE);
	memcpy(dev + DEV_SIZE, m->dev + DEV_SIZE, PAGE);
	memcpy(src, m->src, PAGE);
	memcpy(stack, m->stack, PAGE);
}

static void memory_from(struct memory *m)
{
	memcpy(m->dev, alias, DEV_SIZE);
	memcpy(m->dev + DEV_SIZE, dev + DEV_SIZE, PAGE);
	memcpy(m->src, src, PAGE);
	memcpy(m->stack, stack, PAGE);
}

/* --- comparing ---------------------------------------------------------------------------------
 */

/* The registers of an XSAVE area, components in their initial state as zeroes. */
struct registers {
	uint8_t zmm[32][64];
	uint64_t k[8];
	uint8_t st[8][10];
	uint8_t status[2], tag;
};

static void registers_of(const uint8_t *x, struct registers *r)
{
	uint64_t bv;

	memset(r, 0, sizeof(*r));
	memcpy(&bv, x + 512, 8);
	for (unsigned i = 0; i < 16; i++) {
		if (bv & 2)
			memcpy(r->zmm[i], x + 160 + i * 16, 16);
		if (bv & 4)
			memcpy(r->zmm[i] + 16, x + xs.avx + i * 16, 16);
		if (bv & 0x40)
			memcpy(r->zmm[i] + 32, x + xs.zmm_hi256 + i * 32, 32);
		if (bv & 0x80)
			memcpy(r->zmm[i + 16], x + xs.hi16_zmm + i * 64, 64);
	}
	if (bv & 0x20)
		memcpy(r->k, x + xs.opmask, 64);
	if (bv & 1) {
		for (unsigned i = 0; i < 8; i++)
			memcpy(r->st[i], x + 32 + i * 16, 10);
		memcpy(r->status, x + 2, 2);
		r->tag = x[4];
	}
}

static void complain(const struct insn *in, const char *what, unsigned i, const void *want,
		     const void *got, unsigned n)
{
	char a[160] = "", b[160] = "";

	for (unsigned k = 0; k < n && k < 64; k++) {
		sprintf(a + 2 * k, "%02x", ((const uint8_t *)want)[k]);
		sprintf(b + 2 * k, "%02x", ((const uint8_t *)got)[k]);
	}
	print_error("%s: %s %u: want %s, got %s\n", in->text, what, i, a, b);
}

static unsigned compare(const struct insn *in, const struct run *want, const struct run *got)
{
	struct registers a, b;
	struct memory m;
	unsigned bad = 0;

	for (unsigned i = 0; i < 16; i++)
		if (want->gpr[i] != got->gpr[i])
			complain(in, "register", i, &want->gpr[i], &got->gpr[i], 8), bad++;
	if ((want->flags ^ got->flags) & (ARITH | 0x400))
		complain(in, "flags", 0, &want->flags, &got->flags, 4), bad++;
	registers_of(xnative, &a);
	registers_of(xemu, &b);
	for (unsigned i = 0; i < 32; i++)
		if (memcmp(a.zmm[i], b.zmm[i], 64))
			complain(in, "vector", i, a.zmm[i], b.zmm[i], 64), bad++;
	for (unsigned i = 0; i < 8; i++)
		if (a.k[i] != b.k[i])
			complain(in, "mask", i, &a.k[i], &b.k[i], 8), bad++;
	if (in->flags & F_MMX && (memcmp(a.st, b.st, sizeof(a.st)) || a.tag != b.tag))
		complain(in, "mmx", 0, a.st, b.st, 64), bad++;
	memory_from(&m);
	for (unsigned i = 0; i < sizeof(m.dev) && bad < 8; i++)
		if (m.dev[i] != native.dev[i])
			complain(in, "device byte", i, &native.dev[i], &m.dev[i], 1), bad++;
	if (memcmp(m.stack, native.stack, PAGE) || memcmp(m.src, native.src, PAGE)) {
		print_error("%s: plain memory differs\n", in->text);
		bad++;
	}
	return bad;
}

/* The stores to the device: aligned, ascending, and none that could have been one with the next. */
static unsigned check_log(const struct insn *in)
{
	const struct access *last = NULL;
	unsigned bad = 0;

	for (unsigned i = 0; i < logged; i++) {
		const struct access *a = &log_[i];

		if (a->addr % a->size || a->size > 8 || (a->size & (a->size - 1)))
			bad++;
		if (in->flags & (F_STR | F_IDX4 | F_IDX8))
			continue;
		if (last && last->write == a->write) {
			if (a->addr < last->addr + last->size)
				bad++; /* twice, or backwards */
			if (a->addr == last->addr + last->size && a->size == last->size &&
			    a->size < 8 && last->addr % (2 * a->size) == 0)
				bad++; /* two halves of one */
		}
		if (last && last->write && !a->write)
			bad++; /* a load after a store */
		last = a;
	}
	if (bad)
		for (unsigned i = 0; i < logged && i < 20; i++)
			print_error("%s: %s %#lx size %u\n", in->text,
				    log_[i].write ? "store" : "load",
				    (unsigned long)(log_[i].addr - (uint64_t)dev), log_[i].size);
	return bad;
}

static unsigned one(const struct insn *in, int prot)
{
	struct run start, want;
	unsigned bad;

	random_state(in, &start, &initial);
	memory_to(&initial);
	mprotect(dev, DEV_SIZE, PROT_READ | PROT_WRITE);
	run = start;
	run.code = in->code;
	run.xin = xin;
	run.xout = xnative;
	snippet_enter();
	want = run;
	memory_from(&native);

	memory_to(&initial);
	mprotect(dev, DEV_SIZE, prot);
	logged = 0;
	run = start;
	run.code = in->code;
	run.xin = xin;
	run.xout = xemu;
	if (sigsetjmp(escape, 1)) {
		print_error("%s: not covered (result %d)\n", in->text, last_result);
		return 1;
	}
	snippet_enter();
	bad = compare(in, &want, &run);
	return bad + check_log(in);
}

static void probe(void)
{
	unsigned a, b, c, d, a1;

	have[base] = true;
	__cpuid(1, a, b, c, d);
	have[sse3] = c & bit_SSE3;
	have[sse41] = c & bit_SSE4_1;
	have[movbe] = c & bit_MOVBE;
	have[cx16] = c & bit_CMPXCHG16B;
	have[avx] = (c & bit_AVX) && xs.avx;
	__cpuid(0x80000001, a, b, c, d);
	have[sse4a] = c & bit_SSE4a;
	if (__get_cpuid_count(7, 0, &a1, &b, &c, &d)) {
		bool zmm = xs.zmm_hi256 && (b & bit_AVX512F);

		have[avx2] = have[avx] && (b & bit_AVX2);
		have[avx512f] = zmm;
		have[avx512dq] = zmm && (b & bit_AVX512DQ);
		have[avx512bw] = zmm && (b & bit_AVX512BW);
		have[avx512vl] = zmm && (b & bit_AVX512VL);
		have[avx512vbmi2] = zmm && (c & bit_AVX512VBMI2);
		have[avx512fp16] = zmm && (d & (1u << 23));
		have[movdiri] = c & (1u << 27);
		have[movdir64b] = c & (1u << 28);
	}
	for (unsigned i = 0; i < FEATURES; i++)
		if (!have[i])
			print_message("skipped, this processor has it not: %s\n", feature_names[i]);
}

static int setup(void **state)
{
	static uint8_t altstack[65536];
	stack_t ss = {.ss_sp = altstack, .ss_size = sizeof(altstack)};
	int fd = memfd_create("device", 0);

	assert_int_equal(ftruncate(fd, DEV_SIZE), 0);
	alias = mmap(NULL, DEV_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	dev = mmap(NULL, DEV_SIZE + PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS
#ifdef MAP_32BIT
			   | MAP_32BIT /* for the address-size prefix */
#endif
		   ,
		   -1, 0);
	assert_ptr_equal(mmap(dev, DEV_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0), dev);
	src = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	close(fd);
	assert_int_equal(sigaltstack(&ss, NULL), 0);
	emu_xstate_init(&xs);
	__asm__ volatile("xsave64 %0" : "+m"(xin) : "a"(0xe7), "d"(0) : "memory");
	for (unsigned i = 0; i < COUNT; i++)
		insns[i].code = insn_code[i];
	probe();
	if (getenv("UVFIO_TEST_SEED"))
		seed = strtoull(getenv("UVFIO_TEST_SEED"), NULL, 0) | 1;
	return 0;
}

static void all(int prot, unsigned times)
{
	struct sigaction sa = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_ONSTACK}, old;
	unsigned bad = 0, ran = 0, failed = 0;

	/* Not in the setup: cmocka has a handler of its own during each test. */
	sigemptyset(&sa.sa_mask);
	assert_int_equal(sigaction(SIGSEGV, &sa, &old), 0);
	for (unsigned i = 0; i < COUNT; i++) {
		unsigned n = 0;

		if (!have[insns[i].feature])
			continue;
		traps = 0;
		for (unsigned k = 0; k < times && !n; k++) {
			burst = k % 2 ? 5 : 0;
			n = one(&insns[i], prot);
		}
		if (prot == PROT_NONE && !traps) {
			print_error("%s: never trapped\n", insns[i].text);
			n++;
		}
		ran++;
		failed += n != 0;
		bad += n;
	}
	sigaction(SIGSEGV, &old, NULL);
	print_message("%u instructions, %u wrong\n", ran, failed);
	assert_int_equal(bad, 0);
}

static void stores_trapped(void **state)
{
	all(PROT_READ, 60);
}

static void all_trapped(void **state)
{
	all(PROT_NONE, 60);
}

static const struct insn *find(const char *text)
{
	for (unsigned i = 0; i < COUNT; i++)
		if (!strcmp(insns[i].text, text))
			return &insns[i];
	fail_msg("no instruction %s", text);
	return NULL;
}

/* Run @text with the store number @n refused: *r is the frame afterwards. */
static void run_failing(const char *text, int n, struct run *start, ucontext_t *uc)
{
	const struct insn *in = find(text);
	struct emu_op op;

	random_state(in, start, &initial);
	memory_to(&initial);
	memset(uc, 0, sizeof(*uc));
	uc->uc_mcontext.gregs[REG_RIP] = (greg_t)in->code;
	uc->uc_mcontext.gregs[REG_RBX] = (greg_t)dev + 64;
	uc->uc_mcontext.gregs[REG_RDI] = (greg_t)dev + 64;
	uc->uc_mcontext.gregs[REG_RCX] = 10;
	uc->uc_mcontext.gregs[REG_RAX] = 0x1111;
	uc->uc_mcontext.gregs[REG_EFL] = 0x10202;
	uc->uc_mcontext.fpregs = (void *)xin;
	assert_true(emu_decode(in->code, EMU_MAX_INSN, &op));
	logged = 0;
	fail_after = n;
	last_result = emu_run(&op, uc, &xs, &ops, NULL, 0, &last_fault);
	fail_after = -1;
}

static void refused_store_changes_nothing(void **state)
{
	struct run start;
	ucontext_t uc;

	run_failing("xaddq %rcx, (%rbx)", 0, &start, &uc);
	assert_int_equal(last_result, EMU_FAULT);
	assert_int_equal(last_fault.error, EIO);
	assert_true(last_fault.write);
	assert_int_equal(last_fault.addr, (uint64_t)dev + 64);
	assert_int_equal(uc.uc_mcontext.gregs[REG_RCX], 10);
	assert_int_equal(uc.uc_mcontext.gregs[REG_EFL], 0x10202);
	assert_int_equal(uc.uc_mcontext.gregs[REG_RIP], (greg_t)find("xaddq %rcx, (%rbx)")->code);
	/* the second half of 16 bytes */
	run_failing("movups %xmm2, (%rbx)", 1, &start, &uc);
	assert_int_equal(last_result, EMU_FAULT);
	assert_int_equal(last_fault.addr, (uint64_t)dev + 72);
	assert_int_equal(logged, 1);
}

static void refused_string_stops_at_its_element(void **state)
{
	struct run start;
	ucontext_t uc;

	run_failing("rep; stosw", 4, &start, &uc);
	assert_int_equal(last_result, EMU_FAULT);
	assert_int_equal(last_fault.addr, (uint64_t)dev + 64 + 8);
	assert_int_equal(uc.uc_mcontext.gregs[REG_RCX], 6);
	assert_int_equal(uc.uc_mcontext.gregs[REG_RDI], (greg_t)dev + 64 + 8);
	assert_int_equal(uc.uc_mcontext.gregs[REG_RIP], (greg_t)find("rep; stosw")->code);
	assert_int_equal(logged, 4);
}

static void resume_flag_is_cleared(void **state)
{
	struct run start;
	ucontext_t uc;

	run_failing("movnti %edx, (%rbx)", 5, &start, &uc);
	assert_int_equal(last_result, EMU_DONE);
	assert_int_equal(uc.uc_mcontext.gregs[REG_EFL], 0x202);
	assert_int_equal(logged, 1);
}

static void refuses_what_it_does_not_know(void **state)
{
	static const struct {
		const char *what;
		uint8_t bytes[EMU_MAX_INSN];
		unsigned len;
	} t[] = {
		{"nothing", {0}, 0},
		{"cut off mov", {0xc7, 0x03, 0x01}, 3},
		{"ud2", {0x0f, 0x0b}, 2},
		{"fstp m64", {0xdd, 0x1b}, 2},
		{"addps xmm0, [rbx]", {0x0f, 0x58, 0x03}, 3},
		{"nop", {0x90}, 1},
		{"ret", {0xc3}, 1},
		{"mov reg, reg", {0x89, 0xc8}, 2},
		{"movaps reg, reg", {0x0f, 0x28, 0xc1}, 3},
		{"call [rbx]", {0xff, 0x13}, 2},
		{"fxsave [rbx]", {0x0f, 0xae, 0x03}, 3},
		{"imul eax, [rbx]", {0x0f, 0xaf, 0x03}, 3},
		{"insertps with memory", {0x66, 0x0f, 0x3a, 0x21, 0x03, 0x10}, 6},
		{"push imm", {0x6a, 0x01}, 2},
	};
	struct emu_op op;

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		if (emu_decode(t[i].bytes, t[i].len, &op))
			fail_msg("%s was taken", t[i].what);
		assert_int_equal(op.kind, EMU_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stores_trapped),
		cmocka_unit_test(all_trapped),
		cmocka_unit_test(refused_store_changes_nothing),
		cmocka_unit_test(refused_string_stops_at_its_element),
		cmocka_unit_test(resume_flag_is_cleared),
		cmocka_unit_test(refuses_what_it_does_not_know),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
