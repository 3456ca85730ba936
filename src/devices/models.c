/* SPDX-License-Identifier: BSD-3-Clause */
#include <stddef.h>
#include "devices/ioat/ioat_model.h"
#include "devices/models.h"
#include "devices/nvme/nvme_model.h"
#include "devices/pcitest/pcitest_model.h"

const struct uvfio_model *const device_models[] = {
	&ioat_model,
	&nvme_model,
	&pcitest_model,
	NULL,
};

unsigned device_nr_models(void)
{
	return sizeof(device_models) / sizeof(device_models[0]) - 1;
}
