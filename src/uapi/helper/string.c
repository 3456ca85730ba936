/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * String instructions.  As the processor does them: element by element, the registers always
 * consistent, so that a fault in the middle, or a burst at its end, leaves a state from which the
 * same instruction goes on.
 */
#include "uapi/helper/emu_priv.h"

struct string_state {
	uint64_t si, di, count;
	uint64_t flags;
};

static int one_element(struct emu_cpu *cpu, const struct emu_op *op, const struct string_state *s)
{
	uint64_t value = 0, other = 0;
	uint64_t *flags = (uint64_t *)&cpu->gregs[REG_EFL];
	uint64_t src = s->si + emu_seg_base(op->mem.seg);
	int err;

	switch (op->sub) {
	case EMU_STOS:
		value = emu_reg_get(cpu, REG_A, op->width);
		return emu_store(cpu, s->di, &value, op->width);
	case EMU_MOVS:
		err = emu_load(cpu, src, &value, op->width);
		return err ? err : emu_store(cpu, s->di, &value, op->width);
	case EMU_LODS:
		err = emu_load(cpu, src, &value, op->width);
		if (!err)
			emu_reg_set(cpu, REG_A, op->width, value);
		return err;
	case EMU_SCAS:
		err = emu_load(cpu, s->di, &value, op->width);
		if (!err)
			emu_alu(EMU_CMP, op->width, emu_reg_get(cpu, REG_A, op->width), value,
				flags);
		return err;
	default: /* EMU_CMPS */
		err = emu_load(cpu, src, &value, op->width);
		if (!err)
			err = emu_load(cpu, s->di, &other, op->width);
		if (!err)
			emu_alu(EMU_CMP, op->width, value, other, flags);
		return err;
	}
}

enum emu_result emu_run_string(struct emu_cpu *cpu, const struct emu_op *op)
{
	unsigned aw = op->mem.addr32 ? 4 : 8;
	bool compares = op->sub == EMU_SCAS || op->sub == EMU_CMPS;
	bool uses_si = op->sub == EMU_MOVS || op->sub == EMU_LODS || op->sub == EMU_CMPS;
	bool uses_di = op->sub != EMU_LODS;
	uint64_t step = cpu->gregs[REG_EFL] & FLAG_DF ? -(uint64_t)op->width : op->width;
	struct string_state s = {0};
	bool more = true;

	for (unsigned n = 0; more; n++) {
		s.si = emu_reg_get(cpu, REG_SI, aw);
		s.di = emu_reg_get(cpu, REG_DI, aw);
		s.count = emu_reg_get(cpu, REG_C, aw);
		if (op->rep && !s.count)
			break;
		if (cpu->burst && n == cpu->burst)
			return EMU_DONE; /* RIP stays: the instruction goes on at the next fault */
		if (one_element(cpu, op, &s))
			return EMU_FAULT;
		if (uses_si)
			emu_reg_set(cpu, REG_SI, aw, s.si + step);
		if (uses_di)
			emu_reg_set(cpu, REG_DI, aw, s.di + step);
		more = false;
		if (op->rep) {
			emu_reg_set(cpu, REG_C, aw, s.count - 1);
			more = s.count > 1;
			if (compares && !(cpu->gregs[REG_EFL] & FLAG_ZF) != (op->rep == EMU_REPNE))
				more = false;
		}
	}
	cpu->gregs[REG_RIP] += op->len;
	cpu->gregs[REG_EFL] &= ~(greg_t)FLAG_RF;
	return EMU_DONE;
}
