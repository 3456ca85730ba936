/* SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "helper/runner.h"
#include "support/send_fds.h"
#include "uapi/helper/trap.h"

#define KEY 0x1eed12345eed4321ull
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

struct shared *shared;
static int dev_fd, shared_fd;
static uint8_t *device;

static void die(const char *what)
{
	perror(what);
	exit(98);
}

void runner_init(void)
{
	dev_fd = memfd_create("device", 0);
	shared_fd = memfd_create("shared", 0);
	if (dev_fd < 0 || shared_fd < 0 || ftruncate(dev_fd, (off_t)(DEV_BASE + PAGES * 4096)) ||
	    ftruncate(shared_fd, sizeof(struct shared)))
		die("memfd");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);
	device = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, dev_fd, DEV_BASE);
	if (shared == MAP_FAILED || device == MAP_FAILED)
		die("mmap");
}

void client_init(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, SHARED_FD, 0);
	if (shared == MAP_FAILED)
		die("mmap");
}

static int install_filter(void)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff00),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x3b00, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {sizeof(f) / sizeof(f[0]), f};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		die("no_new_privs");
	return (int)syscall(
		SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &prog);
}

static void send_fd(int sock, int fd)
{
	char c = 0;
	struct iovec v = {&c, 1};

	if (sendmsg_fds(sock, &v, 1, &fd, 1) != 1)
		die("sendmsg");
}

static int receive_fd(int sock)
{
	char c, control[CMSG_SPACE(sizeof(int))];
	struct iovec v = {&c, 1};
	struct msghdr m = {.msg_iov = &v,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};
	int fd;

	if (recvmsg(sock, &m, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&m))
		die("recvmsg");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

static unsigned page_flags(uint64_t page)
{
	return page == MEM ? UVFIO_MMAP_WRITABLE : page == READS ? UVFIO_MMAP_TRAP_READS : 0;
}

static int64_t answer_map(uint64_t offset, uint64_t uaddr, int pid)
{
	uint64_t page = (offset - DEV_BASE) / 4096, n = 1, key = KEY;
	struct iovec here = {&key, 8}, there = {(void *)uaddr, 8};

	if (offset < DEV_BASE || page >= PAGES)
		return -EINVAL;
	while (page + n < PAGES && page_flags(page + n) == page_flags(page))
		n++;
	shared->maps++;
	if (process_vm_writev(pid, &here, 1, &there, 1, 0) != 8)
		return -EFAULT;
	return uvfio_mmap_answer(page_flags(page), n);
}

static int64_t answer_store(uint64_t offset, uint64_t value, uint64_t key, unsigned size)
{
	uint64_t at = offset - DEV_BASE;
	struct entry *e;

	if (key != KEY || at >= PAGES * 4096 || at % size)
		return -EINVAL;
	if (at / 4096 == OFF)
		return -EIO;
	e = &shared->log[shared->stores % LOG_SIZE];
	*e = (struct entry){(uint32_t)at, size, value};
	memcpy(device + at, &value, size);
	shared->stores++;
	return 0;
}

static int64_t answer_load(uint64_t offset, uint64_t uaddr, uint64_t key, unsigned size, int pid)
{
	uint64_t at = offset - DEV_BASE, value = 0;
	struct iovec here = {&value, 8}, there = {(void *)uaddr, 8};

	if (key != KEY || at >= PAGES * 4096 || at % size)
		return -EINVAL;
	if (at / 4096 == OFF)
		return -EIO;
	shared->loads++;
	memcpy(&value, device + at, size);
	if (size < 8)
		return (int64_t)value;
	return process_vm_writev(pid, &here, 1, &there, 1, 0) == 8 ? 0 : -EFAULT;
}

static int64_t answer_key(int pid, int fd, uint64_t uaddr)
{
	struct uvfio_trap_file file = {.key = KEY};
	struct iovec here = {&file, sizeof(file)}, there = {(void *)uaddr, sizeof(file)};
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	if (stat(path, &st))
		return -EBADF;
	file.dev = st.st_dev;
	file.ino = st.st_ino;
	return process_vm_writev(pid, &here, 1, &there, 1, 0) == sizeof(file) ? 0 : -EFAULT;
}

/* What the structure begins with is noted, if it came along; if not, nobody needs it. */
static int64_t answer_info(const __u64 *a)
{
	const uint64_t key = uvfio_trap_seal(a[3], (int)a[0], (uint32_t)a[1], a[2]);

	if ((key & ~UVFIO_TRAP_CARRIES) != KEY)
		return 0;
	shared->keyed++;
	if (!(key & UVFIO_TRAP_CARRIES))
		return 0;
	shared->bytes[0] = a[4];
	shared->bytes[1] = a[5];
	shared->carried++;
	return 0;
}

static int64_t answer(const struct seccomp_notif *n)
{
	const __u64 *a = n->data.args;
	unsigned cmd = (unsigned)a[1];
	struct iovec here = {shared->fatal, a[3] < 599 ? a[3] : 599};
	struct iovec there = {(void *)a[2], here.iov_len};

	switch (cmd) {
	case UVFIO_TRAP_HELLO:
		shared->hellos++;
		return a[2] == UVFIO_TRAP_VERSION ? 0 : -EINVAL;
	case UVFIO_TRAP_CLOSED:
		shared->closes++;
		return 0;
	case UVFIO_TRAP_MMAP:
		return (int)a[0] >= 0 ? answer_map(a[2], a[5], (int)n->pid) : -EBADF;
	case UVFIO_TRAP_FATAL:
		return process_vm_readv((int)n->pid, &here, 1, &there, 1, 0) > 0 ? 0 : -EFAULT;
	case 0x3B64: /* VFIO_GET_API_VERSION */
		return 0;
	case UVFIO_TRAP_KEY:
		return answer_key((int)n->pid, (int)a[0], a[2]);
	case 0x3B6B: /* VFIO_DEVICE_GET_INFO */
		return answer_info(a);
	case 0x3B6A: /* VFIO_GROUP_GET_DEVICE_FD: the number in the argument */
		return (int64_t)a[2];
	default:
		break;
	}
	if ((cmd & ~15u) == UVFIO_TRAP_STORE)
		return answer_store(a[2], a[3], a[4], cmd & 15);
	if ((cmd & ~15u) == UVFIO_TRAP_LOAD)
		return answer_load(a[2], a[3], a[4], cmd & 15, (int)n->pid);
	return -ENOTTY;
}

static void serve(int listener)
{
	struct seccomp_notif n;
	struct seccomp_notif_resp r;
	struct pollfd p = {listener, POLLIN, 0};

	while (poll(&p, 1, -1) > 0 && !(p.revents & POLLHUP)) {
		int64_t value;

		memset(&n, 0, sizeof(n));
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n))
			continue;
		value = answer(&n);
		r = (struct seccomp_notif_resp){.id = n.id};
		if (value < 0)
			r.error = (int)value;
		else
			r.val = value;
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &r);
	}
	close(listener);
}

static void start_client(int sock, const char *scenario, const char *mmio)
{
	const char *helper = getenv("UVFIO_HELPER");
	int listener;

	if (dup2(dev_fd, DEV_FD) < 0 || dup2(shared_fd, SHARED_FD) < 0)
		die("dup2");
	if (mmio)
		setenv(UVFIO_ENV_MMIO, mmio, 1);
	else
		unsetenv(UVFIO_ENV_MMIO);
	if (!helper || setenv("LD_PRELOAD", helper, 1))
		die("UVFIO_HELPER (the path of libuvfio-helper.so)");
	listener = install_filter();
	if (listener < 0)
		die("seccomp");
	send_fd(sock, listener);
	close(listener);
	close(sock);
	execl("/proc/self/exe", "client", scenario, (char *)NULL);
	die("exec");
}

int runner_run(const char *scenario, const char *mmio)
{
	int sock[2], status, pid;

	memset(shared, 0, offsetof(struct shared, log));
	memset(device, 0, PAGES * 4096);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock))
		die("socketpair");
	fflush(NULL);
	pid = fork();
	if (!pid)
		start_client(sock[1], scenario, mmio);
	close(sock[1]);
	serve(receive_fd(sock[0]));
	close(sock[0]);
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	return status;
}
