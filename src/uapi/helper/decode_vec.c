/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From Zydis's description of an instruction to ours: moves between memory and vector, mask and MMX
 * registers, extensions SSE to AVX-512.
 */
#include <string.h>
#include "uapi/helper/decode.h"

/* The operands that matter: without the opmask, which EVEX instructions name as one of them. */
struct operands {
	const ZydisDecodedOperand *o[4];
	unsigned count;
};

static struct operands visible(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *o)
{
	struct operands v = {.count = 0};

	for (unsigned i = 0; i < insn->operand_count && v.count < 4; i++) {
		if (o[i].visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN ||
		    o[i].encoding == ZYDIS_OPERAND_ENCODING_MASK)
			continue;
		v.o[v.count++] = &o[i];
	}
	return v;
}

static bool is_mem(const ZydisDecodedOperand *o)
{
	return o->type == ZYDIS_OPERAND_TYPE_MEMORY;
}

static bool vec_reg(const ZydisDecodedOperand *o, uint8_t *number)
{
	if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	switch (ZydisRegisterGetClass(o->reg.value)) {
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_ZMM:
		*number = (uint8_t)ZydisRegisterGetId(o->reg.value);
		return *number < 32;
	default:
		return false;
	}
}

static bool class_reg(const ZydisDecodedOperand *o, ZydisRegisterClass class, uint8_t *number)
{
	if (o->type != ZYDIS_OPERAND_TYPE_REGISTER || ZydisRegisterGetClass(o->reg.value) != class)
		return false;
	*number = (uint8_t)ZydisRegisterGetId(o->reg.value);
	return *number < 8;
}

static bool set_mask(const ZydisDecodedInstruction *insn, struct emu_op *op)
{
	/* A static broadcast is part of what the mnemonic says (and Zydis's view of vinsertf128).
	 */
	if ((insn->avx.broadcast.mode && !insn->avx.broadcast.is_static) ||
	    insn->avx.rounding.mode || insn->avx.has_sae)
		return false;
	switch (insn->avx.mask.mode) {
	case ZYDIS_MASK_MODE_INVALID:
	case ZYDIS_MASK_MODE_DISABLED:
		return true;
	case ZYDIS_MASK_MODE_ZEROING:
		op->zeroing = true;
		/* fall through */
	case ZYDIS_MASK_MODE_MERGING:
		op->kmask = (uint8_t)ZydisRegisterGetId(insn->avx.mask.reg);
		return op->kmask < 8;
	default:
		return false;
	}
}

static void set_length(const ZydisDecodedInstruction *insn, struct emu_op *op)
{
	op->legacy = insn->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
	op->vl = op->legacy ? 16 : (uint8_t)(insn->avx.vector_length / 8);
}

/*
 * Memory from or to (part of) a vector register.  @offset is where in the register it lies; a load
 * leaves the rest of the register zero, or, when @merge, as in the register before (with three
 * operands: as in the first source).
 */
static bool vmove(const ZydisDecodedInstruction *insn, const struct operands *v, struct emu_op *op,
		  unsigned esize, unsigned offset, bool merge)
{
	set_length(insn, op);
	op->esize = (uint8_t)esize;
	op->offset = (uint8_t)offset;
	if (v->count < 2 || !set_mask(insn, op))
		return false;
	if (is_mem(v->o[0])) {
		op->kind = EMU_VSTORE;
		return decode_mem(insn, v->o[0], op) && vec_reg(v->o[1], &op->reg) &&
		       op->offset + op->width <= 64;
	}
	op->kind = EMU_VLOAD;
	if (!vec_reg(v->o[0], &op->reg))
		return false;
	if (!merge)
		return is_mem(v->o[1]) && decode_mem(insn, v->o[1], op) && op->width <= op->vl;
	if (is_mem(v->o[1])) {
		op->reg2 = op->reg;
		return decode_mem(insn, v->o[1], op) && op->offset + op->width <= op->vl;
	}
	return v->count >= 3 && vec_reg(v->o[1], &op->reg2) && decode_mem(insn, v->o[2], op) &&
	       op->offset + op->width <= op->vl;
}

/* movd, movq: between memory and XMM or MMX. */
static bool movd(const ZydisDecodedInstruction *insn, const struct operands *v, struct emu_op *op)
{
	unsigned m = v->count == 2 && is_mem(v->o[0]) ? 0 : 1;

	if (v->count != 2)
		return false;
	if (class_reg(v->o[1 - m], ZYDIS_REGCLASS_MMX, &op->reg)) {
		op->kind = m ? EMU_MMX_LOAD : EMU_MMX_STORE;
		return decode_mem(insn, v->o[m], op);
	}
	if (!decode_mem(insn, v->o[m], op))
		return false;
	return vmove(insn, v, op, op->width, 0, false);
}

/* pextr*, extractps, vextract*: the immediate says which part. */
static bool extract(const ZydisDecodedInstruction *insn, const struct operands *v,
		    struct emu_op *op, unsigned esize)
{
	unsigned parts;

	if (v->count != 3 || !is_mem(v->o[0]) || v->o[2]->type != ZYDIS_OPERAND_TYPE_IMMEDIATE ||
	    !decode_mem(insn, v->o[0], op) || !op->width)
		return false;
	/* Not the operand's size: for vextractf128 that is the part. */
	set_length(insn, op);
	parts = op->vl / op->width;
	if (!parts)
		return false;
	return vmove(insn, v, op, esize ? esize : op->width,
		     (unsigned)(v->o[2]->imm.value.u & (parts - 1)) * op->width, false);
}

/* pinsr*, vinsert*: the same, the other way. */
static bool insert(const ZydisDecodedInstruction *insn, const struct operands *v, struct emu_op *op)
{
	const ZydisDecodedOperand *imm = v->o[v->count - 1];
	const ZydisDecodedOperand *mem = v->count >= 3 ? v->o[v->count - 2] : NULL;
	unsigned parts;

	if (!mem || !is_mem(mem) || imm->type != ZYDIS_OPERAND_TYPE_IMMEDIATE ||
	    !decode_mem(insn, mem, op) || !op->width)
		return false;
	set_length(insn, op);
	parts = op->vl / op->width;
	return parts &&
	       vmove(insn, v, op, op->width, (unsigned)(imm->imm.value.u & (parts - 1)) * op->width,
		     true) &&
	       !op->kmask;
}

static bool broadcast(const ZydisDecodedInstruction *insn, const struct operands *v,
		      struct emu_op *op, unsigned esize)
{
	if (v->count != 2 || !is_mem(v->o[1]))
		return false;
	op->kind = EMU_VLOAD;
	op->legacy = insn->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
	op->vl = (uint8_t)(v->o[0]->size / 8);
	if (!vec_reg(v->o[0], &op->reg) || !decode_mem(insn, v->o[1], op) || !op->width)
		return false;
	op->esize = (uint8_t)esize;
	op->repeat = op->vl / op->width;
	/* broadcast.is_static says what the mnemonic says already */
	switch (insn->avx.mask.mode) {
	case ZYDIS_MASK_MODE_ZEROING:
	case ZYDIS_MASK_MODE_MERGING:
		op->zeroing = insn->avx.mask.mode == ZYDIS_MASK_MODE_ZEROING;
		op->kmask = (uint8_t)ZydisRegisterGetId(insn->avx.mask.reg);
		break;
	default:
		break;
	}
	return op->repeat >= 1;
}

/* vmaskmov*: register ← mask, memory; or memory ← mask, register. */
static bool vmaskmov(const ZydisDecodedInstruction *insn, const struct operands *v,
		     struct emu_op *op, unsigned esize)
{
	op->kind = EMU_VMASKMOV;
	op->esize = (uint8_t)esize;
	set_length(insn, op);
	if (v->count != 3 || !vec_reg(v->o[1], &op->reg2))
		return false;
	op->sub = is_mem(v->o[0]);
	if (op->sub)
		return decode_mem(insn, v->o[0], op) && vec_reg(v->o[2], &op->reg);
	return vec_reg(v->o[0], &op->reg) && decode_mem(insn, v->o[2], op);
}

static bool maskmov(const ZydisDecodedInstruction *insn, const struct operands *v,
		    struct emu_op *op)
{
	op->kind = EMU_MASKMOV;
	op->mem.base = 7; /* rdi */
	op->mem.addr32 = insn->address_width == 32;
	if (insn->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS)
		op->mem.seg = EMU_SEG_FS;
	else if (insn->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS)
		op->mem.seg = EMU_SEG_GS;
	if (v->count != 2)
		return false;
	op->width = (uint8_t)(v->o[0]->size / 8);
	if (op->width == 8) {
		op->sub = 1;
		return class_reg(v->o[0], ZYDIS_REGCLASS_MMX, &op->reg) &&
		       class_reg(v->o[1], ZYDIS_REGCLASS_MMX, &op->reg2);
	}
	return op->width == 16 && vec_reg(v->o[0], &op->reg) && vec_reg(v->o[1], &op->reg2);
}

static bool kmov(const ZydisDecodedInstruction *insn, const struct operands *v, struct emu_op *op)
{
	if (v->count != 2)
		return false;
	if (is_mem(v->o[0])) {
		op->kind = EMU_KSTORE;
		return decode_mem(insn, v->o[0], op) &&
		       class_reg(v->o[1], ZYDIS_REGCLASS_MASK, &op->reg);
	}
	op->kind = EMU_KLOAD;
	return is_mem(v->o[1]) && decode_mem(insn, v->o[1], op) &&
	       class_reg(v->o[0], ZYDIS_REGCLASS_MASK, &op->reg);
}

/* vpcompress*, vcompress*, vpmov* to memory: reg → mem under a mask. */
static bool packed_store(const ZydisDecodedInstruction *insn, const struct operands *v,
			 struct emu_op *op, enum emu_kind kind, unsigned esize, unsigned sub)
{
	op->kind = (uint8_t)kind;
	op->sub = (uint8_t)sub;
	set_length(insn, op);
	if (v->count != 2 || !is_mem(v->o[0]) || !set_mask(insn, op) ||
	    !decode_mem(insn, v->o[0], op) || !vec_reg(v->o[1], &op->reg))
		return false;
	if (kind == EMU_COMPRESS) {
		op->esize = (uint8_t)esize;
		op->width = op->vl;
	} else {
		op->esize2 = (uint8_t)esize;
		op->esize = (uint8_t)(op->width / (op->vl / esize));
	}
	return true;
}

static bool scatter(const ZydisDecodedInstruction *insn, const struct operands *v,
		    struct emu_op *op, unsigned esize, unsigned isize)
{
	op->kind = EMU_SCATTER;
	set_length(insn, op);
	if (v->count != 2 || !is_mem(v->o[0]) || !set_mask(insn, op) || !op->kmask ||
	    !decode_mem(insn, v->o[0], op) || !vec_reg(v->o[1], &op->reg))
		return false;
	op->esize = (uint8_t)esize;
	op->esize2 = (uint8_t)isize;
	op->width = (uint8_t)(op->vl / (esize > isize ? esize : isize) * esize);
	return true;
}

bool emu_decode_vector(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *operands,
		       struct emu_op *op)
{
	struct operands v = visible(insn, operands);

	switch (insn->mnemonic) {
	/* the whole register */
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVAPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVAPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_MOVDQA:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_VLDDQU:
	case ZYDIS_MNEMONIC_MOVNTPS:
	case ZYDIS_MNEMONIC_MOVNTPD:
	case ZYDIS_MNEMONIC_MOVNTDQ:
	case ZYDIS_MNEMONIC_MOVNTDQA:
	case ZYDIS_MNEMONIC_VMOVDQU:
	case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD:
	case ZYDIS_MNEMONIC_VMOVNTDQ:
	case ZYDIS_MNEMONIC_VMOVNTDQA:
	case ZYDIS_MNEMONIC_VMOVUPS:
	case ZYDIS_MNEMONIC_VMOVAPS:
	case ZYDIS_MNEMONIC_VMOVDQU32:
	case ZYDIS_MNEMONIC_VMOVDQA32:
		return vmove(insn, &v, op, 4, 0, false);
	case ZYDIS_MNEMONIC_VMOVUPD:
	case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVDQU64:
	case ZYDIS_MNEMONIC_VMOVDQA64:
		return vmove(insn, &v, op, 8, 0, false);
	case ZYDIS_MNEMONIC_VMOVDQU8:
		return vmove(insn, &v, op, 1, 0, false);
	case ZYDIS_MNEMONIC_VMOVDQU16:
		return vmove(insn, &v, op, 2, 0, false);
	/* the low part */
	case ZYDIS_MNEMONIC_MOVNTQ:
	case ZYDIS_MNEMONIC_MOVD:
	case ZYDIS_MNEMONIC_MOVQ:
	case ZYDIS_MNEMONIC_VMOVD:
	case ZYDIS_MNEMONIC_VMOVQ:
		return movd(insn, &v, op);
	case ZYDIS_MNEMONIC_MOVSS:
	case ZYDIS_MNEMONIC_VMOVSS:
	case ZYDIS_MNEMONIC_MOVNTSS:
		return vmove(insn, &v, op, 4, 0, false);
	case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_VMOVSD:
	case ZYDIS_MNEMONIC_MOVNTSD:
		return vmove(insn, &v, op, 8, 0, false);
	case ZYDIS_MNEMONIC_VMOVSH:
	case ZYDIS_MNEMONIC_VMOVW:
		return vmove(insn, &v, op, 2, 0, false);
	case ZYDIS_MNEMONIC_MOVLPS:
	case ZYDIS_MNEMONIC_MOVLPD:
	case ZYDIS_MNEMONIC_VMOVLPS:
	case ZYDIS_MNEMONIC_VMOVLPD:
		return vmove(insn, &v, op, 8, 0, true);
	case ZYDIS_MNEMONIC_MOVHPS:
	case ZYDIS_MNEMONIC_MOVHPD:
	case ZYDIS_MNEMONIC_VMOVHPS:
	case ZYDIS_MNEMONIC_VMOVHPD:
		return vmove(insn, &v, op, 8, 8, true);
	/* a part */
	case ZYDIS_MNEMONIC_EXTRACTPS:
	case ZYDIS_MNEMONIC_VEXTRACTPS:
	case ZYDIS_MNEMONIC_PEXTRB:
	case ZYDIS_MNEMONIC_VPEXTRB:
	case ZYDIS_MNEMONIC_PEXTRW:
	case ZYDIS_MNEMONIC_VPEXTRW:
	case ZYDIS_MNEMONIC_PEXTRD:
	case ZYDIS_MNEMONIC_VPEXTRD:
	case ZYDIS_MNEMONIC_PEXTRQ:
	case ZYDIS_MNEMONIC_VPEXTRQ:
	case ZYDIS_MNEMONIC_VEXTRACTF128:
	case ZYDIS_MNEMONIC_VEXTRACTI128:
		return extract(insn, &v, op, 0);
	case ZYDIS_MNEMONIC_VEXTRACTF32X4:
	case ZYDIS_MNEMONIC_VEXTRACTI32X4:
	case ZYDIS_MNEMONIC_VEXTRACTF32X8:
	case ZYDIS_MNEMONIC_VEXTRACTI32X8:
		return extract(insn, &v, op, 4);
	case ZYDIS_MNEMONIC_VEXTRACTF64X2:
	case ZYDIS_MNEMONIC_VEXTRACTI64X2:
	case ZYDIS_MNEMONIC_VEXTRACTF64X4:
	case ZYDIS_MNEMONIC_VEXTRACTI64X4:
		return extract(insn, &v, op, 8);
	case ZYDIS_MNEMONIC_PINSRB:
	case ZYDIS_MNEMONIC_PINSRW:
	case ZYDIS_MNEMONIC_PINSRD:
	case ZYDIS_MNEMONIC_PINSRQ:
	case ZYDIS_MNEMONIC_VPINSRB:
	case ZYDIS_MNEMONIC_VPINSRW:
	case ZYDIS_MNEMONIC_VPINSRD:
	case ZYDIS_MNEMONIC_VPINSRQ:
	case ZYDIS_MNEMONIC_VINSERTF128:
	case ZYDIS_MNEMONIC_VINSERTI128:
		return insert(insn, &v, op);
	/* one element to all */
	case ZYDIS_MNEMONIC_MOVDDUP:
	case ZYDIS_MNEMONIC_VPBROADCASTQ:
	case ZYDIS_MNEMONIC_VBROADCASTSD:
	case ZYDIS_MNEMONIC_VBROADCASTF64X2:
	case ZYDIS_MNEMONIC_VBROADCASTI64X2:
	case ZYDIS_MNEMONIC_VBROADCASTF64X4:
	case ZYDIS_MNEMONIC_VBROADCASTI64X4:
		return broadcast(insn, &v, op, 8);
	case ZYDIS_MNEMONIC_VBROADCASTSS:
	case ZYDIS_MNEMONIC_VPBROADCASTD:
	case ZYDIS_MNEMONIC_VBROADCASTF128:
	case ZYDIS_MNEMONIC_VBROADCASTI128:
	case ZYDIS_MNEMONIC_VBROADCASTF32X2:
	case ZYDIS_MNEMONIC_VBROADCASTI32X2:
	case ZYDIS_MNEMONIC_VBROADCASTF32X4:
	case ZYDIS_MNEMONIC_VBROADCASTI32X4:
	case ZYDIS_MNEMONIC_VBROADCASTF32X8:
	case ZYDIS_MNEMONIC_VBROADCASTI32X8:
		return broadcast(insn, &v, op, 4);
	case ZYDIS_MNEMONIC_VPBROADCASTW:
		return broadcast(insn, &v, op, 2);
	case ZYDIS_MNEMONIC_VPBROADCASTB:
		return broadcast(insn, &v, op, 1);
	/* masks */
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
		return vmaskmov(insn, &v, op, 4);
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ:
		return vmaskmov(insn, &v, op, 8);
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
	case ZYDIS_MNEMONIC_MASKMOVQ:
		return maskmov(insn, &v, op);
	case ZYDIS_MNEMONIC_KMOVB:
	case ZYDIS_MNEMONIC_KMOVW:
	case ZYDIS_MNEMONIC_KMOVD:
	case ZYDIS_MNEMONIC_KMOVQ:
		return kmov(insn, &v, op);
	/* compress and narrow */
	case ZYDIS_MNEMONIC_VPCOMPRESSB:
		return packed_store(insn, &v, op, EMU_COMPRESS, 1, 0);
	case ZYDIS_MNEMONIC_VPCOMPRESSW:
		return packed_store(insn, &v, op, EMU_COMPRESS, 2, 0);
	case ZYDIS_MNEMONIC_VPCOMPRESSD:
	case ZYDIS_MNEMONIC_VCOMPRESSPS:
		return packed_store(insn, &v, op, EMU_COMPRESS, 4, 0);
	case ZYDIS_MNEMONIC_VPCOMPRESSQ:
	case ZYDIS_MNEMONIC_VCOMPRESSPD:
		return packed_store(insn, &v, op, EMU_COMPRESS, 8, 0);
	case ZYDIS_MNEMONIC_VPMOVWB:
		return packed_store(insn, &v, op, EMU_VTRUNC, 2, EMU_TRUNC);
	case ZYDIS_MNEMONIC_VPMOVDB:
	case ZYDIS_MNEMONIC_VPMOVDW:
		return packed_store(insn, &v, op, EMU_VTRUNC, 4, EMU_TRUNC);
	case ZYDIS_MNEMONIC_VPMOVQB:
	case ZYDIS_MNEMONIC_VPMOVQW:
	case ZYDIS_MNEMONIC_VPMOVQD:
		return packed_store(insn, &v, op, EMU_VTRUNC, 8, EMU_TRUNC);
	case ZYDIS_MNEMONIC_VPMOVSWB:
		return packed_store(insn, &v, op, EMU_VTRUNC, 2, EMU_TRUNC_SIGNED);
	case ZYDIS_MNEMONIC_VPMOVSDB:
	case ZYDIS_MNEMONIC_VPMOVSDW:
		return packed_store(insn, &v, op, EMU_VTRUNC, 4, EMU_TRUNC_SIGNED);
	case ZYDIS_MNEMONIC_VPMOVSQB:
	case ZYDIS_MNEMONIC_VPMOVSQW:
	case ZYDIS_MNEMONIC_VPMOVSQD:
		return packed_store(insn, &v, op, EMU_VTRUNC, 8, EMU_TRUNC_SIGNED);
	case ZYDIS_MNEMONIC_VPMOVUSWB:
		return packed_store(insn, &v, op, EMU_VTRUNC, 2, EMU_TRUNC_UNSIGNED);
	case ZYDIS_MNEMONIC_VPMOVUSDB:
	case ZYDIS_MNEMONIC_VPMOVUSDW:
		return packed_store(insn, &v, op, EMU_VTRUNC, 4, EMU_TRUNC_UNSIGNED);
	case ZYDIS_MNEMONIC_VPMOVUSQB:
	case ZYDIS_MNEMONIC_VPMOVUSQW:
	case ZYDIS_MNEMONIC_VPMOVUSQD:
		return packed_store(insn, &v, op, EMU_VTRUNC, 8, EMU_TRUNC_UNSIGNED);
	/* scatter */
	case ZYDIS_MNEMONIC_VPSCATTERDD:
	case ZYDIS_MNEMONIC_VSCATTERDPS:
		return scatter(insn, &v, op, 4, 4);
	case ZYDIS_MNEMONIC_VPSCATTERDQ:
	case ZYDIS_MNEMONIC_VSCATTERDPD:
		return scatter(insn, &v, op, 8, 4);
	case ZYDIS_MNEMONIC_VPSCATTERQD:
	case ZYDIS_MNEMONIC_VSCATTERQPS:
		return scatter(insn, &v, op, 4, 8);
	case ZYDIS_MNEMONIC_VPSCATTERQQ:
	case ZYDIS_MNEMONIC_VSCATTERQPD:
		return scatter(insn, &v, op, 8, 8);
	default:
		return false;
	}
}
