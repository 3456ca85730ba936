/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Vector, mask and MMX registers in the XSAVE area of a signal frame.
 *
 * The kernel writes the standard (not compacted) form: the legacy FXSAVE region with x87 and XMM, a
 * header whose first word says which components hold other than their initial value, zero, and each
 * component at the offset that CPUID gives.  A component absent from that word is all zeroes
 * whatever its memory says, so its memory is cleared before the first register in it is written.
 */
#include <cpuid.h>
#include <string.h>
#include <asm/sigcontext.h>
#include "uapi/helper/emu_priv.h"

#define FX_SW          464
#define FX_XMM         160
#define FX_ST          32
#define FX_STATUS      2
#define FX_TAG         4
#define XSTATE_BV      512
#define XSTATE_MIN     576

#define COMP_SSE       (1u << 1)
#define COMP_AVX       (1u << 2)
#define COMP_OPMASK    (1u << 5)
#define COMP_ZMM_HI256 (1u << 6)
#define COMP_HI16_ZMM  (1u << 7)

void emu_xstate_init(struct emu_xstate *xs)
{
	uint32_t *const where[] = {
		[2] = &xs->avx, [5] = &xs->opmask, [6] = &xs->zmm_hi256, [7] = &xs->hi16_zmm};
	unsigned a, b, c, d;

	memset(xs, 0, sizeof(*xs));
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return;
	for (unsigned i = 2; i < sizeof(where) / sizeof(where[0]); i++)
		if (where[i] && __get_cpuid_count(0xd, i, &a, &b, &c, &d) && a)
			*where[i] = b;
}

/* The component's place in the frame, or NULL when the frame has none.  *bit: not at its initial
 * value. */
static uint8_t *component(const struct emu_cpu *cpu, unsigned comp, bool *present)
{
	struct _fpx_sw_bytes sw;
	uint32_t offset, size;
	uint64_t bv;

	if (!cpu->fp)
		return NULL;
	switch (comp) {
	case COMP_AVX:
		offset = cpu->xs->avx;
		size = 256;
		break;
	case COMP_OPMASK:
		offset = cpu->xs->opmask;
		size = 64;
		break;
	case COMP_ZMM_HI256:
		offset = cpu->xs->zmm_hi256;
		size = 512;
		break;
	default:
		offset = cpu->xs->hi16_zmm;
		size = 1024;
		break;
	}
	memcpy(&sw, cpu->fp + FX_SW, sizeof(sw));
	if (!offset || sw.magic1 != FP_XSTATE_MAGIC1 || !(sw.xfeatures & comp) ||
	    sw.xstate_size < offset + size)
		return NULL;
	memcpy(&bv, cpu->fp + XSTATE_BV, sizeof(bv));
	*present = bv & comp;
	return cpu->fp + offset;
}

static bool component_get(const struct emu_cpu *cpu, unsigned comp, unsigned at, void *dst,
			  unsigned len)
{
	bool present;
	const uint8_t *p = component(cpu, comp, &present);

	if (!p || !present)
		return false;
	memcpy(dst, p + at, len);
	return true;
}

static bool all_zero(const uint8_t *p, unsigned len)
{
	while (len && !*p)
		p++, len--;
	return !len;
}

/* Returns false when the frame has no room for a value other than zero. */
static bool component_set(struct emu_cpu *cpu, unsigned comp, unsigned size, unsigned at,
			  const void *src, unsigned len)
{
	bool present = false;
	uint8_t *p = component(cpu, comp, &present);
	uint64_t bv;

	if (!present && all_zero(src, len))
		return true;
	if (!p)
		return false;
	if (!present) {
		memset(p, 0, size);
		memcpy(&bv, cpu->fp + XSTATE_BV, sizeof(bv));
		bv |= comp;
		memcpy(cpu->fp + XSTATE_BV, &bv, sizeof(bv));
	}
	memcpy(p + at, src, len);
	return true;
}

void emu_vec_get(const struct emu_cpu *cpu, unsigned reg, uint8_t value[64])
{
	memset(value, 0, 64);
	if (!cpu->fp)
		return;
	if (reg >= 16) {
		component_get(cpu, COMP_HI16_ZMM, (reg - 16) * 64, value, 64);
		return;
	}
	memcpy(value, cpu->fp + FX_XMM + reg * 16, 16);
	component_get(cpu, COMP_AVX, reg * 16, value + 16, 16);
	component_get(cpu, COMP_ZMM_HI256, reg * 32, value + 32, 32);
}

static bool has_xsave_header(const struct emu_cpu *cpu)
{
	uint32_t magic;

	memcpy(&magic, cpu->fp + FX_SW, sizeof(magic));
	return magic == FP_XSTATE_MAGIC1;
}

bool emu_vec_set(struct emu_cpu *cpu, unsigned reg, const uint8_t value[64])
{
	uint64_t bv;

	if (!cpu->fp)
		return false;
	if (reg >= 16)
		return component_set(cpu, COMP_HI16_ZMM, 1024, (reg - 16) * 64, value, 64);
	memcpy(cpu->fp + FX_XMM + reg * 16, value, 16);
	if (has_xsave_header(cpu)) {
		memcpy(&bv, cpu->fp + XSTATE_BV, sizeof(bv));
		bv |= COMP_SSE;
		memcpy(cpu->fp + XSTATE_BV, &bv, sizeof(bv));
	}
	return component_set(cpu, COMP_AVX, 256, reg * 16, value + 16, 16) &&
	       component_set(cpu, COMP_ZMM_HI256, 512, reg * 32, value + 32, 32);
}

uint64_t emu_mask_get(const struct emu_cpu *cpu, unsigned reg)
{
	uint64_t value = 0;

	component_get(cpu, COMP_OPMASK, reg * 8, &value, 8);
	return value;
}

bool emu_mask_set(struct emu_cpu *cpu, unsigned reg, uint64_t value)
{
	return component_set(cpu, COMP_OPMASK, 64, reg * 8, &value, 8);
}

/*
 * MMX registers are the physical x87 ones, the frame holds those relative to the top of the x87
 * stack. MMX code runs with the top at 0; in between, x87 code without emms, they would have to be
 * turned: not covered.
 */
bool emu_mmx_get(const struct emu_cpu *cpu, unsigned reg, uint64_t *value)
{
	uint16_t status;

	if (!cpu->fp)
		return false;
	memcpy(&status, cpu->fp + FX_STATUS, sizeof(status));
	if (status >> 11 & 7)
		return false;
	memcpy(value, cpu->fp + FX_ST + reg * 16, 8);
	return true;
}

void emu_mmx_touch(struct emu_cpu *cpu)
{
	uint64_t bv;

	cpu->fp[FX_TAG] = 0xff;
	if (has_xsave_header(cpu)) {
		memcpy(&bv, cpu->fp + XSTATE_BV, sizeof(bv));
		bv |= 1;
		memcpy(cpu->fp + XSTATE_BV, &bv, sizeof(bv));
	}
}

void emu_mmx_set(struct emu_cpu *cpu, unsigned reg, uint64_t value)
{
	static const uint16_t exponent = 0xffff;

	memcpy(cpu->fp + FX_ST + reg * 16, &value, 8);
	memcpy(cpu->fp + FX_ST + reg * 16 + 8, &exponent, 2);
	emu_mmx_touch(cpu);
}
