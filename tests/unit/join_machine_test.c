/* SPDX-License-Identifier: BSD-3-Clause */
/* src/join: the machine's tree in /sys for who has joined it, and what is behind the tree. */
#include "join_fixture.h"
#include "join/guest.h"
#include "sysfs/snapshot.h"
#include "sysfs/sysfs.h"

static int64_t serve_sysfs(int sock, int fd, const char *links, size_t len)
{
	post(sock, (struct join_head){.kind = JOIN_SYSFS, .arg = {0}}, links, len, fd);
	expect(sock, JOIN_DONE);
	join_packet_close(&packet);
	return packet.head.value;
}

/* A tree in /sys: one for a connection, on a socket; what comes over that is not trusted, and its
 * end is not the connection's. */
static void test_sysfs(void **state)
{
	static const char links[] = "a\0../a\0x/y\0../b\0\0c\0lonely";
	int plain = open("/dev/null", O_RDWR | O_CLOEXEC), pair[2];
	struct joined j;
	char byte;

	if (!sysfs_built())
		skip();
	join_open(&j);
	assert_int_equal(serve_sysfs(j.sock, -1, NULL, 0), -EBADF);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_true(serve_sysfs(j.sock, pair[1], links, sizeof(links)) > 0);
	assert_int_equal(serve_sysfs(j.sock, pair[1], links, sizeof(links)), -EBUSY);
	close(pair[1]);
	assert_int_equal(send(pair[0], links, sizeof(links), 0), sizeof(links));
	assert_int_equal(recv(pair[0], &byte, 1, 0), 0);
	close(pair[0]);
	assert_int_equal(
		call(j.sock, (struct join_head){.kind = JOIN_HELLO, .arg = {JOIN_VERSION}}), 0);
	close(j.sock);
	j.sock = connect_host(j.host);
	assert_int_equal(serve_sysfs(j.sock, plain, NULL, 0), -EINVAL);
	close(plain);
	join_close(&j);
}

static int64_t call_by_name(int sock, struct join_head head, const char *name)
{
	post(sock, head, name, strlen(name), -1);
	expect(sock, JOIN_DONE);
	join_packet_close(&packet);
	return packet.head.value;
}

/* Devices as the host has them: named, and what is opened so can be mapped, no more. */
static void test_resource(void **state)
{
	const struct join_head open = {.kind = JOIN_RESOURCE_OPEN, .arg = {VFIO_MMIO_EXACT}},
			       mode = {.kind = JOIN_RESOURCE_OPEN, .arg = {77}},
			       uio = {.kind = JOIN_UIO_IOCTL, .arg = {1, VFIO_DEVICE_SET_IRQS, 1}};
	struct joined j;
	uint32_t handle;

	join_open(&j);
	assert_int_equal(call_by_name(j.sock, open, ""), -ENODEV);
	assert_int_equal(call_by_name(j.sock, open, "0000:7f:00.0"), -ENODEV);
	assert_int_equal(call_by_name(j.sock, open, "0000:01:00.0    "), -EINVAL);
	assert_int_equal(call_by_name(j.sock, mode, "0000:01:00.0"), -EINVAL);
	assert_int_equal(call_by_name(j.sock, uio, "0000:01:00.0"), -ENODEV);
	assert_int_equal(call_by_name(j.sock, uio, "x"), -ENODEV);
	handle = (uint32_t)call_by_name(j.sock, open, "0000:01:00.0");
	assert_true(handle > 0 && handle <= JOIN_OBJECTS);
	for (unsigned kind = JOIN_DEVICE_MMIO; kind <= JOIN_DEVICE_VIEW; kind++) {
		struct join_head head = {.kind = kind, .handle = handle, .arg = {0, 4, 1}};
		bool mapping = kind == JOIN_DEVICE_STORE || kind == JOIN_DEVICE_LOAD ||
			       kind == JOIN_DEVICE_MMAP;

		assert_true((call(j.sock, head) == -EBADF) != mapping);
	}
	/* A tree's handle is not a device's, nor the other way round. */
	assert_int_equal(
		call(j.sock, (struct join_head){.kind = JOIN_SYSFS_IDENTIFY, .handle = handle}),
		-EBADF);
	assert_int_equal(call(j.sock, (struct join_head){.kind = JOIN_RELEASE, .handle = handle}),
			 0);
	assert_true(call_by_name(j.sock, open, "0000:01:00.0") > 0); /* left to the end */
	join_close(&j);
}

/* A snapshot of the tree: in pieces, one at a time, until its end was fetched. */
static void test_snapshot(void **state)
{
	const struct join_head begin = {.kind = JOIN_SNAPSHOT},
			       next = {.kind = JOIN_SNAPSHOT, .arg = {JOIN_DATA}},
			       beyond = {.kind = JOIN_SNAPSHOT, .arg = {UINT64_MAX}};
	struct uvfio_error err = {""};
	struct uapi_core *core;
	struct joined j;
	uint8_t *want, *data;
	size_t want_len, len;

	join_open(&j);
	for (unsigned i = 0; i < 10; i++)
		fixture_add(&j.f, "probe");
	assert_int_equal(sysfs_snapshot(j.f.machine, &want, &want_len), 0);
	assert_true(want_len > JOIN_DATA && want_len < 2 * JOIN_DATA);
	assert_int_equal(call(j.sock, next), -EINVAL);
	for (unsigned i = 0; i < 2; i++) { /* a second one replaces the first */
		assert_int_equal(call(j.sock, begin), want_len);
		assert_int_equal(packet.head.len, JOIN_DATA);
		assert_memory_equal(packet.data, want, JOIN_DATA);
	}
	assert_int_equal(call(j.sock, beyond), -EINVAL);
	assert_int_equal(packet.head.len, 0);
	assert_int_equal(call(j.sock, next), want_len);
	assert_int_equal(packet.head.len, want_len - JOIN_DATA);
	assert_memory_equal(packet.data, want + JOIN_DATA, want_len - JOIN_DATA);
	assert_int_equal(call(j.sock, next), -EINVAL);
	assert_int_equal(call(j.sock, begin), want_len); /* what is left goes with the connection */
	close(j.sock);
	j.sock = connect_host(j.host);
	core = join_guest_new(j.sock, "m", j.log, &err);
	assert_non_null(core);
	assert_int_equal(core->ops->sysfs_snapshot(core, &data, &len), 0);
	assert_int_equal(len, want_len);
	assert_memory_equal(data, want, len);
	free(data);
	free(want);
	core->ops->free(core);
	j.sock = connect_host(j.host);
	join_close(&j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sysfs),
		cmocka_unit_test(test_resource),
		cmocka_unit_test(test_snapshot),
	};

	return cmocka_run_group_tests_name("join_machine", tests, NULL, NULL);
}
