/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The limit for a device on a file: a bare io_uring loop of 4 KiB random reads, one thread, no
 * device.
 */
#ifndef UVFIO_BENCH_URING_H
#define UVFIO_BENCH_URING_H

#include <stdbool.h>
#include <stdint.h>

/* Thousands of reads a second over the first @size bytes of @path at @depth; ends the process on an
 * error. */
double bench_uring_reads(const char *path, uint64_t size, unsigned depth, unsigned reads,
			 bool direct);

#endif
