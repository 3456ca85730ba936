/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From Zydis's description of an instruction to ours: the general-purpose ones (vectors:
 * decode_vec.c).
 *
 * Zydis knows every encoding; we keep what the emulator needs.  An instruction is taken only when
 * its operands have exactly the shape that its case expects: what is new to us is refused, not
 * guessed.
 */
#include <string.h>
#include <Zydis/Zydis.h>
#include "uapi/helper/decode.h"

bool decode_gpr(ZydisRegister reg, uint8_t *number, uint8_t *src)
{
	ZydisRegisterClass class = ZydisRegisterGetClass(reg);

	*src = EMU_SRC_REG;
	switch (class) {
	case ZYDIS_REGCLASS_GPR8:
		if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH) {
			*number = (uint8_t)(reg - ZYDIS_REGISTER_AH);
			*src = EMU_SRC_HIGH;
		} else if (reg >= ZYDIS_REGISTER_SPL) {
			*number = (uint8_t)(reg - ZYDIS_REGISTER_SPL + 4);
		} else {
			*number = (uint8_t)(reg - ZYDIS_REGISTER_AL);
		}
		return *number < 16;
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		*number = (uint8_t)ZydisRegisterGetId(reg);
		return *number < 16;
	default:
		return false;
	}
}

static bool decode_base(ZydisRegister reg, uint8_t *number)
{
	uint8_t src;

	if (reg == ZYDIS_REGISTER_NONE)
		*number = EMU_NO_REG;
	else if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
		*number = EMU_RIP;
	else
		return decode_gpr(reg, number, &src) && src == EMU_SRC_REG;
	return true;
}

bool decode_mem(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *o,
		struct emu_op *op)
{
	struct emu_mem *m = &op->mem;

	if (o->type != ZYDIS_OPERAND_TYPE_MEMORY || o->size % 8 || o->size > 512)
		return false;
	op->width = (uint8_t)(o->size / 8);
	m->scale = o->mem.scale;
	m->disp = o->mem.disp.has_displacement ? o->mem.disp.value : 0;
	m->addr32 = insn->address_width == 32;
	switch (o->mem.segment) {
	case ZYDIS_REGISTER_FS:
		m->seg = EMU_SEG_FS;
		break;
	case ZYDIS_REGISTER_GS:
		m->seg = EMU_SEG_GS;
		break;
	default:
		m->seg = EMU_SEG_NONE;
		break;
	}
	if (!decode_base(o->mem.base, &m->base))
		return false;
	if (o->mem.type == ZYDIS_MEMOP_TYPE_VSIB) {
		m->index = (uint8_t)ZydisRegisterGetId(o->mem.index);
		return m->index < 32;
	}
	/* An operand without displacement bytes has no displacement; moffs carries an address. */
	if (o->mem.base == ZYDIS_REGISTER_NONE && o->mem.index == ZYDIS_REGISTER_NONE)
		m->disp = o->mem.disp.value;
	return o->mem.type == ZYDIS_MEMOP_TYPE_MEM && decode_base(o->mem.index, &m->index);
}

/* A register or an immediate of @op. */
static bool decode_src(const ZydisDecodedOperand *o, struct emu_op *op)
{
	switch (o->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		return decode_gpr(o->reg.value, &op->reg, &op->src);
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		op->src = EMU_SRC_IMM;
		op->imm = o->imm.value.s;
		return true;
	default:
		return false;
	}
}

/* Memory first, then a register or an immediate. */
static bool mem_src(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *o,
		    struct emu_op *op, enum emu_kind kind, unsigned sub)
{
	op->kind = (uint8_t)kind;
	op->sub = (uint8_t)sub;
	return insn->operand_count >= 2 && decode_mem(insn, &o[0], op) && decode_src(&o[1], op) &&
	       op->width <= 8;
}

/* Memory alone. */
static bool mem_only(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *o,
		     struct emu_op *op, enum emu_kind kind, unsigned sub)
{
	op->kind = (uint8_t)kind;
	op->sub = (uint8_t)sub;
	return insn->operand_count >= 1 && decode_mem(insn, &o[0], op);
}

/* A register from memory. */
static bool load(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *o,
		 struct emu_op *op, enum emu_kind kind, bool sign)
{
	op->kind = (uint8_t)kind;
	op->sign = sign;
	if (insn->operand_count < 2 || o[0].type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	op->reg_width = (uint8_t)(o[0].size / 8);
	return decode_src(&o[0], op) && decode_mem(insn, &o[1], op) && op->width <= 8;
}

static bool move(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *o,
		 struct emu_op *op)
{
	if (o[0].type == ZYDIS_OPERAND_TYPE_MEMORY)
		return mem_src(insn, o, op, EMU_STORE, 0);
	return load(insn, o, op, EMU_LOAD, false);
}

static bool alu(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *o,
		struct emu_op *op, enum emu_alu sub)
{
	if (o[0].type == ZYDIS_OPERAND_TYPE_MEMORY)
		return mem_src(insn, o, op, EMU_ALU, sub);
	op->reg_is_dst = true;
	op->sub = (uint8_t)sub;
	return load(insn, o, op, EMU_ALU, false);
}

/* xchg may name its operands in either order. */
static bool exchange(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *o,
		     struct emu_op *op)
{
	op->kind = EMU_XCHG;
	if (o[0].type == ZYDIS_OPERAND_TYPE_MEMORY)
		return decode_mem(insn, &o[0], op) && decode_src(&o[1], op);
	return decode_mem(insn, &o[1], op) && decode_src(&o[0], op);
}

static bool shift2(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *o,
		   struct emu_op *op, bool right)
{
	uint8_t src;

	op->kind = EMU_SHIFT2;
	op->sub = right;
	return insn->operand_count >= 3 && decode_mem(insn, &o[0], op) &&
	       o[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       decode_gpr(o[1].reg.value, &op->reg2, &src) && decode_src(&o[2], op);
}

static bool string(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *o,
		   struct emu_op *op, enum emu_string sub, unsigned width)
{
	/* Two mnemonics are SSE's as well: movsd, cmpsd. */
	if (insn->meta.category != ZYDIS_CATEGORY_STRINGOP)
		return false;
	op->kind = EMU_STRING;
	op->sub = (uint8_t)sub;
	op->mem.addr32 = insn->address_width == 32;
	if (insn->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS)
		op->mem.seg = EMU_SEG_FS;
	else if (insn->attributes & ZYDIS_ATTRIB_HAS_SEGMENT_GS)
		op->mem.seg = EMU_SEG_GS;
	if (insn->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
		op->rep = EMU_REP;
	else if (insn->attributes & ZYDIS_ATTRIB_HAS_REPNE)
		op->rep = EMU_REPNE;
	op->width = (uint8_t)width;
	return true;
}

static bool movdir64b(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *o,
		      struct emu_op *op)
{
	op->kind = EMU_MOVDIR64B;
	return insn->operand_count >= 2 && decode_src(&o[0], op) && op->src == EMU_SRC_REG &&
	       decode_mem(insn, &o[1], op) && op->width == 64;
}

static bool decode_general(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *o,
			   struct emu_op *op)
{
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_MOVNTI:
	case ZYDIS_MNEMONIC_MOVDIRI:
		return move(insn, o, op);
	case ZYDIS_MNEMONIC_MOVBE:
		op->swap = true;
		return move(insn, o, op);
	case ZYDIS_MNEMONIC_MOVZX:
		return load(insn, o, op, EMU_LOAD, false);
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD:
		return load(insn, o, op, EMU_LOAD, true);
	case ZYDIS_MNEMONIC_ADD:
		return alu(insn, o, op, EMU_ADD);
	case ZYDIS_MNEMONIC_OR:
		return alu(insn, o, op, EMU_OR);
	case ZYDIS_MNEMONIC_ADC:
		return alu(insn, o, op, EMU_ADC);
	case ZYDIS_MNEMONIC_SBB:
		return alu(insn, o, op, EMU_SBB);
	case ZYDIS_MNEMONIC_AND:
		return alu(insn, o, op, EMU_AND);
	case ZYDIS_MNEMONIC_SUB:
		return alu(insn, o, op, EMU_SUB);
	case ZYDIS_MNEMONIC_XOR:
		return alu(insn, o, op, EMU_XOR);
	case ZYDIS_MNEMONIC_CMP:
		return alu(insn, o, op, EMU_CMP);
	case ZYDIS_MNEMONIC_TEST:
		return alu(insn, o, op, EMU_TEST);
	case ZYDIS_MNEMONIC_INC:
		return mem_only(insn, o, op, EMU_UNARY, EMU_INC) && op->width <= 8;
	case ZYDIS_MNEMONIC_DEC:
		return mem_only(insn, o, op, EMU_UNARY, EMU_DEC) && op->width <= 8;
	case ZYDIS_MNEMONIC_NEG:
		return mem_only(insn, o, op, EMU_UNARY, EMU_NEG) && op->width <= 8;
	case ZYDIS_MNEMONIC_NOT:
		return mem_only(insn, o, op, EMU_UNARY, EMU_NOT) && op->width <= 8;
	case ZYDIS_MNEMONIC_ROL:
		return mem_src(insn, o, op, EMU_SHIFT, EMU_ROL);
	case ZYDIS_MNEMONIC_ROR:
		return mem_src(insn, o, op, EMU_SHIFT, EMU_ROR);
	case ZYDIS_MNEMONIC_RCL:
		return mem_src(insn, o, op, EMU_SHIFT, EMU_RCL);
	case ZYDIS_MNEMONIC_RCR:
		return mem_src(insn, o, op, EMU_SHIFT, EMU_RCR);
	case ZYDIS_MNEMONIC_SHL:
		return mem_src(insn, o, op, EMU_SHIFT, EMU_SHL);
	case ZYDIS_MNEMONIC_SHR:
		return mem_src(insn, o, op, EMU_SHIFT, EMU_SHR);
	case ZYDIS_MNEMONIC_SAR:
		return mem_src(insn, o, op, EMU_SHIFT, EMU_SAR);
	case ZYDIS_MNEMONIC_SHLD:
		return shift2(insn, o, op, false);
	case ZYDIS_MNEMONIC_SHRD:
		return shift2(insn, o, op, true);
	case ZYDIS_MNEMONIC_BT:
		return mem_src(insn, o, op, EMU_BT, EMU_BIT_TEST);
	case ZYDIS_MNEMONIC_BTS:
		return mem_src(insn, o, op, EMU_BT, EMU_BIT_SET);
	case ZYDIS_MNEMONIC_BTR:
		return mem_src(insn, o, op, EMU_BT, EMU_BIT_RESET);
	case ZYDIS_MNEMONIC_BTC:
		return mem_src(insn, o, op, EMU_BT, EMU_BIT_COMPLEMENT);
	case ZYDIS_MNEMONIC_XCHG:
		return exchange(insn, o, op);
	case ZYDIS_MNEMONIC_XADD:
		return mem_src(insn, o, op, EMU_XADD, 0);
	case ZYDIS_MNEMONIC_CMPXCHG:
		return mem_src(insn, o, op, EMU_CMPXCHG, 0);
	case ZYDIS_MNEMONIC_CMPXCHG8B:
	case ZYDIS_MNEMONIC_CMPXCHG16B:
		return mem_only(insn, o, op, EMU_CMPXCHG2, 0);
	case ZYDIS_MNEMONIC_PUSH:
		return mem_only(insn, o, op, EMU_PUSH, 0);
	case ZYDIS_MNEMONIC_POP:
		return mem_only(insn, o, op, EMU_POP, 0);
	case ZYDIS_MNEMONIC_STOSB:
		return string(insn, o, op, EMU_STOS, 1);
	case ZYDIS_MNEMONIC_STOSW:
		return string(insn, o, op, EMU_STOS, 2);
	case ZYDIS_MNEMONIC_STOSD:
		return string(insn, o, op, EMU_STOS, 4);
	case ZYDIS_MNEMONIC_STOSQ:
		return string(insn, o, op, EMU_STOS, 8);
	case ZYDIS_MNEMONIC_MOVSB:
		return string(insn, o, op, EMU_MOVS, 1);
	case ZYDIS_MNEMONIC_MOVSW:
		return string(insn, o, op, EMU_MOVS, 2);
	case ZYDIS_MNEMONIC_MOVSD:
		return string(insn, o, op, EMU_MOVS, 4);
	case ZYDIS_MNEMONIC_MOVSQ:
		return string(insn, o, op, EMU_MOVS, 8);
	case ZYDIS_MNEMONIC_LODSB:
		return string(insn, o, op, EMU_LODS, 1);
	case ZYDIS_MNEMONIC_LODSW:
		return string(insn, o, op, EMU_LODS, 2);
	case ZYDIS_MNEMONIC_LODSD:
		return string(insn, o, op, EMU_LODS, 4);
	case ZYDIS_MNEMONIC_LODSQ:
		return string(insn, o, op, EMU_LODS, 8);
	case ZYDIS_MNEMONIC_SCASB:
		return string(insn, o, op, EMU_SCAS, 1);
	case ZYDIS_MNEMONIC_SCASW:
		return string(insn, o, op, EMU_SCAS, 2);
	case ZYDIS_MNEMONIC_SCASD:
		return string(insn, o, op, EMU_SCAS, 4);
	case ZYDIS_MNEMONIC_SCASQ:
		return string(insn, o, op, EMU_SCAS, 8);
	case ZYDIS_MNEMONIC_CMPSB:
		return string(insn, o, op, EMU_CMPS, 1);
	case ZYDIS_MNEMONIC_CMPSW:
		return string(insn, o, op, EMU_CMPS, 2);
	case ZYDIS_MNEMONIC_CMPSD:
		return string(insn, o, op, EMU_CMPS, 4);
	case ZYDIS_MNEMONIC_CMPSQ:
		return string(insn, o, op, EMU_CMPS, 8);
	case ZYDIS_MNEMONIC_MOVDIR64B:
		return movdir64b(insn, o, op);
	case ZYDIS_MNEMONIC_CLFLUSH:
	case ZYDIS_MNEMONIC_CLFLUSHOPT:
	case ZYDIS_MNEMONIC_CLWB:
	case ZYDIS_MNEMONIC_CLDEMOTE:
		op->kind = EMU_NOP;
		return true;
	default:
		break;
	}
	/* The opcode's low digit is the condition. */
	if (insn->meta.category == ZYDIS_CATEGORY_SETCC)
		return mem_only(insn, o, op, EMU_SETCC, insn->opcode & 15) && op->width == 1;
	if (insn->meta.category == ZYDIS_CATEGORY_CMOV) {
		op->sub = insn->opcode & 15;
		return load(insn, o, op, EMU_CMOV, false);
	}
	return false;
}

bool emu_decode(const void *bytes, size_t avail, struct emu_op *op)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecoderContext context;

	memset(op, 0, sizeof(*op));
	if (avail > EMU_MAX_INSN)
		avail = EMU_MAX_INSN;
	if (ZYAN_FAILED(
		    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)) ||
	    ZYAN_FAILED(ZydisDecoderDecodeInstruction(&decoder, &context, bytes, avail, &insn)) ||
	    ZYAN_FAILED(ZydisDecoderDecodeOperands(&decoder, &context, &insn, operands,
						   insn.operand_count)))
		return false;
	op->mem.base = op->mem.index = EMU_NO_REG;
	op->reg2 = EMU_NO_REG;
	op->repeat = 1;
	if (insn.operand_count &&
	    (decode_general(&insn, operands, op) || emu_decode_vector(&insn, operands, op))) {
		op->len = insn.length;
		return true;
	}
	memset(op, 0, sizeof(*op));
	return false;
}
