/* SPDX-License-Identifier: BSD-3-Clause */
/* The device models that are built in. */
#ifndef UVFIO_DEVICES_MODELS_H
#define UVFIO_DEVICES_MODELS_H

#include <uvfio/device.h>

extern const struct uvfio_model *const device_models[]; /* ends with NULL */
unsigned device_nr_models(void);

#endif
