/* SPDX-License-Identifier: BSD-3-Clause */
/* What the two programs of fuzz_nvme.c share: a hostile driver of one controller. */
#ifndef TESTS_FUZZ_NVME_H
#define TESTS_FUZZ_NVME_H

#include <stdint.h>

#include "input.h"
#include "nvme_harness.h"

/* Inputs from this first byte on are for a controller with VFs. */
#define FUZZ_VFS 0xe0

/* Client memory that pointers mostly lead to, with lists in it that the input writes. */
#define PLAY_BASE (H_MEM_BASE + (8u << 20))

static inline uint8_t u8(struct input *in)
{
	return (uint8_t)take(in, 1);
}

static inline uint16_t u16(struct input *in)
{
	return (uint16_t)take(in, 2);
}

static inline uint32_t u32(struct input *in)
{
	return (uint32_t)take(in, 4);
}

/* A controller with three namespaces, and the options @more. */
struct harness *fuzz_new(const char *more);
/* What a driver does, so that there are queues to play with. */
void fuzz_bring_up(struct harness *h);
/* Take what has been completed. */
void fuzz_consume(struct harness *h);
/* The next step of the driver of @h. */
void fuzz_one(struct harness *h, struct input *in);
/* From here on nothing is faulty. */
void fuzz_behave(struct harness *h);
/* @h, which has been brought up, reads. */
void fuzz_works(struct harness *h);

/* fuzz_nvme_vfs.c */
void fuzz_vfs(struct input *in);

#endif
