/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * src/join: a call that has been made uses nothing any more, whatever becomes of its answer.  What
 * the runner then releases is closed, and can be opened anew (A.4, D.3).
 */
#include <dirent.h>
#include <sys/syscall.h>
#include "join_fixture.h"
#include "vfio/iommufd_uapi.h"
#include "vfio/vfio_uapi.h"

#define READ_BYTES 4096u

/* Another channel, whose server can send one answer of READ_BYTES, and no more before that is
 * received. */
static int narrow_channel(int sock)
{
	int pair[2], least = 1;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
	post(sock, (struct join_head){.kind = JOIN_CHANNEL}, NULL, 0, pair[1]);
	expect(sock, JOIN_DONE);
	assert_int_equal(packet.head.value, 0);
	close(pair[1]);
	return pair[0];
}

/* Does a thread of the server's wait in sendmsg? */
static bool server_sends(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	bool found = false;
	char path[300], comm[32];
	int nr;

	assert_non_null(dir);
	while (!found && (entry = readdir(dir))) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		found = fgets(comm, sizeof(comm), f) && !strcmp(comm, "uvfio-join\n");
		fclose(f);
		snprintf(path, sizeof(path), "/proc/self/task/%s/syscall", entry->d_name);
		f = found ? fopen(path, "r") : NULL;
		found = f && fscanf(f, "%d", &nr) == 1 && nr == SYS_sendmsg; /* else "running" */
		if (f)
			fclose(f);
	}
	closedir(dir);
	return found;
}

/* Two calls of which one answer can be sent; the second has been made when this returns. */
static void leave_unanswered(int sock, struct join_head head)
{
	post(sock, head, NULL, 0, -1);
	post(sock, head, NULL, 0, -1);
	while (!server_sends())
		sched_yield();
}

static void take_answers(int sock)
{
	for (unsigned i = 0; i < 2; i++) {
		expect(sock, JOIN_DONE);
		assert_int_equal(packet.head.value, READ_BYTES);
	}
	close(sock);
}

static struct join_head read_of(uint32_t device, uint64_t offset)
{
	return (struct join_head){
		.kind = JOIN_DEVICE_READ, .handle = device, .arg = {offset, READ_BYTES}};
}

static int64_t bind_to(int sock, uint32_t device, uint32_t iommufd)
{
	struct vfio_cdev_bind b = {.argsz = sizeof(b), .iommufd = 7};

	post(sock,
	     (struct join_head){
		     .kind = JOIN_DEVICE_IOCTL, .handle = device, .arg = {1, VFIO_CDEV_BIND, 64}},
	     NULL, 0, -1);
	for (;;) {
		struct join_head answer = {.kind = JOIN_ANSWER};
		const char *data = NULL;
		size_t len = 0;

		assert_int_equal(join_receive(sock, &packet), 0);
		switch (packet.head.kind) {
		case JOIN_DONE:
			return packet.head.value;
		case JOIN_ASK_FROM:
			data = (const char *)&b + (packet.head.arg[0] - 64);
			len = packet.head.arg[1];
			break;
		case JOIN_ASK_IOMMUFD:
			answer.value = iommufd;
			break;
		default:
			assert_int_equal(packet.head.kind, JOIN_ASK_TO);
		}
		post(sock, answer, data, len, -1);
	}
}

static int64_t release(int sock, int64_t handle)
{
	return call(sock, (struct join_head){.kind = JOIN_RELEASE, .handle = (uint32_t)handle});
}

/* A device's own node: BIND of another file is EINVAL while one is bound. */
static void test_bind(void **state)
{
	const uint64_t config = VFIO_REGION_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX);
	int64_t iommufd, device;
	struct joined j;
	int narrow;

	join_open(&j);
	iommufd = call(j.sock, (struct join_head){.kind = JOIN_IOMMUFD_OPEN});
	device = call(j.sock, (struct join_head){.kind = JOIN_CDEV_OPEN});
	assert_true(iommufd > 0 && device > 0);
	assert_int_equal(bind_to(j.sock, (uint32_t)device, (uint32_t)iommufd), 0);
	narrow = narrow_channel(j.sock);
	leave_unanswered(narrow, read_of((uint32_t)device, config));
	assert_int_equal(release(j.sock, device), 0);
	device = call(j.sock, (struct join_head){.kind = JOIN_CDEV_OPEN});
	assert_true(device > 0);
	assert_int_equal(bind_to(j.sock, (uint32_t)device, (uint32_t)iommufd), 0);
	take_answers(narrow);
	join_close(&j);
}

/* A device of a group, and the group: EBUSY while it is open. */
static void test_group(void **state)
{
	const uint64_t config = VFIO_REGION_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX);
	uint32_t group, container, device;
	struct joined j;
	int narrow;

	join_open(&j);
	group = open_group(j.sock, 1, &container);
	device = open_device(j.sock, group, "0000:01:00.0");
	narrow = narrow_channel(j.sock);
	leave_unanswered(narrow, read_of(device, config));
	assert_int_equal(release(j.sock, device), 0);
	assert_int_equal(
		call(j.sock, (struct join_head){.kind = JOIN_GROUP_UNSET, .handle = group}), 0);
	assert_int_equal(release(j.sock, group), 0);
	group = open_group(j.sock, 1, NULL);
	take_answers(narrow);
	join_close(&j);
}

/* The file of a device's view is sent whole, though nothing uses the device meanwhile. */
static void test_view(void **state)
{
	struct stat first, second;
	uint32_t device;
	struct joined j;

	join_open(&j);
	device = open_device(j.sock, open_group(j.sock, 1, NULL), "0000:01:00.0");
	for (unsigned i = 0; i < 2; i++) {
		struct stat *st = i ? &second : &first;
		int fd;

		post(j.sock, (struct join_head){.kind = JOIN_DEVICE_VIEW, .handle = device}, NULL,
		     0, -1);
		expect(j.sock, JOIN_DONE);
		assert_int_equal(packet.head.value, 0);
		fd = join_packet_take(&packet, 0);
		assert_int_equal(fstat(fd, st), 0);
		close(fd);
	}
	assert_int_equal(first.st_ino, second.st_ino);
	assert_true(first.st_size > 0);
	join_close(&j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bind),
		cmocka_unit_test(test_group),
		cmocka_unit_test(test_view),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
