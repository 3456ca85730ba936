/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver side over vfio-user, against a server that behaves; driver_lies_test.c has the others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uvfio/driver.h>

#include "driver_fixture.h"
#include "guarded.h"

static struct uvfio_pci *open_device(const char *options)
{
	struct uvfio_pci *dev = NULL;
	struct uvfio_error err = {""};
	int ret = uvfio_pci_open(name, options, &dev, &err);

	if (ret)
		fail_msg("open: %d: %s", ret, err.msg);
	return dev;
}

/* The server has dealt with everything sent before. */
static void settle(struct uvfio_pci *dev)
{
	uint32_t value;

	assert_int_equal(uvfio_pci_config_read(dev, 0, 4, &value), 0);
}

static void await(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&p, 1, 30000), 1);
}

static unsigned count(unsigned command)
{
	unsigned n;

	pthread_mutex_lock(&server.lock);
	n = server.commands[command];
	pthread_mutex_unlock(&server.lock);
	return n;
}

static unsigned count_posted(unsigned command)
{
	unsigned n;

	pthread_mutex_lock(&server.lock);
	n = server.posted[command];
	pthread_mutex_unlock(&server.lock);
	return n;
}

/* ---- what the device is ---- */

static void test_open(void **state)
{
	const struct uvfio_pci_region *r;
	struct uvfio_pci *dev;
	uint32_t value;
	unsigned flags;

	server_start(&server);
	dev = open_device(NULL);
	assert_string_equal(uvfio_pci_name(dev), name);
	assert_int_equal(uvfio_pci_get_way(dev), UVFIO_PCI_WAY_VFIO_USER);
	assert_int_equal(uvfio_pci_nr_regions(dev), 9);
	r = uvfio_pci_region_info(dev, 0);
	assert_int_equal(r->size, 4096);
	assert_int_equal(r->flags, UVFIO_PCI_REGION_READ | UVFIO_PCI_REGION_WRITE);
	assert_int_equal(r->nr_areas, 0);
	r = uvfio_pci_region_info(dev, 2);
	assert_int_equal(r->nr_areas, 1);
	assert_int_equal(r->areas[0].offset, 4096);
	assert_int_equal(uvfio_pci_region_info(dev, UVFIO_PCI_VGA)->size, 0);
	assert_null(uvfio_pci_region_info(dev, 9));
	assert_int_equal(uvfio_pci_irq_count(dev, UVFIO_PCI_MSIX, &flags), 64);
	assert_int_equal(flags, VFIO_IRQ_INFO_EVENTFD);
	assert_int_equal(uvfio_pci_irq_count(dev, UVFIO_PCI_MSI, NULL), 0);
	assert_int_equal(uvfio_pci_config_read(dev, 0, 4, &value), 0);
	assert_int_equal(value, 0x12341234);
	assert_int_equal(uvfio_pci_config_read(dev, 256, 1, &value), -EINVAL);
	assert_int_equal(uvfio_pci_config_read(dev, 255, 4, &value), -EFAULT);
	assert_int_equal(uvfio_pci_config_read(dev, 0, 3, &value), -EINVAL);
	uvfio_pci_close(dev);
	uvfio_pci_close(NULL);
}

static void test_errors_say_what_to_do(void **state)
{
	static const struct {
		const char *name, *options, *message;
		int ret;
	} cases[] = {
		{"unix:/nowhere/at/all", NULL, "nobody serves this socket", -ENOENT},
		{"unix:", NULL, "without a path", -EINVAL},
		{"01:00.0", NULL, "say DDDD:BB:DD.F", -EINVAL},
		{"0000:01:00.0extra", NULL, "say DDDD:BB:DD.F", -EINVAL},
		{"ffff:ff:1f.7", NULL, "there is no such PCI device", -ENODEV},
		{"unix:/x", "vf_token=2ab74924-c335-45f4-9b16-8569e5b08258",
		 "for devices of /dev/vfio only", -EINVAL},
		{"ffff:ff:1f.7", "share=no", "for vfio-user sockets only", -EINVAL},
		{"ffff:ff:1f.7 vf_token=1", NULL, "not a UUID", -EINVAL},
		{"ffff:ff:1f.7", "colour=red", "unknown option 'colour'", -EINVAL},
		{"ffff:ff:1f.7", "via", "has no value", -EINVAL},
		{"ffff:ff:1f.7", "via=bus", "say auto, group or cdev", -EINVAL},
		{"unix:/x", "share=perhaps", "say yes or no", -EINVAL},
		{"unix:/x", "timeout=-1", "say seconds", -EINVAL},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct uvfio_error err = {""};
		struct uvfio_pci *dev;

		assert_int_equal(uvfio_pci_open(cases[i].name, cases[i].options, &dev, &err),
				 cases[i].ret);
		if (!strstr(err.msg, cases[i].message))
			fail_msg("%s: %s", cases[i].name, err.msg);
		/* The message may be left out. */
		assert_int_equal(uvfio_pci_open(cases[i].name, cases[i].options, &dev, NULL),
				 cases[i].ret);
	}
}

static void test_capabilities(void **state)
{
	struct uvfio_pci *dev;

	server_start(&server);
	dev = open_device(NULL);
	assert_int_equal(uvfio_pci_find_cap(dev, 0x11, 0), 0x80);
	assert_int_equal(uvfio_pci_find_cap(dev, 0x01, 0), 0x40);
	assert_int_equal(uvfio_pci_find_cap(dev, 0x01, 0x40), 0xc0);
	assert_int_equal(uvfio_pci_find_cap(dev, 0x01, 0xc0), 0);
	assert_int_equal(uvfio_pci_find_cap(dev, 0x05, 0), 0);
	assert_int_equal(uvfio_pci_find_ext_cap(dev, 1, 0), 0);
	/* A list that is a loop ends. */
	pthread_mutex_lock(&server.lock);
	server.config[0xc1] = 0x40;
	pthread_mutex_unlock(&server.lock);
	assert_int_equal(uvfio_pci_find_cap(dev, 0x05, 0), 0);
	assert_int_equal(uvfio_pci_enable(dev, NULL), 0);
	pthread_mutex_lock(&server.lock);
	assert_int_equal(server.config[4], 6);
	pthread_mutex_unlock(&server.lock);
	assert_int_equal(uvfio_pci_disable_dma(dev, NULL), 0);
	pthread_mutex_lock(&server.lock);
	assert_int_equal(server.config[4], 2);
	pthread_mutex_unlock(&server.lock);
	uvfio_pci_close(dev);
}

/* ---- accesses ---- */

static void test_registers(void **state)
{
	struct uvfio_pci *dev;
	uint64_t value;

	server_start(&server);
	dev = open_device(NULL);
	uvfio_pci_write32(dev, 0, 0x10, 0x11223344);
	uvfio_pci_write64(dev, 0, 0x18, 0x8877665544332211);
	uvfio_pci_write8(dev, 0, 0x11, 0xaa);
	/* A read after them sees posted writes. */
	assert_int_equal(uvfio_pci_read32(dev, 0, 0x10), 0x1122aa44);
	assert_int_equal(count_posted(VFIO_USER_REGION_WRITE), 3);
	assert_int_equal(uvfio_pci_read64(dev, 0, 0x18), 0x8877665544332211);
	assert_int_equal(uvfio_pci_read16(dev, 0, 0x1a), 0x4433);
	assert_int_equal(uvfio_pci_read8(dev, 0, 0x1f), 0x88);
	assert_int_equal(uvfio_pci_reg_read(dev, 0, 0x11, 4, &value), -EINVAL);
	assert_int_equal(uvfio_pci_reg_read(dev, 0, 0x10, 3, &value), -EINVAL);
	assert_int_equal(uvfio_pci_reg_write(dev, 0, 0x14, 8, 0), -EINVAL);
	assert_int_equal(uvfio_pci_reg_read(dev, 0, 4096, 4, &value), -EINVAL);
	assert_int_equal(uvfio_pci_read32(dev, 0, 4096), UINT32_MAX);
	assert_int_equal(uvfio_pci_read32(dev, 77, 0), UINT32_MAX);
	uvfio_pci_close(dev);

	/* Not posted when the user says so. */
	dev = open_device("posted=no");
	uvfio_pci_write32(dev, 0, 0x10, 1);
	assert_int_equal(count_posted(VFIO_USER_REGION_WRITE), 3);
	assert_int_equal(uvfio_pci_reg_write(dev, 0, 4096, 4, 0), -EINVAL);
	uvfio_pci_close(dev);
}

static void test_write_multi(void **state)
{
	struct uvfio_pci_reg writes[130];
	struct uvfio_pci *dev;

	server_start(&server);
	dev = open_device(NULL);
	for (unsigned i = 0; i < 130; i++)
		writes[i] = (struct uvfio_pci_reg){
			.index = 0, .size = 4, .offset = 0x200 + 4 * i, .value = 1000 + i};
	assert_int_equal(uvfio_pci_reg_write_multi(dev, writes, 130), 0);
	for (unsigned i = 0; i < 130; i++)
		assert_int_equal(uvfio_pci_read32(dev, 0, 0x200 + 4 * i), 1000 + i);
	assert_int_equal(count(VFIO_USER_REGION_WRITE_MULTI), 3);
	assert_int_equal(count_posted(VFIO_USER_REGION_WRITE_MULTI), 3);
	assert_int_equal(count(VFIO_USER_REGION_WRITE), 0);
	writes[1].offset++;
	assert_int_equal(uvfio_pci_reg_write_multi(dev, writes, 3), -EINVAL);
	uvfio_pci_close(dev);
	server_stop(&server);

	/* A server without it gets them one by one. */
	server.write_multi = false;
	server_start(&server);
	dev = open_device(NULL);
	writes[1].offset--;
	assert_int_equal(uvfio_pci_reg_write_multi(dev, writes, 5), 0);
	assert_int_equal(uvfio_pci_read32(dev, 0, 0x210), 1004);
	assert_int_equal(count(VFIO_USER_REGION_WRITE_MULTI), 0);
	assert_int_equal(count_posted(VFIO_USER_REGION_WRITE), 5);
	uvfio_pci_close(dev);
}

static void test_blocks_are_cut_to_the_servers_limit(void **state)
{
	uint8_t out[3000], in[3000];
	struct uvfio_pci *dev;

	server.max_xfer = 700;
	server_start(&server);
	dev = open_device(NULL);
	for (unsigned i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7);
	assert_int_equal(uvfio_pci_write(dev, 0, 1024, out, sizeof(out)), 3000);
	assert_int_equal(count(VFIO_USER_REGION_WRITE), 5);
	assert_int_equal(count_posted(VFIO_USER_REGION_WRITE), 0);
	assert_int_equal(uvfio_pci_read(dev, 0, 1024, in, sizeof(in)), 3000);
	assert_memory_equal(in, out, sizeof(out));
	/* Short at the end of the region, an error behind it. */
	assert_int_equal(uvfio_pci_read(dev, 0, 4000, in, sizeof(in)), 96);
	assert_int_equal(uvfio_pci_read(dev, 0, 4096, in, sizeof(in)), -EINVAL);
	uvfio_pci_close(dev);
}

static void test_mapping(void **state)
{
	volatile uint32_t *p;
	struct uvfio_pci *dev;
	uint64_t value;
	unsigned reads;

	guarded();
	server_start(&server);
	dev = open_device(NULL);
	assert_null(uvfio_pci_mapping(dev, 2, 4096, 4));
	uvfio_pci_write32(dev, 0, 0x10, 1);
	settle(dev);
	assert_int_equal(count_posted(VFIO_USER_REGION_WRITE), 1);
	assert_int_equal(uvfio_pci_map_region(dev, 2, NULL), 0);
	assert_int_equal(uvfio_pci_map_region(dev, 2, NULL), 0);
	assert_int_equal(uvfio_pci_map_region(dev, 0, NULL), 0); /* nothing to map */
	assert_int_equal(uvfio_pci_map_region(dev, 9, NULL), -EINVAL);
	p = uvfio_pci_mapping(dev, 2, 4096, 4096);
	assert_non_null(p);
	assert_null(uvfio_pci_mapping(dev, 2, 4092, 8));
	assert_null(uvfio_pci_mapping(dev, 2, 8188, 8));
	assert_null(uvfio_pci_mapping(dev, 2, UINT64_MAX - 3, 8));
	/* The mapped part goes through memory, the other by messages. */
	reads = count(VFIO_USER_REGION_READ);
	uvfio_pci_write32(dev, 2, 4096 + 8, 0xcafe);
	assert_int_equal(p[2], 0xcafe);
	assert_int_equal(uvfio_pci_read32(dev, 2, 4096 + 8), 0xcafe);
	assert_int_equal(count(VFIO_USER_REGION_READ), reads);
	uvfio_pci_write32(dev, 2, 8, 0xbeef);
	assert_int_equal(uvfio_pci_read32(dev, 2, 8), 0xbeef);
	assert_int_equal(count(VFIO_USER_REGION_READ), reads + 1);
	/* A store to the area that has an eventfd is signalled, one beside it is not. */
	assert_int_equal(read(server.notify_fd, &value, 8), -1);
	uvfio_pci_write32(dev, 2, 4096 + 60, 1);
	assert_int_equal(read(server.notify_fd, &value, 8), -1);
	uvfio_pci_write32(dev, 2, 4096 + 64, 1);
	uvfio_pci_write32(dev, 2, 4096 + 124, 1);
	assert_int_equal(read(server.notify_fd, &value, 8), 8);
	assert_int_equal(value, 2);
	uvfio_pci_write32(dev, 2, 4096 + 128, 1);
	assert_int_equal(read(server.notify_fd, &value, 8), -1);
	/* A mapped access could overtake a posted write: nothing is posted any more. */
	assert_int_equal(count_posted(VFIO_USER_REGION_WRITE), 1);
	/* The server takes the file away: an error, no SIGBUS. */
	pthread_mutex_lock(&server.lock);
	assert_int_equal(ftruncate(server.bar2_fd, 0), 0);
	pthread_mutex_unlock(&server.lock);
	assert_int_equal(uvfio_pci_reg_read(dev, 2, 4096, 4, &value), -EFAULT);
	assert_int_equal(uvfio_pci_reg_write(dev, 2, 4096, 4, 0), -EFAULT);
	assert_int_equal(uvfio_pci_read32(dev, 2, 4096), UINT32_MAX);
	uvfio_pci_close(dev);

	server_stop(&server);
	server_start(&server);
	dev = open_device("mmap=no");
	assert_int_equal(uvfio_pci_map_region(dev, 2, NULL), 0);
	assert_null(uvfio_pci_mapping(dev, 2, 4096, 4));
	uvfio_pci_close(dev);
}

static void test_notify_fd(void **state)
{
	struct uvfio_pci *dev;
	uint64_t value = 3;
	int fd;

	server_start(&server);
	dev = open_device(NULL);
	assert_int_equal(uvfio_pci_notify_fd(dev, 0, REG_NOTIFY, 4, 8), -ENOENT);
	assert_int_equal(uvfio_pci_notify_fd(dev, 0, REG_NOTIFY, 2, 7), -ENOENT);
	assert_int_equal(uvfio_pci_notify_fd(dev, 0, REG_NOTIFY + 1, 4, 7), -EINVAL);
	fd = uvfio_pci_notify_fd(dev, 0, REG_NOTIFY, 4, 7);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, &value, 8), 8);
	value = 0;
	assert_int_equal(read(server.notify_fd, &value, 8), 8);
	assert_int_equal(value, 3);
	close(fd);
	/* The signal could overtake a posted write. */
	uvfio_pci_write32(dev, 0, 0x10, 1);
	assert_int_equal(count_posted(VFIO_USER_REGION_WRITE), 0);
	uvfio_pci_close(dev);
}

/* ---- DMA ---- */

static void run_dma(struct uvfio_pci *dev, uint8_t *mem, uint64_t iova, uint32_t expect)
{
	uint64_t value;
	int irq = eventfd(0, EFD_CLOEXEC);

	for (unsigned i = 0; i < DMA_LEN; i++)
		mem[i] = (uint8_t)(i + 3);
	assert_int_equal(uvfio_pci_irq_enable(dev, UVFIO_PCI_MSIX, 0, 1, &irq), 0);
	uvfio_pci_write64(dev, 0, REG_DMA, iova);
	/* Nobody is in a call: the library answers the server all the same. */
	await(irq);
	assert_int_equal(read(irq, &value, 8), 8);
	assert_int_equal(uvfio_pci_read32(dev, 0, REG_DONE), expect);
	for (unsigned i = 0; expect == 1 && i < DMA_LEN; i++)
		assert_int_equal(mem[DMA_LEN + i], (uint8_t) ~(i + 3));
	assert_int_equal(uvfio_pci_irq_disable(dev, UVFIO_PCI_MSIX), 0);
	close(irq);
}

static void test_dma_shared(void **state)
{
	struct uvfio_pci_mem a, b, c;
	struct uvfio_pci *dev;
	uint64_t first[4], last[4];

	server_start(&server);
	dev = open_device(NULL);
	assert_int_equal(uvfio_pci_dma_ranges(dev, first, last, 4), 2);
	assert_int_equal(first[0], 4096);
	assert_int_equal(last[0], 0xfedfffff);
	assert_int_equal(first[1], 0xfef00000);
	assert_int_equal(uvfio_pci_dma_alloc(dev, 0, 0, &a, NULL), -EINVAL);
	assert_int_equal(uvfio_pci_dma_alloc(dev, 5000, 0, &a, NULL), 0);
	assert_int_equal(a.size, 8192);
	assert_int_equal(a.iova % 4096, 0);
	assert_int_equal(uvfio_pci_dma_alloc(dev, 4 << 20, UVFIO_PCI_DMA_READ, &b, NULL), 0);
	assert_int_equal(b.iova % (2 << 20), 0);
	pthread_mutex_lock(&server.lock);
	assert_int_equal(server.nr_maps, 2);
	assert_true(server.maps[0].has_fd && server.maps[1].has_fd);
	assert_int_equal(server.maps[0].flags, 3);
	assert_int_equal(server.maps[1].flags, 1);
	assert_int_equal(server.maps[1].address, b.iova);
	/* It is the same memory. */
	strcpy((char *)server.maps[0].mem + 100, "hello");
	pthread_mutex_unlock(&server.lock);
	assert_string_equal((char *)a.addr + 100, "hello");
	run_dma(dev, a.addr, a.iova, 1);
	/* A piece that is used again holds zeros. */
	memset(a.addr, 0x55, a.size);
	assert_int_equal(uvfio_pci_dma_free(dev, &a), 0);
	assert_int_equal(uvfio_pci_dma_free(dev, &a), -ENOENT);
	assert_int_equal(uvfio_pci_dma_alloc(dev, 8192, 0, &c, NULL), 0);
	for (unsigned i = 0; i < c.size; i++)
		assert_int_equal(((uint8_t *)c.addr)[i], 0);
	pthread_mutex_lock(&server.lock);
	assert_int_equal(server.nr_maps, 2);
	pthread_mutex_unlock(&server.lock);
	uvfio_pci_close(dev);
}

static void test_dma_own_memory(void **state)
{
	uint64_t iova = 0, fixed = 0x7000000000, other;
	struct uvfio_pci *dev;
	uint8_t *mem, *shared;
	int fd;

	server_start(&server);
	dev = open_device(NULL);
	mem = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fd = memfd_create("own", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, 16384), 0);
	shared = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096);
	assert_int_equal(uvfio_pci_dma_map(dev, mem, 8192, 0, -1, 0, &iova, NULL), 0);
	run_dma(dev, mem + 4096 - 64, iova + 4096 - 64, 1); /* by messages, across the pages */
	assert_int_equal(uvfio_pci_dma_map(dev, shared, 8192,
					   UVFIO_PCI_DMA_RW | UVFIO_PCI_DMA_FIXED, fd, 4096, &fixed,
					   NULL),
			 0);
	pthread_mutex_lock(&server.lock);
	assert_int_equal(server.maps[1].address, 0x7000000000);
	assert_int_equal(server.maps[1].offset, 4096);
	assert_true(server.maps[1].has_fd);
	pthread_mutex_unlock(&server.lock);
	run_dma(dev, shared, fixed, 1);
	/* Taken, in the interrupt window, unaligned, wrapping. */
	other = fixed + 4096;
	assert_int_equal(
		uvfio_pci_dma_map(dev, mem, 4096, UVFIO_PCI_DMA_FIXED, -1, 0, &other, NULL),
		-EADDRINUSE);
	other = 0xfee00000;
	assert_int_equal(
		uvfio_pci_dma_map(dev, mem, 4096, UVFIO_PCI_DMA_FIXED, -1, 0, &other, NULL),
		-EADDRINUSE);
	other = 0x7100000001;
	assert_int_equal(
		uvfio_pci_dma_map(dev, mem, 4096, UVFIO_PCI_DMA_FIXED, -1, 0, &other, NULL),
		-EINVAL);
	other = UINT64_MAX - 4095;
	assert_int_equal(
		uvfio_pci_dma_map(dev, mem, 8192, UVFIO_PCI_DMA_FIXED, -1, 0, &other, NULL),
		-EINVAL);
	assert_int_equal(uvfio_pci_dma_map(dev, mem, 100, 0, -1, 0, &other, NULL), -EINVAL);
	assert_int_equal(uvfio_pci_dma_map(dev, mem + 1, 4096, 0, -1, 0, &other, NULL), -EINVAL);
	/* 32 bits. */
	assert_int_equal(
		uvfio_pci_dma_map(dev, mem, 4096, UVFIO_PCI_DMA_32BIT, -1, 0, &other, NULL), 0);
	assert_true(other < 1ull << 32);
	assert_int_equal(uvfio_pci_dma_unmap(dev, other, 8192), -ENOENT);
	assert_int_equal(uvfio_pci_dma_unmap(dev, other, 4096), 0);
	/* After the unmap the memory is not reachable. */
	assert_int_equal(uvfio_pci_dma_unmap(dev, iova, 8192), 0);
	run_dma(dev, mem, iova, 0x80000000 | EFAULT);
	assert_int_equal(uvfio_pci_dma_unmap(dev, iova, 8192), -ENOENT);
	uvfio_pci_close(dev);
	munmap(mem, 8192);
	munmap(shared, 8192);
	close(fd);
}

/* A BAR for another device: the server's file, of which the device that it is mapped for is told.
 */
static void test_peer(void **state)
{
	uint64_t iova = 0, at = 1;
	struct stat st, bar;
	struct uvfio_error err;
	struct uvfio_pci *dev;
	uint8_t value[DMA_LEN];
	struct server_map map;
	int fd;

	server_start(&server);
	dev = open_device(NULL);
	fd = uvfio_pci_region_fd(dev, UVFIO_PCI_BAR2, 4096, 4096, &at, NULL);
	assert_true(fd >= 0);
	assert_int_equal(at, 4096);
	assert_int_equal(fstat(fd, &st) | fstat(server.bar2_fd, &bar), 0);
	assert_int_equal(st.st_ino, bar.st_ino);
	/* No file, no whole pages, beyond the end, no BAR. */
	assert_int_equal(uvfio_pci_region_fd(dev, UVFIO_PCI_BAR0, 0, 4096, &at, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "gives no file"));
	assert_int_equal(uvfio_pci_region_fd(dev, UVFIO_PCI_BAR2, 0, 100, &at, NULL), -EINVAL);
	assert_int_equal(uvfio_pci_region_fd(dev, UVFIO_PCI_BAR2, 4096, 8192, &at, NULL), -EINVAL);
	assert_int_equal(uvfio_pci_region_fd(dev, UVFIO_PCI_BAR2, 0, 0, &at, NULL), -EINVAL);
	assert_int_equal(uvfio_pci_region_fd(dev, UVFIO_PCI_BAR2, -4096ull, 8192, &at, NULL),
			 -EINVAL);
	assert_int_equal(uvfio_pci_region_fd(dev, UVFIO_PCI_CONFIG, 0, 4096, &at, NULL), -EINVAL);
	assert_int_equal(uvfio_pci_region_fd(dev, 99, 0, 4096, &at, NULL), -EINVAL);
	/* By its file alone. */
	assert_int_equal(uvfio_pci_dma_map(dev, NULL, 4096, UVFIO_PCI_DMA_RW, fd, at, &iova, NULL),
			 0);
	pthread_mutex_lock(&server.lock);
	map = server.maps[0];
	server.maps[0].mem = NULL;
	pthread_mutex_unlock(&server.lock);
	assert_int_equal(map.offset, 4096);
	assert_true(map.has_fd);
	/* A server that asks for it all the same: it is not ours to give. */
	assert_int_equal(uvfio_pci_write(dev, 0, REG_DMA, &iova, 8), 8);
	while (!uvfio_pci_read32(dev, 0, REG_DONE))
		sched_yield();
	assert_int_equal(uvfio_pci_read32(dev, 0, REG_DONE), 0x80000000 | EFAULT);
	pthread_mutex_lock(&server.lock);
	server.maps[0].mem = map.mem;
	pthread_mutex_unlock(&server.lock);
	for (unsigned i = 0; i < DMA_LEN; i++)
		value[i] = (uint8_t)i;
	assert_int_equal(pwrite(fd, value, sizeof(value), (off_t)at), sizeof(value));
	assert_int_equal(uvfio_pci_write(dev, 0, REG_DMA, &iova, 8), 8);
	while (uvfio_pci_read32(dev, 0, REG_DONE) != 1)
		sched_yield();
	assert_int_equal(pread(fd, value, sizeof(value), (off_t)at + DMA_LEN), sizeof(value));
	assert_int_equal(value[5], (uint8_t)~5);
	assert_int_equal(uvfio_pci_dma_unmap(dev, iova, 4096), 0);
	uvfio_pci_close(dev);
	/* Nothing is shared. */
	dev = open_device("share=no");
	assert_int_equal(uvfio_pci_dma_map(dev, NULL, 4096, 0, fd, at, &iova, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "share=yes"));
	uvfio_pci_close(dev);
	close(fd);
}

/* Both layouts, with and without a second socket; permissions; adjacent mappings. */
static void test_dma_by_messages(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		uint64_t a = 0x100000, b = 0x101000, ro = 0x200000;
		struct uvfio_pci_mem mem;
		struct uvfio_pci *dev;
		uint8_t *own;

		server.twin = i & 1;
		server.narrow = i & 2;
		server_start(&server);
		dev = open_device("share=no");
		assert_int_equal(uvfio_pci_dma_alloc(dev, 4096, 0, &mem, NULL), 0);
		pthread_mutex_lock(&server.lock);
		assert_false(server.maps[0].has_fd);
		pthread_mutex_unlock(&server.lock);
		for (unsigned round = 0; round < 100; round++)
			run_dma(dev, mem.addr, mem.iova, 1);
		/* Two mappings that touch are one range. */
		own = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_int_equal(
			uvfio_pci_dma_map(dev, own, 4096, UVFIO_PCI_DMA_FIXED, -1, 0, &a, NULL), 0);
		run_dma(dev, own + 4096 - 2 * DMA_LEN, a + 4096 - 2 * DMA_LEN, 1);
		run_dma(dev, own, a + 4096 - DMA_LEN, 0x80000000 | EFAULT);
		assert_int_equal(uvfio_pci_dma_map(dev, own + 4096, 4096, UVFIO_PCI_DMA_FIXED, -1,
						   0, &b, NULL),
				 0);
		run_dma(dev, own + 4096 - DMA_LEN / 2, a + 4096 - DMA_LEN / 2, 1);
		/* What the device may not write. */
		assert_int_equal(uvfio_pci_dma_unmap(dev, a, 4096), 0);
		assert_int_equal(uvfio_pci_dma_map(dev, own, 4096,
						   UVFIO_PCI_DMA_FIXED | UVFIO_PCI_DMA_READ, -1, 0,
						   &ro, NULL),
				 0);
		memset(own, 0x11, 4096);
		run_dma(dev, own, ro, 0x80000000 | EPERM);
		for (unsigned n = DMA_LEN; n < 4096; n++)
			assert_int_equal(own[n], 0x11);
		uvfio_pci_close(dev);
		munmap(own, 8192);
		server_stop(&server);
	}
}

/* ---- interrupts ---- */

static void test_irqs_in_chunks(void **state)
{
	int fds[64];
	struct uvfio_pci *dev;
	uint64_t value;

	server_start(&server); /* 8 descriptors a message */
	dev = open_device(NULL);
	for (unsigned i = 0; i < 64; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_int_equal(uvfio_pci_irq_enable(dev, UVFIO_PCI_MSIX, 0, 20, fds), 0);
	pthread_mutex_lock(&server.lock);
	/* All of them at once first, because that is how many there will be; then the eventfds. */
	assert_int_equal(server.nr_irqs, 4);
	assert_int_equal(server.irqs[0].count, 20);
	assert_int_equal(server.irqs[0].fds, 0);
	assert_int_equal(server.irqs[1].start, 0);
	assert_int_equal(server.irqs[1].fds, 8);
	assert_int_equal(server.irqs[3].start, 16);
	assert_int_equal(server.irqs[3].fds, 4);
	for (unsigned i = 0; i < 20; i++) {
		uint64_t n = i + 1;

		assert_int_equal(write(server.eventfds[i], &n, 8), 8);
	}
	server.nr_irqs = 0;
	pthread_mutex_unlock(&server.lock);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(read(fds[i], &value, 8), 8);
		assert_int_equal(value, i + 1);
	}
	/* Gaps: a message each. */
	fds[2] = fds[3] = -1;
	assert_int_equal(uvfio_pci_irq_enable(dev, UVFIO_PCI_MSIX, 0, 6, fds), 0);
	pthread_mutex_lock(&server.lock);
	assert_int_equal(server.nr_irqs, 3);
	assert_int_equal(server.irqs[0].fds, 2);
	assert_int_equal(server.irqs[1].fds, 0);
	assert_int_equal(server.irqs[1].start, 2);
	assert_int_equal(server.irqs[1].count, 2);
	assert_int_equal(server.irqs[2].fds, 2);
	assert_int_equal(server.eventfds[2], -1);
	server.nr_irqs = 0;
	pthread_mutex_unlock(&server.lock);
	assert_int_equal(uvfio_pci_irq_disable(dev, UVFIO_PCI_MSIX), 0);
	assert_int_equal(uvfio_pci_irq_mask(dev, UVFIO_PCI_INTX, 0, 1), 0);
	assert_int_equal(uvfio_pci_irq_unmask(dev, UVFIO_PCI_INTX, 0, 1), 0);
	assert_int_equal(uvfio_pci_irq_trigger(dev, UVFIO_PCI_MSIX, 3, 2), 0);
	assert_int_equal(uvfio_pci_irq_trigger(dev, UVFIO_PCI_MSIX, 3, 0), -EINVAL);
	assert_int_equal(uvfio_pci_irq_unmask_fd(dev, fds[0]), 0);
	pthread_mutex_lock(&server.lock);
	assert_int_equal(server.irqs[0].flags,
			 VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER);
	assert_int_equal(server.irqs[1].flags, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_MASK);
	assert_int_equal(server.irqs[2].flags, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK);
	assert_int_equal(server.irqs[3].start, 3);
	assert_int_equal(server.irqs[4].flags,
			 VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK);
	assert_int_equal(server.irqs[4].fds, 1);
	pthread_mutex_unlock(&server.lock);
	/* A bad descriptor is the caller's mistake; the connection lives. */
	for (unsigned i = 0; i < 64; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	assert_int_equal(uvfio_pci_irq_enable(dev, UVFIO_PCI_MSIX, 0, 1, &fds[0]), -EBADF);
	settle(dev);
	uvfio_pci_close(dev);
}

static bool refuse_third(struct server *s, const struct vfio_user_header *h, uint8_t *payload,
			 int *fds, unsigned nr_fds)
{
	if (h->command != VFIO_USER_DEVICE_SET_IRQS || s->nr_irqs != 2)
		return false;
	s->nr_irqs++;
	server_error(s, h, ENOSPC);
	return true;
}

static void test_irqs_that_fail_halfway_are_disabled(void **state)
{
	int fds[20];
	struct uvfio_pci *dev;

	server.hook = refuse_third;
	server_start(&server);
	dev = open_device(NULL);
	for (unsigned i = 0; i < 20; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(uvfio_pci_irq_enable(dev, UVFIO_PCI_MSIX, 0, 20, fds), -ENOSPC);
	pthread_mutex_lock(&server.lock);
	assert_int_equal(server.nr_irqs, 4);
	assert_int_equal(server.irqs[3].flags,
			 VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER);
	assert_int_equal(server.irqs[3].count, 0);
	pthread_mutex_unlock(&server.lock);
	for (unsigned i = 0; i < 20; i++)
		close(fds[i]);
	uvfio_pci_close(dev);
}

/* ---- reset, features ---- */

static void test_reset_and_features(void **state)
{
	struct uvfio_pci *dev;
	uint64_t flags = 0;

	server_start(&server);
	dev = open_device(NULL);
	uvfio_pci_write32(dev, 0, 0x10, 5);
	assert_int_equal(uvfio_pci_reset(dev), 0);
	assert_int_equal(uvfio_pci_read32(dev, 0, 0x10), 0);
	assert_int_equal(uvfio_pci_feature(dev, VFIO_DEVICE_FEATURE_MIGRATION,
					   UVFIO_PCI_FEATURE_GET, &flags, sizeof(flags)),
			 8);
	assert_int_equal(flags, 0x1122334455667788);
	assert_int_equal(uvfio_pci_feature(dev, VFIO_DEVICE_FEATURE_MIGRATION,
					   UVFIO_PCI_FEATURE_GET | UVFIO_PCI_FEATURE_PROBE, NULL,
					   0),
			 0);
	assert_int_equal(uvfio_pci_feature(dev, 3, UVFIO_PCI_FEATURE_SET, NULL, 0), -ENOTTY);
	assert_int_equal(uvfio_pci_feature(dev, 1 << 16, UVFIO_PCI_FEATURE_SET, NULL, 0), -EINVAL);
	uvfio_pci_close(dev);
}

/* ---- threads ---- */

static void *hammer(void *arg)
{
	static atomic_uint next;
	struct uvfio_pci *dev = arg;
	uint64_t offset = 0x400 + 8 * atomic_fetch_add(&next, 1) % 128;

	for (uint64_t i = 0; i < 500; i++) {
		uvfio_pci_write64(dev, 0, offset, i * 0x100000001ull);
		assert_int_equal(uvfio_pci_read64(dev, 0, offset), i * 0x100000001ull);
	}
	return NULL;
}

static void *map_unmap(void *arg)
{
	struct uvfio_pci *dev = arg;
	struct uvfio_pci_mem mem;

	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(uvfio_pci_dma_alloc(dev, 4096 * (1 + i % 5), 0, &mem, NULL), 0);
		memset(mem.addr, (int)i, mem.size);
		assert_int_equal(uvfio_pci_dma_free(dev, &mem), 0);
	}
	return NULL;
}

/* Each reply reaches the thread that waits for it, with and without a thread that stays. */
static void test_threads(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct uvfio_pci *dev;
		pthread_t threads[8];

		server_start(&server);
		dev = open_device(i ? "share=no,twin=no" : NULL);
		for (unsigned t = 0; t < 8; t++)
			assert_int_equal(
				pthread_create(&threads[t], NULL, t < 6 ? hammer : map_unmap, dev),
				0);
		for (unsigned t = 0; t < 8; t++)
			pthread_join(threads[t], NULL);
		pthread_mutex_lock(&server.lock);
		assert_int_equal(server.nr_maps, 0);
		pthread_mutex_unlock(&server.lock);
		uvfio_pci_close(dev);
		server_stop(&server);
	}
}

/* ---- a server that is gone ---- */

static void test_reconnect(void **state)
{
	struct uvfio_pci_mem mem;
	struct uvfio_pci *dev;
	struct uvfio_error err = {""};
	struct pollfd lost;
	volatile uint32_t *p;
	uint64_t iova = 0;
	uint32_t value;
	uint8_t *own;

	server_start(&server);
	dev = open_device(NULL);
	lost = (struct pollfd){.fd = uvfio_pci_lost_fd(dev), .events = POLLIN};
	own = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(uvfio_pci_dma_alloc(dev, 8192, 0, &mem, NULL), 0);
	assert_int_equal(uvfio_pci_dma_map(dev, own, 4096, 0, -1, 0, &iova, NULL), 0);
	assert_int_equal(uvfio_pci_map_region(dev, 2, NULL), 0);
	p = uvfio_pci_mapping(dev, 2, 4096, 4096);
	*p = 5;
	assert_int_equal(poll(&lost, 1, 0), 0);
	server_stop(&server);
	/* The program learns of it although it is in no call. */
	await(lost.fd);
	assert_int_equal(uvfio_pci_config_read(dev, 0, 4, &value), -ENOTCONN);
	assert_int_equal(uvfio_pci_read32(dev, 0, 0), UINT32_MAX);
	assert_int_equal(uvfio_pci_reg_write(dev, 0, 0, 4, 0), -ENOTCONN);
	assert_int_equal(uvfio_pci_reconnect(dev, 50, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.msg, "nobody served"));
	assert_int_equal(poll(&lost, 1, 0), 1);

	server_start(&server);
	assert_int_equal(uvfio_pci_reconnect(dev, 30000, NULL), 0);
	assert_int_equal(poll(&lost, 1, 0), 0);
	/* The memory is there, and the mapping is of the new file. */
	pthread_mutex_lock(&server.lock);
	assert_int_equal(server.nr_maps, 2);
	pthread_mutex_unlock(&server.lock);
	assert_int_equal(*p, 0);
	run_dma(dev, mem.addr, mem.iova, 1);
	run_dma(dev, own, iova, 1);

	/* Memory that is freed while the server is away is not mapped again. */
	server_stop(&server);
	await(lost.fd);
	assert_int_equal(uvfio_pci_dma_free(dev, &mem), 0);
	server_start(&server);
	assert_int_equal(uvfio_pci_reconnect(dev, -1, NULL), 0);
	pthread_mutex_lock(&server.lock);
	assert_int_equal(server.nr_maps, 1);
	pthread_mutex_unlock(&server.lock);

	/* Another device in its place. */
	server_stop(&server);
	await(lost.fd);
	server.device_id++;
	server_start(&server);
	assert_int_equal(uvfio_pci_reconnect(dev, 30000, &err), -ENODEV);
	assert_non_null(strstr(err.msg, "1234:1235, not 1234:1234"));
	await(lost.fd);
	assert_int_equal(uvfio_pci_config_read(dev, 0, 4, &value), -ENOTCONN);
	server_stop(&server);
	server.device_id--;
	server_start(&server);
	assert_int_equal(uvfio_pci_reconnect(dev, 30000, NULL), 0);
	settle(dev);
	uvfio_pci_close(dev);
	munmap(own, 4096);
}

static void *read_until_lost(void *arg)
{
	uint64_t value;
	int ret;

	do
		ret = uvfio_pci_reg_read(arg, 0, 0, 4, &value);
	while (!ret);
	return (void *)(intptr_t)ret;
}

static void test_server_dies_under_calls(void **state)
{
	for (unsigned round = 0; round < 10; round++) {
		struct uvfio_pci *dev;
		pthread_t threads[4];

		server_start(&server);
		dev = open_device(round & 1 ? "share=no,twin=no" : NULL);
		for (unsigned t = 0; t < 4; t++)
			pthread_create(&threads[t], NULL, read_until_lost, dev);
		while (count(VFIO_USER_REGION_READ) < 50)
			sched_yield();
		server_stop(&server);
		for (unsigned t = 0; t < 4; t++) {
			void *ret;

			pthread_join(threads[t], &ret);
			assert_int_equal((intptr_t)ret, -ENOTCONN);
		}
		uvfio_pci_close(dev);
	}
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_open),
		T(test_errors_say_what_to_do),
		T(test_capabilities),
		T(test_registers),
		T(test_write_multi),
		T(test_blocks_are_cut_to_the_servers_limit),
		T(test_mapping),
		T(test_notify_fd),
		T(test_dma_shared),
		T(test_dma_own_memory),
		T(test_peer),
		T(test_dma_by_messages),
		T(test_irqs_in_chunks),
		T(test_irqs_that_fail_halfway_are_disabled),
		T(test_reset_and_features),
		T(test_threads),
		T(test_reconnect),
		T(test_server_dies_under_calls),
	};

	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
