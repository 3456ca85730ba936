/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies between devices and memory that take their time: another thread comes in between, so that
 * an unmap often finds a transfer under way.
 */
#include <sched.h>
#include <stddef.h>
#include <stdint.h>

#define SLOW_FROM 1024u /* shorter ones have promises of order to keep */

int __real_uvfio_guard_copy(void *dst, const void *src, size_t len);
int __wrap_uvfio_guard_copy(void *dst, const void *src, size_t len);
int __real_uvfio_copy(void *dst, const void *src, size_t len);
int __wrap_uvfio_copy(void *dst, const void *src, size_t len);

static int slowly(int (*copy)(void *dst, const void *src, size_t len), void *dst, const void *src,
		  size_t len)
{
	size_t half = len / 2 & ~(size_t)15;
	int ret;

	if (len < SLOW_FROM)
		return copy(dst, src, len);
	ret = copy(dst, src, half);
	sched_yield();
	if (!ret)
		ret = copy((uint8_t *)dst + half, (const uint8_t *)src + half, len - half);
	return ret;
}

int __wrap_uvfio_guard_copy(void *dst, const void *src, size_t len)
{
	return slowly(__real_uvfio_guard_copy, dst, src, len);
}

int __wrap_uvfio_copy(void *dst, const void *src, size_t len)
{
	return slowly(__real_uvfio_copy, dst, src, len);
}
