/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One x86-64 instruction done in software: a library without state of its own, used by the helper
 * on a signal frame, and by its tests.
 *
 * emu_decode() turns instruction bytes into a struct emu_op (small, copyable, position-independent,
 * so that it can be cached); emu_run() does it on the registers of a signal frame, its memory
 * accesses going through callbacks.  Nothing is allocated, nothing blocks but the callbacks, and
 * the stack need is below 1 KiB (decode: 2 KiB), since the alternate stack of a program may be 8
 * KiB of which the kernel's frame takes 3.5.
 *
 * Order of accesses: as the processor does it: sources first, each location once.  Whatever is
 * wider than 8 bytes or misaligned reaches the callbacks as ascending naturally aligned pieces, the
 * largest first that fits.  A masked store is cut by the same rule from its runs of enabled bytes.
 * Registers change only after the last access has succeeded (string and scatter instructions:
 * element by element).
 */
#ifndef UVFIO_HELPER_EMU_H
#define UVFIO_HELPER_EMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#define EMU_MAX_INSN 15

enum emu_kind {
	EMU_INVALID,
	EMU_NOP,    /* cache control: nothing to do */
	EMU_STORE,  /* mov, movnti, movdiri, movbe to memory */
	EMU_LOAD,   /* mov, movzx, movsx, movbe from memory */
	EMU_CMOV,   /* sub: condition */
	EMU_SETCC,  /* sub: condition */
	EMU_ALU,    /* sub: enum emu_alu */
	EMU_UNARY,  /* sub: enum emu_unary */
	EMU_SHIFT,  /* sub: enum emu_shift */
	EMU_SHIFT2, /* shld (sub 0), shrd (sub 1) */
	EMU_BT,     /* sub: enum emu_bt */
	EMU_XCHG,
	EMU_XADD,
	EMU_CMPXCHG,
	EMU_CMPXCHG2, /* cmpxchg8b, cmpxchg16b */
	EMU_PUSH,     /* push from memory */
	EMU_POP,      /* pop to memory */
	EMU_STRING,   /* sub: enum emu_string */
	EMU_VSTORE,   /* (part of) a vector register to memory, perhaps under an opmask */
	EMU_VLOAD,
	EMU_VMASKMOV, /* mask in the sign bits of a vector register's elements; sub: 1 = store */
	EMU_MASKMOV,  /* maskmovdqu, maskmovq (sub 1) to [rdi] */
	EMU_MMX_STORE,
	EMU_MMX_LOAD,
	EMU_KSTORE,
	EMU_KLOAD,
	EMU_COMPRESS,
	EMU_SCATTER,
	EMU_VTRUNC, /* vpmov…: narrowing store; sub: enum emu_trunc */
	EMU_MOVDIR64B,
	EMU_KINDS,
};

enum emu_alu {
	EMU_ADD,
	EMU_OR,
	EMU_ADC,
	EMU_SBB,
	EMU_AND,
	EMU_SUB,
	EMU_XOR,
	EMU_CMP,
	EMU_TEST,
};
enum emu_unary { EMU_INC, EMU_DEC, EMU_NEG, EMU_NOT };
enum emu_shift { EMU_ROL, EMU_ROR, EMU_RCL, EMU_RCR, EMU_SHL, EMU_SHR, EMU_SAR };
enum emu_bt { EMU_BIT_TEST, EMU_BIT_SET, EMU_BIT_RESET, EMU_BIT_COMPLEMENT };
enum emu_string { EMU_STOS, EMU_MOVS, EMU_LODS, EMU_SCAS, EMU_CMPS };
enum emu_trunc { EMU_TRUNC, EMU_TRUNC_SIGNED, EMU_TRUNC_UNSIGNED };
enum emu_rep { EMU_REP_NONE, EMU_REP, EMU_REPNE };

/* Condition codes as the hardware numbers them: o no b ae e ne be a s ns p np l ge le g. */

enum emu_src { EMU_SRC_REG, EMU_SRC_HIGH, EMU_SRC_IMM }; /* HIGH: ah, ch, dh, bh */

#define EMU_NO_REG 0xff
#define EMU_RIP    0xfe

enum emu_seg { EMU_SEG_NONE, EMU_SEG_FS, EMU_SEG_GS };

struct emu_mem {
	uint8_t base, index; /* 0..15 (index of a scatter: vector register), EMU_NO_REG, EMU_RIP */
	uint8_t scale;
	uint8_t seg; /* enum emu_seg */
	bool addr32; /* address-size prefix */
	int64_t disp;
};

struct emu_op {
	uint8_t kind; /* enum emu_kind */
	uint8_t sub;
	uint8_t len;   /* of the instruction */
	uint8_t width; /* of the memory operand, bytes (vector: the whole of it) */

	bool reg_is_dst; /* ALU: memory is the source */
	bool swap;       /* movbe */
	bool sign;       /* LOAD: sign extension */
	uint8_t rep;     /* enum emu_rep */

	uint8_t src;       /* enum emu_src */
	uint8_t reg;       /* general register, or the vector/mask register that moves */
	uint8_t reg_width; /* bytes of a general register written by LOAD */
	uint8_t reg2; /* SHIFT2: the register shifted in; VMASKMOV, MASKMOV: the mask; VLOAD: merge
		       */

	uint8_t esize;  /* vector element, bytes */
	uint8_t esize2; /* scatter: index element; vtrunc: source element */
	uint8_t kmask;  /* opmask register, 0: none */
	bool zeroing;   /* VLOAD under a mask: zero, else merge */
	uint8_t offset; /* VSTORE, VLOAD: byte in the register where the operand starts */
	uint8_t vl;     /* VLOAD: bytes of the register written; the rest is zeroed, unless: */
	bool legacy;    /* SSE without VEX: the register above vl stays */
	uint8_t repeat; /* VLOAD: broadcast count, 1: none */

	struct emu_mem mem;
	int64_t imm;
};

/*
 * What the memory callbacks answer: 0, or an errno value that ends the instruction.  @size is 1, 2,
 * 4 or 8 and @addr a multiple of it.
 */
struct emu_access {
	int (*load)(void *ctx, uint64_t addr, unsigned size, uint64_t *value);
	int (*store)(void *ctx, uint64_t addr, unsigned size, uint64_t value);
	/* Is this address device memory?  Of a store across pages, the plain part is done first: it
	 * can fail, and be done again, without harm. */
	bool (*device)(void *ctx, uint64_t addr);
};

enum emu_result {
	EMU_DONE, /* the frame is behind the instruction, or within an interrupted string one */
	EMU_UNSUPPORTED, /* nothing happened */
	EMU_FAULT,       /* struct emu_fault says what; the frame stands at the instruction */
};

struct emu_fault {
	uint64_t addr;
	bool write;
	int error;
};

/* Offsets of the extended state in the standard form of XSAVE; fill once with emu_xstate_init(). */
struct emu_xstate {
	uint32_t avx, opmask, zmm_hi256, hi16_zmm; /* 0: not on this machine */
};

void emu_xstate_init(struct emu_xstate *xs);

/*
 * Decode the instruction at @bytes, of which @avail (≤ EMU_MAX_INSN are looked at) are readable.
 * Returns false when it is undecodable, cut off, or not covered: @op is then EMU_INVALID.
 */
bool emu_decode(const void *bytes, size_t avail, struct emu_op *op);

/*
 * Do @op, whose bytes stand at the frame's RIP, on the registers in @uc.  String instructions stop
 * after @burst elements with RIP unchanged, so that signals get their turn (0: no limit).
 */
enum emu_result emu_run(const struct emu_op *op, ucontext_t *uc, const struct emu_xstate *xs,
			const struct emu_access *access, void *ctx, unsigned burst,
			struct emu_fault *fault);

#endif
