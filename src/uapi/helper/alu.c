/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Integer operations of the emulator.  The processor computes them, on registers in place of the
 * memory operand, so that each flag, documented as undefined or not, comes out as it would have.
 */
#include "uapi/helper/emu_priv.h"

/* Flags for popf: arithmetic ones from @flags, the rest as in any user program. */
static uint64_t flags_in(uint64_t flags)
{
	return (flags & FLAGS_ARITH) | 0x202;
}

static uint64_t flags_out(uint64_t flags, uint64_t computed)
{
	return (flags & ~(uint64_t)FLAGS_ARITH) | (computed & FLAGS_ARITH);
}

/* The stack is used below the red zone's end: this file is compiled with -mno-red-zone. */
#define BINARY(insn, mod)                                                                          \
	__asm__ volatile("pushq %[f]\n\tpopfq\n\t" insn " %" mod "[b], %" mod                      \
			 "[a]\n\tpushfq\n\tpopq %[f]"                                              \
			 : [a] "+r"(a), [f] "+r"(f)                                                \
			 : [b] "r"(b)                                                              \
			 : "cc", "memory")

#define UNARY(insn, mod)                                                                           \
	__asm__ volatile("pushq %[f]\n\tpopfq\n\t" insn " %" mod "[a]\n\tpushfq\n\tpopq %[f]"      \
			 : [a] "+r"(a), [f] "+r"(f)                                                \
			 :                                                                         \
			 : "cc", "memory")

#define SHIFT(insn, mod)                                                                           \
	__asm__ volatile("pushq %[f]\n\tpopfq\n\t" insn " %%cl, %" mod                             \
			 "[a]\n\tpushfq\n\tpopq %[f]"                                              \
			 : [a] "+r"(a), [f] "+r"(f)                                                \
			 : "c"(count)                                                              \
			 : "cc", "memory")

#define SHIFT2(insn, mod)                                                                          \
	__asm__ volatile("pushq %[f]\n\tpopfq\n\t" insn " %%cl, %" mod "[b], %" mod                \
			 "[a]\n\tpushfq\n\tpopq %[f]"                                              \
			 : [a] "+r"(a), [f] "+r"(f)                                                \
			 : [b] "r"(in), "c"(count)                                                 \
			 : "cc", "memory")

#define WIDE_CASES(form, insn)                                                                     \
	case 2:                                                                                    \
		form(insn "w", "w");                                                               \
		break;                                                                             \
	case 4:                                                                                    \
		form(insn "l", "k");                                                               \
		break;                                                                             \
	default:                                                                                   \
		form(insn "q", "q");                                                               \
		break

#define WIDTHS(form, insn)                                                                         \
	switch (width) {                                                                           \
	case 1:                                                                                    \
		form(insn "b", "b");                                                               \
		break;                                                                             \
		WIDE_CASES(form, insn);                                                            \
	}                                                                                          \
	break

#define WIDE_WIDTHS(form, insn)                                                                    \
	switch (width) {                                                                           \
		WIDE_CASES(form, insn);                                                            \
	}                                                                                          \
	break

uint64_t emu_alu(enum emu_alu op, unsigned width, uint64_t a, uint64_t b, uint64_t *flags)
{
	uint64_t f = flags_in(*flags);

	switch (op) {
	case EMU_ADD:
		WIDTHS(BINARY, "add");
	case EMU_OR:
		WIDTHS(BINARY, "or");
	case EMU_ADC:
		WIDTHS(BINARY, "adc");
	case EMU_SBB:
		WIDTHS(BINARY, "sbb");
	case EMU_AND:
		WIDTHS(BINARY, "and");
	case EMU_SUB:
		WIDTHS(BINARY, "sub");
	case EMU_XOR:
		WIDTHS(BINARY, "xor");
	case EMU_CMP:
		WIDTHS(BINARY, "cmp");
	case EMU_TEST:
		WIDTHS(BINARY, "test");
	}
	*flags = flags_out(*flags, f);
	return a;
}

uint64_t emu_unary(enum emu_unary op, unsigned width, uint64_t a, uint64_t *flags)
{
	uint64_t f = flags_in(*flags);

	switch (op) {
	case EMU_INC:
		WIDTHS(UNARY, "inc");
	case EMU_DEC:
		WIDTHS(UNARY, "dec");
	case EMU_NEG:
		WIDTHS(UNARY, "neg");
	case EMU_NOT:
		WIDTHS(UNARY, "not");
	}
	*flags = flags_out(*flags, f);
	return a;
}

uint64_t emu_shift(enum emu_shift op, unsigned width, uint64_t a, unsigned count, uint64_t *flags)
{
	uint64_t f = flags_in(*flags);

	switch (op) {
	case EMU_ROL:
		WIDTHS(SHIFT, "rol");
	case EMU_ROR:
		WIDTHS(SHIFT, "ror");
	case EMU_RCL:
		WIDTHS(SHIFT, "rcl");
	case EMU_RCR:
		WIDTHS(SHIFT, "rcr");
	case EMU_SHL:
		WIDTHS(SHIFT, "shl");
	case EMU_SHR:
		WIDTHS(SHIFT, "shr");
	case EMU_SAR:
		WIDTHS(SHIFT, "sar");
	}
	*flags = flags_out(*flags, f);
	return a;
}

uint64_t emu_shift2(bool right, unsigned width, uint64_t a, uint64_t in, unsigned count,
		    uint64_t *flags)
{
	uint64_t f = flags_in(*flags);

	switch (right ? 1 : 0) {
	case 0:
		WIDE_WIDTHS(SHIFT2, "shld");
	default:
		WIDE_WIDTHS(SHIFT2, "shrd");
	}
	*flags = flags_out(*flags, f);
	return a;
}

uint64_t emu_bt(enum emu_bt op, unsigned width, uint64_t a, unsigned bit, uint64_t *flags)
{
	uint64_t f = flags_in(*flags), b = bit;

	switch (op) {
	case EMU_BIT_TEST:
		WIDE_WIDTHS(BINARY, "bt");
	case EMU_BIT_SET:
		WIDE_WIDTHS(BINARY, "bts");
	case EMU_BIT_RESET:
		WIDE_WIDTHS(BINARY, "btr");
	case EMU_BIT_COMPLEMENT:
		WIDE_WIDTHS(BINARY, "btc");
	}
	*flags = flags_out(*flags, f);
	return a;
}

bool emu_condition(unsigned cc, uint64_t flags)
{
	bool cf = flags & FLAG_CF, zf = flags & FLAG_ZF, sf = flags & FLAG_SF, of = flags & FLAG_OF;
	bool result;

	switch (cc >> 1) {
	case 0:
		result = of;
		break;
	case 1:
		result = cf;
		break;
	case 2:
		result = zf;
		break;
	case 3:
		result = cf || zf;
		break;
	case 4:
		result = sf;
		break;
	case 5:
		result = flags & FLAG_PF;
		break;
	case 6:
		result = sf != of;
		break;
	default:
		result = zf || sf != of;
		break;
	}
	return result != (cc & 1);
}
