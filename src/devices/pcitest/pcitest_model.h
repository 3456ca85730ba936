/* SPDX-License-Identifier: BSD-3-Clause */
/* The test device as the command line knows it. */
#ifndef PCITEST_MODEL_H
#define PCITEST_MODEL_H

#include <uvfio/device.h>

extern const struct uvfio_model pcitest_model;

#endif
