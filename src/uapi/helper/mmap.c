/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mmap and its relations.
 *
 * A shared mapping of a file at 1 TiB or beyond may be a BAR: the runner says.  It is made with the
 * rights that all of it may have (from the first moment on: another thread may guess the address),
 * its pages are entered in the table, and then those that may be written directly are given that
 * right. Every call that changes or removes mappings is checked against the table, which costs a
 * load when there is none, and takes the table's lock across the system call only when it concerns
 * one.
 *
 * A file that cannot be mapped may be a BAR in /sys: the runner says, and gives another in its
 * place.
 *
 * mmap is also called by allocators before anything else runs: nothing here allocates or looks up
 * symbols, unless the next library's function has been found already.
 */
#undef _FILE_OFFSET_BITS /* mmap and mmap64 are one function here, and both are defined */
#include <errno.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "uapi/helper/helper.h"

static int result(long ret)
{
	if (!sys_failed(ret))
		return (int)ret;
	errno = (int)-ret;
	return -1;
}

static void *pointer_result(long ret)
{
	if (!sys_failed(ret))
		return (void *)ret;
	errno = (int)-ret;
	return MAP_FAILED;
}

static uint64_t page_up(uint64_t n)
{
	return (n + PAGE - 1) & ~(PAGE - 1);
}

/* What a page of a range with @flags really gets when the program asks for @prot. */
static int real_prot(unsigned flags, int prot)
{
	if (flags & UVFIO_MMAP_WRITABLE || prot == PROT_NONE)
		return prot;
	if (flags & UVFIO_MMAP_TRAP_READS)
		return PROT_NONE;
	/* What can be written can be read, as the processor has it. */
	if (prot & PROT_WRITE)
		prot |= PROT_READ;
	return prot & ~PROT_WRITE;
}

static long sys_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	return sys6(SYS_mmap, (long)addr, (long)len, prot, flags, fd, offset);
}

/* Something else has taken the place of what the table says about these pages. */
static void forget(uint64_t start, uint64_t end)
{
	if (!table_intersects(start, end))
		return;
	table_lock();
	table_cut(start, end);
	table_unlock();
}

/* *@key is 0 when the runner did not write it. */
static long ask(int fd, uint64_t offset, uint64_t len, int prot, uint64_t *key)
{
	*key = 0;
	return sys6(SYS_ioctl, fd, UVFIO_TRAP_MMAP, (long)offset, (long)len, prot, (long)key);
}

/*
 * The rights that all pages of [offset, offset + len) may have.  Returns false when the runner does
 * not know this file, or refuses: the mmap itself will then tell.
 */
static bool common_prot(int fd, uint64_t offset, uint64_t len, int asked, int *prot)
{
	uint64_t key;

	*prot = asked;
	for (uint64_t done = 0; done < len;) {
		long answer = ask(fd, offset + done, len - done, asked, &key);

		if (sys_failed(answer) || !uvfio_mmap_pages(answer) || !key)
			return false;
		*prot &= real_prot(uvfio_mmap_flags(answer), asked);
		done += uvfio_mmap_pages(answer) * PAGE;
	}
	return true;
}

static bool enter_ranges(uint64_t addr, int fd, uint64_t offset, uint64_t len, int asked, int have)
{
	uint64_t pages, key;

	for (uint64_t done = 0; done < len; done += pages * PAGE) {
		long answer = ask(fd, offset + done, len - done, asked, &key);
		unsigned flags = uvfio_mmap_flags(answer);
		struct range range;
		int prot;

		if (sys_failed(answer))
			return false;
		pages = uvfio_mmap_pages(answer);
		if (!pages || !key)
			return false;
		if (pages > (len - done) / PAGE)
			pages = (len - done) / PAGE;
		range = (struct range){
			.start = addr + done,
			.end = addr + done + pages * PAGE,
			.offset = offset + done,
			.key = key,
			.flags = (uint8_t)flags,
			.prot = (uint8_t)asked,
		};
		if (!table_add(&range))
			return false;
		prot = real_prot(flags, asked);
		if (prot != have &&
		    sys3(SYS_mprotect, (long)range.start, (long)(pages * PAGE), prot))
			return false;
	}
	return true;
}

static void *map_device(void *addr, size_t len, int prot, int flags, int fd, off_t offset,
			bool *ours)
{
	uint64_t length = page_up(len), start;
	bool good;
	int have;
	long ret;

	*ours = length && length >= len && !((uint64_t)offset & (PAGE - 1)) &&
		common_prot(fd, (uint64_t)offset, length, prot, &have) && trap_usable() &&
		signals_arm() && probe_registers();
	if (!*ours)
		return NULL;
	table_lock();
	ret = sys_mmap(addr, len, have, flags, fd, offset);
	if (sys_failed(ret)) {
		table_unlock();
		return pointer_result(ret);
	}
	start = (uint64_t)ret;
	good = enter_ranges(start, fd, (uint64_t)offset, length, prot, have);
	if (!good) {
		table_cut(start, start + length);
		sys2(SYS_munmap, ret, (long)length);
		ret = -ENOMEM;
	}
	table_unlock();
	return pointer_result(ret);
}

/* @fd cannot be mapped. */
static void *map_resource(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	uint64_t where = 0;
	long view = sys6(SYS_ioctl, fd, UVFIO_TRAP_RESOURCE, (long)offset, (long)len, prot,
			 (long)&where);
	bool ours = false;
	void *ret;

	if (sys_failed(view))
		return pointer_result(view == -ENOTTY ? -ENODEV : view);
	ret = map_device(addr, len, prot, flags, (int)view, (off_t)where, &ours);
	if (!ours)
		ret = pointer_result(sys_mmap(addr, len, prot, flags, (int)view, (off_t)where));
	if (!ours && ret != MAP_FAILED)
		forget((uint64_t)ret, (uint64_t)ret + page_up(len));
	sys1(SYS_close, view);
	return ret;
}

EXPORT void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	const int type = flags & MAP_TYPE;
	const bool shared = fd >= 0 && (type == MAP_SHARED || type == MAP_SHARED_VALIDATE);
	bool ours = false;
	void *ret;

	if ((uint64_t)offset >= UVFIO_TRAP_MIN_OFFSET && shared && helper_active()) {
		ret = map_device(addr, len, prot, flags, fd, offset, &ours);
		if (ours)
			return ret;
	}
	ret = pointer_result(sys_mmap(addr, len, prot, flags, fd, offset));
	if (ret != MAP_FAILED)
		forget((uint64_t)ret, (uint64_t)ret + page_up(len));
	else if (errno == ENODEV && shared && helper_active())
		ret = map_resource(addr, len, prot, flags, fd, offset);
	return ret;
}

EXPORT void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off64_t offset)
{
	return mmap(addr, len, prot, flags, fd, offset);
}

/* The key of the one file that is mapped there; 0: there are several. */
static uint64_t only_key(uint64_t start, uint64_t end)
{
	struct range range;
	uint64_t key = 0;

	for (uint64_t at = start; table_after(at, &range) && range.start < end; at = range.end) {
		if (key && range.key != key)
			return 0;
		key = range.key;
	}
	return key;
}

EXPORT int munmap(void *addr, size_t len)
{
	uint64_t start = (uint64_t)addr, end = start + page_up(len);
	struct uvfio_trap_file file = {0};
	long ret;

	if (end <= start || !table_intersects(start, end))
		return result(sys2(SYS_munmap, (long)addr, (long)len));
	table_lock();
	file.key = only_key(start, end);
	ret = sys2(SYS_munmap, (long)addr, (long)len);
	if (!ret)
		table_cut(start, end);
	table_unlock();
	/* It may have been the last that held the device open. */
	if (!ret)
		helper_wait_released(&file);
	return result(ret);
}

/* mprotect piece by piece, each with the rights that it may have. */
static long protect(uint64_t start, uint64_t end, int prot, int pkey)
{
	struct range range;
	long ret = 0;

	for (uint64_t at = start, to; at < end && !ret; at = to) {
		int real = prot;

		to = end;
		if (table_after(at, &range) && range.start < end) {
			if (range.start > at) {
				to = range.start;
			} else {
				to = range.end < end ? range.end : end;
				real = real_prot(range.flags, prot);
			}
		}
		ret = sys4(pkey < 0 ? SYS_mprotect : SYS_pkey_mprotect, (long)at, (long)(to - at),
			   real, pkey);
		if (!ret)
			table_protect(at, to, prot);
	}
	return ret;
}

static int protect_call(void *addr, size_t len, int prot, int pkey)
{
	uint64_t start = (uint64_t)addr, end = start + page_up(len);
	long ret;

	if (end <= start || start & (PAGE - 1) || !table_intersects(start, end) ||
	    prot & (PROT_GROWSDOWN | PROT_GROWSUP))
		return result(sys4(pkey < 0 ? SYS_mprotect : SYS_pkey_mprotect, (long)addr,
				   (long)len, prot, pkey));
	table_lock();
	ret = protect(start, end, prot, pkey);
	table_unlock();
	return result(ret);
}

EXPORT int mprotect(void *addr, size_t len, int prot)
{
	return protect_call(addr, len, prot, -1);
}

EXPORT int pkey_mprotect(void *addr, size_t len, int prot, int pkey)
{
	return protect_call(addr, len, prot, pkey);
}

static long sys_mremap(void *old, size_t old_len, size_t new_len, int flags, void *new)
{
	return sys5(SYS_mremap, (long)old, (long)old_len, (long)new_len, flags, (long)new);
}

EXPORT void *mremap(void *old, size_t old_len, size_t new_len, int flags, ...)
{
	uint64_t start = (uint64_t)old, end = start + page_up(old_len), to;
	void *new = NULL;
	va_list ap;
	long ret;

	va_start(ap, flags);
	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))
		new = va_arg(ap, void *);
	va_end(ap);
	if (!table_intersects(start, end > start ? end : start + 1)) {
		ret = sys_mremap(old, old_len, new_len, flags, new);
		if (!sys_failed(ret))
			forget((uint64_t)ret, (uint64_t)ret + page_up(new_len));
		return pointer_result(ret);
	}
	/* Mappings of the kernel's vfio can neither grow nor be duplicated, nor leave a hole
	 * behind. */
	if (!old_len || flags & MREMAP_DONTUNMAP)
		return pointer_result(-EINVAL);
	if (page_up(new_len) > page_up(old_len))
		return pointer_result(-EFAULT);
	table_lock();
	ret = sys_mremap(old, old_len, new_len, flags, new);
	if (!sys_failed(ret)) {
		to = (uint64_t)ret;
		table_cut(start + page_up(new_len), end);
		if (to != start) {
			table_cut(to, to + page_up(new_len));
			table_move(start, start + page_up(new_len), to);
		}
	}
	table_unlock();
	return pointer_result(ret);
}
