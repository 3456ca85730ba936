/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory of a task: process_vm_readv and process_vm_writev, or where a container's profile
 * refuses these, /proc/TID/mem.  That one asks nobody whether a page may be read or written, so
 * this is looked up first; but not of paths, which are read too often.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>
#include "uapi/task.h"
#include "uapi/vma.h"

#define PAGE_BYTES 4096u

static int open_proc(pid_t tid, const char *name, int flags)
{
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d%s", tid, name);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int is_permitted(void *arg, const struct vma *vma)
{
	const unsigned *prot = arg;

	return vma->prot & *prot ? 0 : -EFAULT;
}

/* Has the task @prot on all of that? */
static int check(pid_t tid, uint64_t uaddr, size_t len, unsigned prot)
{
	int proc = open_proc(tid, "", O_PATH | O_DIRECTORY), ret;

	if (proc < 0)
		return proc;
	ret = uaddr + len < uaddr ? -EFAULT
				  : vma_walk(proc, -1, uaddr, uaddr + len, is_permitted, &prot);
	close(proc);
	return ret;
}

static bool is_refusal(int error)
{
	return error == EPERM || error == ENOSYS;
}

/* As pread(2) of the memory, for what was refused with @error. */
static ssize_t read_mem(pid_t tid, void *dst, uint64_t uaddr, size_t len, int error)
{
	int mem = open_proc(tid, "/mem", O_RDONLY);
	ssize_t n;

	if (mem < 0)
		return -error;
	n = pread(mem, dst, len, (off_t)uaddr);
	close(mem);
	return n > 0 || !len ? n : -EFAULT;
}

static ssize_t write_mem(pid_t tid, uint64_t uaddr, const void *src, size_t len, int error)
{
	int mem = open_proc(tid, "/mem", O_WRONLY), ret;
	ssize_t n;

	if (mem < 0)
		return -error;
	ret = check(tid, uaddr, len, PROT_WRITE);
	n = ret ? ret : pwrite(mem, src, len, (off_t)uaddr);
	close(mem);
	return n > 0 || !len ? n : -EFAULT;
}

static ssize_t read_memory(pid_t tid, void *dst, uint64_t uaddr, size_t len, bool is_path)
{
	struct iovec local = {dst, len};
	struct iovec remote = {(void *)(uintptr_t)uaddr, len};
	ssize_t n = process_vm_readv(tid, &local, 1, &remote, 1, 0);
	int e = errno;

	if (n >= 0)
		return n;
	if (!is_refusal(e))
		return -e;
	n = read_mem(tid, dst, uaddr, len, e);
	if (n > 0 && !is_path && check(tid, uaddr, (size_t)n, PROT_READ))
		return -EFAULT;
	return n;
}

ssize_t uapi_task_read(pid_t tid, void *dst, uint64_t uaddr, size_t len)
{
	return read_memory(tid, dst, uaddr, len, false);
}

ssize_t uapi_task_write(pid_t tid, uint64_t uaddr, const void *src, size_t len)
{
	struct iovec local = {(void *)(uintptr_t)src, len};
	struct iovec remote = {(void *)(uintptr_t)uaddr, len};
	ssize_t n = process_vm_writev(tid, &local, 1, &remote, 1, 0);

	if (n >= 0)
		return n;
	return is_refusal(errno) ? write_mem(tid, uaddr, src, len, errno) : -errno;
}

ssize_t uapi_task_read_string(pid_t tid, char *dst, uint64_t uaddr, size_t size)
{
	size_t done = 0;

	while (done < size) {
		/* A page at a time: what lies behind the string may be missing. */
		size_t piece = PAGE_BYTES - ((uaddr + done) & (PAGE_BYTES - 1));
		const char *end;
		ssize_t n;

		if (piece > 256)
			piece = 256 - ((uaddr + done) & 255);
		if (piece > size - done)
			piece = size - done;
		n = read_memory(tid, dst + done, uaddr + done, piece, true);
		if (n < 0)
			return n;
		end = memchr(dst + done, '\0', (size_t)n);
		if (end)
			return end - dst;
		if ((size_t)n < piece)
			return -EFAULT;
		done += piece;
	}
	return -ENAMETOOLONG;
}
