/* SPDX-License-Identifier: BSD-3-Clause */
/* The device behind the vfio-user benchmarks: registers, 128 KiB of memory, 2,048 vectors. */
#ifndef UVFIO_BENCH_WIRE_MODEL_H
#define UVFIO_BENCH_WIRE_MODEL_H

#include <uvfio/device.h>

#define BIG     65536u /* half of its memory */
#define VECTORS 2048u

extern const struct uvfio_model wire_bench_model;

#endif
