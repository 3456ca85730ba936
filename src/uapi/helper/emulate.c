/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The emulator's machine: registers, memory in pieces, and the general-purpose instructions.
 */
#include <string.h>
#include <sys/syscall.h>
#include "uapi/helper/emu_priv.h"
#include "uapi/helper/sys.h"

#define PAGE        4096u
#define ARCH_GET_GS 0x1004

/* The hardware's register numbers in the order of the frame's. */
static const uint8_t greg_index[16] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static uint64_t width_mask(unsigned width)
{
	return width >= 8 ? ~0ull : (1ull << width * 8) - 1;
}

uint64_t emu_reg_get(const struct emu_cpu *cpu, unsigned reg, unsigned width)
{
	return (uint64_t)cpu->gregs[greg_index[reg & 15]] & width_mask(width);
}

void emu_reg_set(struct emu_cpu *cpu, unsigned reg, unsigned width, uint64_t value)
{
	greg_t *r = &cpu->gregs[greg_index[reg & 15]];
	uint64_t mask = width_mask(width);

	if (width >= 4)
		*r = (greg_t)(value & mask);
	else
		*r = (greg_t)(((uint64_t)*r & ~mask) | (value & mask));
}

static uint64_t operand_get(const struct emu_cpu *cpu, const struct emu_op *op, unsigned width)
{
	switch (op->src) {
	case EMU_SRC_IMM:
		return (uint64_t)op->imm & width_mask(width);
	case EMU_SRC_HIGH:
		return emu_reg_get(cpu, op->reg, 2) >> 8;
	default:
		return emu_reg_get(cpu, op->reg, width);
	}
}

static void operand_set(struct emu_cpu *cpu, const struct emu_op *op, unsigned width,
			uint64_t value)
{
	if (op->src == EMU_SRC_HIGH)
		emu_reg_set(cpu, op->reg, 2, emu_reg_get(cpu, op->reg, 1) | (value & 0xff) << 8);
	else
		emu_reg_set(cpu, op->reg, width, value);
}

uint64_t emu_seg_base(unsigned seg)
{
	uint64_t base = 0;

	if (seg == EMU_SEG_FS)
		__asm__("movq %%fs:0, %0"
			: "=r"(base)); /* x86-64 ABI: the TCB begins with its address */
	else if (seg == EMU_SEG_GS)
		sys2(SYS_arch_prctl, ARCH_GET_GS, (long)&base);
	return base;
}

uint64_t emu_mem_addr(const struct emu_cpu *cpu, const struct emu_op *op)
{
	const struct emu_mem *m = &op->mem;
	uint64_t addr = (uint64_t)m->disp;

	if (m->base == EMU_RIP)
		addr += (uint64_t)cpu->gregs[REG_RIP] + op->len;
	else if (m->base != EMU_NO_REG)
		addr += emu_reg_get(cpu, m->base, 8);
	if (m->index != EMU_NO_REG && op->kind != EMU_SCATTER)
		addr += emu_reg_get(cpu, m->index, 8) * m->scale;
	if (m->addr32)
		addr = (uint32_t)addr;
	return addr + emu_seg_base(m->seg);
}

/* --- memory ------------------------------------------------------------------------------------
 */

static uint64_t low_bits(unsigned n)
{
	return n >= 64 ? ~0ull : (1ull << n) - 1;
}

/* The largest naturally aligned piece at @addr, of which the low @len bits in @enabled are set. */
static unsigned piece_size(uint64_t addr, unsigned len, uint64_t enabled)
{
	unsigned size = 8;

	while (size > 1 && (addr & (size - 1) || size > len || (~enabled & low_bits(size))))
		size >>= 1;
	return size;
}

static int fault(struct emu_cpu *cpu, uint64_t addr, bool write, int error)
{
	cpu->fault->addr = addr;
	cpu->fault->write = write;
	cpu->fault->error = error;
	return error;
}

int emu_load_masked(struct emu_cpu *cpu, uint64_t addr, void *dst, unsigned len, uint64_t enabled)
{
	uint8_t *p = dst;

	for (unsigned i = 0, size; i < len; i += size) {
		uint64_t value;
		int err;

		size = 1;
		if (!(enabled >> i & 1))
			continue;
		size = piece_size(addr + i, len - i, enabled >> i);
		err = cpu->access->load(cpu->ctx, addr + i, size, &value);
		if (err)
			return fault(cpu, addr + i, false, err);
		memcpy(p + i, &value, size);
	}
	return 0;
}

enum { ALL, PLAIN_ONLY, DEVICE_ONLY };

static int store_pass(struct emu_cpu *cpu, uint64_t addr, const uint8_t *src, unsigned len,
		      uint64_t enabled, int which)
{
	for (unsigned i = 0, size; i < len; i += size) {
		uint64_t value = 0;
		int err;

		size = 1;
		if (!(enabled >> i & 1))
			continue;
		size = piece_size(addr + i, len - i, enabled >> i);
		if (which != ALL &&
		    cpu->access->device(cpu->ctx, addr + i) != (which == DEVICE_ONLY))
			continue;
		memcpy(&value, src + i, size);
		err = cpu->access->store(cpu->ctx, addr + i, size, value);
		if (err)
			return fault(cpu, addr + i, true, err);
	}
	return 0;
}

int emu_store_masked(struct emu_cpu *cpu, uint64_t addr, const void *src, unsigned len,
		     uint64_t enabled)
{
	uint64_t last = addr + len - 1;
	int err;

	if (addr / PAGE == last / PAGE ||
	    cpu->access->device(cpu->ctx, addr) == cpu->access->device(cpu->ctx, last))
		return store_pass(cpu, addr, src, len, enabled, ALL);
	err = store_pass(cpu, addr, src, len, enabled, PLAIN_ONLY);
	return err ? err : store_pass(cpu, addr, src, len, enabled, DEVICE_ONLY);
}

int emu_load(struct emu_cpu *cpu, uint64_t addr, void *dst, unsigned len)
{
	return emu_load_masked(cpu, addr, dst, len, ~0ull);
}

int emu_store(struct emu_cpu *cpu, uint64_t addr, const void *src, unsigned len)
{
	return emu_store_masked(cpu, addr, src, len, ~0ull);
}

/* --- instructions ------------------------------------------------------------------------------
 */

static uint64_t swap_bytes(uint64_t value, unsigned width)
{
	return __builtin_bswap64(value) >> (8 - width) * 8;
}

static uint64_t sign_extend(uint64_t value, unsigned width)
{
	unsigned shift = 64 - width * 8;

	return (uint64_t)((int64_t)(value << shift) >> shift);
}

static uint64_t *rflags(struct emu_cpu *cpu)
{
	return (uint64_t *)&cpu->gregs[REG_EFL];
}

/* Instructions that only read memory. */
static int run_load(struct emu_cpu *cpu, const struct emu_op *op, uint64_t addr)
{
	uint64_t value = 0, flags = *rflags(cpu), result, sp;
	int err = emu_load(cpu, addr, &value, op->width);

	if (err)
		return err;
	switch (op->kind) {
	case EMU_LOAD:
		if (op->swap)
			value = swap_bytes(value, op->width);
		if (op->sign)
			value = sign_extend(value, op->width);
		operand_set(cpu, op, op->reg_width, value);
		break;
	case EMU_CMOV:
		if (!emu_condition(op->sub, flags))
			value = emu_reg_get(cpu, op->reg, op->width);
		emu_reg_set(cpu, op->reg, op->width, value);
		break;
	case EMU_ALU: /* into the register, or compared only */
		result = operand_get(cpu, op, op->width);
		if (op->reg_is_dst)
			result = emu_alu(op->sub, op->width, result, value, &flags);
		else
			emu_alu(op->sub, op->width, value, result, &flags);
		if (op->reg_is_dst && op->sub != EMU_CMP && op->sub != EMU_TEST)
			operand_set(cpu, op, op->width, result);
		break;
	case EMU_BT:
		emu_bt(EMU_BIT_TEST, op->width, value, (unsigned)operand_get(cpu, op, op->width),
		       &flags);
		break;
	default: /* EMU_PUSH */
		sp = emu_reg_get(cpu, REG_SP, 8) - op->width;
		err = emu_store(cpu, sp, &value, op->width);
		if (err)
			return err;
		emu_reg_set(cpu, REG_SP, 8, sp);
		break;
	}
	*rflags(cpu) = flags;
	return 0;
}

/* Instructions that read memory, compute, and write it. */
static int run_modify(struct emu_cpu *cpu, const struct emu_op *op, uint64_t addr)
{
	uint64_t old = 0, flags = *rflags(cpu), new, src;
	int err = emu_load(cpu, addr, &old, op->width);

	if (err)
		return err;
	switch (op->kind) {
	case EMU_ALU:
		new = emu_alu(op->sub, op->width, old, operand_get(cpu, op, op->width), &flags);
		break;
	case EMU_UNARY:
		new = emu_unary(op->sub, op->width, old, &flags);
		break;
	case EMU_SHIFT:
		new = emu_shift(op->sub, op->width, old, (uint8_t)operand_get(cpu, op, 1), &flags);
		break;
	case EMU_SHIFT2:
		src = emu_reg_get(cpu, op->reg2, op->width);
		new = emu_shift2(op->sub, op->width, old, src, (uint8_t)operand_get(cpu, op, 1),
				 &flags);
		break;
	case EMU_BT:
		new = emu_bt(op->sub, op->width, old, (unsigned)operand_get(cpu, op, op->width),
			     &flags);
		break;
	case EMU_XADD:
		new = emu_alu(EMU_ADD, op->width, old, operand_get(cpu, op, op->width), &flags);
		break;
	case EMU_CMPXCHG:
		emu_alu(EMU_CMP, op->width, emu_reg_get(cpu, REG_A, op->width), old, &flags);
		/* The destination is written in either case. */
		new = flags &FLAG_ZF ? operand_get(cpu, op, op->width) : old;
		break;
	default: /* EMU_XCHG */
		new = operand_get(cpu, op, op->width);
		break;
	}
	err = emu_store(cpu, addr, &new, op->width);
	if (err)
		return err;
	if (op->kind == EMU_XADD || op->kind == EMU_XCHG)
		operand_set(cpu, op, op->width, old);
	else if (op->kind == EMU_CMPXCHG && !(flags & FLAG_ZF))
		emu_reg_set(cpu, REG_A, op->width, old);
	*rflags(cpu) = flags;
	return 0;
}

/* cmpxchg8b, cmpxchg16b: of the flags, only ZF changes. */
static int run_cmpxchg2(struct emu_cpu *cpu, const struct emu_op *op, uint64_t addr)
{
	unsigned half = op->width / 2;
	uint8_t old[16], new[16];
	uint64_t a = emu_reg_get(cpu, REG_A, half), d = emu_reg_get(cpu, REG_D, half);
	uint64_t b = emu_reg_get(cpu, REG_B, half), c = emu_reg_get(cpu, REG_C, half);
	bool equal;
	int err = emu_load(cpu, addr, old, op->width);

	if (err)
		return err;
	equal = !memcmp(old, &a, half) && !memcmp(old + half, &d, half);
	memcpy(new, equal ? (const void *)&b : old, half);
	memcpy(new + half, equal ? (const void *)&c : old + half, half);
	err = emu_store(cpu, addr, new, op->width);
	if (err)
		return err;
	if (equal) {
		*rflags(cpu) |= FLAG_ZF;
		return 0;
	}
	*rflags(cpu) &= ~(uint64_t)FLAG_ZF;
	a = d = 0;
	memcpy(&a, old, half);
	memcpy(&d, old + half, half);
	emu_reg_set(cpu, REG_A, half, a);
	emu_reg_set(cpu, REG_D, half, d);
	return 0;
}

static int run_pop(struct emu_cpu *cpu, const struct emu_op *op)
{
	uint64_t sp = emu_reg_get(cpu, REG_SP, 8), value = 0;
	int err = emu_load(cpu, sp, &value, op->width);

	if (err)
		return err;
	/* An address relative to the stack pointer is that after the pop. */
	emu_reg_set(cpu, REG_SP, 8, sp + op->width);
	err = emu_store(cpu, emu_mem_addr(cpu, op), &value, op->width);
	if (err)
		emu_reg_set(cpu, REG_SP, 8, sp);
	return err;
}

static int run_movdir64b(struct emu_cpu *cpu, const struct emu_op *op, uint64_t addr)
{
	uint64_t dst = emu_reg_get(cpu, op->reg, op->mem.addr32 ? 4 : 8);
	uint8_t data[64];
	int err = emu_load(cpu, addr, data, sizeof(data));

	return err ? err : emu_store(cpu, dst, data, sizeof(data));
}

static int run_general(struct emu_cpu *cpu, const struct emu_op *op)
{
	uint64_t addr = emu_mem_addr(cpu, op), value;
	int64_t bit;

	switch (op->kind) {
	case EMU_STORE:
		value = operand_get(cpu, op, op->width);
		if (op->swap)
			value = swap_bytes(value, op->width);
		return emu_store(cpu, addr, &value, op->width);
	case EMU_SETCC:
		value = emu_condition(op->sub, *rflags(cpu));
		return emu_store(cpu, addr, &value, 1);
	case EMU_LOAD:
	case EMU_CMOV:
	case EMU_PUSH:
		return run_load(cpu, op, addr);
	case EMU_ALU:
		if (op->reg_is_dst || op->sub == EMU_CMP || op->sub == EMU_TEST)
			return run_load(cpu, op, addr);
		return run_modify(cpu, op, addr);
	case EMU_BT:
		if (op->src == EMU_SRC_REG) {
			/* A bit offset in a register reaches beyond the operand, either way. */
			bit = (int64_t)sign_extend(emu_reg_get(cpu, op->reg, op->width), op->width);
			addr += (uint64_t)((bit >> __builtin_ctz(op->width * 8)) * op->width);
		}
		if (op->sub == EMU_BIT_TEST)
			return run_load(cpu, op, addr);
		return run_modify(cpu, op, addr);
	case EMU_CMPXCHG2:
		return run_cmpxchg2(cpu, op, addr);
	case EMU_POP:
		return run_pop(cpu, op);
	case EMU_MOVDIR64B:
		return run_movdir64b(cpu, op, addr);
	case EMU_NOP:
		return 0;
	default:
		return run_modify(cpu, op, addr);
	}
}

enum emu_result emu_run(const struct emu_op *op, ucontext_t *uc, const struct emu_xstate *xs,
			const struct emu_access *access, void *ctx, unsigned burst,
			struct emu_fault *fault_out)
{
	struct emu_cpu cpu = {
		.gregs = uc->uc_mcontext.gregs,
		.fp = (uint8_t *)uc->uc_mcontext.fpregs,
		.xs = xs,
		.access = access,
		.ctx = ctx,
		.fault = fault_out,
		.burst = burst,
	};
	enum emu_result result;

	if (op->kind == EMU_INVALID || op->kind >= EMU_KINDS)
		return EMU_UNSUPPORTED;
	if (op->kind == EMU_STRING)
		return emu_run_string(&cpu, op);
	if (op->kind >= EMU_VSTORE && op->kind <= EMU_VTRUNC)
		result = emu_run_vector(&cpu, op);
	else
		result = run_general(&cpu, op) ? EMU_FAULT : EMU_DONE;
	if (result == EMU_DONE) {
		cpu.gregs[REG_RIP] += op->len;
		/* Set in the frame of a fault, so that the instruction can be tried again. */
		cpu.gregs[REG_EFL] &= ~(greg_t)FLAG_RF;
	}
	return result;
}
