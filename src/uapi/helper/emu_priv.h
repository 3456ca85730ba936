/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside the emulator: the machine that one instruction works on. */
#ifndef UVFIO_HELPER_EMU_PRIV_H
#define UVFIO_HELPER_EMU_PRIV_H

#include "uapi/helper/emu.h"

#define FLAG_CF     0x001u
#define FLAG_PF     0x004u
#define FLAG_AF     0x010u
#define FLAG_ZF     0x040u
#define FLAG_SF     0x080u
#define FLAG_DF     0x400u
#define FLAG_OF     0x800u
#define FLAG_RF     0x10000u
#define FLAGS_ARITH (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

enum { REG_A, REG_C, REG_D, REG_B, REG_SP, REG_BP, REG_SI, REG_DI };

struct emu_cpu {
	greg_t *gregs;
	uint8_t *fp; /* XSAVE area of the frame, or NULL */
	const struct emu_xstate *xs;
	const struct emu_access *access;
	void *ctx;
	struct emu_fault *fault;
	unsigned burst;
};

/* emulate.c: registers.  Width in bytes; a write of 4 clears the upper half, as the processor does.
 */
uint64_t emu_reg_get(const struct emu_cpu *cpu, unsigned reg, unsigned width);
void emu_reg_set(struct emu_cpu *cpu, unsigned reg, unsigned width, uint64_t value);
uint64_t emu_mem_addr(const struct emu_cpu *cpu, const struct emu_op *op);
uint64_t emu_seg_base(unsigned seg);

/* emulate.c: memory.  Pieces as the head of emu.h says.  0, or an error with cpu->fault filled. */
int emu_load(struct emu_cpu *cpu, uint64_t addr, void *dst, unsigned len);
int emu_store(struct emu_cpu *cpu, uint64_t addr, const void *src, unsigned len);
/* Only the bytes whose bit in @enabled is set; len ≤ 64. */
int emu_load_masked(struct emu_cpu *cpu, uint64_t addr, void *dst, unsigned len, uint64_t enabled);
int emu_store_masked(struct emu_cpu *cpu, uint64_t addr, const void *src, unsigned len,
		     uint64_t enabled);

/* alu.c: results and flags as the processor itself computes them; *flags in and out. */
uint64_t emu_alu(enum emu_alu op, unsigned width, uint64_t a, uint64_t b, uint64_t *flags);
uint64_t emu_unary(enum emu_unary op, unsigned width, uint64_t a, uint64_t *flags);
uint64_t emu_shift(enum emu_shift op, unsigned width, uint64_t a, unsigned count, uint64_t *flags);
uint64_t emu_shift2(bool right, unsigned width, uint64_t a, uint64_t in, unsigned count,
		    uint64_t *flags);
uint64_t emu_bt(enum emu_bt op, unsigned width, uint64_t a, unsigned bit, uint64_t *flags);
bool emu_condition(unsigned cc, uint64_t flags);

/* string.c */
enum emu_result emu_run_string(struct emu_cpu *cpu, const struct emu_op *op);

/* vector.c */
enum emu_result emu_run_vector(struct emu_cpu *cpu, const struct emu_op *op);

/* xstate.c: the frame's vector, mask and MMX registers. */
void emu_vec_get(const struct emu_cpu *cpu, unsigned reg, uint8_t value[64]);
bool emu_vec_set(struct emu_cpu *cpu, unsigned reg, const uint8_t value[64]);
uint64_t emu_mask_get(const struct emu_cpu *cpu, unsigned reg);
bool emu_mask_set(struct emu_cpu *cpu, unsigned reg, uint64_t value);
bool emu_mmx_get(const struct emu_cpu *cpu, unsigned reg, uint64_t *value);
void emu_mmx_set(struct emu_cpu *cpu, unsigned reg, uint64_t value);
/* An MMX instruction that reads only has an effect, too: all tags valid. */
void emu_mmx_touch(struct emu_cpu *cpu);

#endif
