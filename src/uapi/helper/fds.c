/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Closing a VFIO fd.
 *
 * When close of the last fd of a device returns, the kernel's vfio has stopped the device: no DMA
 * lands any more, and the device can be opened again.  Here another process has to do that, so a
 * close that may have been the last waits for it: one round trip, for VFIO's fds only, and for the
 * file that was closed, if that is one: others may take long.  Which fds those are is learnt from
 * the ioctls that succeed on them (every VFIO and iommufd command has the same type byte, and a fd
 * on which none succeeded has started nothing), and from duplication.  A bit that is set in error,
 * for a number that is something else now, costs a round trip and goes away with it.
 */
#undef _FILE_OFFSET_BITS /* fcntl and fcntl64 are both defined here */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "uapi/helper/helper.h"

#define VFIO_TYPE                ';'
#define VFIO_GROUP_GET_DEVICE_FD 0x3B6A
#define VFIO_IOMMU_MAP_DMA       0x3B71
#define MAX_FDS                  65536 /* higher ones share one bit */
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4
#endif

static _Atomic uint64_t marks[MAX_FDS / 64 + 1];
static _Atomic bool any;

DEFINE_NEXT(ioctl);
DEFINE_NEXT(close);
DEFINE_NEXT(close_range);
DEFINE_NEXT(closefrom);
DEFINE_NEXT(dup);
DEFINE_NEXT(dup2);
DEFINE_NEXT(dup3);
DEFINE_NEXT(fcntl);
DEFINE_NEXT(fcntl64);

static unsigned slot(int fd)
{
	return fd < MAX_FDS ? (unsigned)fd : MAX_FDS;
}

static bool marked(int fd)
{
	unsigned n = slot(fd);

	if (fd < 0 || !atomic_load_explicit(&any, memory_order_relaxed))
		return false;
	return atomic_load_explicit(&marks[n / 64], memory_order_relaxed) >> n % 64 & 1;
}

static void mark(int fd)
{
	unsigned n = slot(fd);

	if (fd < 0 || marked(fd))
		return;
	atomic_store_explicit(&any, true, memory_order_relaxed);
	atomic_fetch_or_explicit(&marks[n / 64], 1ull << n % 64, memory_order_relaxed);
}

/* A child of vfork closes its own fds, but the marks are its parent's.  The shared bit stays. */
static void unmark(int fd)
{
	if (fd >= 0 && fd < MAX_FDS && !helper_foreign())
		atomic_fetch_and_explicit(&marks[fd / 64], ~(1ull << fd % 64),
					  memory_order_relaxed);
}

/* The file of @fd, before it is closed.  All 0: not known. */
static struct uvfio_trap_file file_of(int fd)
{
	struct stat st;

	if (sys_failed(sys2(SYS_fstat, fd, (long)&st)))
		return (struct uvfio_trap_file){0};
	return (struct uvfio_trap_file){.dev = st.st_dev, .ino = st.st_ino};
}

static void released(const struct uvfio_trap_file *file)
{
	int saved = errno;

	helper_wait_released(file);
	errno = saved;
}

/* Is the next ioctl the C library's?  Another library that stands before that must see the calls.
 */
static bool next_is_libcs(void)
{
	static _Atomic int known; /* 1: it is, 2: not */
	int is = atomic_load_explicit(&known, memory_order_relaxed);

	if (!is) {
		void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);

		is = libc && dlsym(libc, "ioctl") == (void *)NEXT(ioctl) ? 1 : 2;
		if (libc)
			dlclose(libc);
		atomic_store_explicit(&known, is, memory_order_relaxed);
	}
	return is == 1;
}

/* ioctl(2) with a key, if there is one, of the function with @frame.  False: not done. */
static bool with_key(int fd, unsigned long request, void *arg, const void *frame, int *ret)
{
	uint64_t key;
	long got;

	if ((request >> 8 & 0xff) != VFIO_TYPE || !marked(fd) || !next_is_libcs())
		return false;
	key = keys_of(fd);
	if (!key)
		return false;
	got = keys_ioctl(fd, request, arg, key, frame);
	if (sys_failed(got)) {
		errno = (int)-got;
		got = -1;
	}
	*ret = (int)got;
	return true;
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
	bool keyed;
	va_list ap;
	long again;
	void *arg;
	int ret;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	keyed = with_key(fd, request, arg, __builtin_frame_address(0), &ret);
	if (!keyed)
		ret = NEXT(ioctl)(fd, request, arg);
	if (ret < 0 && (uint32_t)request == VFIO_IOMMU_MAP_DMA && errno == EFAULT &&
	    dma_map_again(fd, arg, &again))
		ret = (int)again;
	if ((request >> 8 & 0xff) == VFIO_TYPE && ret >= 0 && helper_active()) {
		mark(fd);
		if (!keyed && next_is_libcs())
			keys_learn(fd);
		if ((uint32_t)request == VFIO_GROUP_GET_DEVICE_FD)
			mark(ret);
	}
	return ret;
}

EXPORT int close(int fd)
{
	struct uvfio_trap_file file;
	bool ours = marked(fd);
	int ret;

	if (ours) {
		file = file_of(fd);
		unmark(fd); /* before its number can be given away again */
	}
	ret = NEXT(close)(fd);
	if (ours)
		released(&file);
	return ret;
}

/* Any marked fd in [first, last]?  Unmarks them.  *@file: of the only one. */
static bool unmark_range(unsigned first, unsigned last, struct uvfio_trap_file *file)
{
	bool found = false, others = last >= MAX_FDS && marked(MAX_FDS);

	*file = (struct uvfio_trap_file){0};

	if (!atomic_load_explicit(&any, memory_order_relaxed))
		return false;
	for (unsigned n = first; n <= last && n < MAX_FDS; n++) {
		if (!(n % 64) && !atomic_load_explicit(&marks[n / 64], memory_order_relaxed)) {
			n += 63;
			continue;
		}
		if (marked((int)n)) {
			*file = found || others ? (struct uvfio_trap_file){0} : file_of((int)n);
			found = true;
			unmark((int)n);
		}
	}
	return found || others;
}

EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	struct uvfio_trap_file file;
	bool ours = !(flags & CLOSE_RANGE_CLOEXEC) && unmark_range(first, last, &file);
	int ret = NEXT(close_range)(first, last, flags);

	if (ours)
		released(&file);
	return ret;
}

EXPORT void closefrom(int low)
{
	struct uvfio_trap_file file;
	bool ours = unmark_range(low > 0 ? (unsigned)low : 0, ~0u, &file);

	NEXT(closefrom)(low);
	if (ours)
		released(&file);
}

EXPORT int dup(int fd)
{
	bool ours = marked(fd);
	int ret = NEXT(dup)(fd);

	if (ours)
		mark(ret);
	return ret;
}

/* The file that @to is before something takes its place. */
static struct uvfio_trap_file replaced(int to, bool was)
{
	return was ? file_of(to) : (struct uvfio_trap_file){0};
}

static int duplicated(int from, int to, bool was, const struct uvfio_trap_file *file, int ret)
{
	if (ret < 0 || from == to)
		return ret;
	if (marked(from))
		mark(to);
	else if (was)
		unmark(to);
	if (was)
		released(file);
	return ret;
}

EXPORT int dup2(int from, int to)
{
	bool was = marked(to);
	struct uvfio_trap_file file = replaced(to, was);

	return duplicated(from, to, was, &file, NEXT(dup2)(from, to));
}

EXPORT int dup3(int from, int to, int flags)
{
	bool was = marked(to);
	struct uvfio_trap_file file = replaced(to, was);

	return duplicated(from, to, was, &file, NEXT(dup3)(from, to, flags));
}

static int fcntl_done(int fd, int cmd, int ret)
{
	if ((cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC) && marked(fd))
		mark(ret);
	return ret;
}

EXPORT int fcntl(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	return fcntl_done(fd, cmd, NEXT(fcntl)(fd, cmd, arg));
}

EXPORT int fcntl64(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	return fcntl_done(fd, cmd, NEXT(fcntl64)(fd, cmd, arg));
}
