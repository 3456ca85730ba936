/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device behind the vfio-user benchmarks: registers, 128 KiB of memory, 2,048 vectors.
 *
 * A write of N to a register of the following translates random IOVAs of the first N that the
 * client has mapped (or of N that the device maps by itself); the picoseconds of one are in the
 * third then, ones if any was not mapped.
 */
#ifndef UVFIO_BENCH_WIRE_MODEL_H
#define UVFIO_BENCH_WIRE_MODEL_H

#include <uvfio/device.h>

#define BIG                65536u /* half of its memory */
#define VECTORS            2048u

#define WIRE_TRANSLATE     0x100
#define WIRE_TRANSLATE_OWN 0x104
#define WIRE_RESULT        0x108

/* Where the client maps page @i, and what of its file. */
uint64_t wire_bench_iova(unsigned i);
uint64_t wire_bench_offset(unsigned i);

extern const struct uvfio_model wire_bench_model;

#endif
