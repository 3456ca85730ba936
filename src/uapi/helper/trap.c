/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A trapped access, in the signal handler: the instruction found (and remembered), done with the
 * runner as its memory, or named in a message when it cannot be done.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <Zydis/Zydis.h>
#include "uapi/helper/helper.h"

/* String instructions let signals in after so many elements. */
#define BURST 64

/* --- decoded instructions ----------------------------------------------------------------------
 */

/*
 * By address; valid while the bytes there are the same.  Each slot is a sequence lock of its own:
 * odd while written, a reader that sees it change decodes for itself, a writer that finds it taken
 * lets be.
 */
#define CACHE_SLOTS 256

struct cached {
	_Atomic uint32_t seq;
	uint64_t rip;
	uint8_t bytes[EMU_MAX_INSN];
	struct emu_op op;
};
static struct cached cache[CACHE_SLOTS];

static struct cached *cache_slot(uint64_t rip)
{
	return &cache[rip * 0x9e3779b97f4a7c15 >> 56];
}

static bool cache_get(uint64_t rip, struct emu_op *op)
{
	struct cached *c = cache_slot(rip);
	uint32_t seq = atomic_load_explicit(&c->seq, memory_order_acquire);
	uint8_t bytes[EMU_MAX_INSN];

	if (seq & 1 || c->rip != rip)
		return false;
	memcpy(op, &c->op, sizeof(*op));
	memcpy(bytes, c->bytes, sizeof(bytes));
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&c->seq, memory_order_relaxed) != seq || op->kind == EMU_INVALID)
		return false;
	/* The processor has just read them: no fault. */
	return !memcmp(bytes, (const void *)rip, op->len);
}

static void cache_put(uint64_t rip, const struct emu_op *op)
{
	struct cached *c = cache_slot(rip);
	uint32_t seq = atomic_load_explicit(&c->seq, memory_order_relaxed);

	if (seq & 1 || !atomic_compare_exchange_strong(&c->seq, &seq, seq + 1))
		return;
	c->rip = rip;
	c->op = *op;
	memcpy(c->bytes, (const void *)rip, op->len);
	atomic_store_explicit(&c->seq, seq + 2, memory_order_release);
}

/* The bytes at @rip, up to 15; fewer at the end of what is mapped. */
static size_t fetch(uint64_t rip, uint8_t bytes[EMU_MAX_INSN])
{
	size_t here = PAGE - (rip & (PAGE - 1));
	struct iovec to = {bytes, EMU_MAX_INSN};
	struct iovec from[2];
	unsigned char there;
	long n;

	if (here >= EMU_MAX_INSN) {
		memcpy(bytes, (const void *)rip, EMU_MAX_INSN);
		return EMU_MAX_INSN;
	}
	from[0] = (struct iovec){(void *)rip, here};
	from[1] = (struct iovec){(void *)(rip + here), EMU_MAX_INSN - here};
	n = sys6(SYS_process_vm_readv, sys0(SYS_getpid), (long)&to, 1, (long)from, 2, 0);
	if (n > 0)
		return (size_t)n;
	memcpy(bytes, (const void *)rip, here);
	/* Where that call is forbidden: is there a page behind this one? */
	if ((n != -ENOSYS && n != -EPERM) ||
	    sys3(SYS_mincore, (long)(rip + here), PAGE, (long)&there))
		return here;
	memcpy(bytes + here, (const void *)(rip + here), EMU_MAX_INSN - here);
	return EMU_MAX_INSN;
}

/* --- memory ------------------------------------------------------------------------------------
 */

struct access_ctx {
	struct range range; /* the last one used */
};

static const struct range *range_of(struct access_ctx *ctx, uint64_t addr)
{
	if (addr >= ctx->range.start && addr < ctx->range.end)
		return &ctx->range;
	return table_find(addr, &ctx->range) ? &ctx->range : NULL;
}

/*
 * Plain memory, where an access may fault: a fault inside the handler would be the end, so the
 * kernel copies.  It refuses only where it does not know the call (a program with a filter of its
 * own).
 */
static int plain(uint64_t addr, void *value, unsigned size, bool write)
{
	struct iovec here = {value, size}, there = {(void *)addr, size};
	long n = sys6(write ? SYS_process_vm_writev : SYS_process_vm_readv, sys0(SYS_getpid),
		      (long)&here, 1, (long)&there, 1, 0);

	if (n == (long)size)
		return 0;
	if (n != -ENOSYS && n != -EPERM)
		return EFAULT;
	if (write)
		memcpy((void *)addr, value, size);
	else
		memcpy(value, (void *)addr, size);
	return 0;
}

static int load(void *p, uint64_t addr, unsigned size, uint64_t *value)
{
	const struct range *r = range_of(p, addr);
	uint64_t offset;
	long ret;

	*value = 0;
	if (!r)
		return plain(addr, value, size, false);
	if (r->prot == PROT_NONE)
		return EFAULT;
	if (r->flags & UVFIO_MMAP_WRITABLE)
		return plain(addr, value, size, false) ? EIO : 0;
	/* Not from the page, although it may be readable: while memory is off, that is SIGBUS,
	 * here. */
	offset = r->offset + (addr - r->start);
	ret = sys6(SYS_ioctl, -1, UVFIO_TRAP_LOAD | size, (long)offset, (long)value, (long)r->key,
		   0);
	if (sys_failed(ret))
		return (int)-ret;
	if (size < 8)
		*value = (uint64_t)ret;
	return 0;
}

static int store(void *p, uint64_t addr, unsigned size, uint64_t value)
{
	const struct range *r = range_of(p, addr);
	uint64_t offset;
	long ret;

	if (!r)
		return plain(addr, &value, size, true);
	if (r->flags & UVFIO_MMAP_WRITABLE)
		return plain(addr, &value, size, true) ? EIO : 0;
	if (!(r->prot & PROT_WRITE))
		return EFAULT;
	offset = r->offset + (addr - r->start);
	ret = sys6(SYS_ioctl, -1, UVFIO_TRAP_STORE | size, (long)offset, (long)value, (long)r->key,
		   0);
	return sys_failed(ret) ? (int)-ret : 0;
}

static bool device(void *p, uint64_t addr)
{
	const struct range *r = range_of(p, addr);

	return r && !(r->flags & UVFIO_MMAP_WRITABLE);
}

static const struct emu_access access_ops = {load, store, device};

/* --- the end -----------------------------------------------------------------------------------
 */

/*
 * The last message of the program: static, so that it does not need stack.  Two threads at once may
 * garble it; both die.
 */
static void fatal(const struct range *range, uint64_t addr, ucontext_t *uc)
{
	static struct {
		ZydisDecoder decoder;
		ZydisDecodedInstruction insn;
		ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
		ZydisFormatter formatter;
		char disassembly[96], hex[3 * EMU_MAX_INSN + 1], text[512];
		uint8_t bytes[EMU_MAX_INSN];
	} s;
	static const char digits[] = "0123456789abcdef";
	uint64_t rip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
	size_t n = fetch(rip, s.bytes), len = n;
	int size;

	memcpy(s.disassembly, "unknown", 8);
	if (ZYAN_SUCCESS(ZydisDecoderInit(&s.decoder, ZYDIS_MACHINE_MODE_LONG_64,
					  ZYDIS_STACK_WIDTH_64)) &&
	    ZYAN_SUCCESS(ZydisDecoderDecodeFull(&s.decoder, s.bytes, n, &s.insn, s.operands)) &&
	    ZYAN_SUCCESS(ZydisFormatterInit(&s.formatter, ZYDIS_FORMATTER_STYLE_ATT)) &&
	    ZYAN_SUCCESS(ZydisFormatterFormatInstruction(
		    &s.formatter, &s.insn, s.operands, s.insn.operand_count_visible, s.disassembly,
		    sizeof(s.disassembly), rip, NULL)))
		len = s.insn.length;
	for (size_t i = 0; i < len; i++) {
		s.hex[3 * i] = digits[s.bytes[i] >> 4];
		s.hex[3 * i + 1] = digits[s.bytes[i] & 15];
		s.hex[3 * i + 2] = i + 1 < len ? ' ' : 0;
	}
	size = snprintf(
		s.text, sizeof(s.text),
		"the instruction at %#lx (%s: %s) accesses a device register (file offset "
		"%#lx) in a way that cannot be trapped exactly; the program ends here.  "
		"Compile that access to a plain load or store, or run with --mmio polled or "
		"--mmio none",
		(unsigned long)rip, s.hex, s.disassembly,
		(unsigned long)(range->offset + (addr - range->start)));
	if (size > (int)sizeof(s.text) - 1)
		size = sizeof(s.text) - 1;
	helper_say(s.text, (size_t)size);
	signals_die(uc);
}

/* Out of line: Zydis's structures must not be on the stack when the instruction is known. */
static __attribute__((noinline)) bool decode(uint64_t rip, struct emu_op *op)
{
	uint8_t bytes[EMU_MAX_INSN];
	size_t n = fetch(rip, bytes);

	if (emu_decode(bytes, n, op)) {
		cache_put(rip, op);
		return true;
	}
	return patched_original(rip, bytes, n) && emu_decode(bytes, n, op);
}

bool trap_usable(void)
{
	static const char text[] =
		"this program brings a Zydis library of another version, to which the "
		"helper is bound: it gets no writable mapping of device registers";
	ZyanU64 there = ZydisGetVersion();

	/* Symbols are bound to the first library that has them. */
	if (ZYDIS_VERSION_MAJOR(there) == ZYDIS_VERSION_MAJOR(ZYDIS_VERSION) &&
	    ZYDIS_VERSION_MINOR(there) == ZYDIS_VERSION_MINOR(ZYDIS_VERSION))
		return true;
	helper_say(text, sizeof(text) - 1);
	return false;
}

void trap_handle(const struct range *range, siginfo_t *info, ucontext_t *uc)
{
	struct access_ctx ctx = {.range = *range};
	uint64_t rip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
	struct emu_fault fault;
	struct emu_op op;
	enum emu_result result = EMU_UNSUPPORTED;

	if (cache_get(rip, &op) || decode(rip, &op))
		result = emu_run(&op, uc, &helper.xs, &access_ops, &ctx, BURST, &fault);
	switch (result) {
	case EMU_DONE:
		return;
	case EMU_UNSUPPORTED:
		fatal(range, (uint64_t)info->si_addr, uc);
		return;
	case EMU_FAULT:
		break;
	}
	if (fault.error != EFAULT) {
		signals_raise_bus(fault.addr, uc);
		return;
	}
	info->si_addr = (void *)fault.addr;
	info->si_code = SEGV_ACCERR;
	signals_forward(info, uc, true);
}
