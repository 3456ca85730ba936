/* SPDX-License-Identifier: BSD-3-Clause */
/* Between the two halves of the decoder. */
#ifndef UVFIO_HELPER_DECODE_H
#define UVFIO_HELPER_DECODE_H

#include <Zydis/Zydis.h>
#include "uapi/helper/emu.h"

/* The hardware's number of a general register; *src: EMU_SRC_REG or EMU_SRC_HIGH. */
bool decode_gpr(ZydisRegister reg, uint8_t *number, uint8_t *src);

/* Memory operand @o into op->mem and op->width. */
bool decode_mem(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *o,
		struct emu_op *op);

/* @op is as decode_general() left it when it did not know the instruction. */
bool emu_decode_vector(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *operands,
		       struct emu_op *op);

#endif
