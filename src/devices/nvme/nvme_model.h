/* SPDX-License-Identifier: BSD-3-Clause */
/* The NVMe controller, for the table of models. */
#ifndef UVFIO_NVME_MODEL_H
#define UVFIO_NVME_MODEL_H

#include <uvfio/device.h>

extern const struct uvfio_model nvme_model;

#endif
