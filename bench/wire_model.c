/* SPDX-License-Identifier: BSD-3-Clause */
#include <uvfio/device.h>

#include "wire_model.h"

static int model_create(struct uvfio_device *dev, const struct uvfio_args *args, void **priv,
			struct uvfio_error *err)
{
	static const struct uvfio_area regs[] = {{0, 4096, UVFIO_AREA_REGISTERS, 0}};
	static const struct uvfio_area memory[] = {{0, 2 * BIG, UVFIO_AREA_MEMORY, 0}};
	struct uvfio_pci_desc desc = {
		.vendor = 0x1b36,
		.device = 0x0044,
		.class_code = 0xff0000,
		.bars[0] = {4096, 0, regs, 1},
		.bars[2] = {2 * BIG, 0, memory, 1},
		.bars[4] = {65536, 0, NULL, 0},
		.msix_vectors = VECTORS,
		.msix_bar = 4,
		.msix_pba = 32768,
		.pcie = true,
		.flr = true,
	};

	*priv = dev;
	return uvfio_device_init(dev, &desc, err);
}

static void model_destroy(void *priv)
{
}

static void model_write(void *priv, unsigned bar, uint64_t off, unsigned size, uint64_t value)
{
	uvfio_reg_set(priv, 0, off, size, value);
}

static bool model_work(void *priv)
{
	return false;
}

static void model_quiesce(void *priv)
{
	uvfio_quiesced(priv);
}

static void model_reset(void *priv, enum uvfio_reset_kind kind)
{
}

const struct uvfio_model wire_bench_model = {
	.abi = UVFIO_DEVICE_ABI,
	.name = "bench",
	.summary = "a device for benchmarks",
	.create = model_create,
	.destroy = model_destroy,
	.reg_write = model_write,
	.work = model_work,
	.quiesce = model_quiesce,
	.reset = model_reset,
};
