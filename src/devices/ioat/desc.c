/* SPDX-License-Identifier: BSD-3-Clause */
/* What a descriptor says, and whether it may. */
#include "devices/ioat/ioat.h"

static bool wraps(uint64_t address, uint32_t size)
{
	return size && address > UINT64_MAX - (size - 1);
}

bool ioat_desc_valid(const struct ioat_desc *desc, enum ioat_error *error, uint64_t *value)
{
	*error = IOAT_ERR_CONTROL;
	*value = desc->control;
	if ((desc->control & 0xffffff & ~IOAT_DESC_FLAGS) ||
	    (IOAT_DESC_OP(desc->control) != IOAT_OP_COPY &&
	     IOAT_DESC_OP(desc->control) != IOAT_OP_FILL))
		return false;
	if (ioat_desc_op(desc) == IOAT_COUNT_NULL)
		return true;
	*error = IOAT_ERR_LENGTH;
	*value = desc->size;
	if (!desc->size || desc->size > IOAT_XFER_MAX)
		return false;
	*error = IOAT_ERR_SOURCE;
	*value = desc->src;
	if (ioat_desc_op(desc) == IOAT_COUNT_COPY && wraps(desc->src, desc->size))
		return false;
	*error = IOAT_ERR_DESTINATION;
	*value = desc->dst;
	return !wraps(desc->dst, desc->size);
}
