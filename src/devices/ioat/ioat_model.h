/* SPDX-License-Identifier: BSD-3-Clause */
/* The I/OAT DMA engine as the command line knows it. */
#ifndef IOAT_MODEL_H
#define IOAT_MODEL_H

#include <uvfio/device.h>

extern const struct uvfio_model ioat_model;

#endif
