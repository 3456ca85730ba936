/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moves between memory and vector, mask and MMX registers.
 *
 * A masked-off element is not accessed at all, so a mask is turned into a bit per byte of memory
 * first, and the cutting into pieces then works on runs of enabled bytes.
 */
#include <string.h>
#include "uapi/helper/emu_priv.h"

static uint64_t low_bits(unsigned n)
{
	return n >= 64 ? ~0ull : (1ull << n) - 1;
}

/* A bit per byte from a bit per element. */
static uint64_t byte_mask(uint64_t elements, unsigned esize, unsigned len)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i * esize < len; i++)
		if (elements >> i & 1)
			bytes |= low_bits(esize) << i * esize;
	return bytes;
}

static uint64_t element_mask(const struct emu_cpu *cpu, const struct emu_op *op)
{
	return op->kmask ? emu_mask_get(cpu, op->kmask) : ~0ull;
}

static int run_store(struct emu_cpu *cpu, const struct emu_op *op, uint64_t addr)
{
	uint8_t value[64];

	emu_vec_get(cpu, op->reg, value);
	return emu_store_masked(cpu, addr, value + op->offset, op->width,
				byte_mask(element_mask(cpu, op), op->esize, op->width));
}

static int run_load(struct emu_cpu *cpu, const struct emu_op *op, uint64_t addr)
{
	unsigned total = op->width * op->repeat;
	uint64_t bytes = byte_mask(element_mask(cpu, op), op->esize, total), wanted = 0;
	uint8_t mem[64] = {0}, old[64], value[64] = {0};
	int err;

	for (unsigned i = 0; i < op->repeat; i++)
		wanted |= bytes >> i * op->width & low_bits(op->width);
	err = emu_load_masked(cpu, addr, mem, op->width, wanted);
	if (err)
		return err;
	emu_vec_get(cpu, op->reg, old);
	if (op->reg2 != EMU_NO_REG) {
		emu_vec_get(cpu, op->reg2, value);
		memset(value + op->vl, 0, sizeof(value) - op->vl);
	}
	for (unsigned i = 0; i < total; i++) {
		unsigned at = op->offset + i;

		if (bytes >> i & 1)
			value[at] = mem[i % op->width];
		else
			value[at] = op->zeroing ? 0 : old[at];
	}
	if (op->legacy)
		memcpy(value + 16, old + 16, sizeof(value) - 16);
	return emu_vec_set(cpu, op->reg, value) ? 0 : -1;
}

/* A bit per byte from the sign bit of each element. */
static uint64_t sign_mask(const uint8_t *value, unsigned esize, unsigned len)
{
	uint64_t elements = 0;

	for (unsigned i = 0; i * esize < len; i++)
		elements |= (uint64_t)(value[i * esize + esize - 1] >> 7) << i;
	return byte_mask(elements, esize, len);
}

static int run_vmaskmov(struct emu_cpu *cpu, const struct emu_op *op, uint64_t addr)
{
	uint8_t mask[64], value[64];
	uint64_t bytes;
	int err;

	emu_vec_get(cpu, op->reg2, mask);
	bytes = sign_mask(mask, op->esize, op->width);
	if (op->sub) {
		emu_vec_get(cpu, op->reg, value);
		return emu_store_masked(cpu, addr, value, op->width, bytes);
	}
	memset(value, 0, sizeof(value));
	err = emu_load_masked(cpu, addr, value, op->width, bytes);
	if (err)
		return err;
	return emu_vec_set(cpu, op->reg, value) ? 0 : -1;
}

static int run_maskmov(struct emu_cpu *cpu, const struct emu_op *op, uint64_t addr)
{
	uint8_t mask[64], value[64];
	uint64_t m, v;
	int err;

	if (!op->sub) {
		emu_vec_get(cpu, op->reg, value);
		emu_vec_get(cpu, op->reg2, mask);
		return emu_store_masked(cpu, addr, value, 16, sign_mask(mask, 1, 16));
	}
	if (!emu_mmx_get(cpu, op->reg, &v) || !emu_mmx_get(cpu, op->reg2, &m))
		return -1;
	memcpy(value, &v, 8);
	memcpy(mask, &m, 8);
	err = emu_store_masked(cpu, addr, value, 8, sign_mask(mask, 1, 8));
	if (!err)
		emu_mmx_touch(cpu);
	return err;
}

static int run_mmx(struct emu_cpu *cpu, const struct emu_op *op, uint64_t addr)
{
	uint64_t value;
	int err;

	if (!emu_mmx_get(cpu, op->reg, &value))
		return -1;
	if (op->kind == EMU_MMX_STORE) {
		err = emu_store(cpu, addr, &value, op->width);
		if (!err)
			emu_mmx_touch(cpu);
		return err;
	}
	value = 0;
	err = emu_load(cpu, addr, &value, op->width);
	if (!err)
		emu_mmx_set(cpu, op->reg, value);
	return err;
}

static int run_kmov(struct emu_cpu *cpu, const struct emu_op *op, uint64_t addr)
{
	uint64_t value = 0;
	int err;

	if (op->kind == EMU_KSTORE) {
		value = emu_mask_get(cpu, op->reg);
		return emu_store(cpu, addr, &value, op->width);
	}
	err = emu_load(cpu, addr, &value, op->width);
	if (err)
		return err;
	return emu_mask_set(cpu, op->reg, value) ? 0 : -1;
}

static int run_compress(struct emu_cpu *cpu, const struct emu_op *op, uint64_t addr)
{
	uint8_t value[64], packed[64];
	uint64_t mask = element_mask(cpu, op);
	unsigned n = 0;

	emu_vec_get(cpu, op->reg, value);
	for (unsigned i = 0; i < (unsigned)op->vl / op->esize; i++)
		if (mask >> i & 1)
			memcpy(packed + n++ * op->esize, value + i * op->esize, op->esize);
	return n ? emu_store(cpu, addr, packed, n * op->esize) : 0;
}

static uint64_t narrow(const uint8_t *src, unsigned from, unsigned to, unsigned how)
{
	unsigned shift = 64 - from * 8;
	uint64_t value = 0;
	int64_t s, max = (int64_t)low_bits(to * 8 - 1);

	memcpy(&value, src, from);
	s = (int64_t)(value << shift) >> shift;
	switch (how) {
	case EMU_TRUNC_SIGNED:
		if (s > max)
			return (uint64_t)max;
		return s < -max - 1 ? (uint64_t)(-max - 1) : (uint64_t)s;
	case EMU_TRUNC_UNSIGNED:
		return value > low_bits(to * 8) ? low_bits(to * 8) : value;
	default:
		return value;
	}
}

static int run_vtrunc(struct emu_cpu *cpu, const struct emu_op *op, uint64_t addr)
{
	uint8_t value[64], packed[64];
	unsigned n = op->vl / op->esize2;

	emu_vec_get(cpu, op->reg, value);
	for (unsigned i = 0; i < n; i++) {
		uint64_t element = narrow(value + i * op->esize2, op->esize2, op->esize, op->sub);

		memcpy(packed + i * op->esize, &element, op->esize);
	}
	return emu_store_masked(cpu, addr, packed, op->width,
				byte_mask(element_mask(cpu, op), op->esize, op->width));
}

/* From the lowest element up, the bit of each cleared as it is done, so that a fault can resume. */
static int run_scatter(struct emu_cpu *cpu, const struct emu_op *op, uint64_t base)
{
	uint8_t value[64], index[64];
	uint64_t mask = emu_mask_get(cpu, op->kmask);
	unsigned n = op->width / op->esize;

	emu_vec_get(cpu, op->reg, value);
	emu_vec_get(cpu, op->mem.index, index);
	for (unsigned i = 0; i < n; i++) {
		int64_t offset;
		uint64_t addr;
		int32_t narrow_index;
		int err;

		if (!(mask >> i & 1))
			continue;
		if (op->esize2 == 4) {
			memcpy(&narrow_index, index + i * 4, 4);
			offset = narrow_index;
		} else {
			memcpy(&offset, index + i * 8, 8);
		}
		addr = base + (uint64_t)offset * op->mem.scale;
		if (op->mem.addr32)
			addr = (uint32_t)addr;
		err = emu_store(cpu, addr, value + i * op->esize, op->esize);
		if (err)
			return err;
		mask &= ~(1ull << i);
		if (!emu_mask_set(cpu, op->kmask, mask))
			return -1;
	}
	return emu_mask_set(cpu, op->kmask, 0) ? 0 : -1;
}

enum emu_result emu_run_vector(struct emu_cpu *cpu, const struct emu_op *op)
{
	uint64_t addr = emu_mem_addr(cpu, op);
	int err;

	switch (op->kind) {
	case EMU_VSTORE:
		err = run_store(cpu, op, addr);
		break;
	case EMU_VLOAD:
		err = run_load(cpu, op, addr);
		break;
	case EMU_VMASKMOV:
		err = run_vmaskmov(cpu, op, addr);
		break;
	case EMU_MASKMOV:
		err = run_maskmov(cpu, op, addr);
		break;
	case EMU_MMX_STORE:
	case EMU_MMX_LOAD:
		err = run_mmx(cpu, op, addr);
		break;
	case EMU_KSTORE:
	case EMU_KLOAD:
		err = run_kmov(cpu, op, addr);
		break;
	case EMU_COMPRESS:
		err = run_compress(cpu, op, addr);
		break;
	case EMU_VTRUNC:
		err = run_vtrunc(cpu, op, addr);
		break;
	default:
		err = run_scatter(cpu, op, addr);
		break;
	}
	/* Negative: a register that the frame does not carry. */
	return err < 0 ? EMU_UNSUPPORTED : err ? EMU_FAULT : EMU_DONE;
}
