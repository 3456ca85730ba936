/* SPDX-License-Identifier: BSD-3-Clause */
/* A part of evasive_client: descriptors that are paths, and files opened by their link in /proc. */
#include "evasive.h"
#include <sys/eventfd.h>
#include <sys/uio.h>

static int reopen(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags);
}

#define NO_FD(call) CHECK((call) == -1 && errno == EBADF)

/* A path only is no descriptor to any call. */
static void is_no_fd(int fd, bool device)
{
	uint32_t word = 0;
	struct iovec iov = {&word, sizeof(word)};
	off_t at = device ? 16ll << 40 : 7ll << 40;

	NEED(fd >= 0);
	NO_FD(ioctl(fd, VFIO_GET_API_VERSION));
	NO_FD(ioctl(fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
	NO_FD(ioctl(fd, VFIO_GROUP_GET_DEVICE_FD, names[0]));
	NO_FD(ioctl(fd, VFIO_GROUP_UNSET_CONTAINER));
	NO_FD(ioctl(fd, VFIO_DEVICE_RESET));
	NO_FD(pread(fd, &word, 4, at));
	NO_FD(pwrite(fd, &word, 4, at));
	NO_FD(preadv(fd, &iov, 1, at));
	NO_FD(pwritev(fd, &iov, 1, at));
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, at) == MAP_FAILED && errno == EBADF);
}

/* What is open, opened by its link in /proc: as with a kernel, which opens the character device
 * anew for a container and a group, and has nothing to open behind a device's descriptor. */
void reopened(void)
{
	int fd, other = -1, flags;
	char path[64];
	struct device d;

	open_device(&d, 0);
	read_register(&d, 0x1c);
	is_no_fd(reopen(d.container, O_PATH), false);
	is_no_fd(reopen(d.group, O_PATH), false);
	is_no_fd(reopen(d.fd, O_PATH | O_CLOEXEC), true);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", d.fd);
	is_no_fd(openat(AT_FDCWD, path, O_PATH | O_RDWR), true);
	is_no_fd(open_how(AT_FDCWD, path, O_PATH, 0), true);
	/* A group is not to be put into a path. */
	fd = reopen(d.container, O_PATH);
	group_path(path, 1);
	other = open(path, O_RDWR);
	NEED(other >= 0);
	NO_FD(ioctl(other, VFIO_GROUP_SET_CONTAINER, &fd));
	NO_FD(set_trigger(d.fd, reopen(eventfd(0, 0), O_PATH)));
	/* Nothing happened to what they lead to. */
	read_register(&d, 0x1c);

	/* Another container, which is empty. */
	fd = reopen(d.container, O_RDWR);
	CHECK(ioctl(fd, VFIO_GET_API_VERSION) == VFIO_API_VERSION);
	CHECK(ioctl(fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) == -1 && errno == EINVAL);
	CHECK(!ioctl(other, VFIO_GROUP_SET_CONTAINER, &fd));
	CHECK(!ioctl(fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
	close(fd);
	/* The group is in use, and free when it is not. */
	CHECK(reopen(d.group, O_RDWR) == -1 && errno == EBUSY);
	CHECK(reopen(other, O_WRONLY) == -1 && errno == EBUSY);
	/* A device has no other way in, whatever is asked of it. */
	for (flags = O_WRONLY; flags <= O_ACCMODE; flags++)
		CHECK(reopen(d.fd, flags) == -1 && errno == ENXIO);
	CHECK(reopen(d.fd, O_RDWR | O_TRUNC) == -1 && errno == ENXIO);
	CHECK(reopen(d.fd, O_RDWR | O_CREAT | O_EXCL) == -1 && errno == EEXIST);
	/* A path holds nothing: when the last descriptor goes, so does the device. */
	fd = reopen(d.fd, O_PATH);
	close(d.fd);
	CHECK(!ioctl(d.group, VFIO_GROUP_UNSET_CONTAINER));
	NO_FD(ioctl(fd, VFIO_DEVICE_RESET));
	/* One that was, and is a device's again, is one. */
	close(d.container);
	close(d.group);
	open_device(&d, 0);
	NEED(dup2(d.fd, fd) == fd);
	CHECK(!ioctl(fd, VFIO_DEVICE_RESET));
}

#define ASKED 50 /* so often that whatever is remembered of a number is */

/* What the calls of the three kinds say on @fd, again and again: 0, or the error. */
static void is_now(int fd, int container, int group, int device)
{
	for (unsigned i = 0; i < ASKED; i++) {
		struct vfio_group_status status = {.argsz = sizeof(status)};
		struct vfio_device_info info = {.argsz = sizeof(info)};
		int before = failures;

		CHECK((ioctl(fd, VFIO_GET_API_VERSION) < 0 ? errno : 0) == container);
		CHECK((ioctl(fd, VFIO_GROUP_GET_STATUS, &status) ? errno : 0) == group);
		CHECK((ioctl(fd, VFIO_DEVICE_GET_INFO, &info) ? errno : 0) == device);
		if (failures > before)
			return;
	}
}

/* A number is whatever was put there last. */
void hands_changed(void)
{
	struct device d, e;
	int pipes[2], fd = 700;
	uint32_t value;
	char c;

	open_device(&d, 0);
	open_device(&e, 1);
	write_register(&d, 0x24, 0x10001, 4);
	write_register(&e, 0x24, 0x20002, 4);
	NEED(!pipe(pipes));
	for (unsigned round = 0; round < 3; round++) {
		NEED(dup2(d.fd, fd) == fd);
		is_now(fd, ENOTTY, ENOTTY, 0);
		CHECK(pread(fd, &value, 4, (off_t)d.bar + 0x24) == 4 && value == 0x10001);
		NEED(dup2(e.fd, fd) == fd);
		for (unsigned i = 0; i < ASKED; i++)
			CHECK(pread(fd, &value, 4, (off_t)e.bar + 0x24) == 4 && value == 0x20002);
		NEED(dup2(d.container, fd) == fd);
		is_now(fd, 0, ENOTTY, ENOTTY);
		NEED(dup2(d.group, fd) == fd);
		is_now(fd, ENOTTY, 0, ENOTTY);
		NEED(dup2(reopen(d.fd, O_PATH), fd) == fd);
		is_now(fd, EBADF, EBADF, EBADF);
		NEED(dup2(e.fd, fd) == fd);
		is_now(fd, ENOTTY, ENOTTY, 0);
		NEED(dup2(eventfd(0, 0), fd) == fd);
		is_now(fd, ENOTTY, ENOTTY, ENOTTY);
		NEED(dup2(d.container, fd) == fd);
		is_now(fd, 0, ENOTTY, ENOTTY);
		close(fd);
		is_now(fd, EBADF, EBADF, EBADF);
	}
	/* What took the place of one of ours is kept by nobody. */
	NEED(dup2(d.fd, fd) == fd);
	is_now(fd, ENOTTY, ENOTTY, 0);
	NEED(dup2(pipes[1], fd) == fd);
	close(pipes[1]);
	is_now(fd, ENOTTY, ENOTTY, ENOTTY);
	close(fd);
	CHECK(read(pipes[0], &c, 1) == 0);
	/* One that is closed after many calls is closed. */
	is_now(d.fd, ENOTTY, ENOTTY, 0);
	close(d.fd);
	CHECK(!ioctl(d.group, VFIO_GROUP_UNSET_CONTAINER));
	is_now(d.fd, EBADF, EBADF, EBADF);
	CHECK(pread(e.fd, &value, 4, (off_t)e.bar + 0x24) == 4 && value == 0x20002);
}
