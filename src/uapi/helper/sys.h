/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * System calls without the C library: no errno, no cancellation, no interposed symbol.  A negative
 * result in -4095..-1 is an error, -errno.
 */
#ifndef UVFIO_HELPER_SYS_H
#define UVFIO_HELPER_SYS_H

static inline long sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline long sys5(long nr, long a, long b, long c, long d, long e)
{
	return sys6(nr, a, b, c, d, e, 0);
}

static inline long sys4(long nr, long a, long b, long c, long d)
{
	return sys6(nr, a, b, c, d, 0, 0);
}

static inline long sys3(long nr, long a, long b, long c)
{
	return sys6(nr, a, b, c, 0, 0, 0);
}

static inline long sys2(long nr, long a, long b)
{
	return sys6(nr, a, b, 0, 0, 0, 0);
}

static inline long sys1(long nr, long a)
{
	return sys6(nr, a, 0, 0, 0, 0, 0);
}

static inline long sys0(long nr)
{
	return sys6(nr, 0, 0, 0, 0, 0, 0);
}

static inline int sys_failed(long ret)
{
	return ret < 0 && ret >= -4095;
}

#endif
