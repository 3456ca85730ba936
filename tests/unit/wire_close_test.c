/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client sends files whose closing takes as long as it likes, for DMA or where they do not
 * belong: nobody else waits for that.
 */
#include "stalling_file.h"
#include "wire_util.h"

#define OTHERS 6 /* so that some are on the same loop */

static const char twin[] =
	"{\"capabilities\":{\"max_msg_fds\":16,\"twin_socket\":{\"supported\":true}}}";

/* Ways to have an fd closed that nobody takes; each leaves the server with at least one. */
static void map_badly(int fd, int dma, int file)
{
	struct vfio_user_dma_map map = {sizeof(map), 0x80, 0, 0, 4096};

	client_send(fd, 1, VFIO_USER_DMA_MAP, 0, &map, sizeof(map), &file, 1);
}

static void with_what_takes_none(int fd, int dma, int file)
{
	client_send(fd, 1, VFIO_USER_DEVICE_RESET, 0, NULL, 0, &file, 1);
}

static void as_unmask(int fd, int dma, int file)
{
	struct vfio_irq_set set = {.argsz = sizeof(set),
				   .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK,
				   .index = VFIO_PCI_INTX_IRQ_INDEX,
				   .count = 1};

	client_send(fd, 1, VFIO_USER_DEVICE_SET_IRQS, 0, &set, sizeof(set), &file, 1);
}

static void too_many(int fd, int dma, int file)
{
	struct vfio_user_header hdr = {1, VFIO_USER_DEVICE_RESET, sizeof(hdr), 0, 0};
	int fds[16];

	for (unsigned i = 0; i < 16; i++)
		fds[i] = file;
	for (unsigned i = 0; i < sizeof(hdr); i++)
		send_fds(fd, (char *)&hdr + i, 1, fds, i < 3 ? 16 : 0);
}

static void many_messages(int fd, int dma, int file)
{
	for (unsigned i = 0; i < 40; i++)
		with_what_takes_none(fd, dma, file);
}

static void on_the_second_socket(int fd, int dma, int file)
{
	client_send(dma, 1, VFIO_USER_DEVICE_RESET, 0, NULL, 0, &file, 1);
}

static void nobody_waits(void (*attack)(int fd, int dma, int file))
{
	struct stalling_file *stalling = stalling_file_make(65536, true);
	struct wire_fixture f;
	struct reply r;
	int fd, dma, file, other;

	if (!stalling)
		skip();
	file = open(stalling->path, O_RDWR | O_CLOEXEC);
	assert_true(file >= 0);
	wire_up(&f);
	fd = client_connect(&f);
	assert_int_equal(client_version(fd, twin, &r), 0);
	dma = r.fd;
	attack(fd, dma, file);
	stalling_file_wait(stalling);
	for (unsigned i = 0; i < OTHERS; i++) {
		other = client_connect(&f);
		/* EBUSY, or 0 where the attack was the end of the connection. */
		assert_true(client_version(other, NULL, &r) >= 0);
		close(other);
	}
	stalling_file_go(stalling);
	close(file);
	close(dma);
	close(fd);
	wire_down(&f);
	stalling_file_free(stalling);
}

static void bad_map(void **state)
{
	nobody_waits(map_badly);
}

static void not_taken(void **state)
{
	nobody_waits(with_what_takes_none);
}

static void unmask(void **state)
{
	nobody_waits(as_unmask);
}

static void more_than_fit(void **state)
{
	nobody_waits(too_many);
}

static void flood(void **state)
{
	nobody_waits(many_messages);
}

static void second_socket(void **state)
{
	nobody_waits(on_the_second_socket);
}

/* Mapped, which takes a file that answers nothing any more; then let go in some way. */
static void map_and(bool unmap)
{
	struct stalling_file *stalling = stalling_file_make(65536, true);
	struct wire_fixture f;
	uint64_t unmapped;
	struct stat st;
	int fd, file;

	if (!stalling)
		skip();
	file = open(stalling->path, O_RDWR | O_CLOEXEC);
	assert_int_equal(fstat(file, &st), 0); /* from here on its size is known */
	wire_up(&f);
	fd = client_open(&f);
	assert_int_equal(client_map(fd, 0x10000, 8192, file, 0), 0);
	assert_int_equal(client_map(fd, 0x20000, 65536, file, 0), 0);
	assert_int_equal(client_map(fd, 0x40000, 65536, file, 4096), EFAULT);
	stalling_file_wait(stalling);
	if (unmap) {
		assert_int_equal(client_unmap(fd, 0x10000, 8192, 0, &unmapped), 0);
		assert_int_equal(client_unmap(fd, 0x20000, 65536, 0, &unmapped), 0);
		assert_int_equal(client_get(fd, W_ID), WDEV_ID);
	}
	close(fd);
	/* The next one gets the device. */
	for (unsigned i = 0; i < 3; i++)
		close(client_open(&f));
	stalling_file_go(stalling);
	close(file);
	wire_down(&f);
	stalling_file_free(stalling);
}

static void leaves_mapped(void **state)
{
	map_and(false);
}

static void unmaps(void **state)
{
	map_and(true);
}

/* This process is the server and the client. */
static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Memory files of maps are closed by the time that the client has been answered twice, whether the
 * maps were answered, refused or posted in a row.  One descriptor stays of each file that is mapped,
 * however often it is: for a server that takes the place of this one. */
static void maps_leave_no_fds(void **state)
{
	int mem = memfd_create("memory", MFD_CLOEXEC), fd;
	struct vfio_user_dma_map map = {sizeof(map), 3, 0, 0, 4096};
	struct wire_fixture f;
	unsigned before;

	assert_int_equal(ftruncate(mem, 1 << 20), 0);
	wire_up(&f);
	fd = client_open(&f);
	client_enable(fd);
	client_get(fd, W_SCRATCH);
	before = open_fds();
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(client_map(fd, i * 4096, 4096, mem, i * 4096), 0);
		assert_int_equal(client_map(fd, i * 4096, 4096, mem, 0), EEXIST);
	}
	for (unsigned i = 50; i < 150; i++) {
		map.address = i * 4096;
		client_send(fd, (uint16_t)i, VFIO_USER_DMA_MAP, VFIO_USER_NO_REPLY, &map,
			    sizeof(map), &mem, 1);
	}
	client_get(fd, W_SCRATCH);
	client_get(fd, W_SCRATCH);
	assert_int_equal(open_fds(), before + 1);
	/* The last ones are not lost with the connection. */
	assert_int_equal(client_map(fd, 1 << 24, 4096, mem, 0), 0);
	close(fd);
	wire_down(&f);
	assert_true(open_fds() < before);
	close(mem);
}

static void device_gone(void *arg, const char *name)
{
	atomic_store((atomic_bool *)arg, true);
}

/* Of two devices, one does not become quiet: it is taken from its client and away all the same,
 * which takes as long as that takes and holds up neither who asks for it nor the other device. */
static void held_up(void **state)
{
	atomic_bool stuck_gone = false, other_gone = false;
	struct wire_listener *second;
	struct wire_options options;
	struct uvfio_error err = {""};
	struct wire_fixture f;
	struct wdev *stuck;
	static struct reply r;
	int fd, other, pair[2];

	wire_up(&f);
	stuck = f.dev;
	wire_options_default(&options);
	assert_int_equal(vfio_machine_add_device(f.machine, "wdev", &err), 0);
	assert_int_equal(
		wire_listen(f.server, "0000:02:00.0", listening_socket(), &options, &second, &err),
		0);
	fd = client_open(&f);
	client_enable(fd);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	other = pair[0];
	assert_int_equal(wire_adopt(second, pair[1]), 0);
	assert_int_equal(client_version(other, NULL, &r), 0);
	stuck->slow = true;
	client_send(fd, 1, VFIO_USER_DEVICE_RESET, 0, NULL, 0, NULL, 0);
	while (!stuck->quiescing)
		usleep(100);

	assert_int_equal(vfio_machine_remove_device(f.machine, "0000:01:00.0", 0, device_gone,
						    &stuck_gone, &err),
			 0);
	wire_unlisten(f.listener);
	assert_int_equal(client_receive(fd, &r), -1);
	assert_int_equal(wire_connections(f.server, NULL, 0), 2);
	assert_int_equal(vfio_machine_remove_device(f.machine, "0000:02:00.0", 0, device_gone,
						    &other_gone, &err),
			 0);
	wire_unlisten(second);
	assert_int_equal(client_receive(other, &r), -1);
	while (!other_gone || wire_connections(f.server, NULL, 0) > 1)
		usleep(100);
	assert_int_equal(wire_connections(f.server, NULL, 0), 1);
	assert_false(stuck_gone);

	stuck->may_end = true;
	uvfio_kick(stuck->dev);
	while (!stuck_gone)
		usleep(100);
	close(other);
	close(fd);
	wire_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(held_up),       cmocka_unit_test(bad_map),
		cmocka_unit_test(not_taken),     cmocka_unit_test(unmask),
		cmocka_unit_test(more_than_fit), cmocka_unit_test(flood),
		cmocka_unit_test(second_socket), cmocka_unit_test(unmaps),
		cmocka_unit_test(leaves_mapped), cmocka_unit_test(maps_leave_no_fds),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
