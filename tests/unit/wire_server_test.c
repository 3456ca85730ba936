/* SPDX-License-Identifier: BSD-3-Clause */
/* A server and its clients: every command, what may wait, who gets the device, and the end. */
#include "wire_util.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define CONFIG        VFIO_PCI_CONFIG_REGION_INDEX

static int memory_file(size_t size)
{
	int fd = memfd_create("client", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static void each_command(void **state)
{
	struct vfio_user_device_info info = {.argsz = sizeof(info)};
	struct vfio_irq_info irq = {.argsz = sizeof(irq), .index = VFIO_PCI_MSIX_IRQ_INDEX};
	struct vfio_region_info region = {.argsz = sizeof(region)};
	struct {
		struct vfio_user_write_multi head;
		struct vfio_user_write wrs[2];
	} multi = {.head.wr_cnt = 2,
		   .wrs = {{W_SCRATCH, 0, 4, {1, 2, 3, 4}}, {W_SCRATCH + 4, 99, 4, {0}}}};
	struct vfio_device_feature feature = {sizeof(feature), 99 | VFIO_DEVICE_FEATURE_PROBE};
	struct wire_connection_info told;
	struct wire_fixture f;
	static struct reply r;
	uint64_t size;
	int fd, mem;

	wire_up(&f);
	fd = client_open(&f);
	assert_int_equal(
		client_call(fd, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info), NULL, 0, &r), 0);
	memcpy(&info, r.payload, sizeof(info));
	assert_int_equal(info.num_regions, VFIO_PCI_NUM_REGIONS);
	assert_int_equal(info.num_irqs, VFIO_PCI_NUM_IRQS);
	assert_int_equal(client_call(fd, VFIO_USER_DEVICE_GET_REGION_INFO, &region, sizeof(region),
				     NULL, 0, &r),
			 0);
	memcpy(&region, r.payload, sizeof(region));
	assert_int_equal(region.size, 16384);
	assert_int_equal(region.flags, VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE);
	assert_int_equal(r.fd, -1);
	assert_int_equal(
		client_call(fd, VFIO_USER_DEVICE_GET_IRQ_INFO, &irq, sizeof(irq), NULL, 0, &r), 0);
	memcpy(&irq, r.payload, sizeof(irq));
	assert_int_equal(irq.count, 8);

	client_enable(fd);
	assert_int_equal(client_get(fd, W_ID), WDEV_ID);
	client_put(fd, W_SCRATCH, 0x11223344, 4);
	assert_int_equal(client_get(fd, W_SCRATCH), 0x11223344);
	/* The second write is to no region. */
	assert_int_equal(
		client_call(fd, VFIO_USER_REGION_WRITE_MULTI, &multi, sizeof(multi), NULL, 0, &r),
		0);
	assert_int_equal(r.payload[0], 1);
	assert_int_equal(client_get(fd, W_SCRATCH), 0x04030201);

	mem = memory_file(65536);
	assert_int_equal(client_map(fd, 0x10000, 65536, mem, 0), 0);
	assert_int_equal(client_map(fd, 0x1f000, 4096, mem, 0), EEXIST);
	assert_int_equal(client_unmap(fd, 0x10000, 4096, 0, &size), EINVAL);
	assert_int_equal(client_unmap(fd, 0x400000, 1 << 20, 0, &size), 0);
	assert_int_equal(size, 0);
	assert_int_equal(client_unmap(fd, 0, 0, VFIO_USER_DMA_UNMAP_ALL, &size), 0);
	assert_int_equal(size, 65536);

	assert_int_equal(client_call(fd, VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0, &r), 0);
	assert_int_equal(client_get(fd, W_SCRATCH), 0);
	assert_int_equal(
		client_call(fd, VFIO_USER_DEVICE_FEATURE, &feature, sizeof(feature), NULL, 0, &r),
		ENOTTY);
	for (unsigned c = 0; c < 40; c++) {
		int ret = client_call(fd, c, NULL, 0, NULL, 0, &r);
		bool unknown = c == 0 || c == 14 || c >= 19;

		assert_int_equal(ret, c == VFIO_USER_DEVICE_RESET ? 0 : unknown ? ENOTTY : EINVAL);
	}
	assert_int_equal(wire_connections(f.server, &told, 1), 1);
	assert_string_equal(told.state, "READY");
	assert_int_equal(told.pid, getpid());
	close(mem);
	close(fd);
	wire_down(&f);
}

/* As VMMs send their memory: many messages with fds, none waited for; and page by page away again.
 * Each is answered, in order. */
static void maps_in_a_row(void **state)
{
	struct wire_fixture f;
	static struct reply r;
	uint64_t size;
	int fd, mem;

	wire_up(&f);
	fd = client_open(&f);
	mem = memory_file(65536);
	for (unsigned n = 1; n <= 20; n++) {
		for (unsigned i = 0; i < n; i++) {
			/* The third asks for what the second has. */
			uint64_t at = (i == 2 ? 1 : i) * 4096ull;
			struct vfio_user_dma_map map = {sizeof(map), 3, 0, at, 4096};

			client_send(fd, (uint16_t)i, VFIO_USER_DMA_MAP, 0, &map, sizeof(map), &mem,
				    1);
		}
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(client_receive(fd, &r), 0);
			assert_int_equal(r.hdr.id, i);
			assert_int_equal(r.hdr.flags & VFIO_USER_ERROR ? r.hdr.error : 0,
					 i == 2 ? EEXIST : 0);
		}
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(client_unmap(fd, i * 4096ull, 4096, 0, &size), 0);
			assert_int_equal(size, i == 2 ? 0 : 4096);
		}
	}
	close(mem);
	close(fd);
	wire_down(&f);
}

static void interrupts(void **state)
{
	struct vfio_irq_set set = {sizeof(set),
				   VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
				   VFIO_PCI_MSIX_IRQ_INDEX, 0, 3};
	struct wire_fixture f;
	static struct reply r;
	int fd, fds[3];
	uint64_t count;

	wire_up(&f);
	fd = client_open(&f);
	client_enable(fd);
	for (unsigned i = 0; i < 3; i++)
		fds[i] = eventfd(0, EFD_NONBLOCK);
	/* As many as it counts, or none. */
	assert_int_equal(client_call(fd, VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set), fds, 2, &r),
			 EINVAL);
	assert_int_equal(client_call(fd, VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set), fds, 3, &r),
			 0);
	uvfio_irq_raise(f.dev->dev, 2);
	assert_int_equal(read(fds[2], &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 1);
	/* Something else than an eventfd. */
	set.count = 1;
	assert_int_equal(client_call(fd, VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set), &fd, 1, &r),
			 EINVAL);
	set.count = 3;
	assert_int_equal(client_call(fd, VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set), NULL, 0, &r),
			 0);
	uvfio_irq_raise(f.dev->dev, 2);
	assert_int_equal(read(fds[2], &count, sizeof(count)), -1);
	/* argsz says more than there is. */
	set = (struct vfio_irq_set){24, VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_ACTION_TRIGGER,
				    VFIO_PCI_MSIX_IRQ_INDEX, 0, 1};
	assert_int_equal(client_call(fd, VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set), NULL, 0, &r),
			 EINVAL);
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);
	close(fd);
	wire_down(&f);
}

static void what_memory_may_be(void **state)
{
	int pipes[2], sealed = memory_file(8192), mem = memory_file(8192), reading, disk;
	struct vfio_user_dma_map map = {sizeof(map), 3, 0, 0, 4096};
	char path[] = "/tmp/uvfio-wire-test.XXXXXX", name[32];
	struct wire_fixture f;
	static struct reply r;
	int fd;

	wire_up(&f);
	fd = client_open(&f);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(client_map(fd, 0, 4096, pipes[0], 0), EINVAL);
	assert_int_equal(client_map(fd, 0, 4096, fd, 0), EINVAL);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", mem);
	reading = open(name, O_RDONLY | O_CLOEXEC);
	assert_true(reading >= 0);
	assert_int_equal(client_map(fd, 0, 4096, reading, 0), EFAULT);
	map.flags = VFIO_USER_DMA_MAP_READ;
	assert_int_equal(client_call(fd, VFIO_USER_DMA_MAP, &map, sizeof(map), &reading, 1, &r), 0);
	assert_int_equal(client_map(fd, 0x10000, 4096, mem, 8192), EFAULT);
	assert_int_equal(client_map(fd, 0x10000, 8192, mem, 4096), EFAULT);
	assert_int_equal(client_map(fd, 0x10000, 8192, mem, UINT64_MAX & ~4095ull), EOVERFLOW);
	assert_int_equal(client_map(fd, 0x10000, 4096, mem, 1ull << 63), EFAULT);
	assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	assert_int_equal(client_map(fd, 0x10000, 4096, sealed, 0), EFAULT);
	/* A file on a disk. */
	disk = mkstemp(path);
	assert_true(disk >= 0);
	unlink(path);
	assert_int_equal(ftruncate(disk, 8192), 0);
	assert_int_equal(client_map(fd, 0x10000, 4096, disk, 4096), 0);
	/* An offset into nothing; two fds. */
	assert_int_equal(client_map(fd, 0x20000, 4096, -1, 4096), EINVAL);
	assert_int_equal(client_call(fd, VFIO_USER_DMA_MAP, &map, sizeof(map), pipes, 2, &r),
			 EINVAL);
	close(disk);
	close(reading);
	close(mem);
	close(sealed);
	close(pipes[0]);
	close(pipes[1]);
	close(fd);
	wire_down(&f);
}

static void dma_through_a_file(void **state)
{
	struct wire_fixture f;
	int fd, mem = memory_file(16384);
	char *view = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);

	wire_up(&f);
	fd = client_open(&f);
	client_enable(fd);
	assert_int_equal(client_map(fd, 0x100000, 8192, mem, 8192), 0);
	strcpy(view + 8192 + 100, "to the device");
	client_put(fd, W_IOVA, 0x100000 + 100, 8);
	client_put(fd, W_LEN, 14, 4);
	client_put(fd, W_CMD, 1, 4);
	assert_int_equal(client_get(fd, W_DONE), 1); /* done when the write was answered */
	assert_int_equal(client_get(fd, W_STATUS), 0);
	client_put(fd, W_IOVA, 0x101000, 8);
	client_put(fd, W_CMD, 2, 4);
	assert_int_equal(client_get(fd, W_DONE), 2);
	assert_string_equal(view + 8192 + 4096, "to the device");
	munmap(view, 16384);
	close(mem);
	close(fd);
	wire_down(&f);
}

/* Posted writes are done in order and never answered. */
static void posted_writes(void **state)
{
	struct wire_fixture f;
	int fd;

	wire_up(&f);
	fd = client_open(&f);
	client_enable(fd);
	for (uint32_t i = 1; i <= 1000; i++) {
		client_post(fd, 0, W_SCRATCH, &i, 4, VFIO_USER_NO_REPLY);
		client_post(fd, 77, 0, &i, 4, VFIO_USER_NO_REPLY); /* and fails silently */
	}
	assert_int_equal(client_get(fd, W_SCRATCH), 1000);
	close(fd);
	wire_down(&f);
}

/* While a reset waits for the device, another device's client would be served, and this one's
 * commands stay in order. */
static void commands_behind_a_reset(void **state)
{
	struct wire_connection_info told;
	struct wire_fixture f;
	static struct reply r;
	uint32_t value = 7;
	int fd;

	wire_up(&f);
	fd = client_open(&f);
	client_enable(fd);
	client_put(fd, W_SCRATCH, 5, 4);
	f.dev->slow = true;
	client_send(fd, 1, VFIO_USER_DEVICE_RESET, 0, NULL, 0, NULL, 0);
	for (unsigned i = 0; i < 200; i++)
		client_post(fd, 0, W_SCRATCH, &value, 4, i == 199 ? 0 : VFIO_USER_NO_REPLY);
	do {
		assert_int_equal(wire_connections(f.server, &told, 1), 1);
	} while (strcmp(told.state, "WORKING"));
	f.dev->may_end = true;
	uvfio_kick(f.dev->dev);
	assert_int_equal(client_receive(fd, &r), 0);
	assert_int_equal(r.hdr.command, VFIO_USER_DEVICE_RESET);
	assert_int_equal(r.hdr.flags, VFIO_USER_TYPE_REPLY);
	assert_int_equal(client_receive(fd, &r), 0);
	assert_int_equal(r.hdr.command, VFIO_USER_REGION_WRITE);
	assert_int_equal(client_get(fd, W_SCRATCH), 7);
	close(fd);
	wire_down(&f);
}

static void one_client_at_a_time(void **state)
{
	struct wire_fixture f;
	static struct reply r;
	int first, second;
	unsigned resets;

	wire_up(&f);
	first = client_open(&f);
	client_enable(first);
	client_put(first, W_SCRATCH, 5, 4);
	second = client_connect(&f);
	assert_int_equal(client_version(second, NULL, &r), EBUSY);
	assert_int_equal(client_receive(second, &r), -1);
	close(second);
	/* The first is not touched by that. */
	assert_int_equal(client_get(first, W_SCRATCH), 5);
	/* One that comes while the device is taken back waits for it and finds it reset. */
	f.dev->slow = true;
	resets = f.dev->resets;
	close(first);
	second = client_connect(&f);
	client_send(second, 1, VFIO_USER_VERSION, 0, "\0\0\1\0", 4, NULL, 0);
	while (!f.dev->quiescing)
		usleep(100);
	f.dev->may_end = true;
	uvfio_kick(f.dev->dev);
	assert_int_equal(client_receive(second, &r), 0);
	assert_int_equal(r.hdr.flags, VFIO_USER_TYPE_REPLY);
	assert_true(f.dev->resets >= resets + 2); /* close and open */
	client_enable(second);
	assert_int_equal(client_get(second, W_SCRATCH), 0);
	close(second);
	wire_down(&f);
}

static void out_of_order(void **state)
{
	struct vfio_user_device_info info = {.argsz = sizeof(info)};
	struct wire_fixture f;
	static struct reply r;
	int fd;

	wire_up(&f);
	/* No VERSION. */
	fd = client_connect(&f);
	assert_int_equal(
		client_call(fd, VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info), NULL, 0, &r),
		EINVAL);
	assert_int_equal(client_receive(fd, &r), -1);
	close(fd);
	/* A bad one. */
	fd = client_connect(&f);
	assert_int_equal(client_version(fd, "{", &r), EINVAL);
	assert_int_equal(client_receive(fd, &r), -1);
	close(fd);
	/* A reply to nothing. */
	fd = client_open(&f);
	client_send(fd, 1, VFIO_USER_DMA_READ, VFIO_USER_TYPE_REPLY, NULL, 0, NULL, 0);
	assert_int_equal(client_receive(fd, &r), -1);
	close(fd);
	/* Flags that there are not. */
	fd = client_open(&f);
	client_send(fd, 1, VFIO_USER_DEVICE_GET_INFO, 0x40, &info, sizeof(info), NULL, 0);
	assert_int_equal(client_receive(fd, &r), 0);
	assert_int_equal(r.hdr.error, EINVAL);
	close(fd);
	wire_down(&f);
}

static void silent_client_is_closed(void **state)
{
	struct wire_options options;
	struct wire_fixture f;
	static struct reply r;
	int fd;

	wire_options_default(&options);
	options.handshake_ms = 1;
	wire_up_with(&f, &options);
	fd = client_connect(&f);
	assert_int_equal(client_receive(fd, &r), -1);
	close(fd);
	wire_down(&f);
}

/* More silent ones than may be: the oldest go, the newest is served. */
static void silent_clients_make_room(void **state)
{
	struct wire_fixture f;
	int fds[40], fd;

	wire_up(&f);
	for (unsigned i = 0; i < 40; i++)
		fds[i] = client_connect(&f);
	fd = client_open(&f);
	close(fd);
	for (unsigned i = 0; i < 40; i++)
		close(fds[i]);
	wire_down(&f);
}

/* A client that asks and never reads is not read from, and keeps nobody from ending. */
static void client_that_does_not_read(void **state)
{
	struct vfio_user_region_access a = {0, 2, 8192};
	struct vfio_user_header hdr = {1, VFIO_USER_REGION_READ, sizeof(hdr) + sizeof(a), 0, 0};
	uint8_t msg[sizeof(hdr) + sizeof(a)];
	struct pollfd p = {.events = POLLOUT};
	struct wire_fixture f;
	uint64_t sent = 0;

	wire_up(&f);
	p.fd = client_open(&f);
	client_enable(p.fd);
	memcpy(msg, &hdr, sizeof(hdr));
	memcpy(msg + sizeof(hdr), &a, sizeof(a));
	/* Until the socket has been full for a while. */
	while (poll(&p, 1, 200) == 1) {
		ssize_t n = send(p.fd, msg + sent % sizeof(msg), sizeof(msg) - sent % sizeof(msg),
				 MSG_DONTWAIT);

		assert_true(n > 0 || errno == EAGAIN);
		sent += n > 0 ? (uint64_t)n : 0;
	}
	/* What it asked for and did not take would be more than this. */
	assert_true(sent / sizeof(msg) < 100000);
	close(p.fd);
	wire_down(&f);
}

static void mapping_bars(void **state)
{
	struct vfio_region_info region = {.argsz = 256};
	struct vfio_user_region_io_fds io = {.argsz = 256};
	struct wire_options options;
	struct wire_fixture f;
	struct {
		struct vfio_region_info info;
		struct vfio_region_info_cap_sparse_mmap sparse;
		struct vfio_region_sparse_mmap_area area;
	} got;
	static struct reply r;
	uint32_t *page;
	int fd;

	wire_options_default(&options);
	options.mmio = VFIO_MMIO_POLLED;
	wire_up_with(&f, &options);
	fd = client_open(&f);
	client_enable(fd);
	assert_int_equal(client_call(fd, VFIO_USER_DEVICE_GET_REGION_INFO, &region, sizeof(region),
				     NULL, 0, &r),
			 0);
	assert_int_equal(r.len, sizeof(got));
	memcpy(&got, r.payload, sizeof(got));
	assert_true(got.info.flags & VFIO_REGION_INFO_FLAG_MMAP);
	assert_int_equal(got.sparse.nr_areas, 1); /* neither registers nor the table */
	assert_int_equal(got.area.offset, W_DOORBELL);
	assert_int_equal(got.area.size, 4096);
	assert_true(r.fd >= 0);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, r.fd,
		    (off_t)(got.info.offset + W_DOORBELL));
	assert_ptr_not_equal(page, MAP_FAILED);
	close(r.fd);
	page[0] = 1;
	while (!f.dev->doorbells)
		usleep(100);
	/* Too little room for the capability: it says how much. */
	region = (struct vfio_region_info){.argsz = sizeof(region)};
	assert_int_equal(client_call(fd, VFIO_USER_DEVICE_GET_REGION_INFO, &region, sizeof(region),
				     NULL, 0, &r),
			 0);
	memcpy(&region, r.payload, sizeof(region));
	assert_int_equal(region.argsz, sizeof(got));
	assert_int_equal(region.cap_offset, 0);
	assert_int_equal(r.fd, -1); /* nothing to map with it yet */
	/* The eventfd beside it. */
	assert_int_equal(
		client_call(fd, VFIO_USER_DEVICE_GET_REGION_IO_FDS, &io, sizeof(io), NULL, 0, &r),
		0);
	memcpy(&io, r.payload, sizeof(io));
	assert_int_equal(io.count, 1);
	assert_true(r.fd >= 0);
	page[0] = 2;
	assert_int_equal(eventfd_write(r.fd, 1), 0);
	while (f.dev->doorbells < 2)
		usleep(100);
	close(r.fd);
	munmap(page, 4096);
	close(fd);
	wire_down(&f);
}

static void listener_goes_with_its_client(void **state)
{
	struct wire_fixture f;
	static struct reply r;
	int fd;

	wire_up(&f);
	fd = client_open(&f);
	wire_unlisten(f.listener);
	assert_int_equal(client_receive(fd, &r), -1);
	while (wire_connections(f.server, NULL, 0))
		usleep(100);
	close(fd);
	wire_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_command),
		cmocka_unit_test(interrupts),
		cmocka_unit_test(what_memory_may_be),
		cmocka_unit_test(dma_through_a_file),
		cmocka_unit_test(posted_writes),
		cmocka_unit_test(commands_behind_a_reset),
		cmocka_unit_test(one_client_at_a_time),
		cmocka_unit_test(out_of_order),
		cmocka_unit_test(silent_client_is_closed),
		cmocka_unit_test(maps_in_a_row),
		cmocka_unit_test(silent_clients_make_room),
		cmocka_unit_test(client_that_does_not_read),
		cmocka_unit_test(mapping_bars),
		cmocka_unit_test(listener_goes_with_its_client),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
