/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver side over vfio-user, against servers that lie, stall and die. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uvfio/driver.h>

#include "driver_fixture.h"

static void assert_lost(struct uvfio_pci *dev)
{
	struct pollfd p = {.fd = uvfio_pci_lost_fd(dev), .events = POLLIN};
	uint64_t value;

	assert_int_equal(poll(&p, 1, 30000), 1);
	assert_int_equal(uvfio_pci_reg_read(dev, 0, 0, 4, &value), -ENOTCONN);
}

static void assert_alive(struct uvfio_pci *dev)
{
	uint32_t value = 0;

	assert_int_equal(uvfio_pci_config_read(dev, 0, 4, &value), 0);
	assert_int_equal(value, 0x12341234);
}

/* ---- in the handshake ---- */

static void test_version(void **state)
{
	static const struct {
		const char *json;
		int ret;
	} cases[] = {
		{"{\"capabilities\":{}}", 0},
		{"{}", 0},
		{"{\"capabilities\":{\"max_msg_fds\":100000,\"unknown\":[1,2]}}", 0},
		{"", -EPROTO},
		{"[]", -EPROTO},
		{"{\"capabilities\":[]}", -EPROTO},
		{"{\"capabilities\":{\"max_msg_fds\":-1}}", -EPROTO},
		{"{\"capabilities\":{\"max_msg_fds\":\"8\"}}", -EPROTO},
		{"{\"capabilities\":{\"max_data_xfer_size\":0}}", -EPROTO},
		{"{\"capabilities\":{\"max_data_xfer_size\":7}}", -EPROTO},
		{"{\"capabilities\":{\"max_dma_maps\":0}}", -EPROTO},
		{"{\"capabilities\":{\"pgsizes\":0}}", -EPROTO},
		{"{\"capabilities\":{\"twin_socket\":{\"supported\":true}}}", -EPROTO},
		{"{\"capabilities\":{\"twin_socket\":{\"supported\":true,\"fd_index\":0}}}",
		 -EPROTO},
		{"{\"capabilities\":{\"twin_socket\":{\"supported\":true,\"fd_index\":-1}}}",
		 -EPROTO},
		{"{\"capabilities\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}}"
		 "}}}}}",
		 -EPROTO},
		{"{\"capabilities\":{", -EPROTO},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct uvfio_error err = {""};
		struct uvfio_pci *dev;
		int ret;

		server.version = cases[i].json;
		server_start(&server);
		ret = uvfio_pci_open(name, NULL, &dev, &err);
		if (ret != cases[i].ret)
			fail_msg("%s: %d %s", cases[i].json, ret, err.msg);
		if (!ret) {
			assert_alive(dev);
			uvfio_pci_close(dev);
		} else {
			assert_non_null(strstr(err.msg, "the server"));
		}
		server_stop(&server);
	}
}

static const void *raw;
static size_t raw_len;

static bool version_raw(struct server *s, const struct vfio_user_header *h, uint8_t *payload,
			int *fds, unsigned nr_fds)
{
	if (h->command != VFIO_USER_VERSION)
		return false;
	server_reply(s, h, raw, raw_len, NULL, 0);
	return true;
}

static void test_version_numbers(void **state)
{
	static const struct {
		uint8_t bytes[6];
		size_t len;
		int ret;
	} cases[] = {
		{{0, 0, 1, 0}, 4, 0}, /* no capabilities: the defaults */
		{{0, 0, 0, 0}, 4, 0},       {{0, 0, 2, 0}, 4, -EPROTO},
		{{1, 0, 0, 0}, 4, -EPROTO}, {{0, 0, 1}, 3, -EPROTO},
		{{0}, 0, -EPROTO},          {{0, 0, 1, 0, '{', '}'}, 6, -EPROTO}, /* no end */
	};

	server.hook = version_raw;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct uvfio_pci *dev;

		raw = cases[i].bytes;
		raw_len = cases[i].len;
		server_start(&server);
		assert_int_equal(uvfio_pci_open(name, NULL, &dev, NULL), cases[i].ret);
		if (!cases[i].ret)
			uvfio_pci_close(dev);
		server_stop(&server);
	}
}

/* ---- what it says of the device ---- */

/* Replies with @raw to the command in ->hook_arg (for region info: about BAR 0). */
static bool reply_raw(struct server *s, const struct vfio_user_header *h, uint8_t *payload,
		      int *fds, unsigned nr_fds)
{
	uint32_t index = 0;

	if (h->command == VFIO_USER_DEVICE_GET_REGION_INFO)
		memcpy(&index, payload + 8, 4);
	if (h->command != (uintptr_t)s->hook_arg || index)
		return false;
	server_reply(s, h, raw, raw_len, &s->bar2_fd, h->command == 5);
	return true;
}

static int open_with(uint16_t command, const void *reply, size_t len)
{
	struct uvfio_error err = {""};
	struct uvfio_pci *dev;
	int ret;

	server.hook = reply_raw;
	server.hook_arg = (void *)(uintptr_t)command;
	raw = reply;
	raw_len = len;
	server_start(&server);
	ret = uvfio_pci_open(name, NULL, &dev, &err);
	if (!ret)
		uvfio_pci_close(dev);
	else
		assert_true(err.msg[0]);
	server_stop(&server);
	return ret;
}

static void test_device_info(void **state)
{
	struct vfio_user_device_info info = {16, VFIO_DEVICE_FLAGS_PCI, 9, 5};

	assert_int_equal(open_with(VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info)), 0);
	assert_int_equal(open_with(VFIO_USER_DEVICE_GET_INFO, &info, 12), -EPROTO);
	assert_int_equal(open_with(VFIO_USER_DEVICE_GET_INFO, NULL, 0), -EPROTO);
	info.num_regions = 1000000;
	assert_int_equal(open_with(VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info)), -EPROTO);
	info.num_regions = 7;
	assert_int_equal(open_with(VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info)), -EPROTO);
	info.num_regions = 9;
	info.num_irqs = UINT32_MAX;
	assert_int_equal(open_with(VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info)), 0);
	info.flags = 0;
	assert_int_equal(open_with(VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info)), -ENODEV);
}

struct region_reply {
	struct vfio_region_info info;
	struct vfio_region_info_cap_sparse_mmap cap;
	struct vfio_region_sparse_mmap_area area[2];
} __attribute__((aligned(8)));

static int open_with_region(const struct region_reply *r, size_t len)
{
	return open_with(VFIO_USER_DEVICE_GET_REGION_INFO, r, len);
}

static void test_region_info(void **state)
{
	const struct region_reply good = {
		.info = {.argsz = sizeof(good), .flags = 15, .cap_offset = 32, .size = 65536},
		.cap = {.header = {.id = 1, .version = 1}, .nr_areas = 2},
		.area = {{0, 4096}, {8192, 8192}},
	};
	struct region_reply r = good;

	assert_int_equal(open_with_region(&r, sizeof(r)), 0);
	/* Lengths. */
	assert_int_equal(open_with_region(&r, 31), -EPROTO);
	assert_int_equal(open_with_region(&r, 40), -EPROTO);
	r.info.argsz = 8;
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	r.info.argsz = UINT32_MAX;
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	r.info.argsz = 100000;
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	/* Another region. */
	r = good;
	r.info.index = 3;
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	/* The capability list: behind the end, in the header, a loop, itself. */
	r = good;
	r.info.cap_offset = sizeof(r) - 4;
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	r.info.cap_offset = UINT32_MAX;
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	r.info.cap_offset = 8;
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	r = good;
	r.cap.header.next = 32;
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	r.cap.header.next = 4;
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	r.cap.header.next = sizeof(r);
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	/* Areas: too many, outside, overlapping, empty, not whole pages, wrapping. */
	r = good;
	r.cap.nr_areas = 3;
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	r.cap.nr_areas = UINT32_MAX;
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	r = good;
	r.area[1].size = 65536;
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	r.area[1] = (struct vfio_region_sparse_mmap_area){0, 4096};
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	r.area[1] = (struct vfio_region_sparse_mmap_area){4096, 0};
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	r.area[1] = (struct vfio_region_sparse_mmap_area){4096, 100};
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	r.area[1] = (struct vfio_region_sparse_mmap_area){UINT64_MAX - 4095, 8192};
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	/* An impossible place in the file. */
	r = good;
	r.info.offset = UINT64_MAX - 4095;
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	r.info.offset = 100;
	assert_int_equal(open_with_region(&r, sizeof(r)), -EPROTO);
	/* A size that nothing can have is no danger as long as nobody maps it. */
	r = good;
	r.info.size = UINT64_MAX;
	r.info.flags = 3;
	assert_int_equal(open_with_region(&r, sizeof(r)), 0);
}

static void test_irq_info(void **state)
{
	struct vfio_irq_info info = {.argsz = 16, .count = 1};

	/* The hook answers for every index: right for the first only. */
	assert_int_equal(open_with(VFIO_USER_DEVICE_GET_IRQ_INFO, &info, sizeof(info)), -EPROTO);
	info.count = 5000;
	assert_int_equal(open_with(VFIO_USER_DEVICE_GET_IRQ_INFO, &info, sizeof(info)), -EPROTO);
	assert_int_equal(open_with(VFIO_USER_DEVICE_GET_IRQ_INFO, &info, 15), -EPROTO);
}

/* ---- replies ---- */

static bool (*lie)(struct server *s, const struct vfio_user_header *h, const uint8_t *payload);
static atomic_bool lying;

/* Lies in reply to the first access of BAR 0, or unmap. */
static bool lie_once(struct server *s, const struct vfio_user_header *h, uint8_t *payload, int *fds,
		     unsigned nr_fds)
{
	if ((h->command != VFIO_USER_REGION_READ && h->command != VFIO_USER_REGION_WRITE &&
	     h->command != VFIO_USER_DMA_UNMAP && h->command != VFIO_USER_REGION_WRITE_MULTI &&
	     h->command != VFIO_USER_DEVICE_GET_REGION_IO_FDS) ||
	    !atomic_exchange(&lying, false))
		return false;
	return lie(s, h, payload);
}

struct message {
	struct vfio_user_header h;
	struct vfio_user_region_access a;
	uint8_t data[256];
} __attribute__((packed));

/* The right reply to a REGION_READ. */
static struct message right(const struct vfio_user_header *h, const uint8_t *payload)
{
	struct message m = {.h = *h};

	memcpy(&m.a, payload, sizeof(m.a));
	m.h.flags = VFIO_USER_TYPE_REPLY;
	m.h.size = (uint32_t)(sizeof(m.h) + sizeof(m.a) + m.a.count);
	memset(m.data, 0x5a, sizeof(m.data));
	return m;
}

#define LIE(name, change)                                                                          \
	static bool name(struct server *s, const struct vfio_user_header *h,                       \
			 const uint8_t *payload)                                                   \
	{                                                                                          \
		struct message m = right(h, payload);                                              \
		size_t len;                                                                        \
                                                                                                   \
		change;                                                                            \
		len = m.h.size < sizeof(m) ? m.h.size : sizeof(m);                                 \
		server_send(s->fd, &m, len < sizeof(m.h) ? sizeof(m.h) : len, NULL, 0);            \
		return true;                                                                       \
	}

LIE(tells_the_truth, (void)0)
LIE(other_id, m.h.id++)
LIE(other_slot, m.h.id ^= 64)
LIE(other_command, m.h.command = VFIO_USER_REGION_WRITE)
LIE(no_command, m.h.command = 0)
LIE(smaller_than_a_header, m.h.size = 15)
LIE(no_size, m.h.size = 0)
LIE(huge, m.h.size = UINT32_MAX)
LIE(just_too_large, m.h.size = (1u << 20) + 257)
LIE(unknown_type, m.h.flags = 2)
LIE(unknown_flag, m.h.flags |= 0x40)
LIE(other_region, m.a.region++)
LIE(other_offset, m.a.offset++)
LIE(more_than_asked, m.a.count += 4; m.h.size += 4)
LIE(count_without_data, m.a.count = 3)
LIE(data_without_count, m.h.size -= 1)
LIE(less_than_fixed, m.h.size = 16 + 8)
LIE(nothing, m.h.size = 16)
LIE(error_zero, m.h.flags |= VFIO_USER_ERROR; m.h.error = 0; m.h.size = 16)
LIE(error_huge, m.h.flags |= VFIO_USER_ERROR; m.h.error = UINT32_MAX; m.h.size = 16)
LIE(error_with_payload, m.h.flags |= VFIO_USER_ERROR; m.h.error = ENOSPC)

static bool twice(struct server *s, const struct vfio_user_header *h, const uint8_t *payload)
{
	struct message m = right(h, payload);

	server_send(s->fd, &m, m.h.size, NULL, 0);
	server_send(s->fd, &m, m.h.size, NULL, 0);
	return true;
}

static bool half_then_gone(struct server *s, const struct vfio_user_header *h,
			   const uint8_t *payload)
{
	struct message m = right(h, payload);

	server_send(s->fd, &m, 20, NULL, 0);
	server_hang_up(s);
	return true;
}

static bool gone(struct server *s, const struct vfio_user_header *h, const uint8_t *payload)
{
	server_hang_up(s);
	return true;
}

static bool in_pieces(struct server *s, const struct vfio_user_header *h, const uint8_t *payload)
{
	struct message m = right(h, payload);

	for (unsigned i = 0; i < m.h.size; i++) {
		server_send(s->fd, (uint8_t *)&m + i, 1, NULL, 0);
		sched_yield();
	}
	return true;
}

/* Commands of its own in front of the reply: an unknown one, DMA of what is not mapped, nonsense.
 */
static bool asks_first(struct server *s, const struct vfio_user_header *h, const uint8_t *payload)
{
	struct message m = right(h, payload);
	struct {
		struct vfio_user_header h;
		struct vfio_user_dma_access a;
	} dma = {{.id = 1, .command = VFIO_USER_DMA_READ, .size = 32}, {.address = 1, .count = 4}};

	server_send(s->fd, &dma, 32, NULL, 0);
	dma.h.command = 77;
	server_send(s->fd, &dma, 32, NULL, 0);
	dma.h.command = VFIO_USER_DMA_READ;
	dma.a.count = UINT64_MAX;
	server_send(s->fd, &dma, 32, NULL, 0);
	dma.a.count = 0;
	server_send(s->fd, &dma, 32, NULL, 0);
	dma.h.command = VFIO_USER_DMA_WRITE;
	dma.a.count = 8;
	server_send(s->fd, &dma, 32, NULL, 0);
	dma.h.size = 16;
	server_send(s->fd, &dma, 16, NULL, 0);
	server_send(s->fd, &m, m.h.size, NULL, 0);
	/* Each of them got its error. */
	for (unsigned i = 0; i < 6; i++) {
		struct vfio_user_header reply;

		if (recv(s->fd, &reply, sizeof(reply), MSG_WAITALL) != sizeof(reply) ||
		    reply.size != 16 || !(reply.flags & VFIO_USER_ERROR))
			abort();
	}
	return true;
}

static bool with_descriptors(struct server *s, const struct vfio_user_header *h,
			     const uint8_t *payload)
{
	struct message m = right(h, payload);
	int fds[VFIO_USER_MAX_FDS];

	for (unsigned i = 0; i < VFIO_USER_MAX_FDS; i++)
		fds[i] = s->notify_fd;
	server_send(s->fd, &m, m.h.size, fds, VFIO_USER_MAX_FDS);
	return true;
}

static void test_replies(void **state)
{
	static const struct {
		bool (*lie)(struct server *s, const struct vfio_user_header *h,
			    const uint8_t *payload);
		int ret;
		bool lives;
	} cases[] = {
		{tells_the_truth, 0, true},
		{other_id, -EPROTO, false},
		{other_slot, -EPROTO, false},
		{other_command, -EPROTO, false},
		{no_command, -EPROTO, false},
		{smaller_than_a_header, -EPROTO, false},
		{no_size, -EPROTO, false},
		{huge, -EPROTO, false},
		{just_too_large, -EPROTO, false},
		{unknown_type, -EPROTO, false},
		{unknown_flag, -EPROTO, false},
		{other_region, -EPROTO, false},
		{other_offset, -EPROTO, false},
		{more_than_asked, -EPROTO, false},
		{count_without_data, -EPROTO, false},
		{data_without_count, -EPROTO, false},
		{less_than_fixed, -EPROTO, false},
		{nothing, -EPROTO, false},
		{error_zero, -EIO, true},
		{error_huge, -EIO, true},
		{error_with_payload, -ENOSPC, true},
		{half_then_gone, -ENOTCONN, false},
		{gone, -ENOTCONN, false},
		{in_pieces, 0, true},
		{asks_first, 0, true},
		{with_descriptors, 0, true},
	};

	server.hook = lie_once;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		/* With the reader role in the caller, and in the library's thread. */
		for (unsigned stay = 0; stay < 2; stay++) {
			struct uvfio_pci_mem mem;
			struct uvfio_pci *dev;
			uint64_t value = 0;
			int ret;

			server_start(&server);
			assert_int_equal(uvfio_pci_open(name, "share=no", &dev, NULL), 0);
			if (stay)
				assert_int_equal(uvfio_pci_dma_alloc(dev, 4096, 0, &mem, NULL), 0);
			lie = cases[i].lie;
			atomic_store(&lying, true);
			ret = uvfio_pci_reg_read(dev, 0, 0x20, 4, &value);
			if (ret != cases[i].ret)
				fail_msg("case %u: %d", i, ret);
			if (!ret)
				assert_int_equal(value, 0x5a5a5a5a);
			if (cases[i].lives)
				assert_alive(dev);
			else
				assert_lost(dev);
			uvfio_pci_close(dev);
			server_stop(&server);
		}
	}
}

/* A second reply to the same command: it finds nobody who waits for it. */
static void test_a_reply_too_many(void **state)
{
	struct uvfio_pci *dev;
	uint64_t value;

	server.hook = lie_once;
	lie = twice;
	server_start(&server);
	assert_int_equal(uvfio_pci_open(name, NULL, &dev, NULL), 0);
	atomic_store(&lying, true);
	assert_int_equal(uvfio_pci_reg_read(dev, 0, 0x20, 4, &value), 0);
	assert_int_equal(uvfio_pci_reg_read(dev, 0, 0x20, 4, &value), -EPROTO);
	assert_lost(dev);
	uvfio_pci_close(dev);
}

static bool unmap_other(struct server *s, const struct vfio_user_header *h, const uint8_t *payload)
{
	struct vfio_user_dma_unmap m;

	memcpy(&m, payload, sizeof(m));
	m.size = 0;
	server_reply(s, h, &m, sizeof(m), NULL, 0);
	return true;
}

static bool unmap_refused(struct server *s, const struct vfio_user_header *h,
			  const uint8_t *payload)
{
	server_error(s, h, EBUSY);
	return true;
}

static void test_unmap(void **state)
{
	struct uvfio_pci_mem mem;
	struct uvfio_pci *dev;

	server.hook = lie_once;
	server_start(&server);
	assert_int_equal(uvfio_pci_open(name, NULL, &dev, NULL), 0);
	assert_int_equal(uvfio_pci_dma_alloc(dev, 4096, 0, &mem, NULL), 0);
	/* It may still use the memory: that stays. */
	lie = unmap_refused;
	atomic_store(&lying, true);
	assert_int_equal(uvfio_pci_dma_free(dev, &mem), -EBUSY);
	memset(mem.addr, 1, mem.size);
	lie = unmap_other;
	atomic_store(&lying, true);
	assert_int_equal(uvfio_pci_dma_free(dev, &mem), -EPROTO);
	memset(mem.addr, 2, mem.size);
	assert_lost(dev);
	/* Now nobody has it. */
	assert_int_equal(uvfio_pci_dma_free(dev, &mem), 0);
	uvfio_pci_close(dev);
}

static bool no_eventfd(struct server *s, const struct vfio_user_header *h, const uint8_t *payload)
{
	struct {
		struct vfio_user_region_io_fds head;
		struct vfio_user_sub_region sub;
	} r = {{.argsz = sizeof(r), .count = 1}, {.offset = 0x40, .size = 4}};

	server_reply(s, h, &r, sizeof(r), &s->bar2_fd, 1);
	return true;
}

static bool no_such_fd(struct server *s, const struct vfio_user_header *h, const uint8_t *payload)
{
	struct {
		struct vfio_user_region_io_fds head;
		struct vfio_user_sub_region sub;
	} r = {{.argsz = sizeof(r), .count = 1}, {.offset = 0x40, .size = 4, .fd_index = 1}};

	server_reply(s, h, &r, sizeof(r), &s->notify_fd, 1);
	return true;
}

static bool more_than_sent(struct server *s, const struct vfio_user_header *h,
			   const uint8_t *payload)
{
	struct vfio_user_region_io_fds head = {.argsz = 16 + 40, .count = 1};

	server_reply(s, h, &head, sizeof(head), &s->notify_fd, 1);
	return true;
}

static void test_notify_fds(void **state)
{
	bool (*const lies[])(struct server *, const struct vfio_user_header *,
			     const uint8_t *) = {no_eventfd, no_such_fd, more_than_sent};

	server.hook = lie_once;
	for (unsigned i = 0; i < 3; i++) {
		struct uvfio_pci *dev;

		server_start(&server);
		assert_int_equal(uvfio_pci_open(name, NULL, &dev, NULL), 0);
		lie = lies[i];
		atomic_store(&lying, true);
		assert_int_equal(uvfio_pci_notify_fd(dev, 0, 0x40, 4, 0), -EPROTO);
		assert_lost(dev);
		uvfio_pci_close(dev);
		server_stop(&server);
	}
}

/* ---- stalls ---- */

static bool stall(struct server *s, const struct vfio_user_header *h, const uint8_t *payload)
{
	struct pollfd p = {.fd = s->fd, .events = POLLRDHUP};

	/* Until the client gives up. */
	poll(&p, 1, -1);
	return true;
}

static bool stall_in_a_message(struct server *s, const struct vfio_user_header *h,
			       const uint8_t *payload)
{
	struct message m = right(h, payload);

	server_send(s->fd, &m, 20, NULL, 0);
	return stall(s, h, payload);
}

static void test_a_server_that_stalls_is_given_up(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		struct uvfio_pci_mem mem;
		struct uvfio_pci *dev;
		uint64_t value;

		server.hook = lie_once;
		lie = i & 1 ? stall_in_a_message : stall;
		server_start(&server);
		assert_int_equal(uvfio_pci_open(name, "share=no,timeout=1", &dev, NULL), 0);
		if (i & 2)
			assert_int_equal(uvfio_pci_dma_alloc(dev, 4096, 0, &mem, NULL), 0);
		atomic_store(&lying, true);
		assert_int_equal(uvfio_pci_reg_read(dev, 0, 0, 4, &value), -ETIMEDOUT);
		assert_lost(dev);
		uvfio_pci_close(dev);
		server_stop(&server);
	}
}

/* The first question about a region is answered by an error, and no other one at all. */
static bool one_error(struct server *s, const struct vfio_user_header *h, uint8_t *payload,
		      int *fds, unsigned nr_fds)
{
	struct vfio_user_header reply = *h;

	if (h->command != VFIO_USER_DEVICE_GET_REGION_INFO &&
	    h->command != VFIO_USER_DEVICE_GET_IRQ_INFO)
		return false;
	if (atomic_exchange(&lying, false)) {
		reply.flags = VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR;
		reply.error = EIO;
		reply.size = sizeof(reply);
		server_send(s->fd, &reply, sizeof(reply), NULL, 0);
	}
	return true;
}

/* They are all asked at once; who has failed does not wait for the others. */
static void test_no_answer_behind_an_error(void **state)
{
	struct uvfio_pci *dev;

	server.hook = one_error;
	server_start(&server);
	atomic_store(&lying, true);
	assert_int_equal(uvfio_pci_open(name, "timeout=0", &dev, NULL), -EIO);
	server_stop(&server);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_version),
		T(test_version_numbers),
		T(test_device_info),
		T(test_region_info),
		T(test_irq_info),
		T(test_replies),
		T(test_a_reply_too_many),
		T(test_unmap),
		T(test_notify_fds),
		T(test_a_server_that_stalls_is_given_up),
		T(test_no_answer_behind_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
