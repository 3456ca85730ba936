/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Theory of operation.  All anonymous files share an inode, and reading, writing or ioctl() might
 * do something to those that are no eventfds.  What a file is says its name in /proc, but looking
 * that up takes microseconds.  So it is asked of a system call that takes an eventfd as an
 * argument: io_submit(), for which an operation names the eventfd that is to be signalled when it
 * is done.  The kernel looks at that first, by the file's type alone, and only then at the
 * operation; which is to read from a file of ours into what can be no memory of this process, and
 * so never begins.
 *
 *     EFAULT   it came as far as the memory: an eventfd
 *     EBADF    no file, or O_PATH
 *     EINVAL   no eventfd, if for one of ours the answer is EFAULT
 *     else     nothing learned; the name tells
 *
 * That a kernel answers in this order is tried when the check is made.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sched.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/eventfd.h"
#include "base/fd.h"

#define TRIES 1000u

/* -errno; never 0. */
static int try_to_read(const struct uvfio_eventfd_check *check, int fd)
{
	struct iocb op = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)check->own,
		.aio_buf = UINT64_MAX - 4095, /* the kernel's half */
		.aio_nbytes = 8,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = (uint32_t)fd,
	};
	struct iocb *ops[1] = {&op};

	return syscall(SYS_io_submit, check->context, 1L, ops) == 1 ? -EIO : -errno;
}

void uvfio_eventfd_check_init(struct uvfio_eventfd_check *check)
{
	aio_context_t context = 0;
	int pipes[2];

	*check = (struct uvfio_eventfd_check){.own = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	if (check->own < 0 || syscall(SYS_io_setup, 1, &context))
		return;
	check->context = context;
	if (pipe2(pipes, O_CLOEXEC)) {
		uvfio_eventfd_check_fini(check);
		return;
	}
	if (try_to_read(check, check->own) != -EFAULT || try_to_read(check, pipes[0]) != -EINVAL)
		uvfio_eventfd_check_fini(check);
	close(pipes[0]);
	close(pipes[1]);
}

void uvfio_eventfd_check_fini(struct uvfio_eventfd_check *check)
{
	if (check->context)
		syscall(SYS_io_destroy, check->context);
	if (check->own >= 0)
		close(check->own);
	*check = (struct uvfio_eventfd_check){.own = -1};
}

bool uvfio_eventfd_check(const struct uvfio_eventfd_check *check, int fd)
{
	int flags, ret = 0;

	if (fd < 0)
		return false;
	if (check && check->context) {
		/* Other threads may be at it, more than the kernel has room for. */
		for (unsigned i = 0; i < TRIES && (ret = try_to_read(check, fd)) == -EAGAIN; i++)
			sched_yield();
		if (ret == -EFAULT)
			return true;
		if (ret == -EBADF)
			return false;
		/* In a child of who made the check, every answer is this one. */
		if (ret == -EINVAL && try_to_read(check, check->own) == -EFAULT)
			return false;
	}
	flags = fcntl(fd, F_GETFL);
	return flags >= 0 && !(flags & O_PATH) && uvfio_is_eventfd(fd);
}
